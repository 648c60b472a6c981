// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Emission of the walk: pointers, loops over units, groups and steps, addresses of all operands.
#include "jit/gemm.h"

#include <algorithm>
#include <bit>

#include "jit/number.h"

namespace zenwoq {

using Xbyak::Reg64;
using Xbyak::RegExp;

namespace {

constexpr std::uint32_t kLowRows = 6;  // rows addressed from x_low
constexpr std::uint32_t kUnrolledProducts =
    96;  // multiply instructions that a loop body may have: emission takes its time
constexpr std::uint32_t kTensorScaleBytes = 64;
// Panels of gate that one row walks before those of up, which waits for memory: a change of streams costs it two or
// three accesses. With a panel of K = 2048 at a time it takes 6 to 25 % longer; two rows do not feel it.
constexpr std::uint32_t kRunPanels = 8;

std::uint32_t u32(std::uint64_t value) { return static_cast<std::uint32_t>(value); }

}  // namespace

std::string Gemm::why_not(const KernelKey& key) {
  const Tile tile = key.tile;
  const bool strips_known = tile.strips == 1 || tile.strips == 2 || tile.strips == 4 || tile.strips == 8;
  if (tile.rows == 0 || tile.rows > kMaxTileRows || !strips_known) {
    return formatted("tile m{}x{}: rows must be 1..{}, strips 1, 2, 4 or 8", tile.rows, tile.strips, kMaxTileRows);
  }
  if (!key.per_channel() && key.group % kStepK != 0) return formatted("group {}: must be a multiple of 8", key.group);
  if (key.k > kMaxK) return formatted("k = {}: kernels are generated up to {}", key.k, kMaxK);
  if (key.output_type == ZENWOQ_F16) return "output f16: must be f32 or bf16";
  if (tile.gated && (key.epilogue.factor || key.epilogue.residuals != 0)) return "gu: has neither mul nor add";
  if (!tile.gated && key.epilogue.activation == ZENWOQ_ACTIVATION_SWIGLU_OAI) return "swigluoai: the tile is not gated";
  return key.format().why_not(key.k, key.group);
}

Gemm::Gemm(const KernelKey& key, const Path& path, std::uint8_t* buffer, std::size_t capacity, std::vector<Note>* notes)
    : Emitter(buffer, capacity, notes),
      key_(key),
      r_{.x_low = rsi,
         .x_high = rcx,
         .ldx = rdx,
         .ldx3 = r8,
         .ldx5 = r9,
         .codes = r10,
         .scales = r11,
         .zeros = rbx,
         .xsum = r12,
         .steps = r13,
         .groups = r14,
         .strip_offset = r15,
         .temp = rax},
      path_(path),
      run_panels_(key.tile.gated && key.tile.strips == kPanelStrips && key.tile.rows == 1 ? kRunPanels : 1),
      layout_(key.layout()) {
  std::uint32_t next = 0;
  const auto reserve = [&next](std::uint32_t bytes) { return std::exchange(next, next + bytes); };
  const bool in_run = run_panels_ > 1;
  const bool totals = path.totals_in_memory || (key.long_epilogue() && !in_run);
  const std::uint32_t weights = key.tile.gated ? 2 : 1;
  local_.totals = reserve(totals ? (in_run ? 1 : weights) * total_bytes() : 0);
  local_.kept_totals = reserve(in_run ? run_panels_ * kept_bytes() : 0);
  local_.stage = reserve(path.stage_bytes);
  local_.super_scales = reserve(layout_.super_bytes() != 0 ? key.tile.strips * kTotalBytes : 0);
  local_.super_offsets =
      reserve(layout_.super_bytes() != 0 && key.format().has_offsets() ? key.tile.strips * kTotalBytes : 0);
  const bool has_tensor_scale = key.epilogue.tensor_scale != ZENWOQ_TENSOR_SCALE_NONE;
  local_.tensor_scale = reserve(has_tensor_scale ? weights * kTensorScaleBytes : 0);
  local_.x_tail = reserve(has_tail() ? key.tile.rows * u32(kStepK) * path.x_bytes : 0);
  for (std::uint32_t* slot : {&local_.x, &local_.panel, &local_.xsum, &local_.xsum_bytes, &local_.bias, &local_.y,
                              &local_.ldy_bytes, &local_.columns}) {
    *slot = reserve(8);
  }
  local_.up = reserve(key.tile.gated ? 8 : 0);
  local_.up_bias = reserve(key.tile.gated ? 8 : 0);
  for (std::uint32_t* slot : {&local_.first_panel, &local_.columns_left, &local_.kept}) *slot = reserve(in_run ? 8 : 0);
  local_.operands = reserve(EpilogueOperands::slot_bytes(key.epilogue));
  operands_.emplace(*this, key_, local_.operands,
                    OperandRegisters{.factor = r_.x_low, .residual = {r_.x_high, r_.scales}});
  local_.bytes = (next + 63) / 64 * 64;
}

std::size_t Gemm::generate() {
  open_frame(local_.bytes + 64);  // 64: rsp is rounded down
  load_arguments();
  if (has_tail()) load_tail();
  Xbyak::Label unit;
  L(unit);
  label("unit");
  // A single row is read as a stream.
  if (key_.tile.rows > 1) operands_->prefetch_unit(key_.tile.rows, key_.tile.columns());
  for (const bool up : {false, true}) {
    if (up && !key_.tile.gated) continue;
    up_ = up;
    run_panels_ > 1 ? walk_run() : walk_weight();
  }
  up_ = false;
  if (run_panels_ > 1) {
    store_run();
  } else {
    store_unit();
    next_unit();
  }
  cmp(qword[local(local_.columns)], 0);
  jg(unit, T_NEAR);
  close_frame();
  emit_constants();
  return getSize();
}

// in: rdi. out: strides, table, locals.
void Gemm::load_arguments() {
  const auto argument = [this](std::size_t offset) { return qword[rdi + offset]; };
  const auto to_local = [&](std::uint32_t slot, std::size_t offset) {
    mov(r_.temp, argument(offset));
    mov(qword[local(slot)], r_.temp);
  };
  load_table();
  mov(r_.ldx, argument(offsetof(GemmArgs, ldx_bytes)));
  lea(r_.ldx3, ptr[r_.ldx + r_.ldx * 2]);
  lea(r_.ldx5, ptr[r_.ldx + r_.ldx * 4]);
  to_local(local_.x, offsetof(GemmArgs, x));
  to_local(local_.panel, offsetof(GemmArgs, panels));
  to_local(local_.y, offsetof(GemmArgs, y));
  to_local(local_.ldy_bytes, offsetof(GemmArgs, ldy_bytes));
  to_local(local_.columns, offsetof(GemmArgs, columns));
  if (key_.epilogue.bias) to_local(local_.bias, offsetof(GemmArgs, bias));
  if (key_.epilogue.bias && key_.tile.gated) to_local(local_.up_bias, offsetof(GemmArgs, up_bias));
  operands_->load_arguments(rdi, r_.temp);
  if (key_.zero_kind != ZENWOQ_ZERO_NONE) {
    to_local(local_.xsum, offsetof(GemmArgs, xsum));
    to_local(local_.xsum_bytes, offsetof(GemmArgs, xsum_bytes));
  }
  if (key_.epilogue.tensor_scale != ZENWOQ_TENSOR_SCALE_NONE) {
    const auto copy = [&](std::size_t offset, std::uint32_t to) {
      mov(r_.temp.cvt32(), dword[rdi + offset]);
      for (std::uint32_t i = 0; i < path_.tensor_scales; ++i) mov(dword[local(to + i * 4)], r_.temp.cvt32());
    };
    copy(offsetof(GemmArgs, tensor_scale), local_.tensor_scale);
    if (key_.tile.gated) copy(offsetof(GemmArgs, up_tensor_scale), local_.tensor_scale + kTensorScaleBytes);
  }
  xor_(r_.strip_offset.cvt32(), r_.strip_offset.cvt32());
  if (key_.tile.gated) {
    mov(r_.temp, argument(offsetof(GemmArgs, up_panels)));
    sub(r_.temp, argument(offsetof(GemmArgs, panels)));
    mov(qword[local(local_.up)], r_.temp);
  }
  keep_arguments();
}

// The last k % 8 activations of each row go to the stack, completed with +0, so that no step reads past a row.
void Gemm::load_tail() {
  const std::uint64_t k = key_.k / kStepK * kStepK;
  note("the last {} activations of each row, completed with +0 to 8", key_.k - k);
  load_x_tail(k);
}

// A few panels of one weight; their totals wait for those of the other.
void Gemm::walk_run() {
  Xbyak::Label panel, done;
  mov(r_.temp, qword[local(local_.panel)]);
  mov(qword[local(local_.first_panel)], r_.temp);
  mov(r_.temp, qword[local(local_.columns)]);
  mov(qword[local(local_.columns_left)], r_.temp);
  mov(qword[local(local_.kept)], 0);
  L(panel);
  label("panel");
  walk_weight();
  add(qword[local(local_.panel)], u32(layout_.bytes()));
  add(qword[local(local_.kept)], kept_bytes());
  sub(qword[local(local_.columns_left)], u32(kPanelColumns));
  jle(done, T_NEAR);
  cmp(qword[local(local_.kept)], run_panels_ * kept_bytes());
  jl(panel, T_NEAR);
  L(done);
  mov(r_.temp, qword[local(local_.first_panel)]);
  mov(qword[local(local_.panel)], r_.temp);
}

void Gemm::walk_weight() {
  begin_weight();
  for (std::uint32_t pass = 0; pass < path_.passes; ++pass) {
    begin_pass(pass);
    if (pass > 0) begin_walk();
    all_groups();
  }
  if (run_panels_ > 1) {
    mov(r_.temp, qword[local(local_.kept)]);
    spill_totals(r_.temp + local(local_.kept_totals + (up_ ? total_bytes() : 0)));
  } else if (key_.long_epilogue() && !path_.totals_in_memory) {
    spill_totals(total_address(0, 0));
  }
}

void Gemm::begin_weight() {
  if (key_.tile.gated) note("{}", up_ ? "up" : "gate");
  begin_walk();
  zero_totals();
}

// Pointers of this unit's strips, first group, k = 0. Where a unit begins at strip s of its panel, `codes`
// runs 64 s bytes ahead of strip 0. Past a group's last step it therefore stands 64 s bytes into the scales, but the
// unit's first scale is only 16 s elements in:
//
//   scales of the group:  |<- 16 s elements ->|unit's first scale ...
//                         |<-------- 64 s bytes -------->|codes        scales = 16 s * element bytes - 64 s
//
// The zeros follow the 64 scales.
void Gemm::begin_walk() {
  mov(r_.x_low, qword[local(local_.x)]);
  if (key_.tile.rows > kLowRows) lea(r_.x_high, ptr[r_.x_low + r_.ldx3 * 2]);
  mov(r_.codes, qword[local(local_.panel)]);
  if (up_) add(r_.codes, qword[local(local_.up)]);
  add(r_.codes, r_.strip_offset);
  const auto locate = [this](const Reg64& distance, std::size_t element_bytes) {
    mov(distance, r_.strip_offset);
    if (element_bytes < 4) shr(distance, element_bytes == 2 ? 1 : 2);
    sub(distance, r_.strip_offset);
  };
  locate(r_.scales, key_.format().scale_bytes());
  if (key_.zero_kind != ZENWOQ_ZERO_NONE) {
    locate(r_.zeros, key_.format().zero_bytes());
    add(r_.zeros, u32(kPanelColumns * key_.format().scale_bytes()));
    mov(r_.xsum, qword[local(local_.xsum)]);
  }
}

void Gemm::all_groups() {
  const std::uint64_t full = key_.per_channel() ? 0 : key_.k / key_.group;
  const std::uint64_t rest = key_.k - full * key_.group;
  if (full > 0) {
    loop("group", r_.groups, full, [&] {
      if (layout_.super_bytes() != 0) begin_super();
      one_group({key_.group / kStepK, false});
    });
  }
  if (rest > 0) one_group({(path_.x_completed ? rest + kStepK - 1 : rest) / kStepK, rest % kStepK != 0 && has_tail()});
}

// Before every eighth group come the f16 of eight: they go to the stack, widened. There are eight times as many groups,
// so the counter tells.
void Gemm::begin_super() {
  Xbyak::Label within;
  test(r_.groups, static_cast<int>(PanelLayout::kSuperGroups - 1));
  jnz(within, T_NEAR);
  note("scales of eight groups");
  mov(r_.temp, r_.strip_offset);  // as in begin_walk, for elements of two bytes
  shr(r_.temp, 1);
  sub(r_.temp, r_.strip_offset);
  load_supers(r_.codes + r_.temp, local_.super_scales);
  if (key_.format().has_offsets()) {
    load_supers(r_.codes + r_.temp + u32(kPanelColumns * 2), local_.super_offsets);
  }
  add(r_.codes, u32(layout_.super_bytes()));
  L(within);
}

void Gemm::load_supers(const RegExp& from, std::uint32_t to) {
  for (std::uint32_t strip = 0; strip < key_.tile.strips; ++strip) {
    const std::uint32_t at = u32(strip % kPanelStrips * kStripColumns * 2 + strip / kPanelStrips * layout_.bytes());
    widen_f16(from + at, local(to + strip * kTotalBytes));
  }
}

void Gemm::one_group(const Group& group) {
  note("group sums = +0");
  zero_sums();
  multiply_steps(group.steps);
  if (group.partial) {
    multiply_step(0, true);
    add(r_.codes, u32(kStepBytes));
  }
  prefetch_parameters();
  flush_group();
  if (key_.groups() > 1) next_group();
}

// in: codes, x_low, x_high at the group's first step; out: past its last whole step.
void Gemm::multiply_steps(std::uint64_t count) {
  const std::uint64_t unroll =
      std::min<std::uint64_t>(count, std::bit_floor(std::max(kUnrolledProducts / path_.products_per_step, 1u)));
  if (count == 0) return;
  const auto body = [&](std::uint64_t steps) {
    for (std::uint32_t step = 0; step < steps; ++step) multiply_step(step, false);
    advance_k(steps);
  };
  loop("steps", r_.steps, count / unroll, [&] { body(unroll); });
  if (count % unroll != 0) body(count % unroll);
}

void Gemm::advance_k(std::uint64_t steps) {
  const std::uint32_t x_bytes = u32(steps * kStepK) * path_.x_bytes;
  add(r_.codes, u32(steps * kStepBytes));
  add(r_.x_low, x_bytes);
  if (key_.tile.rows > kLowRows) add(r_.x_high, x_bytes);
}

void Gemm::next_group() {
  add(r_.codes, u32(layout_.parameter_bytes()));
  if (key_.zero_kind != ZENWOQ_ZERO_NONE) add(r_.xsum, qword[local(local_.xsum_bytes)]);
}

void Gemm::prefetch_codes(std::uint32_t step, std::uint32_t strip, std::uint32_t strips_fetched) {
  for (std::uint32_t line = strip; line < strips_fetched; line += key_.tile.strips) {
    prefetch(code_address(step, line), line);
  }
}

void Gemm::prefetch_parameters() {
  for (std::uint32_t line = 0; line < layout_.parameter_bytes() / kStripBytes; ++line) {
    prefetch(r_.codes + line * u32(kStripBytes), line);
  }
}

// The line that is as far ahead of `now` as the key says. It may lie past the end of the weight: prefetches never
// fault.
void Gemm::prefetch(const RegExp& now, std::uint32_t line) {
  const Prefetch p = key_.habits.prefetch;
  if (p.bytes == 0 || line % p.every != 0) return;
  // Whole groups, where they are short: strips must meet their own lines again on the other side of scales and zeros.
  const std::uint64_t group = layout_.group_bytes();
  const std::uint64_t groups = (p.bytes + group / 2) / group;
  const std::uint32_t ahead = key_.groups() > 1 && groups > 0 ? u32(groups * group) : p.bytes;
  p.to_l2 ? prefetcht1(ptr[now + ahead]) : prefetcht0(ptr[now + ahead]);
}

// The units of a run.
void Gemm::store_run() {
  Xbyak::Label unit, done;
  mov(qword[local(local_.kept)], 0);
  L(unit);
  label("unit of the run");
  store_unit();
  next_unit();
  cmp(qword[local(local_.columns)], 0);
  jle(done, T_NEAR);
  add(qword[local(local_.kept)], kept_bytes());
  cmp(qword[local(local_.kept)], run_panels_ * kept_bytes());
  jl(unit, T_NEAR);
  L(done);
}

// Writes the columns that exist; columns counts those from this unit's first on.
void Gemm::store_unit() {
  Xbyak::Label done;
  for (std::uint32_t strip = 0; strip < key_.tile.strips; ++strip) {
    if (strip > 0) {
      cmp(qword[local(local_.columns)], static_cast<int>(strip * kStripColumns));
      jle(done, T_NEAR);
    }
    store_strip(strip);
  }
  L(done);
}

// The loop counters are free here: groups counts the columns that exist, steps walks the rows of y.
void Gemm::store_strip(std::uint32_t strip) {
  const Reg64& count = r_.groups;
  note("store strip {}: min(columns - {}, 16) lanes", strip, strip * 16);
  mov(count, qword[local(local_.columns)]);
  sub(count, static_cast<int>(strip * kStripColumns));
  mov(r_.temp.cvt32(), static_cast<int>(kStripColumns));
  cmp(count, r_.temp);
  cmovg(count, r_.temp);
  begin_strip(strip, count);
  if (key_.long_epilogue()) return finish_strip(strip);
  const Reg64& y = r_.steps;
  mov(y, qword[local(local_.y)]);
  for (std::uint32_t row = 0; row < key_.tile.rows; ++row) {
    store_row(row, strip, y + u32(strip * kStripColumns * dtype_bytes(key_.output_type)));
    if (row + 1 < key_.tile.rows) add(y, qword[local(local_.ldy_bytes)]);
  }
}

// A loop over rows: emitted once, however many instructions an activation has. Pointers of the walk are free here.
void Gemm::finish_strip(std::uint32_t strip) {
  const Reg64 &y = r_.steps, &total = r_.codes, &rows = r_.zeros;
  const std::uint32_t column = strip * u32(kStripColumns);
  mov(y, qword[local(local_.y)]);
  if (column != 0) add(y, column * u32(dtype_bytes(key_.output_type)));
  operands_->begin_strip(column);
  if (run_panels_ > 1) {
    lea(total, ptr[local(local_.kept_totals + strip * kTotalBytes)]);
    add(total, qword[local(local_.kept)]);
  } else {
    lea(total, ptr[total_address(0, strip)]);
  }
  loop("rows of y", rows, key_.tile.rows, [&] {
    finish_row({.total = total,
                .up_total = total + total_bytes(),
                .tensor_scale = tensor_scale_address(false),
                .up_tensor_scale = tensor_scale_address(true),
                .bias_slot = local(local_.bias),
                .up_bias_slot = local(local_.up_bias),
                .bias_bytes = column * 4,
                .y = y,
                .operands = operands_->registers(),
                .columns = r_.groups,
                .count = r_.xsum,
                .temp = r_.temp,
                .stage = stage_address()});
    add(total, key_.tile.strips * kTotalBytes);
    add(y, qword[local(local_.ldy_bytes)]);
    operands_->next_row();
  });
}

// The unit to the right: the next strips of this panel, or the first of the next.
void Gemm::next_unit() {
  const std::uint32_t unit_columns = key_.tile.columns();
  add(qword[local(local_.y)], unit_columns * u32(dtype_bytes(key_.output_type)));
  operands_->next_unit(unit_columns);
  if (key_.epilogue.bias) add(qword[local(local_.bias)], unit_columns * 4);
  if (key_.epilogue.bias && key_.tile.gated) add(qword[local(local_.up_bias)], unit_columns * 4);
  const auto next_panel = [this] { add(qword[local(local_.panel)], u32(layout_.bytes() * key_.tile.panels())); };
  if (key_.tile.strips >= kPanelStrips) {
    next_panel();
  } else {
    Xbyak::Label same_panel;
    add(r_.strip_offset, key_.tile.strips * u32(kStripBytes));
    cmp(r_.strip_offset, static_cast<int>(kStepBytes));
    jl(same_panel);
    xor_(r_.strip_offset.cvt32(), r_.strip_offset.cvt32());
    next_panel();
    L(same_panel);
  }
  sub(qword[local(local_.columns)], unit_columns);
}

RegExp row_address(const RegExp& base, std::uint32_t row, const Reg64& ldx, const Reg64& ldx3, const Reg64& ldx5) {
  switch (row) {
    case 1: return base + ldx;
    case 2: return base + ldx * 2;
    case 3: return base + ldx3;
    case 4: return base + ldx * 4;
    case 5: return base + ldx5;
    default: return base;
  }
}

RegExp Gemm::x_address(std::uint32_t row, std::uint32_t step, std::uint32_t k, bool from_tail) const {
  if (from_tail) return x_tail_address(row) + k * path_.x_bytes;
  const RegExp base = (row < kLowRows ? r_.x_low : r_.x_high) + (step * u32(kStepK) + k) * path_.x_bytes;
  return row_address(base, row % kLowRows, r_.ldx, r_.ldx3, r_.ldx5);
}

RegExp Gemm::x_tail_address(std::uint32_t row) const {
  return local(local_.x_tail + row * u32(kStepK) * path_.x_bytes);
}

// Strips 4 to 7 are in the next panel.
RegExp Gemm::code_address(std::uint32_t step, std::uint32_t strip) const {
  return r_.codes +
         u32(step * kStepBytes + strip % kPanelStrips * kStripBytes + strip / kPanelStrips * layout_.bytes());
}

// Where the group's scales (or zeros) of a strip are, once codes is past its last step.
RegExp Gemm::parameter_address(const Reg64& from, std::uint32_t element_bytes, std::uint32_t strip) const {
  return r_.codes + from +
         u32(strip % kPanelStrips * kStripColumns * element_bytes + strip / kPanelStrips * layout_.bytes());
}

RegExp Gemm::total_address(std::uint32_t row, std::uint32_t strip) const {
  const std::uint32_t gate = up_ && run_panels_ == 1 ? total_bytes() : 0;
  return local(local_.totals + gate + (row * key_.tile.strips + strip) * kTotalBytes);
}

RegExp Gemm::super_address(bool offsets, std::uint32_t strip) const {
  return local((offsets ? local_.super_offsets : local_.super_scales) + strip * kTotalBytes);
}

void Gemm::load_x_address(const Reg64& to) { mov(to, qword[local(local_.x)]); }
void Gemm::load_bias_address(const Reg64& to) { mov(to, qword[local(local_.bias)]); }

}  // namespace zenwoq
