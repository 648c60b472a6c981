// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The rules that the emulator enforces on a run: memory, the calling convention, endless loops. What instructions
// compute, and the rest of the interface, is tested in tests/emulator/*_test.cpp.

#include "tests/emulator/test_support.h"

namespace zenwoq::emulator {
namespace {

using namespace Xbyak::util;
using testing::Test;

// The error of one run, "" if it went well. The argument is the address of `data`, which is all that is permitted.
class RunTest : public Test {
 protected:
  std::string error_of(const std::function<void(Code&)>& body) {
    const auto program = program_of(body);
    std::string error;
    result_ = run(*program, cpu_, reinterpret_cast<std::uint64_t>(data_), &error);
    EXPECT_EQ(result_.ok, error.empty());
    return error;
  }

  alignas(64) std::uint8_t data_[256] = {};
  Cpu cpu_;
  Result result_;
};

class BoundsTest : public RunTest {
 protected:
  void permit(std::size_t bytes, bool writable) { cpu_.ranges = {{data_, bytes, writable, "x"}}; }
};

TEST_F(BoundsTest, AccessesInsideArePermitted) {
  permit(128, true);
  EXPECT_EQ(error_of([](Code& c) {
              c.vmovdqu64(zmm0, ptr[rdi + 64]);
              c.vmovdqu64(ptr[rdi + 7], zmm0);
              c.movzx(eax, byte[rdi + 127]);
              c.vzeroupper();
              c.ret();
            }),
            "");
}

TEST_F(BoundsTest, OneBytePastTheEndFails) {
  permit(128, true);
  const std::string error = error_of([](Code& c) {
    c.vmovdqu64(zmm0, ptr[rdi + 65]);
    c.vzeroupper();
    c.ret();
  });
  EXPECT_CONTAINS(error, "+0x4 `vmovdqu64 zmm0, zmmword ptr [rdi+0x41]`: read of 64 bytes at");
  EXPECT_CONTAINS(error, "1 byte past the end of 'x'");
  EXPECT_CONTAINS(error_of([](Code& c) { c.mov(rax, ptr[rdi + 128]), c.ret(); }), "8 bytes past the end of 'x'");
  EXPECT_CONTAINS(error_of([](Code& c) { c.mov(al, ptr[rdi - 3]), c.ret(); }), "3 bytes before the begin of 'x'");
  EXPECT_CONTAINS(error_of([](Code& c) { c.mov(rax, ptr[rcx]), c.ret(); }), "no permitted range is near");
}

TEST_F(BoundsTest, WritesNeedAWritableRange) {
  permit(128, false);
  EXPECT_CONTAINS(error_of([](Code& c) { c.mov(ptr[rdi], rax), c.ret(); }), "write of 8 bytes");
  EXPECT_CONTAINS(error_of([](Code& c) { c.mov(ptr[rdi], rax), c.ret(); }), "'x' is read-only");
  EXPECT_CONTAINS(error_of([](Code& c) {
                    Xbyak::Label table;
                    c.mov(ptr[rip + table], eax);
                    c.ret();
                    c.L(table);
                    c.dd(0);
                  }),
                  "'code' is read-only");
}

TEST_F(BoundsTest, MaskedMovesTouchActiveBytesOnly) {
  permit(10, true);
  const auto masked = [&](unsigned lanes, bool store) {
    return error_of([=](Code& c) {
      c.mov(eax, (1 << lanes) - 1);
      c.kmovd(k1, eax);
      c.vpxord(zmm0, zmm0, zmm0);
      store ? c.vmovdqu16(ptr[rdi] | k1, zmm0) : c.vmovdqu16(zmm0 | k1 | T_z, ptr[rdi]);
      c.vzeroupper();
      c.ret();
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
  EXPECT_CONTAINS(error_of([](Code& c) {
                    c.mov(eax, 3);
                    c.kmovd(k1, eax);
                    c.vpaddd(zmm0 | k1, zmm0, ptr[rdi]);
                    c.vzeroupper();
                    c.ret();
                  }),
                  "54 bytes past the end of 'x'");
}

TEST_F(BoundsTest, AlignedMovesNeedAlignment) {
  permit(256, true);
  EXPECT_CONTAINS(error_of([](Code& c) { c.vmovdqa64(zmm0, ptr[rdi + 32]), c.vzeroupper(), c.ret(); }),
                  "is not aligned to 64 bytes");
}

TEST_F(BoundsTest, PrefetchNeverFaults) {
  permit(1, false);
  EXPECT_EQ(error_of([](Code& c) { c.prefetcht0(ptr[rdi + 4096]), c.prefetchnta(ptr[rcx]), c.ret(); }), "");
}

TEST_F(BoundsTest, UncheckedModeAllowsEverything) {
  cpu_.check_ranges = false;
  EXPECT_EQ(error_of([](Code& c) { c.mov(dword[rdi + 64], 77), c.ret(); }), "");
  EXPECT_EQ(data_[64], 77);
}

using StackTest = RunTest;

TEST_F(StackTest, FramesArePermitted) {
  EXPECT_EQ(error_of([](Code& c) {
              c.push(rbp);
              c.mov(rbp, rsp);
              c.and_(rsp, -64);
              c.sub(rsp, 128);
              c.vpxord(zmm1, zmm1, zmm1);
              c.vmovdqa64(ptr[rsp], zmm1);
              c.vmovdqa64(ptr[rsp + 64], zmm1);
              c.vzeroupper();
              c.leave();
              c.ret();
            }),
            "");
}

TEST_F(StackTest, RedZoneAndCallersFrameAreNot) {
  EXPECT_CONTAINS(error_of([](Code& c) { c.mov(ptr[rsp - 8], rax), c.ret(); }), "8 bytes below the stack pointer");
  EXPECT_CONTAINS(error_of([](Code& c) { c.mov(ptr[rsp], rax), c.ret(); }), "write of 8 bytes");
  EXPECT_CONTAINS(error_of([](Code& c) { c.mov(rax, ptr[rsp + 8]), c.ret(); }), "read of 8 bytes");
}

TEST_F(StackTest, UncheckedWritesToTheCallersFrameAreFound) {
  cpu_.check_ranges = false;
  EXPECT_CONTAINS(error_of([](Code& c) { c.mov(ptr[rsp + 16], rax), c.ret(); }), "canaries");
}

TEST_F(StackTest, ReturnNeedsTheEntryLevel) {
  EXPECT_CONTAINS(error_of([](Code& c) { c.push(rax), c.ret(); }), "rsp at ret");
}

using CallTest = RunTest;

TEST_F(CallTest, ReturnsAndCounts) {
  EXPECT_EQ(error_of([](Code& c) { c.mov(eax, 42), c.nop(), c.ret(); }), "");
  EXPECT_EQ(result_.return_value, 42U);
  EXPECT_EQ(result_.instructions, 4U);
}

TEST_F(CallTest, CalleeSavedRegistersAreChecked) {
  for (const Xbyak::Reg64& reg : {rbx, rbp, r12, r13, r14, r15}) {
    const std::string error = error_of([&](Code& c) { c.xor_(reg, reg), c.ret(); });
    EXPECT_CONTAINS(error, std::string(reg.toString()) + " is callee-saved");
    EXPECT_EQ(error_of([&](Code& c) { c.push(reg), c.xor_(reg, reg), c.pop(reg), c.ret(); }), "");
  }
}

TEST_F(CallTest, MxcsrMustBeRestored) {
  EXPECT_CONTAINS(error_of([](Code& c) {
                    c.push(0x9FC0);
                    c.ldmxcsr(ptr[rsp]);
                    c.pop(rax);
                    c.ret();
                  }),
                  "MXCSR is 0x9fc0 at return, was 0x1f80");
}

TEST_F(CallTest, UpperStateMustBeClean) {
  EXPECT_CONTAINS(error_of([](Code& c) { c.vpxord(zmm3, zmm3, zmm3), c.ret(); }), "no vzeroupper");
  EXPECT_CONTAINS(error_of([](Code& c) { c.vzeroupper(), c.vpxor(ymm3, ymm3, ymm3), c.ret(); }), "no vzeroupper");
  EXPECT_EQ(error_of([](Code& c) { c.vpxor(ymm3, ymm3, ymm3), c.vzeroupper(), c.ret(); }), "");
  EXPECT_EQ(error_of([](Code& c) { c.vpxor(xmm3, xmm3, xmm3), c.ret(); }), "");
  EXPECT_FALSE(result_.high_registers_written);
  EXPECT_EQ(error_of([](Code& c) { c.vpxord(zmm19, zmm19, zmm19), c.ret(); }), "");
  EXPECT_TRUE(result_.high_registers_written);
}

TEST_F(CallTest, RegistersHoldGarbageOnEntry) {
  cpu_.ranges = {{data_, sizeof data_, true, "x"}};
  EXPECT_EQ(error_of([](Code& c) {
              c.vmovdqu64(ptr[rdi], zmm5);
              c.kmovq(ptr[rdi + 64], k0);
              c.ret();
            }),
            "");
  for (std::size_t i = 0; i < 16; ++i) {
    std::uint32_t bits;
    std::memcpy(&bits, data_ + 4 * i, 4);
    EXPECT_EQ(bits & 0x7FC00000, 0x7F800000U) << "a signalling NaN";
  }
}

TEST_F(CallTest, EndlessLoopsEnd) {
  cpu_.budget = 10000;
  EXPECT_CONTAINS(error_of([](Code& c) {
                    Xbyak::Label loop;
                    c.L(loop);
                    c.jmp(loop);
                  }),
                  "still running after 10000 instructions");
  EXPECT_EQ(result_.instructions, 10000U);
}

TEST_F(CallTest, UnknownInstructionsFailWhenRun) {
  EXPECT_CONTAINS(error_of([](Code& c) { c.vpermb(zmm0, zmm1, zmm2), c.ret(); }), "not known to the emulator");
  EXPECT_CONTAINS(error_of([](Code& c) { c.vaddps(zmm0, zmm1, zmm2 | T_rz_sae), c.ret(); }),
                  "not known to the emulator");
  EXPECT_EQ(error_of([](Code& c) {
              Xbyak::Label end;
              c.xor_(eax, eax);
              c.jz(end);
              c.cpuid();
              c.L(end);
              c.ret();
            }),
            "");
}

}  // namespace
}  // namespace zenwoq::emulator
