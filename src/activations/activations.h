// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// What a run makes of the caller's activations before kernels see them: rows rounded to bf16, as bf16 or expanded to
// f32 as the tier wants them, their columns in the order of the packed weight and multiplied with factors where it has
// them, and sums over groups where the weight has zeros. Both lie in a workspace; where neither is needed the caller's
// rows are used as they are.
#pragma once

#include <cstdint>
#include <optional>

#include "src/weight/packed.h"

namespace zenwoq {

// The caller's rows.
struct ActivationSource {
  std::uint64_t m;
  zenwoq_dtype x_type;
  const void* x;
  std::uint64_t ldx_bytes;
};

// What kernels read.
struct Activations {
  const std::uint8_t* x;  // [M, K] in GemmArgs' form, rows ldx_bytes apart
  std::uint64_t ldx_bytes;
  const float* xsum;  // [G, M], or NULL where the weight has no zeros
};

// Bytes of the workspace, of any alignment; empty if they overflow. kernel_type: TierInfo::x_type of the tier that
// runs.
std::optional<std::size_t> activation_bytes(const Quantization& weight, std::uint64_t m, zenwoq_dtype x_type,
                                            zenwoq_dtype kernel_type);

// Whether a kernel of this weight cannot read the caller's rows as they are.
bool converts(const Quantization& weight, zenwoq_dtype x_type, zenwoq_dtype kernel_type);

// Of a converted row.
std::uint64_t row_bytes(std::uint64_t k, zenwoq_dtype kernel_type);

// What a weight does to columns of x: place j takes column permutation[j], multiplied with that column's factor. Of any
// alignment; NULL: no such thing.
struct ColumnArrangement {
  const std::uint8_t* permutation;  // [K] u32
  const std::uint8_t* scale;        // [K] f32
};

inline ColumnArrangement arrangement_of(const PackedView& view) { return {view.permutation(), view.x_scale()}; }

// Whether rows that were prepared for `first` serve `second` too.
bool serves(const PackedView& first, const PackedView& second);

// The work of preparing, cut into tasks that may run at once. A value, like a plan; neither it nor its tasks allocate.
class ActivationWork {
 public:
  // workspace: activation_bytes; may be NULL for 0. `threads` threads will run the tasks.
  ActivationWork(const PackedView& view, const ActivationSource& source, zenwoq_dtype kernel_type,
                 std::uint8_t* workspace, unsigned threads);

  std::uint64_t tasks() const { return tasks_; }
  void run(std::uint64_t task) const;
  const Activations& result() const { return result_; }  // valid once all tasks have run

 private:
  const ActivationSource source_;
  const ColumnArrangement columns_;
  const std::uint64_t k_, group_;
  const zenwoq_dtype kernel_type_;
  std::uint8_t* converted_ = nullptr;
  float* xsum_ = nullptr;
  std::uint64_t tasks_ = 0;
  Activations result_;
};

// The tasks that preparing `rows` rows is worth on so many threads.
std::uint64_t row_tasks(std::uint64_t rows, std::uint64_t k, unsigned threads);

// A row as kernels take it, whatever it was: one of the next two, or a copy.
void prepare_row(zenwoq_dtype x_type, const std::uint8_t* x, std::uint64_t count, const ColumnArrangement& columns,
                 zenwoq_dtype kernel_type, std::uint8_t* out);

// A row rounded to bf16, to nearest even, as bf16 or as f32; the latter is completed with +0 to whole steps.
void convert_row(zenwoq_dtype x_type, const std::uint8_t* x, std::uint64_t count, zenwoq_dtype kernel_type,
                 std::uint8_t* out);

// The same of arranged columns: rounded to bf16, multiplied with a factor and rounded again.
void arrange_row(zenwoq_dtype x_type, const std::uint8_t* x, std::uint64_t count, const ColumnArrangement& columns,
                 zenwoq_dtype kernel_type, std::uint8_t* out);

// Sums of activations over each group, in the order of the contract: xsum[g * stride + row]. Used by every tier.
// x_type: bf16, or f32 with values of bf16.
void sum_groups(zenwoq_dtype x_type, const void* x, std::uint64_t ldx_bytes, std::uint64_t rows, std::uint64_t k,
                std::uint64_t group, float* xsum, std::uint64_t stride);

}  // namespace zenwoq
