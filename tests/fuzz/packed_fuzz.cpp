// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as a packed weight: opened or refused; what is opened is described, unpacked, dequantized and run in every
// tier with the same bits, and nothing outside of the bytes is touched. The header's checksum is mended, so that what
// lies behind it is reached.
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

void use(const zenwoq_weight* weight, const std::vector<std::uint8_t>& bytes) {
  zenwoq_weight_desc desc;
  zenwoq_weight_desc_init(&desc);
  ZENWOQ_PROMISE(zenwoq_weight_describe(weight, &desc) == ZENWOQ_OK);
  ZENWOQ_PROMISE(zenwoq_weight_text(weight)[0] != '\0');
  std::size_t packed_bytes = 0;
  ZENWOQ_PROMISE(zenwoq_weight_packed_bytes(&desc, &packed_bytes) == ZENWOQ_OK && packed_bytes <= bytes.size());
  if (desc.n > kMostElements / desc.k) return;
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
