// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as a packed weight: opened or refused; what is opened is described, unpacked, dequantized and run in every
// tier with the same bits, and nothing outside of the bytes is touched. The header's checksum is mended, so that what
// lies behind it is reached.
#include <cstdlib>

#include "tests/fuzz/fuzz.h"

using namespace zenwoq::fuzz;

namespace {

constexpr std::size_t kMostElements = 1 << 18;  // of a weight that is computed with
constexpr std::size_t kHeader = 256, kChecksumAt = 248;

void mend_checksum(std::vector<std::uint8_t>* bytes) {
  if (bytes->size() < kHeader) return;
  std::uint64_t hash = 0xCBF29CE484222325u;
  for (std::size_t i = 0; i < kChecksumAt; ++i) hash = (hash ^ (*bytes)[i]) * 0x100000001B3u;
  std::memcpy(bytes->data() + kChecksumAt, &hash, sizeof hash);
}

// Memory for a packed weight, of exactly its size.
struct Aligned {
  explicit Aligned(std::size_t bytes) : data(std::aligned_alloc(ZENWOQ_PACKED_ALIGNMENT, bytes)) {}
  ~Aligned() { std::free(data); }
  Aligned(const Aligned&) = delete;
  Aligned& operator=(const Aligned&) = delete;
  void* const data;
};

void expect_opens(const void* packed, std::size_t bytes) {
  zenwoq_weight* weight = nullptr;
  ZENWOQ_PROMISE(zenwoq_weight_open(packed, bytes, ZENWOQ_COPY, &weight) == ZENWOQ_OK);
  zenwoq_weight_destroy(weight);
}

// Slices of rows and columns, cuts and joins of what was opened are weights, or refused.
void use_parts(const zenwoq_weight* weight, const zenwoq_weight_desc& desc, const std::vector<std::uint8_t>& bytes) {
  const std::size_t n_begin = desc.n > 64 ? bytes[0] % ((desc.n + 63) / 64) * 64 : 0;
  const std::size_t k_begin = bytes[0] % 5 < 2 ? 0 : bytes[0] * 8;
  std::size_t size = 0;
  if (zenwoq_weight_slice_bytes(weight, n_begin, desc.n, k_begin, desc.k, &size) == ZENWOQ_OK) {
    const Aligned part(size);
    ZENWOQ_PROMISE(zenwoq_weight_slice(weight, n_begin, desc.n, k_begin, desc.k, part.data, size) == ZENWOQ_OK);
    expect_opens(part.data, size);
  }
  const zenwoq_weight* both[] = {weight, weight};
  if (zenwoq_weights_join_bytes(both, 2, &size) == ZENWOQ_OK) {
    const Aligned joined(size);
    ZENWOQ_PROMISE(zenwoq_weights_join(both, 2, joined.data, size) == ZENWOQ_OK);
    expect_opens(joined.data, size);
  }
  std::vector<std::uint8_t> copy = bytes;
  void* cut = nullptr;
  ZENWOQ_PROMISE(zenwoq_packed_cut(copy.data(), copy.size(), n_begin, desc.n, &cut, &size) == ZENWOQ_OK);
  expect_opens(cut, size);
}

void use(const zenwoq_weight* weight, const std::vector<std::uint8_t>& bytes) {
  zenwoq_weight_desc desc;
  zenwoq_weight_desc_init(&desc);
  ZENWOQ_PROMISE(zenwoq_weight_describe(weight, &desc) == ZENWOQ_OK);
  ZENWOQ_PROMISE(zenwoq_weight_text(weight)[0] != '\0');
  std::size_t packed_bytes = 0;
  ZENWOQ_PROMISE(zenwoq_weight_packed_bytes(&desc, &packed_bytes) == ZENWOQ_OK && packed_bytes <= bytes.size());
  if (desc.n > kMostElements / desc.k) return;
  use_parts(weight, desc, bytes);
  std::vector<float> values(desc.n * desc.k);
  ZENWOQ_PROMISE(zenwoq_weight_dequantize(weight, 0, desc.n, values.data(), values.size() * 4) == ZENWOQ_OK);
  const std::size_t group = desc.group_size == 0 || desc.group_size > desc.k ? desc.k : desc.group_size;
  const std::size_t groups = (desc.k + group - 1) / group;
  std::vector<std::uint8_t> codes(desc.n * ((desc.k + 1) / 2)), scales(desc.n * groups * 4), zeros(desc.n * groups * 4);
  ZENWOQ_PROMISE(zenwoq_weight_unpack(weight, codes.data(), codes.size(), scales.data(), scales.size(), zeros.data(),
                                      zeros.size()) == ZENWOQ_OK);
  check_runs(weight, 1 + bytes[0] % 3, Input(bytes.data() + kHeader, bytes.size() - kHeader));
}

void open(const std::vector<std::uint8_t>& bytes) {
  zenwoq_weight* weight = nullptr;
  const zenwoq_status status = zenwoq_weight_open(bytes.data(), bytes.size(), ZENWOQ_COPY, &weight);
  ZENWOQ_PROMISE(status == ZENWOQ_OK || status == ZENWOQ_ERROR_BAD_PACKED);
  ZENWOQ_PROMISE((status == ZENWOQ_OK) == (weight != nullptr));
  if (weight != nullptr) use(weight, bytes);
  zenwoq_weight_destroy(weight);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  std::vector<std::uint8_t> bytes(data, data + size);  // of exactly that size: a byte further is noticed
  open(bytes);
  mend_checksum(&bytes);
  open(bytes);
  return 0;
}
