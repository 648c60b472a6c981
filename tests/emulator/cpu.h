// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The emulated machine: registers, a stack, and the memory that a program may touch.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

namespace zenwoq::emulator {

// One vector register, or any value of up to 512 bits.
struct alignas(64) Vec {
  std::uint8_t bytes[64];
};

inline constexpr Vec kZeroVec{};

template <class T>
T lane(const Vec& v, std::size_t i) {
  T value;
  std::memcpy(&value, v.bytes + i * sizeof(T), sizeof(T));
  return value;
}

template <class T>
void set_lane(Vec& v, std::size_t i, T value) {
  std::memcpy(v.bytes + i * sizeof(T), &value, sizeof(T));
}

// Host memory that a program may read, and write if `writable`. There is no address translation. An access must lie in
// one range; two ranges that touch are not joined.
struct Range {
  const void* begin = nullptr;
  std::size_t bytes = 0;
  bool writable = false;
  std::string name;
};

// ZF and SF follow from the last result (sign-extended to 64 bits), so only CF and OF are kept beside it.
struct Flags {
  std::int64_t result = 0;
  bool carry = false;
  bool overflow = false;

  bool zero() const { return result == 0; }
  bool sign() const { return result < 0; }
};

inline constexpr unsigned kRax = 0, kRbx = 3, kRsp = 4, kRbp = 5, kRdi = 7;
// A slot of Cpu::gpr that always holds zero: an absent base or index.
inline constexpr unsigned kNoRegister = 16;

// DAZ, the six masks, rounding, FTZ; without the sticky flags.
inline constexpr std::uint32_t kMxcsrControl = 0xFFC0;
// All exceptions masked and nothing else, as the ABI has it on entry of a process.
inline constexpr std::uint32_t kMxcsrDefault = 0x1F80;
// FTZ, DAZ, all masked, to nearest: the host's state during a run.
inline constexpr std::uint32_t kMxcsrFlush = 0x9FC0;

// The return address on the emulated stack. It is not canonical, so it cannot be a real address.
inline constexpr std::uint64_t kReturnAddress = 0x7E70'4E70'4E70'4E7F;

struct alignas(4096) Stack {
  std::uint8_t bytes[64 * 1024];
};

// What the caller sets before run(), then the state of the machine. run() resets all registers; a Cpu can be used for
// any number of runs, by one thread at a time.
struct Cpu {
  std::vector<Range> ranges;
  bool check_ranges = true;  // false: every access is allowed, as on a real CPU
  std::uint32_t mxcsr = kMxcsrDefault;
  std::uint64_t budget = 2'000'000'000;  // instructions after which a run counts as endless

  std::array<std::uint64_t, 17> gpr{};  // in the order of their encoding; [kNoRegister] stays zero
  std::array<Vec, 32> zmm{};
  std::array<std::uint64_t, 8> k{};
  Flags flags;
  std::uint32_t pc = 0;      // index of the next operation in the program
  bool upper_dirty = false;  // bits above 127 of zmm0-15 written since the last vzeroupper

  // Set by fail() and by the final ret; ends the run after the current instruction.
  bool stop = false;
  std::string problem;

  std::unique_ptr<Stack> stack = std::make_unique<Stack>();
  std::uint64_t entry_rsp = 0;  // address of the return address
  Range code;

  // Host pointers to `bytes` bytes at `address`. If they may not be touched, the run fails and the result is some
  // harmless scratch memory, so that handlers need no error path.
  const std::uint8_t* readable(std::uint64_t address, std::size_t bytes) {
    if (!check_ranges) [[unlikely]]
      return reinterpret_cast<const std::uint8_t*>(address);
    return checked(address, bytes, false);
  }
  std::uint8_t* writable(std::uint64_t address, std::size_t bytes) {
    if (!check_ranges) [[unlikely]]
      return reinterpret_cast<std::uint8_t*>(address);
    return checked(address, bytes, true);
  }

  // For masked loads and stores: fails unless every byte whose bit is set in `active` may be touched.
  void check_active(std::uint64_t address, std::uint64_t active, bool write);

  void check_aligned(std::uint64_t address, std::size_t alignment);
  void fail(std::string text);

  // Marks a write of `bytes` bytes to vector register `index`; vzeroupper does not affect registers 16 to 31.
  void note_vector_write(unsigned index, std::size_t bytes) { upper_dirty |= index < 16 && bytes > 16; }

 private:
  bool permitted(std::uint64_t address, std::size_t bytes, bool write) const;
  std::uint8_t* checked(std::uint64_t address, std::size_t bytes, bool write);
  void fail_access(std::uint64_t address, std::size_t bytes, bool write);
  std::string nearest_range(std::uint64_t address, std::size_t bytes) const;

  Vec scratch_{};
};

}  // namespace zenwoq::emulator
