// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Activation functions: emitted code of each tier that this CPU runs against the reference, bit for bit, and against
// the C library's functions in f64, within the bound of src/reference/arithmetic.md. Values are special ones and a
// sample; ZENWOQ_ACTIVATIONS=all build/tests/activation_test takes every f32 (some ten minutes) and prints
// the largest errors.
#include "src/reference/activation.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "jit/activation_math.h"
#include "jit/mxcsr.h"
#include "src/registry/code_memory.h"

namespace zenwoq {
namespace {

using Width = ActivationMath::Width;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr std::size_t kChunk = 1 << 16;
constexpr zenwoq_activation kActivations[] = {ZENWOQ_ACTIVATION_RELU, ZENWOQ_ACTIVATION_SILU, ZENWOQ_ACTIVATION_GELU,
                                              ZENWOQ_ACTIVATION_GELU_TANH, ZENWOQ_ACTIVATION_SWIGLU_OAI};
constexpr Width kWidths[] = {Width::ymm, Width::zmm};

const char* name(zenwoq_activation activation) {
  constexpr const char* kNames[] = {"none", "relu", "silu", "gelu", "gelu_tanh", "swiglu_oai"};
  return kNames[activation];
}
const char* name(Width width) { return width == Width::zmm ? "zmm" : "ymm"; }

bool has_fma() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

bool runs(Width width) {
  if (width == Width::ymm) return has_fma();
  return has_fma() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq");
}

// ---- Emitted code ----

struct Vectors {
  const float *v, *up;  // up: of SWIGLU_OAI
  float* out;
  std::uint64_t bytes;  // whole vectors
};

using Code = std::array<std::uint8_t, 8192>;

// Which registers a function is given: neither the lowest nor in order.
class Registers {
 public:
  Registers(zenwoq_activation activation, Width width) : activation_(activation), width_(width) {
    for (const int index : {15, 0, 8, 7, 1, 14, 2}) temps_.push_back(vector(index));
    temps_.resize(ActivationMath::temps_needed(activation));
  }

  Xbyak::Xmm v() const { return vector(9); }
  Xbyak::Xmm up() const { return vector(3); }
  bool takes_up() const { return activation_ == ZENWOQ_ACTIVATION_SWIGLU_OAI; }
  int bytes() const { return width_ == Width::zmm ? 64 : 32; }

  void emit(Emitter& e) const {
    ActivationMath math(e, width_);
    if (takes_up()) {
      math.swiglu_oai(v(), up(), temps_);
    } else {
      math.apply(activation_, v(), temps_);
    }
  }

  std::vector<Xbyak::Xmm> all() const {
    std::vector<Xbyak::Xmm> registers;
    for (int i = 0; i < (width_ == Width::zmm ? 32 : 16); ++i) registers.push_back(vector(i, 0));
    return registers;
  }
  bool may_change(int index) const {
    const auto is = [index](const Xbyak::Xmm& given) { return given.getIdx() == index; };
    return is(v()) || (takes_up() && is(up())) || std::any_of(temps_.begin(), temps_.end(), is);
  }

 private:
  Xbyak::Xmm vector(int index, int first_zmm = 16) const {
    if (width_ == Width::zmm) return Xbyak::Zmm(first_zmm + index);
    return Xbyak::Ymm(index);
  }

  const zenwoq_activation activation_;
  const Width width_;
  std::vector<Xbyak::Xmm> temps_;
};

// out = activation(v) over arrays.
class Program {
 public:
  Program(zenwoq_activation activation, Width width) {
    const Registers registers(activation, width);
    Code code;
    Emitter e(code.data(), code.size(), nullptr);
    Xbyak::Label again;
    e.open_frame(0);
    e.mov(e.rsi, e.ptr[e.rdi + offsetof(Vectors, v)]);
    e.mov(e.rdx, e.ptr[e.rdi + offsetof(Vectors, up)]);
    e.mov(e.rcx, e.ptr[e.rdi + offsetof(Vectors, out)]);
    e.mov(e.r8, e.ptr[e.rdi + offsetof(Vectors, bytes)]);
    e.xor_(e.r9d, e.r9d);
    e.L(again);
    e.vmovups(registers.v(), e.ptr[e.rsi + e.r9]);
    if (registers.takes_up()) e.vmovups(registers.up(), e.ptr[e.rdx + e.r9]);
    registers.emit(e);
    e.vmovups(e.ptr[e.rcx + e.r9], registers.v());
    e.add(e.r9, registers.bytes());
    e.cmp(e.r9, e.r8);
    e.jb(again, e.T_NEAR);
    e.close_frame();
    e.emit_constants();
    const Status status = memory_.add({code.data(), e.getSize()}, &address_);
    EXPECT_TRUE(status.ok()) << status.text();
  }

  // Lengths are multiples of 16.
  void run(const std::vector<float>& v, const std::vector<float>& up, std::vector<float>* out) const {
    const Vectors vectors = {v.data(), up.data(), out->data(), v.size() * sizeof(float)};
    reinterpret_cast<void (*)(const Vectors*)>(const_cast<void*>(address_))(&vectors);  // NOLINT
  }

 private:
  CodeMemory memory_{std::size_t{1} << 20};
  const void* address_ = nullptr;
};

// ---- The reference, compiled as the library does: for any x86-64, and for FMA ----

using Function = void (*)(zenwoq_activation, const std::vector<float>&, const std::vector<float>&, std::vector<float>*);

ZENWOQ_INLINE inline void reference_loop(zenwoq_activation activation, const float* v, const float* up,
                                         std::size_t count, float* out) {
  for (std::size_t i = 0; i < count; ++i) {
    out[i] = activation == ZENWOQ_ACTIVATION_SWIGLU_OAI ? swiglu_oai(v[i], up[i]) : activate(activation, v[i]);
  }
}

[[gnu::noinline]] void portable_loop(zenwoq_activation activation, const float* v, const float* up, std::size_t count,
                                     float* out) {
  reference_loop(activation, v, up, count, out);
}

[[gnu::noinline, gnu::target("avx2,fma")]] void fma_loop(zenwoq_activation activation, const float* v, const float* up,
                                                         std::size_t count, float* out) {
  reference_loop(activation, v, up, count, out);
}

void portable(zenwoq_activation activation, const std::vector<float>& v, const std::vector<float>& up,
              std::vector<float>* out) {
  const MxcsrScope contract(MxcsrScope::kContract);
  portable_loop(activation, v.data(), up.data(), v.size(), out->data());
}

void with_fma(zenwoq_activation activation, const std::vector<float>& v, const std::vector<float>& up,
              std::vector<float>* out) {
  const MxcsrScope contract(MxcsrScope::kContract);
  fma_loop(activation, v.data(), up.data(), v.size(), out->data());
}

// ---- The bound ----

// In f64, whose own error is some 2^-50. SWIGLU_OAI with up = 0, so times 1.
double exact(zenwoq_activation activation, double v) {
  // What f64 gives anyway, without the slow way through overflow and underflow.
  if (v > 64 && activation != ZENWOQ_ACTIVATION_SWIGLU_OAI) return v;
  if (v < -1000) return 0;
  switch (activation) {
    case ZENWOQ_ACTIVATION_RELU: return std::max(v, 0.0);
    case ZENWOQ_ACTIVATION_SILU: return v / (1 + std::exp(-v));
    case ZENWOQ_ACTIVATION_GELU: return 0.5 * v * std::erfc(-v * M_SQRT1_2);
    case ZENWOQ_ACTIVATION_GELU_TANH: return v / (1 + std::exp(-2 * std::sqrt(2 / M_PI) * (v + 0.044715 * v * v * v)));
    default: v = std::min(v, 7.0); return v / (1 + std::exp(-1.702 * v));
  }
}

struct Largest {
  double error = 0;
  float v = 0;

  void see(double other, float at) {
    if (other > error) *this = {other, at};
  }
};

class Errors {
 public:
  explicit Errors(zenwoq_activation activation) : activation_(activation) {}

  // What is wrong with a result, or nothing.
  std::string see(float v, float result) {
    if (std::isnan(v)) return std::isnan(result) ? "" : fmt::format("{} of NaN is {}", name(activation_), result);
    if (std::isinf(v)) {
      const float expected = v < 0 ? 0.0f : activation_ == ZENWOQ_ACTIVATION_SWIGLU_OAI ? exact_float(7.0f) : v;
      return near(v, result, expected) ? "" : fmt::format("{} of {} is {}", name(activation_), v, result);
    }
    const double f = exact(activation_, v);
    const double error = std::fabs(result - f);
    if (error <= 0x1p-126 && std::fabs(f) <= 0x1.000002p-126) return "";  // a denormal is 0
    const double magnitude = std::fabs(static_cast<double>(v));
    // Above 7 the argument of SWIGLU_OAI is 7.
    const double argument = activation_ == ZENWOQ_ACTIVATION_SWIGLU_OAI && v > 7 ? 7 : magnitude;
    if (std::fabs(f) >= 0x1p-10 * argument) {
      const double ulps = error / ulp(f);
      near_.see(ulps, v);
      if (ulps <= 2) return "";
    } else {
      tail_.see(error / magnitude, v);
      if (error <= 0x1p-33 * magnitude) return "";
    }
    return fmt::format("{} of {} is {}, and not {}", name(activation_), v, result, f);
  }

  std::string report() const {
    return fmt::format("{}: {:.3f} ulp at {}; tail 2^{:.2f} |v| at {}", name(activation_), near_.error, near_.v,
                       tail_.error > 0 ? std::log2(tail_.error) : -kInfinity, tail_.v);
  }

 private:
  float exact_float(float v) const { return static_cast<float>(exact(activation_, v)); }
  static bool near(float v, float result, float expected) {
    return v < 0 ? result == 0 : result == expected || std::fabs(result - expected) <= 2 * ulp(expected);
  }
  // Of f32 at f.
  static double ulp(double f) {
    const double power = std::bit_cast<double>(std::bit_cast<std::uint64_t>(f) & 0x7FF0000000000000u);
    return std::max(power, 0x1p-126) * 0x1p-23;
  }

  const zenwoq_activation activation_;
  Largest near_, tail_;
};

// ---- Values ----

float from_bits(std::uint32_t bits) { return std::bit_cast<float>(bits); }

// A chunk that begins with values at which something changes, and their neighbours.
std::vector<float> special_values() {
  using namespace activation_constants;
  std::vector<float> values = {0.0f, kInfinity, kNan, from_bits(0x7F800001), from_bits(1), from_bits(0x007FFFFF)};
  for (const float edge : {0x1p-126f,
                           0x1p-125f,
                           0x1p-64f,
                           0x1p-63f,
                           0x1p-24f,
                           0.5f,
                           1.0f,
                           5.5f,
                           6.93f,
                           7.0f,
                           16.0f,
                           17.4f,
                           22.9f,
                           50.8f,
                           60.0f,
                           0x1p62f,
                           0x1p64f,
                           1e30f,
                           std::numeric_limits<float>::max(),
                           kSilu.limit,
                           kSwigluOai.limit,
                           kGeluLimit,
                           kGeluTanhLimit}) {
    for (const float to : {0.0f, kInfinity}) values.push_back(std::nextafter(edge, to));
    values.push_back(edge);
  }
  for (std::size_t i = 0, count = values.size(); i < count; ++i) values.push_back(-values[i]);
  while (values.size() % 16 != 0) values.push_back(1.0f);
  return values;
}

// Half of them any bits, half of them where the functions bend.
std::vector<float> random_values(std::mt19937_64& random) {
  std::vector<float> values(kChunk);
  for (std::size_t i = 0; i < kChunk; ++i) {
    const auto bits = static_cast<std::uint32_t>(random());
    const std::uint32_t exponent = 127 - 6 + (bits >> 23) % 13;
    values[i] = from_bits(i % 2 == 0 ? bits : (bits & 0x807FFFFFu) | exponent << 23);
  }
  return values;
}

std::size_t first_difference(const std::vector<float>& a, const std::vector<float>& b) {
  const auto same = [](float x, float y) {
    return std::bit_cast<std::uint32_t>(x) == std::bit_cast<std::uint32_t>(y) || (std::isnan(x) && std::isnan(y));
  };
  return static_cast<std::size_t>(std::mismatch(a.begin(), a.end(), b.begin(), same).first - a.begin());
}

// Code of all tiers against the reference.
class Comparison {
 public:
  explicit Comparison(zenwoq_activation activation) : activation_(activation) {
    for (const Width width : kWidths) {
      if (runs(width)) programs_.push_back({width, std::make_unique<Program>(activation, width)});
    }
  }

  bool empty() const { return programs_.empty(); }

  // The reference's results; the others must be the same.
  std::vector<float> results(const std::vector<float>& v, const std::vector<float>& up, bool also_portable) {
    std::vector<float> expected(v.size()), other(v.size());
    (has_fma() ? with_fma : portable)(activation_, v, up, &expected);
    if (also_portable) {
      portable(activation_, v, up, &other);
      compare("portable", v, up, expected, other);
    }
    for (const auto& [width, program] : programs_) {
      program->run(v, up, &other);
      compare(name(width), v, up, expected, other);
    }
    return expected;
  }

 private:
  void compare(const char* what, const std::vector<float>& v, const std::vector<float>& up,
               const std::vector<float>& expected, const std::vector<float>& other) {
    const std::size_t i = first_difference(expected, other);
    if (i == v.size()) return;
    ADD_FAILURE() << fmt::format("{} {} of {:a} (up {:a}): {:a}, and not {:a}", what, name(activation_), v[i], up[i],
                                 other[i], expected[i]);
  }

  const zenwoq_activation activation_;
  std::vector<std::pair<Width, std::unique_ptr<Program>>> programs_;
};

class Activations : public testing::TestWithParam<zenwoq_activation> {
 protected:
  // Bits and bound for one set of values. False once something was wrong.
  bool check(const std::vector<float>& v, bool also_portable) {
    const std::vector<float> results = comparison_.results(v, std::vector<float>(v.size(), 0.0f), also_portable);
    for (std::size_t i = 0; i < v.size(); ++i) {
      const std::string wrong = errors_.see(v[i], results[i]);
      if (wrong.empty()) continue;
      ADD_FAILURE() << wrong;
      return false;
    }
    return !HasFailure();
  }

  Comparison comparison_{GetParam()};
  Errors errors_{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(All, Activations, testing::ValuesIn(kActivations),
                         [](const auto& info) { return name(info.param); });

TEST_P(Activations, SpecialValues) {
  if (comparison_.empty()) GTEST_SKIP() << "this CPU has neither AVX2 nor AVX-512";
  check(special_values(), true);
}

TEST_P(Activations, SampleIsWithinTheBoundAndTheSameInAllTiers) {
  if (comparison_.empty()) GTEST_SKIP() << "this CPU has neither AVX2 nor AVX-512";
  std::mt19937_64 random(15);
  for (int chunk = 0; chunk < 48; ++chunk) {
    if (!check(random_values(random), chunk < 4)) return;
  }
}

TEST_P(Activations, LeavesOtherRegistersAlone) {
  for (const Width width : kWidths) {
    if (!runs(width)) continue;
    SCOPED_TRACE(name(width));
    const Registers registers(GetParam(), width);
    const auto all = registers.all();
    Code code;
    Emitter e(code.data(), code.size(), nullptr);
    e.open_frame(0);
    for (const auto& reg : all) e.vmovups(reg, e.ptr[e.rdi + reg.getIdx() * registers.bytes()]);
    registers.emit(e);
    for (const auto& reg : all) e.vmovups(e.ptr[e.rdi + reg.getIdx() * registers.bytes()], reg);
    e.close_frame();
    e.emit_constants();
    CodeMemory memory(std::size_t{1} << 20);
    const void* address = nullptr;
    const Status status = memory.add({code.data(), e.getSize()}, &address);
    ASSERT_TRUE(status.ok()) << status.text();

    const std::size_t lanes = static_cast<std::size_t>(registers.bytes()) / sizeof(float);
    std::vector<float> before(all.size() * lanes);
    for (std::size_t i = 0; i < before.size(); ++i) before[i] = 1.0f + 0.25f * static_cast<float>(i);
    std::vector<float> after = before;
    reinterpret_cast<void (*)(float*)>(const_cast<void*>(address))(after.data());  // NOLINT
    for (std::size_t i = 0; i < before.size(); ++i) {
      const int index = static_cast<int>(i / lanes);
      if (!registers.may_change(index)) {
        EXPECT_EQ(after[i], before[i]) << "register " << index;
      }
    }
  }
}

TEST_P(Activations, EveryValue) {
  const char* wanted = std::getenv("ZENWOQ_ACTIVATIONS");
  if (wanted == nullptr || std::string_view(wanted) != "all") GTEST_SKIP() << "ZENWOQ_ACTIVATIONS=all runs it";
  std::vector<float> v(kChunk);
  for (std::uint64_t first = 0; first < std::uint64_t{1} << 32; first += kChunk) {
    for (std::size_t i = 0; i < kChunk; ++i) v[i] = from_bits(static_cast<std::uint32_t>(first + i));
    if (!check(v, false)) return;
  }
  fmt::print("{}\n", errors_.report());
}

// Denormals, infinities and NaN by value: what the bound above leaves open.
TEST(ActivationValues, WhatTheContractSays) {
  const MxcsrScope contract(MxcsrScope::kContract);
  for (const zenwoq_activation activation :
       {ZENWOQ_ACTIVATION_RELU, ZENWOQ_ACTIVATION_SILU, ZENWOQ_ACTIVATION_GELU, ZENWOQ_ACTIVATION_GELU_TANH}) {
    SCOPED_TRACE(name(activation));
    const auto bits = [&](float v) { return std::bit_cast<std::uint32_t>(activate(activation, v)); };
    EXPECT_EQ(bits(-kInfinity), 0u);
    EXPECT_EQ(bits(-1e30f), 0u);
    EXPECT_EQ(bits(-100.0f), 0u);
    EXPECT_EQ(bits(0.0f), 0u);
    EXPECT_EQ(bits(-0.0f), 0x80000000u);
    EXPECT_EQ(bits(from_bits(0x007FFFFFu)), 0u);
    EXPECT_EQ(bits(from_bits(0x807FFFFFu)), 0x80000000u);
    for (const float large : {100.0f, 1e30f, std::numeric_limits<float>::max(), kInfinity}) {
      EXPECT_EQ(activate(activation, large), large);
    }
  }
  EXPECT_EQ(activate(ZENWOQ_ACTIVATION_NONE, -3.0f), -3.0f);
}

TEST(SwigluOai, PairsAreTheProductOfBothSides) {
  Comparison comparison(ZENWOQ_ACTIVATION_SWIGLU_OAI);
  if (comparison.empty()) GTEST_SKIP() << "this CPU has neither AVX2 nor AVX-512";
  std::mt19937_64 random(7);
  for (int chunk = 0; chunk < 8; ++chunk) {
    const std::vector<float> gates = random_values(random), ups = random_values(random);
    const std::vector<float> results = comparison.results(gates, ups, chunk == 0);
    const MxcsrScope contract(MxcsrScope::kContract);
    for (std::size_t i = 0; i < kChunk; ++i) {
      const float up = std::isnan(ups[i]) ? ups[i] : std::clamp(ups[i], -7.0f, 7.0f);
      const float expected = swiglu_oai(gates[i], 0.0f) * (up + 1.0f);
      if (std::isnan(gates[i]) || std::isnan(ups[i])) {
        ASSERT_TRUE(std::isnan(results[i])) << gates[i] << " " << ups[i];
      } else {
        ASSERT_EQ(results[i], expected) << gates[i] << " " << ups[i];
      }
    }
  }
}

}  // namespace
}  // namespace zenwoq
