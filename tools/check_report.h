// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// What zenwoq check found in all layers of all files: as text, as JSON, as a verdict.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "tools/check_layer.h"
#include "tools/commands.h"
#include "tools/cpu_info.h"
#include "tools/json_output.h"
#include "zenwoq/zenwoq.h"

namespace zenwoq::tools {

struct LeftAloneIn {
  std::string file;
  LeftAlone tensor;
};

struct CheckReport {
  std::vector<std::string> files;
  CpuInfo cpu{};  // of the context under test
  std::vector<LayerCheck> layers;
  std::vector<LeftAloneIn> left_alone;
  std::uint64_t kernels_generated = 0;
  double jit_us_total = 0;
  double seconds = 0;

  std::optional<bool> bits_equal() const;  // false if a layer differs, else empty if one ran no generated kernels
  double max_error_over_bound() const;
  double pack_gb_per_s() const;                      // packed bytes of all layers over the time to pack them
  std::map<std::string, KernelUse> kernels() const;  // of all layers, by name
};

struct Verdict {
  ExitCode exit_code;
  std::string text;  // one line
};

Verdict verdict(const CheckReport& report, bool allow_reference);

void print_report(const CheckReport& report, const Verdict& verdict);
Json report_json(const CheckReport& report, const Verdict& verdict);

}  // namespace zenwoq::tools
