// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// A run: activations to bf16 and group sums, then blocks of rows x panels on the threads.
#include "src/run/linear.h"

#include <algorithm>
#include <cstring>
#include <new>

namespace zenwoq {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::uint64_t kElementsWorthWaking = 1 << 16;  // of activations to prepare

std::uint64_t round_up(std::uint64_t value) { return (value + kAlignment - 1) / kAlignment * kAlignment; }

template <zenwoq_dtype kType>  // a constant for the loop, which the compiler then vectorises
void convert_to_bf16(const std::uint8_t* __restrict x, std::uint64_t count, std::uint8_t* __restrict out) {
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint16_t bits = f32_to_bf16(load_as_f32(kType, x, i));
    std::memcpy(out + i * 2, &bits, 2);
  }
}

// Calls body(i) for i in [0, n) on at most so many of the context's threads.
template <typename Body>
void parallel(Context& context, std::size_t n, unsigned threads, Body& body) {
  context.parallel_for(
      n, threads, [](void* arg, std::size_t i) { (*static_cast<Body*>(arg))(i); }, &body);
}

std::vector<float> pad_to_panels(std::vector<float> bias, const PackedHeader& header) {
  if (!bias.empty()) bias.resize(header.panels() * kPanelColumns, 0.0f);
  return bias;
}

// A pointer that owns nothing, without the allocation of a count.
template <typename T>
std::shared_ptr<T> borrow(T& object) {
  return std::shared_ptr<T>(std::shared_ptr<void>(), &object);
}

}  // namespace

struct Linear::Run {
  const RunArguments& args;
  Activations activations;
  RowBlocks blocks;
  TaskGrid grid;
  std::uint64_t panel_grain;  // task borders never part two panels that one tile takes
  std::uint64_t blocks_kept;  // whose activations stay in the cache from panel to panel
};

Linear::Linear(std::shared_ptr<Context> context, std::shared_ptr<const Weight> weight, zenwoq_dtype output_type,
               std::vector<float> bias)
    : context_(std::move(context)),
      weight_(std::move(weight)),
      output_type_(output_type),
      own_bias_(pad_to_panels(std::move(bias), weight_->header())),
      bias_(own_bias_.empty() ? nullptr : own_bias_.data()),
      tuning_(tuning_of(context_->tuning())) {}

Linear::Linear(Context& context, const Weight& weight, zenwoq_dtype output_type, const float* padded_bias)
    : context_(borrow(context)),
      weight_(borrow(weight)),
      output_type_(output_type),
      bias_(padded_bias),
      tuning_(tuning_of(context.tuning())) {}

std::optional<std::size_t> Linear::workspace_bytes(std::uint64_t m, zenwoq_dtype x_type) const {
  const PackedHeader& header = weight_->header();
  std::size_t x = 0;
  std::size_t xsum = 0;
  std::size_t total = 0;
  bool overflow = false;
  if (x_type != ZENWOQ_BF16) overflow |= __builtin_mul_overflow(header.k * 2, m, &x) || x > PTRDIFF_MAX;
  if (header.zero() != ZENWOQ_ZERO_NONE)
    overflow |= __builtin_mul_overflow(header.groups() * 4, m, &xsum) || xsum > PTRDIFF_MAX;
  if (overflow) return std::nullopt;
  if (x == 0 && xsum == 0) return 0;
  overflow = __builtin_add_overflow(round_up(x), xsum, &total) || __builtin_add_overflow(total, kAlignment, &total);
  if (overflow || total > PTRDIFF_MAX) return std::nullopt;
  return total;
}

void Linear::run(const RunArguments& args, std::uint8_t* workspace) {
  if (args.m == 0) return;
  const PackedHeader& header = weight_->header();
  const RowBlocks blocks = cut_rows(args.m, tuning_);
  const std::uint64_t grain = blocks.count == 1 && strips_of(args.m, header.panels(), tuning_) > kPanelStrips ? 2 : 1;
  const std::uint64_t macs = args.m * header.n * header.k;  // an estimate: overflow only means fewer tasks
  const TaskGrid grid = cut_tasks(blocks, (header.panels() + grain - 1) / grain, macs, args.threads);
  const std::uint64_t kept = blocks_that_stay(blocks, header.k * 2, tuning_);
  const Run run{args, prepare_activations(args, workspace), blocks, grid, grain, kept};
  auto task = [&](std::size_t i) { run_task(run, i); };
  parallel(*context_, grid.count(), args.threads, task);
}

// Rows to bf16 where they are not, and their group sums where the weight has zeros.
Linear::Activations Linear::prepare_activations(const RunArguments& args, std::uint8_t* workspace) {
  const PackedHeader& header = weight_->header();
  Activations result{static_cast<const std::uint8_t*>(args.x), args.ldx_bytes, nullptr};
  const bool convert = args.x_type != ZENWOQ_BF16;
  const bool sum = header.zero() != ZENWOQ_ZERO_NONE;
  if (!convert && !sum) return result;

  auto* aligned = reinterpret_cast<std::uint8_t*>(round_up(reinterpret_cast<std::uintptr_t>(workspace)));
  std::uint8_t* converted = aligned;
  auto* xsum = reinterpret_cast<float*>(aligned + (convert ? round_up(header.k * 2 * args.m) : 0));
  if (convert) result.x = converted, result.ldx_bytes = header.k * 2;
  if (sum) result.xsum = xsum;
  const std::uint64_t parts =
      header.k * args.m < kElementsWorthWaking ? 1 : std::min<std::uint64_t>(args.m, args.threads);
  auto prepare = [&](std::size_t part) {
    const std::uint64_t begin = part_border(args.m, part, parts, 1);
    const std::uint64_t end = part_border(args.m, part + 1, parts, 1);
    for (std::uint64_t row = begin; convert && row < end; ++row) {
      const auto* from = static_cast<const std::uint8_t*>(args.x) + row * args.ldx_bytes;
      std::uint8_t* to = converted + row * header.k * 2;
      args.x_type == ZENWOQ_F32 ? convert_to_bf16<ZENWOQ_F32>(from, header.k, to)
                                : convert_to_bf16<ZENWOQ_F16>(from, header.k, to);
    }
    if (sum)
      sum_groups(result.x + begin * result.ldx_bytes, result.ldx_bytes, end - begin, header.k, header.group(),
                 xsum + begin, args.m);
  };
  parallel(*context_, parts, args.threads, prepare);
  return result;
}

// Some blocks of the part on one panel, then on the next: the panel stays in the L2 cache from block to block, the
// blocks' activations from panel to panel.
void Linear::run_task(const Run& run, std::size_t task) {
  const std::uint64_t block_part = task % run.grid.block_parts;
  const std::uint64_t panel_part = task / run.grid.block_parts;
  const std::uint64_t block_begin = part_border(run.blocks.count, block_part, run.grid.block_parts, 1);
  const std::uint64_t block_end = part_border(run.blocks.count, block_part + 1, run.grid.block_parts, 1);
  const std::uint64_t panels = weight_->header().panels();
  const std::uint64_t panel_begin = part_border(panels, panel_part, run.grid.panel_parts, run.panel_grain);
  const std::uint64_t panel_end = part_border(panels, panel_part + 1, run.grid.panel_parts, run.panel_grain);
  if (block_end - block_begin == 1) return run_block(run, block_begin, panel_begin, panel_end);
  for (std::uint64_t first = block_begin, last; first < block_end; first = last) {
    last = std::min(block_end, first + run.blocks_kept);
    for (std::uint64_t panel = panel_begin; panel < panel_end; ++panel) {
      for (std::uint64_t block = first; block < last; ++block) run_block(run, block, panel, panel + 1);
    }
  }
}

void Linear::run_block(const Run& run, std::uint64_t block, std::uint64_t panel_begin, std::uint64_t panel_end) {
  const auto rows = static_cast<std::uint32_t>(run.blocks.begin(block + 1) - run.blocks.begin(block));
  while (panel_begin < panel_end) {
    const std::uint32_t strips = strips_of(rows, panel_end - panel_begin, tuning_);
    const std::uint64_t end = strips > kPanelStrips ? panel_end - (panel_end - panel_begin) % 2 : panel_end;
    run_tile(run, block, {rows, strips}, panel_begin, end);
    panel_begin = end;
  }
}

void Linear::run_tile(const Run& run, std::uint64_t block, Tile tile, std::uint64_t panel_begin,
                      std::uint64_t panel_end) {
  const PackedView& view = weight_->view();
  const std::uint64_t row = run.blocks.begin(block);
  const std::uint64_t column = panel_begin * kPanelColumns;
  GemmArgs args{};
  args.x = run.activations.x + row * run.activations.ldx_bytes;
  args.ldx_bytes = run.activations.ldx_bytes;
  args.panels = view.panel(panel_begin);
  args.xsum = run.activations.xsum == nullptr ? nullptr : run.activations.xsum + row;
  args.xsum_bytes = run.args.m * 4;
  args.bias = bias_ == nullptr ? nullptr : bias_ + column;
  args.y = static_cast<std::uint8_t*>(run.args.y) + row * run.args.ldy_bytes + column * dtype_bytes(output_type_);
  args.ldy_bytes = run.args.ldy_bytes;
  args.columns = std::min<std::uint64_t>(view.header.n, panel_end * kPanelColumns) - column;
  args.table = weight_->table();
  if (const Kernel* found = kernel_or_reference(tile)) {
    found->run(&args);
  } else {
    context_->reference()(key_of(tile), tile.rows, args);
  }
}

KernelKey Linear::key_of(Tile tile) const {
  const PackedHeader& header = weight_->header();
  KernelKey key;
  key.k = header.k;
  key.group = header.group();
  key.scale_type = header.scale();
  key.zero_kind = header.zero();
  key.tile = tile;
  key.output_type = output_type_;
  key.bias = bias_ != nullptr;
  key.tuning = context_->tuning();
  return key;
}

std::vector<Tile> Linear::tiles(std::uint64_t m) const {
  std::vector<Tile> result;
  const RowBlocks blocks = cut_rows(m, tuning_);
  const std::uint64_t panels = weight_->header().panels();
  for (const std::uint64_t block : {std::uint64_t{0}, blocks.longer}) {  // one block of each length
    if (block >= blocks.count || (block == 0 && !result.empty())) continue;
    const auto rows = static_cast<std::uint32_t>(blocks.begin(block + 1) - blocks.begin(block));
    const std::uint64_t run_of_panels = blocks.count == 1 ? panels : 1;
    const std::uint32_t strips = strips_of(rows, run_of_panels, tuning_);
    result.push_back({rows, strips});
    if (strips > kPanelStrips && run_of_panels % 2 != 0) result.push_back({rows, strips_of(rows, 1, tuning_)});
  }
  return result;
}

const Kernel* Linear::kernel(Tile tile, std::string* reason) {
  std::atomic<const Kernel*>& slot = kernels_[tile.rows][tile.strips > kPanelStrips];
  const Kernel* found = slot.load(std::memory_order_acquire);
  if (found == nullptr) {
    const Status status = context_->isa() == ZENWOQ_ISA_AVX512BF16
                              ? context_->registry().get(key_of(tile), &found)
                              : Status(ZENWOQ_ERROR_UNSUPPORTED, context_->isa_reason());
    if (found == nullptr) {  // no tier, or no memory: the next run tries again
      if (reason != nullptr) *reason = status.text();
      return nullptr;
    }
    slot.store(found, std::memory_order_release);
  }
  if (found->run != nullptr) return found;
  if (reason != nullptr) *reason = found->status.text();
  return nullptr;
}

// Tasks must not throw: where even an error text finds no memory, the reference serves.
const Kernel* Linear::kernel_or_reference(Tile tile) noexcept {
  try {
    return context_->isa() == ZENWOQ_ISA_AVX512BF16 ? kernel(tile) : nullptr;
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

}  // namespace zenwoq
