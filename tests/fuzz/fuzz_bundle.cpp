// The reader of bundles: any file is read or refused with a Failure, and no byte outside it is looked at.
#include "bundle/bundle.h"
#include "capi/failure.h"
#include "fuzz.h"

namespace {

using namespace fuzz;

constexpr char kWhole[] = R"({"__metadata__": {"format": "1", "n\u00e9": "a\\b", "payload_sha256": "0"}, )"
                          R"("w": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]}, )"
                          R"("b": {"dtype": "U8", "shape": [3], "data_offsets": [8, 11]}})";

// A header of a good bundle with a few bytes changed, taken out or put in, and a payload that may be cut.
std::vector<uint8_t> draw_file(Source& s) {
  std::vector<uint8_t> header(kWhole, kWhole + sizeof kWhole - 1);
  constexpr char kSigns[] = "{}[]\",:\\u0123456789eE-+. \n";
  for (int64_t left = s.number(0, 4); left > 0 && !header.empty(); --left) {
    const auto at = header.begin() + s.number(0, static_cast<int64_t>(header.size()) - 1);
    const auto sign =
        static_cast<uint8_t>(s.coin() ? kSigns[s.number(0, sizeof kSigns - 2)] : s.number(0, 255));
    const int64_t how = s.number(0, 3);
    if (how == 0) *at = sign;
    if (how == 1) header.erase(at);
    if (how == 2) header.insert(at, sign);
    if (how == 3) header.erase(at, header.end());
  }
  uint64_t length = header.size();
  if (s.number(0, 7) == 0) length = static_cast<uint64_t>(s.number(0, 65535)) << s.number(0, 48);
  std::vector<uint8_t> file;
  for (int i = 0; i < 8; ++i) file.push_back(static_cast<uint8_t>(length >> 8 * i));
  file.insert(file.end(), header.begin(), header.end());
  file.resize(file.size() + static_cast<size_t>(s.coin() ? 11 : s.number(0, 12)), 7);
  return file;
}

void read(const std::vector<uint8_t>& file) {
  Buffer exact(static_cast<int64_t>(file.size()));
  if (!file.empty()) std::memcpy(exact.as<uint8_t>(), file.data(), file.size());
  const dal::Memory memory;
  try {
    const dal::Bundle bundle(memory, exact.as<uint8_t>(), file.size());
    for (const char* name : {"w", "b"}) {
      const dal::BundleTensor* const tensor = bundle.find(name);
      uint64_t sum = 0;
      for (size_t i = 0; tensor && i < tensor->bytes; ++i) sum += tensor->data[i];
      if (sum > 255 * file.size()) fail("a tensor is longer than its file");
    }
    bundle.integer("format");
    bundle.check_payload();
  } catch (const dal::Failure& failure) {
    if (!failure.code[0] || !failure.message[0]) fail("a failure without words");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  read({data, data + size});
  Source s(data, size);
  read(draw_file(s));
  return 0;
}
