// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The roof of a run, measured next to it: the time that this machine takes to read the weights or issue the products.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "bench/loops.h"
#include "bench/source.h"
#include "src/run/context.h"

namespace zenwoq::bench {

// The work that the arithmetic contract requires, not counting what packing adds.
struct Work {
  double bytes;  // of the source format
  double flops;
  double slots;  // of the tier's multiply instruction: products, and one FMA (two with zeros) per group and accumulator
  double
      decode_slots;  // that decoding in registers costs at the least: 32 FMAs' worth per 64 bytes of codes, tier avx2

  Work(const Format& format, std::size_t m, zenwoq_tier tier);
};

// Floating-point operations of one multiply instruction of a tier; those of AVX-512 where it has none.
double slot_flops(zenwoq_tier tier);

// What all threads of a run can do together in a second; 0 = could not be measured.
struct Roof {
  double bytes_per_second = 0;
  double slots_per_second = 0;

  // The mean of two measurements of the same machine, for what ran between them.
  Roof mean(const Roof& other) const {
    return {(bytes_per_second + other.bytes_per_second) / 2, (slots_per_second + other.slots_per_second) / 2};
  }
  bool known() const { return bytes_per_second > 0 && slots_per_second > 0; }
  double seconds(const Work& work) const {
    return std::max(work.bytes / bytes_per_second, std::max(work.slots, work.decode_slots) / slots_per_second);
  }
  double gflops(zenwoq_tier tier) const;  // of products alone
};

using Buffers = std::vector<std::span<const std::uint8_t>>;

class RoofMeter {
 public:
  // Measures with the threads of this context.
  explicit RoofMeter(Context& context);

  // Tries every loop on these buffers; the fastest few stay for measure(). The buffers must outlive it.
  void choose_loops(const Buffers& buffers);
  Roof measure();
  // Like measure(), but a side that is far from being this work's roof keeps the figure that choose_loops found.
  Roof measure_for(const Work& work);

  std::string read_loop() const { return reads_.empty() ? "none" : reads_.front().loop->name; }  // the fastest
  std::string dot_loop() const { return dots_.empty() ? "none" : dots_.front().loop->name; }

 private:
  template <typename Loop>
  struct Rated {
    const Loop* loop;
    double per_second;  // bytes, or slots
  };
  template <typename Loop>
  static void rank(std::vector<Rated<Loop>>& rated);

  Roof measure(bool reads, bool dots);
  double read_rate(const ReadLoop& loop);
  double dot_rate(const DotLoop& loop);

  Context& context_;
  CodeMemory memory_;
  const std::vector<ReadLoop> read_loops_;
  const std::vector<DotLoop> dot_loops_;
  Buffers chunks_;                      // small enough that threads end together
  std::vector<Rated<ReadLoop>> reads_;  // chosen, best first
  std::vector<Rated<DotLoop>> dots_;
  Roof first_;  // measured when the loops were chosen
};

}  // namespace zenwoq::bench
