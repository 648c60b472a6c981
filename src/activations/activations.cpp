// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The workspace of a run and its two sections: converted rows (permuted and multiplied with their factors, where the
// weight says so), then group sums.
#include "src/activations/activations.h"

#include <algorithm>
#include <cstring>

namespace zenwoq {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::uint64_t kPageBytes = 4096;
constexpr std::uint64_t kElementsWorthWaking = 1 << 16;
std::uint64_t round_up(std::uint64_t value) { return (value + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

bool converts(const Quantization& weight, zenwoq_dtype x_type, zenwoq_dtype kernel_type) {
  return x_type != ZENWOQ_BF16 || kernel_type != ZENWOQ_BF16 || weight.permuted || weight.x_scaled;
}

std::uint64_t row_bytes(std::uint64_t k, zenwoq_dtype kernel_type) {
  if (kernel_type != ZENWOQ_F32) return k * 2;
  // An odd number of cache lines: rows a page apart, or half of one, would share a few sets of the caches.
  const std::uint64_t bytes = (k + kStepK - 1) / kStepK * kStepK * sizeof(float);
  return bytes < kPageBytes ? bytes : round_up(bytes) | kAlignment;
}

std::uint64_t row_tasks(std::uint64_t rows, std::uint64_t k, unsigned threads) {
  return k * rows < kElementsWorthWaking ? 1 : std::min<std::uint64_t>(rows, threads);
}

bool serves(const PackedView& first, const PackedView& second) {
  const PackedHeader &a = first.header, &b = second.header;
  const bool sums = b.zero_kind == ZENWOQ_ZERO_NONE || (a.zero_kind != ZENWOQ_ZERO_NONE && a.group() == b.group());
  return a.k == b.k && sums && same_array(first.permutation(), second.permutation(), a.k * sizeof(std::uint32_t)) &&
         same_array(first.x_scale(), second.x_scale(), a.k * sizeof(float));
}

std::optional<std::size_t> activation_bytes(const Quantization& weight, std::uint64_t m, zenwoq_dtype x_type,
                                            zenwoq_dtype kernel_type) {
  std::size_t x = 0;
  std::size_t xsum = 0;
  std::size_t total = 0;
  bool overflow = false;
  if (converts(weight, x_type, kernel_type)) {
    overflow |= __builtin_mul_overflow(row_bytes(weight.k, kernel_type), m, &x) || x > PTRDIFF_MAX;
  }
  if (weight.zero_kind != ZENWOQ_ZERO_NONE) {
    overflow |= __builtin_mul_overflow(weight.groups() * sizeof(float), m, &xsum) || xsum > PTRDIFF_MAX;
  }
  if (overflow) return std::nullopt;
  if (x == 0 && xsum == 0) return 0;
  overflow = __builtin_add_overflow(round_up(x), xsum, &total) || __builtin_add_overflow(total, kAlignment, &total);
  if (overflow || total > PTRDIFF_MAX) return std::nullopt;
  return total;
}

ActivationWork::ActivationWork(const PackedView& view, const ActivationSource& source, zenwoq_dtype kernel_type,
                               std::uint8_t* workspace, unsigned threads)
    : source_(source),
      columns_(arrangement_of(view)),
      k_(view.header.k),
      group_(view.header.group()),
      kernel_type_(kernel_type),
      result_{static_cast<const std::uint8_t*>(source.x), source.ldx_bytes, nullptr} {
  const bool convert = converts(view.header, source.x_type, kernel_type);
  const bool sum = view.header.zero_kind != ZENWOQ_ZERO_NONE;
  if (!convert && !sum) return;
  auto* aligned = reinterpret_cast<std::uint8_t*>(round_up(reinterpret_cast<std::uintptr_t>(workspace)));
  if (convert) {
    converted_ = aligned;
    result_.x = converted_;
    result_.ldx_bytes = row_bytes(k_, kernel_type);
  }
  if (sum) {
    xsum_ = reinterpret_cast<float*>(aligned + (convert ? round_up(row_bytes(k_, kernel_type) * source.m) : 0));
    result_.xsum = xsum_;
  }
  tasks_ = row_tasks(source.m, k_, threads);
}

void ActivationWork::run(std::uint64_t task) const {
  const std::uint64_t begin = source_.m * task / tasks_;
  const std::uint64_t end = source_.m * (task + 1) / tasks_;
  for (std::uint64_t row = begin; converted_ != nullptr && row < end; ++row) {
    const auto* x = static_cast<const std::uint8_t*>(source_.x) + row * source_.ldx_bytes;
    prepare_row(source_.x_type, x, k_, columns_, kernel_type_, converted_ + row * result_.ldx_bytes);
  }
  if (xsum_ == nullptr) return;
  sum_groups(kernel_type_, result_.x + begin * result_.ldx_bytes, result_.ldx_bytes, end - begin, k_, group_,
             xsum_ + begin, source_.m);
}

void prepare_row(zenwoq_dtype x_type, const std::uint8_t* x, std::uint64_t count, const ColumnArrangement& columns,
                 zenwoq_dtype kernel_type, std::uint8_t* out) {
  if (columns.permutation != nullptr || columns.scale != nullptr) {
    arrange_row(x_type, x, count, columns, kernel_type, out);
  } else if (x_type == ZENWOQ_BF16 && kernel_type == ZENWOQ_BF16) {
    std::memcpy(out, x, count * 2);
  } else {
    convert_row(x_type, x, count, kernel_type, out);
  }
}

}  // namespace zenwoq
