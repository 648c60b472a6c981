// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// What runs have in common at the C boundary, of linears and of packed bytes, one or several: descriptions of layers,
// checks before any byte is written, workspaces.
#pragma once

#include "src/api/checks.h"
#include "src/run/batch.h"

namespace zenwoq {

inline constexpr std::size_t kStackWorkspace = 8192;  // runs that need no more bring it themselves
inline constexpr std::size_t kStackArrays = 4096;     // so do calls of a few runs

// desc may be NULL (all defaults).
Status read_linear_desc(const zenwoq_linear_desc* desc, zenwoq_linear_desc* out);

// The biases of a layer with this weight. Errors: INVALID_ARGUMENT, BUFFER_TOO_SMALL.
Status check_biases(const zenwoq_linear_desc& desc, const PackedHeader& header);

// What a layer does after its product, without the weights and biases.
void set_epilogue(const zenwoq_linear_desc& desc, Layer* layer);

// Bytes of the workspace of a run that does not fit on the stack. Errors: INVALID_ARGUMENT, OVERFLOW.
Status needed_workspace(const Context& context, const Quantization& weight, std::size_t m, zenwoq_dtype x_type,
                        std::size_t* bytes);

// What runs of packed bytes, and several runs, cannot take.
Status check_no_workspace(const char* what, const zenwoq_run_args& args);

// threads, parallel_for and reserved.
Status check_threads(std::uint32_t threads, std::uint32_t reserved, zenwoq_parallel_for_fn parallel_for);
// The threads of a run: those asked for, at most the context's where it uses them.
unsigned threads_of_run(const Context& context, std::uint32_t threads, zenwoq_parallel_for_fn parallel_for);

// Checks a run whole before any byte is written. out: the run, and the workspace it needs.
Status check_run(const Context& context, const Layer& layer, const zenwoq_run_args& args, RunArguments* run,
                 std::size_t* workspace);

// Calls body(workspace) with `bytes` bytes: the caller's, or from the stack for a few and from the context for more.
template <std::size_t stack_bytes = kStackWorkspace, typename Body>
void with_workspace(Context& context, std::size_t bytes, void* callers, Body&& body) {
  if (bytes <= stack_bytes) {
    alignas(64) std::uint8_t on_stack[stack_bytes];
    body(on_stack);
  } else if (callers != nullptr) {
    body(static_cast<std::uint8_t*>(callers));
  } else {
    const Scratch::Lease lease(context.scratch(), bytes);
    body(lease.data());
  }
}

// ---- Several runs of one call ----

inline Status too_much() { return {ZENWOQ_ERROR_OVERFLOW, "runs: the memory that they need together overflows"}; }

// Calls body(Arrays&) -> Status with arrays for `count` runs, on the stack for a few. Arrays is made of an arena and a
// count. Errors: OVERFLOW.
template <typename Arrays, typename Body>
Status with_arrays(Context& context, std::size_t count, Body&& body) {
  Arena measured;
  (void)Arrays(measured, count);
  if (!measured.bytes()) return too_much();
  Status status;
  with_workspace<kStackArrays>(context, *measured.bytes(), nullptr, [&](std::uint8_t* memory) {
    Arena arena(memory);
    Arrays arrays(arena, count);
    status = body(arrays);
  });
  return status;
}

// Runs a batch, whose layers have their biases. Errors: OVERFLOW.
Status run_batch(Context& context, std::span<const Job> jobs, Batch::Entry* entries);

// An error of the run, which the text names.
Status of_run(std::size_t run, const Status& status);

// Whether a run asks for the threads that the first one asks for, and brings no workspace.
Status check_alike(const zenwoq_run_args& first, const zenwoq_run_args& args);

// What runs read and write, of runs that are right alone. No y may overlap anything of another run, but rows of several
// y may lie side by side in one matrix. What a run reads where its y is counts as its y.
class Reaches {
 public:
  static constexpr std::size_t kReadsOfRun = 8;  // x, factor, two residuals, two weights and their biases
  // Of at most `runs` runs.
  Reaches(Arena& arena, std::size_t runs)
      : reads_(arena.take<Reach>(runs * kReadsOfRun)), outputs_(arena.take<Reach>(runs)) {}

  void add(std::size_t run, const Layer& layer, const RunArguments& args);  // all that a linear's run reaches
  void add_read(std::size_t run, const char* name, const void* data, std::size_t bytes);
  Status check();

 private:
  struct Reach {
    std::uintptr_t begin, end;
    const char* name;
    std::size_t run;
    std::size_t row_bytes, pitch;  // of an output; pitch is 0 where it has one row

    const void* data() const { return reinterpret_cast<const void*>(begin); }
  };

  static Status overlapping(const Reach& output, const Reach& other);
  static Status check_side_by_side(std::span<Reach> outputs);
  Status check_outputs_apart();

  Reach* reads_;
  Reach* outputs_;
  std::size_t read_count_ = 0, output_count_ = 0;
};

}  // namespace zenwoq
