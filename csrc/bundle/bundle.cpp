#include "bundle/bundle.h"

#include <charconv>
#include <cmath>
#include <cstring>

#include "bundle/sha256.h"
#include "capi/dal_fast.h"
#include "capi/failure.h"

namespace dal {
namespace {

[[noreturn]] void corrupt(const char* what) {
  fail(DAL_BUNDLE, "weights-corrupt", "the bundle is damaged (%s); copy it again or write it anew", what);
}

size_t element_bytes(const char* dtype) {
  if (!std::strcmp(dtype, "U8")) return 1;
  if (!std::strcmp(dtype, "F32")) return 4;
  if (!std::strcmp(dtype, "F64")) return 8;
  return 0;
}

constexpr size_t kLongestHeader = 1 << 20, kMostEntries = 512;

}  // namespace

// Reads the header once, from the front. Strings are unescaped into `texts`, which is as long as the header
// and so can hold them all, each with its final 0.
class Parser {
 public:
  Parser(Bundle& bundle, const char* start, size_t size, char* texts)
      : bundle_(bundle), at_(start), end_(start + size), texts_(texts) {}

  void header() {
    object([&](Text key) {
      if (same(key, "__metadata__"))
        object([&](Text name) { entry({name, string()}); });
      else
        tensor(key);
    });
    while (at_ < end_ && *at_ == ' ') ++at_;
    if (at_ != end_) corrupt("its header goes on after its end");
  }

 private:
  static bool same(Text text, const char* word) {
    return text.size == std::strlen(word) && !std::memcmp(text.start, word, text.size);
  }

  void space() {
    while (at_ < end_ && (*at_ == ' ' || *at_ == '\n' || *at_ == '\r' || *at_ == '\t')) ++at_;
  }
  char peek() {
    space();
    if (at_ == end_) corrupt("its header ends too early");
    return *at_;
  }
  void expect(char wanted) {
    if (peek() != wanted) corrupt("its header is no safetensors header");
    ++at_;
  }

  // Calls member(key) for every member, which reads the value.
  template <class F>
  void object(F&& member) {
    expect('{');
    if (peek() == '}') return void(++at_);
    for (;;) {
      const Text key = string();
      expect(':');
      member(key);
      if (peek() == '}') return void(++at_);
      expect(',');
    }
  }

  Text string() {
    expect('"');
    char* const start = texts_;
    while (true) {
      if (at_ == end_) corrupt("its header ends inside a string");
      const char c = *at_++;
      if (c == '"') break;
      if (static_cast<unsigned char>(c) < 0x20) corrupt("its header has a control character");
      if (c == '\\')
        escape();
      else
        *texts_++ = c;
    }
    const Text text{start, static_cast<size_t>(texts_ - start)};
    *texts_++ = 0;  // in the place of the quotation marks
    return text;
  }

  void escape() {
    if (at_ == end_) corrupt("its header ends inside a string");
    const char c = *at_++;
    switch (c) {
      case '"':
      case '\\':
      case '/':
        *texts_++ = c;
        return;
      case 'b':
        *texts_++ = '\b';
        return;
      case 'f':
        *texts_++ = '\f';
        return;
      case 'n':
        *texts_++ = '\n';
        return;
      case 'r':
        *texts_++ = '\r';
        return;
      case 't':
        *texts_++ = '\t';
        return;
      case 'u':
        return unicode();
      default:
        corrupt("its header has an unknown escape");
    }
  }

  // UTF-8 of four hexadecimal digits: at most three bytes for six. No pairs of surrogates.
  void unicode() {
    unsigned code = 0;
    if (end_ - at_ < 4) corrupt("its header ends inside a string");
    const auto read = std::from_chars(at_, at_ + 4, code, 16);
    if (read.ptr != at_ + 4 || code == 0 || (code >= 0xD800 && code < 0xE000))
      corrupt("its header has an unknown escape");
    at_ += 4;
    if (code < 0x80) {
      *texts_++ = static_cast<char>(code);
      return;
    }
    if (code < 0x800) {
      *texts_++ = static_cast<char>(0xC0 | code >> 6);
    } else {
      *texts_++ = static_cast<char>(0xE0 | code >> 12);
      *texts_++ = static_cast<char>(0x80 | (code >> 6 & 0x3F));
    }
    *texts_++ = static_cast<char>(0x80 | (code & 0x3F));
  }

  // A whole number of at most 2^62.
  int64_t whole() {
    peek();
    uint64_t value = 0;
    const auto read = std::from_chars(at_, end_, value);
    if (read.ec != std::errc() || value > uint64_t(1) << 62) corrupt("its header has a bad number");
    at_ = read.ptr;
    return static_cast<int64_t>(value);
  }

  template <class F>
  void list(F&& element) {
    expect('[');
    if (peek() == ']') return void(++at_);
    for (;;) {
      element(whole());
      if (peek() == ']') return void(++at_);
      expect(',');
    }
  }

  void entry(Bundle::Entry entry) {
    if (bundle_.entry_count_ == kMostEntries) corrupt("its header has too many entries");
    bundle_.entries_[bundle_.entry_count_++] = entry;
  }

  void tensor(Text name) {
    if (bundle_.tensor_count_ == kMostEntries) corrupt("its header has too many tensors");
    BundleTensor tensor{};
    tensor.name = name;
    int64_t range[2] = {-1, -1};
    bool shaped = false;
    object([&](Text key) {
      if (same(key, "dtype")) {
        const Text text = string();
        if (text.size >= sizeof tensor.dtype) corrupt("a tensor has an unknown type");
        std::memcpy(tensor.dtype, text.start, text.size + 1);
      } else if (same(key, "shape")) {
        shaped = true;
        tensor.rank = 0;
        list([&](int64_t side) {
          if (tensor.rank == 5) corrupt("a tensor has too many axes");
          tensor.shape[tensor.rank++] = side;
        });
      } else if (same(key, "data_offsets")) {
        int count = 0;
        list([&](int64_t value) {
          if (count == 2) corrupt("a tensor has bad offsets");
          range[count++] = value;
        });
      } else {
        corrupt("a tensor has an unknown member");
      }
    });
    if (!shaped || !tensor.dtype[0]) corrupt("a tensor lacks its type or shape");
    place(tensor, range[0], range[1]);
    bundle_.tensors_[bundle_.tensor_count_++] = tensor;
  }

  void place(BundleTensor& tensor, int64_t first, int64_t last) {
    const int64_t payload = static_cast<int64_t>(bundle_.bytes_ - bundle_.payload_);
    if (first < 0 || last < first || last > payload) corrupt("a tensor lies outside the file");
    const int64_t bytes = last - first;
    const int64_t element = static_cast<int64_t>(element_bytes(tensor.dtype));
    if (element) {
      int64_t elements = 1;
      for (int axis = 0; axis < tensor.rank; ++axis)
        if (__builtin_mul_overflow(elements, tensor.shape[axis], &elements))
          corrupt("a tensor is too large");
      if (bytes % element || bytes / element != elements) corrupt("a tensor's shape is not its size");
    }
    tensor.data = bundle_.file_ + bundle_.payload_ + first;
    tensor.bytes = static_cast<size_t>(bytes);
  }

  Bundle& bundle_;
  const char* at_;
  const char* const end_;
  char* texts_;
};

Bundle::Bundle(const Memory& memory, const uint8_t* file, size_t bytes)
    : file_(file), bytes_(bytes), texts_(memory), entries_block_(memory), tensors_block_(memory) {
  parse();
}

void Bundle::parse() {
  if (bytes_ < 8) corrupt("it is too short");
  uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | file_[i];
  if (length > kLongestHeader || length > bytes_ - 8) corrupt("it is cut, or no bundle at all");
  payload_ = 8 + static_cast<size_t>(length);
  char* const texts = static_cast<char*>(texts_.allocate(static_cast<size_t>(length) + 1));
  entries_ = static_cast<Entry*>(entries_block_.allocate(kMostEntries * sizeof(Entry)));
  tensors_ = static_cast<BundleTensor*>(tensors_block_.allocate(kMostEntries * sizeof(BundleTensor)));
  Parser(*this, reinterpret_cast<const char*>(file_ + 8), static_cast<size_t>(length), texts).header();
}

const char* Bundle::text(const char* key) const {
  for (size_t i = 0; i < entry_count_; ++i)
    if (!std::strcmp(entries_[i].key.start, key)) return entries_[i].value.start;
  return nullptr;
}

const BundleTensor* Bundle::find(const char* name) const {
  for (size_t i = 0; i < tensor_count_; ++i)
    if (!std::strcmp(tensors_[i].name.start, name)) return tensors_ + i;
  return nullptr;
}

const char* Bundle::required(const char* key) const {
  const char* const found = text(key);
  if (!found) fail(DAL_BUNDLE, "weights-mismatch", "the bundle does not say what its %s is", key);
  return found;
}

double Bundle::number(const char* key) const {
  double value = 0;
  if (!parse_number(required(key), &value))
    fail(DAL_BUNDLE, "weights-mismatch", "the bundle's %s is no number", key);
  return value;
}

int64_t Bundle::integer(const char* key) const {
  const double value = number(key);
  if (!(std::fabs(value) < 1e9) || value != std::floor(value))
    fail(DAL_BUNDLE, "weights-mismatch", "the bundle's %s is no whole number", key);
  return static_cast<int64_t>(value);
}

const BundleTensor& Bundle::tensor(const char* name, const char* dtype) const {
  const BundleTensor* const found = find(name);
  if (!found) fail(DAL_BUNDLE, "weights-part", "the bundle has no %s", name);
  if (dtype && std::strcmp(found->dtype, dtype))
    fail(DAL_BUNDLE, "weights-mismatch", "the bundle's %s is of type %s, not %s", name, found->dtype,
         dtype);
  return *found;
}

void Bundle::check_payload() const {
  char digits[65];
  sha256_hex(file_ + payload_, bytes_ - payload_, digits);
  if (std::strcmp(digits, required("payload_sha256")))
    corrupt("its checksum is not the one that it states");
}

bool parse_number(const char* text, double* value) {
  const char* const end = text + std::strlen(text);
  const auto read = std::from_chars(text, end, *value);
  return read.ec == std::errc() && read.ptr == end && std::isfinite(*value);
}

}  // namespace dal
