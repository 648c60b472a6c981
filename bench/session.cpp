// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Makes cold weights and contexts, and keeps those in use.
#include "bench/session.h"

#include <chrono>
#include <fstream>

#include "src/api/boundary.h"

namespace zenwoq::bench {
namespace {

constexpr std::size_t kLeastColdBytes = std::size_t{256} << 20;

// Bytes of memory that are available now; 0 if the system does not say.
std::size_t available_bytes() {
  std::ifstream file("/proc/meminfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("MemAvailable:", 0) == 0) return std::stoull(line.substr(13)) << 10;
  }
  return 0;
}

// Less on a machine that is short of memory; cold_bytes in the context tells how much.
std::size_t default_cold_bytes(const zenwoq_cpu_info& cpu) {
  const std::size_t wanted = std::max(kLeastColdBytes, static_cast<std::size_t>(cpu.l3_bytes) * 5 / 2);
  const std::size_t available = available_bytes();
  return available == 0 ? wanted : std::min(wanted, available / 8);
}

zenwoq_cpu_info cpu_of(const ContextHandle& context) {
  zenwoq_cpu_info info;
  zenwoq_cpu_info_init(&info);
  tools::require(zenwoq_context_cpu_info(context.get(), &info));
  return info;
}

}  // namespace

ColdWeights::ColdWeights(zenwoq_context* context, const Format& format, std::size_t cold_bytes) : format_(format) {
  const Source source(format, ZENWOQ_CODES_NIBBLES);
  const zenwoq_weight_desc desc = format.desc();
  const zenwoq_weight_source view = source.view();
  for (std::size_t bytes = 0; copies_.empty() || bytes < cold_bytes;) {
    copies_.push_back(tools::make_weight(context, desc, view));
    bytes += copies_.back()->header().total_bytes;
  }
}

Buffers ColdWeights::buffers() const {
  Buffers buffers;
  for (const WeightHandle& copy : copies_) {
    const void* packed = nullptr;
    std::size_t bytes = 0;
    tools::require(zenwoq_weight_packed(copy.get(), &packed, &bytes));
    buffers.emplace_back(static_cast<const std::uint8_t*>(packed), bytes);
  }
  return buffers;
}

Session::Session(const Options& options) {
  const auto start = std::chrono::steady_clock::now();
  contexts_[1] = tools::make_context({1, ZENWOQ_TIER_BEST, {}});
  first_context_us_ = std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count();
  usable_cpus_ = cpu_of(tools::make_context({})).threads;
  cold_bytes_ = options.cold_bytes != 0 ? options.cold_bytes : default_cold_bytes(cpu());
}

zenwoq_context* Session::context(unsigned threads) {
  ContextHandle& context = contexts_[threads];
  if (context == nullptr) context = tools::make_context({threads, ZENWOQ_TIER_BEST, {}});
  return context.get();
}

zenwoq_cpu_info Session::cpu() { return cpu_of(contexts_[1]); }

const char* Session::tier() { return zenwoq_tier_name(cpu().tier); }

const ColdWeights& Session::weights(const Format& format) {
  if (weights_ == nullptr || !(weights_->format() == format)) {
    meters_.clear();
    weights_.reset();
    weights_ = std::make_unique<ColdWeights>(context(1), format, cold_bytes_);
  }
  return *weights_;
}

RoofMeter& Session::roof_meter(const Format& format, unsigned threads) {
  const ColdWeights& cold = weights(format);
  std::unique_ptr<RoofMeter>& meter = meters_[threads];
  if (meter == nullptr) {
    meter = std::make_unique<RoofMeter>(*context(threads)->context);
    meter->choose_loops(cold.buffers());
  }
  return *meter;
}

}  // namespace zenwoq::bench
