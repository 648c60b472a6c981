// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Runs of several layers in one loop over threads.
#pragma once

#include <optional>
#include <span>

#include "src/run/arena.h"
#include "src/run/product.h"

namespace zenwoq {

// A run of a layer that has passed the C boundary; its m is not 0. Threads and loop are the same in all of a batch.
struct Job {
  const Layer* layer;
  RunArguments args;
};

// The runs as if one after another, with the same bits: x is prepared once where runs share it, and all products are
// one row of tasks, of which each run has its share. What one run writes no other one reads or writes.
class Batch {
 public:
  struct Entry {
    Product product;
    const Entry* leader;          // whose activations are this one's too; itself, where it prepares its own
    std::size_t workspace_bytes;  // of a leader
    std::optional<ActivationWork> work;
    std::uint64_t tasks_end = 0;
  };

  // table: one entry for each job. Both are borrowed. Allocates nothing once the kernels exist.
  Batch(Context& context, std::span<const Job> jobs, Entry* table);

  // Empty if they overflow. Of any alignment.
  std::optional<std::size_t> workspace_bytes() const;
  void run(std::uint8_t* workspace);

 private:
  Context& context_;
  std::span<const Job> jobs_;
  std::span<Entry> entries_;
  TaskShares shares_;
};

}  // namespace zenwoq
