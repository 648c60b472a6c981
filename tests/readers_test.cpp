// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Containers and files: safetensors headers, shard indexes, the choice of the reader, directories.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "formats/container/safetensors.h"
#include "formats/container/text.h"
#include "tests/support/checkpoint_builder.h"

namespace zenwoq::formats::testing {
namespace {

namespace fs = std::filesystem;

constexpr const char* one_byte_tensor = R"("a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]})";

std::string braces(const std::string& inside) { return "{" + inside + "}"; }

// A file with this text as its one entry, and eight bytes of data.
Bytes file_with_entry(const std::string& entry) { return safetensors_of(R"({"layer.x":)" + entry + "}", Bytes(8)); }

// ---- safetensors headers ----

TEST(Safetensors, TensorsKeepTypeShapeAndData) {
  SafetensorsBuilder builder;
  builder.tensor("b", "I16", {2, 1}, {1, 2, 3, 4}).tensor("a", "U8", {3}, {7, 8, 9}).metadata("key", "value");
  const Bytes file = builder.build();
  const TensorSet set = parse_safetensors(view(file), "test");
  ASSERT_EQ(set.tensors.size(), 2u);
  EXPECT_EQ(set.tensors.at("b").dtype, "I16");
  EXPECT_EQ(set.tensors.at("b").shape, (Shape{2, 1}));
  const ByteView data = set.tensors.at("a").data;
  EXPECT_EQ(Bytes(data.begin(), data.end()), (Bytes{7, 8, 9}));
  EXPECT_EQ(set.metadata.at("key"), std::set<std::string>{"value"});
}

TEST(Safetensors, EmptyAndScalarTensorsAreAllowed) {
  SafetensorsBuilder builder;
  builder.tensor("empty", "F32", {1ull << 40, 1ull << 40, 0}, {}).tensor("scalar", "F32", {}, Bytes(4));
  const Bytes file = builder.build();
  EXPECT_EQ(open_error(file), "");
  EXPECT_EQ(reason_for(*open_bytes(file), "scalar"), "0-D f32");
}

TEST(Safetensors, PaddedHeaderIsAllowed) {
  EXPECT_EQ(open_error(safetensors_of(braces(one_byte_tensor) + "   ", Bytes(1))), "");
}

TEST(Safetensors, LeftAloneTensorsHaveAReason) {
  SafetensorsBuilder builder;
  builder.tensor("norm", "BF16", {2}, Bytes(4)).tensor("embed", "F32", {1, 2}, Bytes(8));
  builder.tensor("ids", "I64", {1, 1}, Bytes(8))
      .tensor("new", "F3_NEW", {64}, Bytes(5))
      .tensor("f4", "F4", {2}, Bytes(1));
  const Bytes file = builder.build();
  const auto checkpoint = open_bytes(file);
  EXPECT_TRUE(checkpoint->layers().empty());
  EXPECT_EQ(reason_for(*checkpoint, "norm"), "1-D bf16");
  EXPECT_EQ(reason_for(*checkpoint, "embed"), "2-D f32, not quantized");
  EXPECT_EQ(reason_for(*checkpoint, "ids"), "2-D i64");
  EXPECT_EQ(reason_for(*checkpoint, "new"), "unknown type f3_new");
  EXPECT_EQ(reason_for(*checkpoint, "f4"), "1-D f4");
}

TEST(Safetensors, WrongHeadersAreRefused) {
  const std::string tensor = one_byte_tensor;
  const std::vector<std::pair<std::string, std::string>> cases = {
      {braces(tensor + "," + tensor), "key a twice"},
      {braces(R"("a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]})"), "key dtype twice"},
      {braces(tensor) + "x", "bad JSON"},
      {braces(tensor + ","), "bad JSON"},
      {braces(tensor).insert(5, 1, '\0'), "NUL"},
      {braces("\"a\":{\"x\":" + std::string(10000, '[')), "deeper than 16"},
      {braces("\"a\":{\"x\":" + std::string(20, '[') + std::string(20, ']') + "}"), "deeper than 16"},
      {braces(R"("a":{"x":{"b":1,"b":2}})"), "key b twice"},
      {braces(R"("__metadata__":{},"__metadata__":{})"), "key __metadata__ twice"},
      {braces(R"("__metadata__":{"k":"1","k":"2"})"), "key k twice"},
      {braces("\"" + std::string(1100000, 'n') + "\":{}"), "a string of more than 1048576 bytes at 2"},
      {braces("\"a\":" + std::string(70000, ' ')), "more than 65536 bytes without a string or another number at 4"},
      {braces("\"a\":{\"x\":[1e999]}"), "bad JSON"},
      {braces("\"__metadata__\":[]"), "__metadata__ is no JSON object"},
      {braces("\"__metadata__\":{\"k\":1}"), "__metadata__ of k is no string"},
      {braces(R"("":{"dtype":"U8","shape":[1],"data_offsets":[0,1]})"), "empty name"},
      {braces(R"("a\nb":{"dtype":"U8","shape":[1],"data_offsets":[0,1]})"),
       R"(a\x0ab is not printable UTF-8 at byte 1)"},
      {braces(R"("a\u001b[2J":{"dtype":"U8","shape":[1],"data_offsets":[0,1]})"), "not printable"},
      {braces("\"a\xff\":{}"), "bad JSON"},
      {braces("\"" + std::string(2000, 'n') + "\":{}"), "has 2000 bytes, the limit is 1024"}};
  for (const auto& c : cases) EXPECT_CONTAINS(open_error(safetensors_of(c.first, Bytes(1))), c.second);
}

TEST(Safetensors, WrongEntriesAreRefusedByName) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"(1)", "entry is no JSON object"},
      {R"({"shape":[8],"data_offsets":[0,8]})", "dtype is missing"},
      {R"({"dtype":8,"shape":[8],"data_offsets":[0,8]})", "dtype is no string"},
      {R"({"dtype":"U8","data_offsets":[0,8]})", "shape is missing"},
      {R"({"dtype":"U8","shape":8,"data_offsets":[0,8]})", "shape is no array"},
      {R"({"dtype":"U8","shape":["8"],"data_offsets":[0,8]})", "shape holds something else"},
      {R"({"dtype":"U8","shape":[-8],"data_offsets":[0,8]})", "shape holds something else"},
      {R"({"dtype":"U8","shape":[8.0],"data_offsets":[0,8]})", "shape holds something else"},
      {R"({"dtype":"U8","shape":[18446744073709551616],"data_offsets":[0,8]})", "shape holds something else"},
      {R"({"dtype":"U8","shape":[8]})", "data_offsets is missing"},
      {R"({"dtype":"U8","shape":[8],"data_offsets":[0,4,8]})", "should be a begin and an end"},
      {R"({"dtype":"U8","shape":[8],"data_offsets":[8,0]})", "should be a begin and an end"},
      {R"({"dtype":"U8","shape":[9],"data_offsets":[0,9]})", "the file has 8 bytes of data"},
      {R"({"dtype":"U8","shape":[8],"data_offsets":[18446744073709551608,18446744073709551615]})", "the file has 8"},
      {R"({"dtype":"U8","shape":[4],"data_offsets":[0,8]})", "has 8 bytes, it should have 4"},
      {R"({"dtype":"F4","shape":[15],"data_offsets":[0,8]})", "a broken number"},
      {R"({"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,8]})", "more than there can be"},
      {R"({"dtype":"F64","shape":[2305843009213693953],"data_offsets":[0,8]})", "more than there can be"},
      {R"({"dtype":"U8","shape":[7],"data_offsets":[1,8]})", "begin at 1, but those before it end at 0"}};
  for (const auto& c : cases) {
    const std::string error = open_error(file_with_entry(c.first));
    EXPECT_CONTAINS(error, c.second);
    EXPECT_CONTAINS(error, "test: tensor layer.x: ");
  }
}

TEST(Safetensors, OverlapsAndGapsAreRefused) {
  const Bytes too_long = file_with_entry(R"({"dtype":"U8","shape":[7],"data_offsets":[0,7]})");
  EXPECT_CONTAINS(open_error(too_long), "the tensors' data end at 7, but the file has 8");
  const auto file = [](const char* second) {
    return safetensors_of(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],)" +
                              std::string(R"("data_offsets":)") + second + "}}",
                          Bytes(9));
  };
  EXPECT_CONTAINS(open_error(file("[3,7]")), "tensor b: its data begin at 3, but those before it end at 4");
  EXPECT_CONTAINS(open_error(file("[5,9]")), "tensor b: its data begin at 5, but those before it end at 4");
  EXPECT_CONTAINS(open_error(file("[0,4]")), "but those before it end at 4");
}

TEST(Safetensors, WrongLengthsAreRefused) {
  Bytes file = safetensors_of(braces(one_byte_tensor), Bytes(1));
  file[0] = 0xFF;
  EXPECT_CONTAINS(open_error(file), "declares a header of 255 bytes, but the file has");
  file[4] = 1;
  EXPECT_CONTAINS(open_error(file), "the limit is 100000000");
  file.assign(8, 0xFF);
  EXPECT_CONTAINS(open_error(file), "neither a safetensors nor a GGUF nor a .zwq file");
  EXPECT_CONTAINS(error_of([] { parse_safetensors(ByteView(), "test"); }), "too few for a header");
}

// ---- indexes of shards ----

class Shards : public ::testing::Test {
 protected:
  FileMap files_ = {{"one", SafetensorsBuilder().tensor("a", "U8", {1}, {1}).metadata("format", "pt").build()},
                    {"two", SafetensorsBuilder().tensor("b", "U8", {1}, {2}).tensor("c", "U8", {1}, {3}).build()}};

  std::unique_ptr<Checkpoint> open(const std::string& index) {
    files_["x.index.json"] = Bytes(index.begin(), index.end());
    return open_files(files_, "x.index.json");
  }
  std::string error(const std::string& index) {
    return error_of([&] { open(index); });
  }
};

TEST_F(Shards, TensorsOfAllShardsAreListed) {
  const auto checkpoint = open(R"({"metadata":{},"weight_map":{"a":"one","b":"two"}})");
  EXPECT_EQ(reason_for(*checkpoint, "a"), "1-D u8");
  EXPECT_EQ(reason_for(*checkpoint, "b"), "1-D u8");
  EXPECT_EQ(reason_for(*checkpoint, "c"), "in two, where the index does not look for it");
}

TEST_F(Shards, WrongIndexesAreRefused) {
  EXPECT_CONTAINS(error(R"({"weight_map":{"a":"two"}})"), "x.index.json: tensor a should be in two, but is not");
  EXPECT_CONTAINS(error(R"({"weight_map":{"a":"three"}})"), "three: cannot be opened");
  EXPECT_CONTAINS(error(R"({"weight_map":{"a":1}})"), "weight_map of a is no string");
  EXPECT_CONTAINS(error(R"({"weight_map":{"a":"one","a":"two"}})"), "key a twice");
  EXPECT_CONTAINS(error(R"({"weight_map":[]})"), "weight_map is missing or no JSON object");
  EXPECT_CONTAINS(error(R"({})"), "weight_map is missing or no JSON object");
  EXPECT_CONTAINS(error(R"([])"), "is no JSON object");
  EXPECT_CONTAINS(error(R"({"weight_map":{"a\n":"one"}})"), "not printable");
  EXPECT_CONTAINS(error(""), "bad JSON");
}

TEST_F(Shards, ShardsLieBesideTheIndex) {
  for (const char* name : {"../one", "/etc/passwd", "d/one", "..", ".", "", R"(a\\b)", R"(one\u0000)", R"(one\n)"}) {
    const std::string index = R"({"weight_map":{"a":")" + std::string(name) + "\"}}";
    EXPECT_CONTAINS(error(index), "is not a plain file name beside the index");
  }
}

// ---- files and directories ----

class ReaderFiles : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "zenwoq_readers_XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string write(const std::string& name, const Bytes& bytes) const {
    std::ofstream(folder_ / name, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    return (folder_ / name).string();
  }
  static std::string error(const std::string& path) {
    return error_of([&] { open_checkpoint(path); });
  }

  fs::path folder_;
  const Bytes tensors_ = safetensors_of(braces(one_byte_tensor), Bytes(1));
};

TEST_F(ReaderFiles, WhatIsNoCheckpointIsNamed) {
  EXPECT_CONTAINS(error((folder_ / "missing").string()), "missing: cannot be opened: No such file");
  EXPECT_CONTAINS(error(write("empty", {})), "empty: is empty");
  EXPECT_CONTAINS(error(write("text", Bytes(100, 'x'))), "is neither a safetensors nor a GGUF nor a .zwq file");
  EXPECT_CONTAINS(error(write("model.bin", {'P', 'K', 3, 4, 0, 0})), "save the model as safetensors");
  EXPECT_CONTAINS(error(write("short", {1})), "is neither a safetensors nor a GGUF nor a .zwq file");
  ASSERT_EQ(mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  EXPECT_CONTAINS(error((folder_ / "pipe").string()), "is not a regular file");
  EXPECT_CONTAINS(error((folder_ / "new\nline").string()), R"(new\x0aline: cannot be opened)");
}

TEST_F(ReaderFiles, GitLfsPointersAreNamed) {
  const std::string text = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
  const Bytes pointer(text.begin(), text.end());
  for (const char* name : {"a.safetensors", "a.gguf", "a.safetensors.index.json"}) {
    EXPECT_CONTAINS(error(write(name, pointer)), std::string(name) + ": is a git-lfs pointer, not the file itself");
  }
  write("part", pointer);
  const std::string index = R"({"weight_map":{"a":"part"}})";
  EXPECT_CONTAINS(error(write("model.safetensors.index.json", Bytes(index.begin(), index.end()))),
                  "part: is a git-lfs pointer");
}

TEST_F(ReaderFiles, LoneShardsAreRefused) {
  EXPECT_CONTAINS(error(write("model-00002-of-00003.safetensors", tensors_)),
                  "is shard 2 of 3, and layers may go on in the others: open the .index.json beside it");
  EXPECT_EQ(error(write("model-00001-of-00001.safetensors", tensors_)), "");
  const std::string one = write("one.safetensors", tensors_);
  EXPECT_EQ(error(one), "");
  const auto write_index = [this](const std::string& second) {
    const std::string index = R"({"weight_map":{"a":"one.safetensors","b":")" + second + R"("}})";
    write("x.safetensors.index.json", Bytes(index.begin(), index.end()));
  };
  write_index("one.safetensors");
  EXPECT_EQ(error(one), "");
  write_index("two.safetensors");
  EXPECT_CONTAINS(error(one), "one.safetensors: is one of several shards");
}

TEST_F(ReaderFiles, ModelsInSeveralGgufFilesAreFoundInTheirDirectory) {
  for (std::uint16_t i = 0; i < 2; ++i) {
    GgufBuilder builder;
    builder.pair("split.no", 2, bytes_of(std::vector<std::uint16_t>{i}));
    builder.pair("split.count", 2, bytes_of(std::vector<std::uint16_t>{2}));
    builder.tensor("t" + std::to_string(i), {1}, 0, Bytes(4));
    write("m-0000" + std::to_string(i + 1) + "-of-00002.gguf", builder.build());
  }
  EXPECT_EQ(open_checkpoint(folder_.string())->left_alone().size(), 2u);
  EXPECT_EQ(open_checkpoint((folder_ / "m-00002-of-00002.gguf").string())->left_alone().size(), 2u);
  fs::remove(folder_ / "m-00001-of-00002.gguf");
  EXPECT_CONTAINS(error(folder_.string()), "m-00001-of-00002.gguf: cannot be opened: No such file");
}

TEST_F(ReaderFiles, ADirectoryThatCannotBeListedHasNoIndex) {
  const std::string path = write("one.safetensors", tensors_);
  ASSERT_EQ(chmod(path.c_str(), 0644), 0);
  ASSERT_EQ(chmod(folder_.c_str(), 0711), 0);
  const uid_t user = geteuid();
  if (user == 0 && seteuid(65534) != 0) GTEST_SKIP() << "root may list every directory";
  if (user != 0) ASSERT_EQ(chmod(folder_.c_str(), 0311), 0);
  const std::string of_file = error(path), of_folder = error(folder_.string());
  ASSERT_EQ(seteuid(user), 0);
  ASSERT_EQ(chmod(folder_.c_str(), 0700), 0);
  EXPECT_EQ(of_file, "");
  EXPECT_CONTAINS(of_folder, "cannot be listed: Permission denied");
}

TEST_F(ReaderFiles, UnreadableFilesAreNamed) {
  const std::string path = write("secret", tensors_);
  ASSERT_EQ(chmod(path.c_str(), 0), 0);
  const uid_t user = geteuid();
  if (user == 0 && seteuid(65534) != 0) GTEST_SKIP() << "root may read every file";
  const std::string text = error(path);
  ASSERT_EQ(seteuid(user), 0);
  EXPECT_CONTAINS(text, "cannot be opened: Permission denied");
}

TEST_F(ReaderFiles, DirectoriesAreSearched) {
  EXPECT_CONTAINS(error(folder_.string()), "the directory has no model.safetensors.index.json");
  write("a.gguf", GgufBuilder().build());
  EXPECT_TRUE(open_checkpoint(folder_.string())->left_alone().empty());
  write("b.gguf", GgufBuilder().build());
  EXPECT_CONTAINS(error(folder_.string()), "the directory has 2 .gguf files, name one of them");
  write("model.safetensors", tensors_);
  EXPECT_EQ(reason_for(*open_checkpoint(folder_.string()), "a"), "1-D u8");
  write("shard", SafetensorsBuilder().tensor("other", "U8", {1}, {1}).build());
  fs::create_symlink(folder_ / "shard", folder_ / "linked");
  const std::string index = R"({"weight_map":{"other":"linked"}})";
  write("model.safetensors.index.json", Bytes(index.begin(), index.end()));
  EXPECT_EQ(reason_for(*open_checkpoint(folder_.string()), "other"), "1-D u8");
  fs::remove(folder_ / "linked");
  fs::create_directory(folder_ / "linked");
  EXPECT_CONTAINS(error(folder_.string()), "linked: is a directory, not a file");
}

// ---- text ----

TEST(Text, WhatIsNotPrintableIsEscaped) {
  EXPECT_EQ(shown("größe_模型"), "größe_模型");
  EXPECT_EQ(shown("a\nb\x7f\x1b"), R"(a\x0ab\x7f\x1b)");
  EXPECT_EQ(shown("\xff\xc0\x80\xed\xa0\x80\xf4\x90\x80\x80\xe2\x82"),
            R"(\xff\xc0\x80\xed\xa0\x80\xf4\x90\x80\x80\xe2\x82)");
  EXPECT_EQ(shown("\xe2\x80\xa8\xe2\x80\xae\xc2\x85"), R"(\xe2\x80\xa8\xe2\x80\xae\xc2\x85)");
  EXPECT_EQ(shown(std::string(200, 'x'), 10), "xxxxxxxxxx...");
}

}  // namespace
}  // namespace zenwoq::formats::testing
