// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Changes inputs of checkpoint_fuzz so that containers stay whole: one file of an archive at a time; of a safetensors
// file the header, whose length is set, or single tensors, whose sizes and offsets are set; of a .zwq file anything,
// whose checksums are set. Without it nearly every change would only be refused by the container.
#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <random>

#include "formats/container/checksum.h"
#include "formats/container/tensor_set.h"
#include "formats/container/zwq_file.h"
#include "tests/fuzz/archive.h"
#include "tests/fuzz/fuzz.h"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

namespace zenwoq::fuzz {
namespace {

using nlohmann::json;
using Random = std::minstd_rand;

constexpr std::size_t kHeader = 8;
constexpr std::size_t kMostTensorBytes = 1 << 14;

FileBytes mutated(FileBytes bytes, std::size_t most) {
  const std::size_t size = bytes.size();
  bytes.resize(std::max<std::size_t>({size, most, 1}));
  bytes.resize(LLVMFuzzerMutate(bytes.data(), size, bytes.size()));
  return bytes;
}

struct Safetensors {
  FileBytes header, data;
};

bool split(const FileBytes& file, Safetensors* parts) {
  std::uint64_t length = 0;
  if (file.size() <= kHeader) return false;
  std::memcpy(&length, file.data(), kHeader);
  if (length > file.size() - kHeader || file[kHeader] != '{') return false;
  const auto middle = file.begin() + static_cast<std::ptrdiff_t>(kHeader + length);
  parts->header.assign(file.begin() + kHeader, middle);
  parts->data.assign(middle, file.end());
  return true;
}

FileBytes join(const Safetensors& parts) {
  FileBytes file(kHeader);
  const std::uint64_t length = parts.header.size();
  std::memcpy(file.data(), &length, kHeader);
  file.insert(file.end(), parts.header.begin(), parts.header.end());
  file.insert(file.end(), parts.data.begin(), parts.data.end());
  return file;
}

template <typename Items>
auto& any_of(Items& items, Random& random) {
  return *std::next(std::begin(items), static_cast<std::ptrdiff_t>(random() % std::size(items)));
}

// The bytes that a tensor's type and shape call for; 0 if that is too much or unknown.
std::size_t bytes_of(const json& tensor) {
  const auto bits = formats::element_bits(tensor.at("dtype").get<std::string>());
  std::uint64_t total = bits.value_or(0);
  for (const json& size : tensor.at("shape")) {
    const auto value = size.get_ref<const json::number_unsigned_t&>();
    if (value > kMostTensorBytes) return 0;
    total *= value;
    if (total > 8 * kMostTensorBytes) return 0;
  }
  return total / 8;
}

void change_tensor(json& header, Random& random) {
  constexpr const char* kTypes[] = {"I32", "U32", "U8", "I8", "F16", "BF16", "F32", "I64", "F8_E4M3", "F8_E8M0", "I16"};
  constexpr const char* kNames[] = {"a.qweight",
                                    "a.qzeros",
                                    "a.scales",
                                    "a.g_idx",
                                    "a.bias",
                                    "a.weight",
                                    "a.biases",
                                    "a.weight_packed",
                                    "a.weight_scale",
                                    "a.weight_shape",
                                    "a.weight_zero_point",
                                    "a.weight_g_idx",
                                    "a.weight_global_scale",
                                    "a.weight_scale_2",
                                    "a.input_scale",
                                    "a_blocks",
                                    "a_scales",
                                    "a_bias",
                                    "a._weight_qdata",
                                    "a._weight_scale",
                                    "a._weight_zero_point",
                                    "a._weight_scale_and_zero",
                                    "a._weight_act_pre_scale",
                                    "a.weight:qdata",
                                    "a.weight:scale",
                                    "a.bias:_data",
                                    "a.weight.absmax",
                                    "a.weight.quant_map",
                                    "a.weight.nested_absmax",
                                    "a.weight.nested_quant_map",
                                    "a.weight.quant_state.bitsandbytes__nf4"};
  const std::string name = std::next(header.begin(), static_cast<std::ptrdiff_t>(random() % header.size())).key();
  json& tensor = header.at(name);
  if (name == "__metadata__" || !tensor.is_object()) return;
  json& shape = tensor.at("shape");
  switch (random() % 6) {
    case 0: tensor["dtype"] = any_of(kTypes, random); return;
    case 1: header.erase(name); return;
    case 2: header[any_of(kNames, random)] = json(tensor); return;
    case 3:
      if (random() % 2 != 0 || shape.empty())
        shape.insert(shape.begin(), 1 + random() % 3);
      else
        shape.erase(random() % shape.size());
      return;
    default: {
      if (shape.empty()) return;
      json& size = any_of(shape, random);
      const auto value = size.get_ref<const json::number_unsigned_t&>();
      const std::uint64_t changed[] = {value + 1,      value - (value != 0 ? 1 : 0), value * 2, value / 2,
                                       random() % 300, 8 * (random() % 20)};
      size = any_of(changed, random);
    }
  }
}

// Gives every tensor data of the size that it calls for, repeated or cut, one after another.
bool set_offsets(json& header, FileBytes* data) {
  FileBytes moved;
  for (auto& [name, tensor] : header.items()) {
    if (name == "__metadata__") continue;
    const json offsets = tensor.at("data_offsets");
    const auto begin = offsets.at(0).get_ref<const json::number_unsigned_t&>(),
               end = offsets.at(1).get_ref<const json::number_unsigned_t&>();
    if (begin > end || end > data->size()) return false;
    const std::size_t bytes =
        formats::element_bits(tensor.at("dtype").get<std::string>()) ? bytes_of(tensor) : end - begin;
    const std::size_t at = moved.size();
    for (std::size_t i = 0; i < bytes; ++i) moved.push_back(begin == end ? 0 : (*data)[begin + i % (end - begin)]);
    tensor["data_offsets"] = {at, moved.size()};
  }
  *data = std::move(moved);
  return true;
}

// Whether it could be changed so.
bool change_tensors(Safetensors* parts, Random& random) {
  try {
    json header = json::parse(parts->header);
    for (std::uint64_t changes = 1 + random() % 3; changes > 0 && !header.empty(); --changes)
      change_tensor(header, random);
    if (!set_offsets(header, &parts->data)) return false;
    const std::string text = header.dump();
    parts->header.assign(text.begin(), text.end());
    return true;
  } catch (const json::exception&) {
    return false;
  }
}

// Header of a .zwq file (docs/zwq.md).
constexpr std::size_t kZwqHeader = 64, kFileBytesAt = 16, kDirectoryBytesAt = 24, kDirectoryChecksumAt = 48,
                      kHeaderChecksumAt = 56;

bool is_zwq(const FileBytes& file) {
  return file.size() >= kZwqHeader && formats::looks_like_zwq({file.data(), file.size()});
}

void set_u64(FileBytes& file, std::size_t at, std::uint64_t value) { std::memcpy(&file[at], &value, sizeof value); }

// Sets the file's size and both checksums; a directory that goes beyond the file ends with it.
void mend_zwq(FileBytes& file) {
  std::uint64_t directory = 0;
  std::memcpy(&directory, &file[kDirectoryBytesAt], sizeof directory);
  directory = std::min<std::uint64_t>(directory, file.size() - kZwqHeader);
  set_u64(file, kFileBytesAt, file.size());
  set_u64(file, kDirectoryBytesAt, directory);
  set_u64(file, kDirectoryChecksumAt, formats::checksum_of({file.data() + kZwqHeader, directory}));
  set_u64(file, kHeaderChecksumAt, formats::checksum_of({file.data(), kHeaderChecksumAt}));
}

// The directory alone, or all of it.
FileBytes mutated_zwq(const FileBytes& file, Random& random, std::size_t most) {
  std::uint64_t directory = 0;
  std::memcpy(&directory, &file[kDirectoryBytesAt], sizeof directory);
  FileBytes result = file;
  if (random() % 4 != 0 && directory <= file.size() - kZwqHeader) {
    const auto begin = result.begin() + kZwqHeader;
    const FileBytes changed = mutated({begin, begin + static_cast<std::ptrdiff_t>(directory)}, directory);
    std::copy_n(changed.begin(), std::min<std::size_t>(changed.size(), directory), begin);  // nothing becomes a byte
  } else {
    result = mutated(file, most);
  }
  if (is_zwq(result) && random() % 16 != 0) mend_zwq(result);
  return result;
}

FileBytes mutated_file(const FileBytes& file, Random& random, std::size_t most) {
  if (is_zwq(file)) return mutated_zwq(file, random, most);
  Safetensors parts;
  if (!split(file, &parts)) return mutated(file, most);
  switch (random() % 4) {
    case 0: parts.header = mutated(parts.header, most); return join(parts);
    case 1: parts.data = mutated(parts.data, parts.data.size()); return join(parts);
    default: return change_tensors(&parts, random) ? join(parts) : mutated(file, most);
  }
}

}  // namespace
}  // namespace zenwoq::fuzz

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                               unsigned seed) {
  using namespace zenwoq::fuzz;
  std::minstd_rand random(seed);
  Archive archive = read_archive(data, size);
  if (archive.empty() || random() % 16 == 0) return LLVMFuzzerMutate(data, size, max_size);
  FileBytes& file = archive[random() % 3 == 0 ? random() % archive.size() : 0].second;
  const std::size_t room = max_size - std::min(size, max_size);
  file = mutated_file(file, random, file.size() + std::min<std::size_t>(room, 64));
  const FileBytes result = write_archive(archive);
  if (result.size() > max_size) return LLVMFuzzerMutate(data, size, max_size);
  std::memcpy(data, result.data(), result.size());
  return result.size();
}
