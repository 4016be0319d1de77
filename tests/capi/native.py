"""libdal_fast through ctypes, for the tests: the structs of dal_fast.h and what calls them."""

import ctypes as c
import os
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
HEADER = ROOT / "csrc/capi/dal_fast.h"
OK, INPUT, ARGUMENT, BUNDLE, ENGINE, MEMORY, CANCELLED, DEADLINE, UNSUPPORTED = range(9)
MAP, ABOVE, BRAIN, HEALTHY = 1, 2, 3, 4
DTYPES = {"u1": 1, "i1": 2, "u2": 3, "i2": 4, "u4": 5, "i4": 6, "f4": 7, "f8": 8}
CONTRASTS = {"T1w": 1, "T2w": 2, "FLAIR": 3}


class Sized(c.Structure):
    """A struct whose first member is its size."""

    def __init__(self, **members):
        super().__init__(**members)
        if not self.struct_size:
            self.struct_size = c.sizeof(self)


class Error(Sized):
    _fields_ = [
        ("struct_size", c.c_uint32), ("status", c.c_int32),
        ("code", c.c_char * 32), ("message", c.c_char * 472),
    ]  # fmt: skip


class Image(Sized):
    _fields_ = [
        ("struct_size", c.c_uint32), ("dtype", c.c_int32), ("shape", c.c_int64 * 3),
        ("stride", c.c_int64 * 3), ("data", c.c_void_p), ("planes", c.POINTER(c.c_void_p)),
        ("affine", c.c_double * 16), ("space", c.c_int32), ("reserved", c.c_int32),
        ("slope", c.c_double), ("intercept", c.c_double), ("plane_slope", c.POINTER(c.c_double)),
        ("plane_intercept", c.POINTER(c.c_double)),
    ]  # fmt: skip


class Output(Sized):
    _fields_ = [
        ("struct_size", c.c_uint32), ("what", c.c_int32), ("stride", c.c_int64 * 3),
        ("data", c.c_void_p),
    ]  # fmt: skip


class Request(Sized):
    _fields_ = [
        ("struct_size", c.c_uint32), ("flags", c.c_uint32), ("scan", c.POINTER(Image)),
        ("mask", c.POINTER(Image)), ("contrast", c.c_int32), ("outputs_count", c.c_int32),
        ("outputs", c.POINTER(Output)), ("deadline_ms", c.c_int64), ("threshold", c.c_double),
    ]  # fmt: skip


class Summary(Sized):
    _fields_ = [
        ("struct_size", c.c_uint32), ("contrast", c.c_int32), ("looks_like", c.c_int32),
        ("sign", c.c_int32), ("score", c.c_double), ("threshold", c.c_double),
        ("brain_ml", c.c_double), ("brain_confidence", c.c_double), ("nonfinite", c.c_int64),
        ("regions", c.c_int32), ("reserved", c.c_int32), ("seconds", c.c_double * 16),
    ]  # fmt: skip


class Region(c.Structure):
    _fields_ = [
        ("volume_ml", c.c_double), ("peak", c.c_double), ("mean", c.c_double),
        ("centre_mm", c.c_double * 3),
    ]  # fmt: skip


TASK = c.CFUNCTYPE(None, c.c_void_p, c.c_int64, c.c_int32)
RUN = c.CFUNCTYPE(None, c.c_void_p, c.c_int64, c.c_int32, TASK, c.c_void_p)
ALLOCATE = c.CFUNCTYPE(c.c_void_p, c.c_void_p, c.c_size_t, c.c_size_t)
RELEASE = c.CFUNCTYPE(None, c.c_void_p, c.c_void_p, c.c_size_t)
LOG = c.CFUNCTYPE(None, c.c_void_p, c.c_int32, c.c_char_p)


class Executor(Sized):
    _fields_ = [
        ("struct_size", c.c_uint32), ("reserved", c.c_int32), ("user", c.c_void_p), ("run", RUN),
    ]  # fmt: skip


class Allocator(Sized):
    _fields_ = [
        ("struct_size", c.c_uint32), ("reserved", c.c_int32), ("user", c.c_void_p),
        ("allocate", ALLOCATE), ("release", RELEASE),
    ]  # fmt: skip


class Options(Sized):
    _fields_ = [
        ("struct_size", c.c_uint32), ("threads", c.c_int32), ("engine", c.c_char_p),
        ("engine_path", c.c_char_p), ("cache_folder", c.c_char_p),
        ("executor", c.POINTER(Executor)), ("allocator", c.POINTER(Allocator)), ("log", LOG),
        ("log_user", c.c_void_p),
    ]  # fmt: skip


class Limits(Sized):
    _fields_ = [
        ("struct_size", c.c_uint32), ("extraction", c.c_int32), ("max_shape", c.c_int64 * 3),
        ("max_brain_mm", c.c_double),
    ]  # fmt: skip


class Refused(Exception):
    """What a call failed with."""

    def __init__(self, status, error):
        super().__init__(f"{status} {error.code.decode()}: {error.message.decode()}")
        self.status, self.code, self.message = status, error.code.decode(), error.message.decode()


def library_path():
    """The library that was built here: DAL_FAST_LIBRARY, or the newest in build/ or the package."""
    named = os.environ.get("DAL_FAST_LIBRARY")
    if named:
        return Path(named)
    built = [
        *ROOT.glob("build/*/csrc/capi/libdal_fast.so.1"),
        ROOT / "dal_fast/lib/libdal_fast.so.1",
    ]
    built = [p for p in built if p.exists() and "/build/sanitized-" not in str(p)]
    found = sorted(built, key=lambda p: p.stat().st_mtime)
    return found[-1] if found else None


def load(path=None):
    """The library, its functions declared."""
    lib = c.CDLL(str(path or library_path()))
    void, size, text = c.c_void_p, c.c_size_t, c.c_char_p
    error = c.POINTER(Error)
    declared = {
        "dal_abi": (c.c_uint32, []), "dal_version": (text, []),
        "dal_engine_open": (c.c_int32, [text, c.POINTER(Options), c.POINTER(void), error]),
        "dal_engine_open_memory": (
            c.c_int32, [void, size, c.POINTER(Options), c.POINTER(void), error]),
        "dal_engine_fact": (text, [void, text]), "dal_engine_close": (None, [void]),
        "dal_session_open": (c.c_int32, [void, c.POINTER(Limits), c.POINTER(void), error]),
        "dal_session_bytes": (c.c_int32, [void, c.POINTER(size), error]),
        "dal_session_close": (None, [void]),
        "dal_run": (c.c_int32, [void, c.POINTER(Request), c.POINTER(Summary), error]),
        "dal_cancel": (c.c_int32, [void]),
        "dal_regions": (c.c_int32, [void, size, c.POINTER(Region), c.c_int32, error]),
    }  # fmt: skip
    for name, (result, arguments) in declared.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib


def check(status, error):
    if status:
        raise Refused(status, error)


def image_of(array, affine=None, **members):
    """A struct that points to a (I, J, K) array of any strides, which must stay alive."""
    image = Image(
        dtype=DTYPES[array.dtype.str[1:]], shape=array.shape, stride=array.strides,
        data=array.ctypes.data, **members,
    )  # fmt: skip
    if affine is not None:
        image.affine[:] = np.asarray(affine, float).ravel().tolist()
    return image


class Engine:
    """An opened bundle."""

    def __init__(self, lib, bundle, engine_path, threads=1, **options):
        self.lib, self.handle, error = lib, c.c_void_p(), Error()
        self.options = Options(threads=threads, engine_path=os.fsencode(engine_path), **options)
        place = c.byref(self.handle)
        if isinstance(bundle, bytes):
            status = lib.dal_engine_open_memory(bundle, len(bundle), self.options, place, error)
        else:
            status = lib.dal_engine_open(os.fsencode(bundle), self.options, place, error)
        check(status, error)

    def close(self):
        self.lib.dal_engine_close(self.handle)
        self.handle = c.c_void_p()


class Session:
    """Memory of one scan at a time."""

    def __init__(self, engine, **limits):
        self.lib, self.handle, error = engine.lib, c.c_void_p(), Error()
        limits = Limits(**limits)
        check(self.lib.dal_session_open(engine.handle, limits, c.byref(self.handle), error), error)

    def run(self, scan, affine, mask=None, outputs=(MAP, ABOVE), layout="F", **request):
        """Summary, outputs by number, and regions."""
        scan_image = scan if isinstance(scan, Image) else image_of(scan, affine)
        shape = tuple(scan_image.shape)
        arrays = {
            what: np.full(shape, 77, np.float32 if what in (MAP, HEALTHY) else np.uint8, layout)
            for what in outputs
        }
        given = (Output * len(arrays))(
            *(Output(what=w, stride=a.strides, data=a.ctypes.data) for w, a in arrays.items())
        )
        asked = Request(
            scan=c.pointer(scan_image), outputs_count=len(arrays), outputs=given, **request
        )
        if mask is not None:
            asked.mask = c.pointer(mask if isinstance(mask, Image) else image_of(mask))
        summary, error = Summary(), Error()
        check(self.lib.dal_run(self.handle, asked, summary, error), error)
        regions = (Region * max(1, summary.regions))()
        check(
            self.lib.dal_regions(self.handle, c.sizeof(Region), regions, summary.regions, error),
            error,
        )
        return summary, arrays, list(regions)[: summary.regions]

    def close(self):
        self.lib.dal_session_close(self.handle)
        self.handle = c.c_void_p()


def opened(lib, content, engine_path, **options):
    """Status and code of opening a bundle; what opens is closed again."""
    try:
        Engine(lib, content, engine_path, **options).close()
    except Refused as refused:
        return refused.status, refused.code
    return OK, ""
