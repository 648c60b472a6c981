// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// What the worst files cost: memory of at most three times their size and 16 MiB, and time in proportion to their size.
// Memory is what operator new gave; files are mapped.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <ctime>
#include <filesystem>
#include <fstream>

#include "formats/container/checksum.h"
#include "formats/container/ggml_types.h"
#include "formats/container/zwq_file.h"
#include "tests/support/checkpoint_builder.h"
#include "tests/support/counted_memory.h"
#include "tests/support/onnx_builder.h"
#include "zenwoq/formats.h"

namespace zenwoq::formats::testing {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kOwnBytes = 16u << 20;
constexpr std::size_t kFileBytes = 6u << 20;  // some, so that both parts of the bound matter

std::string repeated(const std::string& text, std::size_t bytes) {
  std::string all;
  while (all.size() < bytes) all += text;
  return all;
}

// "PREFIX" with consecutive short names in place of each '#', joined by commas until there are so many bytes.
std::string numbered(const std::string& pattern, std::size_t bytes) {
  std::string all;
  for (std::size_t i = 0; all.size() < bytes; ++i) {
    std::string name = fmt::format("{:x}", i);
    for (const char c : (i == 0 ? "" : ",") + pattern) c == '#' ? all += name : all += c;
  }
  return all;
}

Bytes bytes_of_text(const std::string& text) { return {text.begin(), text.end()}; }

Bytes header(const std::string& members, std::size_t data = 0) {
  return safetensors_of("{" + members + "}", Bytes(data));
}

const std::string kEntry = R"({"dtype":"U8","shape":[0],"data_offsets":[0,0])";

// Files by name; the first one is opened.
struct Case {
  const char* name;
  std::function<std::vector<std::pair<std::string, Bytes>>()> files;
};

std::vector<std::pair<std::string, Bytes>> alone(const char* name, Bytes bytes) {
  std::vector<std::pair<std::string, Bytes>> files;
  files.emplace_back(name, std::move(bytes));
  return files;
}

auto safetensors(const std::function<Bytes()>& make) {
  return [make] { return alone("model.safetensors", make()); };
}

auto gguf(const std::function<void(GgufBuilder&)>& fill) {
  return [fill] {
    GgufBuilder builder;
    fill(builder);
    return alone("model.gguf", builder.build());
  };
}

// A file whose format asks for the configuration, and that.
auto config(const std::function<std::string()>& make) {
  return [make] {
    auto files = alone("model.safetensors", SafetensorsBuilder().tensor("a.qweight", "I32", {0, 0}, {}).build());
    files.emplace_back("config.json", bytes_of_text(R"({"quantization_config":{)" + make() + "}}"));
    return files;
  };
}

auto index(const std::function<std::string()>& make) {
  return [make] {
    auto files = alone("model.safetensors.index.json", bytes_of_text("{" + make() + "}"));
    files.emplace_back("s", header(R"("a":)" + kEntry + "}"));
    return files;
  };
}

Bytes string_array(std::size_t count) {
  Bytes value;
  append(value, std::uint32_t{8});
  append(value, std::uint64_t{count});
  value.resize(value.size() + 8 * count);
  return value;
}

// As many layers as a GGUF file of their size may have, each of one block.
void fill_with_layers(GgufBuilder& builder) {
  for (int i = 0; i < 9000; ++i) builder.tensor(fmt::format("{}.weight", i), {32, 1}, ggml_q4_0, Bytes(18));
}

void fill_with_names(GgufBuilder& builder) {
  for (int i = 0; i < 8700; ++i) builder.tensor_at(fmt::format("{:x}", i), {0}, 0, 0);
}

auto onnx(const std::function<void(OnnxBuilder&)>& fill) {
  return [fill] {
    OnnxBuilder builder;
    fill(builder);
    return alone("model.onnx", builder.build());
  };
}

// What MatMulNBits multiplies with.
OnnxNodeBuilder matmulnbits(const std::string& codes, int n, const std::string& name = "") {
  OnnxNodeBuilder node("MatMulNBits", {"x", codes, "s"}, {}, name, "com.microsoft");
  return node.integer("N", n).integer("K", 16).integer("block_size", 16);
}

// So many layers of 16 codes each, whose initializers have names of so many bytes and a few.
void fill_with_matmulnbits(OnnxBuilder& b, int layers, std::size_t name_bytes) {
  b.tensor("s", {1}, onnx_f32, Bytes(4));
  for (int i = 0; i < layers; ++i) {
    const std::string name = fmt::format("{:x}", i) + std::string(name_bytes, 'n');
    b.tensor(name, {1, 1, 8}, onnx_u8, Bytes(8)).node(matmulnbits(name, 1, name));
  }
}

void add_product(OnnxBuilder& b, const std::string& codes, int block, const std::string& result) {
  b.node(OnnxNodeBuilder("DequantizeLinear", {codes, "s"}, {result}).integer("block_size", block));
  b.node(OnnxNodeBuilder("MatMul", {"", result}, {}));
}

void fill_with_products(OnnxBuilder& b, int layers, std::size_t name_bytes) {
  b.tensor("s", {}, onnx_f32, Bytes(4));
  for (int i = 0; i < layers; ++i) {
    const std::string name = fmt::format("{:x}", i) + std::string(name_bytes, 'n');
    b.tensor(name, {16, 1}, onnx_i4, Bytes(8));
    add_product(b, name, 0, name);
  }
}

// So many weights of one initializer, of a name of so many bytes.
void fill_with_blocks(OnnxBuilder& b, int weights, std::size_t name_bytes) {
  const std::string name(name_bytes, 'n');
  b.tensor("s", {1, 1}, onnx_f32, Bytes(4)).tensor(name, {32, 1}, onnx_i4, Bytes(16));
  for (int i = 0; i < weights; ++i) add_product(b, name, 32 + i, fmt::format("{:x}", i));
}

// So many records of a tensor without values.
Bytes zwq_of_empty_tensors(std::size_t count, std::size_t rank, std::size_t name_bytes) {
  std::vector<ZwqEntry> entries(count);
  for (std::size_t i = 0; i < count; ++i) {
    entries[i].kind = ZwqKind::tensor;
    entries[i].name = fmt::format("{:x}", i) + std::string(name_bytes, 'n');
    entries[i].type = "f32";
    entries[i].shape.assign(rank, 0);
    entries[i].values.checksum = checksum_of({});
  }
  const std::uint64_t bytes = place_zwq(entries);
  Bytes file = zwq_head(entries, bytes, 1);
  file.resize(bytes);
  return file;
}

auto zwq(std::size_t count, std::size_t rank, std::size_t name_bytes) {
  return [=] { return alone("model.zwq", zwq_of_empty_tensors(count, rank, name_bytes)); };
}

const Case kCases[] = {
    {"TinyTensors", safetensors([] { return header(numbered("\"#\":" + kEntry + "}", kFileBytes)); })},
    {"AsManyTensorsAsThereMayBe", safetensors([] { return header(numbered("\"#\":" + kEntry + "}", 8000 * 60)); })},
    {"LongNames",
     safetensors([] { return header(numbered("\"#" + std::string(1000, 'n') + "\":" + kEntry + "}", kFileBytes)); })},
    {"LongShapes", safetensors([] {
       const std::string shape = repeated("0,", 126) + "0";
       return header(numbered(R"("#":{"dtype":"U8","shape":[)" + shape + R"(],"data_offsets":[0,0]})", kFileBytes));
     })},
    {"OneEndlessShape", safetensors([] {
       return header(R"("a":{"dtype":"U8","shape":[)" + repeated("0,", kFileBytes) + R"(0],"data_offsets":[0,0]})");
     })},
    {"UnknownArrays",
     safetensors([] { return header("\"a\":" + kEntry + R"(,"x":[)" + repeated("[],", kFileBytes) + "[]]}"); })},
    {"UnknownArraysThatEndWrongly",
     safetensors([] { return header("\"a\":" + kEntry + R"(,"x":[)" + repeated("[],", 4 * kFileBytes) + "]]}"); })},
    {"UnknownNumbers",
     safetensors([] { return header("\"a\":" + kEntry + R"(,"x":[)" + repeated("0,", kFileBytes) + "0]}"); })},
    {"UnknownKeys",
     safetensors([] { return header("\"a\":" + kEntry + R"(,"x":{)" + numbered(R"("#":0)", kFileBytes) + "}}"); })},
    {"UnknownFields",
     safetensors([] { return header("\"a\":" + kEntry + "," + numbered(R"("#":0)", kFileBytes) + "}"); })},
    {"DeepNesting", safetensors([] { return header("\"a\":" + kEntry + ",\"x\":" + std::string(kFileBytes, '[')); })},
    {"TinyMetadata",
     safetensors([] { return header("\"__metadata__\":{" + numbered(R"("#":"")", kFileBytes) + "}"); })},
    {"AsMuchMetadataAsThereMayBe",
     safetensors([] { return header("\"__metadata__\":{" + numbered(R"("#":"")", 8000 * 8) + "}"); })},
    {"LongMetadata",
     safetensors([] { return header(R"("__metadata__":{"a":")" + std::string(kFileBytes, 'x') + "\"}"); })},
    {"MetadataOfEscapes", safetensors([] {
       return header("\"__metadata__\":{" + numbered("\"#\":\"" + repeated(R"(\u00e9\n)", 1000000) + "\"", kFileBytes) +
                     "}");
     })},
    {"EscapesInAStringThatIsWrong",
     safetensors([] { return header(R"("__metadata__":{"a":")" + repeated(R"(\u00e9)", 1000000) + "\x01\"}"); })},
    {"LongWrongString", safetensors([] { return header("\"" + std::string(1000000, 'n') + "\x01"); })},
    {"LongNumber", safetensors([] { return header("\"a\":" + std::string(kFileBytes, '1')); })},
    {"Blanks", safetensors([] { return header("\"a\":" + std::string(kFileBytes, '\n') + "x"); })},
    {"TorchaoMetadataOfArrays", safetensors([] {
       const std::string value = R"({\"_type\":[)" + repeated("[],", 900000) + "[]]}";
       return header(R"("__metadata__":{"a.weight":")" + value + R"("},"a._weight_qdata":)" + kEntry + "}");
     })},
    {"QuantStatesOfArrays", safetensors([] {
       const std::string state = "{\"a\":[" + repeated("[],", 65000) + "[]]}";
       return SafetensorsBuilder()
           .tensor("a.weight", "U8", {16}, Bytes(16))
           .tensor("a.weight.quant_state.bitsandbytes__nf4", "U8", {state.size()}, bytes_of_text(state))
           .build();
     })},
    {"IndexOfTinyNames", index([] { return "\"weight_map\":{" + numbered(R"("#":"s")", kFileBytes) + "}"; })},
    {"IndexOfShards", index([] {
       return "\"weight_map\":{" + numbered(R"("#":"#0123456789012345678901234567890123456789")", kFileBytes) + "}";
     })},
    {"IndexOfLongNames", index([] {
       return "\"weight_map\":{" + numbered("\"#" + std::string(1000, 'n') + R"(":"s")", kFileBytes) + "}";
     })},
    {"IndexWithMetadata",
     index([] { return R"("metadata":[)" + repeated("[],", kFileBytes) + R"([]],"weight_map":{"a":"s"})"; })},
    {"IndexOfFullShards",
     [] {
       auto files = alone("model.safetensors.index.json", {});
       std::string map;
       for (int i = 0; i < 40; ++i) {
         const std::string shard = fmt::format("shard{}", i);
         map += fmt::format("{}\"t{}\":\"{}\"", i == 0 ? "" : ",", i, shard);
         const std::string named = fmt::format("\"t{}\":", i) + kEntry + "},";
         files.emplace_back(shard, header(named + numbered("\"" + shard + "#\":" + kEntry + "}", 7000 * 60)));
       }
       files[0].second = bytes_of_text("{\"weight_map\":{" + map + "}}");
       return files;
     }},
    {"GgufPairs", gguf([](GgufBuilder& b) {
       for (int i = 0; i < 200000; ++i) b.pair(fmt::format("{:x}", i), 0, {0});
     })},
    {"GgufStrings", gguf([](GgufBuilder& b) { b.pair("tokens", 9, string_array(800000)); })},
    {"GgufNames", gguf([](GgufBuilder& b) {
       for (int i = 0; i < 200000; ++i) b.tensor_at(fmt::format("{:x}", i), {0}, 0, 0);
     })},
    {"GgufAsManyNamesAsThereMayBe", gguf(fill_with_names)},
    {"GgufLayers", gguf(fill_with_layers)},
    {"OnnxLayers", onnx([](OnnxBuilder& b) { fill_with_matmulnbits(b, 16500, 0); })},
    {"OnnxManyLayers", onnx([](OnnxBuilder& b) {
       b.tensor("filler", {13u << 20}, onnx_u8, Bytes(13u << 20));  // so that so many entries are allowed
       fill_with_matmulnbits(b, 66000, 0);
     })},
    {"OnnxManyTensors", onnx([](OnnxBuilder& b) {
       b.tensor("filler", {18u << 20}, onnx_u8, Bytes(18u << 20));
       for (int i = 0; i < 132000; ++i) b.tensor(Message().text(8, fmt::format("{:x}", i)).integer(1, 0).integer(2, 1));
     })},
    {"OnnxLayersOfLongNames", onnx([](OnnxBuilder& b) { fill_with_matmulnbits(b, 15000, 1000); })},
    {"OnnxProducts", onnx([](OnnxBuilder& b) { fill_with_products(b, 10900, 0); })},
    {"OnnxProductsOfLongNames", onnx([](OnnxBuilder& b) { fill_with_products(b, 10900, 1000); })},
    {"OnnxBlocksOfOneTensor", onnx([](OnnxBuilder& b) { fill_with_blocks(b, 16500, 1); })},
    {"OnnxBlocksOfOneLongName", onnx([](OnnxBuilder& b) { fill_with_blocks(b, 15000, 1000); })},
    {"OnnxRowsOfOneTensor", onnx([](OnnxBuilder& b) {
       fill_with_matmulnbits(b, 1, 0);
       for (int i = 1; i < 32000; ++i) b.node(matmulnbits("0", i));
     })},
    {"OnnxWithoutCodes", onnx([](OnnxBuilder& b) {
       for (int i = 0; i < 32768; ++i) b.node(OnnxNodeBuilder("MatMulNBits", {"x", "y"}, {}, "", "com.microsoft"));
     })},
    {"OnnxTensors", onnx([](OnnxBuilder& b) {
       for (int i = 0; i < 33000; ++i) b.tensor(Message().text(8, fmt::format("{:x}", i)).integer(1, 0).integer(2, 1));
     })},
    {"OnnxTransposes", onnx([](OnnxBuilder& b) {
       b.tensor("s", {}, onnx_f32, Bytes(4)).tensor("w", {16, 1}, onnx_i4, Bytes(8));
       add_product(b, "w", 0, "0");
       for (int i = 0; i < 32000; ++i) {
         b.node(OnnxNodeBuilder("Transpose", {fmt::format("{:x}", i)}, {fmt::format("{:x}", i + 1)}));
       }
     })},
    {"ZwqTensors", zwq(20000, 1, 0)},
    {"ZwqManyTensors", zwq(66000, 8, 0)},
    {"ZwqLongNames", zwq(9000, 8, 1000)},
    {"ConfigOfArrays", config([] { return "\"a\":[" + repeated("[],", 900000) + "[]]"; })},
    {"ConfigOfNumbers", config([] { return "\"a\":[" + repeated("0,", 900000) + "0]"; })},
    {"ConfigOfKeys", config([] { return "\"a\":{" + numbered(R"("#":0)", 900000) + "}"; })},
    {"ConfigOfObjects", config([] { return "\"config_groups\":{" + numbered(R"("#":{})", 100000) + "}"; })},
    {"ConfigOfText", config([] { return "\"a\":\"" + std::string(900000, 'x') + "\""; })},
};

class HostileMemory : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "zenwoq_hostile_XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path folder_;
};

TEST_P(HostileMemory, IsThreeTimesTheFilesAnd16MiB) {
  std::size_t bytes = 0;
  std::string opened;
  {
    const auto files = GetParam().files();
    for (const auto& [name, content] : files) {
      std::ofstream(folder_ / name, std::ios::binary)
          .write(reinterpret_cast<const char*>(content.data()), static_cast<std::streamsize>(content.size()));
      bytes += content.size();
    }
    opened = (folder_ / files[0].first).string();
  }
  const std::size_t before = test::counted_bytes();
  test::start_counted_peak();
  zenwoq_checkpoint* checkpoint = nullptr;
  const zenwoq_status status = zenwoq_checkpoint_open(opened.c_str(), nullptr, &checkpoint);
  const std::size_t taken = test::counted_peak_bytes() - before;
  EXPECT_TRUE(status == ZENWOQ_OK || status == ZENWOQ_ERROR_BAD_FILE) << zenwoq_last_error();
  std::printf("%zu bytes of files took %zu of memory: %s\n", bytes, taken,
              status == ZENWOQ_OK ? "opened" : zenwoq_last_error());
  EXPECT_LE(taken, 3 * bytes + kOwnBytes);
  zenwoq_checkpoint_destroy(checkpoint);
  EXPECT_LE(test::counted_bytes(), before + 4096) << "memory that stays";
}

INSTANTIATE_TEST_SUITE_P(Files, HostileMemory, ::testing::ValuesIn(kCases),
                         [](const ::testing::TestParamInfo<Case>& info) { return info.param.name; });

// ---- time ----

// Adds one small layer of a format.
using AddLayer = std::function<void(SafetensorsBuilder&, const std::string& name)>;

struct Row {
  const char* name;
  const char* config;  // "quantization_config"
  AddLayer add;
};

void add_gptq(SafetensorsBuilder& b, const std::string& name) {
  b.tensor(name + ".qweight", "I32", {4, 8}, Bytes(128)).tensor(name + ".qzeros", "I32", {1, 1}, Bytes(4));
  b.tensor(name + ".scales", "F16", {1, 8}, Bytes(16));
}

void add_packed(SafetensorsBuilder& b, const std::string& name) {
  b.tensor(name + ".weight_packed", "I32", {1, 4}, Bytes(16)).tensor(name + ".weight_scale", "F16", {1, 1}, Bytes(2));
  b.tensor(name + ".weight_shape", "I64", {2}, bytes_of<std::int64_t>({1, 32}));
}

void add_int(SafetensorsBuilder& b, const std::string& name) {
  b.tensor(name + ".weight", "I8", {1, 32}, Bytes(32)).tensor(name + ".weight_scale", "F16", {1, 1}, Bytes(2));
}

void add_bitsandbytes(SafetensorsBuilder& b, const std::string& name) {
  const std::string state = R"({"blocksize":32,"shape":[1,32]})";
  b.tensor(name + ".weight", "U8", {16, 1}, Bytes(16)).tensor(name + ".weight.absmax", "F32", {1}, Bytes(4));
  b.tensor(name + ".weight.quant_map", "F32", {16}, Bytes(64));
  b.tensor(name + ".weight.quant_state.bitsandbytes__nf4", "U8", {state.size()}, bytes_of_text(state));
}

void add_mlx(SafetensorsBuilder& b, const std::string& name) {
  b.tensor(name + ".weight", "U32", {1, 4}, Bytes(16)).tensor(name + ".scales", "F16", {1, 1}, Bytes(2));
  b.tensor(name + ".biases", "F16", {1, 1}, Bytes(2));
}

void add_modelopt(SafetensorsBuilder& b, const std::string& name) {
  b.tensor(name + ".weight", "U8", {1, 16}, Bytes(16)).tensor(name + ".weight_scale", "F8_E4M3", {1, 2}, Bytes(2));
  b.tensor(name + ".weight_scale_2", "F32", {}, Bytes(4));
}

void add_gpt_oss(SafetensorsBuilder& b, const std::string& name) {
  b.tensor(name + "_blocks", "U8", {1, 1, 1, 16}, Bytes(16)).tensor(name + "_scales", "U8", {1, 1, 1}, Bytes(1));
}

void add_opaque(SafetensorsBuilder& b, const std::string& name) {
  b.tensor(name + "._weight_qdata", "U8", {16, 16}, Bytes(256));
  b.tensor(name + "._weight_scale_and_zero", "BF16", {1, 16, 2}, Bytes(64));
}

void add_intx(SafetensorsBuilder& b, const std::string& name) {
  b.metadata(name + ".weight", R"({"_type":"IntxUnpackedToInt8Tensor","_data":{"block_size":[1,32],"target_dtype":)"
                               R"({"_type":"torch.dtype","_data":"int4"},"activation_quantization":null}})");
  b.tensor(name + "._weight_qdata", "I8", {1, 32}, Bytes(32)).tensor(name + "._weight_scale", "F32", {1, 1}, Bytes(4));
  b.tensor(name + "._weight_zero_point", "I8", {1, 1}, Bytes(1));
}

const Row kRows[] = {
    {"Gptq", R"({"quant_method":"gptq","bits":4,"group_size":32,"sym":false})", add_gptq},
    {"GptqNotRead", R"({"quant_method":"gptq","bits":3,"group_size":32})", add_gptq},
    {"PackQuantized",
     R"({"quant_method":"compressed-tensors","format":"pack-quantized","config_groups":{"group_0":{"weights":{"num_bits":4,)"
     R"("type":"int","symmetric":true,"strategy":"group","group_size":32}}}})",
     add_packed},
    {"IntQuantized",
     R"({"quant_method":"compressed-tensors","format":"int-quantized","config_groups":{"group_0":{"weights":{"num_bits":4,)"
     R"("type":"int","symmetric":true,"strategy":"group","group_size":32}}}})",
     add_int},
    {"Bitsandbytes", "{}", add_bitsandbytes},
    {"Mlx", R"({"bits":4,"group_size":32})", add_mlx},
    {"Modelopt", "{}", add_modelopt},
    {"GptOss", "{}", add_gpt_oss},
    {"TorchaoOpaque", "{}", add_opaque},
    {"TorchaoIntx", "{}", add_intx},
};

// Seconds of this thread to open what has so many layers, the shortest of three times.
double seconds_of(const FileMap& files, const std::string& name, std::size_t entries) {
  double shortest = 1e9;
  for (int i = 0; i < 3; ++i) {
    timespec begin{}, end{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
    const auto checkpoint = open_files(files, name);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
    EXPECT_EQ(checkpoint->layers().size() + checkpoint->left_alone().size(), entries);
    shortest = std::min(shortest, static_cast<double>(end.tv_sec - begin.tv_sec) +
                                      static_cast<double>(end.tv_nsec - begin.tv_nsec) * 1e-9);
  }
  return shortest;
}

constexpr std::size_t kFew = 2000, kMany = 4 * kFew;

void expect_in_proportion(const std::function<double(std::size_t)>& seconds_of_layers) {
  const double few = seconds_of_layers(kFew), many = seconds_of_layers(kMany);
  std::printf("%zu layers %.1f ms, %zu layers %.1f ms\n", kFew, few * 1e3, kMany, many * 1e3);
  EXPECT_LT(many, 8 * few + 0.02);
}

class HostileTime : public ::testing::TestWithParam<Row> {};

TEST_P(HostileTime, IsInProportionToTheLayers) {
  expect_in_proportion([](std::size_t layers) {
    SafetensorsBuilder builder;
    for (std::size_t i = 0; i < layers; ++i) GetParam().add(builder, fmt::format("model.layers.{}.mlp", i));
    builder.tensor("filler", "U8", {16u << 20}, Bytes(16u << 20));  // so that so many entries are allowed
    FileMap files;
    files["m"] = builder.build();
    files["config.json"] = bytes_of_text(std::string(R"({"quantization_config":)") + GetParam().config + "}");
    return seconds_of(files, "m", layers + 1);
  });
}

INSTANTIATE_TEST_SUITE_P(Formats, HostileTime, ::testing::ValuesIn(kRows),
                         [](const ::testing::TestParamInfo<Row>& info) { return info.param.name; });

TEST(HostileTime, OfGgufIsInProportionToTheLayers) {
  expect_in_proportion([](std::size_t layers) {
    GgufBuilder builder;
    for (std::size_t i = 0; i < layers; ++i) {
      builder.tensor(fmt::format("blk.{}.weight", i), {32, 1}, ggml_q4_0, Bytes(18));
      builder.tensor(fmt::format("blk.{}.bias", i), {1}, 0, Bytes(4));
    }
    builder.tensor("filler", {16u << 20}, 24, Bytes(16u << 20));
    FileMap files;
    files["m"] = builder.build();
    return seconds_of(files, "m", layers + 1);
  });
}

TEST(HostileTime, OfShardsIsInProportionToTheLayers) {
  expect_in_proportion([](std::size_t layers) {
    constexpr std::size_t kInAShard = 40;
    FileMap files;
    std::string map;
    for (std::size_t shard = 0; shard < layers / kInAShard; ++shard) {
      SafetensorsBuilder builder;
      for (std::size_t i = 0; i < kInAShard; ++i) {
        const std::string name = fmt::format("model.layers.{}.mlp", shard * kInAShard + i);
        add_gpt_oss(builder, name);
        for (const char* part : {"_blocks", "_scales"}) map += fmt::format(R"("{}{}":"s{}",)", name, part, shard);
      }
      builder.tensor(fmt::format("filler{}", shard), "U8", {1u << 17}, Bytes(1u << 17));
      map += fmt::format(R"("filler{0}":"s{0}",)", shard);
      files[fmt::format("s{}", shard)] = builder.build();
    }
    map.pop_back();
    files["m.index.json"] = bytes_of_text("{\"weight_map\":{" + map + "}}");
    return seconds_of(files, "m.index.json", layers + layers / kInAShard);
  });
}

}  // namespace
}  // namespace zenwoq::formats::testing
