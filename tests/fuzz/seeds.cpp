// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Writes the seeds of the corpora: seeds FOLDER. Small packed weights of every kind, kernel names of every field,
// inputs of weight_fuzz, the small fixtures of checkpoints with the files beside them.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "jit/jit.h"
#include "src/weight/buffer.h"
#include "src/weight/packed.h"
#include "tests/fuzz/archive.h"
#include "tests/support/random_weight.h"

namespace zenwoq::test {
namespace {

void write(const std::string& path, const void* data, std::size_t bytes) {
  std::ofstream(path, std::ios::binary).write(static_cast<const char*>(data), static_cast<std::streamsize>(bytes));
}

void write_packed(Rng& rng, const std::string& folder) {
  int i = 0;
  for (const zenwoq_dtype scale : kScaleTypes) {
    for (const zenwoq_zero_kind zeros : kZeroKinds) {
      const ParameterFormat format{scale, zeros};
      RandomWeight weight = random_weight(rng, 3, 64, 8, format);
      if (i % 3 == 0) permute_columns(rng, &weight);
      if (i % 3 == 1) scale_columns(rng, &weight);
      if (i % 4 == 0) weight.tensor_scale_kind = ZENWOQ_TENSOR_SCALE_TIMES, weight.tensor_scale = 2;
      PackedHeader header;
      if (!make_header(weight.desc(), &header).ok()) continue;
      PackedBuffer packed = allocate_packed(header.total_bytes);
      if (!pack_rows(header, weight.source(), 0, header.n, packed.get()).ok()) continue;
      write(folder + "/packed/seed" + std::to_string(i++), packed.get(), header.total_bytes);
    }
  }
}

void write_names(Rng& rng, const std::string& folder) {
  for (int i = 0; i < 40;) {
    KernelKey key;
    const ParameterFormat format = random_format(rng);
    key.scale_type = format.scale_type, key.zero_kind = format.zero_kind, key.zero_type = format.zero_type;
    key.tier = rng() % 2 ? ZENWOQ_TIER_AVX2 : ZENWOQ_TIER_AVX512BF16;
    key.codes = static_cast<Codes>(rng() % 2);
    key.group = 8 * pick(rng, 1, 16), key.k = 8 * key.group;
    if (rng() % 3 == 0 && !format.has_two_levels()) key.group = key.k;
    constexpr std::uint32_t kStrips[] = {1, 2, 4, 8};
    key.tile = {static_cast<std::uint32_t>(pick(rng, 1, kMaxTileRows)), kStrips[rng() % 4], rng() % 2 == 0};
    key.epilogue = {static_cast<zenwoq_tensor_scale_kind>(rng() % 3), rng() % 2 == 0};
    key.output_type = rng() % 2 ? ZENWOQ_F32 : ZENWOQ_BF16;
    if (rng() % 2) key.habits.prefetch = {4096, 2, true};
    if (!why_not(key).empty()) continue;
    const std::string name = key.name();
    write(folder + "/kernel_name/seed" + std::to_string(i++), name.data(), name.size());
  }
}

// Of each activation with and without what goes with it.
void write_epilogue_names(const std::string& folder) {
  Rng rng(2);
  for (unsigned i = 0; i < 24;) {
    KernelKey key;
    key.tier = rng() % 2 ? ZENWOQ_TIER_AVX2 : ZENWOQ_TIER_AVX512BF16;
    key.group = 32, key.k = 256;
    key.tile = {static_cast<std::uint32_t>(pick(rng, 1, 6)), static_cast<std::uint32_t>(pick(rng, 1, 2)),
                rng() % 4 == 0, rng() % 2 == 0};
    key.epilogue.bias = rng() % 2;
    key.epilogue.activation = static_cast<zenwoq_activation>(i % 6);
    key.epilogue.factor = rng() % 4 == 0;
    key.epilogue.residuals = static_cast<std::uint8_t>(rng() % 2 ? 0 : rng() % 3);
    key.output_type = rng() % 2 ? ZENWOQ_F32 : ZENWOQ_BF16;
    if (!why_not(key).empty() || !key.long_epilogue()) continue;
    const std::string name = key.name();
    write(folder + "/kernel_name/epilogue" + std::to_string(i++), name.data(), name.size());
  }
}

void write_inputs(Rng& rng, const std::string& folder) {
  for (int i = 0; i < 40; ++i) {
    std::vector<std::uint8_t> input(200 + rng() % 400);
    for (std::uint8_t& byte : input) byte = static_cast<std::uint8_t>(rng());
    write(folder + "/weight/seed" + std::to_string(i), input.data(), input.size());
  }
}

constexpr std::size_t kMostBytes = 11000;  // of a seed of checkpoint_fuzz

fuzz::FileBytes read(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

void write_archive(const fuzz::Archive& archive, const std::string& path) {
  const fuzz::FileBytes packed = fuzz::write_archive(archive);
  write(path, packed.data(), packed.size());
}

// What checkpoint_fuzz opens: the file that a model is opened by, then the others of its folder. Each kind of file is
// counted on its own, so that seeds of others keep their names when some are added.
void write_checkpoints(const std::string& folder) {
  namespace fs = std::filesystem;
  std::vector<fs::path> folders;
  for (const auto& entry : fs::recursive_directory_iterator(ZENWOQ_FIXTURES)) {
    if (entry.is_directory()) folders.push_back(entry.path());
  }
  std::sort(folders.begin(), folders.end());
  int seeds = 0, onnx_seeds = 0;
  for (const fs::path& entry : folders) {
    fuzz::Archive archive;
    std::size_t bytes = 0;
    for (const auto& file : fs::directory_iterator(entry)) {
      const std::string name = file.path().filename().string();
      if (name.starts_with("expected") || name.ends_with(".md") || !file.is_regular_file()) continue;
      archive.emplace_back(name, read(file.path()));
      bytes += archive.back().second.size();
    }
    const auto rank = [](const auto& file) {  // an index before its shards, shards in their order, JSON last
      const bool json = file.first.ends_with(".json"), model = file.first.ends_with(".onnx");
      return std::pair(file.first.ends_with(".index.json") || model ? 0 : json ? 2 : 1, file.first);
    };
    std::sort(archive.begin(), archive.end(), [&](const auto& a, const auto& b) { return rank(a) < rank(b); });
    if (archive.empty() || bytes > kMostBytes) continue;
    const bool is_onnx = archive[0].first.ends_with(".onnx");
    const std::string name = is_onnx ? fmt::format("onnx{}", onnx_seeds++) : fmt::format("seed{}", seeds++);
    write_archive(archive, folder + "/checkpoint/" + name);
  }
}

// Files that are whole models, each on its own.
void write_zwq(const std::string& folder) {
  for (const auto& entry : std::filesystem::directory_iterator(ZENWOQ_FIXTURES "/zwq")) {
    if (entry.path().extension() != ".zwq" || entry.file_size() > kMostBytes) continue;
    write_archive({{"model.zwq", read(entry.path())}}, folder + "/checkpoint/zwq_" + entry.path().stem().string());
  }
}

}  // namespace
}  // namespace zenwoq::test

int main(int count, char** arguments) {
  if (count != 2) return std::fprintf(stderr, "usage: seeds FOLDER\n"), 2;
  zenwoq::test::Rng rng(1);
  zenwoq::test::write_packed(rng, arguments[1]);
  zenwoq::test::write_names(rng, arguments[1]);
  zenwoq::test::write_epilogue_names(arguments[1]);
  zenwoq::test::write_inputs(rng, arguments[1]);
  zenwoq::test::write_checkpoints(arguments[1]);
  zenwoq::test::write_zwq(arguments[1]);
}
