// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The loops that measure a roof: one kind only reads, the other issues dot products that wait for nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "src/registry/code_memory.h"

namespace zenwoq::bench {

// Reads `times` blocks from each stream; the streams lie stream_bytes apart.
struct ReadLoop {
  std::string name;  // "512-bit x4, 2 streams, prefetcht0 2048"
  unsigned streams;
  std::size_t block_bytes;  // of one stream
  void (*run)(const std::uint8_t* base, std::size_t stream_bytes, std::size_t times);
};

// Issues `times` blocks of the multiply instruction that a tier's kernels use, each worth block_slots of them:
// vdpbf16ps on whole zmm registers, or FMAs on ymm registers.
struct DotLoop {
  std::string name;
  double block_slots;
  void (*run)(std::size_t times);
};

// Every variant that this CPU can run, in executable memory. Empty if no memory can be made executable.
std::vector<ReadLoop> read_loops(CodeMemory& memory, bool avx2, bool avx512);
std::vector<DotLoop> dot_loops(CodeMemory& memory, zenwoq_tier tier);  // the tier's multiply instruction

}  // namespace zenwoq::bench
