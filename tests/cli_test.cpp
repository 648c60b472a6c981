// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The tool as its users run it: exit codes, one line on stderr, the keys of the JSON, and dumps that equal the
// library's bytes.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <tuple>
#include <vector>

#include "zenwoq/zenwoq.h"

namespace zenwoq::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

struct Outcome {
  int exit_code = -1;
  std::string out, err;
};

std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr) ADD_FAILURE() << "the environment variable " << name << " is not set";
  return value == nullptr ? "" : value;
}

// Runs the tool in a folder for the test's own files, which is removed at the end.
class Cli : public testing::Test {
 protected:
  Cli() {
    std::string name = (fs::temp_directory_path() / "zenwoq_cli_XXXXXX").string();
    folder_ = mkdtemp(name.data());
  }
  ~Cli() override { fs::remove_all(folder_); }

  // Arguments as a shell takes them.
  Outcome run(const std::string& arguments) const {
    const std::string out = path("stdout");
    const std::string err = path("stderr");
    const std::string command =
        "'" + environment("ZENWOQ_TOOL") + "' " + arguments + " >'" + out + "' 2>'" + err + "' </dev/null";
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_file(out), read_file(err)};
  }
  json run_json(const std::string& arguments, int exit_code = 0) const {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.exit_code, exit_code) << outcome.err;
    return json::parse(outcome.out, nullptr, false);
  }
  // Expects exit code 2 and one line that contains `text`.
  void expect_refusal(const std::string& arguments, const std::string& text) const {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.exit_code, 2) << arguments << "\n" << outcome.out;
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    EXPECT_NE(outcome.err.find(text), std::string::npos) << outcome.err;
  }

  std::string path(const std::string& name) const { return folder_ + "/" + name; }
  std::string fixture(const std::string& name) const { return environment("ZENWOQ_FIXTURES") + "/" + name; }
  void write(const std::string& name, const std::string& bytes) const {
    std::ofstream(path(name), std::ios::binary) << bytes;
  }

 private:
  std::string folder_;
};

void expect_keys(const json& object, const std::vector<const char*>& keys) {
  ASSERT_TRUE(object.is_object()) << object;
  for (const char* key : keys) EXPECT_TRUE(object.contains(key)) << key << " is missing in " << object.dump(1);
}

bool kernels_run_here(const json& cpu) { return cpu.at("isa") != "reference"; }

TEST_F(Cli, InfoSaysWhatRunsAndWhy) {
  const json info = run_json("info --json");
  expect_keys(info, {"version", "arithmetic_version", "packed_version", "cpu"});
  EXPECT_EQ(info.at("version"), zenwoq_version());
  expect_keys(info.at("cpu"), {"vendor", "brand", "uarch", "family", "model", "stepping", "avx2_fma", "avx512bf16",
                               "l1d_bytes", "l2_bytes", "l3_bytes", "cache_source", "threads", "tuning", "isa",
                               "isa_reason", "code_memory", "tiers"});
  EXPECT_EQ(info.at("cpu").at("isa_reason").get<std::string>().empty(), info.at("cpu").at("isa") == "avx512bf16");
  expect_keys(info.at("cpu").at("tiers"), {"avx512bf16", "avx2", "reference"});
  EXPECT_EQ(info.at("cpu").at("tiers").at(info.at("cpu").at("isa").get<std::string>()), "") << "it runs";
  EXPECT_NE(run("info").out.find("tier"), std::string::npos);
}

TEST_F(Cli, InfoOfFilesAddsUpLayersAndWhatIsLeft) {
  const json info = run_json("info --json '" + fixture("formats/gguf/mixed_q4_k_m/model.gguf") + "' '" +
                             fixture("formats/mxfp4/gpt_oss") + "'");
  expect_keys(info, {"version", "files"});
  ASSERT_EQ(info.at("files").size(), 2u);
  for (const json& file : info.at("files")) {
    expect_keys(file, {"file", "layers", "left_alone", "total", "parameters"});
    std::uint64_t weights = 0, packed = 0, source = 0;
    for (const json& layer : file.at("layers")) {
      expect_keys(layer, {"name", "format", "quantization", "experts", "n", "k", "bias", "weights", "packed_bytes",
                          "source_bytes", "bits_per_weight", "source_bits_per_weight"});
      const std::uint64_t layer_weights = layer.at("n").get<std::uint64_t>() * layer.at("k").get<std::uint64_t>() *
                                          layer.at("experts").get<std::uint64_t>();
      EXPECT_EQ(layer.at("weights"), layer_weights);
      EXPECT_DOUBLE_EQ(layer.at("bits_per_weight").get<double>(),
                       layer.at("packed_bytes").get<double>() * 8 / static_cast<double>(layer_weights));
      weights += layer_weights;
      packed += layer.at("packed_bytes").get<std::uint64_t>();
      source += layer.at("source_bytes").get<std::uint64_t>();
    }
    const json& total = file.at("total");
    EXPECT_EQ(total.at("weights"), weights);
    EXPECT_EQ(total.at("packed_bytes"), packed);
    EXPECT_EQ(total.at("source_bytes"), source);
    const json& parameters = file.at("parameters");
    EXPECT_EQ(parameters.at("layers"), weights);
    EXPECT_EQ(parameters.at("total"),
              weights + parameters.at("biases").get<std::uint64_t>() + parameters.at("dense").get<std::uint64_t>());
  }
  const json& gguf = info.at("files")[0];
  for (const json& layer : gguf.at("layers")) {
    if (layer.at("format") == "gguf q4_k") EXPECT_DOUBLE_EQ(layer.at("source_bits_per_weight").get<double>(), 4.5);
  }
  std::uint64_t dense = 0;
  bool has_q6_k = false;
  for (const json& group : gguf.at("left_alone")) {
    expect_keys(group, {"reason", "tensors", "values", "bytes", "names"});
    EXPECT_EQ(group.at("tensors"), group.at("names").size());
    dense += group.at("values").get<std::uint64_t>();
    if (group.at("reason") != "q6_k, unpacked to f32: no kernel for it") continue;
    has_q6_k = true;
    EXPECT_EQ(group.at("values").get<std::uint64_t>() / 256 * 210, group.at("bytes")) << "210 bytes of 256 values";
  }
  EXPECT_TRUE(has_q6_k);
  EXPECT_EQ(gguf.at("parameters").at("dense"), dense);
  const std::string text = run("info '" + fixture("formats/gguf/mixed_q4_k_m/model.gguf") + "'").out;
  EXPECT_NE(text.find("bits a weight packed, 4.5"), std::string::npos) << text;
  EXPECT_NE(text.find("q6_k, unpacked to f32"), std::string::npos) << text;
  expect_refusal("info '" + path("absent.gguf") + "'", "absent.gguf");
}

TEST_F(Cli, CheckLooksAtAllExpertsOrSaysThatItDoesNot) {
  const std::string whole = fixture("formats/mxfp4/gpt_oss/model.safetensors");
  const json report = run_json("check --json --allow-reference '" + whole + "'");
  ASSERT_FALSE(report.at("layers").empty());
  for (const json& layer : report.at("layers")) {
    EXPECT_GT(layer.at("experts"), 1);
    EXPECT_EQ(layer.at("experts"), layer.at("experts_checked"));
  }
  std::string bytes = read_file(whole);
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), sizeof header_bytes);
  const json header = json::parse(bytes.substr(sizeof header_bytes, header_bytes));
  for (const auto& tensor : header.items()) {  // the last scale of the last expert is none
    if (!tensor.key().ends_with("_scales")) continue;
    bytes[sizeof header_bytes + header_bytes + tensor.value().at("data_offsets")[1].get<std::size_t>() - 1] = '\xFF';
  }
  write("model.safetensors", bytes);
  const std::string damaged = "'" + path("model.safetensors") + "'";
  expect_refusal("check --allow-reference " + damaged, "expert ");
  const Outcome limited = run("check --allow-reference --experts 1 " + damaged);
  EXPECT_EQ(limited.exit_code, 0) << limited.err;
  EXPECT_NE(limited.out.find("experts were NOT checked (--experts)"), std::string::npos) << limited.out;
}

TEST_F(Cli, CheckOfAModelInEveryFormat) {
  const std::vector<std::pair<std::string, std::size_t>> files = {{"attention.gguf", 3},
                                                                  {"mixed.gguf", 2},
                                                                  {"torchao_intx.safetensors", 3},
                                                                  {"opaque_avx512.safetensors", 1},
                                                                  {"sharded/model.safetensors.index.json", 7}};
  for (const auto& file : files) {
    const json report = run_json("check --json --allow-reference '" + fixture(file.first) + "'");
    expect_keys(report, {"files", "cpu", "passed", "verdict", "bits_equal", "max_error_over_bound", "kernels_generated",
                         "jit_us_total", "pack_gb_per_s", "seconds", "layers", "kernels", "left_alone"});
    const bool kernels_run = kernels_run_here(report.at("cpu"));
    EXPECT_EQ(report.at("bits_equal"), kernels_run ? json(true) : json(nullptr));
    EXPECT_EQ(report.at("kernels_generated") != 0, kernels_run);
    EXPECT_GT(report.at("max_error_over_bound"), 0.0);
    EXPECT_LE(report.at("max_error_over_bound"), 1.0);
    ASSERT_EQ(report.at("layers").size(), file.second) << file.first;
    for (const json& layer : report.at("layers")) {
      expect_keys(layer, {"file", "name", "format", "n", "k", "error", "quantization", "bias", "unpacks_exactly",
                          "bits_equal", "difference", "max_error_over_bound", "kernels", "packed_bytes",
                          "pack_gb_per_s", "m1_us", "m1_gb_per_s"});
      EXPECT_EQ(layer.at("unpacks_exactly"), true);
    }
  }
}

TEST_F(Cli, ConvertAndCheck) {
  const std::string in = "'" + fixture("mixed.gguf") + "'", out = path("mixed.zwq");
  const json converted = run_json("convert --json " + in + " -o '" + out + "'");
  expect_keys(converted, {"file", "output", "layers", "tensors", "packed_bytes", "bytes", "seconds", "left_out"});
  EXPECT_EQ(converted.at("layers"), 2u);
  EXPECT_EQ(converted.at("tensors"), 2u);
  EXPECT_EQ(converted.at("left_out"), json::array());
  EXPECT_EQ(converted.at("bytes"), fs::file_size(out));
  EXPECT_EQ(read_file(out), read_file(fixture("zwq/mixed.zwq")));
  EXPECT_EQ(run_json("check --json --allow-reference '" + out + "'").at("layers").size(), 2u);
  EXPECT_NE(run("convert " + in + " -o '" + out + "'").out.find("2 layers"), std::string::npos);
}

TEST_F(Cli, ConvertRefusesLossesAndCheckDamage) {
  const std::string header = R"({"a":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}})";
  const std::string length = {static_cast<char>(header.size()), 0, 0, 0, 0, 0, 0, 0};
  write("lossy.safetensors", length + header + std::string(8, '\0'));
  const std::string arguments = "convert '" + path("lossy.safetensors") + "' -o '" + path("lossy.zwq") + "'";
  expect_refusal(arguments, "lossy.safetensors: 1 of its tensors cannot be in a .zwq file, the first is a (1-D i64)");
  EXPECT_FALSE(fs::exists(path("lossy.zwq")));
  EXPECT_NE(run(arguments + " --skip").out.find("left out: a: 1-D i64"), std::string::npos);
  EXPECT_EQ(run_json(arguments + " --skip --json").at("left_out")[0].at("name"), "a");
  expect_refusal("convert '" + fixture("mixed.gguf") + "' -o '" + path("none/a.zwq") + "'",
                 "No such file or directory");
  expect_refusal("convert '" + fixture("mixed.gguf") + "' -o /dev/full", "is not a regular file");
  expect_refusal("convert '" + fixture("mixed.gguf") + "'", "--output is required");
  std::string bytes = read_file(fixture("zwq/mixed.zwq"));
  bytes[bytes.size() - 1000] ^= 1;
  write("damaged.zwq", bytes);
  expect_refusal("check '" + path("damaged.zwq") + "'", "damaged");
  bytes.resize(bytes.size() - 1);
  write("cut.zwq", bytes);
  expect_refusal("check '" + path("cut.zwq") + "'", "cut off?");
}

TEST_F(Cli, CheckWithTheOtherOpaqueLayout) {
  const std::string options = "check --json --allow-reference --opaque-layout avx2 ";
  EXPECT_EQ(run_json(options + "'" + fixture("opaque_avx2.safetensors") + "'").at("layers").size(), 1u);
}

TEST_F(Cli, CheckFailsWhereOnlyTheReferenceRuns) {
  const std::string file = " '" + fixture("attention.gguf") + "'";
  const Outcome capped = run("check --json" + file);
  if (kernels_run_here(json::parse(capped.out).at("cpu"))) GTEST_SKIP() << "generated kernels run on this machine";
  EXPECT_EQ(capped.exit_code, 1);
  EXPECT_NE(capped.err.find("--allow-reference"), std::string::npos);
  EXPECT_NE(run("check" + file).out.find("FAILED"), std::string::npos);
  EXPECT_EQ(run("check --allow-reference" + file).exit_code, 0);
}

TEST_F(Cli, CheckPrintsNoProgressWhereThereIsNoTerminal) {
  const Outcome outcome = run("check --allow-reference '" + fixture("attention.gguf") + "'");
  EXPECT_EQ(outcome.err, "");
  EXPECT_EQ(outcome.out.find('\r'), std::string::npos);
  EXPECT_NE(outcome.out.find("blk.0.attn_q"), std::string::npos);
}

TEST_F(Cli, FilesThatCannotBeRead) {
  expect_refusal("check '" + path("absent.gguf") + "'", "absent.gguf");
  const std::string whole = read_file(fixture("attention.gguf"));
  write("cut.gguf", whole.substr(0, whole.size() / 2));
  expect_refusal("check --json '" + path("cut.gguf") + "'", "cut.gguf");
  write("text.safetensors", "this is no checkpoint, whatever its name says");
  expect_refusal("check '" + fixture("attention.gguf") + "' '" + path("text.safetensors") + "'", "text.safetensors");
  expect_refusal("kernels '" + path("cut.gguf") + "'", "cut.gguf");
  expect_refusal("dump --layer x '" + path("cut.gguf") + "'", "cut.gguf");
}

TEST_F(Cli, CheckOfAFileWithoutLayersFails) {
  const json report = run_json("check --json '" + fixture("expected_gguf.safetensors") + "'", 1);
  EXPECT_EQ(report.at("layers").size(), 0u);
  EXPECT_EQ(report.at("bits_equal"), nullptr);
  EXPECT_GT(report.at("left_alone").size(), 0u);
}

TEST_F(Cli, BadUsage) {
  expect_refusal("", "--help");
  expect_refusal("frobnicate", "frobnicate");
  expect_refusal("check", "FILE");
  expect_refusal("check --threads many x", "threads");
  expect_refusal("check --opaque-layout vsx x", "vsx");
  expect_refusal("kernels", "--shape");
  expect_refusal("kernels --shape 64,64", "N,K,GROUP");
  expect_refusal("kernels --shape 64,64,32x", "N,K,GROUP");
  expect_refusal("kernels --shape 64,64,7", "group_size");
  expect_refusal("kernels --shape 64,64,32 --tuning zen9", "zen9");
  expect_refusal("kernels --shape 64,64,32 --tier reference", "reference");
  expect_refusal("kernels --shape 64,64,32 --m 0", "0");
  expect_refusal("kernels --shape 64,64,32 --activation swish", "swish");
  expect_refusal("kernels --shape 64,64,32 --add 3", "3");
  expect_refusal("dump --activation silu gemm_bf16_t4", "--layer");
  expect_refusal("dump --layer blk.0.attn_q --gated --mul '" + fixture("attention.gguf") + "'", "neither mul nor add");
  expect_refusal("dump gemm_bf16_t4", "gemm_bf16_t4");
  expect_refusal("dump gemm_bf16_t4_g128_k4096_sbf16_z0_m6x8_yf32_avx512bf16_p4096", "m6x8");
  expect_refusal("dump --layer nothing '" + fixture("attention.gguf") + "'", "nothing");
  EXPECT_EQ(run("--help").exit_code, 0);
  for (const char* command : {"info", "check", "convert", "kernels", "dump"}) {
    const Outcome help = run(std::string(command) + " --help");
    EXPECT_EQ(help.exit_code, 0);
    EXPECT_NE(help.out.find("Example: zenwoq " + std::string(command)), std::string::npos);
  }
}

TEST_F(Cli, AnUnknownTierInTheEnvironmentIsRefused) {
  setenv("ZENWOQ_TIER", "avx1024", 1);
  expect_refusal("info", "ZENWOQ_TIER");
  setenv("ZENWOQ_TIER", "reference", 1);
  EXPECT_EQ(run_json("info --json").at("cpu").at("isa"), "reference");
  unsetenv("ZENWOQ_TIER");
}

TEST_F(Cli, KernelsOfShapesAndFiles) {
  const json shape = run_json("kernels --json --shape 4096,4096,128 --m 1,33 --tuning zen5 --bias --output bf16");
  EXPECT_EQ(shape.at("tuning"), "zen5");
  ASSERT_GE(shape.at("kernels").size(), 2u);
  for (const json& kernel : shape.at("kernels")) {
    expect_keys(kernel, {"name", "m", "layers", "code_bytes", "emit_us", "refused"});
    const std::string name = kernel.at("name");
    EXPECT_TRUE(name.starts_with("gemm_bf16_t4_g128_k4096_sbf16_z0_m") &&
                name.find("_ybf16_bias_avx512bf16") != std::string::npos)
        << name;
    std::size_t code_bytes = 0;
    ASSERT_EQ(zenwoq_kernel_emit(name.c_str(), nullptr, 0, &code_bytes), ZENWOQ_OK);
    EXPECT_EQ(kernel.at("code_bytes"), code_bytes);
  }
  for (const auto& [options, tuning, tier] : {std::tuple("--tuning zen3", "zen3", "avx2"),
                                              {"--tuning zen5", "zen5", "avx512bf16"},
                                              {"--tuning zen5 --tier avx2", "zen5", "avx2"},
                                              {"--tuning generic --tier avx512bf16", "generic", "avx512bf16"}}) {
    const json list = run_json(std::string("kernels --json --shape 64,64,32 --m 1 ") + options);
    EXPECT_EQ(list.at("tuning"), tuning) << options;
    EXPECT_EQ(list.at("tier"), tier) << options;
    const std::string name = list.at("kernels")[0].at("name");
    EXPECT_NE(name.find(std::string("_") + tier), std::string::npos) << options << ": " << name;
  }
  for (const auto& [options, words] : {std::tuple("--activation relu", "_yf32_relu_"),
                                       {"--mul --add 2", "_yf32_mul_add2_"},
                                       {"--bias --activation gelutanh --add 1", "_yf32_bias_gelutanh_add_"},
                                       {"--gated", "gu_yf32_avx"},
                                       {"--activation silu --gated", "gu_yf32_silu_"},
                                       {"--activation swigluoai --gated", "gu_yf32_swigluoai_"}}) {
    const json list = run_json(std::string("kernels --json --shape 64,64,32 --m 1,99 --tuning zen3 ") + options);
    ASSERT_GE(list.at("kernels").size(), 2u);
    for (const json& kernel : list.at("kernels")) {
      const std::string name = kernel.at("name");
      EXPECT_NE(name.find(words), std::string::npos) << options << ": " << name;
    }
  }
  for (const auto& [folder, words] : {std::pair("modelopt", "_yf32_ts_"), {"compressed_tensors", "_yf32_td_"}}) {
    const std::string model = fixture(std::string("formats/") + folder + "/nvfp4/model.safetensors");
    const std::string name = run_json("kernels --json --m 1 '" + model + "'").at("kernels").at(0).at("name");
    EXPECT_NE(name.find(words), std::string::npos) << name;
  }
  const json file = run_json("kernels --json --m 1 '" + fixture("attention.gguf") + "'");
  ASSERT_GE(file.at("kernels").size(), 1u);
  EXPECT_EQ(file.at("kernels")[0].at("layers").size(), 3u);
  EXPECT_EQ(run("kernels --shape 64,4194304,pc").exit_code, 1) << "no kernel has so large a K";
}

std::string hex(const std::vector<unsigned char>& bytes) {
  std::string text;
  for (const unsigned char byte : bytes) {
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", byte);
    text += digits;
  }
  return text;
}

std::vector<unsigned char> emitted(const std::string& name) {
  std::size_t bytes = 0;
  EXPECT_EQ(zenwoq_kernel_emit(name.c_str(), nullptr, 0, &bytes), ZENWOQ_OK) << zenwoq_last_error();
  std::vector<unsigned char> code(bytes);
  EXPECT_EQ(zenwoq_kernel_emit(name.c_str(), code.data(), code.size(), &bytes), ZENWOQ_OK);
  return code;
}

TEST_F(Cli, DumpsAreTheLibrarysBytes) {
  for (const std::string habits : {"", "_df_p4096e2t1", "_df_xs"}) {
    for (const std::string key :
         {"gemm_bf16_t4_g128_k4096_sbf16_z0_m1x4_yf32", "gemm_bf16_t4_g32_k576_sf16_za_m6x2_ybf16_bias",
          "gemm_bf16_t4_pc_k1531_sf32_zi_m4x4_yf32"}) {
      const std::string name = key + "_avx512bf16" + habits;
      const json kernels = run_json("dump --json " + name).at("kernels");
      ASSERT_EQ(kernels.size(), 1u);
      EXPECT_EQ(kernels[0].at("name"), name);
      EXPECT_EQ(kernels[0].at("code"), hex(emitted(name)));
      const std::string listing = run("dump " + name).out;
      EXPECT_NE(listing.find("; " + name), std::string::npos);
      EXPECT_NE(listing.find("\nunit:\n"), std::string::npos) << listing;
      EXPECT_NE(listing.find("jnle unit"), std::string::npos) << listing;
      EXPECT_NE(listing.find("vdpbf16ps zmm0"), std::string::npos);
      EXPECT_NE(listing.find("; acc row 0, columns 0..15"), std::string::npos);
    }
  }
}

TEST_F(Cli, DumpsSayTheEpilogue) {
  const auto head = [this](const std::string& middle) {
    const std::string name = "gemm_bf16_t4_g128_k4096_sbf16_z0_" + middle;
    const std::string listing = run("dump " + name).out;
    EXPECT_NE(listing.find("; " + name), std::string::npos);
    return listing.substr(0, listing.find("endbr64"));
  };
  const auto expect = [&](const std::string& middle, const char* text) {
    EXPECT_NE(head(middle).find(text), std::string::npos) << head(middle);
    EXPECT_NE(head(middle).find("total     in memory, row after row"), std::string::npos) << head(middle);
  };
  for (const std::string tier : {"avx512bf16", "avx2"}) {
    expect("m1x4_ybf16_ts_bias_gelutanh_mul_add2_" + tier,
           "output bf16, tensor scale, bias, gelutanh, times a factor, plus two residuals\n");
    expect("m1x4_ybf16_add_" + tier, "output bf16, plus a residual\n");
    expect("m1x4gu_yf32_bias_silu_" + tier, "output f32, bias, silu of gate, times up\n");
    expect("m1x4gu_yf32_" + tier, "1 rows x 64 columns a pass of gate and of up; K = 4096");
    expect("m1x4gu_yf32_" + tier, "output f32, gate times up\n");
    expect("m1x4gu_yf32_swigluoai_" + tier, "output f32, swigluoai of gate and up\n");
  }
  expect("m6x1scgu_ybf16_silu_avx2", "output bf16, silu of gate, times up\n");
  const json kernel =
      run_json("dump --json gemm_bf16_i4_pc_k64_sf32_z0_m6x2sc_yf32_gelu_mul_add_avx2").at("kernels")[0];
  EXPECT_EQ(kernel.at("activation"), "gelu");
  EXPECT_EQ(kernel.at("factor"), true);
  EXPECT_EQ(kernel.at("residuals"), 1);
  EXPECT_EQ(kernel.at("tile"), (json{{"rows", 6}, {"strips", 2}, {"scratch", true}, {"gated", false}}));
  const json layer = run_json("dump --json --layer blk.0.attn_q --tuning zen4 --activation silu --gated '" +
                              fixture("attention.gguf") + "'")
                         .at("kernels")[0];
  EXPECT_EQ(layer.at("activation"), "silu");
  EXPECT_EQ(layer.at("tile").at("gated"), true);
}

TEST_F(Cli, DumpOfALayerWritesFiles) {
  const std::string target = path("kernels");
  const json dump = run_json("dump --json --layer blk.0.attn_q --m 33 --tuning zen4 --output-dir '" + target + "' '" +
                             fixture("attention.gguf") + "'");
  ASSERT_GE(dump.at("kernels").size(), 1u);
  for (json kernel : dump.at("kernels")) {
    const std::string name = kernel.at("name");
    expect_keys(kernel, {"isa",        "activation_type",    "code_bits",    "k",           "group",    "per_channel",
                         "scale_type", "zero_kind",          "tile",         "output_type", "bias",     "activation",
                         "factor",     "residuals",          "decode_first", "share_x",     "prefetch", "code_bytes",
                         "version",    "arithmetic_version", "code"});
    const std::string bytes = read_file(target + "/" + name + ".bin");
    EXPECT_EQ(hex({bytes.begin(), bytes.end()}), kernel.at("code"));
    EXPECT_NE(read_file(target + "/" + name + ".lst").find("unit:"), std::string::npos);
    kernel.erase("code");
    EXPECT_EQ(json::parse(read_file(target + "/" + name + ".json")), kernel);
  }
}

}  // namespace
}  // namespace zenwoq::test
