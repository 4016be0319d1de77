/* dal_fast.h: find what a healthy brain would not show, in one call. C99, and C++.
 *
 *   dal_engine *engine;
 *   dal_session *session;
 *   dal_error error = {sizeof error};
 *   if (dal_engine_open("default.dalb", NULL, &engine, &error)) return puts(error.message);
 *   if (dal_session_open(engine, NULL, &session, &error)) return puts(error.message);
 *
 *   dal_request request = {sizeof request};   // everything else 0: its default
 *   request.scan = &scan; request.mask = &mask;
 *   dal_summary found = {sizeof found};
 *   if (dal_run(session, &request, &found, &error)) return puts(error.message);
 *   printf("%f\n", found.score);
 *   dal_session_close(session); dal_engine_close(engine);
 *
 * Research software. Not a medical device.
 *
 * What the library promises
 *
 * It never prints, exits, aborts, catches a signal, changes the locale, or leaves the calling thread's
 * rounding or affinity changed. Nothing is thrown. It reads the file and the folders that it is given, and
 * no environment variable. Paths are UTF-8. It makes no network connection. The kernels give the same bits
 * for every number of threads and every instruction set. The networks are run by an engine (OpenVINO, which
 * is loaded when a bundle is opened), whose results may differ in the last digits between processors.
 *
 * Memory. The library's is taken in dal_engine_open and dal_session_open, and given back by the two close
 * functions; dal_run takes none, but a few hundred bytes of malloc's for a moment when it fails. The
 * engine's library has memory and threads of its own, and stays loaded.
 *
 * Threads. dal_engine: any number of threads may use one. dal_session: one dal_run at a time, from any
 * thread; another at the same time is refused (DAL_ARGUMENT). dal_cancel may be called from any thread at
 * any time before the session is closed. A process that forks opens its engines after the fork; an engine
 * of the parent is refused in the child, and closing it there does nothing.
 *
 * Structs. The first member, struct_size, is sizeof the struct in the program that was compiled (that of a
 * dal_region is an argument of dal_regions). Later versions add members at the end, whose default is 0:
 * programs compiled with an older header run unchanged, and one compiled with a newer header runs as long
 * as it leaves at 0 what this library does not know. Set all members to 0 before setting some. Numbers of
 * an enum never change their meaning.
 *
 * Ownership. What a function returns in an argument named `engine` or `session` is closed by its close
 * function, and nothing else needs to be freed. The library keeps no pointer into a request once dal_run
 * has returned.
 */
#ifndef DAL_FAST_H
#define DAL_FAST_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define DAL_API __attribute__((visibility("default")))
#else
#define DAL_API
#endif

/* Of this header; dal_abi() tells that of the library. Libraries named libdal_fast.so.1 run programs of any
 * smaller or equal number. */
#define DAL_ABI 1

typedef struct dal_engine dal_engine; /* an opened bundle: networks, settings, threads */
typedef struct dal_session dal_session; /* the memory of one scan at a time */

/* Statuses. */
enum {
  DAL_OK = 0,
  DAL_INPUT = 1, /* the scan or its mask cannot be screened */
  DAL_ARGUMENT =
      2, /* a call that is wrong whatever the scan: a NULL, an unknown number, a session in use */
  DAL_BUNDLE = 3, /* the bundle is missing, damaged, or of a version that this library does not know */
  DAL_ENGINE = 4, /* the engine's library is missing, fails, or computes something else */
  DAL_MEMORY = 5, /* no more memory, or a scan that is larger than the session was opened for */
  DAL_CANCELLED = 6, /* by dal_cancel */
  DAL_DEADLINE = 7, /* the request's time was over */
  DAL_UNSUPPORTED = 8, /* asked for something that this version or this bundle does not have */
  DAL_INTERNAL = 99 /* a fault of the library: please report it */
};

/* Why a call failed. The caller's, may be NULL, holds no pointer; untouched when the call succeeds. */
typedef struct {
  uint32_t struct_size;
  int32_t status;
  char code[32]; /* stable and machine-readable: those of the Python package, such as "mask-empty", and
                    "cancelled", "engine-failed", "session-busy", "session-too-small" */
  char message[472]; /* a sentence in English, UTF-8, always terminated */
} dal_error;

/* Types of voxels. */
enum {
  DAL_U8 = 1,
  DAL_I8 = 2,
  DAL_U16 = 3,
  DAL_I16 = 4,
  DAL_U32 = 5,
  DAL_I32 = 6,
  DAL_F32 = 7,
  DAL_F64 = 8
};

/* Which way world coordinates run. */
enum {
  DAL_RAS = 0, /* right, anterior, superior: NIfTI */
  DAL_LPS = 1 /* left, posterior, superior: DICOM, ITK */
};

/* A volume of the caller's, which is read and never written. Voxel (i, j, k) lies at
 *   data + i stride[0] + j stride[1] + k stride[2], or at planes[k] + i stride[0] + j stride[1],
 * and has the value slope * stored + intercept. No alignment is asked for. */
typedef struct {
  uint32_t struct_size;
  int32_t dtype;
  int64_t shape[3]; /* voxels along i, j and k: 8 to 1024, at most 2^28 in all */
  int64_t stride[3]; /* bytes, of any sign; all 0: densely packed, i fastest */
  const void* data; /* voxel (0, 0, 0); or NULL: */
  const void* const* planes; /* shape[2] pointers, one a slice */
  double affine[16]; /* 4 x 4 by rows: voxel index to millimetres; of a mask all 0: the scan's */
  int32_t space; /* of the affine */
  int32_t reserved; /* 0 */
  double slope, intercept; /* finite; a slope of 0 counts as 1, also in plane_slope */
  const double*
      plane_slope; /* shape[2] slopes in the place of `slope`, as some DICOM series have; or NULL */
  const double* plane_intercept;
} dal_image;

/* What dal_run may write; all on the scan's grid. */
enum {
  DAL_ANOMALY_MAP =
      1, /* float32: higher is stranger, the threshold is in the summary; 0 outside the brain */
  DAL_ANOMALY_MASK = 2, /* uint8, 0 or 1: at or above the threshold, without specks of less than 0.1 mL */
  DAL_BRAIN_MASK = 3, /* uint8, 0 or 1: as given, or extracted */
  DAL_PSEUDO_HEALTHY =
      4 /* float32: the scan as it would look if it were healthy, in its own unit; 0 outside */
};

/* Memory of the caller's that dal_run fills, each voxel's apart from the others'. In an array all have the
 * same struct_size. It may not overlap the scan, the mask or another output. */
typedef struct {
  uint32_t struct_size;
  int32_t what;
  int64_t stride[3]; /* bytes, of any sign; all 0: densely packed, i fastest */
  void* data; /* voxel (0, 0, 0); no alignment is asked for */
} dal_output;

/* Contrasts. */
enum { DAL_GUESS = 0, DAL_T1W = 1, DAL_T2W = 2, DAL_FLAIR = 3 };

/* Flags of a request. */
enum {
  DAL_REPLACE_NONFINITE = 1 /* NaN and infinite voxels count as 0; without it they are refused */
};

typedef struct {
  uint32_t struct_size;
  uint32_t flags;
  const dal_image* scan;
  const dal_image*
      mask; /* brain where it is above 0.5; same shape; NULL: the brain is extracted from the head */
  int32_t contrast; /* of the scan; DAL_GUESS takes what its intensities look like */
  int32_t outputs_count; /* at most 64; 0: the summary and the regions alone */
  const dal_output* outputs;
  int64_t deadline_ms; /* from the call on; 0: none */
  double threshold; /* from which a voxel belongs to the anomaly mask; 0: 1, as calibrated */
} dal_request;

/* Signs of what a map shows. */
enum { DAL_BRIGHT = 1, DAL_DARK = -1 };

/* Stages that dal_summary counts seconds of. */
enum {
  DAL_SECONDS_READ = 0,
  DAL_SECONDS_EXTRACTION = 1,
  DAL_SECONDS_MODEL_GRID = 2,
  DAL_SECONDS_NETWORK = 3,
  DAL_SECONDS_RECOUPLING = 4,
  DAL_SECONDS_RESIDUAL_HEAD = 5,
  DAL_SECONDS_SCORE = 6,
  DAL_SECONDS_SCAN_GRID = 7,
  DAL_SECONDS_REGIONS = 8, /* and the writing of outputs */
  DAL_SECONDS_TOTAL = 15
};

/* Filled by dal_run when it succeeds. */
typedef struct {
  uint32_t struct_size;
  int32_t contrast; /* that the map was computed for */
  int32_t looks_like; /* what the intensities look like */
  int32_t sign; /* of the lesions that the map shows */
  double score; /* the scan's one number: mean of the highest 0.1 % of the map in the brain */
  double threshold;
  double brain_ml; /* volume of the brain mask */
  double brain_confidence; /* of a mask that was extracted, 0 to 1; look at its outline below 0.7; 1 for a
                              given one */
  int64_t nonfinite; /* voxels that were replaced */
  int32_t regions; /* how many dal_regions has, at most 16384 */
  int32_t reserved;
  double seconds[16];
} dal_summary;

/* A connected part of the anomaly mask. */
typedef struct {
  double volume_ml;
  double peak, mean; /* of the map */
  double centre_mm[3]; /* of its peak, in the space of the scan's affine */
} dal_region;

/* Threads of the host, for the kernels (the engine of the networks has its own).
 * run() calls task(context, i, slot) once for every i in [0, tasks), on at most `threads` threads, and
 * returns when all have returned. A slot lies in [0, threads) and is held by one thread at a time. */
typedef struct {
  uint32_t struct_size;
  int32_t reserved;
  void* user;
  void (*run)(void* user, int64_t tasks, int32_t threads,
              void (*task)(void* context, int64_t index, int32_t slot), void* context);
} dal_executor;

/* Memory of the host: the bundle, and all that a dal_run needs. Reading a folder and starting threads take
 * some of malloc's, and of the engine's library all. Alignments are powers of two; NULL means that there is
 * no more. */
typedef struct {
  uint32_t struct_size;
  int32_t reserved;
  void* user;
  void* (*allocate)(void* user, size_t bytes, size_t alignment);
  void (*release)(void* user, void* memory, size_t bytes);
} dal_allocator;

typedef struct {
  uint32_t struct_size;
  int32_t threads; /* of a dal_run, the calling one among them; 0: as many as there are processors */
  const char* engine; /* NULL: "openvino"; or "openvino-bf16", which computes the networks in bfloat16 and
                         is refused where the processor does not; nothing else is taken in its place */
  const char* engine_path; /* folder or file of the engine's library; NULL: where the loader finds it */
  const char* cache_folder; /* where the engine may keep compiled networks; NULL: nowhere */
  const dal_executor* executor; /* NULL: threads of the engine's own, joined by dal_engine_close */
  const dal_allocator* allocator; /* NULL: malloc */
  /* Called in the thread that opens an engine or a session; it may open none itself. 0 detail, 1 note;
   * NULL: silence. */
  void (*log)(void* user, int32_t level, const char* message);
  void* log_user;
} dal_options;

/* What a session is opened for; a scan that needs more is refused (DAL_MEMORY, "session-too-small"). */
typedef struct {
  uint32_t struct_size;
  int32_t extraction; /* not 0: dal_run may be called without a mask */
  int64_t max_shape[3]; /* voxels; 0: 256 */
  double max_brain_mm; /* longest side of a brain's box, along any axis of the world; 0: 230 */
} dal_limits;

DAL_API uint32_t dal_abi(void);
DAL_API const char* dal_version(void); /* such as "0.1.0" */

/* Open a bundle, which `dal-fast bundle` writes. The checksum of its tensors is verified, and the networks
 * are compared with results that it holds, that of brain extraction when a session first asks for it. Of
 * what the arguments point to, only the hooks' functions and what their `user` points to must outlive the
 * engine. Fails with DAL_BUNDLE, DAL_ENGINE, DAL_ARGUMENT, DAL_MEMORY, DAL_UNSUPPORTED. options may be
 * NULL. */
DAL_API int32_t dal_engine_open(const char* path, const dal_options* options, dal_engine** engine,
                                dal_error* error);
DAL_API int32_t dal_engine_open_memory(const void* bundle, size_t bytes, const dal_options* options,
                                       dal_engine** engine, dal_error* error);
/* A fact about the bundle or what runs it, such as "engine", "weights_sha256", "dal_fast"; NULL for one
 * that is not there. The text lives as long as the engine. */
DAL_API const char* dal_engine_fact(const dal_engine* engine, const char* name);
/* Joins every thread of the engine's own. With sessions still open, that happens when the last one is
 * closed. NULL is allowed. */
DAL_API void dal_engine_close(dal_engine* engine);

/* Take all the memory that a dal_run within these limits needs. limits may be NULL: the defaults. Fails as
 * opening an engine does. dal_session_bytes says how much it has taken. */
DAL_API int32_t dal_session_open(dal_engine* engine, const dal_limits* limits, dal_session** session,
                                 dal_error* error);
DAL_API int32_t dal_session_bytes(const dal_session* session, size_t* bytes, dal_error* error);
DAL_API void dal_session_close(dal_session* session); /* no dal_run may be going on; NULL is allowed */

/* Screen one scan. summary may be NULL. When it fails, the outputs hold nothing of use. */
DAL_API int32_t dal_run(dal_session* session, const dal_request* request, dal_summary* summary,
                        dal_error* error);
/* Have the dal_run that is going on return DAL_CANCELLED soon; without one nothing happens. */
DAL_API int32_t dal_cancel(dal_session* session);
/* The regions that the last dal_run found, highest peak first: the first `capacity` of them. region_size is
 * sizeof(dal_region) in the program that was compiled. */
DAL_API int32_t dal_regions(const dal_session* session, size_t region_size, dal_region* regions,
                            int32_t capacity, dal_error* error);

#ifdef __cplusplus
}
#endif
#endif
