// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Packing and unpacking on one thread, in GB/s of packed weights.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>

#include "session.h"
#include "weight/weight.h"

namespace zenwoq::bench {
namespace {

// One weight that no cache holds.
Format large_format(const Session& session) {
  constexpr std::size_t kK = 4096;
  return {.n = std::max<std::size_t>(64, session.cold_bytes() / (kK / 2)), .k = kK, .group = 128};
}

std::size_t packed_bytes_of(const zenwoq_weight_desc& desc) {
  std::size_t bytes = 0;
  check(zenwoq_weight_packed_bytes(&desc, &bytes));
  return bytes;
}

// Times body() and counts how fast it makes or reads this many packed bytes.
template <typename Body>
void measure(benchmark::State& state, std::size_t bytes, const Body& body) {
  body();  // the pages are there when time counts
  const auto start = std::chrono::steady_clock::now();
  for (auto _ : state) body();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  state.counters["bytes"] = static_cast<double>(bytes);
  state.counters["GB/s"] = static_cast<double>(bytes) * static_cast<double>(state.iterations()) / seconds * 1e-9;
}

void pack_row(benchmark::State& state, Session& session, zenwoq_code_layout layout) {
  const Format format = large_format(session);
  const Source source(format, layout);
  const zenwoq_weight_desc desc = format.desc();
  const std::size_t bytes = packed_bytes_of(desc);
  const zenwoq_weight_source view = source.view();
  const PackedBuffer packed = allocate_packed(bytes);
  measure(state, bytes, [&] { check(zenwoq_weight_pack(&desc, &view, 0, desc.n, packed.get(), bytes)); });
}

void unpack_row(benchmark::State& state, Session& session) {
  const Format format = large_format(session);
  const Source source(format, ZENWOQ_CODES_NIBBLES);
  const zenwoq_weight_desc desc = format.desc();
  const zenwoq_weight_source view = source.view();
  zenwoq_weight* created = nullptr;
  check(zenwoq_weight_create(session.context(1), &desc, &view, &created));
  const WeightHandle weight(created);
  std::vector<std::uint8_t> codes(view.codes_bytes), scales(view.scales_bytes);
  measure(state, packed_bytes_of(desc), [&] {
    check(zenwoq_weight_unpack(weight.get(), codes.data(), codes.size(), scales.data(), scales.size(), nullptr, 0));
  });
}

}  // namespace

void register_weight_benchmarks(Session& session) {
  const auto add = [](const char* name, auto row) {
    benchmark::RegisterBenchmark(name, row)->UseRealTime()->Unit(benchmark::kMillisecond);
  };
  add("weight/pack/nibbles", [&session](benchmark::State& state) { pack_row(state, session, ZENWOQ_CODES_NIBBLES); });
  add("weight/pack/s8", [&session](benchmark::State& state) { pack_row(state, session, ZENWOQ_CODES_S8); });
  add("weight/unpack", [&session](benchmark::State& state) { unpack_row(state, session); });
}

}  // namespace zenwoq::bench
