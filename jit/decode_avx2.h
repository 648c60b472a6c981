// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// From codes to f32 in ymm registers, 8 columns each. A strip's 64 bytes are two halves of 32: 8 lanes of 32 bits, one
// a column, with eight codes each (src/weight/packed.h): nibble i of the low word is k = 2i, of the high word k = 2i
// + 1.
//
// Integers (Codes::integer): a nibble that is masked where it stands has, in the mantissa of a float of 2^(23 - 4i),
// the weight of an integer. So (bits & mask) ^ flip is the float 2^(23 - 4i) + code, and subtracting leaves the value,
// exactly: three instructions on any pipe for 8 weights, no shift, no shuffle. Odd k stand 16 bits higher and are
// loaded from 2 bytes further on, which stays inside a packed weight.
//
// Any table (Codes::table): its low and its high bytes are two byte tables. Bytes of a lane in order are
// (k0 | k2 << 4), (k4 | k6 << 4), (k1 | k3 << 4), (k5 | k7 << 4). Looked up and interleaved they are words of bf16; a
// shuffle brings (k0, k4) and (k1, k5) of a column into one lane, from where a shift or a mask makes an f32.
#pragma once

#include <optional>

#include "jit/emitter.h"
#include "jit/key.h"

namespace zenwoq {

class DecodeAvx2 {
 public:
  // Registers that hold what all of a kernel's steps need.
  struct Registers {
    Xbyak::Ymm mask, flip, subtract;                // integer: of the current nibble
    Xbyak::Ymm pack[4], temp, spare;                // table: (k0,k4), (k1,k5), (k2,k6), (k3,k7), and two to work with
    std::optional<Xbyak::Ymm> nibbles, high_words;  // table: constants, where there is room; otherwise in memory
  };
  DecodeAvx2(Emitter& emitter, const Registers& registers) : e_(emitter), r_(registers) {}

  // Integer: before the k of nibble i = k / 2. table: address of the DecodeTable.
  void load_nibble(const Xbyak::Reg64& table, std::uint32_t i);
  // out: to = values of k (of the nibble loaded last) of the half strip at `codes`.
  void integer(const Xbyak::Ymm& to, const Xbyak::RegExp& codes, std::uint32_t k);

  // Table: before all lookups whose constants have registers.
  void load_constants();
  // out: pack. clobbers: temp, spare.
  void lookup(const Xbyak::Reg64& table, const Xbyak::RegExp& codes);
  // out: to = values of k, from pack.
  void unpack(const Xbyak::Ymm& to, std::uint32_t k);

 private:
  Xbyak::Address nibbles() const;
  Xbyak::Address high_words() const;

  Emitter& e_;
  const Registers r_;
};

// k of a step in the order in which the contract adds them up.
inline constexpr std::uint32_t kChainOrder[8] = {1, 0, 3, 2, 5, 4, 7, 6};

}  // namespace zenwoq
