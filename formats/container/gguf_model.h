// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The tensors of a GGUF model, which may lie in several files.
#pragma once

#include <string>
#include <vector>

#include "formats/container/byte_view.h"
#include "formats/container/files.h"
#include "formats/container/gguf_file.h"

namespace zenwoq::formats {

// `where` names the file in messages. If it is one of several, `files` has the others, which are called like it. Throws
// ReadError.
std::vector<GgufTensor> read_gguf_model(ByteView file, const std::string& where, const std::string& file_name,
                                        Files& files);

}  // namespace zenwoq::formats
