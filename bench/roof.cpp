// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Measures bandwidth and dot product peak, on the threads that the run itself uses.
#include "bench/roof.h"

#include <atomic>
#include <chrono>

namespace zenwoq::bench {
namespace {

constexpr double kDotFlops = 64;  // vdpbf16ps on a zmm register: 16 columns x 2 k x (multiply, add)
constexpr double kFmaFlops = 16;  // on a ymm register: 8 columns x (multiply, add)
constexpr double kDecodeSlots =
    32.0 / 64;  // a byte of codes: 64 bytes are 16 vectors of two or three instructions each
constexpr std::size_t kCodeBytes = std::size_t{1} << 20;
constexpr std::size_t kChunkBytes = std::size_t{4} << 20;
constexpr std::size_t kLoopsKept = 4;
constexpr std::size_t kPasses = 3;  // per kept loop, whose rate is their median, as layers are rated by their median
constexpr double kFar = 2;  // to save time, a side that takes less than half of the other's time is not measured again
constexpr std::size_t kDotBlocks = 4000;        // about 15 us
constexpr std::size_t kDotTasksPerThread = 64;  // about 1 ms in all

// The seconds that the context's threads take to run body(i) for every i in [0, n).
template <typename Body>
double time_parallel(Context& context, std::size_t n, Body&& body) {
  const auto start = std::chrono::steady_clock::now();
  context.parallel_for(
      n, [](void* arg, std::size_t i) { (*static_cast<std::remove_reference_t<Body>*>(arg))(i); }, &body);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

double slot_flops(zenwoq_tier tier) { return tier == ZENWOQ_TIER_AVX2 ? kFmaFlops : kDotFlops; }

Work::Work(const Format& format, std::size_t m, zenwoq_tier tier) : bytes(format.bytes()) {
  const double outputs = static_cast<double>(m) * static_cast<double>(format.n);
  const double macs = outputs * static_cast<double>(format.k);
  const double fmas = format.zero_kind == ZENWOQ_ZERO_NONE ? 1 : 2;
  flops = 2 * macs;
  const double lanes = tier == ZENWOQ_TIER_AVX2 ? 8 : 16;  // columns of a register
  slots = flops / slot_flops(tier) + fmas * outputs / lanes * static_cast<double>(format.groups());
  const double code_bytes = static_cast<double>(format.n) * static_cast<double>(format.k) / 2;
  decode_slots = tier == ZENWOQ_TIER_AVX2 ? code_bytes * kDecodeSlots : 0;
}

double Roof::gflops(zenwoq_tier tier) const { return slots_per_second * slot_flops(tier) * 1e-9; }

RoofMeter::RoofMeter(Context& context)
    : context_(context),
      memory_(kCodeBytes),
      read_loops_(
          read_loops(memory_, context.cpu().runs(ZENWOQ_TIER_AVX2), context.cpu().runs(ZENWOQ_TIER_AVX512BF16))),
      dot_loops_(dot_loops(memory_, context.tier())) {}

void RoofMeter::choose_loops(const Buffers& buffers) {
  chunks_.clear();
  for (const std::span<const std::uint8_t>& buffer : buffers) {
    for (std::size_t at = 0; at < buffer.size(); at += kChunkBytes) {
      chunks_.push_back(buffer.subspan(at, std::min(kChunkBytes, buffer.size() - at)));
    }
  }
  reads_.clear();
  dots_.clear();
  for (const ReadLoop& loop : read_loops_) reads_.push_back({&loop, read_rate(loop)});
  for (const DotLoop& loop : dot_loops_) dots_.push_back({&loop, dot_rate(loop)});
  rank(reads_);
  rank(dots_);
  first_ = {reads_.empty() ? 0 : reads_.front().per_second, dots_.empty() ? 0 : dots_.front().per_second};
}

template <typename Loop>
void RoofMeter::rank(std::vector<Rated<Loop>>& rated) {
  std::sort(rated.begin(), rated.end(), [](const auto& a, const auto& b) { return a.per_second > b.per_second; });
  if (rated.size() > kLoopsKept) rated.resize(kLoopsKept);
}

Roof RoofMeter::measure() { return measure(true, true); }

Roof RoofMeter::measure_for(const Work& work) {
  const double read_seconds = work.bytes / first_.bytes_per_second;
  const double dot_seconds = work.slots / first_.slots_per_second;
  return measure(!first_.known() || read_seconds * kFar > dot_seconds,
                 !first_.known() || dot_seconds * kFar > read_seconds);
}

// Loops take turns, so that a disturbance does not affect only one of them. The best loop counts.
Roof RoofMeter::measure(bool reads, bool dots) {
  const auto best_median = [](const auto& rated, const auto& rate) {
    std::vector<std::vector<double>> rates(rated.size());
    for (std::size_t pass = 0; pass < kPasses; ++pass) {
      for (std::size_t i = 0; i < rated.size(); ++i) rates[i].push_back(rate(*rated[i].loop));
    }
    double best = 0;
    for (std::vector<double>& of_loop : rates) {
      std::nth_element(of_loop.begin(), of_loop.begin() + kPasses / 2, of_loop.end());
      best = std::max(best, of_loop[kPasses / 2]);
    }
    return best;
  };
  return {
      reads ? best_median(reads_, [this](const ReadLoop& loop) { return read_rate(loop); }) : first_.bytes_per_second,
      dots ? best_median(dots_, [this](const DotLoop& loop) { return dot_rate(loop); }) : first_.slots_per_second};
}

// The rate of reading every buffer once, from the first to the last.
double RoofMeter::read_rate(const ReadLoop& loop) {
  std::atomic<std::size_t> bytes_read{0};
  const double seconds = time_parallel(context_, chunks_.size(), [&](std::size_t i) {
    const std::span<const std::uint8_t> chunk = chunks_[i];
    const std::size_t times = chunk.size() / loop.streams / loop.block_bytes;
    if (times == 0) return;  // the loop would count down before it looks
    const std::size_t stream_bytes = times * loop.block_bytes;
    loop.run(chunk.data(), stream_bytes, times);
    bytes_read.fetch_add(stream_bytes * loop.streams, std::memory_order_relaxed);
  });
  return static_cast<double>(bytes_read) / seconds;
}

double RoofMeter::dot_rate(const DotLoop& loop) {
  const std::size_t tasks = kDotTasksPerThread * context_.threads();
  const double seconds = time_parallel(context_, tasks, [&](std::size_t) { loop.run(kDotBlocks); });
  return static_cast<double>(tasks * kDotBlocks) * loop.block_slots / seconds;
}

}  // namespace zenwoq::bench
