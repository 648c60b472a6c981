// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Disassembly with Zydis, put together with the emitter's notes.
#include "tools/listing.h"

#include <Zydis/Zydis.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <map>
#include <optional>
#include <set>

#include "jit/number.h"
#include "tools/api_handles.h"
#include "tools/register_map.h"

namespace zenwoq::tools {
namespace {

struct Instruction {
  std::size_t offset = 0;
  std::size_t bytes = 0;
  std::string mnemonic;
  std::string text;                   // Intel syntax
  std::optional<std::size_t> target;  // offset that a branch goes to
  std::string written;                // the vector register that it writes
};

Instruction decode(const ZydisDecoder& decoder, const ZydisFormatter& formatter, const std::vector<std::uint8_t>& code,
                   std::size_t offset) {
  ZydisDecodedInstruction decoded;
  ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
  char text[256];
  if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, &code[offset], code.size() - offset, &decoded, operands)) ||
      !ZYAN_SUCCESS(ZydisFormatterFormatInstruction(&formatter, &decoded, operands, decoded.operand_count_visible, text,
                                                    sizeof text, offset, nullptr))) {
    throw ToolError(fmt::format("Zydis does not know the instruction at offset 0x{:x}", offset));
  }
  Instruction instruction{offset, decoded.length, ZydisMnemonicGetString(decoded.mnemonic), text, {}, {}};
  if (decoded.operand_count_visible == 0) return instruction;
  ZyanU64 target = 0;
  const ZydisDecodedOperand& first = operands[0];
  if (first.type == ZYDIS_OPERAND_TYPE_IMMEDIATE && first.imm.is_relative &&
      ZYAN_SUCCESS(ZydisCalcAbsoluteAddress(&decoded, &first, offset, &target))) {
    instruction.target = target;
  }
  if (first.type == ZYDIS_OPERAND_TYPE_REGISTER) instruction.written = ZydisRegisterGetString(first.reg.value);
  return instruction;
}

// The instructions before `end`.
std::vector<Instruction> disassemble(const std::vector<std::uint8_t>& code, std::size_t end) {
  ZydisDecoder decoder;
  ZydisFormatter formatter;
  ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
  ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
  ZydisFormatterSetProperty(&formatter, ZYDIS_FORMATTER_PROP_DISP_PADDING, ZYDIS_PADDING_DISABLED);
  ZydisFormatterSetProperty(&formatter, ZYDIS_FORMATTER_PROP_IMM_PADDING, ZYDIS_PADDING_DISABLED);
  ZydisFormatterSetProperty(&formatter, ZYDIS_FORMATTER_PROP_HEX_UPPERCASE, ZYAN_FALSE);
  std::vector<Instruction> instructions;
  for (std::size_t offset = 0; offset < end; offset += instructions.back().bytes) {
    instructions.push_back(decode(decoder, formatter, code, offset));
  }
  return instructions;
}

// Names of offsets: the emitter's labels, numbered where a name occurs twice, and L1, L2, ... for other branch targets.
std::map<std::size_t, std::string> name_offsets(const std::vector<Note>& notes,
                                                const std::vector<Instruction>& instructions) {
  std::map<std::size_t, std::string> names;
  std::map<std::string, int> used;
  for (const Note& note : notes) {
    if (note.kind != Note::Kind::label || names.count(note.offset) != 0) continue;
    const int count = ++used[note.text];
    names[note.offset] = count == 1 ? note.text : fmt::format("{}_{}", note.text, count);
  }
  std::set<std::size_t> unnamed;
  for (const Instruction& instruction : instructions) {
    if (instruction.target && names.count(*instruction.target) == 0) unnamed.insert(*instruction.target);
  }
  int next = 0;
  for (const std::size_t offset : unnamed) names[offset] = fmt::format("L{}", ++next);
  return names;
}

// Constants as words of 32 bits, the last byte first, as one reads numbers.
std::string data_lines(const EmittedKernel& kernel, const std::vector<Note>& data) {
  std::string text;
  for (std::size_t i = 0; i < data.size(); ++i) {
    const std::size_t end = i + 1 < data.size() ? data[i + 1].offset : kernel.code.size();
    text += fmt::format("                                   ; {}\n", data[i].text);
    for (std::size_t offset = data[i].offset; offset + 4 <= end; offset += 4) {
      std::uint32_t word = 0;
      std::memcpy(&word, &kernel.code[offset], sizeof word);
      text += fmt::format("  {:05x}  {:<24}  dd 0x{:08x}\n", offset, hex_text(&kernel.code[offset], 4), word);
    }
  }
  return text;
}

// What is done to sums, in its order; each step after a comma.
std::string epilogue_text(const KernelKey& key) {
  const Epilogue& epilogue = key.epilogue;
  std::string text;
  if (epilogue.tensor_scale != ZENWOQ_TENSOR_SCALE_NONE) text += ", tensor scale";
  if (epilogue.bias) text += ", bias";
  if (epilogue.activation == ZENWOQ_ACTIVATION_SWIGLU_OAI) return text + ", swigluoai of gate and up";
  if (epilogue.activation != ZENWOQ_ACTIVATION_NONE) text += fmt::format(", {}", activation_name(epilogue.activation));
  if (key.tile.gated) text += epilogue.activation == ZENWOQ_ACTIVATION_NONE ? ", gate times up" : " of gate, times up";
  if (epilogue.factor) text += ", times a factor";
  if (epilogue.residuals == 1) text += ", plus a residual";
  if (epilogue.residuals == 2) text += ", plus two residuals";
  return text;
}

std::string head(const EmittedKernel& kernel, const std::vector<Instruction>& instructions) {
  const KernelKey& key = kernel.key;
  std::string text = fmt::format("; {}\n; {} bytes, {} instructions, zenwoq {}\n", key.name(), kernel.code.size(),
                                 instructions.size(), zenwoq_version());
  text +=
      fmt::format("; {} rows x {} columns a pass{}; K = {} in {} group(s) of {}; scales {}, zeros {}{}, output {}{}\n",
                  key.tile.rows, key.tile.strips * 16, key.tile.gated ? " of gate and of up" : "", key.k, key.groups(),
                  key.group, dtype_name(key.scale_type), zero_kind_name(key.zero_kind),
                  key.format().has_float_zeros() ? fmt::format(" {}", dtype_name(key.zero_type)) : "",
                  dtype_name(key.output_type), epilogue_text(key));
  return text + register_map(key);
}

}  // namespace

std::string hex_text(const std::uint8_t* bytes, std::size_t count) {
  return fmt::format("{:02x}", fmt::join(bytes, bytes + count, ""));
}

std::string listing(const EmittedKernel& kernel) {
  std::vector<Note> data;
  std::copy_if(kernel.notes.begin(), kernel.notes.end(), std::back_inserter(data),
               [](const Note& note) { return note.kind == Note::Kind::data; });
  const std::vector<Instruction> instructions =
      disassemble(kernel.code, data.empty() ? kernel.code.size() : data.front().offset);
  const std::map<std::size_t, std::string> names = name_offsets(kernel.notes, instructions);
  const std::map<std::string, std::string> sums = sum_registers(kernel.key);
  std::string text = head(kernel, instructions);
  auto note = kernel.notes.begin();
  for (const Instruction& instruction : instructions) {
    if (const auto name = names.find(instruction.offset); name != names.end())
      text += fmt::format("{}:\n", name->second);
    for (; note != kernel.notes.end() && note->offset <= instruction.offset; ++note) {
      if (note->kind == Note::Kind::comment)
        text += fmt::format("                                   ; {}\n", note->text);
    }
    const std::string operation = instruction.target
                                      ? fmt::format("{} {}", instruction.mnemonic, names.at(*instruction.target))
                                      : instruction.text;
    const auto sum = sums.find(instruction.written);
    text += fmt::format("  {:05x}  {:<24}  {}\n", instruction.offset,
                        hex_text(&kernel.code[instruction.offset], instruction.bytes),
                        sum != sums.end() ? fmt::format("{:<46}; {}", operation, sum->second) : operation);
  }
  return text + data_lines(kernel, data);
}

}  // namespace zenwoq::tools
