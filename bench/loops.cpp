// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Emits the roof's loops as machine code, so that no compiler changes them.
#include "bench/loops.h"

#include <fmt/format.h>
#include <xbyak/xbyak.h>

#include <bit>

namespace zenwoq::bench {
namespace {

constexpr std::size_t kLine = 64;
constexpr unsigned kAccumulators = 24;  // a latency of 6 and two dot products per cycle need at least 12
constexpr unsigned kFmaChains = 12;

enum class Prefetch { none, t0, nta };
constexpr const char* kPrefetchNames[] = {"no prefetch", "prefetcht0", "prefetchnta"};

struct ReadVariant {
  unsigned vector_bytes, unroll, streams;
  Prefetch prefetch;
  unsigned prefetch_bytes;  // how far ahead

  std::string name() const {
    const std::string ahead = prefetch == Prefetch::none ? "" : fmt::format(" {}", prefetch_bytes);
    return fmt::format("{}-bit x{}, {} streams, {}{}", vector_bytes * 8, unroll, streams,
                       kPrefetchNames[static_cast<int>(prefetch)], ahead);
  }
};

class Assembler : private Xbyak::CodeGenerator {
 public:
  Assembler() : CodeGenerator(kCapacity, buffer_) {}

  // rdi = base, rsi = bytes from stream to stream, rdx = times.
  void read(const ReadVariant& v) {
    lea(rcx, ptr[rsi + rsi * 2]);
    Xbyak::Label again;
    L(again);
    for (unsigned i = 0; i < v.unroll; ++i) {
      for (unsigned stream = 0; stream < v.streams; ++stream) {
        load(v, i * v.vector_bytes, stream, (i * v.streams + stream) % 16);
      }
    }
    add(rdi, v.unroll * v.vector_bytes);
    dec(rdx);
    jnz(again, T_NEAR);
    vzeroupper();
    ret();
  }

  // rdi = times.
  template <typename Vector>
  void dot() {
    mov(eax, 0xBF803F80);  // the pair (1, -1): sums stay small, and bits toggle
    const Vector a(30), b(31);
    vpbroadcastd(a, eax);
    mov(eax, 0x3F803F80);
    vpbroadcastd(b, eax);
    for (unsigned i = 0; i < kAccumulators; ++i) vpxord(Vector(i), Vector(i), Vector(i));
    Xbyak::Label again;
    L(again);
    for (unsigned i = 0; i < kAccumulators; ++i) vdpbf16ps(Vector(i), a, b);
    dec(rdi);
    jnz(again, T_NEAR);
    vzeroupper();
    ret();
  }

  // rdi = times. FMAs on ymm registers: 12 chains, more than latency times throughput.
  void fma() {
    const Xbyak::Ymm a(14), b(15);
    mov(eax, 0x3F800000);  // 1 * 2^-32: sums stay small
    vmovd(xmm14, eax);
    vbroadcastss(a, xmm14);
    mov(eax, 0x2F800000);
    vmovd(xmm15, eax);
    vbroadcastss(b, xmm15);
    for (unsigned i = 0; i < kFmaChains; ++i) vxorps(Xbyak::Ymm(i), Xbyak::Ymm(i), Xbyak::Ymm(i));
    Xbyak::Label again;
    L(again);
    for (unsigned i = 0; i < kFmaChains; ++i) vfmadd231ps(Xbyak::Ymm(i), a, b);
    dec(rdi);
    jnz(again, T_NEAR);
    vzeroupper();
    ret();
  }

  // NULL if no memory can be made executable.
  template <typename Function>
  Function load_into(CodeMemory& memory) const {
    const void* address = nullptr;
    const Status status = memory.add({buffer_, getSize()}, &address);
    return status.ok() ? std::bit_cast<Function>(address) : nullptr;
  }

 private:
  void load(const ReadVariant& v, unsigned offset, unsigned stream, unsigned reg) {
    const auto at = [&](unsigned bytes) {
      const Xbyak::RegExp base = rdi + bytes;
      return stream == 0 ? base : stream == 1 ? base + rsi : stream == 2 ? base + rsi * 2 : base + rcx;
    };
    if (offset % kLine == 0 && v.prefetch == Prefetch::t0) prefetcht0(ptr[at(offset + v.prefetch_bytes)]);
    if (offset % kLine == 0 && v.prefetch == Prefetch::nta) prefetchnta(ptr[at(offset + v.prefetch_bytes)]);
    if (v.vector_bytes == 64) {
      vmovdqu64(Xbyak::Zmm(static_cast<int>(reg)), ptr[at(offset)]);
    } else {
      vmovdqu(Xbyak::Ymm(static_cast<int>(reg)), ptr[at(offset)]);
    }
  }

  static constexpr std::size_t kCapacity = 4096;
  std::uint8_t buffer_[kCapacity];
};

}  // namespace

std::vector<ReadLoop> read_loops(CodeMemory& memory, bool avx2, bool avx512) {
  std::vector<ReadLoop> loops;
  const auto add = [&](const ReadVariant& variant) {
    Assembler assembler;
    assembler.read(variant);
    const auto run = assembler.load_into<decltype(ReadLoop::run)>(memory);
    if (run == nullptr) return;
    loops.push_back({variant.name(), variant.streams, std::size_t{variant.unroll} * variant.vector_bytes, run});
  };
  for (const unsigned bytes : {32u, 64u}) {
    if (!(bytes == 32 ? avx2 : avx512)) continue;
    for (const unsigned unroll : {4u, 16u}) {
      for (const unsigned streams : {1u, 2u, 4u}) {
        add({bytes, unroll, streams, Prefetch::none, 0});
        for (const unsigned ahead : {1024u, 4096u}) add({bytes, unroll, streams, Prefetch::t0, ahead});
        add({bytes, unroll, streams, Prefetch::nta, 1024});
      }
    }
  }
  return loops;
}

std::vector<DotLoop> dot_loops(CodeMemory& memory, zenwoq_tier tier) {
  std::vector<DotLoop> loops;
  const auto add = [&](const char* name, double slots, auto&& emit) {
    Assembler assembler;
    emit(assembler);
    const auto run = assembler.load_into<decltype(DotLoop::run)>(memory);
    if (run != nullptr) loops.push_back({name, slots, run});
  };
  if (tier == ZENWOQ_TIER_AVX512BF16) {
    add("zmm", kAccumulators, [](Assembler& a) { a.dot<Xbyak::Zmm>(); });
    add("ymm", kAccumulators / 2.0, [](Assembler& a) { a.dot<Xbyak::Ymm>(); });
  } else if (tier == ZENWOQ_TIER_AVX2) {
    add("fma ymm", kFmaChains, [](Assembler& a) { a.fma(); });
  }
  return loops;
}

}  // namespace zenwoq::bench
