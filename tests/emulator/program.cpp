// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Decoding: follows the flow of control from the first byte and makes one Op of every instruction it reaches.

#include <cstdio>
#include <cstring>
#include <map>

#include "tests/emulator/emulator.h"
#include "tests/emulator/operation.h"

namespace zenwoq::emulator {
namespace {

std::string at(std::uint32_t offset, const std::string& what) {
  char text[32];
  std::snprintf(text, sizeof text, "offset 0x%x: ", offset);
  return text + what;
}

class Decoder {
 public:
  explicit Decoder(std::span<const std::uint8_t> code) : code_(code) {
    ZydisDecoderInit(&zydis_, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
  }

  // False and a text in `error` if the flow leaves the code or meets bytes that are no instruction.
  bool decode_reachable(std::string& error);
  bool link(std::vector<Op>& ops, std::string& error) const;

 private:
  struct Decoded {
    Op op;
    bool falls_through = true;
    bool has_target = false;
  };

  bool decode_one(std::uint32_t offset, Decoded& out, std::string& error);

  std::span<const std::uint8_t> code_;
  ZydisDecoder zydis_;
  std::map<std::uint32_t, Decoded> found_;
};

bool ends_flow(const ZydisDecodedInstruction& instruction) {
  switch (instruction.mnemonic) {
    case ZYDIS_MNEMONIC_RET:
    case ZYDIS_MNEMONIC_JMP:
    case ZYDIS_MNEMONIC_INT3:
    case ZYDIS_MNEMONIC_UD2:
    case ZYDIS_MNEMONIC_HLT: return true;
    default: return false;
  }
}

bool Decoder::decode_one(std::uint32_t offset, Decoded& out, std::string& error) {
  ZydisDecodedInstruction instruction;
  ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
  if (!ZYAN_SUCCESS(
          ZydisDecoderDecodeFull(&zydis_, code_.data() + offset, code_.size() - offset, &instruction, operands))) {
    error = at(offset, "these bytes are no instruction");
    return false;
  }
  translate(instruction, operands, code_.data(), offset, out.op);
  out.falls_through = !ends_flow(instruction);
  const bool is_branch = instruction.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE;
  if (is_branch && instruction.mnemonic != ZYDIS_MNEMONIC_CALL && operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE &&
      operands[0].imm.is_relative) {
    const std::int64_t target = std::int64_t{offset} + instruction.length + operands[0].imm.value.s;
    if (target < 0 || target >= static_cast<std::int64_t>(code_.size())) {
      error = at(offset, "a branch leaves the code");
      return false;
    }
    out.has_target = true;
    out.op.target = static_cast<std::uint32_t>(target);
  }
  return true;
}

bool Decoder::decode_reachable(std::string& error) {
  std::vector<std::uint32_t> pending{0};
  while (!pending.empty()) {
    std::uint32_t offset = pending.back();
    pending.pop_back();
    while (found_.find(offset) == found_.end()) {
      if (offset >= code_.size()) {
        error = at(offset, "the flow runs off the end of the code");
        return false;
      }
      Decoded& decoded = found_[offset];
      if (!decode_one(offset, decoded, error)) return false;
      if (decoded.has_target) pending.push_back(decoded.op.target);
      if (!decoded.falls_through) break;
      offset += decoded.op.length;
    }
  }
  return true;
}

bool Decoder::link(std::vector<Op>& ops, std::string& error) const {
  std::map<std::uint32_t, std::uint32_t> index_of;
  for (const auto& [offset, decoded] : found_) {
    if (!ops.empty() && ops.back().offset + ops.back().length > offset) {
      error = at(offset, "this instruction begins inside another one");
      return false;
    }
    index_of[offset] = static_cast<std::uint32_t>(ops.size());
    ops.push_back(decoded.op);
  }
  for (Op& op : ops) {
    const Decoded& decoded = found_.at(op.offset);
    if (decoded.falls_through) op.next = index_of.at(op.offset + op.length);
    if (decoded.has_target) op.target = index_of.at(op.target);
  }
  return true;
}

}  // namespace

Program::Program() = default;
Program::~Program() = default;

std::span<const std::uint8_t> Program::code() const { return {storage_.data()->bytes, code_bytes_}; }

std::unique_ptr<Program> Program::decode(std::span<const std::uint8_t> code, std::string* error) {
  std::unique_ptr<Program> program(new Program);
  // One line more than needed, so that storage is never empty.
  program->storage_.resize(code.size() / sizeof(Vec) + 1);
  program->code_bytes_ = code.size();
  if (!code.empty()) std::memcpy(program->storage_.data()->bytes, code.data(), code.size());
  Decoder decoder(program->code());
  std::string problem;
  if (!decoder.decode_reachable(problem) || !decoder.link(program->ops_, problem)) {
    if (error != nullptr) *error = problem;
    return nullptr;
  }
  if (error != nullptr) error->clear();
  return program;
}

std::string Program::text(std::uint32_t offset) const {
  ZydisDisassembledInstruction instruction;
  if (!ZYAN_SUCCESS(ZydisDisassembleIntel(ZYDIS_MACHINE_MODE_LONG_64, offset, code().data() + offset,
                                          code_bytes_ - offset, &instruction))) {
    return "(no instruction)";
  }
  return instruction.text;
}

}  // namespace zenwoq::emulator
