// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Base of every generator: the frame of a kernel, loops, constants, and notes that the dump tool prints beside the
// code.
#pragma once

// Xbyak would map memory writable and executable for its own buffers; kernels are emitted into plain memory instead.
#include <xbyak/xbyak.h>

#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <vector>

#include "jit/jit.h"
#include "src/text/formatted.h"

namespace zenwoq {

class Emitter : public Xbyak::CodeGenerator {
 public:
  // Code goes to `buffer`, never executed in place. notes may be NULL.
  Emitter(std::uint8_t* buffer, std::size_t capacity, std::vector<Note>* notes)
      : CodeGenerator(capacity, buffer), notes_(notes) {}

  // in: rdi = arguments. Saves the callee's registers and MXCSR, sets flush-to-zero, denormals-are-zero and round to
  // nearest, and leaves rsp 64-byte aligned with local_bytes of locals above it. clobbers: rax.
  void open_frame(std::size_t local_bytes);
  // Restores all that open_frame saved, cleans the upper vector state, returns. clobbers: rax.
  void close_frame();

  // body() as often as `counter` counts down from `times`; the body once and no counter for times = 1.
  // clobbers: counter, flags.
  template <typename Body>
  void loop(const char* name, const Xbyak::Reg64& counter, std::uint64_t times, Body&& body) {
    if (times > 1) mov(counter, times);
    Xbyak::Label again;
    L(again);
    label("{}", name);
    body();
    if (times == 1) return;
    dec(counter);
    jnz(again, T_NEAR);
  }

  // A constant of the kernel: RIP-relative, so that the bytes are the same wherever they lie. Equal ones are kept once.
  // text: what it is, for the listing. Usable as an operand at once; the bytes follow the code (emit_constants).
  Xbyak::RegRip constant(std::span<const std::uint8_t> bytes, const char* text);
  Xbyak::RegRip constant(std::uint32_t value, const char* text);
  // After the last instruction.
  void emit_constants();

  template <typename... Args>
  void note(fmt::format_string<Args...> text, Args&&... args) {
    add_note(Note::Kind::comment, text, std::forward<Args>(args)...);
  }
  template <typename... Args>
  void label(fmt::format_string<Args...> text, Args&&... args) {
    add_note(Note::Kind::label, text, std::forward<Args>(args)...);
  }

 private:
  struct Constant {
    std::vector<std::uint8_t> bytes;
    const char* text;
    Xbyak::Label label;
  };

  template <typename... Args>
  void add_note(Note::Kind kind, fmt::format_string<Args...> text, Args&&... args) {
    if (notes_ != nullptr) notes_->push_back({getSize(), kind, formatted(text, std::forward<Args>(args)...)});
  }

  std::vector<Note>* notes_;
  std::deque<Constant> constants_;  // a deque: labels must not move
};

}  // namespace zenwoq
