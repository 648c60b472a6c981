// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The one option of reading checkpoints, for every command that reads some.
#pragma once

#include <CLI/CLI.hpp>
#include <map>
#include <string>

#include "formats/contents.h"

namespace zenwoq::tools {

inline void add_opaque_layout_option(CLI::App& command, formats::ReadOptions& read) {
  using Layout = formats::ReadOptions::OpaqueLayout;
  const std::map<std::string, Layout> layouts = {{"avx512", Layout::avx512}, {"avx2", Layout::avx2}};
  command.add_option("--opaque-layout", read.opaque_layout, "what wrote TorchAO opaque weights: avx512, avx2")
      ->transform(CLI::CheckedTransformer(layouts));
}

}  // namespace zenwoq::tools
