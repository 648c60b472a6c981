// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Moves, conversions, permutations and scalar float instructions in VEX form against the host.

#include "tests/emulator/test_support.h"

namespace zenwoq::emulator {
namespace {

using namespace Xbyak::util;

struct VexCase {
  const char* name;
  void (*emit)(Code& c);
};

#define CASE(statement)                       \
  {                                           \
#statement, [](Code & c) { c.statement; } \
  }

const VexCase kCases[] = {
    CASE(vmovdqu(ymm0, ptr[image_at(&Image::memory, 3)])),
    CASE(vmovdqu(xmm0, ptr[image_at(&Image::memory, 3)])),
    CASE(vmovdqa(ymm0, ptr[image_at(&Image::memory, 32)])),
    CASE(vmovdqa(xmm0, xmm1)),
    CASE(vmovaps(ptr[image_at(&Image::memory, 32)], ymm1)),
    CASE(vmovups(ptr[image_at(&Image::memory, 7)], xmm1)),
    CASE(vmovupd(ymm0, ymm1)),
    CASE(vmovd(xmm0, eax)),
    CASE(vmovq(xmm0, rax)),
    CASE(vmovd(ecx, xmm1)),
    CASE(vmovq(rcx, xmm1)),
    CASE(vmovq(xmm0, xmm1)),
    CASE(vmovd(xmm0, ptr[image_at(&Image::memory, 5)])),
    CASE(vmovq(xmm0, ptr[image_at(&Image::memory, 5)])),
    CASE(vmovd(ptr[image_at(&Image::memory, 5)], xmm1)),
    CASE(vmovq(ptr[image_at(&Image::memory, 5)], xmm1)),
    CASE(vmovss(xmm0, ptr[image_at(&Image::memory, 4)])),
    CASE(vmovss(ptr[image_at(&Image::memory, 4)], xmm1)),
    CASE(vmovss(xmm0, xmm1, xmm2)),
    CASE(vmovsd(xmm0, ptr[image_at(&Image::memory, 4)])),
    CASE(vmovsd(xmm0, xmm1, xmm2)),
    CASE(vmovhlps(xmm0, xmm1, xmm2)),
    CASE(vmovlhps(xmm0, xmm1, xmm2)),
    CASE(vmovddup(ymm0, ymm1)),
    CASE(vpinsrb(xmm0, xmm1, eax, 9)),
    CASE(vpinsrw(xmm0, xmm1, ecx, 5)),
    CASE(vpinsrd(xmm0, xmm1, ptr[image_at(&Image::memory)], 2)),
    CASE(vpinsrq(xmm0, xmm1, rdx, 1)),
    CASE(vpextrb(eax, xmm1, 11)),
    CASE(vpextrw(eax, xmm1, 3)),
    CASE(vpextrd(ptr[image_at(&Image::memory, 8)], xmm1, 3)),
    CASE(vpextrq(rax, xmm1, 1)),
    CASE(vpmovmskb(eax, ymm1)),
    CASE(vmovmskps(eax, ymm1)),
    CASE(vmovmskpd(eax, xmm1)),
    CASE(vpbroadcastb(ymm0, xmm1)),
    CASE(vpbroadcastw(xmm0, ptr[image_at(&Image::memory, 2)])),
    CASE(vpbroadcastd(ymm0, ptr[image_at(&Image::memory, 4)])),
    CASE(vpbroadcastq(ymm0, xmm1)),
    CASE(vbroadcastss(ymm0, ptr[image_at(&Image::memory, 4)])),
    CASE(vbroadcastsd(ymm0, xmm1)),
    CASE(vbroadcasti128(ymm0, ptr[image_at(&Image::memory, 16)])),
    CASE(vbroadcastf128(ymm0, ptr[image_at(&Image::memory, 16)])),
    CASE(vpermd(ymm0, ymm1, ymm2)),
    CASE(vpermps(ymm0, ymm1, ptr[image_at(&Image::memory, 1)])),
    CASE(vpermq(ymm0, ymm1, 0x2D)),
    CASE(vpermpd(ymm0, ymm1, 0xB1)),
    CASE(vperm2i128(ymm0, ymm1, ymm2, 0x21)),
    CASE(vperm2f128(ymm0, ymm1, ymm2, 0x83)),
    CASE(vinserti128(ymm0, ymm1, xmm2, 1)),
    CASE(vinsertf128(ymm0, ymm1, ptr[image_at(&Image::memory)], 0)),
    CASE(vextracti128(xmm0, ymm1, 1)),
    CASE(vextractf128(ptr[image_at(&Image::memory, 9)], ymm1, 1)),
    CASE(vpslldq(ymm0, ymm1, 3)),
    CASE(vpsrldq(ymm0, ymm1, 13)),
    CASE(vpsrldq(xmm0, xmm1, 20)),
    CASE(vpsrlw(ymm0, ymm1, ptr[image_at(&Image::memory)])),
    CASE(vpslld(ymm0, ymm1, xmm2)),
    CASE(vpblendd(ymm0, ymm1, ymm2, 0xA6)),
    CASE(vpblendw(ymm0, ymm1, ymm2, 0x5C)),
    CASE(vblendps(ymm0, ymm1, ymm2, 0x35)),
    CASE(vpblendvb(ymm0, ymm1, ymm2, ymm3)),
    CASE(vblendvps(xmm0, xmm1, xmm2, xmm3)),
    CASE(vpcmpeqb(ymm0, ymm1, ymm2)),
    CASE(vpcmpeqw(ymm0, ymm1, ymm1)),
    CASE(vpcmpeqd(ymm0, ymm1, ymm2)),
    CASE(vpcmpgtb(ymm0, ymm1, ymm2)),
    CASE(vpcmpgtd(ymm0, ymm1, ymm2)),
    CASE(vpcmpgtq(ymm0, ymm1, ymm2)),
    CASE(vcmpps(ymm0, ymm1, ymm2, 1)),
    CASE(vcmpps(ymm0, ymm1, ymm2, 4)),
    CASE(vcmpps(ymm0, ymm1, ymm2, 5)),
    CASE(vcmpps(ymm0, ymm1, ymm1, 3)),
    CASE(vcmpps(ymm0, ymm1, ymm2, 30)),
    CASE(vpmovzxbw(ymm0, xmm1)),
    CASE(vpmovzxbd(ymm0, ptr[image_at(&Image::memory, 5)])),
    CASE(vpmovzxwd(ymm0, xmm1)),
    CASE(vpmovzxwd(xmm0, ptr[image_at(&Image::memory, 5)])),
    CASE(vpmovzxdq(ymm0, xmm1)),
    CASE(vpmovsxbd(ymm0, xmm1)),
    CASE(vpmovsxbw(xmm0, xmm1)),
    CASE(vpmovsxwd(ymm0, ptr[image_at(&Image::memory, 5)])),
    CASE(vcvtph2ps(ymm0, xmm1)),
    CASE(vcvtph2ps(xmm0, ptr[image_at(&Image::memory, 5)])),
    CASE(vcvtps2ph(xmm0, ymm1, 0)),
    CASE(vcvtps2ph(xmm0, xmm1, 4)),
    CASE(vcvtps2ph(ptr[image_at(&Image::memory, 5)], ymm1, 3)),
    CASE(vhaddps(ymm0, ymm1, ymm2)),
    CASE(vaddss(xmm0, xmm1, xmm2)),
    CASE(vsubss(xmm0, xmm1, ptr[image_at(&Image::memory, 5)])),
    CASE(vmulss(xmm0, xmm1, xmm2)),
    CASE(vminss(xmm0, xmm1, xmm2)),
    CASE(vfmadd231ss(xmm0, xmm1, xmm2)),
    CASE(vfmadd213ss(xmm0, xmm1, xmm2)),
    CASE(vfnmadd132ss(xmm0, xmm1, ptr[image_at(&Image::memory, 4)])),
    CASE(vaddps(ymm0, ymm1, ptr[image_at(&Image::memory, 5)])),
    CASE(vfmadd231ps(ymm0, ymm1, ptr[image_at(&Image::memory, 5)])),
    {"vptest", [](Code& c) { c.vptest(ymm1, ymm2), c.setz(al), c.setc(cl); }},
    {"vldmxcsr", [](Code& c) {
       c.vstmxcsr(ptr[image_at(&Image::memory)]);
       c.mov(dword[image_at(&Image::memory, 4)], 0x5F80);
       c.vldmxcsr(ptr[image_at(&Image::memory, 4)]);
       c.vaddps(ymm0, ymm1, ymm2);
     }},
    {"vzeroupper", [](Code& c) { c.vzeroupper(); }},
};

void PrintTo(const VexCase& vex_case, std::ostream* out) { *out << vex_case.name; }

class VexTest : public testing::TestWithParam<VexCase> {};

TEST_P(VexTest, EqualsHost) {
  const Bytes code = vector_program({}, [](Code& c, const Shape&) { GetParam().emit(c); });
  const NativeCode native(code);
  Random random(5);
  for (int round = 0; round < 100; ++round) {
    Image emulated = random.image();
    emulated.mxcsr = round % 2 == 0 ? kMxcsrDefault : kMxcsrFlush;
    Image host = emulated;
    run_emulated(code, emulated);
    native(host);
    // Sticky exception flags are not emulated.
    for (Image* image : {&emulated, &host}) image->memory.bytes[0] &= 0xC0;
    ASSERT_EQ(emulated.g, host.g);
    ASSERT_TRUE(equal(with_one_nan(emulated.v[0]), with_one_nan(host.v[0]))) << hex(emulated.v[0]) << "\n"
                                                                             << hex(host.v[0]);
    ASSERT_TRUE(equal(emulated.memory, host.memory));
  }
}

INSTANTIATE_TEST_SUITE_P(All, VexTest, testing::ValuesIn(kCases));

}  // namespace
}  // namespace zenwoq::emulator
