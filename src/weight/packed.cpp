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

Status check_description(const zenwoq_weight_desc& desc) {
  if (desc.n == 0 || desc.k == 0) return invalid("weight of n = {}, k = {}: both must be at least 1", desc.n, desc.k);
  if (desc.group_size % kStepK != 0) {
    return invalid("group_size {}: must be a multiple of 8, or 0 for per-channel", desc.group_size);
  }
  if (!is_dtype(desc.scale_type)) {
    return invalid("scale_type {}: must be ZENWOQ_F32 (1), ZENWOQ_F16 (2) or ZENWOQ_BF16 (3)",
                   static_cast<int>(desc.scale_type));
  }
  if (static_cast<unsigned>(desc.zero_kind) > ZENWOQ_ZERO_OFFSET) {
    return invalid("zero_kind {}: must be none (0), integer (1) or offset (2)", static_cast<int>(desc.zero_kind));
  }
  for (int i = 0; i < 16; ++i) {
    if (!is_finite(bf16_to_f32(f32_to_bf16(desc.table[i])))) {
      return invalid("table[{}] = {}: the value of a code must be finite in bf16", i, desc.table[i]);
    }
  }
  return {};
}

}  // namespace

Status make_header(const zenwoq_weight_desc& desc, PackedHeader* header) {
  if (Status status = check_description(desc); !status.ok()) return status;
  const auto too_large = [&] {
    return Status(ZENWOQ_ERROR_OVERFLOW,
                  fmt::format("weight of n = {}, k = {}: its packed bytes exceed {}", desc.n, desc.k, kMaxBytes));
  };
  if (desc.n > kMaxBytes / 2 || desc.k > kMaxBytes / 2) return too_large();  // the roundings up below cannot wrap

  *header = PackedHeader{};
  std::memcpy(header->magic, kMagic, sizeof kMagic);
  header->format_version = ZENWOQ_PACKED_VERSION;
  header->arithmetic_version = ZENWOQ_ARITHMETIC_VERSION;
  header->n = desc.n;
  header->k = desc.k;
  header->group_size = desc.group_size;
  header->scale_type = desc.scale_type;
  header->zero_kind = desc.zero_kind;
  std::memcpy(header->table, desc.table, sizeof header->table);

  const CheckedSize parameters =
      CheckedSize(header->groups()).times(kPanelColumns * (header->scale_bytes() + header->zero_bytes()));
  const CheckedSize panel = CheckedSize((header->k + kStepK - 1) / kStepK).times(kStepBytes).plus(parameters);
  const CheckedSize total = panel.times(header->panels()).plus(sizeof(PackedHeader) + kSpareBytes);
  if (!total.fits()) return too_large();
  header->panels_offset = sizeof(PackedHeader);
  header->panel_bytes = panel.value();
  header->total_bytes = total.value();
  header->checksum = fnv1a(header, offsetof(PackedHeader, checksum));
  return {};
}

zenwoq_weight_desc description(const PackedHeader& header) {
  zenwoq_weight_desc desc{};
  desc.struct_size = sizeof desc;
  desc.n = header.n;
  desc.k = header.k;
  desc.group_size = header.group_size;
  desc.scale_type = header.scale();
  desc.zero_kind = header.zero();
  std::memcpy(desc.table, header.table, sizeof desc.table);
  return desc;
}

std::string weight_text(const PackedHeader& header) {
  constexpr const char* kKinds[] = {"sym", "asym", "offset"};
  const std::string granularity =
      header.group_size == 0 ? "per-channel" : fmt::format("per-group {}", header.group_size);
  return fmt::format("int4 {} {}, scale {}", kKinds[header.zero_kind], granularity, dtype_name(header.scale()));
}

Status open_packed(const void* packed, std::size_t bytes, PackedView* view) {
  const auto bad = [](std::string text) {
    return Status(ZENWOQ_ERROR_BAD_PACKED, "packed weight: " + std::move(text));
  };
  if (bytes < sizeof(PackedHeader))
    return bad(fmt::format("{} bytes, the header alone has {}", bytes, sizeof(PackedHeader)));
  PackedHeader header;
  std::memcpy(&header, packed, sizeof header);
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0) return bad("wrong magic, these are not packed weights");
  if (header.format_version != ZENWOQ_PACKED_VERSION) {
    return bad(fmt::format("format version {}, this library reads {}", header.format_version, ZENWOQ_PACKED_VERSION));
  }
  if (header.arithmetic_version != ZENWOQ_ARITHMETIC_VERSION) {
    return bad(fmt::format("arithmetic version {}, this library computes {}", header.arithmetic_version,
                           ZENWOQ_ARITHMETIC_VERSION));
  }
  const std::uint64_t checksum = fnv1a(&header, offsetof(PackedHeader, checksum));
  if (header.checksum != checksum) {
    return bad(fmt::format("header checksum {:016x}, computed {:016x}: damaged", header.checksum, checksum));
  }
  PackedHeader expected;
  if (Status status = make_header(description(header), &expected); !status.ok()) return bad(status.text());
  if (std::memcmp(&header, &expected, sizeof header) != 0) {
    return bad(fmt::format("offsets do not belong to n = {}, k = {}, {}", header.n, header.k, weight_text(expected)));
  }
  if (bytes < header.total_bytes) return bad(fmt::format("{} bytes of {}: cut short", bytes, header.total_bytes));
  *view = {header, static_cast<const std::uint8_t*>(packed)};
  return {};
}

}  // namespace zenwoq
