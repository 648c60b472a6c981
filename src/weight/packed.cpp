// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The header of packed weights: made from a description, checked when hostile bytes are opened.
#include "src/weight/packed.h"

#include <cstring>

#include "jit/number.h"

namespace zenwoq {
namespace {

constexpr char kMagic[8] = {'z', 'e', 'n', 'w', 'o', 'q', 'W', '4'};
constexpr std::size_t kMaxBytes = PTRDIFF_MAX;

std::uint64_t fnv1a(const void* data, std::size_t bytes) {
  std::uint64_t hash = 0xCBF29CE484222325u;
  for (std::size_t i = 0; i < bytes; ++i) {
    hash = (hash ^ static_cast<const unsigned char*>(data)[i]) * 0x100000001B3u;
  }
  return hash;
}

// Sizes that saw an overflow stay overflowed, so that a sum of products is checked once at its end.
class CheckedSize {
 public:
  explicit CheckedSize(std::size_t value) : value_(value) {}
  CheckedSize times(std::size_t factor) const {
    CheckedSize result(0);
    result.overflow_ = __builtin_mul_overflow(value_, factor, &result.value_) || overflow_;
    return result;
  }
  CheckedSize plus(std::size_t term) const {
    CheckedSize result(0);
    result.overflow_ = __builtin_add_overflow(value_, term, &result.value_) || overflow_;
    return result;
  }
  CheckedSize plus(const CheckedSize& term) const {
    CheckedSize result = plus(term.value_);
    result.overflow_ = result.overflow_ || term.overflow_;
    return result;
  }
  bool fits() const { return !overflow_ && value_ <= kMaxBytes; }
  std::size_t value() const { return value_; }

 private:
  std::size_t value_;
  bool overflow_ = false;
};

// The bytes of a header.
struct HeaderBytes {
  char magic[8];
  std::uint32_t format_version;
  std::uint32_t arithmetic_version;
  std::uint64_t n;
  std::uint64_t k;
  std::uint64_t group_size;  // 0 = per-channel
  std::uint32_t scale_type;
  std::uint32_t zero_kind;
  float table[16];
  std::uint64_t panels_offset;
  std::uint64_t panel_bytes;
  std::uint64_t total_bytes;
  // Zero in version 2, and in all of its weights.
  std::uint32_t zero_type;  // 0 unless zeros are fractions
  std::uint32_t tensor_scale_kind;
  float tensor_scale;  // 0 unless there is one
  std::uint32_t permuted;
  std::uint32_t x_scaled;
  std::uint8_t reserved[kHeaderBytes - 164];
  std::uint64_t checksum;  // FNV-1a of the bytes before it
};
static_assert(sizeof(HeaderBytes) == kHeaderBytes);

zenwoq_weight_desc description(const HeaderBytes& bytes) {
  zenwoq_weight_desc desc;
  zenwoq_weight_desc_init(&desc);
  desc.n = bytes.n;
  desc.k = bytes.k;
  desc.group_size = bytes.group_size;
  desc.scale_type = static_cast<zenwoq_dtype>(bytes.scale_type);
  desc.zero_kind = static_cast<zenwoq_zero_kind>(bytes.zero_kind);
  std::memcpy(desc.table, bytes.table, sizeof bytes.table);
  if (bytes.zero_type != 0) desc.zero_type = static_cast<zenwoq_dtype>(bytes.zero_type);
  desc.tensor_scale_kind = static_cast<zenwoq_tensor_scale_kind>(bytes.tensor_scale_kind);
  if (bytes.tensor_scale_kind != 0) desc.tensor_scale = bytes.tensor_scale;
  desc.permuted = bytes.permuted;
  desc.x_scaled = bytes.x_scaled;
  return desc;
}

constexpr std::uint32_t kOldestVersion = 2;

// The oldest version that can say it: what could be packed before is packed as before.
std::uint32_t version_of(const PackedHeader& header) {
  const bool old = is_dtype(header.scale_type) && !header.format().has_float_zeros() &&
                   header.tensor_scale_kind == ZENWOQ_TENSOR_SCALE_NONE && !header.permuted && !header.x_scaled;
  return old ? kOldestVersion : ZENWOQ_PACKED_VERSION;
}

// The permutation of opened bytes leads nowhere else than into a row.
Status check_permutation(const PackedView& view) {
  const std::uint8_t* permutation = view.permutation();
  for (std::size_t j = 0; permutation != nullptr && j < view.header.k; ++j) {
    std::uint32_t column;
    std::memcpy(&column, permutation + j * sizeof column, sizeof column);
    if (column >= view.header.k) {
      return {ZENWOQ_ERROR_BAD_PACKED,
              formatted("packed weight: permutation[{}] is {}, k is {}: damaged", j, column, view.header.k)};
    }
  }
  return {};
}

}  // namespace

Status make_header(const zenwoq_weight_desc& desc, PackedHeader* header) {
  if (Status status = check_desc(desc); !status.ok()) return status;
  const Quantization q = quantization_of(desc);
  const auto too_large = [&] {
    return Status(ZENWOQ_ERROR_OVERFLOW,
                  formatted("weight of n = {}, k = {}: its packed bytes exceed {}", q.n, q.k, kMaxBytes));
  };
  if (q.n > kMaxBytes / 2 || q.k > kMaxBytes / 2) return too_large();  // the roundings up below cannot wrap
  const CheckedSize parameters = CheckedSize(q.groups()).times(kPanelColumns * (q.scale_bytes() + q.zero_bytes()));
  const CheckedSize panel = CheckedSize((q.k + kStepK - 1) / kStepK)
                                .times(kStepBytes)
                                .plus(parameters)
                                .plus(CheckedSize(q.supers()).times(kPanelColumns * q.format().super_bytes()));
  const CheckedSize permutation_at = panel.times(q.panels()).plus(kHeaderBytes);
  const CheckedSize column_bytes = CheckedSize((q.k + 15) / 16).times(64);  // four a column, in whole cache lines
  const CheckedSize x_scale_at = q.permuted ? permutation_at.plus(column_bytes) : permutation_at;
  const CheckedSize total = (q.x_scaled ? x_scale_at.plus(column_bytes) : x_scale_at).plus(kSpareBytes);
  if (!total.fits()) return too_large();
  *header = {q, panel.value(), permutation_at.value(), x_scale_at.value(), total.value()};
  return {};
}

void write_header(const PackedHeader& header, std::uint8_t* packed) {
  HeaderBytes bytes{};
  std::memcpy(bytes.magic, kMagic, sizeof kMagic);
  bytes.format_version = version_of(header);
  bytes.arithmetic_version = ZENWOQ_ARITHMETIC_VERSION;
  bytes.n = header.n;
  bytes.k = header.k;
  bytes.group_size = header.group_size;
  bytes.scale_type = header.scale_type;
  bytes.zero_kind = header.zero_kind;
  std::memcpy(bytes.table, header.table.data(), sizeof bytes.table);
  bytes.panels_offset = kHeaderBytes;
  bytes.panel_bytes = header.panel_bytes;
  bytes.total_bytes = header.total_bytes;
  bytes.zero_type = header.format().has_float_zeros() ? header.zero_type : 0;
  bytes.tensor_scale_kind = header.tensor_scale_kind;
  bytes.tensor_scale = header.tensor_scale_kind == ZENWOQ_TENSOR_SCALE_NONE ? 0.0f : header.tensor_scale;
  bytes.permuted = header.permuted;
  bytes.x_scaled = header.x_scaled;
  bytes.checksum = fnv1a(&bytes, offsetof(HeaderBytes, checksum));
  std::memcpy(packed, &bytes, sizeof bytes);
}

Status open_packed(const void* packed, std::size_t bytes, PackedView* view) {
  const auto bad = [](std::string text) {
    return Status(ZENWOQ_ERROR_BAD_PACKED, "packed weight: " + std::move(text));
  };
  if (bytes < kHeaderBytes) return bad(formatted("{} bytes, the header alone has {}", bytes, kHeaderBytes));
  HeaderBytes header;
  std::memcpy(&header, packed, sizeof header);
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0) return bad("wrong magic, these are not packed weights");
  if (header.format_version < kOldestVersion || header.format_version > ZENWOQ_PACKED_VERSION) {
    return bad(formatted("format version {}, this library reads {} to {}", header.format_version, kOldestVersion,
                         ZENWOQ_PACKED_VERSION));
  }
  if (header.arithmetic_version != ZENWOQ_ARITHMETIC_VERSION) {
    return bad(formatted("arithmetic version {}, this library computes {}", header.arithmetic_version,
                         ZENWOQ_ARITHMETIC_VERSION));
  }
  const std::uint64_t checksum = fnv1a(&header, offsetof(HeaderBytes, checksum));
  if (header.checksum != checksum) {
    return bad(formatted("header checksum {:016x}, computed {:016x}: damaged", header.checksum, checksum));
  }
  PackedHeader expected;
  if (Status status = make_header(description(header), &expected); !status.ok()) return bad(status.text());
  std::uint8_t expected_bytes[kHeaderBytes];
  write_header(expected, expected_bytes);
  if (std::memcmp(&header, expected_bytes, sizeof header) != 0) {
    return bad(formatted("offsets do not belong to n = {}, k = {}, {}", header.n, header.k, expected.text()));
  }
  if (bytes < header.total_bytes) return bad(formatted("{} bytes of {}: cut short", bytes, header.total_bytes));
  *view = {expected, static_cast<const std::uint8_t*>(packed)};
  return check_permutation(*view);
}

}  // namespace zenwoq
