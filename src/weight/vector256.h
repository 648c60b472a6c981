// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// 32 bytes with the operations that packing needs: one AVX2 register, or two of SSE2. "Half" is 16 bytes; shifts and
// names with a width work on elements of that many bits, and what unpacks or narrows does so in each half by itself.
// For files that are compiled for several instruction sets: everything has internal linkage.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace zenwoq {
namespace {

inline const __m128i* half_at(const std::uint8_t* p) { return reinterpret_cast<const __m128i*>(p); }
inline __m128i* half_at(std::uint8_t* p) { return reinterpret_cast<__m128i*>(p); }

#ifdef __AVX2__

struct Vector256 {
  __m256i v;
};

inline const __m256i* at(const std::uint8_t* p) { return reinterpret_cast<const __m256i*>(p); }
inline __m256i* at(std::uint8_t* p) { return reinterpret_cast<__m256i*>(p); }

inline Vector256 load(const std::uint8_t* p) { return {_mm256_loadu_si256(at(p))}; }
inline Vector256 load_halves(const std::uint8_t* low, const std::uint8_t* high) {
  return {_mm256_loadu2_m128i(half_at(high), half_at(low))};
}
inline void store(std::uint8_t* p, Vector256 a) { _mm256_storeu_si256(at(p), a.v); }
inline void stream(std::uint8_t* p, Vector256 a) { _mm256_stream_si256(at(p), a.v); }
inline Vector256 repeat(std::uint32_t bits) { return {_mm256_set1_epi32(static_cast<int>(bits))}; }
inline bool any(Vector256 a) { return !_mm256_testz_si256(a.v, a.v); }

template <int bits>
inline Vector256 shift_right(Vector256 a) {
  return {_mm256_srli_epi32(a.v, bits)};
}
template <int bits>
inline Vector256 shift_left(Vector256 a) {
  return {_mm256_slli_epi32(a.v, bits)};
}

#define ZENWOQ_BINARY(name, intrinsic) \
  inline Vector256 name(Vector256 a, Vector256 b) { return {_mm256_##intrinsic(a.v, b.v)}; }
ZENWOQ_BINARY(operator&, and_si256)
ZENWOQ_BINARY(operator|, or_si256)
ZENWOQ_BINARY(operator^, xor_si256)

inline Vector256 low_halves(Vector256 a, Vector256 b) { return {_mm256_permute2x128_si256(a.v, b.v, 0x20)}; }
inline Vector256 high_halves(Vector256 a, Vector256 b) { return {_mm256_permute2x128_si256(a.v, b.v, 0x31)}; }

// Bytes 1 and 2 of every 32 bits change places.
inline Vector256 swap_middle_bytes(Vector256 a) {
  const __m128i order = _mm_setr_epi8(0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15);
  return {_mm256_shuffle_epi8(a.v, _mm256_broadcastsi128_si256(order))};
}

#else

struct Vector256 {
  __m128i low, high;
};

inline Vector256 load_halves(const std::uint8_t* low, const std::uint8_t* high) {
  return {_mm_loadu_si128(half_at(low)), _mm_loadu_si128(half_at(high))};
}
inline Vector256 load(const std::uint8_t* p) { return load_halves(p, p + 16); }
inline void store(std::uint8_t* p, Vector256 a) {
  _mm_storeu_si128(half_at(p), a.low);
  _mm_storeu_si128(half_at(p + 16), a.high);
}
inline void stream(std::uint8_t* p, Vector256 a) {
  _mm_stream_si128(half_at(p), a.low);
  _mm_stream_si128(half_at(p + 16), a.high);
}
inline Vector256 repeat(std::uint32_t bits) {
  const __m128i v = _mm_set1_epi32(static_cast<int>(bits));
  return {v, v};
}
inline bool any(Vector256 a) {
  return _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_or_si128(a.low, a.high), _mm_setzero_si128())) != 0xFFFF;
}

template <int bits>
inline Vector256 shift_right(Vector256 a) {
  return {_mm_srli_epi32(a.low, bits), _mm_srli_epi32(a.high, bits)};
}
template <int bits>
inline Vector256 shift_left(Vector256 a) {
  return {_mm_slli_epi32(a.low, bits), _mm_slli_epi32(a.high, bits)};
}

#define ZENWOQ_BINARY(name, intrinsic)                                       \
  inline Vector256 name(Vector256 a, Vector256 b) {                          \
    return {_mm_##intrinsic(a.low, b.low), _mm_##intrinsic(a.high, b.high)}; \
  }
ZENWOQ_BINARY(operator&, and_si128)
ZENWOQ_BINARY(operator|, or_si128)
ZENWOQ_BINARY(operator^, xor_si128)

inline Vector256 low_halves(Vector256 a, Vector256 b) { return {a.low, b.low}; }
inline Vector256 high_halves(Vector256 a, Vector256 b) { return {a.high, b.high}; }

// Bytes 1 and 2 of every 32 bits change places.
inline Vector256 swap_middle_bytes(Vector256 a) {
  const Vector256 swapped = (a ^ shift_right<8>(a)) & repeat(0x0000FF00u);
  return a ^ swapped ^ shift_left<8>(swapped);
}

#endif

ZENWOQ_BINARY(add_bytes, add_epi8)
ZENWOQ_BINARY(narrow_words, packus_epi16)  // words up to 255 to bytes: those of a, then those of b
ZENWOQ_BINARY(unpack_low32, unpacklo_epi32)
ZENWOQ_BINARY(unpack_high32, unpackhi_epi32)
ZENWOQ_BINARY(unpack_low64, unpacklo_epi64)
ZENWOQ_BINARY(unpack_high64, unpackhi_epi64)
#undef ZENWOQ_BINARY

}  // namespace
}  // namespace zenwoq
