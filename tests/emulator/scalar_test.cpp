// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// General-purpose instructions against the host: results, and the flags that the instruction defines.

#include "tests/emulator/test_support.h"

namespace zenwoq::emulator {
namespace {

using namespace Xbyak::util;

constexpr unsigned kZ = 1, kS = 2, kC = 4, kL = 8;  // kL: SF is not OF
constexpr unsigned kAll = kZ | kS | kC | kL;

struct ScalarCase {
  const char* name;
  unsigned defined;  // flags to compare
  void (*emit)(Code& c);
};

#define CASE(defined, statement)                       \
  {                                                    \
#statement, defined, [](Code & c) { c.statement; } \
  }

// rax, rcx, rdx and r8 hold random values, [r11] the image. Flags on entry are those of `cmp r8, rdx`.
// Several cases per line.
// clang-format off
const ScalarCase kCases[] = {
    CASE(kAll, add(rax, rcx)), CASE(kAll, add(eax, ecx)), CASE(kAll, add(ax, cx)), CASE(kAll, add(al, cl)),
    CASE(kAll, add(rax, -5)), CASE(kAll, sub(rax, rcx)), CASE(kAll, sub(eax, ecx)), CASE(kAll, sub(cx, dx)),
    CASE(kAll, sub(cl, dl)), CASE(kAll, cmp(rax, rcx)), CASE(kAll, cmp(eax, 7)),
    CASE(kAll, cmp(byte[image_at(&Image::memory)], 7)), CASE(kAll, and_(rax, rcx)), CASE(kAll, and_(eax, 0xF0)),
    CASE(kAll, and_(rax, -64)), CASE(kAll, or_(rax, rcx)), CASE(kAll, or_(dl, cl)), CASE(kAll, xor_(eax, ecx)),
    CASE(kAll, xor_(rax, rax)), CASE(kAll, test(rax, rcx)), CASE(kAll, test(cl, 1)), CASE(kAll, not_(rax)),
    CASE(kAll, not_(ecx)), CASE(kAll, neg(rax)), CASE(kAll, neg(cl)), CASE(kAll, inc(rax)), CASE(kAll, inc(ecx)),
    CASE(kAll, dec(eax)), CASE(kAll, dec(qword[image_at(&Image::memory)])),
    CASE(kAll, add(dword[image_at(&Image::memory)], ecx)), CASE(kC, imul(rax, rcx)), CASE(kC, imul(eax, ecx, 100)),
    CASE(kC, imul(ax, cx)), CASE(kC, imul(rax, rcx, -3)), CASE(kAll, shl(rax, 1)), CASE(kZ | kS | kC, shl(rax, 5)),
    CASE(kZ | kS | kC, shl(eax, 31)), CASE(kZ | kS, shl(ax, cl)), CASE(kZ | kS | kC, shl(rdx, cl)),
    CASE(kZ | kS | kC, shl(edx, cl)), CASE(kZ | kS | kC, shr(rax, 7)), CASE(kZ | kS | kC, shr(edx, cl)),
    CASE(kAll, shr(eax, 1)), CASE(kZ | kS, shr(dl, cl)), CASE(kZ | kS | kC, sar(rax, 3)),
    CASE(kZ | kS | kC, sar(edx, cl)), CASE(kZ | kS | kC, sar(dx, 5)), CASE(kAll, shlx(rax, rcx, rdx)),
    CASE(kAll, shrx(eax, ecx, edx)), CASE(kAll, bzhi(eax, ecx, edx)), CASE(kAll, bzhi(rax, rcx, rdx)),
    CASE(kAll, mov(al, cl)), CASE(kAll, mov(ax, cx)), CASE(kAll, mov(eax, ecx)), CASE(kAll, mov(eax, -1)),
    CASE(kAll, mov(rax, -1)), CASE(kAll, mov(rax, 0x123456789ABCDEF0)),
    CASE(kAll, mov(dword[image_at(&Image::memory, 4)], ecx)), CASE(kAll, mov(byte[image_at(&Image::memory, 3)], 0x80)),
    CASE(kAll, movzx(eax, cl)), CASE(kAll, movzx(eax, word[image_at(&Image::memory)])), CASE(kAll, movsxd(rax, ecx)),
    CASE(kAll, lea(rax, ptr[rcx + rdx * 4 - 77])), CASE(kAll, lea(eax, ptr[rcx + rdx * 8 + 0x12345])),
    CASE(kAll, cmovb(eax, ecx)), CASE(kAll, cmovz(rax, rcx)), CASE(kAll, cmovbe(rax, rcx)), CASE(kAll, cmovs(rax, rcx)),
    CASE(kAll, cmovl(rax, rcx)), CASE(kAll, cmovle(rax, rcx)), CASE(kAll, cmovnle(ax, cx)),
    CASE(kAll, cmovnz(rax, rcx)), CASE(kAll, cmovnbe(eax, ecx)), CASE(kAll, cmovns(rax, rcx)),
    CASE(kAll, cmovnl(eax, ecx)), CASE(kAll, cmovae(rax, qword[image_at(&Image::memory)])),
};
// clang-format on

// Stores the flags at the end of the memory, by mov and cmovcc, which change none.
void store_flags(Code& c, unsigned defined) {
  const std::function<void()> move_if[] = {[&] { c.cmovz(r10d, r9d); }, [&] { c.cmovs(r10d, r9d); },
                                           [&] { c.cmovc(r10d, r9d); }, [&] { c.cmovl(r10d, r9d); }};
  c.mov(r9d, 1);
  for (std::size_t i = 0; i < std::size(move_if); ++i) {
    if ((defined >> i & 1) == 0) continue;
    c.mov(r10d, 0);
    move_if[i]();
    c.mov(byte[image_at(&Image::memory, 48 + i)], r10b);
  }
}

void PrintTo(const ScalarCase& scalar_case, std::ostream* out) { *out << scalar_case.name; }

class ScalarTest : public testing::TestWithParam<ScalarCase> {};

TEST_P(ScalarTest, EqualsHost) {
  const auto emit = [](Code& c, const Shape&) {
    c.cmp(r8, rdx);
    GetParam().emit(c);
    store_flags(c, GetParam().defined);
  };
  expect_equal_host(vector_program({}, emit), 200);
}

INSTANTIATE_TEST_SUITE_P(All, ScalarTest, testing::ValuesIn(kCases));

// Adds up a table in the code by different jumps and through the stack, rcx & 1023 times.
TEST(ScalarFlowTest, LoopsAndBranchesEqualHost) {
  const auto emit = [](Code& c, const Shape&) {
    Xbyak::Label loop, even, table, done;
    c.push(rax), c.and_(ecx, 1023);
    c.L(loop);
    c.test(ecx, ecx), c.jz(done, Code::T_NEAR);
    c.test(cl, 1), c.je(even);
    c.add(qword[rsp], rcx);
    c.L(even);
    c.lea(r9, ptr[rip + table]);
    c.mov(edx, ecx), c.and_(edx, 3);
    c.movsxd(r10, dword[r9 + rdx * 4]);
    c.add(qword[rsp], r10);
    c.dec(ecx), c.cmp(ecx, 500), c.jg(loop), c.jmp(loop);
    c.align(64);
    c.L(table);
    for (const int value : {11, -7, 1000, 3}) c.dd(static_cast<std::uint32_t>(value));
    c.L(done);
    c.pop(rax);
  };
  expect_equal_host(vector_program({}, emit), 20);
}

}  // namespace
}  // namespace zenwoq::emulator
