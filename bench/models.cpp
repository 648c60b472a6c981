// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The tables, from the models' config.json, list query and output, key and value, gate and up, down.
#include "bench/models.h"

namespace zenwoq::bench {

const std::map<std::string, std::vector<Matrix>>& models() {
  static const std::map<std::string, std::vector<Matrix>> kModels = {
      {"SmolLM2-135M", {{576, 576}, {192, 576}, {1536, 576}, {576, 1536}}},
      {"TinyLlama-1.1B", {{2048, 2048}, {256, 2048}, {5632, 2048}, {2048, 5632}}},
      {"Qwen2.5-7B", {{3584, 3584}, {512, 3584}, {18944, 3584}, {3584, 18944}}},
      {"Llama-3.1-8B", {{4096, 4096}, {1024, 4096}, {14336, 4096}, {4096, 14336}}},
      {"Llama-3.1-70B", {{8192, 8192}, {1024, 8192}, {28672, 8192}, {8192, 28672}}},
      {"Mixtral-8x7B-experts", {{14336, 4096}, {4096, 14336}}},
  };
  return kModels;
}

const std::map<std::string, Suite>& suites() {
  static const std::map<std::string, Suite> kSuites = {
      // Even and odd sizes, every row count up to the largest tile, and prefill.
      {"speed",
       {{{4096, 4096}, {11008, 4096}, {4096, 14336}, {1000, 4096}},
        {0, 128, 64, 32},
        {1, 2, 3, 4, 5, 6, 7, 8, 16, 17, 33, 64, 100, 128, 512}}},
  };
  return kSuites;
}

}  // namespace zenwoq::bench
