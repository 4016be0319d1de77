#include "capi/settings.h"

#include <cstdio>
#include <cstring>

#include "capi/dal_fast.h"
#include "capi/failure.h"

namespace dal {
namespace {

constexpr const char* kFormat = "dal-fast-bundle-1";
constexpr const char* kFeatures[] = {"closed_form",   "tissue_input_scan", "tissue_input_evidence",
                                     "residual_head", "usual_residual",    "extractor"};

bool known(const char* word, size_t length) {
  for (const char* feature : kFeatures)
    if (std::strlen(feature) == length && !std::strncmp(word, feature, length)) return true;
  return false;
}

bool has_word(const char* words, const char* wanted) {
  const size_t length = std::strlen(wanted);
  for (const char* at = words; (at = std::strstr(at, wanted)); ++at)
    if ((at == words || at[-1] == ' ') && (at[length] == ' ' || !at[length])) return true;
  return false;
}

void check_version(const Bundle& bundle) {
  const char* const format = bundle.text("format");
  if (!format || std::strcmp(format, kFormat))
    fail(DAL_BUNDLE, "weights-mismatch", "this is no bundle of format %s, which dal-fast bundle writes",
         kFormat);
  if (bundle.integer("min_abi") > DAL_ABI)
    fail(DAL_BUNDLE, "weights-mismatch", "the bundle needs a newer library: ABI %s, and this is %d",
         bundle.text("min_abi"), DAL_ABI);
  const char* word = bundle.required("requires");
  while (*word) {
    const size_t length = std::strcspn(word, " ");
    if (length && !known(word, length))
      fail(DAL_BUNDLE, "weights-mismatch", "the bundle needs a newer library: one that knows %.*s",
           static_cast<int>(length > 60 ? 60 : length), word);
    word += length;
    if (*word) ++word;
  }
}

// Where the metadata have a value; else it stays.
void set(const Bundle& bundle, double* value, const char* kind, const char* contrast, const char* what,
         const char* end = "") {
  char key[96];
  std::snprintf(key, sizeof key, "%s.%s.%s%s", kind, contrast, what, end);
  if (bundle.text(key)) *value = bundle.number(key);
}

void set_sign(const Bundle& bundle, SignCalibration* healthy, const char* contrast, const char* sign) {
  set(bundle, &healthy->threshold, "threshold", contrast, sign);
  set(bundle, &healthy->peak, "peak", contrast, sign, ".mean");
  set(bundle, &healthy->peak_sd, "peak", contrast, sign, ".spread");
}

Calibrated healthy_of(const Bundle& bundle, int contrast) {
  Calibrated healthy(static_cast<Contrast>(contrast));
  const char* const name = kContrastNames[contrast];
  set(bundle, &healthy.structure, "threshold", name, "structure");
  set(bundle, &healthy.combined, "threshold", name, "enhanced");
  set_sign(bundle, &healthy.bright, name, "enhanced_positive");
  set_sign(bundle, &healthy.dark, name, "enhanced_negative");
  for (const double level :
       {healthy.structure, healthy.combined, healthy.bright.threshold, healthy.dark.threshold})
    if (!(level > 0))
      fail(DAL_BUNDLE, "weights-mismatch", "a threshold of the bundle's for %s is not positive", name);
  return healthy;
}

// (tissues, depth, height, width), where it lies in the bundle.
Atlas atlas_of(const BundleTensor& tensor, int64_t tissues) {
  const int64_t* const s = tensor.shape;
  const bool fits = tensor.rank == 4 && s[0] == tissues && s[1] > 0 && s[2] > 0 && s[3] > 0 &&
                    s[1] <= 256 && s[2] <= 256 && s[3] <= 256;
  if (!fits || reinterpret_cast<uintptr_t>(tensor.data) % alignof(float))
    fail(DAL_BUNDLE, "weights-mismatch", "the bundle's %s has another shape or place", tensor.name.start);
  return {reinterpret_cast<const float*>(tensor.data), tissues, {s[1], s[2], s[3]}};
}

void set_usual(const Bundle& bundle, Settings* settings) {
  for (int contrast = 0; contrast < kContrasts; ++contrast)
    for (int which = 0; which < kUsual; ++which) {
      char name[64];
      std::snprintf(name, sizeof name, "usual/%s/%s", kContrastNames[contrast], kUsualNames[which]);
      if (bundle.find(name)) settings->usual[contrast][which] = atlas_of(bundle.tensor(name, "F32"), 1);
    }
}

double within(const Bundle& bundle, const char* key, double least, double most) {
  const double value = bundle.number(key);
  if (!(value >= least && value <= most))
    fail(DAL_BUNDLE, "weights-mismatch", "the bundle's %s is %g, not %g to %g", key, value, least, most);
  return value;
}

}  // namespace

Settings read_settings(const Bundle& bundle) {
  check_version(bundle);
  Settings settings{};
  const char* const features = bundle.required("requires");
  settings.voxel_mm = within(bundle, "voxel_mm", 0.5, 10);
  settings.stride = static_cast<int64_t>(within(bundle, "stride", 1, 64));
  settings.input_ceiling = static_cast<float>(within(bundle, "input_ceiling", 0.5, 4));
  settings.sees_evidence = has_word(features, "tissue_input_evidence");
  settings.residual_head = has_word(features, "residual_head");
  within(bundle, "tissues", kTissues, kTissues);
  settings.atlas = atlas_of(bundle.tensor("atlas", "F32"), kTissues);
  settings.usual_residual = has_word(features, "usual_residual");
  if (settings.usual_residual) set_usual(bundle, &settings);
  for (int contrast = 0; contrast < kContrasts; ++contrast)
    settings.healthy[contrast] = healthy_of(bundle, contrast);
  settings.brain_voxel_mm = within(bundle, "brain.voxel_mm", 0.5, 10);
  settings.brain_reach_mm = within(bundle, "brain.reach_mm", 0.5, 100);
  const char* const sides[3] = {"brain.shape.0", "brain.shape.1", "brain.shape.2"};
  for (int axis = 0; axis < 3; ++axis)
    settings.brain_shape[axis] = static_cast<int64_t>(within(bundle, sides[axis], 16, 512));
  return settings;
}

}  // namespace dal
