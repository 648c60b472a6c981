// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The data path of AVX2 and FMA for few rows: codes are decoded in registers (decode_avx2.h) at every use. x is f32,
// since AVX2 multiplies nothing else; its rows are completed with +0, so no step is partial.
//
// Idea: a chain of FMAs in the order of vdpbf16ps has its bits. Two vectors of 8 columns are a strip; as many vectors
// as leave registers for the decoder share a broadcast of x, and eight or more independent chains hide an FMA's
// latency. A tile of more vectors takes them in several passes over K (three rows: 3, 3 and 2 vectors of a panel).
#pragma once

#include <algorithm>
#include <vector>

#include "jit/decode_avx2.h"
#include "jit/epilogue_avx2.h"
#include "jit/gemm.h"
#include "jit/jit.h"
#include "jit/parameters_avx2.h"

namespace zenwoq {

// The 16 ymm registers: accumulators first (two a row and strip), then what the decoder and the products need.
class Avx2Registers {
 public:
  // Of a pass of `vectors` x 8 columns.
  Avx2Registers(const KernelKey& key, std::uint32_t vectors);
  // With the most vectors a pass that fit; a strip's two, which do not fit either, if none do.
  explicit Avx2Registers(const KernelKey& key);

  bool fits() const { return next_ <= 16; }
  std::uint32_t vectors() const { return vectors_; }
  std::uint32_t passes() const { return (tile_vectors_ + vectors_ - 1) / vectors_; }
  bool totals_in_memory() const { return totals_in_memory_; }
  Xbyak::Ymm acc(std::uint32_t row, std::uint32_t vector) const { return ymm(row * vectors_ + vector); }
  // scope multiply
  const DecodeAvx2::Registers& decode() const { return decode_; }
  Xbyak::Ymm weight(std::uint32_t i) const { return weight_[i]; }
  Xbyak::Ymm x(std::uint32_t i) const { return x_[i]; }
  // scope flush: not in those that hold something all along
  Xbyak::Ymm scale() const { return scratch_[0]; }
  Xbyak::Ymm zero() const { return scratch_[1]; }
  Xbyak::Ymm xsum() const { return scratch_[2]; }
  // scope begin: +0
  Xbyak::Ymm nothing() const { return scratch_[0]; }
  // scope epilogue
  Xbyak::Ymm value(std::uint32_t half) const { return scratch_[half]; }
  std::vector<Xbyak::Ymm> free_in_epilogue(bool is_long) const;

  std::vector<RegisterUse> uses(const KernelKey& key) const;

 private:
  static Xbyak::Ymm ymm(std::uint32_t i) { return Xbyak::Ymm(static_cast<int>(i)); }
  Xbyak::Ymm take() { return ymm(next_++ % 16); }

  std::uint32_t rows_, tile_vectors_, vectors_;
  bool totals_in_memory_;
  std::uint32_t next_;
  DecodeAvx2::Registers decode_;
  std::vector<Xbyak::Ymm> weight_, x_, scratch_;
};

class GemmAvx2 final : private Gemm {
 public:
  // A line of kernels.cpp; see jit.h.
  static std::string why_not(const KernelKey& key);
  static std::size_t emit(const KernelKey& key, std::uint8_t* buffer, std::size_t capacity, std::vector<Note>* notes);
  static std::vector<RegisterUse> registers(const KernelKey& key) { return Avx2Registers(key).uses(key); }

 private:
  GemmAvx2(const KernelKey& key, const Avx2Registers& v, std::uint8_t* buffer, std::size_t capacity,
           std::vector<Note>* notes);

  void keep_arguments() override { mov(rdi, ptr[rdi + offsetof(GemmArgs, table)]); }
  void load_x_tail(std::uint64_t) override {}
  void begin_pass(std::uint32_t pass) override;
  void zero_totals() override;
  void zero_sums() override;
  void widen_f16(const Xbyak::RegExp& from, const Xbyak::RegExp& to) override;
  void multiply_step(std::uint32_t step, bool x_from_tail) override;
  void flush_group() override;
  void begin_strip(std::uint32_t, const Xbyak::Reg64&) override {}
  void store_row(std::uint32_t row, std::uint32_t strip, const Xbyak::RegExp& y) override;
  void spill_totals(const Xbyak::RegExp& to) override;
  void finish_row(const EpilogueRow& row) override { epilogue_.finish(row); }

  void multiply_integers(std::uint32_t step);
  void multiply_table(std::uint32_t step);
  void broadcast_x(const Xbyak::Ymm& to, std::uint32_t row, std::uint32_t step, std::uint32_t k);
  const Xbyak::Reg64& table() const { return rdi; }
  std::uint32_t vectors() const { return std::min(v_.vectors(), key_.tile.strips * 2 - first_); }  // of the pass
  // Of vector i of the pass.
  Xbyak::RegExp codes_of(std::uint32_t step, std::uint32_t i) const;
  Xbyak::RegExp parameters_of(const Xbyak::Reg64& from, std::uint32_t element_bytes, std::uint32_t i) const;
  // Of a vector of the tile.
  Xbyak::RegExp total_of(std::uint32_t row, std::uint32_t vector) const;

  const Avx2Registers v_;
  std::uint32_t first_ = 0;  // vector of the tile: the pass' first
  DecodeAvx2 decode_;
  ParametersAvx2 parameters_;
  EpilogueAvx2 epilogue_;
};

}  // namespace zenwoq
