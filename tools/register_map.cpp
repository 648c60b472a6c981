// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The register map of a kernel, from what the generator says about its registers.
#include "tools/register_map.h"

#include <fmt/format.h>

#include "jit/jit.h"

namespace zenwoq::tools {
namespace {

bool is_sum(const RegisterUse& use) { return use.row >= 0; }

// Whether b goes on the same line as a.
bool same_line(const RegisterUse& a, const RegisterUse& b) {
  return a.scope == b.scope && std::string(a.role) == b.role && a.row == b.row;
}

}  // namespace

std::string register_map(const KernelKey& key) {
  std::string text = "; vector registers (a strip is 16 columns)\n";
  RegisterUse last{"", "", "", -1, -1};
  for (const RegisterUse& use : registers(key)) {
    if (same_line(last, use)) {
      text += is_sum(use) ? fmt::format("  {:<5}", use.place) : " " + use.place;
    } else {
      text.erase(text.find_last_not_of(" \n") + 1);
      text += '\n';
      const bool first_of_scope = std::string(use.scope) != last.scope;
      if (first_of_scope && use.scope[0] != '\0') text += fmt::format(";   {}:\n", use.scope);
      const bool first_of_role = first_of_scope || std::string(use.role) != last.role;
      const std::string role = fmt::format("{}{}", use.scope[0] == '\0' ? "" : "  ", first_of_role ? use.role : "");
      text += fmt::format(";   {:<12}", role);
      text += is_sum(use) ? fmt::format("row {:<2}   {:<5}", use.row, use.place) : use.place;
    }
    last = use;
  }
  text.erase(text.find_last_not_of(' ') + 1);
  return text + '\n';
}

std::map<std::string, std::string> sum_registers(const KernelKey& key) {
  std::map<std::string, std::string> names;
  for (const RegisterUse& use : registers(key)) {
    if (!is_sum(use)) continue;
    names[use.place] = fmt::format("{} row {}, columns {}..{}", use.role, use.row, use.strip * 16, use.strip * 16 + 15);
  }
  return names;
}

}  // namespace zenwoq::tools
