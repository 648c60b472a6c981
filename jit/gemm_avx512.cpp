// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Emission of the AVX-512 BF16 data path: decode, multiply, flush.
#include "jit/gemm_avx512.h"

#include "jit/number.h"

namespace zenwoq {

using Xbyak::Reg64;
using Xbyak::RegExp;
using Xbyak::Zmm;

namespace {

constexpr std::uint32_t kPairs = 4;   // (k, k+1) pairs in a step
constexpr std::uint32_t kXBytes = 2;  // of one activation

}  // namespace

std::string GemmAvx512::why_not(const KernelKey& key) {
  if (std::string reason = Gemm::why_not(key); !reason.empty()) return reason;
  if (key.codes != Codes::table) return "i4: this tier looks codes up in a table, t4";
  if (key.habits.share_x && !key.habits.decode_first) {
    return "xs without df: a shared x pair is of one row, so all strips must be decoded before";
  }
  if (Avx512Registers(key).fits()) return {};
  return formatted("tile m{}x{} does not fit 32 vector registers", key.tile.rows, key.tile.strips);
}

std::size_t GemmAvx512::emit(const KernelKey& key, std::uint8_t* buffer, std::size_t capacity,
                             std::vector<Note>* notes) {
  return GemmAvx512(key, buffer, capacity, notes).generate();
}

GemmAvx512::GemmAvx512(const KernelKey& key, std::uint8_t* buffer, std::size_t capacity, std::vector<Note>* notes)
    : Gemm(key,
           {.x_bytes = kXBytes,
            .products_per_step = key.tile.rows * key.tile.strips * kPairs,
            .totals_in_memory = Avx512Registers(key).totals_in_memory()},
           buffer, capacity, notes),
      v_(key),
      epilogue_(*this, key_, v_.free_in_epilogue()) {}

void GemmAvx512::load_table() {
  mov(r_.temp, qword[rdi + offsetof(GemmArgs, table)]);
  note("table: the 16 values of the codes in bf16, twice");
  vbroadcasti64x4(v_.table(), ptr[r_.temp]);
}

void GemmAvx512::load_x_tail(std::uint64_t k) {
  const Reg64& x = r_.temp;
  mov(r_.temp.cvt32(), (1u << (key_.k - k)) - 1);
  kmovd(k1, r_.temp.cvt32());
  load_x_address(x);
  for (std::uint32_t row = 0; row < key_.tile.rows; ++row) {
    vmovdqu16(v_.x_tail() | k1 | T_z, ptr[x + static_cast<std::uint32_t>(k * kXBytes)]);
    vmovdqu8(ptr[x_tail_address(row)], v_.x_tail());
    if (row + 1 < key_.tile.rows) add(x, r_.ldx);
  }
}

void GemmAvx512::zero_totals() {
  if (v_.totals_in_memory()) clear(v_.nothing());
  for (std::uint32_t row = 0; row < key_.tile.rows; ++row) {
    for (std::uint32_t strip = 0; strip < key_.tile.strips; ++strip) {
      if (v_.totals_in_registers()) clear(v_.total(row, strip));
      if (v_.totals_in_memory()) vmovups(ptr[total_address(row, strip)], v_.nothing());
    }
  }
}

void GemmAvx512::zero_sums() {
  for (std::uint32_t row = 0; row < key_.tile.rows; ++row) {
    for (std::uint32_t strip = 0; strip < key_.tile.strips; ++strip) clear(v_.acc(row, strip));
  }
}

void GemmAvx512::multiply_step(std::uint32_t step, bool x_from_tail) {
  for (std::uint32_t strip = 0; strip < key_.tile.strips; ++strip) {
    prefetch_codes(step, strip, key_.tile.strips_fetched());
    if (v_.codes_in_registers()) vmovdqu32(v_.codes(strip), ptr[code_address(step, strip)]);
  }
  for (std::uint32_t pair = 0; pair < kPairs; ++pair) multiply_pair(step, pair, x_from_tail);
}

// out: weight = bf16 of k = 2 pair (even words) and 2 pair + 1 (odd words), 16 columns.
void GemmAvx512::decode(std::uint32_t step, std::uint32_t strip, std::uint32_t pair, const Zmm& weight) {
  if (v_.codes_in_registers()) {
    if (pair == 0) {
      vpermw(weight, v_.codes(strip), v_.table());
      return;
    }
    vpsrlw(weight, v_.codes(strip), static_cast<std::uint8_t>(4 * pair));
  } else if (pair == 0) {
    vmovdqu32(weight, ptr[code_address(step, strip)]);
  } else {
    vpsrlw(weight, ptr[code_address(step, strip)], static_cast<std::uint8_t>(4 * pair));
  }
  vpermw(weight, weight, v_.table());
}

void GemmAvx512::multiply_pair(std::uint32_t step, std::uint32_t pair, bool x_from_tail) {
  const Tile tile = key_.tile;
  note("step +{}: k = {}, {} of it, {} rows x {} columns", step, 2 * pair, 2 * pair + 1, tile.rows, tile.strips * 16);
  const auto broadcast = [&](std::uint32_t row) {
    if (v_.shares_x()) vpbroadcastd(v_.x_pair(), ptr[x_address(row, step, 2 * pair, x_from_tail)]);
  };
  const auto dot = [&](std::uint32_t row, std::uint32_t strip, const Zmm& weight) {
    if (v_.shares_x()) {
      vdpbf16ps(v_.acc(row, strip), weight, v_.x_pair());
    } else {
      vdpbf16ps(v_.acc(row, strip), weight, ptr_b[x_address(row, step, 2 * pair, x_from_tail)]);
    }
  };
  if (key_.habits.decode_first) {
    for (std::uint32_t strip = 0; strip < tile.strips; ++strip) decode(step, strip, pair, v_.weight(strip));
    for (std::uint32_t row = 0; row < tile.rows; ++row) {
      broadcast(row);
      for (std::uint32_t strip = 0; strip < tile.strips; ++strip) dot(row, strip, v_.weight(strip));
    }
    return;
  }
  if (tile.rows == 1) broadcast(0);
  for (std::uint32_t strip = 0; strip < tile.strips; ++strip) {
    decode(step, strip, pair, v_.weight(strip % 2));
    for (std::uint32_t row = 0; row < tile.rows; ++row) dot(row, strip, v_.weight(strip % 2));
  }
}

// totals += scale * (acc + (8 - zero) * xsum), or scale * (acc - zero * xsum), or scale * acc, then offset * xsum.
void GemmAvx512::flush_group() {
  for (std::uint32_t strip = 0; strip < key_.tile.strips; ++strip) {
    note("flush: scales of strip {}", strip);
    load_scales(strip);
    load_zeros(strip);
    for (std::uint32_t row = 0; row < key_.tile.rows; ++row) flush_accumulator(row, strip);
  }
}

// in: scale, zero. out: the running total; the accumulator itself where there is a single group.
void GemmAvx512::flush_accumulator(std::uint32_t row, std::uint32_t strip) {
  const Zmm acc = v_.acc(row, strip);
  const auto xsum = ptr_b[xsum_address(row)];
  if (key_.zero_kind == ZENWOQ_ZERO_INTEGER) vfmadd231ps(acc, v_.zero(), xsum);
  if (key_.zero_kind == ZENWOQ_ZERO_FLOAT) vfnmadd231ps(acc, v_.zero(), xsum);
  Zmm total = acc;
  if (v_.totals_in_registers()) {
    total = v_.total(row, strip);
    vfmadd231ps(total, acc, v_.scale());
  } else if (v_.totals_in_memory()) {
    vfmadd213ps(acc, v_.scale(), ptr[total_address(row, strip)]);
  } else {
    clear(v_.plus_zero());
    vfmadd213ps(acc, v_.scale(), v_.plus_zero());
  }
  if (key_.zero_kind == ZENWOQ_ZERO_OFFSET) vfmadd231ps(total, v_.zero(), xsum);
  if (v_.totals_in_memory()) vmovups(ptr[total_address(row, strip)], acc);
}

// 16 scales, offsets or zero points of a strip, widened to f32; of two levels the bytes.
void GemmAvx512::load_floats(const Zmm& to, zenwoq_dtype type, const Reg64& from, std::uint32_t strip) {
  const auto at = ptr[parameter_address(from, static_cast<std::uint32_t>(dtype_bytes(type)), strip)];
  const Xbyak::Ymm half(to.getIdx());
  switch (type) {
    case ZENWOQ_F32: vmovups(to, at); break;
    case ZENWOQ_F16: vcvtph2ps(to, at); break;
    case ZENWOQ_BF16:
      vpmovzxwd(to, at);
      vpslld(to, to, 16);
      break;
    case ZENWOQ_E8M0:  // the exponent of an f32; 0 becomes +0, as a denormal would
      vpmovzxbd(to, at);
      vpslld(to, to, 23);
      break;
    case ZENWOQ_E4M3:  // as an f16 whose exponent has a bias of 15 and not of 7
      vpmovsxbw(half, at);
      vpsllw(half, half, 7);
      vpandd(half, half, ptr[constant(kE4m3InF16, "e4m3 in f16")]);
      vcvtph2ps(to, half);
      vmulps(to, to, ptr_b[constant(kE4m3Factor, "256")]);
      break;
    case ZENWOQ_U8_F16:
      vpmovzxbd(to, at);
      vcvtdq2ps(to, to);
      break;
    case ZENWOQ_S8_F16:
      vpmovsxbd(to, at);
      vcvtdq2ps(to, to);
      break;
  }
}

void GemmAvx512::widen_f16(const RegExp& from, const RegExp& to) {
  vcvtph2ps(v_.scale(), ptr[from]);
  vmovups(ptr[to], v_.scale());
}

void GemmAvx512::load_scales(std::uint32_t strip) {
  load_floats(v_.scale(), key_.scale_type, r_.scales, strip);
  if (key_.format().has_two_levels()) vmulps(v_.scale(), v_.scale(), ptr[super_address(false, strip)]);
}

void GemmAvx512::load_zeros(std::uint32_t strip) {
  const ParameterFormat format = key_.format();
  if (format.has_offsets() || format.has_float_zeros()) load_floats(v_.zero(), format.float_type(), r_.zeros, strip);
  if (format.has_offsets() && format.has_two_levels()) vmulps(v_.zero(), v_.zero(), ptr[super_address(true, strip)]);
  if (!format.has_integer_zeros()) return;
  note("8 - zero of strip {}", strip);
  vpmovsxbd(v_.zero(), ptr[parameter_address(r_.zeros, 1, strip)]);
  vcvtdq2ps(v_.zero(), v_.zero());
}

void GemmAvx512::begin_strip(std::uint32_t strip, const Reg64& columns) {
  epilogue_.begin_strip(columns, r_.temp);
  if (!key_.epilogue.bias || key_.long_epilogue()) return;
  load_bias_address(r_.temp);
  epilogue_.load_bias(ptr[r_.temp + strip * 64]);
}

void GemmAvx512::spill_totals(const RegExp& to) {
  for (std::uint32_t row = 0; row < key_.tile.rows; ++row) {
    for (std::uint32_t strip = 0; strip < key_.tile.strips; ++strip) {
      const Zmm total = v_.totals_in_registers() ? v_.total(row, strip) : v_.acc(row, strip);
      vmovaps(ptr[to + (row * key_.tile.strips + strip) * 64], total);
    }
  }
}

void GemmAvx512::store_row(std::uint32_t row, std::uint32_t strip, const RegExp& y) {
  Zmm total = v_.totals_in_registers() ? v_.total(row, strip) : v_.acc(row, strip);
  if (v_.totals_in_memory()) {
    total = v_.value();
    vmovups(total, ptr[total_address(row, strip)]);
  }
  if (key_.epilogue.tensor_scale != ZENWOQ_TENSOR_SCALE_NONE) epilogue_.scale(total, ptr_b[tensor_scale_address()]);
  epilogue_.store(total, ptr[y]);
}

}  // namespace zenwoq
