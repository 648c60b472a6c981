// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Where codes, scales and zeros lie in a panel of 64 columns. A panel is one stream, read from its first byte to its
// last:
//
//   group 0: [steps of 8 k][4 strips][64 bytes of codes]  [64 scales]  [64 zeros]
//   group 1: ...
//
// Scales (and offsets) of two levels: before every eighth group the f16 of the eight, [64 of scales] [64 of offsets].
//
// Scales follow the codes they belong to instead of filling a section apart: with one sequential stream, one row of
// activations at groups of 32 runs 11 % faster on Zen 4 than with scales as a second stream beside the codes.
#pragma once

#include <cstddef>

namespace zenwoq {

inline constexpr std::size_t kStripColumns = 16;
inline constexpr std::size_t kPanelStrips = 4;
inline constexpr std::size_t kPanelColumns = kStripColumns * kPanelStrips;
inline constexpr std::size_t kStepK = 8;
inline constexpr std::size_t kStripBytes = 64;
inline constexpr std::size_t kStepBytes = kStripBytes * kPanelStrips;

// Files that are compiled for several instruction sets use this: a copy that one of them left out of line could be
// linked into the others.
#define ZENWOQ_INLINE [[gnu::always_inline]]

// Bytes from the start of a panel. 64 scales or zeros of any type are whole cache lines, so all of it is 64-byte
// aligned.
class PanelLayout {
 public:
  static constexpr std::size_t kSuperGroups = 8;

  // k >= 1 in groups of `group`, a multiple of 8 where it is less than k (the last may be shorter); bytes of one scale
  // and of one zero, 0 where there are none; of what eight groups share, a column.
  ZENWOQ_INLINE PanelLayout(std::size_t k, std::size_t group, std::size_t scale_bytes, std::size_t zero_bytes,
                            std::size_t super_bytes)
      : steps_((k + kStepK - 1) / kStepK),
        group_steps_(group < k ? group / kStepK : steps_),
        scale_row_bytes_(kPanelColumns * scale_bytes),
        zero_row_bytes_(kPanelColumns * zero_bytes),
        super_row_bytes_(kPanelColumns * super_bytes) {}

  ZENWOQ_INLINE std::size_t steps() const { return steps_; }
  ZENWOQ_INLINE std::size_t group_steps() const { return group_steps_; }  // of every group but a shorter last one
  ZENWOQ_INLINE std::size_t groups() const { return (steps_ + group_steps_ - 1) / group_steps_; }
  ZENWOQ_INLINE std::size_t parameter_bytes() const { return scale_row_bytes_ + zero_row_bytes_; }  // of one group
  ZENWOQ_INLINE std::size_t super_bytes() const { return super_row_bytes_; }  // of eight groups; 0 if there are none
  ZENWOQ_INLINE std::size_t group_bytes() const { return group_steps_ * kStepBytes + parameter_bytes(); }

  ZENWOQ_INLINE std::size_t step(std::size_t s) const {
    return s * kStepBytes + s / group_steps_ * parameter_bytes() + supers_up_to(s / group_steps_);
  }
  ZENWOQ_INLINE std::size_t scales(std::size_t g) const {
    const std::size_t end = (g + 1) * group_steps_;
    return (end < steps_ ? end : steps_) * kStepBytes + g * parameter_bytes() + supers_up_to(g);
  }
  ZENWOQ_INLINE std::size_t zeros(std::size_t g) const { return scales(g) + scale_row_bytes_; }
  // Of groups 8 i .. 8 i + 7.
  ZENWOQ_INLINE std::size_t super_scales(std::size_t i) const {
    return i * (kSuperGroups * group_bytes() + super_row_bytes_);
  }
  ZENWOQ_INLINE std::size_t super_offsets(std::size_t i) const { return super_scales(i) + kPanelColumns * 2; }
  ZENWOQ_INLINE std::size_t bytes() const {
    return steps_ * kStepBytes + groups() * parameter_bytes() + supers_up_to(groups() - 1);
  }

 private:
  // In front of group g and of those before it.
  ZENWOQ_INLINE std::size_t supers_up_to(std::size_t g) const { return (g / kSuperGroups + 1) * super_row_bytes_; }

  std::size_t steps_, group_steps_, scale_row_bytes_, zero_row_bytes_, super_row_bytes_;
};

}  // namespace zenwoq
