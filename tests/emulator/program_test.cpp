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
  const auto program = program_of([](Code& c) {
    c.ret();
    c.align(64);
    for (int i = 0; i < 64; ++i) c.db(0x06);
  });
  ASSERT_TRUE(program != nullptr);
  EXPECT_EQ(program->text(0), "endbr64");
  EXPECT_EQ(reinterpret_cast<std::uint64_t>(program->code().data()) % 64, 0U);
}

std::string problems_of(const std::function<void(Code&)>& emit) {
  const auto program = decode(assemble(emit));
  std::vector<std::string> problems;
  const bool accepted = verify_static(*program, &problems);
  EXPECT_EQ(accepted, problems.empty());
  std::string text;
  for (const std::string& problem : problems) text += problem + "\n";
  return text;
}

std::string body_problems(const std::function<void(Code&)>& body) {
  return problems_of([&](Code& c) { c.endbr64(), body(c), c.vzeroupper(), c.ret(); });
}

TEST(VerifyTest, AcceptsAKernel) {
  EXPECT_EQ(problems_of([](Code& c) {
              Xbyak::Label loop, table;
              c.endbr64();
              c.push(rbx);
              c.sub(rsp, 8);
              c.vmovdqu64(zmm31, ptr[rip + table]);
              c.mov(ecx, 3);
              c.L(loop);
              c.vpermw(zmm1, zmm2, zmm31);
              c.vdpbf16ps(zmm3, zmm1, ptr_b[rdi]);
              c.vpsrlw(zmm1, zmm1, 4);
              c.vcvtneps2bf16(ymm4, zmm3);
              c.bzhi(eax, ecx, edx);
              c.dec(ecx);
              c.jnz(loop);
              c.vzeroupper();
              c.ldmxcsr(ptr[rsp]);
              c.add(rsp, 8);
              c.pop(rbx);
              c.ret();
              c.align(64);
              c.L(table);
              for (int i = 0; i < 64; ++i) c.db(0x06);
            }),
            "");
}

TEST(VerifyTest, FindsProblems) {
  EXPECT_CONTAINS(problems_of([](Code& c) { c.ret(); }), "not endbr64");
  EXPECT_CONTAINS(body_problems([](Code& c) { c.vpermb(zmm0, zmm1, zmm2); }), "AVX512_VBMI_512 is not allowed");
  EXPECT_CONTAINS(body_problems([](Code& c) { c.addps(xmm0, xmm1); }), "SSE is not allowed");
  EXPECT_CONTAINS(body_problems([](Code& c) { c.call(rax); }), "not allowed");
  EXPECT_CONTAINS(body_problems([](Code& c) { c.syscall(); }), "not allowed");
  EXPECT_CONTAINS(body_problems([](Code& c) { c.jmp(rax); }), "indirect branch");
  EXPECT_CONTAINS(body_problems([](Code& c) { c.mov(rax, 0x7F0012345678); }), "may be an address");
  EXPECT_EQ(body_problems([](Code& c) { c.mov(rax, -2); }), "");
  EXPECT_CONTAINS(body_problems([](Code& c) { c.vpshufb(zmm0 | k1, zmm1, ptr[rdi]); }), "masked byte shuffle");
  EXPECT_EQ(body_problems([](Code& c) { c.vpshufb(zmm0, zmm1, ptr[rdi]); }), "");
}

TEST(VerifyTest, FindsMissingVzeroupper) {
  EXPECT_CONTAINS(problems_of([](Code& c) { c.endbr64(), c.vpxord(zmm1, zmm1, zmm1), c.ret(); }), "no vzeroupper");
  EXPECT_CONTAINS(problems_of([](Code& c) {
                    Xbyak::Label end;
                    c.endbr64();
                    c.vpxord(zmm1, zmm1, zmm1);
                    c.test(edi, edi);
                    c.jz(end);
                    c.vzeroupper();
                    c.L(end);
                    c.ret();
                  }),
                  "past vzeroupper");
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

TEST(BridgeTest, ThreadsShareAProgram) {
  const auto increment = program_of([](Code& c) {
    Xbyak::Label loop;
    c.mov(ecx, 1000);
    c.L(loop);
    c.inc(qword[rdi]);
    c.dec(ecx);
    c.jnz(loop);
    c.ret();
  });
  std::uint64_t counters[4] = {};
  std::vector<std::thread> threads;
  for (std::uint64_t& counter : counters) {
    threads.emplace_back([&] { zenwoq_emulate_entry(&counter, increment.get()); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::uint64_t counter : counters) EXPECT_EQ(counter, 1000U);
  EXPECT_EQ(take_recorded_error(), "");
}

}  // namespace
}  // namespace zenwoq::emulator
