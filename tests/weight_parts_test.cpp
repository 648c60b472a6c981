// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Parts of packed weights: the bytes of a slice, of a cut and of joined weights are those that packing that part of the
// source gives; a cut of a private mapping leaves the file alone and makes copies of few pages; each range that is no
// weight is refused with its numbers.
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "src/weight/packed.h"
#include "tests/support/expect_error.h"
#include "tests/support/guard_buffer.h"
#include "tests/support/random_weight.h"

namespace zenwoq::test {
namespace {

using Bytes = std::vector<std::uint8_t>;

Bytes packed_bytes_of(const RandomWeight& weight) {
  PackedHeader header;
  EXPECT_TRUE(make_header(weight.desc(), &header).ok());
  GuardBuffer packed(header.total_bytes, 0xEE);
  const zenwoq_weight_desc desc = weight.desc();
  const zenwoq_weight_source source = weight.source();
  EXPECT_EQ(zenwoq_weight_pack(&desc, &source, 0, weight.n, packed.data(), packed.size()), ZENWOQ_OK)
      << zenwoq_last_error();
  return {packed.data(), packed.data() + header.total_bytes};
}

struct Opened {
  explicit Opened(const Bytes& bytes) {
    EXPECT_EQ(zenwoq_weight_open(bytes.data(), bytes.size(), ZENWOQ_COPY, &weight), ZENWOQ_OK) << zenwoq_last_error();
  }
  explicit Opened(const RandomWeight& of) : Opened(packed_bytes_of(of)) {}
  ~Opened() { zenwoq_weight_destroy(weight); }
  Opened(const Opened&) = delete;
  Opened& operator=(const Opened&) = delete;
  zenwoq_weight* weight = nullptr;
};

// Rows of `count` entries of `bytes` bytes: those of a range of rows, entries [begin, end).
Bytes part_of_array(const Bytes& array, std::size_t count, std::size_t bytes, std::size_t n_begin, std::size_t n_end,
                    std::size_t begin, std::size_t end) {
  Bytes part;
  for (std::size_t n = n_begin; n < n_end && !array.empty(); ++n) {
    const auto row = array.begin() + static_cast<std::ptrdiff_t>(n * count * bytes);
    part.insert(part.end(), row + static_cast<std::ptrdiff_t>(begin * bytes),
                row + static_cast<std::ptrdiff_t>(end * bytes));
  }
  return part;
}

// The source of a part, array by array.
RandomWeight part_of(const RandomWeight& whole, const WeightRange& range) {
  RandomWeight part;
  static_cast<Quantization&>(part) = whole;
  part.n = range.n_end - range.n_begin;
  part.k = range.k_end - range.k_begin;
  const std::size_t group = whole.group(), first = whole.groups() == 1 ? 0 : range.k_begin / group;
  const std::size_t last = whole.groups() == 1 ? 1 : (range.k_end + group - 1) / group;
  const auto take = [&](const Bytes& array, std::size_t count, std::size_t begin, std::size_t end) {
    return array.empty()
               ? Bytes()
               : part_of_array(array, count, array.size() / (whole.n * count), range.n_begin, range.n_end, begin, end);
  };
  part.scales = take(whole.scales, whole.groups(), first, last);
  part.zeros = take(whole.zeros, whole.groups(), first, last);
  part.super_scales = take(whole.super_scales, whole.groups() / 8, first / 8, last / 8);
  part.super_offsets = take(whole.super_offsets, whole.groups() / 8, first / 8, last / 8);
  part.permutation = whole.permutation;
  if (whole.x_scaled) {
    part.x_scale.assign(whole.x_scale.begin() + static_cast<std::ptrdiff_t>(range.k_begin),
                        whole.x_scale.begin() + static_cast<std::ptrdiff_t>(range.k_end));
  }
  part.codes.resize(part.n * ((part.k + 1) / 2));
  for (std::size_t n = 0; n < part.n; ++n) {
    for (std::size_t k = 0; k < part.k; ++k) {
      std::uint8_t& byte = part.codes[n * ((part.k + 1) / 2) + k / 2];
      byte = static_cast<std::uint8_t>(byte | whole.code(range.n_begin + n, range.k_begin + k) << (4 * (k % 2)));
    }
  }
  return part;
}

struct Case {
  RandomWeight weight;
  std::string name;
};

// Each kind of quantization, of odd shapes and even ones.
Case any_case(Rng& rng, std::size_t most_n = 330) {
  const ParameterFormat format = random_format(rng);
  const std::size_t n = rng() % 3 == 0 ? 64 * pick(rng, 1, 5) : pick(rng, 1, most_n);
  const std::size_t k = rng() % 3 == 0 ? 64 * pick(rng, 1, 8) : pick(rng, 1, 500);
  const std::size_t group = format.has_two_levels() ? 8 * pick(rng, 1, 4) : rng() % 3 == 0 ? 0 : 8 * pick(rng, 1, 20);
  Case made{random_weight(rng, n, fitting_k(format, k, std::max<std::size_t>(group, 8)), group, format), ""};
  if (rng() % 4 == 0) permute_columns(rng, &made.weight);
  if (rng() % 3 == 0) scale_columns(rng, &made.weight);
  if (rng() % 4 == 0) made.weight.tensor_scale_kind = ZENWOQ_TENSOR_SCALE_BY, made.weight.tensor_scale = 3.5f;
  made.name = fmt::format("{} x {}, {}", n, made.weight.k, made.weight.text());
  return made;
}

// NVFP4 as checkpoints have it, which any_case seldom makes.
Case nvfp4(Rng& rng) {
  Case made{random_weight(rng, 192, 256, 16, ZENWOQ_E4M3, ZENWOQ_ZERO_NONE), "nvfp4"};
  (void)zenwoq_code_table_fill(ZENWOQ_TABLE_E2M1, made.weight.table.data());
  made.weight.tensor_scale_kind = ZENWOQ_TENSOR_SCALE_TIMES, made.weight.tensor_scale = 0.0123f;
  return made;
}

// A range of [0, size) whose ends are multiples of `border` or the end.
void pick_range(Rng& rng, std::size_t size, std::size_t border, std::size_t* begin, std::size_t* end) {
  const std::size_t borders = (size + border - 1) / border;
  const std::size_t first = pick(rng, 0, borders - 1);
  *begin = first * border;
  *end = std::min(size, pick(rng, first + 1, borders) * border);
}

WeightRange any_range(Rng& rng, const RandomWeight& weight) {
  WeightRange range{0, 0, 0, weight.k};
  pick_range(rng, weight.n, 64, &range.n_begin, &range.n_end);
  const std::size_t group = weight.groups() == 1 ? 8 : weight.group();
  const std::size_t border = weight.format().has_two_levels() ? 8 * weight.group() : group;
  if (!weight.permuted) pick_range(rng, weight.k, border, &range.k_begin, &range.k_end);
  return range;
}

std::string text(const WeightRange& r) {
  return fmt::format("[{}, {}) x [{}, {})", r.n_begin, r.n_end, r.k_begin, r.k_end);
}

Bytes sliced(const zenwoq_weight* weight, const WeightRange& r) {
  std::size_t bytes = 0;
  EXPECT_EQ(zenwoq_weight_slice_bytes(weight, r.n_begin, r.n_end, r.k_begin, r.k_end, &bytes), ZENWOQ_OK)
      << zenwoq_last_error();
  GuardBuffer packed(bytes, 0xEE);
  EXPECT_EQ(zenwoq_weight_slice(weight, r.n_begin, r.n_end, r.k_begin, r.k_end, packed.data(), bytes), ZENWOQ_OK)
      << zenwoq_last_error();
  return {packed.data(), packed.data() + bytes};
}

TEST(WeightSlice, GivesTheBytesOfPackingThatPart) {
  Rng rng(16);
  for (int i = 0; i < 400; ++i) {
    const Case made = i % 10 == 0 ? nvfp4(rng) : any_case(rng);
    const WeightRange range = any_range(rng, made.weight);
    const Opened whole(made.weight);
    ASSERT_EQ(sliced(whole.weight, range), packed_bytes_of(part_of(made.weight, range)))
        << made.name << " " << text(range);
  }
}

TEST(WeightCut, GivesTheBytesOfPackingThoseRows) {
  Rng rng(17);
  for (int i = 0; i < 400; ++i) {
    const Case made = i % 10 == 0 ? nvfp4(rng) : any_case(rng);
    WeightRange range = any_range(rng, made.weight);
    range.k_begin = 0, range.k_end = made.weight.k;
    const Bytes before = packed_bytes_of(made.weight);
    GuardBuffer packed(before.size());  // of any alignment that is a multiple of 64: sizes are
    std::memcpy(packed.data(), before.data(), before.size());
    void* part = nullptr;
    std::size_t bytes = 0;
    ASSERT_EQ(zenwoq_packed_cut(packed.data(), packed.size(), range.n_begin, range.n_end, &part, &bytes), ZENWOQ_OK)
        << zenwoq_last_error();
    const auto* first = static_cast<const std::uint8_t*>(part);
    ASSERT_GE(first, packed.data());
    ASSERT_LE(first + bytes, packed.data() + packed.size());
    ASSERT_EQ(reinterpret_cast<std::uintptr_t>(first) % 64, 0);
    ASSERT_EQ(Bytes(first, first + bytes), packed_bytes_of(part_of(made.weight, range)))
        << made.name << " " << text(range);
    zenwoq_weight* rest = nullptr;
    if (range.n_begin == 0) continue;
    EXPECT_ERROR(zenwoq_weight_open(packed.data(), packed.size(), ZENWOQ_COPY, &rest), ZENWOQ_ERROR_BAD_PACKED,
                 "wrong magic");
  }
}

TEST(WeightJoin, GivesTheBytesOfPackingAllRows) {
  Rng rng(18);
  for (int i = 0; i < 300; ++i) {
    const Case made = i % 10 == 0 ? nvfp4(rng) : any_case(rng, 500);
    std::vector<std::unique_ptr<Opened>> parts;
    std::vector<zenwoq_weight*> weights;
    for (std::size_t begin = 0, end; begin < made.weight.n; begin = end) {
      end = std::min(made.weight.n, begin + 64 * pick(rng, 1, 3));
      parts.push_back(std::make_unique<Opened>(part_of(made.weight, {begin, end, 0, made.weight.k})));
      weights.push_back(parts.back()->weight);
    }
    const Bytes expected = packed_bytes_of(made.weight);
    std::size_t bytes = 0;
    ASSERT_EQ(zenwoq_weights_join_bytes(weights.data(), weights.size(), &bytes), ZENWOQ_OK) << zenwoq_last_error();
    ASSERT_EQ(bytes, expected.size());
    GuardBuffer packed(bytes, 0xEE);
    ASSERT_EQ(zenwoq_weights_join(weights.data(), weights.size(), packed.data(), bytes), ZENWOQ_OK)
        << zenwoq_last_error();
    ASSERT_EQ(Bytes(packed.data(), packed.data() + bytes), expected) << made.name << " of " << weights.size();
  }
}

TEST(WeightJoin, OneWeightMayBeThereTwice) {
  Rng rng(19);
  const RandomWeight half = random_weight(rng, 64, 40, 8, ZENWOQ_BF16, ZENWOQ_ZERO_INTEGER);
  const Opened opened(half);
  zenwoq_weight* weights[] = {opened.weight, opened.weight};
  std::size_t bytes = 0;
  ASSERT_EQ(zenwoq_weights_join_bytes(weights, 2, &bytes), ZENWOQ_OK);
  GuardBuffer packed(bytes);
  ASSERT_EQ(zenwoq_weights_join(weights, 2, packed.data(), bytes), ZENWOQ_OK);
  const Opened joined(Bytes(packed.data(), packed.data() + bytes));
  const WeightRange upper{0, 64, 0, 40}, lower{64, 128, 0, 40};
  EXPECT_EQ(sliced(joined.weight, upper), packed_bytes_of(half));
  EXPECT_EQ(sliced(joined.weight, lower), packed_bytes_of(half));
}

// Kilobytes of one field of smaps, of the mapping that begins at this address.
std::size_t mapping_kib(const void* begin, const std::string& field) {
  std::ifstream file("/proc/self/smaps");
  const std::string start = fmt::format("{:x}-", reinterpret_cast<std::uintptr_t>(begin));
  bool inside = false;
  for (std::string line; std::getline(file, line);) {
    if (line.find('-') != std::string::npos && line.find(' ') > line.find('-')) inside = line.starts_with(start);
    if (inside && line.starts_with(field + ":")) return std::stoul(line.substr(field.size() + 1));
  }
  ADD_FAILURE() << "no " << field << " of the mapping";
  return 0;
}

TEST(WeightCut, OfAPrivateMappingLeavesTheFileAndCopiesFewPages) {
  Rng rng(20);
  RandomWeight whole = random_weight(rng, 512, 1024, 128, ZENWOQ_BF16, ZENWOQ_ZERO_INTEGER);
  scale_columns(rng, &whole);
  const Bytes bytes = packed_bytes_of(whole);
  char path[] = "/tmp/zenwoq-cut-XXXXXX";
  const int file = mkstemp(path);
  ASSERT_GE(file, 0);
  unlink(path);
  ASSERT_EQ(write(file, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  void* mapping = mmap(nullptr, bytes.size(), PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
  ASSERT_NE(mapping, MAP_FAILED);
  void* part = nullptr;
  std::size_t part_bytes = 0;
  ASSERT_EQ(zenwoq_packed_cut(mapping, bytes.size(), 128, 384, &part, &part_bytes), ZENWOQ_OK) << zenwoq_last_error();
  // The header that is cleared, the part's own one, and 4 KiB of factors, which lie in at most two pages.
  EXPECT_LE(mapping_kib(mapping, "Anonymous"), 4u * static_cast<unsigned>(getpagesize()) / 1024);
  const auto* first = static_cast<const std::uint8_t*>(part);
  EXPECT_EQ(Bytes(first, first + part_bytes), packed_bytes_of(part_of(whole, {128, 384, 0, 1024})));
  Bytes on_disk(bytes.size());
  ASSERT_EQ(pread(file, on_disk.data(), on_disk.size(), 0), static_cast<ssize_t>(on_disk.size()));
  EXPECT_EQ(on_disk, bytes);
  munmap(mapping, bytes.size());
  close(file);
}

TEST(WeightParts, RangesThatAreNoWeightAreRefused) {
  Rng rng(21);
  const auto expect = [](const Opened& opened, const WeightRange& r, const char* says) {
    std::size_t bytes = 7;
    EXPECT_ERROR(zenwoq_weight_slice_bytes(opened.weight, r.n_begin, r.n_end, r.k_begin, r.k_end, &bytes),
                 ZENWOQ_ERROR_INVALID_ARGUMENT, says);
    EXPECT_EQ(bytes, 7u);
    alignas(64) std::uint8_t packed[64] = {};
    EXPECT_ERROR(zenwoq_weight_slice(opened.weight, r.n_begin, r.n_end, r.k_begin, r.k_end, packed, SIZE_MAX),
                 ZENWOQ_ERROR_INVALID_ARGUMENT, says);
  };
  const Opened grouped(random_weight(rng, 200, 100, 32, ZENWOQ_BF16, ZENWOQ_ZERO_NONE));
  expect(grouped, {1, 64, 0, 100}, "rows [1, 64) of n = 200: must be a range of whole panels of 64, or end at n");
  expect(grouped, {0, 65, 0, 100}, "rows [0, 65) of n = 200");
  expect(grouped, {64, 64, 0, 100}, "rows [64, 64) of n = 200");
  expect(grouped, {0, 256, 0, 100}, "rows [0, 256) of n = 200");
  expect(grouped, {128, 64, 0, 100}, "rows [128, 64) of n = 200");
  expect(grouped, {SIZE_MAX - 63, 200, 0, 100}, "rows [18446744073709551552, 200) of n = 200");
  expect(grouped, {0, 64, 0, 101}, "columns [0, 101) of k = 100");
  expect(grouped, {0, 64, 32, 32}, "columns [32, 32) of k = 100");
  expect(grouped, {0, 64, SIZE_MAX - 31, SIZE_MAX}, "columns [18446744073709551584, 18446744073709551615) of k = 100");
  expect(grouped, {0, 64, 8, 100}, " per-group 32, scale bf16: must begin and end at multiples of 32 (a group), or");
  expect(grouped, {0, 64, 8, 100}, "columns [8, 100) of k = 100, ");
  expect(grouped, {0, 64, 0, 48}, "columns [0, 48) of k = 100");
  const Opened channel(random_weight(rng, 64, 100, 0, ZENWOQ_BF16, ZENWOQ_ZERO_NONE));
  expect(channel, {0, 64, 4, 100}, "multiples of 8 (a step of codes)");
  expect(channel, {0, 64, 0, 99}, "multiples of 8 (a step of codes)");
  const Opened two_levels(random_weight(rng, 64, 512, 32, ZENWOQ_U8_F16, ZENWOQ_ZERO_OFFSET));
  expect(two_levels, {0, 64, 32, 512}, "multiples of 256 (eight groups)");
  RandomWeight permuted = random_weight(rng, 64, 64, 32, ZENWOQ_BF16, ZENWOQ_ZERO_NONE);
  permute_columns(rng, &permuted);
  expect(Opened(permuted), {0, 64, 0, 32},
         "columns [0, 32) of k = 64 in act-order: a group's columns lie apart, so only all can be taken");
}

class WeightPartsErrors : public testing::Test {
 protected:
  Rng rng_{22};
  RandomWeight source_ = random_weight(rng_, 128, 64, 32, ZENWOQ_BF16, ZENWOQ_ZERO_NONE);
  Opened opened_{source_};
  GuardBuffer memory_{1 << 16};
  std::size_t bytes_ = 0;
};

TEST_F(WeightPartsErrors, Slice) {
  EXPECT_ERROR(zenwoq_weight_slice_bytes(nullptr, 0, 64, 0, 64, &bytes_), ZENWOQ_ERROR_INVALID_ARGUMENT,
               "weight is NULL");
  EXPECT_ERROR(zenwoq_weight_slice_bytes(opened_.weight, 0, 64, 0, 64, nullptr), ZENWOQ_ERROR_INVALID_ARGUMENT,
               "bytes is NULL");
  ASSERT_EQ(zenwoq_weight_slice_bytes(opened_.weight, 0, 64, 0, 64, &bytes_), ZENWOQ_OK);
  const auto slice_to = [&](void* to, std::size_t size) {
    return zenwoq_weight_slice(opened_.weight, 0, 64, 0, 64, to, size);
  };
  EXPECT_ERROR(zenwoq_weight_slice(nullptr, 0, 64, 0, 64, memory_.data(), bytes_), ZENWOQ_ERROR_INVALID_ARGUMENT,
               "weight is NULL");
  EXPECT_ERROR(slice_to(nullptr, bytes_), ZENWOQ_ERROR_INVALID_ARGUMENT, "packed is NULL");
  EXPECT_ERROR(slice_to(memory_.data() + 8, bytes_), ZENWOQ_ERROR_INVALID_ARGUMENT, "must be 64-byte aligned");
  EXPECT_ERROR(slice_to(memory_.data(), bytes_ - 1), ZENWOQ_ERROR_BUFFER_TOO_SMALL,
               fmt::format("packed_bytes is {}, {} are needed", bytes_ - 1, bytes_));
  const void* own = nullptr;
  std::size_t size = 0;
  ASSERT_EQ(zenwoq_weight_packed(opened_.weight, &own, &size), ZENWOQ_OK);
  EXPECT_ERROR(slice_to(static_cast<std::uint8_t*>(const_cast<void*>(own)) + 64, bytes_), ZENWOQ_ERROR_INVALID_ARGUMENT,
               "overlaps the weight at");
  EXPECT_EQ(memory_.data()[0], 0xA5);
}

TEST_F(WeightPartsErrors, Join) {
  const auto refused = [&](std::vector<zenwoq_weight*> weights, const std::string& says) {
    EXPECT_ERROR(zenwoq_weights_join_bytes(weights.data(), weights.size(), &bytes_), ZENWOQ_ERROR_INVALID_ARGUMENT,
                 says);
    EXPECT_ERROR(zenwoq_weights_join(weights.data(), weights.size(), memory_.data(), memory_.size()),
                 ZENWOQ_ERROR_INVALID_ARGUMENT, says);
  };
  const auto with = [&](auto&& change) {
    RandomWeight other = source_;
    change(other);
    return std::make_unique<Opened>(other);
  };
  EXPECT_ERROR(zenwoq_weights_join_bytes(nullptr, 1, &bytes_), ZENWOQ_ERROR_INVALID_ARGUMENT, "weights is NULL");
  EXPECT_ERROR(zenwoq_weights_join_bytes(&opened_.weight, 1, nullptr), ZENWOQ_ERROR_INVALID_ARGUMENT, "bytes is NULL");
  EXPECT_ERROR(zenwoq_weights_join_bytes(&opened_.weight, 0, &bytes_), ZENWOQ_ERROR_INVALID_ARGUMENT, "count is 0");
  refused({opened_.weight, nullptr}, "weights[1] is NULL");
  const Opened other_k(random_weight(rng_, 64, 96, 32, ZENWOQ_BF16, ZENWOQ_ZERO_NONE));
  refused({opened_.weight, other_k.weight}, "weights[1] has k = 96, weights[0] k = 64: must be equal");
  const Opened other_kind(random_weight(rng_, 64, 64, 16, ZENWOQ_BF16, ZENWOQ_ZERO_NONE));
  refused({opened_.weight, opened_.weight, other_kind.weight}, " per-group 16, scale bf16, weights[0] ");
  refused({opened_.weight, with([](RandomWeight& w) { w.table[3] += 1; })->weight}, "must be quantized alike");
  const auto scaled = with([](RandomWeight& w) { w.tensor_scale_kind = ZENWOQ_TENSOR_SCALE_BY, w.tensor_scale = 2; });
  const auto other_scale =
      with([](RandomWeight& w) { w.tensor_scale_kind = ZENWOQ_TENSOR_SCALE_BY, w.tensor_scale = 3; });
  refused({opened_.weight, scaled->weight}, "must be quantized alike");
  refused({scaled->weight, other_scale->weight}, "weights[1] has tensor scale 3, weights[0] 2: must be equal");
  const auto permuted = with([&](RandomWeight& w) { permute_columns(rng_, &w); });
  const auto permuted_otherwise = with([&](RandomWeight& w) { permute_columns(rng_, &w); });
  refused({opened_.weight, permuted->weight}, "columns must be permuted alike");
  refused({permuted->weight, permuted_otherwise->weight}, "columns must be permuted alike");
  const auto factors = with([&](RandomWeight& w) { scale_columns(rng_, &w); });
  refused({opened_.weight, factors->weight}, "must have the same factors of columns");
  RandomWeight same_table = random_weight(rng_, 70, 64, 32, ZENWOQ_BF16, ZENWOQ_ZERO_NONE);
  same_table.table = source_.table;
  const Opened odd(same_table);
  refused({opened_.weight, odd.weight, opened_.weight},
          "weights[1] has n = 70: every one but the last must have a multiple of 64");
  std::vector<zenwoq_weight*> fit = {opened_.weight, odd.weight};
  ASSERT_EQ(zenwoq_weights_join_bytes(fit.data(), 2, &bytes_), ZENWOQ_OK) << zenwoq_last_error();
  EXPECT_ERROR(zenwoq_weights_join(fit.data(), 2, nullptr, bytes_), ZENWOQ_ERROR_INVALID_ARGUMENT, "packed is NULL");
  EXPECT_ERROR(zenwoq_weights_join(fit.data(), 2, memory_.data() + 32, bytes_), ZENWOQ_ERROR_INVALID_ARGUMENT,
               "must be 64-byte aligned");
  EXPECT_ERROR(zenwoq_weights_join(fit.data(), 2, memory_.data(), bytes_ - 1), ZENWOQ_ERROR_BUFFER_TOO_SMALL,
               "packed_bytes is");
  const void* own = nullptr;
  std::size_t size = 0;
  ASSERT_EQ(zenwoq_weight_packed(odd.weight, &own, &size), ZENWOQ_OK);
  EXPECT_ERROR(zenwoq_weights_join(fit.data(), 2, const_cast<void*>(own), bytes_), ZENWOQ_ERROR_INVALID_ARGUMENT,
               "overlaps weights[1] at");
  EXPECT_EQ(memory_.data()[0], 0xA5);
}

TEST_F(WeightPartsErrors, Cut) {
  Bytes bytes = packed_bytes_of(source_);
  const Bytes before = bytes;
  void* part = &bytes;
  std::size_t size = 7;
  const auto refused = [&](zenwoq_status status, const std::string& says, std::size_t given, std::size_t begin,
                           std::size_t end) {
    EXPECT_ERROR(zenwoq_packed_cut(bytes.data(), given, begin, end, &part, &size), status, says);
    EXPECT_EQ(part, &bytes);
    EXPECT_EQ(size, 7u);
    EXPECT_EQ(bytes, before);
  };
  EXPECT_ERROR(zenwoq_packed_cut(nullptr, 1, 0, 64, &part, &size), ZENWOQ_ERROR_INVALID_ARGUMENT, "packed is NULL");
  EXPECT_ERROR(zenwoq_packed_cut(bytes.data(), bytes.size(), 0, 64, nullptr, &size), ZENWOQ_ERROR_INVALID_ARGUMENT,
               "cut is NULL");
  EXPECT_ERROR(zenwoq_packed_cut(bytes.data(), bytes.size(), 0, 64, &part, nullptr), ZENWOQ_ERROR_INVALID_ARGUMENT,
               "cut_bytes is NULL");
  refused(ZENWOQ_ERROR_BAD_PACKED, "cut short", bytes.size() - 1, 0, 64);
  refused(ZENWOQ_ERROR_INVALID_ARGUMENT, "rows [64, 192) of n = 128", bytes.size(), 64, 192);
  refused(ZENWOQ_ERROR_INVALID_ARGUMENT, "rows [32, 64) of n = 128", bytes.size(), 32, 64);
  ASSERT_EQ(zenwoq_packed_cut(bytes.data(), bytes.size(), 0, 128, &part, &size), ZENWOQ_OK);
  EXPECT_EQ(part, bytes.data());
  EXPECT_EQ(size, bytes.size());
  EXPECT_EQ(bytes, before) << "all rows are there already";
}

}  // namespace
}  // namespace zenwoq::test
