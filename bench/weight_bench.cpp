// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Times packing on one and two threads, unpacking and dequantising, in GB/s of packed weights.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "bench/session.h"
#include "src/api/boundary.h"
#include "src/weight/code_rows.h"

namespace zenwoq::bench {
namespace {

constexpr std::size_t kTaskRows = 1024;

// The format of a weight that no cache holds; blocks of GGUF have one of their own.
Format large_format(const Session& session, zenwoq_code_layout layout = ZENWOQ_CODES_NIBBLES) {
  constexpr std::size_t kK = 4096, kRows = 64;
  const BlockFormat* block = find_block_format(layout);
  Format format(std::max(kRows, session.cold_bytes() / (kK / 2) / kRows * kRows), kK, block ? kBlockGroup : 128);
  if (block == nullptr) return format;
  format.scale_type = block->scale_type;
  format.zero_kind = block->zero_kind;
  if (block->table) format.table = *code_table(*block->table);
  return format;
}

std::size_t packed_bytes_of(const zenwoq_weight_desc& desc) {
  std::size_t bytes = 0;
  tools::require(zenwoq_weight_packed_bytes(&desc, &bytes));
  return bytes;
}

// Times body() and counts how fast it makes or reads this many packed bytes.
template <typename Body>
void measure(benchmark::State& state, std::size_t bytes, const Body& body) {
  body();  // so that the pages are there before time counts
  const auto start = std::chrono::steady_clock::now();
  for (auto _ : state) body();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  state.counters["bytes"] = static_cast<double>(bytes);
  state.counters["GB/s"] = static_cast<double>(bytes) * static_cast<double>(state.iterations()) / seconds * 1e-9;
}

// Packs into memory that is already there, so that only packing is timed. Threads share the work as a caller's would.
void pack_row(benchmark::State& state, Session& session, zenwoq_code_layout layout, unsigned threads,
              bool permuted = false) {
  Format format = large_format(session, layout);
  format.permuted = permuted;
  const Source source(format, layout);
  struct Job {
    zenwoq_weight_desc desc;
    zenwoq_weight_source source;
    PackedBuffer packed;
    std::size_t bytes;
  } job{format.desc(), source.view(), nullptr, packed_bytes_of(format.desc())};
  job.packed = allocate_packed(job.bytes);
  const auto task = [](void* arg, std::size_t i) {
    const Job& j = *static_cast<const Job*>(arg);
    const std::size_t begin = i * kTaskRows;
    tools::require(
        zenwoq_weight_pack(&j.desc, &j.source, begin, std::min(begin + kTaskRows, j.desc.n), j.packed.get(), j.bytes));
  };
  Context& context = *session.context(threads)->context;
  const std::size_t tasks = (format.n + kTaskRows - 1) / kTaskRows;
  measure(state, job.bytes, [&] { context.parallel_for(tasks, task, &job); });
}

// Times what a program waits for when it loads and frees a layer, with new memory and on the context's own threads.
void create_row(benchmark::State& state, Session& session, unsigned threads) {
  const Format format = large_format(session);
  const Source source(format, ZENWOQ_CODES_NIBBLES);
  const zenwoq_weight_desc desc = format.desc();
  const zenwoq_weight_source view = source.view();
  measure(state, packed_bytes_of(desc), [&] {
    tools::make_weight(session.context(threads), desc, view);  // and frees it
  });
}

// The weight of large_format, packed.
WeightHandle large_weight(Session& session) {
  const Format format = large_format(session);
  const Source source(format, ZENWOQ_CODES_NIBBLES);
  const zenwoq_weight_desc desc = format.desc();
  const zenwoq_weight_source view = source.view();
  return tools::make_weight(session.context(1), desc, view);
}

void unpack_row(benchmark::State& state, Session& session) {
  const Format format = large_format(session);
  const WeightHandle weight = large_weight(session);
  std::vector<std::uint8_t> codes(format.n * format.k / 2);
  std::vector<std::uint8_t> scales(format.n * format.groups() * format.scale_bytes());
  measure(state, packed_bytes_of(format.desc()), [&] {
    tools::require(
        zenwoq_weight_unpack(weight.get(), codes.data(), codes.size(), scales.data(), scales.size(), nullptr, 0));
  });
}

// Dequantises 64 rows at a time into the same memory, as for a product in f32: eight bytes are written per byte read.
void dequantize_row(benchmark::State& state, Session& session) {
  const Format format = large_format(session);
  const WeightHandle weight = large_weight(session);
  std::vector<float> values(kPanelColumns * format.k);
  measure(state, packed_bytes_of(format.desc()), [&] {
    for (std::size_t n = 0; n < format.n; n += kPanelColumns) {
      const std::size_t end = std::min(n + kPanelColumns, format.n);
      tools::require(zenwoq_weight_dequantize(weight.get(), n, end, values.data(), values.size() * sizeof(float)));
    }
  });
}

}  // namespace

constexpr std::pair<const char*, zenwoq_code_layout> kLayouts[] = {
    {"weight/pack/nibbles", ZENWOQ_CODES_NIBBLES},
    {"weight/pack/u8", ZENWOQ_CODES_U8},
    {"weight/pack/s8", ZENWOQ_CODES_S8},
    {"weight/pack/nibbles_high", ZENWOQ_CODES_NIBBLES_HIGH},
    {"weight/pack/gguf_q4_0", ZENWOQ_CODES_GGUF_Q4_0},
    {"weight/pack/gguf_q4_1", ZENWOQ_CODES_GGUF_Q4_1},
    {"weight/pack/gguf_mxfp4", ZENWOQ_CODES_GGUF_MXFP4},
    {"weight/pack/gguf_q4_k", ZENWOQ_CODES_GGUF_Q4_K},
    {"weight/pack/gguf_iq4_xs", ZENWOQ_CODES_GGUF_IQ4_XS},
    {"weight/pack/gptq", ZENWOQ_CODES_GPTQ},
    {"weight/pack/awq", ZENWOQ_CODES_AWQ},
    {"weight/pack/awq_fast", ZENWOQ_CODES_AWQ_FAST},
    {"weight/pack/aten_64", ZENWOQ_CODES_ATEN_64},
    {"weight/pack/aten_32", ZENWOQ_CODES_ATEN_32},
};

void register_weight_benchmarks(Session& session) {
  const auto add = [](const std::string& name, auto row) {
    benchmark::RegisterBenchmark(name.c_str(), row)->UseRealTime()->Unit(benchmark::kMillisecond);
  };
  for (const unsigned threads : {1u, 2u}) {
    const auto add_threads = [&](const char* name, auto row) {
      add(fmt::format("{}/t{}", name, threads),
          [&session, threads, row](benchmark::State& state) { row(state, session, threads); });
    };
    for (const auto& [name, layout] : kLayouts) {
      if (threads > 1 && layout > ZENWOQ_CODES_S8) continue;  // two threads show nothing new there
      add_threads(name, [layout = layout](auto& state, Session& s, unsigned t) { pack_row(state, s, layout, t); });
    }
    add_threads("weight/create", [](auto& state, Session& s, unsigned t) { create_row(state, s, t); });
  }
  for (const auto& [name, layout] :
       {std::pair("nibbles", ZENWOQ_CODES_NIBBLES), std::pair("gptq", ZENWOQ_CODES_GPTQ)}) {
    add(fmt::format("weight/pack/{}/act_order/t1", name),
        [&session, layout = layout](benchmark::State& state) { pack_row(state, session, layout, 1, true); });
  }
  add("weight/unpack/t1", [&session](benchmark::State& state) { unpack_row(state, session); });
  add("weight/dequantize/t1", [&session](benchmark::State& state) { dequantize_row(state, session); });
}

}  // namespace zenwoq::bench
