// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// One layer: chooses kernels for M rows, prepares activations, walks the plan.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "src/plan/plan.h"
#include "src/run/context.h"
#include "src/weight/weight.h"

namespace zenwoq {

// A run that has passed the C boundary.
struct RunArguments {
  std::uint64_t m;
  zenwoq_dtype x_type;
  const void* x;
  std::uint64_t ldx_bytes;
  void* y;
  std::uint64_t ldy_bytes;
  unsigned threads;  // at least 1
};

class Linear {
 public:
  // bias: [N] in f32, or empty. Throws bad_alloc.
  Linear(std::shared_ptr<Context> context, std::shared_ptr<const Weight> weight, zenwoq_dtype output_type,
         std::vector<float> bias);

  // All of it borrowed, for one run: allocates nothing. padded_bias: whole panels of f32, or NULL.
  Linear(Context& context, const Weight& weight, zenwoq_dtype output_type, const float* padded_bias);
  Linear(const Linear&) = delete;
  Linear& operator=(const Linear&) = delete;

  const Weight& weight() const { return *weight_; }
  Context& context() const { return *context_; }
  zenwoq_dtype output_type() const { return output_type_; }

  // Workspace of a run; empty if it overflows.
  std::optional<std::size_t> workspace_bytes(std::uint64_t m, zenwoq_dtype x_type) const;

  // workspace: workspace_bytes of any alignment; may be NULL for 0.
  void run(const RunArguments& args, std::uint8_t* workspace);

  // Tiles that a run of m rows uses.
  std::vector<Tile> tiles(std::uint64_t m) const;
  // The kernel of a tile, generated if need be; NULL where the reference runs, and then why (if asked for).
  const Kernel* kernel(Tile tile, std::string* reason = nullptr);

 private:
  struct Run;           // one call of run(), shared by its tasks
  struct Activations {  // where the bf16 rows and the group sums are
    const std::uint8_t* x;
    std::uint64_t ldx_bytes;
    const float* xsum;  // [G, M]
  };

  Activations prepare_activations(const RunArguments& args, std::uint8_t* workspace);
  void run_task(const Run& run, std::size_t task);
  void run_block(const Run& run, std::uint64_t block, std::uint64_t panel_begin, std::uint64_t panel_end);
  void run_tile(const Run& run, std::uint64_t block, Tile tile, std::uint64_t panel_begin, std::uint64_t panel_end);
  KernelKey key_of(Tile tile) const;
  const Kernel* kernel_or_reference(Tile tile) noexcept;

  const std::shared_ptr<Context> context_;
  const std::shared_ptr<const Weight> weight_;
  const zenwoq_dtype output_type_;
  const std::vector<float> own_bias_;
  const float* const bias_;  // padded to whole panels, or NULL
  const CpuTuning& tuning_;
  // [rows][0: within a panel, 1: two panels at once]: the registry is asked once a tile.
  std::array<std::array<std::atomic<const Kernel*>, 2>, kMaxTileRows + 1> kernels_{};
};

}  // namespace zenwoq
