// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// All that the files of a checkpoint hold, before anybody knows what it means.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "formats/config.h"
#include "formats/container/files.h"
#include "formats/container/gguf_file.h"
#include "formats/container/onnx_file.h"
#include "formats/container/tensor_set.h"

namespace zenwoq::formats {

struct ReadOptions {
  enum class OpaqueLayout { avx512, avx2 } opaque_layout = OpaqueLayout::avx512;
};

struct Contents {
  Contents(std::string where_, Files& files, const ReadOptions& options_)
      : where(std::move(where_)), options(options_), files_(files) {}

  // Read when a format first asks for it: a checkpoint that needs none may lie beside any config.json. Throws
  // ReadError.
  const JsonFields& quantization_config() {
    if (!config_) config_ = read_quantization_config(files_);
    return *config_;
  }

  std::string where;  // the file that was opened, as messages name it
  ReadOptions options;
  TensorSet set;                   // of safetensors files
  std::vector<GgufTensor> gguf;    // of GGUF files
  OnnxModel onnx;                  // of an ONNX file
  ByteView zwq;                    // all of a .zwq file
  std::optional<ByteView> config;  // config.json, where the file itself has it

 private:
  Files& files_;
  std::optional<JsonFields> config_;
};

}  // namespace zenwoq::formats
