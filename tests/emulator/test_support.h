// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Small programs for the tests of the emulator: assembled once, run in the emulator and on the host.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <xbyak/xbyak.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "tests/emulator/emulator.h"

namespace zenwoq::emulator {

using Code = Xbyak::CodeGenerator;
using Bytes = std::vector<std::uint8_t>;

inline Bytes assemble(const std::function<void(Code&)>& emit) {
  alignas(64) static thread_local std::uint8_t buffer[32768];
  Code code(sizeof buffer, buffer);
  emit(code);
  return Bytes(buffer, buffer + code.getSize());
}

// What a test program loads, works on and stores back.
struct alignas(64) Image {
  std::array<Vec, 8> v{};
  std::array<std::uint64_t, 4> k{};  // k[1] to k[3] only: k0 is no write mask
  std::array<std::uint64_t, 4> g{};  // rax, rcx, rdx, r8
  std::uint32_t mxcsr = kMxcsrDefault;
  std::uint32_t saved_mxcsr = 0;
  Vec memory{};
};

inline const Xbyak::Reg64 kImageRegister = Xbyak::util::r11;

template <class Member>
Xbyak::RegExp image_at(Member Image::*member, std::size_t bytes = 0) {
  static const Image image;
  const auto offset =
      reinterpret_cast<const std::uint8_t*>(&(image.*member)) - reinterpret_cast<const std::uint8_t*>(&image);
  return kImageRegister + static_cast<std::size_t>(offset) + bytes;
}

// Which registers hold Image::v: xmm, ymm or zmm from `base` on.
struct Shape {
  int bits = 256;
  int base = 0;
  bool evex = false;

  Xbyak::Xmm reg(int i) const {
    using Xbyak::Operand;
    const auto kind = bits == 128 ? Operand::XMM : bits == 256 ? Operand::YMM : Operand::ZMM;
    return Xbyak::Xmm(kind, base + i);
  }
};

using Emit = std::function<void(Code&, const Shape&)>;

inline void move_image(Code& c, const Shape& shape, bool load) {
  using namespace Xbyak::util;
  const Shape whole{shape.evex ? 512 : 256, shape.base, shape.evex};
  for (int i = 0; i < 8; ++i) {
    const auto memory = ptr[image_at(&Image::v, sizeof(Vec) * i)];
    const auto reg = whole.reg(i);
    if (shape.evex)
      load ? c.vmovdqu64(reg, memory) : c.vmovdqu64(memory, reg);
    else
      load ? c.vmovdqu(reg, memory) : c.vmovdqu(memory, reg);
  }
  for (int i = 1; i < 4 && shape.evex; ++i) {
    const auto memory = ptr[image_at(&Image::k, 8 * i)];
    load ? c.kmovq(Xbyak::Opmask(i), memory) : c.kmovq(memory, Xbyak::Opmask(i));
  }
  const Xbyak::Reg64 gprs[] = {rax, rcx, rdx, r8};
  for (int i = 0; i < 4; ++i) {
    const auto memory = ptr[image_at(&Image::g, 8 * i)];
    load ? c.mov(gprs[i], memory) : c.mov(memory, gprs[i]);
  }
}

// endbr64; load everything; body; store everything; vzeroupper; ret. VEX moves unless the shape is EVEX, so that a host
// without AVX-512 can run it.
inline Bytes vector_program(const Shape& shape, const Emit& body) {
  using namespace Xbyak::util;
  return assemble([&](Code& c) {
    c.endbr64();
    c.mov(kImageRegister, rdi);
    c.stmxcsr(ptr[image_at(&Image::saved_mxcsr)]);
    c.ldmxcsr(ptr[image_at(&Image::mxcsr)]);
    move_image(c, shape, true);
    body(c, shape);
    move_image(c, shape, false);
    c.ldmxcsr(ptr[image_at(&Image::saved_mxcsr)]);
    c.vzeroupper();
    c.ret();
  });
}

inline std::unique_ptr<Program> decode(const Bytes& code) {
  std::string error;
  auto program = Program::decode(code, &error);
  EXPECT_TRUE(program != nullptr) << error;
  return program;
}

// endbr64 and a body that ends in ret.
inline std::unique_ptr<Program> program_of(const std::function<void(Code&)>& body) {
  return decode(assemble([&](Code& c) {
    c.endbr64();
    body(c);
  }));
}

#define EXPECT_CONTAINS(text, part)                                          \
  do {                                                                       \
    const std::string actual = text;                                         \
    EXPECT_NE(actual.find(part), std::string::npos) << "actual: " << actual; \
  } while (false)

inline void run_emulated(const Bytes& code, Image& image) {
  const auto program = decode(code);
  ASSERT_TRUE(program != nullptr);
  Cpu cpu;
  cpu.ranges = {{&image, sizeof image, true, "image"}};
  std::string error;
  EXPECT_TRUE(run(*program, cpu, reinterpret_cast<std::uint64_t>(&image), &error).ok) << error;
}

// Executable while it lives; never writable and executable at once.
class NativeCode {
 public:
  explicit NativeCode(const Bytes& code) : bytes_(code.size()) {
    page_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    std::memcpy(page_, code.data(), bytes_);
    mprotect(page_, bytes_, PROT_READ | PROT_EXEC);
  }
  ~NativeCode() { munmap(page_, bytes_); }
  NativeCode(const NativeCode&) = delete;
  NativeCode& operator=(const NativeCode&) = delete;

  void operator()(Image& image) const { reinterpret_cast<void (*)(Image*)>(page_)(&image); }

 private:
  void* page_;
  std::size_t bytes_;
};

inline void run_native(const Bytes& code, Image& image) { NativeCode{code}(image); }

inline bool host_has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512bf16");
}

#define ZENWOQ_SKIP_WITHOUT_AVX512()                                      \
  if (!host_has_avx512())                                                 \
  GTEST_SKIP() << "no AVX-512 BF16 here: the EVEX instructions were NOT " \
                  "compared with hardware"

class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}

  std::uint64_t bits() { return engine_(); }
  std::uint64_t below(std::uint64_t n) { return engine_() % n; }

  // Any bits, or one of the values where integer or float instructions go wrong.
  std::uint32_t word() {
    static constexpr std::uint32_t kSpecial[] = {0x00000000, 0x80000000, 0x00000001, 0x807FFFFF, 0x00800000, 0x3F800000,
                                                 0xBF800000, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001, 0x7FFFFFFF,
                                                 0xFFFFFFFF, 0x00010000, 0x80008000, 0x477FF000};
    switch (below(4)) {
      case 0: return kSpecial[below(std::size(kSpecial))];
      case 1:
        return static_cast<std::uint32_t>(0x3F000000 + below(0x01000000)) | static_cast<std::uint32_t>(below(2) << 31);
      default: return static_cast<std::uint32_t>(bits());
    }
  }

  Vec vec() {
    Vec v;
    for (std::size_t i = 0; i < 16; ++i) {
      const std::uint32_t w = word();
      std::memcpy(v.bytes + 4 * i, &w, 4);
    }
    return v;
  }

  Image image() {
    Image image;
    for (Vec& v : image.v) v = vec();
    for (std::uint64_t& k : image.k) k = bits();
    for (std::uint64_t& g : image.g) g = below(3) == 0 ? word() : bits();
    image.memory = vec();
    return image;
  }

 private:
  std::mt19937_64 engine_;
};

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

// The sign and payload of a NaN are outside the arithmetic contract.
inline Vec with_one_nan(const Vec& value) {
  Vec v = value;
  for (std::size_t i = 0; i < 16; ++i) {
    if ((lane<std::uint32_t>(v, i) & 0x7FFFFFFF) > 0x7F800000) set_lane<std::uint32_t>(v, i, 0x7FC00000);
  }
  return v;
}

inline bool equal(const Vec& a, const Vec& b, std::size_t bytes = sizeof(Vec)) {
  return std::memcmp(a.bytes, b.bytes, bytes) == 0;
}

inline std::string hex(const Vec& v) {
  std::string text;
  char word[12];
  for (std::size_t i = 16; i-- > 0;) {
    std::snprintf(word, sizeof word, "%08x ", lane<std::uint32_t>(v, i));
    text += word;
  }
  return text;
}

}  // namespace zenwoq::emulator
