// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Numbers of the activation functions, shared by the reference and the generator (src/reference/arithmetic.md).
//
// All but relu are v / (1 + 2^-e) with an odd function e of v, computed as v times a sum of two floats, w + w_low.
#pragma once

#include <cstdint>

namespace zenwoq::activation_constants {

// 1.5 * 2^23 + 127. A sum x + kRound is rounded to an integer n + 127, whose low bits are the exponent of 2^n.
inline constexpr float kRound = 0x1.8000FEp23f;
inline constexpr std::uint32_t kExponentShift = 23;

// (2^-r - 1) / r = sum of kPower[i] r^i, for |r| <= 0.5005: minimax for the relative error of 2^-r, which is 3.0e-9,
// each rounded to f32 in turn and the later ones fitted anew.
inline constexpr float kPower[] = {-0x1.62E430p-1f, 0x1.EBFBDCp-3f,   -0x1.C6AF7Ap-5f,
                                   0x1.3B2DDAp-7f,  -0x1.5F0984p-10f, 0x1.41739Cp-13f};

// e = v (w + w_low); above `limit` 2^-e no longer counts, and below -limit the result is +0.
struct Sigmoid {
  float w, w_low, limit;
};
inline constexpr Sigmoid kSilu = {0x1.715476p+0f, 0x1.4AE0C0p-26f, 88.0f};        // log2(e)
inline constexpr Sigmoid kSwigluOai = {0x1.3A4CBEp+1f, -0x1.C08ECAp-26f, 50.0f};  // 1.702 log2(e)
inline constexpr float kOaiLimit = 7.0f;

// Of both GELUs: 4 / sqrt(2 pi) log2(e), which f32 has to 1.3e-8.
inline constexpr float kGeluSlope = 0x1.26AEC2p+1f;

// e = v (kGeluSlope + kGeluTanhCube v^2): 0.044715 times the slope before its rounding. Its own error of 2.0e-9 takes
// back what the slope's does, where both count.
inline constexpr float kGeluTanhCube = 0x1.A5A7D0p-4f;
inline constexpr float kGeluTanhLimit = 10.0f;

// e = log2(Phi(v) / Phi(-v)) = v (kGeluSlope + v^2 sum of kGelu[i] v^2i), Phi the normal distribution, for |v| <= 6.41:
// minimax for the relative error of Phi(-|v|), which is 5e-9 where Phi(-|v|) >= 2^-10 and grows as 1 / Phi(-|v|)
// beyond; rounded as above. Phi(-6.4) is less than 2^-33.
inline constexpr float kGelu[] = {0x1.AD6F6Ap-4f,  -0x1.C1BB3Ep-14f, -0x1.3A671Ep-13f, 0x1.083498p-17f,
                                  0x1.7B5682p-22f, -0x1.6D4350p-24f, 0x1.D7B316p-28f,  -0x1.70914Ap-32f,
                                  0x1.771206p-37f, -0x1.E682D8p-43f, 0x1.6D3768p-49f,  -0x1.E2220Ap-57f};
// d(e / v) / d(v^2) near v = 3, where the rounding of v^2 counts most.
inline constexpr float kGeluSquareSlope = 0x1.6Ap-4f;
inline constexpr float kGeluLimit = 6.4f;

}  // namespace zenwoq::activation_constants
