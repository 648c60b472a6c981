// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as the files of a checkpoint, whose kind their content says: refused with one sentence, or opened; then
// every entry has its name and reason, and every weight loads to the bytes that its description promises, twice the
// same ones. Memory stays under three times the files' size and 16 MiB.
#include <algorithm>
#include <cmath>
#include <map>
#include <new>
#include <string>

#include "formats/checkpoint.h"
#include "formats/container/text.h"
#include "tests/fuzz/archive.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/counted_memory.h"

using namespace zenwoq::fuzz;
using namespace zenwoq::formats;

namespace {

constexpr std::size_t kMostPackedBytes = 1 << 18;  // of a weight that is loaded
constexpr std::size_t kMostExperts = 2;            // of a layer that are loaded
constexpr std::size_t kMostLoads = 4;              // of an input
constexpr std::size_t kOwnBytes = 16u << 20;

class ArchiveFiles final : public Files {
 public:
  explicit ArchiveFiles(const Archive& archive) : archive_(archive) {}

  ByteView require(const std::string& name) override {
    const std::optional<ByteView> bytes = find(name);
    return bytes ? *bytes : throw ReadError(shown(name) + ": cannot be opened");
  }
  std::optional<ByteView> find(const std::string& name) override {
    const auto found = std::find_if(archive_.begin(), archive_.end(), [&](const auto& f) { return f.first == name; });
    if (found == archive_.end()) return std::nullopt;
    return ByteView(found->second.data(), found->second.size());
  }

 private:
  const Archive& archive_;
};

bool is_line(const std::string& text) { return !text.empty() && shown(text, text.size()) == text; }

// What memory is taken beyond what was there.
class MemoryBound {
 public:
  explicit MemoryBound(const Archive& archive) : before_(zenwoq::test::counted_bytes()) {
    for (const auto& file : archive) files_bytes_ += file.first.size() + file.second.size();
    zenwoq::test::start_counted_peak();
  }
  bool holds() const { return zenwoq::test::counted_peak_bytes() <= before_ + 3 * files_bytes_ + kOwnBytes; }

 private:
  std::size_t before_;
  std::size_t files_bytes_ = 0;
};

// The weight's bytes; empty if it is refused.
FileBytes load(const LayerSource& layer, std::size_t expert) {
  try {
    const Weight weight = pack(contexts()[0], layer, layer.prepare(expert));
    const void* packed = nullptr;
    std::size_t bytes = 0;
    ZENWOQ_PROMISE(zenwoq_weight_packed(weight.get(), &packed, &bytes) == ZENWOQ_OK);
    const auto* begin = static_cast<const std::uint8_t*>(packed);
    return {begin, begin + bytes};
  } catch (const ReadError& error) {
    ZENWOQ_PROMISE(is_line(error.what()));
    return {};
  }
}

void check_values(const FileBytes& packed) {
  zenwoq_weight* weight = nullptr;
  ZENWOQ_PROMISE(zenwoq_weight_open(packed.data(), packed.size(), ZENWOQ_COPY, &weight) == ZENWOQ_OK);
  zenwoq_weight_desc desc;
  zenwoq_weight_desc_init(&desc);
  ZENWOQ_PROMISE(zenwoq_weight_describe(weight, &desc) == ZENWOQ_OK);
  std::vector<float> values(desc.n * desc.k);
  ZENWOQ_PROMISE(zenwoq_weight_dequantize(weight, 0, desc.n, values.data(), values.size() * 4) == ZENWOQ_OK);
  // A tensor scale may make the scale infinite, and that times 0 is NaN: dequantize says so.
  const bool scaled = desc.tensor_scale_kind != ZENWOQ_TENSOR_SCALE_NONE;
  for (const float value : values) ZENWOQ_PROMISE(scaled || !std::isnan(value));
  zenwoq_weight_destroy(weight);
}

void check_layer(const LayerSource& layer, std::size_t* loads) {
  ZENWOQ_PROMISE(is_line(layer.name) && is_line(layer.format) && is_line(layer.where) && layer.experts > 0);
  std::size_t packed_bytes = 0;
  char text[160];
  ZENWOQ_PROMISE(zenwoq_weight_packed_bytes(&layer.desc, &packed_bytes) == ZENWOQ_OK);
  ZENWOQ_PROMISE(zenwoq_weight_desc_text(&layer.desc, text, sizeof text) == ZENWOQ_OK && is_line(text));
  for (std::size_t i = 0; i < std::min(layer.experts, kMostExperts); ++i) {
    const std::size_t expert = i + 1 == kMostExperts ? layer.experts - 1 : i;
    if (layer.has_bias()) ZENWOQ_PROMISE(layer.bias_of(expert).size() == layer.desc.n * float_bytes(layer.bias_type));
    if (packed_bytes > kMostPackedBytes || ++*loads > kMostLoads) continue;
    const FileBytes packed = load(layer, expert);
    ZENWOQ_PROMISE(load(layer, expert) == packed);
    if (packed.empty()) continue;
    ZENWOQ_PROMISE(packed.size() == packed_bytes);
    check_values(packed);
  }
}

void check(const Checkpoint& checkpoint) {
  for (const LeftAlone& left : checkpoint.left_alone()) {
    check_name(left.name, "left alone");
    ZENWOQ_PROMISE(is_line(left.reason));
  }
  std::size_t loads = 0;
  for (const auto& layer : checkpoint.layers()) check_layer(*layer, &loads);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Archive archive = read_archive(data, size);
  if (archive.empty()) return 0;
  contexts();
  const std::string& name = archive[0].first;
  ReadOptions options;
  if (name.find("avx2") != std::string::npos) options.opaque_layout = ReadOptions::OpaqueLayout::avx2;
  const MemoryBound bound(archive);
  try {
    const auto checkpoint = open_checkpoint(std::make_unique<ArchiveFiles>(archive), name, shown(name) + "$", options);
    ZENWOQ_PROMISE(bound.holds());
    check(*checkpoint);
  } catch (const ReadError& error) {
    ZENWOQ_PROMISE(is_line(error.what()));
  } catch (const std::bad_alloc&) {}
  ZENWOQ_PROMISE(bound.holds());
  return 0;
}
