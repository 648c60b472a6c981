// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Names of kernels: what they look like, that they parse back to their key, that nothing else is accepted; and keys
// that the grammar can express but no kernel can have.
#include "jit/key.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <set>

#include "jit/jit.h"

namespace zenwoq {
namespace {

using testing::HasSubstr;

KernelKey some_key() {
  KernelKey key;
  key.k = 4096;
  key.group = 128;
  key.tile = {6, 2};
  key.output_type = ZENWOQ_BF16;
  return key;
}

TEST(KernelName, HasTheGrammarOfTheHeader) {
  KernelKey key = some_key();
  EXPECT_EQ(key.name(), "gemm_bf16_t4_g128_k4096_sbf16_z0_m6x2_ybf16_avx512bf16");
  key.epilogue.bias = true;
  key.habits = {.decode_first = true, .share_x = true, .prefetch = {4096, 2, true}};
  EXPECT_EQ(key.name(), "gemm_bf16_t4_g128_k4096_sbf16_z0_m6x2_ybf16_bias_avx512bf16_df_xs_p4096e2t1");
  key.group = key.k;
  key.tier = ZENWOQ_TIER_AVX2;
  key.habits = {.prefetch = {64, 1, false}};
  EXPECT_EQ(key.name(), "gemm_bf16_t4_pc_k4096_sbf16_z0_m6x2_ybf16_bias_avx2_p64");
}

TEST(KernelName, SaysTheEpilogueInItsOrder) {
  KernelKey key = some_key();
  const auto middle = [&key] {
    const std::string name = key.name();
    const std::size_t begin = name.find("_m6x2") + 1;
    return name.substr(begin, name.find("_avx512bf16") - begin);
  };
  key.epilogue = {.activation = ZENWOQ_ACTIVATION_RELU};
  EXPECT_EQ(middle(), "m6x2_ybf16_relu");
  key.epilogue = {.activation = ZENWOQ_ACTIVATION_GELU, .factor = true};
  EXPECT_EQ(middle(), "m6x2_ybf16_gelu_mul");
  key.epilogue = {.factor = true, .residuals = 1};
  EXPECT_EQ(middle(), "m6x2_ybf16_mul_add");
  key.epilogue = {ZENWOQ_TENSOR_SCALE_BY, true, ZENWOQ_ACTIVATION_GELU_TANH, true, 2};
  EXPECT_EQ(middle(), "m6x2_ybf16_td_bias_gelutanh_mul_add2");
  key.epilogue = {.activation = ZENWOQ_ACTIVATION_SILU};
  key.tile.gated = true;
  EXPECT_EQ(middle(), "m6x2gu_ybf16_silu");
  key.tile.scratch = true;
  key.epilogue.activation = ZENWOQ_ACTIVATION_SWIGLU_OAI;
  EXPECT_EQ(middle(), "m6x2scgu_ybf16_swigluoai");
}

// Every epilogue there is, in tiles of every kind.
TEST(KernelName, OfEveryEpilogueParsesBackToItsKey) {
  std::set<std::string> names;
  std::size_t keys = 0;
  for (int activation = ZENWOQ_ACTIVATION_NONE; activation <= ZENWOQ_ACTIVATION_SWIGLU_OAI; ++activation) {
    for (unsigned i = 0; i < 3u * 3u << 4; ++i) {
      KernelKey key = some_key();
      key.epilogue.activation = static_cast<zenwoq_activation>(activation);
      key.tile.scratch = i & 1;
      key.tile.gated = i & 2;
      key.epilogue.bias = i & 4;
      key.epilogue.factor = i & 8;
      key.epilogue.residuals = static_cast<std::uint8_t>((i >> 4) % 3);
      key.epilogue.tensor_scale = static_cast<zenwoq_tensor_scale_kind>((i >> 4) / 3);
      EXPECT_EQ(parse_kernel_name(key.name()), key) << key.name();
      names.insert(key.name());
      ++keys;
    }
  }
  EXPECT_EQ(names.size(), keys);
}

TEST(KernelName, TheLongestFitsIntoTheStructOfTheHeader) {
  KernelKey key;
  key.codes = Codes::integer;
  key.k = std::uint64_t{1} << 21;
  key.group = key.k / 2;
  key.scale_type = ZENWOQ_U8_F16, key.zero_kind = ZENWOQ_ZERO_FLOAT, key.zero_type = ZENWOQ_BF16;
  key.tile = {12, 8, true, true};
  key.output_type = ZENWOQ_BF16;
  key.epilogue = {ZENWOQ_TENSOR_SCALE_TIMES, true, ZENWOQ_ACTIVATION_SWIGLU_OAI, true, 2};
  key.habits = {.decode_first = true, .share_x = true, .prefetch = {16384, 4, true}};
  EXPECT_LT(key.name().size(), sizeof zenwoq_kernel_info::name) << key.name();
}

// Every value of every field, alone and with the others changed: a field that printing or parsing forgets shows here.
TEST(KernelName, ParsesBackToItsKey) {
  for (unsigned i = 0; i < 3u << 12; ++i) {
    KernelKey key = some_key();
    if (i & 1) key.group = key.k;
    if (i & 2) key.k = 4104;
    if (i & 4) key.tile = {12, 8};
    if (i & 8) key.output_type = ZENWOQ_F32;
    if (i & 16) key.epilogue.bias = true;
    if (i & 32) key.tier = ZENWOQ_TIER_AVX2, key.codes = Codes::integer, key.tile.scratch = true;
    if (i & 64) key.habits.decode_first = true;
    if (i & 128) key.habits.share_x = true;
    if (i & 256) key.habits.prefetch.bytes = 12288;
    if (i & 512 && key.habits.prefetch.bytes != 0) key.habits.prefetch.every = 3;
    if (i & 1024 && key.habits.prefetch.bytes != 0) key.habits.prefetch.to_l2 = true;
    key.scale_type = static_cast<zenwoq_dtype>(1 + i % 3);
    key.zero_kind = static_cast<zenwoq_zero_kind>(i / 3 % 3);
    EXPECT_EQ(parse_kernel_name(key.name()), key) << key.name();
    EXPECT_LT(key.name().size(), sizeof zenwoq_kernel_info::name);
  }
}

using Changes = std::vector<std::pair<const char*, const char*>>;

// Nothing is taken of what a name becomes by one change.
void expect_refused(const std::string& good, const Changes& changes) {
  ASSERT_TRUE(parse_kernel_name(good).has_value()) << good;
  for (const auto& [from, to] : changes) {
    std::string name = good;
    ASSERT_NE(name.find(from), std::string::npos) << from;
    name.replace(name.find(from), std::string(from).size(), to);
    EXPECT_FALSE(parse_kernel_name(name).has_value()) << name;
  }
}

TEST(KernelName, OnlyWhatNamePrintsIsTaken) {
  const Changes changes = {
      {"gemm", "gemv"},
      {"bf16_t4", "f16_t4"},
      {"t4", "t3"},
      {"g128", "g0128"},
      {"g128", "g4096"},
      {"g128", "g0"},
      {"k4096", "k0"},
      {"k4096", "k99999999999999999999"},
      {"sbf16", "sf64"},
      {"z0", "z1"},
      {"m6x2", "m-6x2"},
      {"m6x2", "m6"},
      {"m6x2", "m6x2s"},
      {"m6x2", "m6x2scx"},
      {"t4", "i5"},
      {"ybf16", "ybf17"},
      {"_bias", "_bias_bias"},
      {"bias_avx512bf16", "avx512bf16_bias"},
      {"avx512bf16", "avx1024"},
      {"df_xs", "xs_df"},
      {"p4096", "p0"},
      {"p4096", "p4096e1"},
      {"p4096", "p4096e0"},
      {"p4096", "p4096t2"},
      {"p4096", "p4096_"},
      {"p4096", "zen5"},
      {"_xs", "__xs"},
  };
  expect_refused("gemm_bf16_t4_g128_k4096_sbf16_z0_m6x2_ybf16_bias_avx512bf16_df_xs_p4096", changes);
  for (const char* name : {"", "_", "gemm", "gemm_bf16_t4_g128_k4096_sbf16_z0_m6x2_ybf16"}) {
    EXPECT_FALSE(parse_kernel_name(name).has_value()) << name;
  }
}

TEST(KernelName, OnlyEpiloguesThatNamePrintsAreTaken) {
  expect_refused("gemm_bf16_t4_g128_k4096_sbf16_z0_m6x2scgu_ybf16_td_bias_gelutanh_mul_add2_avx2",
                 {{"scgu", "gusc"},
                  {"scgu", "scscgu"},
                  {"scgu", "scgugu"},
                  {"scgu", "scg"},
                  {"scgu", "_gu"},
                  {"scgu", "ug"},
                  {"td_bias", "bias_td"},
                  {"td_bias", "ts_td_bias"},
                  {"bias_gelutanh", "gelutanh_bias"},
                  {"gelutanh_mul", "mul_gelutanh"},
                  {"gelutanh", "gelutanh_gelutanh"},
                  {"gelutanh", "gelu_gelutanh"},
                  {"gelutanh", "relu_silu"},
                  {"gelutanh", "tanh"},
                  {"gelutanh", "none"},
                  {"gelutanh", ""},
                  {"gelutanh", "Silu"},
                  {"mul_add2", "add2_mul"},
                  {"mul", "mul_mul"},
                  {"mul", "mul1"},
                  {"add2", "add_add"},
                  {"add2", "add_add2"},
                  {"add2", "add3"},
                  {"add2", "add1"},
                  {"add2", "add0"},
                  {"add2_avx2", "avx2_add2"}});
}

// A field that equality forgets gives a layer the kernel of another; one that the hash forgets fills a bucket.
TEST(KernelKey, EqualityAndHashDependOnEveryField) {
  const std::function<void(KernelKey&)> changes[] = {
      [](KernelKey& key) { key.group = 64; },
      [](KernelKey& key) { key.k = 4104; },
      [](KernelKey& key) { key.scale_type = ZENWOQ_F16; },
      [](KernelKey& key) { key.zero_kind = ZENWOQ_ZERO_OFFSET; },
      [](KernelKey& key) { key.tile.rows = 5; },
      [](KernelKey& key) { key.tile.strips = 4; },
      [](KernelKey& key) { key.tile.scratch = true; },
      [](KernelKey& key) { key.codes = Codes::integer; },
      [](KernelKey& key) { key.output_type = ZENWOQ_F32; },
      [](KernelKey& key) { key.tile.gated = true; },
      [](KernelKey& key) { key.epilogue.bias = true; },
      [](KernelKey& key) { key.epilogue.tensor_scale = ZENWOQ_TENSOR_SCALE_TIMES; },
      [](KernelKey& key) { key.epilogue.tensor_scale = ZENWOQ_TENSOR_SCALE_BY; },
      [](KernelKey& key) { key.epilogue.activation = ZENWOQ_ACTIVATION_RELU; },
      [](KernelKey& key) { key.epilogue.activation = ZENWOQ_ACTIVATION_SILU; },
      [](KernelKey& key) { key.epilogue.activation = ZENWOQ_ACTIVATION_GELU; },
      [](KernelKey& key) { key.epilogue.activation = ZENWOQ_ACTIVATION_GELU_TANH; },
      [](KernelKey& key) { key.epilogue.activation = ZENWOQ_ACTIVATION_SWIGLU_OAI; },
      [](KernelKey& key) { key.epilogue.factor = true; },
      [](KernelKey& key) { key.epilogue.residuals = 1; },
      [](KernelKey& key) { key.epilogue.residuals = 2; },
      [](KernelKey& key) { key.tier = ZENWOQ_TIER_AVX2; },
      [](KernelKey& key) { key.habits.decode_first = true; },
      [](KernelKey& key) { key.habits.share_x = true; },
      [](KernelKey& key) { key.habits.prefetch.bytes = 4096; },
      [](KernelKey& key) { key.habits.prefetch.every = 2; },
      [](KernelKey& key) { key.habits.prefetch.to_l2 = true; },
  };
  std::set<std::uint64_t> hashes = {hash_value(some_key())};
  for (const auto& change : changes) {
    KernelKey key = some_key();
    change(key);
    EXPECT_NE(key, some_key()) << key.name();
    EXPECT_TRUE(hashes.insert(hash_value(key)).second) << key.name();
  }
}

// Why a key has no kernel.
std::string refusal(const KernelKey& key) {
  std::vector<std::uint8_t> code;
  const Status status = emit(key, &code);
  EXPECT_EQ(status.code(), ZENWOQ_ERROR_UNSUPPORTED) << key.name();
  EXPECT_EQ(status.text(), why_not(key));
  EXPECT_TRUE(registers(key).empty());
  return status.text();
}

TEST(Jit, EpiloguesWithoutAKernelAreRefusedWithAReason) {
  for (const zenwoq_tier tier : {ZENWOQ_TIER_AVX512BF16, ZENWOQ_TIER_AVX2}) {
    KernelKey key = some_key();
    key.tier = tier;
    key.tile = {2, 1};
    key.epilogue.activation = ZENWOQ_ACTIVATION_SWIGLU_OAI;
    EXPECT_EQ(refusal(key), "swigluoai: the tile is not gated");
    key.tile.gated = true;
    EXPECT_EQ(why_not(key), "");
    key.epilogue.factor = true;
    EXPECT_EQ(refusal(key), "gu: has neither mul nor add");
    key.epilogue.factor = false;
    key.epilogue.residuals = 1;
    EXPECT_EQ(refusal(key), "gu: has neither mul nor add");
  }
  KernelKey key = some_key();
  key.tier = ZENWOQ_TIER_AVX2;
  key.tile = {.rows = 6, .strips = 2, .scratch = true, .gated = true};
  EXPECT_EQ(refusal(key), "tile m6x2scgu: rows must be 2..6, strips 1");
  key.tile.strips = 1;
  EXPECT_EQ(why_not(key), "");
  key.tile.gated = false;
  EXPECT_EQ(refusal(key), "tile m6x1sc: rows must be 2..6, strips 2");
}

TEST(Jit, KeysWithoutAKernelAreRefusedWithAReason) {
  KernelKey key = some_key();
  key.tile = {12, 8};
  EXPECT_EQ(refusal(key), "tile m12x8 does not fit 32 vector registers");
  key.tile = {1, 3};
  EXPECT_EQ(refusal(key), "tile m1x3: rows must be 1..12, strips 1, 2, 4 or 8");
  key.tile = {1, 4};
  key.k = std::uint64_t{1} << 40;
  EXPECT_THAT(refusal(key), HasSubstr("k = 1099511627776: kernels are generated up to 2097152"));
  key = some_key();
  key.group = 12;
  EXPECT_EQ(refusal(key), "group 12: must be a multiple of 8");
  key = some_key();
  key.output_type = ZENWOQ_F16;
  EXPECT_EQ(refusal(key), "output f16: must be f32 or bf16");
  key = some_key();
  key.habits.share_x = true;
  EXPECT_THAT(refusal(key), HasSubstr("xs without df"));
  key = some_key();
  key.tier = ZENWOQ_TIER_AVX2;
  EXPECT_EQ(refusal(key), "tile m6x2 does not fit 16 vector registers");
  key.tile = {1, 4};
  key.k = std::uint64_t{1} << 40;
  EXPECT_THAT(refusal(key), HasSubstr("kernels are generated up to 2097152"));
  key = some_key();
  key.tier = ZENWOQ_TIER_AVX2;
  key.tile = {7, 2, true};
  EXPECT_EQ(refusal(key), "tile m7x2sc: rows must be 2..6, strips 2");
  key.tier = ZENWOQ_TIER_AVX512BF16;
  EXPECT_EQ(refusal(key), "no kernel of the tier avx512bf16 with scratch");
  key = some_key();
  key.tier = ZENWOQ_TIER_REFERENCE;
  EXPECT_EQ(refusal(key), "no kernel of the tier reference");
}

// By the register map each register holds one thing at a time: sums all along, anything else within its scope.
TEST(Jit, NoRegisterHoldsTwoThingsAtOnce) {
  constexpr std::pair<std::uint64_t, zenwoq_tier> kCases[] = {
      {64, ZENWOQ_TIER_AVX512BF16}, {4096, ZENWOQ_TIER_AVX512BF16}, {64, ZENWOQ_TIER_AVX2}, {4096, ZENWOQ_TIER_AVX2}};
  for (const std::uint32_t strips : {1, 2, 4, 8}) {
    for (std::uint32_t rows = 1; rows <= kMaxTileRows; ++rows) {
      for (const auto& [group, tier] : kCases) {
        KernelKey key = some_key();
        key.tier = tier;
        key.codes = tier == ZENWOQ_TIER_AVX2 && rows % 2 == 0 ? Codes::integer : Codes::table;
        key.tile = {rows, strips};
        key.group = group;
        key.zero_kind = ZENWOQ_ZERO_OFFSET;
        key.epilogue.bias = true;
        if (!why_not(key).empty()) continue;
        const std::vector<RegisterUse> uses = registers(key);
        ASSERT_GE(uses.size(), rows * strips);
        for (const RegisterUse& a : uses) {
          for (const RegisterUse& b : uses) {
            const bool together = a.scope[0] == '\0' || b.scope[0] == '\0' || std::string(a.scope) == b.scope;
            const bool is_register = a.place.find("mm") == 1;
            EXPECT_FALSE(&a != &b && together && is_register && a.place == b.place)
                << key.name() << ": " << a.place << " is " << a.role << " and " << b.role;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace zenwoq
