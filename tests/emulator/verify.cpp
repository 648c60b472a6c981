// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Rules for emitted code that can be checked without running it.
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "tests/emulator/operation.h"

namespace zenwoq::emulator {
namespace {

constexpr std::pair<Features, const char*> kFeatureNames[] = {
    {kAvx2, "AVX2"}, {kAvx512, "AVX-512"}, {kAvx512Bf16, "AVX-512 BF16"}, {kAvx512Vnni, "AVX-512 VNNI"}};

bool uses_upper_state(const Op& op) {
  return std::any_of(op.operand.begin(), op.operand.end(),
                     [](const Operand& operand) { return operand.kind == Kind::vector && operand.bytes > 16; });
}

// What is wrong with an instruction by itself.
std::vector<std::string> problems_of(const Op& op, Features allowed) {
  if (!is_known(op)) return {"not among the instructions that a kernel may use"};
  std::vector<std::string> problems;
  for (const auto& [feature, name] : kFeatureNames) {
    if ((op.needs & feature & ~allowed) != 0) {
      problems.push_back(fmt::format("needs {}, which this kernel may not use", name));
    }
  }
  // It faults on masked-off bytes too, so a tail must not rely on its mask.
  if (op.mnemonic == M(VPSHUFB) && op.mask != 0 && op.operand[2].kind == Kind::memory) {
    problems.push_back("masked byte shuffle with a memory operand");
  }
  // An emitted address would make the bytes depend on the process that emitted them.
  const auto value = static_cast<std::int64_t>(op.immediate);
  if (!op.branches && (value < std::numeric_limits<std::int32_t>::min() ||
                       value > static_cast<std::int64_t>(std::numeric_limits<std::uint32_t>::max()))) {
    problems.push_back("a 64-bit immediate may be an address");
  }
  return problems;
}

// What may come between vzeroupper and ret.
bool is_epilogue(const Op& op) {
  switch (op.mnemonic) {
    case M(POP):
    case M(MOV):
    case M(NOP):
    case M(LDMXCSR):
    case M(VLDMXCSR): return true;
    case M(ADD):
    case M(LEA): return op.operand[0].kind == Kind::gpr && op.operand[0].index == kRsp;
    default: return false;
  }
}

// Walks back from ret to vzeroupper; a jump that lands between the two would go around it. Empty if all is well.
std::string problem_of_return(const std::vector<Op>& ops, std::size_t index) {
  for (std::size_t i = index; i > 0; --i) {
    if (std::any_of(ops.begin(), ops.end(), [i](const Op& op) { return op.branches && op.target == i; })) {
      return "a branch reaches this ret past vzeroupper";
    }
    const Op& before = ops[i - 1];
    if (before.offset + before.length != ops[i].offset) break;
    if (before.mnemonic == M(VZEROUPPER)) return {};
    if (!is_epilogue(before)) break;
  }
  return "no vzeroupper right before this ret";
}

}  // namespace

bool verify_static(const Program& program, Features allowed, std::vector<std::string>* problems) {
  const std::vector<Op>& ops = program.ops();
  const std::size_t before = problems->size();
  const auto report = [&](const Op& op, const std::string& what) {
    problems->push_back(fmt::format("+0x{:x} `{}`: {}", op.offset, program.text(op.offset), what));
  };
  if (ops.front().mnemonic != M(ENDBR64)) report(ops.front(), "the first instruction is not endbr64");
  const bool needs_zero_upper = std::any_of(ops.begin(), ops.end(), uses_upper_state);
  for (std::size_t i = 0; i < ops.size(); ++i) {
    for (const std::string& problem : problems_of(ops[i], allowed)) report(ops[i], problem);
    if (!needs_zero_upper || ops[i].mnemonic != M(RET)) continue;
    if (const std::string problem = problem_of_return(ops, i); !problem.empty()) report(ops[i], problem);
  }
  return problems->size() == before;
}

}  // namespace zenwoq::emulator
