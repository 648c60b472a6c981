// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The rules that the emulator enforces on a run: memory, the calling convention, endless loops.
#include "tests/emulator/test_support.h"

namespace zenwoq::emulator {
namespace {

using namespace Xbyak::util;

// The argument of a run is the address of `data_`, the only memory that may be touched.
class RunTest : public testing::Test {
 protected:
  // The error of a run of `body` and ret; "" if it went well.
  std::string error_of(const std::function<void(Code&)>& body) {
    const auto program = program_of([&](Code& c) { body(c), c.ret(); });
    std::string error;
    result_ = run(*program, cpu_, reinterpret_cast<std::uint64_t>(data_), &error);
    EXPECT_EQ(result_.ok, error.empty());
    return error;
  }

  void permit(std::size_t bytes, bool writable) { cpu_.ranges = {{data_, bytes, writable, "x"}}; }

  alignas(64) std::uint8_t data_[256] = {};
  Cpu cpu_;
  Result result_;
};

using BoundsTest = RunTest;

TEST_F(BoundsTest, AccessesInsideArePermitted) {
  permit(128, true);
  EXPECT_EQ(
      error_of([](Code& c) { c.vmovdqu64(zmm0, ptr[rdi + 64]), c.vmovdqu64(ptr[rdi + 7], zmm0), c.vzeroupper(); }), "");
  EXPECT_EQ(error_of([](Code& c) { c.movzx(eax, byte[rdi + 127]); }), "");
}

TEST_F(BoundsTest, OneBytePastTheEndFails) {
  permit(128, true);
  const std::string error = error_of([](Code& c) { c.vmovdqu64(zmm0, ptr[rdi + 65]); });
  EXPECT_CONTAINS(error, "+0x4 `vmovdqu64 zmm0, zmmword ptr [rdi+0x41]`: read of 64 bytes at");
  EXPECT_CONTAINS(error, "1 byte past the end of 'x'");
  EXPECT_CONTAINS(error_of([](Code& c) { c.mov(rax, ptr[rdi + 128]); }), "8 bytes past the end of 'x'");
  EXPECT_CONTAINS(error_of([](Code& c) { c.mov(al, ptr[rdi - 3]); }), "3 bytes before the begin of 'x'");
  EXPECT_CONTAINS(error_of([](Code& c) { c.mov(rax, ptr[rcx]); }), "no permitted range is near");
}

TEST_F(BoundsTest, WritesNeedAWritableRange) {
  permit(128, false);
  EXPECT_CONTAINS(error_of([](Code& c) { c.mov(ptr[rdi], rax); }), "write of 8 bytes");
  EXPECT_CONTAINS(error_of([](Code& c) { c.mov(ptr[rdi], rax); }), "'x' is read-only");
  EXPECT_CONTAINS(error_of([](Code& c) { c.lea(rax, ptr[rip - 7]), c.mov(ptr[rax], eax); }), "'code' is read-only");
}

TEST_F(BoundsTest, MaskedMovesTouchActiveBytesOnly) {
  permit(10, true);
  const auto masked = [&](unsigned lanes, bool store) {
    return error_of([=](Code& c) {
      c.mov(eax, (1 << lanes) - 1);
      c.kmovd(k1, eax);
      store ? c.vmovdqu16(ptr[rdi] | k1, zmm0) : c.vmovdqu16(zmm0 | k1 | T_z, ptr[rdi]);
      c.vzeroupper();
    });
  };
  for (const bool store : {false, true}) {
    EXPECT_EQ(masked(0, store), "");
    EXPECT_EQ(masked(5, store), "");
    EXPECT_CONTAINS(masked(6, store), "1 byte past the end of 'x'");
  }
}

TEST_F(BoundsTest, OtherMaskedOperandsNeedTheFullExtent) {
  permit(10, true);
  EXPECT_CONTAINS(error_of([](Code& c) { c.mov(eax, 3), c.kmovd(k1, eax), c.vpaddd(zmm0 | k1, zmm0, ptr[rdi]); }),
                  "54 bytes past the end of 'x'");
}

TEST_F(BoundsTest, AlignedMovesNeedAlignment) {
  permit(256, true);
  EXPECT_CONTAINS(error_of([](Code& c) { c.vmovaps(zmm0, ptr[rdi + 32]); }), "is not aligned to 64 bytes");
  EXPECT_CONTAINS(error_of([](Code& c) { c.vmovdqa(ptr[rdi + 16], ymm0); }), "is not aligned to 32 bytes");
}

TEST_F(BoundsTest, PrefetchNeverFaults) {
  permit(1, false);
  EXPECT_EQ(error_of([](Code& c) { c.prefetcht0(ptr[rdi + 4096]), c.prefetchnta(ptr[rcx]); }), "");
}

TEST_F(BoundsTest, UncheckedModeAllowsEverything) {
  cpu_.check_ranges = false;
  EXPECT_EQ(error_of([](Code& c) { c.mov(dword[rdi + 64], 77); }), "");
  EXPECT_EQ(data_[64], 77);
}

using StackTest = RunTest;

TEST_F(StackTest, FramesArePermitted) {
  EXPECT_EQ(error_of([](Code& c) {
              c.push(rbp), c.mov(rbp, rsp), c.and_(rsp, -64), c.sub(rsp, 128);
              c.vmovaps(ptr[rsp], zmm1), c.vmovaps(ptr[rsp + 64], zmm1);
              c.mov(rsp, rbp), c.pop(rbp);
            }),
            "");
}

TEST_F(StackTest, RedZoneAndCallersFrameAreNot) {
  EXPECT_CONTAINS(error_of([](Code& c) { c.mov(ptr[rsp - 8], rax); }), "8 bytes below the stack pointer");
  EXPECT_CONTAINS(error_of([](Code& c) { c.mov(ptr[rsp], rax); }), "write of 8 bytes");
  EXPECT_CONTAINS(error_of([](Code& c) { c.mov(rax, ptr[rsp + 8]); }), "read of 8 bytes");
}

TEST_F(StackTest, UncheckedWritesToTheCallersFrameAreFound) {
  cpu_.check_ranges = false;
  EXPECT_CONTAINS(error_of([](Code& c) { c.mov(ptr[rsp + 16], rax); }), "canaries");
}

TEST_F(StackTest, ReturnNeedsTheEntryLevel) {
  EXPECT_CONTAINS(error_of([](Code& c) { c.push(rax); }), "rsp at ret");
}

using CallTest = RunTest;

TEST_F(CallTest, ReturnsAndCounts) {
  EXPECT_EQ(error_of([](Code& c) { c.mov(eax, 42), c.nop(); }), "");
  EXPECT_EQ(result_.return_value, 42U);
  EXPECT_EQ(result_.instructions, 4U);
}

TEST_F(CallTest, CalleeSavedRegistersAreChecked) {
  for (const Xbyak::Reg64& reg : {rbx, rbp, r12, r13, r14, r15}) {
    EXPECT_CONTAINS(error_of([&](Code& c) { c.xor_(reg, reg); }), std::string(reg.toString()) + " is callee-saved");
    EXPECT_EQ(error_of([&](Code& c) { c.push(reg), c.xor_(reg, reg), c.pop(reg); }), "");
  }
}

TEST_F(CallTest, MxcsrMustBeRestored) {
  EXPECT_CONTAINS(error_of([](Code& c) { c.push(0x9FC0), c.ldmxcsr(ptr[rsp]), c.pop(rax); }),
                  "MXCSR is 0x9fc0 at return, was 0x1f80");
}

TEST_F(CallTest, UpperStateMustBeClean) {
  EXPECT_CONTAINS(error_of([](Code& c) { c.vpxord(zmm3, zmm3, zmm3); }), "no vzeroupper");
  EXPECT_CONTAINS(error_of([](Code& c) { c.vzeroupper(), c.vpxor(ymm3, ymm3, ymm3); }), "no vzeroupper");
  EXPECT_EQ(error_of([](Code& c) { c.vpxor(ymm3, ymm3, ymm3), c.vzeroupper(); }), "");
  EXPECT_EQ(error_of([](Code& c) { c.vpxor(xmm3, xmm3, xmm3); }), "");
  EXPECT_EQ(error_of([](Code& c) { c.vpxord(zmm19, zmm19, zmm19); }), "");
}

TEST_F(CallTest, VectorRegistersHoldSignallingNansOnEntry) {
  permit(64, true);
  EXPECT_EQ(error_of([](Code& c) { c.vmovdqu64(ptr[rdi], zmm5); }), "");
  for (std::size_t i = 0; i < 16; ++i) {
    std::uint32_t bits;
    std::memcpy(&bits, data_ + 4 * i, 4);
    EXPECT_EQ(bits & 0x7FC00000, 0x7F800000U);
  }
}

TEST_F(CallTest, EndlessLoopsEnd) {
  cpu_.budget = 10000;
  const auto endless = [](Code& c) {
    Xbyak::Label loop;
    c.L(loop), c.jmp(loop);
  };
  EXPECT_CONTAINS(error_of(endless), "still running after 10000 instructions");
  EXPECT_EQ(result_.instructions, 10000U);
}

TEST_F(CallTest, UnknownInstructionsFailWhenRun) {
  const auto around_cpuid = [](Code& c) {
    Xbyak::Label end;
    c.xor_(eax, eax), c.jz(end), c.cpuid(), c.L(end);
  };
  EXPECT_EQ(error_of(around_cpuid), "");
  EXPECT_CONTAINS(error_of([](Code& c) { c.vpermb(zmm0, zmm1, zmm2); }), "not known to the emulator");
  EXPECT_CONTAINS(error_of([](Code& c) { c.vaddps(zmm0, zmm1, zmm2 | T_rz_sae); }), "not known to the emulator");
}

}  // namespace
}  // namespace zenwoq::emulator
