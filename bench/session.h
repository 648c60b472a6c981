// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// What benchmarks of one process share: contexts, the cold weights in use, the roofs measured on them.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bench/options.h"
#include "bench/roof.h"
#include "tools/api_handles.h"

namespace zenwoq::bench {

using tools::ContextHandle;
using tools::LinearHandle;
using tools::WeightHandle;

// Copies of one weight, together larger than any cache, each in memory that the library allocated.
class ColdWeights {
 public:
  ColdWeights(zenwoq_context* context, const Format& format, std::size_t cold_bytes);

  const Format& format() const { return format_; }
  const std::vector<WeightHandle>& copies() const { return copies_; }
  Buffers buffers() const;  // their packed bytes

 private:
  const Format format_;
  std::vector<WeightHandle> copies_;
};

class Session {
 public:
  explicit Session(const Options& options);

  zenwoq_context* context(unsigned threads);
  zenwoq_cpu_info cpu();
  const char* tier();                                    // "avx512bf16" or "reference"
  unsigned usable_cpus() const { return usable_cpus_; }  // by this process
  std::size_t cold_bytes() const { return cold_bytes_; }
  double first_context_us() const { return first_context_us_; }

  // Only copies of the format that was asked for last are kept.
  const ColdWeights& weights(const Format& format);
  // A meter for these weights and threads, with its loops already chosen.
  RoofMeter& roof_meter(const Format& format, unsigned threads);

 private:
  double first_context_us_;                     // including one-time costs of the process
  std::map<unsigned, ContextHandle> contexts_;  // by threads
  unsigned usable_cpus_;
  std::size_t cold_bytes_;
  std::unique_ptr<ColdWeights> weights_;
  std::map<unsigned, std::unique_ptr<RoofMeter>> meters_;  // of weights_, by threads
};

// Each registers one family of benchmarks.
void register_linear_benchmarks(Session& session, const std::vector<LinearCase>& cases);
void register_experts_benchmarks(Session& session, const std::vector<ExpertsBlock>& blocks);
void register_kernel_benchmarks();
void register_weight_benchmarks(Session& session);
void register_call_benchmarks(Session& session);
void register_pool_benchmarks(Session& session);

}  // namespace zenwoq::bench
