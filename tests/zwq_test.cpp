// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// .zwq files: what comes back of every fixture, the bytes of goldens, damage, versions, and files that appear whole or
// not at all.
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

#include "formats/container/checksum.h"
#include "formats/container/zwq_file.h"
#include "formats/convert.h"
#include "tests/support/checkpoint_builder.h"
#include "tests/support/checkpoint_handle.h"
#include "tests/support/expect_error.h"
#include "tests/support/forked.h"
#include "zenwoq/formats.h"

namespace zenwoq::formats::testing {
namespace {

namespace fs = std::filesystem;

const fs::path kFixtures = ZENWOQ_FIXTURES;
const fs::path kGoldens = kFixtures / "zwq";

CheckpointHandle open(const fs::path& path) {
  zenwoq_checkpoint_options options;
  zenwoq_checkpoint_options_init(&options);
  if (path.string().find("avx2") != std::string::npos) options.opaque_layout = ZENWOQ_OPAQUE_AVX2;
  zenwoq_checkpoint* checkpoint = nullptr;
  EXPECT_EQ(zenwoq_checkpoint_open(path.c_str(), &options, &checkpoint), ZENWOQ_OK) << zenwoq_last_error();
  return CheckpointHandle(checkpoint);
}

zenwoq_status convert(const CheckpointHandle& checkpoint, const fs::path& path, bool skip = true) {
  zenwoq_convert_options options;
  zenwoq_convert_options_init(&options);
  options.skip = skip ? 1 : 0;
  return zenwoq_checkpoint_convert(checkpoint.get(), packing_context(), path.c_str(), &options);
}

std::size_t count_of(const CheckpointHandle& checkpoint) {
  std::size_t count = 0;
  EXPECT_EQ(zenwoq_checkpoint_count(checkpoint.get(), &count), ZENWOQ_OK);
  return count;
}

zenwoq_tensor_info info_at(const CheckpointHandle& checkpoint, std::size_t index) {
  zenwoq_tensor_info info;
  zenwoq_tensor_info_init(&info);
  EXPECT_EQ(zenwoq_checkpoint_info(checkpoint.get(), index, &info), ZENWOQ_OK) << zenwoq_last_error();
  return info;
}

tools::WeightHandle load_at(const CheckpointHandle& checkpoint, std::size_t index, std::size_t expert = 0) {
  zenwoq_weight* weight = nullptr;
  EXPECT_EQ(zenwoq_checkpoint_load(checkpoint.get(), index, expert, packing_context(), &weight), ZENWOQ_OK)
      << zenwoq_last_error();
  return tools::WeightHandle(weight);
}

tools::WeightHandle map_at(const CheckpointHandle& checkpoint, std::size_t index, std::size_t expert = 0) {
  zenwoq_weight* weight = nullptr;
  EXPECT_EQ(zenwoq_checkpoint_map(checkpoint.get(), index, expert, &weight), ZENWOQ_OK) << zenwoq_last_error();
  return tools::WeightHandle(weight);
}

Bytes packed_of(const tools::WeightHandle& weight) {
  const void* packed = nullptr;
  std::size_t bytes = 0;
  EXPECT_EQ(zenwoq_weight_packed(weight.get(), &packed, &bytes), ZENWOQ_OK);
  const auto* begin = static_cast<const std::uint8_t*>(packed);
  return {begin, begin + bytes};
}

std::vector<float> values_of(const tools::WeightHandle& weight, const zenwoq_tensor_info& info) {
  std::vector<float> values(info.n * info.k);
  EXPECT_EQ(zenwoq_weight_dequantize(weight.get(), 0, info.n, values.data(), values.size() * 4), ZENWOQ_OK);
  return values;
}

Bytes read_file(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

void write_file(const fs::path& path, const Bytes& bytes) {
  std::ofstream stream(path, std::ios::binary);
  stream.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

// A folder for the test's own files, which is removed at the end.
class Zwq : public ::testing::Test {
 protected:
  Zwq() {
    std::string name = (fs::path(::testing::TempDir()) / "zenwoq_zwq_XXXXXX").string();
    folder_ = mkdtemp(name.data());
  }
  ~Zwq() override { fs::remove_all(folder_); }

  fs::path path(const std::string& name) const { return folder_ / name; }
  std::set<std::string> files() const {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_)) names.insert(entry.path().filename().string());
    return names;
  }

  fs::path folder_;
};

// Everything that can be opened among the fixtures.
std::vector<fs::path> all_checkpoints() {
  std::vector<fs::path> paths;
  for (const auto& entry : fs::directory_iterator(kFixtures)) {
    const std::string name = entry.path().filename().string();
    if (entry.is_regular_file() && !name.starts_with("expected") && !name.starts_with("make") && name != "README.md") {
      paths.push_back(entry.path());
    }
  }
  paths.push_back(kFixtures / "sharded");
  for (const auto& family : fs::directory_iterator(kFixtures / "formats")) {
    if (!family.is_directory() || family.path().filename() == "onnx") continue;
    for (const auto& entry : fs::directory_iterator(family.path())) {
      if (entry.path().filename() != "opaque") {
        paths.push_back(entry.path());
        continue;
      }
      paths.push_back(entry.path() / "avx2.safetensors");
      paths.push_back(entry.path() / "avx512.safetensors");
    }
  }
  return paths;
}

struct Seen {
  std::size_t layers = 0, values = 0, experts = 0, biases = 0, permuted = 0, tensors = 0, lost = 0;
};

void expect_same_layer(const CheckpointHandle& source, std::size_t at, const CheckpointHandle& zwq, std::size_t index,
                       Seen* seen) {
  const zenwoq_tensor_info want = info_at(source, at), have = info_at(zwq, index);
  ASSERT_EQ(have.kind, ZENWOQ_TENSOR_LAYER);
  EXPECT_STREQ(have.name, want.name);
  EXPECT_EQ(have.format, "zwq of " + std::string(want.format));
  EXPECT_STREQ(have.quantization, want.quantization);
  ASSERT_EQ(have.n, want.n);
  ASSERT_EQ(have.k, want.k);
  ASSERT_EQ(have.experts, want.experts);
  EXPECT_EQ(have.packed_bytes, want.packed_bytes);
  EXPECT_EQ(have.source_bytes, want.packed_bytes);
  ASSERT_EQ(have.has_bias, want.has_bias);
  for (std::size_t expert = 0; expert < want.experts; ++expert) {
    const tools::WeightHandle loaded = load_at(zwq, index, expert), mapped = map_at(zwq, index, expert);
    const tools::WeightHandle original = load_at(source, at, expert);
    ASSERT_EQ(packed_of(loaded), packed_of(original));
    ASSERT_EQ(packed_of(mapped), packed_of(original));
    EXPECT_STREQ(zenwoq_weight_text(mapped.get()), want.quantization);
    const std::vector<float> values = values_of(original, want), mapped_values = values_of(mapped, want);
    EXPECT_EQ(std::memcmp(values.data(), mapped_values.data(), values.size() * 4), 0);
    if (want.has_bias != 0) {
      EXPECT_EQ(have.bias_type, want.bias_type);
      std::vector<float> bias(want.n), bias_back(want.n);
      for (const auto& [checkpoint, i, out] : {std::tuple(&source, at, &bias), std::tuple(&zwq, index, &bias_back)}) {
        EXPECT_EQ(zenwoq_checkpoint_bias(checkpoint->get(), i, expert, ZENWOQ_F32, out->data(), want.n * 4), ZENWOQ_OK);
      }
      EXPECT_EQ(bias_back, bias);
      ++seen->biases;
    }
    seen->values += values.size();
  }
  zenwoq_weight_desc desc;
  zenwoq_weight_desc_init(&desc);
  ASSERT_EQ(zenwoq_checkpoint_describe(zwq.get(), index, &desc), ZENWOQ_OK);
  ++seen->layers;
  seen->experts += want.experts > 1 ? want.experts : 0;
  seen->permuted += desc.permuted;
}

void expect_same_tensor(const CheckpointHandle& source, std::size_t at, const CheckpointHandle& zwq, std::size_t index,
                        Seen* seen) {
  const zenwoq_tensor_info want = info_at(source, at), have = info_at(zwq, index);
  ASSERT_EQ(have.kind, ZENWOQ_TENSOR_DENSE) << have.name << ": " << have.reason;
  EXPECT_STREQ(have.name, want.name);
  EXPECT_STREQ(have.type, want.type);
  EXPECT_EQ(have.values_type, want.values_type);
  EXPECT_EQ(have.source_bytes, want.source_bytes);
  ASSERT_EQ(have.rank, want.rank);
  std::size_t values = 1;
  for (std::uint32_t i = 0; i < want.rank; ++i) {
    ASSERT_EQ(have.shape[i], want.shape[i]);
    values *= want.shape[i];
  }
  std::vector<float> wanted(values), back(values, 1.5f);
  ASSERT_EQ(zenwoq_checkpoint_values(source.get(), at, ZENWOQ_F32, wanted.data(), values * 4), ZENWOQ_OK);
  ASSERT_EQ(zenwoq_checkpoint_values(zwq.get(), index, ZENWOQ_F32, back.data(), values * 4), ZENWOQ_OK);
  EXPECT_EQ(std::memcmp(wanted.data(), back.data(), values * 4), 0) << want.name;
  ++seen->tensors;
}

TEST_F(Zwq, EveryFixtureComesBack) {
  Seen seen;
  for (const fs::path& fixture : all_checkpoints()) {
    SCOPED_TRACE(fixture.string());
    const CheckpointHandle source = open(fixture);
    ASSERT_NE(source, nullptr);
    ASSERT_EQ(convert(source, path("a.zwq")), ZENWOQ_OK) << zenwoq_last_error();
    const CheckpointHandle zwq = open(path("a.zwq"));
    ASSERT_NE(zwq, nullptr);
    EXPECT_EQ(zenwoq_checkpoint_verify(zwq.get()), ZENWOQ_OK) << zenwoq_last_error();
    std::size_t index = 0;
    for (std::size_t i = 0; i < count_of(source); ++i) {
      const zenwoq_tensor_info info = info_at(source, i);
      if (info.kind == ZENWOQ_TENSOR_LAYER) {
        expect_same_layer(source, i, zwq, index++, &seen);
      } else if (info.kind == ZENWOQ_TENSOR_DENSE) {
        expect_same_tensor(source, i, zwq, index++, &seen);
      } else {
        ++seen.lost;
      }
      ASSERT_FALSE(HasFatalFailure());
    }
    EXPECT_EQ(count_of(zwq), index);
    // What is converted again is the same file.
    ASSERT_EQ(convert(zwq, path("b.zwq"), false), ZENWOQ_OK) << zenwoq_last_error();
    EXPECT_EQ(read_file(path("b.zwq")), read_file(path("a.zwq")));
  }
  std::printf("%zu layers, %zu values, %zu experts, %zu biases, %zu permuted, %zu tensors, %zu lost\n", seen.layers,
              seen.values, seen.experts, seen.biases, seen.permuted, seen.tensors, seen.lost);
  EXPECT_GE(seen.layers, 100u);
  EXPECT_GE(seen.experts, 8u);
  EXPECT_GE(seen.biases, 4u);
  EXPECT_GE(seen.permuted, 2u);
  EXPECT_GE(seen.tensors, 10u);
}

// A layer that has all that a weight can have, which no fixture has: fractions as zero points, a tensor scale, permuted
// columns, factors of x.
struct RichLayer final : LayerSource {
  RichLayer() {
    name = "rich";
    format = "test";
    desc.n = n, desc.k = k, desc.group_size = 16;
    desc.scale_type = ZENWOQ_F16, desc.zero_kind = ZENWOQ_ZERO_FLOAT, desc.zero_type = ZENWOQ_F32;
    desc.tensor_scale_kind = ZENWOQ_TENSOR_SCALE_BY, desc.tensor_scale = 3;
    desc.permuted = desc.x_scaled = 1;
    for (std::uint32_t i = 0; i < k; ++i) permutation.push_back(i * 5 % k), x_scale.push_back(1.0f / (1.0f + i));
    for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::uint8_t>(i * 37);
    for (std::size_t i = 0; i < n * 3; ++i)
      append(scales, static_cast<std::uint16_t>(0x3000 + i)), append(zeros, 0.5f + i);
  }
  Prepared prepare(std::size_t) const override {
    Prepared prepared;
    prepared.set_codes(ZENWOQ_CODES_NIBBLES, view(codes));
    prepared.set_scales(view(scales));
    prepared.set_zeros(view(zeros));
    prepared.set_permutation(permutation);
    prepared.set_x_scale(x_scale);
    return prepared;
  }
  static constexpr std::size_t n = 70, k = 42;
  Bytes codes = Bytes(n * k / 2), scales, zeros;
  std::vector<std::uint32_t> permutation;
  std::vector<float> x_scale;
};

TEST_F(Zwq, EverythingThatAWeightCanHaveComesBack) {
  const RichLayer rich;
  FoundLayers found;
  found.layers.push_back(std::make_unique<RichLayer>());
  const Checkpoint checkpoint(std::move(found), nullptr, "test", {}, {});
  formats::convert(checkpoint, packing_context(), path("a.zwq").string(), {});
  const CheckpointHandle zwq = open(path("a.zwq"));
  const tools::WeightHandle original(pack(packing_context(), rich, rich.prepare(0)).release());
  EXPECT_EQ(packed_of(map_at(zwq, 0)), packed_of(original));
  // And as a source, which `zenwoq check` packs again.
  const auto opened = open_checkpoint(path("a.zwq").string());
  const LayerSource& layer = *opened->layers().at(0);
  const tools::WeightHandle again(pack(packing_context(), layer, layer.prepare(0)).release());
  EXPECT_EQ(packed_of(again), packed_of(original));
}

// What each golden was made from. With ZENWOQ_UPDATE_GOLDENS=1 they are written anew.
const std::map<std::string, const char*> kMadeFrom = {
    {"act_order.zwq", "formats/gptq/v2_asym_act_order_g32"},
    {"experts.zwq", "formats/gguf/experts"},
    {"mixed.zwq", "mixed.gguf"},
};

// The same checkpoint gives these bytes in every build and for good; files that are out there must open.
TEST_F(Zwq, TheGoldensAreWrittenAgain) {
  for (const auto& [name, source] : kMadeFrom) {
    ASSERT_EQ(convert(open(kFixtures / source), path(name)), ZENWOQ_OK) << zenwoq_last_error();
    if (std::getenv("ZENWOQ_UPDATE_GOLDENS") != nullptr) {
      fs::create_directories(kGoldens);
      fs::copy_file(path(name), kGoldens / name, fs::copy_options::overwrite_existing);
    }
    EXPECT_EQ(read_file(path(name)), read_file(kGoldens / name)) << name;
  }
}

Bytes golden(const std::string& name) { return read_file(kGoldens / name); }

// The bytes that opening looks at.
std::size_t head_bytes(const Bytes& file) { return 64 + view(file).read_le<std::uint64_t>(24); }

// An open checkpoint of bytes that do not move.
class BytesFiles final : public Files {
 public:
  explicit BytesFiles(ByteView bytes) : bytes_(bytes) {}
  ByteView require(const std::string&) override { return bytes_; }
  std::optional<ByteView> find(const std::string&) override { return std::nullopt; }

 private:
  ByteView bytes_;
};

std::unique_ptr<Checkpoint> open_view(ByteView bytes) {
  return open_checkpoint(std::make_unique<BytesFiles>(bytes), "x.zwq", "x.zwq");
}

TEST_F(Zwq, EveryCutIsNoticedAtOpening) {
  for (const auto& [name, source] : kMadeFrom) {
    const Bytes file = golden(name);
    for (std::size_t size = 0; size < file.size(); ++size) {
      const Bytes cut(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(std::min(size, head_bytes(file))));
      // Behind the head only the size counts, so the bytes need not be copied.
      const ByteView bytes = size <= head_bytes(file) ? view(cut) : view(file).sub(0, size);
      ASSERT_NE(error_of([&] { open_view(bytes); }), "") << name << " of " << size << " bytes";
    }
    Bytes longer = file;
    longer.push_back(0);
    EXPECT_CONTAINS(open_error(longer), "something was appended?");
    EXPECT_EQ(open_error(file), "");
  }
}

TEST_F(Zwq, EveryFlipOfTheHeadIsNoticedAtOpening) {
  for (const auto& [name, source] : kMadeFrom) {
    Bytes file = golden(name);
    for (std::size_t at = 0; at < head_bytes(golden(name)); ++at) {
      for (const unsigned mask : {0x01u, 0x80u, 0xFFu}) {
        file[at] = static_cast<std::uint8_t>(file[at] ^ mask);
        ASSERT_NE(error_of([&] { open_view(view(file)); }), "") << name << ": byte " << at << " ^ " << mask;
        file[at] = static_cast<std::uint8_t>(file[at] ^ mask);
      }
    }
  }
}

TEST_F(Zwq, EveryFlipOfTheRestIsNoticedByVerification) {
  for (const auto& [name, source] : kMadeFrom) {
    Bytes file = golden(name);
    const std::unique_ptr<Checkpoint> checkpoint = open_view(view(file));
    checkpoint->verify();
    const std::size_t stride = name == "act_order.zwq" ? 1 : 7;  // every byte of one; all of all take long
    for (std::size_t at = head_bytes(file); at < file.size(); at += stride) {
      const auto flip = [&] { file[at] = static_cast<std::uint8_t>(file[at] ^ (1u << (at % 8))); };
      flip();
      ASSERT_NE(error_of([&] { checkpoint->verify(); }).find("damaged"), std::string::npos) << name << ": byte " << at;
      flip();
    }
    checkpoint->verify();
  }
}

// Damage that the packed weight's own header shows is noticed by loading, too.
TEST_F(Zwq, LoadingNamesADamagedWeight) {
  Bytes file = golden("mixed.zwq");
  const std::unique_ptr<Checkpoint> good = open_view(view(file));
  const auto at = static_cast<std::size_t>(good->layers()[0]->packed(0).data() - file.data());
  file[at + 16] ^= 1;
  EXPECT_CONTAINS(error_of([&] { tools::WeightHandle(load(packing_context(), *good->layers()[0], 0).release()); }),
                  good->layers()[0]->name + ": packed weight: header checksum");
}

// The header's and the directory's checksums as they should be, for whoever changes a field.
void mend(Bytes& file) {
  const std::size_t directory = view(file).read_le<std::uint64_t>(24);
  const auto put = [&](std::size_t at, std::uint64_t value) { std::memcpy(&file[at], &value, sizeof value); };
  if (view(file).contains(64, directory)) put(48, checksum_of(view(file).sub(64, directory)));
  put(56, checksum_of(view(file).sub(0, 56)));
}

template <typename T>
std::string error_with(Bytes file, std::size_t at, T value) {
  std::memcpy(&file[at], &value, sizeof value);
  mend(file);
  return open_error(file);
}

TEST_F(Zwq, VersionsAreNamed) {
  const Bytes file = golden("mixed.zwq");
  EXPECT_CONTAINS(error_with(file, 8, std::uint32_t{2}), "is of version 2 of .zwq, this library reads version 1");
  EXPECT_CONTAINS(error_with(file, 32, std::uint32_t{ZENWOQ_PACKED_VERSION + 1}),
                  fmt::format("packed weights of version {}, this library reads up to {}", ZENWOQ_PACKED_VERSION + 1,
                              ZENWOQ_PACKED_VERSION));
  EXPECT_CONTAINS(error_with(file, 36, std::uint32_t{9}), "is of arithmetic version 9, this library computes 1");
  EXPECT_CONTAINS(error_with(file, 40, std::uint64_t{5}), "a reserved field of the header is 5, not 0");
  Bytes text = file;  // "\r\n" -> "\n"
  text.erase(text.begin() + 4);
  EXPECT_CONTAINS(open_error(text), "copied as text");
}

// Directories whose checksums are right, but nothing else.
TEST_F(Zwq, ForgedDirectoriesAreRefused) {
  const Bytes file = golden("mixed.zwq");  // its first two records are layers
  const std::size_t first = 64;
  const auto at = [&](std::size_t field) { return first + field; };
  const auto number = [&](std::size_t field) { return view(file).read_le<std::uint64_t>(at(field)); };
  EXPECT_CONTAINS(error_with(file, 12, std::uint32_t{1000}), "has 1000 records, its directory");
  EXPECT_CONTAINS(error_with(file, 12, std::uint32_t{1}), "the records end at");
  EXPECT_CONTAINS(error_with(file, 16, std::uint64_t{1} << 60), "its header says");
  EXPECT_CONTAINS(error_with(file, 24, std::uint64_t{1} << 60), "which the file of");
  EXPECT_CONTAINS(error_with(file, at(0), std::uint32_t{77}), "is of the unknown kind 77");
  EXPECT_CONTAINS(error_with(file, at(4), std::uint32_t{0}), "empty name");
  EXPECT_CONTAINS(error_with(file, at(4), UINT32_MAX), "go beyond the directory");
  EXPECT_CONTAINS(error_with(file, at(12), std::uint32_t{9}), "9 dimensions, 8 are possible");
  EXPECT_CONTAINS(error_with(file, at(12), std::uint32_t{2}), "it should be experts, n and k");
  EXPECT_CONTAINS(error_with(file, at(16), std::uint64_t{0}), "it should be experts, n and k");
  EXPECT_CONTAINS(error_with(file, at(16), std::uint64_t{1} << 62), "it should be experts, n and k");
  EXPECT_CONTAINS(error_with(file, at(24), std::uint64_t{1} << 62), "its packed bytes exceed");
  EXPECT_CONTAINS(error_with(file, at(40), std::uint64_t{1}), "of its record is 1, it should be 0");
  EXPECT_CONTAINS(error_with(file, at(80), number(80) + 4096), "its content is at");
  EXPECT_CONTAINS(error_with(file, at(88), number(88) + 64), "it should be experts, n and k");
  EXPECT_CONTAINS(error_with(file, at(104), std::uint64_t{64}), "of its record is 64, it should be 0");
  EXPECT_CONTAINS(error_with(file, at(112), std::uint64_t{4}), "a bias of type 0");
  EXPECT_CONTAINS(error_with(file, at(132), std::uint32_t{99}), "scale_type 99");
  EXPECT_CONTAINS(error_with(file, at(160), std::uint32_t{2}), "it should be");
  EXPECT_CONTAINS(error_with(file, at(168), INFINITY), "table");
  EXPECT_CONTAINS(error_with(file, at(240), std::uint8_t{1}), "byte 240 of its record is 1, it should be 0");
  EXPECT_CONTAINS(error_with(file, at(256), '\n'), "is not printable UTF-8");
  // The directory may say another weight of the same size; it is noticed when that is opened.
  Bytes other = file;
  const float value = 99.0f;
  std::memcpy(&other[at(168)], &value, sizeof value);
  mend(other);
  EXPECT_CONTAINS(load_error(other), "the packed weight is of n =");
}

TEST_F(Zwq, OneNameTwiceIsRefused) {
  ZwqEntry entry;
  entry.kind = ZwqKind::file;
  entry.name = "same";
  std::vector<ZwqEntry> entries = {entry, entry};
  EXPECT_CONTAINS(error_of([&] { place_zwq(entries); }), "has same twice");
  entries[1].name = "some";
  const std::uint64_t bytes = place_zwq(entries);
  for (ZwqEntry& e : entries) e.values.checksum = checksum_of({});
  Bytes file = zwq_head(entries, bytes, 0);
  file.resize(bytes);
  EXPECT_EQ(open_error(file), "");
  file[64 + 264 + 256 + 1] = 'a';
  mend(file);
  EXPECT_CONTAINS(open_error(file), "has same twice");
  GgufBuilder builder;  // the layers q.weight and q are both called q
  builder.tensor("q.weight", {32, 1}, 2, Bytes(18)).tensor("q", {32, 1}, 2, Bytes(18));
  write_file(path("twice.gguf"), builder.build());
  EXPECT_ERROR(convert(open(path("twice.gguf")), path("a.zwq")), ZENWOQ_ERROR_BAD_FILE, "has q twice");
}

// A hole of 64 GiB that is called a weight: reading it would take more than this second.
TEST_F(Zwq, OpeningDoesNotReadThePayload) {
  ZwqEntry entry;
  entry.name = "hole";
  entry.type = "none";
  entry.desc.n = std::size_t{1} << 20;
  entry.desc.k = std::size_t{1} << 17;
  entry.shape = {1, entry.desc.n, entry.desc.k};
  ASSERT_EQ(zenwoq_weight_packed_bytes(&entry.desc, &entry.values.bytes), ZENWOQ_OK);
  ASSERT_GE(entry.values.bytes, std::uint64_t{1} << 36);
  std::vector<ZwqEntry> entries = {entry};
  const std::uint64_t bytes = place_zwq(entries);
  write_file(path("hole.zwq"), zwq_head(entries, bytes, ZENWOQ_PACKED_VERSION));
  ASSERT_EQ(truncate(path("hole.zwq").c_str(), static_cast<off_t>(bytes)), 0) << strerror(errno);
  const std::clock_t start = std::clock();  // of the CPU, which other work does not make longer
  const CheckpointHandle checkpoint = open(path("hole.zwq"));
  EXPECT_LT(std::clock() - start, CLOCKS_PER_SEC);
  ASSERT_NE(checkpoint, nullptr);
  EXPECT_EQ(info_at(checkpoint, 0).packed_bytes, entry.values.bytes);
  zenwoq_weight* weight = nullptr;
  EXPECT_ERROR(zenwoq_checkpoint_map(checkpoint.get(), 0, 0, &weight), ZENWOQ_ERROR_BAD_FILE, "wrong magic");
}

// The lines of /proc/self/smaps from the one with this text on, up to the next mapping's.
std::string mapping_of(const std::string& file) {
  std::ifstream maps("/proc/self/smaps");
  std::string text, line;
  bool inside = false;
  while (std::getline(maps, line)) {
    const bool begins = line.find(':') > line.find('-');
    if (begins) inside = line.find(file) != std::string::npos;
    if (inside) text += line + "\n";
  }
  return text;
}

// Kilobytes of a line of smaps.
long kilobytes(const std::string& mapping, const std::string& key) {
  const std::size_t at = mapping.find("\n" + key + ":");
  return at == std::string::npos ? -1 : std::strtol(mapping.c_str() + at + key.size() + 2, nullptr, 10);
}

TEST_F(Zwq, MappedWeightsKeepTheirPagesAndCopyNone) {
  const fs::path file = path("mapped.zwq");
  fs::copy_file(kGoldens / "mixed.zwq", file);
  CheckpointHandle checkpoint = open(file);
  const zenwoq_tensor_info info = info_at(checkpoint, 0);
  tools::WeightHandle mapped = map_at(checkpoint, 0);
  const tools::WeightHandle loaded = load_at(checkpoint, 0);
  const std::vector<float> expected = values_of(loaded, info);
  checkpoint.reset();
  EXPECT_EQ(values_of(mapped, info), expected);
  const std::string mapping = mapping_of(file.filename().string());
  EXPECT_EQ(kilobytes(mapping, "Anonymous"), 0) << "its pages are those of the file";
  const void* packed = nullptr;
  std::size_t bytes = 0;
  ASSERT_EQ(zenwoq_weight_packed(mapped.get(), &packed, &bytes), ZENWOQ_OK);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(packed) % 4096, 0u);
  const tools::LinearHandle linear = tools::make_linear(packing_context(), mapped.get());
  mapped.reset();
  EXPECT_NE(mapping_of(file.filename().string()), "") << "the linear needs it";
}

TEST_F(Zwq, ProcessesShareThePages) {
  const fs::path file = path("shared.zwq");
  fs::copy_file(kGoldens / "mixed.zwq", file);
  int to_parent[2], to_child[2];
  ASSERT_EQ(pipe(to_parent), 0);
  ASSERT_EQ(pipe(to_child), 0);
  // Each process opens the file by itself, and reads its weight, while the other has it.
  const auto use = [&](tools::WeightHandle* weight) {
    const CheckpointHandle checkpoint = open(file);
    *weight = map_at(checkpoint, 0);
    values_of(*weight, info_at(checkpoint, 0));
  };
  const pid_t child = test::start_child([&] {
    tools::WeightHandle weight;
    use(&weight);
    char byte = 0;
    return write(to_parent[1], &byte, 1) == 1 && read(to_child[0], &byte, 1) == 1 ? 0 : 1;
  });
  char byte = 0;
  ASSERT_EQ(read(to_parent[0], &byte, 1), 1);
  tools::WeightHandle weight;
  use(&weight);
  const std::string mapping = mapping_of("shared.zwq");
  EXPECT_EQ(kilobytes(mapping, "Private_Clean"), 0) << mapping;
  EXPECT_EQ(kilobytes(mapping, "Private_Dirty"), 0) << mapping;
  EXPECT_GT(kilobytes(mapping, "Shared_Clean") + kilobytes(mapping, "Shared_Dirty"), 0) << mapping;
  EXPECT_EQ(write(to_child[1], &byte, 1), 1);
  EXPECT_EQ(test::wait_for_child(child), 0);
  for (const int end : {to_parent[0], to_parent[1], to_child[0], to_child[1]}) close(end);
}

TEST_F(Zwq, TheMappingGoesWithTheLastWeight) {
  const fs::path file = path("gone.zwq");
  fs::copy_file(kGoldens / "mixed.zwq", file);
  CheckpointHandle checkpoint = open(file);
  tools::WeightHandle first = map_at(checkpoint, 0), second = map_at(checkpoint, 1);
  checkpoint.reset();
  first.reset();
  EXPECT_NE(mapping_of("gone.zwq"), "");
  second.reset();
  EXPECT_EQ(mapping_of("gone.zwq"), "");
}

TEST_F(Zwq, WhatWouldBeLostIsNamed) {
  SafetensorsBuilder builder;
  builder.tensor("position_ids", "I64", {2}, Bytes(16)).tensor("norm", "F32", {1}, Bytes(4));
  write_file(path("a.safetensors"), builder.build());
  const CheckpointHandle checkpoint = open(path("a.safetensors"));
  EXPECT_ERROR(convert(checkpoint, path("a.zwq"), false), ZENWOQ_ERROR_UNSUPPORTED,
               "1 of its tensors cannot be in a .zwq file, the first is position_ids (1-D i64): skip leaves them out");
  EXPECT_FALSE(fs::exists(path("a.zwq")));
  ASSERT_EQ(convert(checkpoint, path("a.zwq")), ZENWOQ_OK) << zenwoq_last_error();
  const CheckpointHandle zwq = open(path("a.zwq"));
  ASSERT_EQ(count_of(zwq), 1u);
  EXPECT_STREQ(info_at(zwq, 0).name, "norm");
}

TEST_F(Zwq, EmptyTensorsAndEmptyCheckpointsAreFiles) {
  SafetensorsBuilder builder;
  builder.tensor("empty", "F16", {16, 0}, {}).tensor("nothing", "I64", {0}, {});  // of which nothing is lost
  write_file(path("a.safetensors"), builder.build());
  ASSERT_EQ(convert(open(path("a.safetensors")), path("a.zwq"), false), ZENWOQ_OK) << zenwoq_last_error();
  const CheckpointHandle zwq = open(path("a.zwq"));
  ASSERT_EQ(count_of(zwq), 1u);
  const zenwoq_tensor_info info = info_at(zwq, 0);
  EXPECT_STREQ(info.name, "empty");
  EXPECT_EQ(info.shape[0], 16u);
  EXPECT_EQ(info.shape[1], 0u);
  write_file(path("none.safetensors"), safetensors_of("{}"));
  ASSERT_EQ(convert(open(path("none.safetensors")), path("none.zwq"), false), ZENWOQ_OK) << zenwoq_last_error();
  EXPECT_EQ(fs::file_size(path("none.zwq")), 64u);
  EXPECT_EQ(count_of(open(path("none.zwq"))), 0u);
}

// Rows that are no whole blocks do not matter where there are none.
TEST_F(Zwq, EmptyTensorsOfBlocksComeBack) {
  write_file(path("a.gguf"), GgufBuilder().tensor("empty", {31, 0}, 8, {}).build());
  ASSERT_EQ(convert(open(path("a.gguf")), path("a.zwq"), false), ZENWOQ_OK) << zenwoq_last_error();
  const CheckpointHandle zwq = open(path("a.zwq"));
  ASSERT_EQ(count_of(zwq), 1u);
  EXPECT_STREQ(info_at(zwq, 0).type, "q8_0");
  EXPECT_EQ(info_at(zwq, 0).shape[1], 31u);
}

// What a reader would refuse is not written.
TEST_F(Zwq, TextsThatAreNotReadAreNotPlaced) {
  const auto error = [](const std::string& name, const std::string& type) {
    std::vector<ZwqEntry> entries(1);
    entries[0].kind = ZwqKind::tensor;
    entries[0].name = name;
    entries[0].type = type;
    return error_of([&] { place_zwq(entries); });
  };
  EXPECT_EQ(error(std::string(1024, 'n'), "F32"), "");
  EXPECT_CONTAINS(error(std::string(1025, 'n'), "F32"), "has 1025 bytes, the limit is 1024");
  EXPECT_CONTAINS(error("", "F32"), "a tensor has an empty name");
  EXPECT_CONTAINS(error("a\n", "F32"), "is not printable UTF-8 at byte 1");
  EXPECT_CONTAINS(error("a", "F\n"), "its type F\\x0a is not printable UTF-8");
}

std::string config_of(const CheckpointHandle& checkpoint) {
  const char* text = nullptr;
  std::size_t bytes = 0;
  EXPECT_EQ(zenwoq_checkpoint_config(checkpoint.get(), &text, &bytes), ZENWOQ_OK) << zenwoq_last_error();
  EXPECT_EQ(text == nullptr, bytes == 0);
  return text == nullptr ? "" : std::string(text, bytes);
}

TEST_F(Zwq, TheConfigComesAlong) {
  const CheckpointHandle source = open(kFixtures / "sharded");
  const Bytes config = read_file(kFixtures / "sharded" / "config.json");
  EXPECT_EQ(config_of(source), view(config).text());
  ASSERT_EQ(convert(source, path("a.zwq")), ZENWOQ_OK) << zenwoq_last_error();
  write_file(path("config.json"), bytes_of<char>({'{', '}'}));  // not this one: the file stands alone
  EXPECT_EQ(config_of(open(path("a.zwq"))), view(config).text());
  EXPECT_EQ(config_of(open(folder_)), view(config).text()) << "a folder with one .zwq file";
  EXPECT_EQ(config_of(open(kFixtures / "mixed.gguf")), "");
  fs::copy_file(kFixtures / "mixed.gguf", path("m.gguf"));
  fs::remove(path("config.json"));
  fs::create_directory(path("config.json"));
  const CheckpointHandle beside_a_folder = open(path("m.gguf"));
  const char* text = nullptr;
  std::size_t bytes = 0;
  EXPECT_ERROR(zenwoq_checkpoint_config(beside_a_folder.get(), &text, &bytes), ZENWOQ_ERROR_BAD_FILE,
               "is a directory, not a file");
  EXPECT_ERROR(convert(beside_a_folder, path("m.zwq")), ZENWOQ_ERROR_BAD_FILE, "is a directory, not a file");
}

TEST_F(Zwq, CallErrors) {
  const CheckpointHandle gguf = open(kFixtures / "mixed.gguf"), zwq = open(kGoldens / "mixed.zwq");
  auto* weight = reinterpret_cast<zenwoq_weight*>(8);
  EXPECT_ERROR(zenwoq_checkpoint_map(gguf.get(), 0, 0, &weight), ZENWOQ_ERROR_UNSUPPORTED, "can be mapped: load it");
  EXPECT_EQ(weight, nullptr);
  EXPECT_ERROR(zenwoq_checkpoint_map(zwq.get(), 0, 1, &weight), ZENWOQ_ERROR_INVALID_ARGUMENT, "expert 1: ");
  EXPECT_ERROR(zenwoq_checkpoint_map(zwq.get(), 0, 0, nullptr), ZENWOQ_ERROR_INVALID_ARGUMENT, "weight is NULL");
  EXPECT_ERROR(zenwoq_checkpoint_map(nullptr, 0, 0, &weight), ZENWOQ_ERROR_INVALID_ARGUMENT, "checkpoint is NULL");
  EXPECT_ERROR(zenwoq_checkpoint_verify(gguf.get()), ZENWOQ_ERROR_UNSUPPORTED, "only .zwq files have checksums");
  EXPECT_ERROR(zenwoq_checkpoint_verify(nullptr), ZENWOQ_ERROR_INVALID_ARGUMENT, "checkpoint is NULL");
  std::size_t bytes = 0;
  EXPECT_ERROR(zenwoq_checkpoint_config(zwq.get(), nullptr, &bytes), ZENWOQ_ERROR_INVALID_ARGUMENT, "text is NULL");
  zenwoq_convert_options options;
  zenwoq_convert_options_init(&options);
  const auto convert_with = [&](const char* to, zenwoq_context* context) {
    return zenwoq_checkpoint_convert(gguf.get(), context, to, &options);
  };
  const std::string out = path("x.zwq").string();
  EXPECT_ERROR(convert_with(nullptr, packing_context()), ZENWOQ_ERROR_INVALID_ARGUMENT, "path is NULL");
  EXPECT_ERROR(convert_with(out.c_str(), nullptr), ZENWOQ_ERROR_INVALID_ARGUMENT, "context is NULL");
  options.skip = 2;
  EXPECT_ERROR(convert_with(out.c_str(), packing_context()), ZENWOQ_ERROR_INVALID_ARGUMENT, "skip is 2");
  zenwoq_convert_options_init(&options);
  options.reserved = 1;
  EXPECT_ERROR(convert_with(out.c_str(), packing_context()), ZENWOQ_ERROR_INVALID_ARGUMENT, "reserved is 1");
  options.struct_size = 24;
  EXPECT_ERROR(convert_with(out.c_str(), packing_context()), ZENWOQ_ERROR_INVALID_ARGUMENT, "struct_size is 24");
  EXPECT_EQ(files(), std::set<std::string>());
}

TEST_F(Zwq, ProgressIsTold) {
  zenwoq_convert_options options;
  zenwoq_convert_options_init(&options);
  options.skip = 1;
  std::vector<std::size_t> told;
  options.progress_user = &told;
  const std::string out = path("x.zwq").string();
  const CheckpointHandle source = open(kGoldens / "mixed.zwq");
  const std::size_t total = count_of(source);
  options.progress = [](void* user, std::size_t done, std::size_t) {
    static_cast<std::vector<std::size_t>*>(user)->push_back(done);
  };
  ASSERT_EQ(zenwoq_checkpoint_convert(source.get(), packing_context(), out.c_str(), &options), ZENWOQ_OK);
  ASSERT_EQ(told.size(), total + 1);
  for (std::size_t i = 0; i <= total; ++i) EXPECT_EQ(told[i], i);
}

TEST_F(Zwq, AFileMayBeConvertedOntoItself) {
  fs::copy_file(kGoldens / "mixed.zwq", path("a.zwq"));
  const CheckpointHandle checkpoint = open(path("a.zwq"));
  ASSERT_EQ(convert(checkpoint, path("a.zwq"), false), ZENWOQ_OK) << zenwoq_last_error();
  EXPECT_EQ(read_file(path("a.zwq")), golden("mixed.zwq"));
  EXPECT_EQ(files(), std::set<std::string>{"a.zwq"});
}

TEST_F(Zwq, LinksModesAndSpecialFiles) {
  const CheckpointHandle source = open(kFixtures / "mixed.gguf");
  write_file(path("old.zwq"), {1, 2, 3});
  ASSERT_EQ(chmod(path("old.zwq").c_str(), 0640), 0);
  fs::create_symlink("old.zwq", path("link.zwq"));
  ASSERT_EQ(convert(source, path("link.zwq")), ZENWOQ_OK) << zenwoq_last_error();
  EXPECT_TRUE(fs::is_symlink(path("link.zwq")));
  EXPECT_EQ(read_file(path("old.zwq")), golden("mixed.zwq"));
  EXPECT_EQ(fs::status(path("old.zwq")).permissions(), fs::perms{0640});
  fs::create_symlink("new.zwq", path("dangling.zwq"));
  ASSERT_EQ(convert(source, path("dangling.zwq")), ZENWOQ_OK) << zenwoq_last_error();
  EXPECT_EQ(read_file(path("new.zwq")), golden("mixed.zwq"));
  fs::create_symlink("round.zwq", path("round.zwq"));
  const auto refused = [&](const fs::path& to, const char* text) {
    EXPECT_ERROR(convert(source, to), ZENWOQ_ERROR_BAD_FILE, text);
  };
  refused(path("round.zwq"), "round.zwq: cannot be written: Too many levels of symbolic links");
  refused(folder_, "cannot be written: Is a directory");
  refused("/dev/full", "/dev/full: is not a regular file");
  refused(path("none") / "a.zwq", "none/a.zwq: cannot be written: No such file or directory");
  EXPECT_EQ(files(), (std::set<std::string>{"dangling.zwq", "link.zwq", "new.zwq", "old.zwq", "round.zwq"}));
}

// What a child finds that may not write so much; it reports through its exit status.
int convert_within_limit(const CheckpointHandle& source, const fs::path& to) {
  std::signal(SIGXFSZ, SIG_IGN);
  const rlimit limit{10000, 10000};
  if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return 2;
  if (convert(source, to) != ZENWOQ_ERROR_BAD_FILE) return 3;
  return std::string(zenwoq_last_error()).find("old.zwq: cannot be written: File too large") == std::string::npos ? 4
                                                                                                                  : 0;
}

TEST_F(Zwq, WithoutRoomNothingChanges) {
  const CheckpointHandle source = open(kFixtures / "mixed.gguf");
  write_file(path("old.zwq"), {1, 2, 3});
  packing_context();
  const pid_t child = test::start_child([&] { return convert_within_limit(source, path("old.zwq")); });
  EXPECT_EQ(test::wait_for_child(child), 0);
  EXPECT_EQ(read_file(path("old.zwq")), (Bytes{1, 2, 3}));
  EXPECT_EQ(files(), std::set<std::string>{"old.zwq"});
}

TEST_F(Zwq, AnInterruptedWriteChangesNothing) {
  const CheckpointHandle source = open(kFixtures / "mixed.gguf");
  write_file(path("old.zwq"), {1, 2, 3});
  packing_context();
  const std::string to = path("old.zwq").string();
  const pid_t child = test::start_child([&] {
    zenwoq_convert_options options;
    zenwoq_convert_options_init(&options);
    options.skip = 1;
    options.progress = [](void*, std::size_t done, std::size_t) {
      if (done == 2) raise(SIGKILL);
    };
    zenwoq_checkpoint_convert(source.get(), packing_context(), to.c_str(), &options);
    return 0;
  });
  EXPECT_EQ(test::wait_for_child(child), 1000 + SIGKILL);
  EXPECT_EQ(read_file(path("old.zwq")), (Bytes{1, 2, 3}));
}

// A value that cannot be packed stops the conversion, and names the weight.
TEST_F(Zwq, BadValuesLeaveNoFile) {
  Bytes block(18);
  block[1] = 0x7C;  // an infinite scale
  GgufBuilder builder;
  builder.tensor("q.weight", {32, 1}, 2, block);
  write_file(path("bad.gguf"), builder.build());
  EXPECT_ERROR(convert(open(path("bad.gguf")), path("bad.zwq")), ZENWOQ_ERROR_BAD_FILE,
               "weight q.weight: scale inf at row 0, group 0");
  EXPECT_EQ(files(), std::set<std::string>{"bad.gguf"});
}

}  // namespace
}  // namespace zenwoq::formats::testing
