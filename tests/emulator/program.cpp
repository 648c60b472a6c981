// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Decoding: follows the flow of control from the first byte and makes one Op of every instruction it reaches.
#include <fmt/format.h>

#include <cstring>
#include <map>

#include "tests/emulator/operation.h"

namespace zenwoq::emulator {
namespace {

class Decoder {
 public:
  explicit Decoder(std::span<const std::uint8_t> code) : code_(code) {
    ZydisDecoderInit(&zydis_, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
  }

  // Returns false, with a text in `error`, if the flow leaves the code or meets bytes that are no instruction, or if
  // two instructions overlap.
  bool decode_reachable(std::string& error);
  bool link(std::vector<Op>& ops, std::string& error) const;

 private:
  bool decode_one(std::uint32_t offset, Op& op, std::string& error);
  static bool refuse(std::uint32_t offset, const char* what, std::string& error) {
    error = fmt::format("offset 0x{:x}: {}", offset, what);
    return false;
  }

  std::span<const std::uint8_t> code_;
  ZydisDecoder zydis_;
  std::map<std::uint32_t, Op> found_;
};

bool ends_flow(const Op& op) {
  return op.mnemonic == ZYDIS_MNEMONIC_RET || op.mnemonic == ZYDIS_MNEMONIC_JMP || op.mnemonic == ZYDIS_MNEMONIC_INT3 ||
         op.mnemonic == ZYDIS_MNEMONIC_UD2;
}

bool Decoder::decode_one(std::uint32_t offset, Op& op, std::string& error) {
  ZydisDecodedInstruction instruction;
  ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
  if (!ZYAN_SUCCESS(
          ZydisDecoderDecodeFull(&zydis_, code_.data() + offset, code_.size() - offset, &instruction, operands))) {
    return refuse(offset, "these bytes are no instruction", error);
  }
  translate(instruction, operands, code_.data(), offset, op);
  op.branches = instruction.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE && instruction.mnemonic != ZYDIS_MNEMONIC_CALL &&
                operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE && operands[0].imm.is_relative;
  if (!op.branches) return true;
  const std::int64_t target = std::int64_t{offset} + instruction.length + operands[0].imm.value.s;
  if (target < 0 || target >= static_cast<std::int64_t>(code_.size())) {
    return refuse(offset, "a branch leaves the code", error);
  }
  op.target = static_cast<std::uint32_t>(target);
  return true;
}

bool Decoder::decode_reachable(std::string& error) {
  std::vector<std::uint32_t> pending{0};
  while (!pending.empty()) {
    std::uint32_t offset = pending.back();
    pending.pop_back();
    while (found_.find(offset) == found_.end()) {
      if (offset >= code_.size()) return refuse(offset, "the flow runs off the end of the code", error);
      Op& op = found_[offset];
      if (!decode_one(offset, op, error)) return false;
      if (op.branches) pending.push_back(op.target);
      if (ends_flow(op)) break;
      offset += op.length;
    }
  }
  return true;
}

// Turns the offsets in `next` and `target` into indices.
bool Decoder::link(std::vector<Op>& ops, std::string& error) const {
  std::map<std::uint32_t, std::uint32_t> index_of;
  for (const auto& [offset, op] : found_) {
    if (!ops.empty() && ops.back().offset + ops.back().length > offset) {
      return refuse(offset, "this instruction begins inside another one", error);
    }
    index_of[offset] = static_cast<std::uint32_t>(ops.size());
    ops.push_back(op);
  }
  for (Op& op : ops) {
    if (!ends_flow(op)) op.next = index_of.at(op.offset + op.length);
    if (op.branches) op.target = index_of.at(op.target);
  }
  return true;
}

}  // namespace

Program::Program() = default;
Program::~Program() = default;

std::span<const std::uint8_t> Program::code() const { return {storage_.data()->bytes, code_bytes_}; }

std::unique_ptr<Program> Program::decode(std::span<const std::uint8_t> code, std::string* error) {
  std::unique_ptr<Program> program(new Program);
  // One unit more than needed, so that the storage is never empty.
  program->storage_.resize(code.size() / sizeof(Vec) + 1);
  program->code_bytes_ = code.size();
  if (!code.empty()) std::memcpy(program->storage_.data()->bytes, code.data(), code.size());
  Decoder decoder(program->code());
  error->clear();
  if (!decoder.decode_reachable(*error) || !decoder.link(program->ops_, *error)) return nullptr;
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
