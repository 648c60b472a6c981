// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Which memory an emulated program may touch, and the error text when it touches other memory.
#include <fmt/format.h>

#include <algorithm>

#include "tests/emulator/cpu.h"

namespace zenwoq::emulator {
namespace {

std::uint64_t begin_of(const Range& range) { return reinterpret_cast<std::uint64_t>(range.begin); }

bool contains(const Range& range, std::uint64_t address, std::size_t bytes) {
  return bytes <= range.bytes && address - begin_of(range) <= range.bytes - bytes;
}

}  // namespace

void Cpu::fail(std::string text) {
  if (problem.empty()) problem = std::move(text);
  stop = true;
}

// The stack is permitted from rsp upwards only: a signal handler may overwrite the red zone of a kernel that other code
// interrupts, and kernels are not to rely on it. The return address may be read, never written.
bool Cpu::permitted(std::uint64_t address, std::size_t bytes, bool write) const {
  for (const Range& range : ranges) {
    if (contains(range, address, bytes) && (range.writable || !write)) return true;
  }
  const std::uint64_t stack_end = entry_rsp + (write ? 0 : sizeof(std::uint64_t));
  const std::uint64_t rsp = gpr[kRsp];
  if (rsp >= reinterpret_cast<std::uint64_t>(stack->bytes) && address >= rsp && address < stack_end &&
      bytes <= stack_end - address) {
    return true;
  }
  return !write && contains(code, address, bytes);
}

std::uint8_t* Cpu::checked(std::uint64_t address, std::size_t bytes, bool write) {
  if (permitted(address, bytes, write)) [[likely]]
    return reinterpret_cast<std::uint8_t*>(address);
  fail_access(address, bytes, write);
  scratch_ = kZeroVec;
  return scratch_.bytes;
}

void Cpu::check_active(std::uint64_t address, std::uint64_t active, bool write) {
  if (!check_ranges || active == 0) return;
  const unsigned first = static_cast<unsigned>(__builtin_ctzll(active));
  const unsigned last = 63U - static_cast<unsigned>(__builtin_clzll(active));
  if (permitted(address + first, last - first + 1, write)) return;
  for (unsigned i = first; i <= last; ++i) {
    if ((active >> i & 1) != 0 && !permitted(address + i, 1, write)) return fail_access(address + i, 1, write);
  }
}

void Cpu::check_aligned(std::uint64_t address, std::size_t alignment) {
  if (address % alignment == 0) return;
  fail(fmt::format("address 0x{:x} is not aligned to {} bytes", address, alignment));
}

void Cpu::fail_access(std::uint64_t address, std::size_t bytes, bool write) {
  fail(fmt::format("{} of {} byte{} at 0x{:x} is not permitted: {}", write ? "write" : "read", bytes,
                   bytes == 1 ? "" : "s", address, nearest_range(address, bytes)));
}

std::string Cpu::nearest_range(std::uint64_t address, std::size_t bytes) const {
  const std::uint64_t stack_begin = reinterpret_cast<std::uint64_t>(stack->bytes);
  if (address >= stack_begin && address < std::min(gpr[kRsp], entry_rsp)) {
    return fmt::format("{} bytes below the stack pointer", gpr[kRsp] - address);
  }
  std::vector<Range> candidates = ranges;
  candidates.push_back(code);
  candidates.push_back({stack->bytes, static_cast<std::size_t>(entry_rsp - stack_begin), true, "stack"});
  std::string text = "no permitted range is near";
  std::uint64_t nearest = std::uint64_t{1} << 20;
  for (const Range& range : candidates) {
    // A range that holds the whole access but refuses writes explains the failure better than any neighbour.
    if (contains(range, address, bytes)) return fmt::format("'{}' is read-only", range.name);
    const bool before = address < begin_of(range);
    const std::uint64_t distance =
        before ? begin_of(range) - address : address + bytes - (begin_of(range) + range.bytes);
    if (distance >= nearest) continue;
    nearest = distance;
    text = fmt::format("{} byte{} {} of '{}'", distance, distance == 1 ? "" : "s",
                       before ? "before the begin" : "past the end", range.name);
  }
  return text;
}

}  // namespace zenwoq::emulator
