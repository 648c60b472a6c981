// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Base of every generator: the frame of a kernel, loops, and notes that the dump tool prints beside the code.
#pragma once

#include <fmt/format.h>

// Xbyak would map memory writable and executable for its own buffers; kernels are emitted into plain memory instead.
#include <xbyak/xbyak.h>

#include <cstdint>
#include <string>
#include <vector>

#include "jit/jit.h"

namespace zenwoq {

class Emitter : public Xbyak::CodeGenerator {
 public:
  // Code goes to `buffer`, never executed in place. notes may be NULL.
  Emitter(std::uint8_t* buffer, std::size_t capacity, std::vector<Note>* notes)
      : CodeGenerator(capacity, buffer), notes_(notes) {}

 protected:
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

  template <typename... Args>
  void note(fmt::format_string<Args...> text, Args&&... args) {
    if (notes_ != nullptr) notes_->push_back({getSize(), false, fmt::format(text, std::forward<Args>(args)...)});
  }
  template <typename... Args>
  void label(fmt::format_string<Args...> text, Args&&... args) {
    if (notes_ != nullptr) notes_->push_back({getSize(), true, fmt::format(text, std::forward<Args>(args)...)});
  }

 private:
  std::vector<Note>* notes_;
};

}  // namespace zenwoq
