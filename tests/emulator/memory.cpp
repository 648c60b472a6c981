// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Which memory an emulated program may touch, and what is said when it touches other memory.

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <limits>

#include "tests/emulator/cpu.h"

namespace zenwoq::emulator {
namespace {

std::uint64_t begin_of(const Range& range) { return reinterpret_cast<std::uint64_t>(range.begin); }

bool contains(const Range& range, std::uint64_t address, std::size_t bytes) {
  return bytes <= range.bytes && address - begin_of(range) <= range.bytes - bytes;
}

// Bytes between the access and the range; 0 if they touch or overlap.
std::uint64_t gap(const Range& range, std::uint64_t address, std::size_t bytes) {
  const std::uint64_t begin = begin_of(range);
  const std::uint64_t end = begin + range.bytes;
  if (address >= end) return address - end;
  if (address + bytes <= begin) return begin - (address + bytes);
  return 0;
}

std::string count_of(std::uint64_t bytes) { return std::to_string(bytes) + (bytes == 1 ? " byte" : " bytes"); }

std::string place_text(const Range& range, std::uint64_t address, std::size_t bytes) {
  const std::uint64_t begin = begin_of(range);
  const std::uint64_t end = begin + range.bytes;
  const std::uint64_t last = address + bytes;
  if (address < begin) return count_of(begin - address) + " before the begin of '" + range.name + "'";
  if (last > end) return count_of(last - end) + " past the end of '" + range.name + "'";
  return "'" + range.name + "' is read-only";
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
  char text[96];
  std::snprintf(text, sizeof text, "address 0x%" PRIx64 " is not aligned to %zu bytes", address, alignment);
  fail(text);
}

void Cpu::fail_access(std::uint64_t address, std::size_t bytes, bool write) {
  char text[96];
  std::snprintf(text, sizeof text, "%s of %zu byte%s at 0x%" PRIx64 " is not permitted: ", write ? "write" : "read",
                bytes, bytes == 1 ? "" : "s", address);
  fail(text + nearest_range(address, bytes, write));
}

std::string Cpu::nearest_range(std::uint64_t address, std::size_t bytes, bool write) const {
  const std::uint64_t stack_begin = reinterpret_cast<std::uint64_t>(stack->bytes);
  if (address >= stack_begin && address < gpr[kRsp] && gpr[kRsp] <= entry_rsp) {
    return count_of(gpr[kRsp] - address) + " below the stack pointer";
  }
  std::vector<Range> candidates = ranges;
  candidates.push_back(code);
  candidates.push_back({stack->bytes, static_cast<std::size_t>(entry_rsp - stack_begin), true, "stack"});
  const Range* best = nullptr;
  std::uint64_t best_gap = std::numeric_limits<std::uint64_t>::max();
  for (const Range& range : candidates) {
    // A range that holds the access whole but refuses writes explains the failure better than any neighbour.
    if (write && contains(range, address, bytes)) return "'" + range.name + "' is read-only";
    if (const std::uint64_t distance = gap(range, address, bytes); distance < best_gap) {
      best_gap = distance;
      best = &range;
    }
  }
  if (best == nullptr || best_gap > (1U << 20)) return "no permitted range is near";
  return place_text(*best, address, bytes);
}

}  // namespace zenwoq::emulator
