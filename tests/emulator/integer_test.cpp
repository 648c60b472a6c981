// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// General-purpose instructions against the host: results, and the flags that the instruction defines.

#include "tests/emulator/test_support.h"

namespace zenwoq::emulator {
namespace {

using namespace Xbyak::util;

constexpr unsigned kZ = 1, kS = 2, kC = 4, kO = 8, kP = 16;
constexpr unsigned kAll = kZ | kS | kC | kO | kP;

struct IntegerCase {
  const char* name;
  unsigned defined;  // flags to compare
  void (*emit)(Code& c);
};

#define CASE(defined, statement)                       \
  {                                                    \
#statement, defined, [](Code & c) { c.statement; } \
  }

// rax, rcx, rdx and r8 hold random values, [r11] the image. Flags on entry are those of `cmp r8, rdx`.
const IntegerCase kCases[] = {
    CASE(kAll, add(rax, rcx)),
    CASE(kAll, add(eax, ecx)),
    CASE(kAll, add(ax, cx)),
    CASE(kAll, add(al, cl)),
    CASE(kAll, add(rax, -5)),
    CASE(kAll, adc(rax, rcx)),
    CASE(kAll, adc(al, cl)),
    CASE(kAll, sub(rax, rcx)),
    CASE(kAll, sub(eax, ecx)),
    CASE(kAll, sub(cx, dx)),
    CASE(kAll, sub(cl, dl)),
    CASE(kAll, sbb(rax, rcx)),
    CASE(kAll, sbb(eax, eax)),
    CASE(kAll, cmp(rax, rcx)),
    CASE(kAll, cmp(eax, 7)),
    CASE(kAll, cmp(byte[image_at(&Image::memory)], 7)),
    CASE(kAll, and_(rax, rcx)),
    CASE(kAll, and_(eax, 0xF0)),
    CASE(kAll, and_(rax, -64)),
    CASE(kAll, or_(rax, rcx)),
    CASE(kAll, or_(dl, cl)),
    CASE(kAll, xor_(eax, ecx)),
    CASE(kAll, xor_(rax, rax)),
    CASE(kAll, test(rax, rcx)),
    CASE(kAll, test(cl, 1)),
    CASE(kAll, not_(rax)),
    CASE(kAll, not_(ecx)),
    CASE(kAll, neg(rax)),
    CASE(kAll, neg(cl)),
    CASE(kAll, inc(rax)),
    CASE(kAll, inc(ecx)),
    CASE(kAll, dec(eax)),
    CASE(kAll, dec(qword[image_at(&Image::memory)])),
    CASE(kAll, add(dword[image_at(&Image::memory)], ecx)),
    CASE(kC | kO, imul(rax, rcx)),
    CASE(kC | kO, imul(eax, ecx, 100)),
    CASE(kC | kO, imul(ax, cx)),
    CASE(kC | kO, imul(rax, rcx, -3)),
    CASE(kAll, shl(rax, 1)),
    CASE(kZ | kS | kC | kP, shl(rax, 5)),
    CASE(kZ | kS | kC | kP, shl(eax, 31)),
    CASE(kZ | kS | kP, shl(ax, cl)),
    CASE(kZ | kS | kC | kP, shl(rdx, cl)),
    CASE(kZ | kS | kC | kP, shl(edx, cl)),
    CASE(kZ | kS | kC | kP, shr(rax, 7)),
    CASE(kZ | kS | kC | kP, shr(edx, cl)),
    CASE(kAll, shr(eax, 1)),
    CASE(kZ | kS | kP, shr(dl, cl)),
    CASE(kZ | kS | kC | kP, sar(rax, 3)),
    CASE(kZ | kS | kC | kP, sar(edx, cl)),
    CASE(kZ | kS | kC | kP, sar(dx, 5)),
    CASE(kC, rol(rax, 9)),
    CASE(kC, rol(edx, cl)),
    CASE(kC, ror(rax, 9)),
    CASE(kAll, ror(ecx, 1)),
    CASE(kAll, shlx(rax, rcx, rdx)),
    CASE(kAll, shrx(eax, ecx, edx)),
    CASE(kAll, sarx(eax, ecx, edx)),
    CASE(kAll, rorx(eax, ecx, 11)),
    CASE(kZ | kS | kC | kO, bzhi(eax, ecx, edx)),
    CASE(kZ | kS | kC | kO, bzhi(rax, rcx, rdx)),
    CASE(kZ | kS | kC | kO, blsr(rax, rcx)),
    CASE(kZ | kS | kC | kO, blsi(eax, ecx)),
    CASE(kZ | kS | kC | kO, blsmsk(eax, ecx)),
    CASE(kZ | kS | kC | kO, andn(rax, rcx, rdx)),
    CASE(kZ | kC | kO, bextr(rax, rcx, rdx)),
    CASE(kAll, pdep(rax, rcx, rdx)),
    CASE(kAll, pext(rax, rcx, rdx)),
    CASE(kZ | kC, tzcnt(rax, rcx)),
    CASE(kZ | kC, tzcnt(eax, ecx)),
    CASE(kC, bt(rax, 40)),
    CASE(kC, bt(eax, ecx)),
    CASE(kAll, mov(al, cl)),
    CASE(kAll, mov(ax, cx)),
    CASE(kAll, mov(eax, ecx)),
    CASE(kAll, mov(eax, -1)),
    CASE(kAll, mov(rax, -1)),
    CASE(kAll, mov(rax, 0x123456789ABCDEF0)),
    CASE(kAll, mov(dword[image_at(&Image::memory, 4)], ecx)),
    CASE(kAll, mov(byte[image_at(&Image::memory, 3)], 0x80)),
    CASE(kAll, movzx(eax, cl)),
    CASE(kAll, movzx(eax, word[image_at(&Image::memory)])),
    CASE(kAll, movsx(rax, cl)),
    CASE(kAll, movsx(ecx, word[image_at(&Image::memory)])),
    CASE(kAll, movsxd(rax, ecx)),
    CASE(kAll, cdqe()),
    CASE(kAll, cqo()),
    CASE(kAll, xchg(rax, rcx)),
    CASE(kAll, lea(rax, ptr[rcx + rdx * 4 - 77])),
    CASE(kAll, lea(eax, ptr[rcx + rdx * 8 + 0x12345])),
    CASE(kAll, cmovb(eax, ecx)),
    CASE(kAll, cmovo(rax, rcx)),
    CASE(kAll, cmovz(rax, rcx)),
    CASE(kAll, cmovbe(rax, rcx)),
    CASE(kAll, cmovs(rax, rcx)),
    CASE(kAll, cmovp(rax, rcx)),
    CASE(kAll, cmovl(rax, rcx)),
    CASE(kAll, cmovle(rax, rcx)),
    CASE(kAll, cmovnle(ax, cx)),
    CASE(kAll, cmovae(rax, qword[image_at(&Image::memory)])),
    CASE(kAll, setg(al)),
    CASE(kAll, setbe(byte[image_at(&Image::memory, 2)])),
};

// Flags end in v[7]: setcc changes no flags.
void store_flags(Code& c) {
  const auto flag = [&](std::size_t i) { return byte[image_at(&Image::v, 7 * sizeof(Vec) + i)]; };
  c.setz(flag(0));
  c.sets(flag(1));
  c.setc(flag(2));
  c.seto(flag(3));
  c.setp(flag(4));
}

Bytes program(const IntegerCase& integer_case) {
  return assemble([&](Code& c) {
    c.endbr64();
    c.mov(kImageRegister, rdi);
    const Xbyak::Reg64 gprs[] = {rax, rcx, rdx, r8};
    for (int i = 0; i < 4; ++i) c.mov(gprs[i], ptr[image_at(&Image::g, 8 * i)]);
    c.cmp(r8, rdx);
    integer_case.emit(c);
    store_flags(c);
    for (int i = 0; i < 4; ++i) c.mov(ptr[image_at(&Image::g, 8 * i)], gprs[i]);
    c.ret();
  });
}

unsigned flags_of(const Image& image) {
  unsigned flags = 0;
  for (unsigned i = 0; i < 5; ++i) flags |= static_cast<unsigned>(image.v[7].bytes[i]) << i;
  return flags;
}

void PrintTo(const IntegerCase& integer_case, std::ostream* out) { *out << integer_case.name; }

class IntegerTest : public testing::TestWithParam<IntegerCase> {};

TEST_P(IntegerTest, EqualsHost) {
  const Bytes code = program(GetParam());
  const NativeCode native(code);
  Random random(3);
  for (int round = 0; round < 200; ++round) {
    Image emulated = random.image();
    Image host = emulated;
    run_emulated(code, emulated);
    native(host);
    ASSERT_EQ(emulated.g, host.g);
    ASSERT_TRUE(equal(emulated.memory, host.memory));
    ASSERT_EQ(flags_of(emulated) & GetParam().defined, flags_of(host) & GetParam().defined)
        << "flags, from bit 0: ZF SF CF OF PF";
  }
}

INSTANTIATE_TEST_SUITE_P(All, IntegerTest, testing::ValuesIn(kCases));

TEST(IntegerFlowTest, LoopsAndBranchesEqualHost) {
  // Sums the odd ones among g[1] & 1023 numbers by different jumps, the stack and a computed table.
  const Bytes code = assemble([](Code& c) {
    Xbyak::Label loop, even, table, done;
    c.endbr64();
    c.push(rbx);
    c.push(rbp);
    c.mov(rbp, rsp);
    c.and_(rsp, -64);
    c.sub(rsp, 64);
    c.mov(kImageRegister, rdi);
    c.mov(ecx, dword[image_at(&Image::g, 8)]);
    c.and_(ecx, 1023);
    c.xor_(ebx, ebx);
    c.mov(qword[rsp + 8], 0);
    c.L(loop);
    c.test(ecx, ecx);
    c.jz(done, Code::T_NEAR);
    c.test(cl, 1);
    c.je(even);
    c.add(rbx, rcx);
    c.L(even);
    c.lea(r9, ptr[rip + table]);
    c.mov(eax, ecx);
    c.and_(eax, 3);
    c.movsxd(r10, dword[r9 + rax * 4]);
    c.add(qword[rsp + 8], r10);
    c.dec(ecx);
    c.jmp(loop);
    c.L(done);
    c.add(rbx, qword[rsp + 8]);
    c.mov(qword[image_at(&Image::g)], rbx);
    c.leave();
    c.pop(rbx);
    c.ret();
    c.align(64);
    c.L(table);
    for (const int value : {11, -7, 1000, 3}) c.dd(static_cast<std::uint32_t>(value));
  });
  Random random(4);
  for (int round = 0; round < 20; ++round) {
    Image emulated = random.image();
    Image host = emulated;
    run_emulated(code, emulated);
    run_native(code, host);
    ASSERT_EQ(emulated.g[0], host.g[0]);
  }
}

}  // namespace
}  // namespace zenwoq::emulator
