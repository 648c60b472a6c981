// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// A product that is ready to run, and a loop over the tasks of several.
#pragma once

#include <span>

#include "src/run/layer.h"

namespace zenwoq {

// A run of a layer, its plan and the kernels of the plan's tiles. Keeps references to what it is made from.
class Product {
 public:
  // tasks: to cut, about. Allocates nothing once the kernels exist.
  Product(Context& context, const Layer& layer, const RunArguments& args, std::uint64_t tasks);

  std::uint64_t tasks() const { return plan_.tasks(); }
  // How activations are to be prepared. The reference reads bf16, and takes all tiles where a kernel is missing.
  zenwoq_dtype x_type() const { return complete_ ? context_.x_type() : ZENWOQ_BF16; }
  void run(std::uint64_t task, const Activations& activations) const;

 private:
  void log() const noexcept;

  Context& context_;
  const Layer& layer_;
  const RunArguments& args_;
  const Plan plan_;
  std::array<const Kernel*, Plan::kMaxTiles> kernels_{};
  bool complete_;
};

// Calls body(i) for i in [0, n) on at most `threads` threads.
template <typename Body>
void parallel(Context& context, std::size_t n, unsigned threads, const CallersLoop& loop, const Body& body) {
  context.parallel_for_at_most(
      n, threads, [](void* arg, std::size_t i) { (*static_cast<const Body*>(arg))(i); }, const_cast<Body*>(&body),
      loop);
}

// The tasks of several jobs as one row. Job: tasks_end, the tasks of all jobs up to and with this one.
template <typename Job>
std::uint64_t tasks_of(std::span<const Job> jobs) {
  return jobs.empty() ? 0 : jobs.back().tasks_end;
}
// Calls body(job, task) for task `task` of the row.
template <typename Job, typename Body>
void with_job(std::span<const Job> jobs, std::uint64_t task, const Body& body) {
  const auto job = std::upper_bound(jobs.begin(), jobs.end(), task,
                                    [](std::uint64_t at, const Job& of) { return at < of.tasks_end; });
  body(*job, job == jobs.begin() ? task : task - (job - 1)->tasks_end);
}

}  // namespace zenwoq
