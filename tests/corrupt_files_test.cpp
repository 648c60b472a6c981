// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Reads every fixture with each byte of its header damaged, and cut at every byte of the header and at both ends of
// every tensor. The readers may succeed or throw a ReadError of one line, nothing else (the sanitizer builds watch
// their memory).
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "formats/container/gguf_file.h"
#include "formats/container/safetensors.h"
#include "tests/support/checkpoint_builder.h"

namespace zenwoq::formats::testing {
namespace {

namespace fs = std::filesystem;

constexpr const char* index_suffix = ".index.json";

bool is_index(const std::string& name) { return name.ends_with(index_suffix); }

Bytes read_file(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

// All checkpoint files among the fixtures, as paths relative to their folder.
std::vector<std::string> fixture_files() {
  std::vector<std::string> files;
  std::error_code error;
  for (const auto& entry : fs::recursive_directory_iterator(ZENWOQ_FIXTURES, error)) {
    const std::string name = fs::relative(entry.path(), ZENWOQ_FIXTURES).string();
    if (name.starts_with("formats/")) continue;  // large; the fuzz targets damage them
    if (name.ends_with(".safetensors") || name.ends_with(".gguf") || is_index(name)) files.push_back(name);
  }
  std::sort(files.begin(), files.end());
  return files;
}

struct Borders {
  std::size_t header_end = 0;
  std::vector<std::size_t> of_tensors;  // begin and end of each, from the start of the file
};

Borders find_borders(const Bytes& file, const std::string& name) {
  if (is_index(name)) return {view(file).text().rfind('}') + 1, {}};
  Borders borders{file.size(), {}};
  const auto add = [&](ByteView data) {
    const auto begin = static_cast<std::size_t>(data.data() - file.data());
    borders.of_tensors.insert(borders.of_tensors.end(), {begin, begin + data.size()});
    borders.header_end = std::min(borders.header_end, begin);
  };
  if (looks_like_gguf(view(file))) {
    for (const GgufTensor& tensor : parse_gguf(view(file), name).tensors) add(tensor.data);
  } else {
    for (const auto& entry : parse_safetensors(view(file), name).tensors) add(entry.second.data);
  }
  return borders;
}

// One fixture in memory, in a block of exactly its size, with the files beside it. The shards of a sharded checkpoint
// are opened through the index.
class CorruptFile : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    const fs::path path = fs::path(ZENWOQ_FIXTURES) / GetParam();
    damaged_ = path.filename().string();
    opened_ = damaged_;
    files_[damaged_] = read_file(path);
    for (const auto& entry : fs::directory_iterator(path.parent_path())) {
      if (is_index(entry.path().string())) read_shards_of(entry.path());
    }
    borders_ = find_borders(file(), damaged_);
    if (damaged_.find("avx2") != std::string::npos) options_.opaque_layout = ReadOptions::OpaqueLayout::avx2;
  }

  void read_shards_of(const fs::path& index) {
    opened_ = index.filename().string();
    for (const auto& entry : fs::directory_iterator(index.parent_path())) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with("formats/")) continue;  // large; the fuzz targets damage them
      if (name.ends_with(".safetensors") || name == opened_) files_[name] = read_file(entry.path());
    }
  }

  Bytes& file() { return files_.at(damaged_); }
  const Bytes& file() const { return files_.at(damaged_); }

  // Opens and loads everything and returns the ReadError's text, or "" for success. Any other exception ends the test.
  // A damaged shard is first read alone: if that fails, the index would only add the time of reading the others.
  std::string error() const {
    const bool is_shard = opened_ != damaged_;
    const std::string error_of_shard = is_shard ? error_of([this] { parse_safetensors(view(file()), damaged_); }) : "";
    if (!error_of_shard.empty()) return error_of_shard;
    return error_of([this] {
      const auto checkpoint = open_files(files_, opened_, options_);
      for (std::size_t i = 0; i < checkpoint->layers().size(); ++i) load(*checkpoint, i);
    });
  }

  // The error of the file's first `size` bytes alone, in a block of exactly their size.
  std::string error_of_cut(std::size_t size) {
    Bytes whole = std::move(file());
    file() = Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    const std::string text = error();
    file() = std::move(whole);
    return text;
  }

  // All bits of the byte, and single ones that differ from byte to byte: two of them, but one if the header is so long
  // that sanitizer builds would take minutes.
  std::vector<unsigned> damage_masks(std::size_t at) const {
    if (borders_.header_end > 4096) return {0xFFu, 1u << at % 8};
    return {0xFFu, 1u << at % 8, 1u << (at + 5) % 8};
  }

  std::string damaged_;  // the file that is changed
  std::string opened_;   // the file that is opened: itself or its index
  FileMap files_;
  Borders borders_;
  ReadOptions options_;
};

TEST_P(CorruptFile, WholeFileIsRead) { EXPECT_EQ(error(), ""); }

TEST_P(CorruptFile, EveryHeaderByteDamaged) {
  std::size_t refused = 0;
  for (std::size_t at = 0; at < borders_.header_end; ++at) {
    for (const unsigned mask : damage_masks(at)) {
      file()[at] = static_cast<std::uint8_t>(file()[at] ^ mask);
      refused += error().empty() ? 0 : 1;
      file()[at] = static_cast<std::uint8_t>(file()[at] ^ mask);
      ASSERT_FALSE(HasFailure()) << "byte " << at << " changed by " << mask;
    }
  }
  EXPECT_GT(refused, borders_.header_end / 2);
  EXPECT_EQ(error(), "");
}

TEST_P(CorruptFile, CutInsideTheHeader) {
  for (std::size_t size = 0; size < borders_.header_end; ++size) {
    ASSERT_NE(error_of_cut(size), "") << size << " bytes";
  }
}

TEST_P(CorruptFile, CutAtTheBordersOfTensors) {
  if (borders_.of_tensors.empty()) return;
  const std::size_t data_end = *std::max_element(borders_.of_tensors.begin(), borders_.of_tensors.end());
  for (const std::size_t border : borders_.of_tensors) {
    for (const std::size_t size : {border - 1, border, border + 1}) {
      if (size >= file().size()) continue;
      const std::string text = error_of_cut(size);
      EXPECT_TRUE(!text.empty() || size >= data_end) << size << " bytes";
    }
  }
}

std::string test_name(const ::testing::TestParamInfo<std::string>& file) {
  std::string name = file.param;
  std::replace_if(
      name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Fixtures, CorruptFile, ::testing::ValuesIn(fixture_files()), test_name);

TEST(CorruptFiles, ThereAreFixtures) { EXPECT_GE(fixture_files().size(), 8u); }

}  // namespace
}  // namespace zenwoq::formats::testing
