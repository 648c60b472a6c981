// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Decoding, the static checks, and the bridge through which the library calls emulated kernels.
#include <xmmintrin.h>

#include <thread>

#include "tests/emulator/test_support.h"

namespace zenwoq::emulator {
namespace {

using namespace Xbyak::util;

std::string decode_error(const std::function<void(Code&)>& emit) {
  std::string error;
  EXPECT_TRUE(Program::decode(assemble(emit), &error) == nullptr);
  return error;
}

TEST(DecodeTest, RefusesWhatLeavesTheCode) {
  EXPECT_CONTAINS(decode_error([](Code&) {}), "runs off the end");
  EXPECT_CONTAINS(decode_error([](Code& c) { c.nop(); }), "runs off the end");
  EXPECT_CONTAINS(decode_error([](Code& c) { c.db(0xEB), c.db(0x10), c.ret(); }), "a branch leaves the code");
  EXPECT_CONTAINS(decode_error([](Code& c) { c.db(0x06), c.ret(); }), "no instruction");
  EXPECT_CONTAINS(decode_error([](Code& c) { c.db(0x74), c.db(0x01), c.mov(eax, 0xC3C3C3C3), c.ret(); }),
                  "begins inside another");
}

TEST(DecodeTest, DataIsNotDecoded) {
  const auto program = program_of([](Code& c) { c.ret(), c.align(64), c.dd(0x06060606); });
  ASSERT_TRUE(program != nullptr);
  EXPECT_EQ(program->text(0), "endbr64");
  EXPECT_EQ(reinterpret_cast<std::uint64_t>(program->code().data()) % 64, 0U);
}

std::string problems_of(const std::function<void(Code&)>& emit, Features allowed = kAvx512Bf16Tier) {
  const auto program = decode(assemble(emit));
  std::vector<std::string> problems;
  const bool accepted = verify_static(*program, allowed, &problems);
  EXPECT_EQ(accepted, problems.empty());
  return fmt::format("{}", fmt::join(problems, "\n"));
}

std::string body_problems(const std::function<void(Code&)>& body, Features allowed = kAvx512Bf16Tier) {
  return problems_of([&](Code& c) { c.endbr64(), body(c), c.vzeroupper(), c.ret(); }, allowed);
}

TEST(VerifyTest, FindsProblems) {
  EXPECT_CONTAINS(problems_of([](Code& c) { c.ret(); }), "not endbr64");
  const auto expect_refused = [](const std::function<void(Code&)>& body) {
    EXPECT_CONTAINS(body_problems(body), "not among the instructions");
  };
  expect_refused([](Code& c) { c.vpermb(zmm0, zmm1, zmm2); });
  expect_refused([](Code& c) { c.addps(xmm0, xmm1); });
  expect_refused([](Code& c) { c.call(rax); });
  expect_refused([](Code& c) { c.syscall(); });
  expect_refused([](Code& c) { c.jmp(rax); });
  expect_refused([](Code& c) { c.int3(); });
  expect_refused([](Code& c) { c.vaddps(zmm0, zmm1, zmm2 | T_rz_sae); });
  expect_refused([](Code& c) { c.vpcmpeqd(k1, zmm1, zmm2); });
  for (const std::uint8_t predicate : {1, 2, 13, 21}) {  // of vcmpps only "not less than" that does not signal
    expect_refused([=](Code& c) { c.vcmpps(ymm0, ymm1, ymm2, predicate); });
    expect_refused([=](Code& c) { c.vcmpps(k1, zmm1, zmm2, predicate); });
  }
  expect_refused([](Code& c) { c.vcmpps(k1 | k2, zmm1, zmm2, 5); });
  EXPECT_CONTAINS(body_problems([](Code& c) { c.mov(rax, 0x7F0012345678); }), "may be an address");
  EXPECT_EQ(body_problems([](Code& c) { c.mov(rax, -2); }), "");
  EXPECT_CONTAINS(body_problems([](Code& c) { c.vpshufb(zmm0 | k1, zmm1, ptr[rdi]); }), "masked byte shuffle");
  EXPECT_EQ(body_problems([](Code& c) { c.vpshufb(zmm0, zmm1, ptr[rdi]); }), "");
}

// The encoding decides, not only the mnemonic: EVEX forms of AVX2 instructions are not for a CPU that has AVX2 alone.
TEST(VerifyTest, KernelsKeepToTheirTier) {
  const auto expect_tiers = [](const std::function<void(Code&)>& body, bool avx2, bool bf16, bool vnni) {
    const std::pair<Features, bool> tiers[] = {{kAvx2Tier, avx2}, {kAvx512Bf16Tier, bf16}, {kAvx512VnniTier, vnni}};
    for (const auto& [tier, accepted] : tiers) {
      const std::string problems = body_problems(body, tier);
      EXPECT_EQ(problems.empty(), accepted) << "tier " << tier << ": " << problems;
      EXPECT_EQ(problems.find("which this kernel may not use") == std::string::npos, accepted);
    }
  };
  expect_tiers([](Code& c) { c.vpaddd(ymm0, ymm1, ptr[rdi]); }, true, true, true);
  expect_tiers([](Code& c) { c.bzhi(eax, ecx, edx); }, true, true, true);
  expect_tiers([](Code& c) { c.vpaddd(zmm0, zmm1, zmm2); }, false, true, true);
  expect_tiers([](Code& c) { c.vpaddd(ymm0 | k1, ymm1, ymm2); }, false, true, true);
  expect_tiers([](Code& c) { c.vpaddd(ymm0, ymm1, ptr_b[rdi]); }, false, true, true);
  expect_tiers([](Code& c) { c.vpaddd(xmm0, xmm1, xmm16); }, false, true, true);
  expect_tiers([](Code& c) { c.vmovups(ptr[rdi], ymm17); }, false, true, true);
  expect_tiers([](Code& c) { c.vpternlogd(xmm0, xmm1, xmm2, 1); }, false, true, true);
  expect_tiers([](Code& c) { c.kmovw(k1, eax); }, false, true, true);
  expect_tiers([](Code& c) { c.vcmpps(ymm0, ymm1, ymm2, 5); }, true, true, true);
  expect_tiers([](Code& c) { c.vcmpps(k1, ymm1, ymm2, 5); }, false, true, true);
  expect_tiers([](Code& c) { c.vdpbf16ps(ymm0, ymm1, ymm2); }, false, true, false);
  expect_tiers([](Code& c) { c.vcvtneps2bf16(xmm0, ymm1); }, false, true, false);
  expect_tiers([](Code& c) { c.vpdpbusd(ymm0, ymm1, ymm2); }, false, false, true);
  expect_tiers([](Code& c) { c.vpdpbusd(zmm0, zmm1, zmm2); }, false, false, true);
  // It may fault on lanes that its mask leaves out, so no tail may use it.
  EXPECT_CONTAINS(body_problems([](Code& c) { c.vmaskmovps(ymm0, ymm1, ptr[rdi]); }, kAvx2Tier),
                  "not among the instructions");
  // AVX-VNNI's encoding.
  EXPECT_CONTAINS(body_problems([](Code& c) { c.vpdpbusd(ymm0, ymm1, ymm2, Xbyak::VexEncoding); }, kAvx512VnniTier),
                  "not among the instructions");
}

TEST(VerifyTest, FindsMissingVzeroupper) {
  EXPECT_CONTAINS(problems_of([](Code& c) { c.endbr64(), c.vpxord(zmm1, zmm1, zmm1), c.ret(); }), "no vzeroupper");
  const auto jump_around = [](Code& c) {
    Xbyak::Label end;
    c.endbr64(), c.vpxord(zmm1, zmm1, zmm1), c.test(edi, edi), c.jz(end), c.vzeroupper(), c.L(end), c.ret();
  };
  EXPECT_CONTAINS(problems_of(jump_around), "past vzeroupper");
}

TEST(BridgeTest, RunsUnderTheCallersMxcsrAndRecordsErrors) {
  const auto store_mxcsr = program_of([](Code& c) { c.stmxcsr(ptr[rdi]), c.ret(); });
  const std::uint32_t before = _mm_getcsr();
  _mm_setcsr(0x7F80);
  std::uint32_t seen = 0;
  zenwoq_emulate_entry(&seen, store_mxcsr.get());
  EXPECT_EQ(seen & kMxcsrControl, 0x7F80U);
  EXPECT_EQ(_mm_getcsr() & kMxcsrControl, 0x7F80U);
  _mm_setcsr(before);
  EXPECT_EQ(take_recorded_error(), "");

  const auto broken = program_of([](Code& c) { c.xor_(ebx, ebx), c.ret(); });
  std::thread([&] { zenwoq_emulate_entry(nullptr, broken.get()); }).join();
  EXPECT_CONTAINS(take_recorded_error(), "rbx is callee-saved");
  EXPECT_EQ(take_recorded_error(), "");
}

}  // namespace
}  // namespace zenwoq::emulator
