// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Small programs for the tests of the emulator: assembled once, run in the emulator and on the host.
#pragma once

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <xbyak/xbyak.h>

#include <array>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "src/registry/code_memory.h"
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

inline constexpr Shape kZmm{512, 0, true};

using Emit = std::function<void(Code&, const Shape&)>;

inline void move_image(Code& c, const Shape& shape, bool load) {
  using namespace Xbyak::util;
  const Shape whole{shape.evex ? 512 : 256, shape.base, shape.evex};
  for (int i = 0; i < 8; ++i) {
    const auto memory = ptr[image_at(&Image::v, sizeof(Vec) * i)];
    const auto reg = whole.reg(i);
    load ? c.vmovups(reg, memory) : c.vmovups(memory, reg);
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

// endbr64; load everything; body; store everything; vzeroupper; ret. Uses VEX moves unless the shape is EVEX, so that a
// host without AVX-512 can run it.
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
  return decode(assemble([&](Code& c) { c.endbr64(), body(c); }));
}

#define EXPECT_CONTAINS(text, part) EXPECT_THAT(std::string(text), testing::HasSubstr(part))

inline std::string error_of_run(const Program& program, Image& image) {
  Cpu cpu;
  cpu.ranges = {{&image, sizeof image, true, "image"}};
  std::string error;
  run(program, cpu, reinterpret_cast<std::uint64_t>(&image), &error);
  return error;
}

// The code in executable memory, for the life of the process.
inline auto native_code(const Bytes& code) {
  static CodeMemory memory(std::size_t{1} << 26);
  const void* address = nullptr;
  EXPECT_TRUE(memory.add(code, &address).ok());
  return reinterpret_cast<void (*)(Image*)>(const_cast<void*>(address));
}

// BF16 and VNNI imply the others.
inline bool host_has_avx512() { return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni"); }

#define ZENWOQ_SKIP_WITHOUT_AVX512() \
  if (!host_has_avx512()) GTEST_SKIP() << "no AVX-512 BF16 here: EVEX encodings were NOT compared with hardware"

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
    const auto any = static_cast<std::uint32_t>(bits());
    switch (below(4)) {
      case 0: return kSpecial[any % std::size(kSpecial)];
      case 1: return 0x3F000000 + (any & 0x80FFFFFF);  // floats from 0.5 to 2 and their negatives
      default: return any;
    }
  }

  Vec vec() {
    Vec v;
    for (std::size_t i = 0; i < 16; ++i) set_lane(v, i, word());
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

// The sign and payload of a NaN are outside the arithmetic contract.
inline Vec with_one_nan(const Vec& value) {
  Vec v = value;
  for (std::size_t i = 0; i < 16; ++i) {
    if ((lane<std::uint32_t>(v, i) & 0x7FFFFFFF) > 0x7F800000) set_lane<std::uint32_t>(v, i, 0x7FC00000);
  }
  return v;
}

inline std::string hex(const Vec& v) {
  std::string text;
  for (std::size_t i = 16; i-- > 0;) text += fmt::format("{:08x} ", lane<std::uint32_t>(v, i));
  return text;
}

// All exceptions masked, with and without flushing, each direction of rounding.
inline constexpr std::uint32_t kMaskedMxcsr[] = {kMxcsrDefault, kMxcsrFlush, 0x3F80, 0x5FC0, 0xFF80};

// Runs the code on random images both here and in the emulator.
inline void expect_equal_host(const Bytes& code, int rounds) {
  const auto program = decode(code);
  const auto native = native_code(code);
  Random random(5);
  for (int round = 0; round < rounds; ++round) {
    Image emulated = random.image();
    emulated.mxcsr = kMaskedMxcsr[round % std::size(kMaskedMxcsr)];
    Image host = emulated;
    ASSERT_EQ(error_of_run(*program, emulated), "");
    native(&host);
    ASSERT_EQ(emulated.g, host.g);
    for (std::size_t i = 1; i < host.k.size(); ++i) ASSERT_EQ(emulated.k[i], host.k[i]);
    for (std::size_t i = 0; i < host.v.size(); ++i) {
      ASSERT_EQ(hex(with_one_nan(emulated.v[i])), hex(with_one_nan(host.v[i]))) << "v" << i;
    }
    ASSERT_EQ(hex(emulated.memory), hex(host.memory));
  }
}

}  // namespace zenwoq::emulator
