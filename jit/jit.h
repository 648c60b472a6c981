// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The door to the generator: code for a key, or why there is none, and what its registers hold.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "jit/key.h"
#include "jit/status.h"

namespace zenwoq {

// A line of a listing. A label or a comment stands before the instruction at `offset`; from a data note on the bytes
// are a constant, not code, up to the next data note or the end.
struct Note {
  enum class Kind { label, comment, data };
  std::size_t offset;
  Kind kind;
  std::string text;
};

// One vector register of a kernel, or the words that stand for it ("in memory").
struct RegisterUse {
  const char* scope;  // "" where it holds this all along; else the part of the kernel: "multiply", "flush", "epilogue"
  const char* role;   // "acc", "total", "weight", ...
  std::string place;  // "zmm4"
  int row = -1, strip = -1;  // of sums; -1 for all others
};

// Whether this version generates kernels of a tier at all.
bool has_kernels(zenwoq_tier tier);

// What the grammar can say but no kernel can be: an unknown tile, more registers than there are, displacements that do
// not fit. Empty if the key can be generated.
std::string why_not(const KernelKey& key);

// Code of a kernel; the same bytes for the same key on every machine. notes may be NULL.
// Errors: UNSUPPORTED with the reason, OUT_OF_MEMORY.
Status emit(const KernelKey& key, std::vector<std::uint8_t>* code, std::vector<Note>* notes = nullptr);

// Empty if the key cannot be generated.
std::vector<RegisterUse> registers(const KernelKey& key);

}  // namespace zenwoq
