// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Call frame instructions of DWARF for the frame that all kernels have (emitter.cpp).
#include "jit/frame.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <initializer_list>
#include <iterator>

namespace zenwoq {
namespace {

constexpr std::uint8_t kBegin[] = {0xF3, 0x0F, 0x1E, 0xFA,                           // endbr64
                                   0x55,                                             // push rbp
                                   0x48, 0x89, 0xE5,                                 // mov rbp, rsp
                                   0x53,                                             // push rbx
                                   0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57};  // push r12 .. r15
constexpr std::uint8_t kEnd[] = {0x41, 0x5F, 0x41, 0x5E, 0x41, 0x5D, 0x41, 0x5C,     // pop r15 .. r12
                                 0x5B,                                               // pop rbx
                                 0x5D,                                               // pop rbp
                                 0xC5, 0xF8, 0x77,                                   // vzeroupper
                                 0xC3};                                              // ret
constexpr std::size_t kPopped = 10;  // bytes of kEnd after which rbp is the caller's

// DWARF's numbers.
constexpr int rbx = 3, rbp = 6, rsp = 7, r12 = 12, r13 = 13, r14 = 14, r15 = 15, return_address = 16;
constexpr int kAdvance = 0x40;   // | bytes
constexpr int kAdvance4 = 0x04;  // bytes, in four
constexpr int kSavedAt = 0x80;   // | register, then how many words below the frame's address
constexpr int kNotSaved = 0xC0;  // | register
constexpr int kFrameAt = 0x0C;   // register, bytes
constexpr int kFrameOffset = 0x0E;
constexpr int kFrameRegister = 0x0D;

class Writer {
 public:
  template <typename Value>
  void put(Value value) {
    const auto* from = reinterpret_cast<const std::uint8_t*>(&value);
    bytes.insert(bytes.end(), from, from + sizeof value);
  }
  void put_bytes(std::initializer_list<int> values) {
    for (const int value : values) bytes.push_back(static_cast<std::uint8_t>(value));
  }
  std::size_t begin_entry() {
    put<std::uint32_t>(0);
    return bytes.size();
  }
  // Pads with "no operation" and writes the length in front.
  void end_entry(std::size_t begin) {
    while (bytes.size() % 8 != 0) bytes.push_back(0);
    const auto length = static_cast<std::uint32_t>(bytes.size() - begin);
    std::memcpy(&bytes[begin - 4], &length, sizeof length);
  }

  std::vector<std::uint8_t> bytes;
};

}  // namespace

std::vector<std::uint8_t> unwind_table(std::span<const std::uint8_t> code, const void* address) {
  const auto end = std::search(code.begin(), code.end(), std::begin(kEnd), std::end(kEnd));
  const bool begins = code.size() > sizeof kBegin && std::equal(std::begin(kBegin), std::end(kBegin), code.begin());
  if (!begins || end == code.end()) return {};

  Writer w;
  const std::size_t common = w.begin_entry();
  w.put<std::uint32_t>(0);
  w.put_bytes({1, 'z', 'R', 0});                    // version, augmentation
  w.put_bytes({1, 0x78, return_address, 1, 0x00});  // units of code and data (-8), pointers are absolute
  w.put_bytes({kFrameAt, rsp, 8, kSavedAt | return_address, 1});
  w.end_entry(common);

  const std::size_t kernel = w.begin_entry();
  w.put(static_cast<std::uint32_t>(kernel - (common - 4)));
  w.put(address);
  w.put(static_cast<std::uint64_t>(code.size()));
  w.put_bytes({0});
  w.put_bytes({kAdvance | 5, kFrameOffset, 16, kSavedAt | rbp, 2});
  w.put_bytes({kAdvance | 3, kFrameRegister, rbp});
  w.put_bytes({kAdvance | 1, kSavedAt | rbx, 3});
  for (const int i : {0, 1, 2, 3}) w.put_bytes({kAdvance | 2, kSavedAt | (r12 + i), 4 + i});
  const auto body = static_cast<std::uint32_t>(end - code.begin()) + kPopped - sizeof kBegin;
  w.put_bytes({kAdvance4});
  w.put(static_cast<std::uint32_t>(body));
  w.put_bytes({kFrameAt, rsp, 8});
  for (const int saved : {rbx, rbp, r12, r13, r14, r15}) w.put_bytes({kNotSaved | saved});
  w.end_entry(kernel);
  w.put<std::uint32_t>(0);
  return std::move(w.bytes);
}

}  // namespace zenwoq
