// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Cuts of rows and panels, and the tables of every CPU: whatever M is, each row is in one block whose kernel exists.
#include "src/plan/plan.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "jit/gemm_avx512.h"

namespace zenwoq {
namespace {

class PlanTest : public testing::TestWithParam<Tuning> {
 protected:
  const CpuTuning& tuning() const { return tuning_of(GetParam()); }
};

TEST_P(PlanTest, BlocksHoldEachRowOnceAndDifferByOneAtMost) {
  for (std::uint64_t m = 1; m <= 300; ++m) {
    const RowBlocks blocks = cut_rows(m, tuning());
    ASSERT_EQ(blocks.begin(0), 0u) << m;
    ASSERT_EQ(blocks.begin(blocks.count), m);
    std::uint64_t shortest = m;
    std::uint64_t longest = 0;
    for (std::uint64_t block = 0; block < blocks.count; ++block) {
      ASSERT_LT(blocks.begin(block), blocks.begin(block + 1)) << "m " << m << " block " << block;
      const std::uint64_t rows = blocks.begin(block + 1) - blocks.begin(block);
      shortest = std::min(shortest, rows);
      longest = std::max(longest, rows);
    }
    ASSERT_LE(longest - shortest, 1u) << m;
    ASSERT_LE(longest, tuning().max_rows) << m;
    if (tuning().small_rows != 0 && m <= 2 * tuning().small_rows) ASSERT_LE(longest, tuning().small_rows) << m;
  }
}

TEST_P(PlanTest, EveryTileOfTheTableIsAKernel) {
  for (std::uint32_t rows = 1; rows <= tuning().max_rows; ++rows) {
    for (const std::uint64_t panels : {1, 2}) {
      for (const std::uint64_t group : {8, 128, 1024}) {
        for (const zenwoq_zero_kind zero_kind : {ZENWOQ_ZERO_NONE, ZENWOQ_ZERO_INTEGER, ZENWOQ_ZERO_OFFSET}) {
          KernelKey key;
          key.k = 1024;
          key.group = group;
          key.scale_type = ZENWOQ_BF16;
          key.zero_kind = zero_kind;
          key.output_type = ZENWOQ_F32;
          key.bias = true;
          key.tile = {rows, strips_of(rows, panels, tuning())};
          key.tuning = GetParam();
          EXPECT_EQ(unsupported_reason(key), "") << key.name();
          EXPECT_LE(key.tile.strips, panels * kPanelStrips) << key.name();
        }
      }
    }
  }
}

TEST_P(PlanTest, ActivationsThatStayFitUnlessOneBlockIsTooLarge) {
  for (const std::uint64_t m : {1, 7, 100, 2048}) {
    const RowBlocks blocks = cut_rows(m, tuning());
    for (const std::uint64_t row_bytes : {2, 8192, 1 << 20}) {
      const std::uint64_t kept = blocks_that_stay(blocks, row_bytes, tuning());
      ASSERT_GE(kept, 1u);
      if (tuning().x_bytes_kept == 0) {
        EXPECT_EQ(kept, blocks.count);
      } else if (kept > 1) {
        EXPECT_LE(kept * blocks.rows * row_bytes, tuning().x_bytes_kept) << m << " " << row_bytes;
      }
    }
  }
}

TEST_P(PlanTest, TasksAreNoMoreThanBlocksTimesPanels) {
  constexpr std::uint64_t kMany = std::uint64_t{1} << 40;  // multiply-adds: worth waking for
  for (const std::uint64_t m : {1, 7, 100, 2048}) {
    const RowBlocks blocks = cut_rows(m, tuning());
    for (const std::uint64_t panels : {1, 3, 64}) {
      for (const unsigned threads : {2, 16, 96}) {
        const TaskGrid grid = cut_tasks(blocks, panels, kMany, threads);
        EXPECT_LE(grid.block_parts, blocks.count);
        EXPECT_LE(grid.panel_parts, panels);
        EXPECT_GE(grid.count(), std::min<std::uint64_t>(threads, blocks.count * panels))
            << m << " " << panels << " " << threads;
      }
      EXPECT_EQ(cut_tasks(blocks, panels, kMany, 1).count(), 1u);
      EXPECT_EQ(cut_tasks(blocks, panels, 1, 16).count(), 1u);
    }
  }
}

TEST(Plan, PartsMeetAndTheirBordersAreOnTheGrain) {
  for (const std::uint64_t count : {1, 2, 5, 64, 173}) {
    for (const std::uint64_t grain : {1, 2}) {
      for (std::uint64_t parts = 1; parts <= 20; ++parts) {
        EXPECT_EQ(part_border(count, 0, parts, grain), 0u);
        EXPECT_EQ(part_border(count, parts, parts, grain), count);
        for (std::uint64_t i = 0; i < parts; ++i) {
          const std::uint64_t border = part_border(count, i, parts, grain);
          EXPECT_LE(border, part_border(count, i + 1, parts, grain));
          EXPECT_TRUE(border == count || border % grain == 0) << count << " " << i << "/" << parts;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Every, PlanTest, testing::Values(Tuning::zen4, Tuning::zen5, Tuning::generic),
                         [](const auto& instance) { return std::string(tuning_name(instance.param)); });

}  // namespace
}  // namespace zenwoq
