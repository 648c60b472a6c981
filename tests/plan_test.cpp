// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// How rows and panels are cut, and the tables of every CPU: for any M, each row is in one block, whose kernel exists.
#include "src/plan/plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "jit/gemm_args.h"
#include "jit/jit.h"
#include "jit/tier.h"
#include "src/cpu/zen_models.h"

namespace zenwoq {
namespace {

class PlanTest : public testing::TestWithParam<const CpuTuning*> {
 protected:
  const CpuTuning& tuning() const { return *GetParam(); }
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
    const bool scratch = tuning().scratch_from != 0 && m >= tuning().scratch_from;
    ASSERT_LE(longest, scratch ? tuning().scratch_rows : tuning().max_rows()) << m;
    if (tuning().small_rows != 0 && m <= 2 * tuning().small_rows) {
      ASSERT_LE(longest, tuning().small_rows) << m;
    }
  }
}

TEST_P(PlanTest, EveryTileOfTheTableIsAKernel) {
  for (std::uint32_t rows = 1; rows <= tuning().max_rows(); ++rows) {
    for (const std::uint64_t n : {64, 128}) {
      for (const std::uint64_t group : {8, 128, 1024}) {
        for (const zenwoq_zero_kind zero_kind : {ZENWOQ_ZERO_NONE, ZENWOQ_ZERO_INTEGER, ZENWOQ_ZERO_OFFSET}) {
          Quantization weight{n, 1024, group, ZENWOQ_BF16, zero_kind, {}};
          const std::uint32_t strips = std::min<std::uint32_t>(tuning().tiles[rows - 1].strips, n / 16);
          const KernelKey key = kernel_key(weight, true, ZENWOQ_F32, {.bias = true}, {rows, strips}, tuning());
          EXPECT_EQ(why_not(key), "") << key.name();
          EXPECT_EQ(key.tier, tuning().tier);
        }
      }
    }
  }
}

// The keys of whole plans, kernels with scratch among them, for both kinds of codes.
TEST_P(PlanTest, EveryTileOfAPlanIsAKernel) {
  const Quantization weight{192, 1024, 128, ZENWOQ_BF16, ZENWOQ_ZERO_OFFSET, {}};
  for (std::uint64_t m = 1; m <= 200; ++m) {
    const Plan plan({m, weight.n, weight.k}, tuning(), 2);
    for (const Tile& tile : plan.tiles()) {
      for (const bool integer : {false, true}) {
        const KernelKey key = kernel_key(weight, integer, ZENWOQ_BF16, {.bias = true}, tile, tuning());
        EXPECT_EQ(why_not(key), "") << key.name();
      }
    }
    plan.for_each_tile(0, [&](const TileRun& run) { EXPECT_TRUE(!run.tile.scratch || run.rows <= kMaxScratchRows); });
  }
}

// A plan is right if its tasks compute each row and column once, in tiles that it has announced.
void expect_each_element_once(const Problem& problem, const Plan& plan) {
  const std::uint64_t panels = (problem.n + 63) / 64;
  std::map<std::pair<std::uint64_t, std::uint64_t>, int> times;
  std::set<std::size_t> used;
  for (std::uint64_t task = 0; task < plan.tasks(); ++task) {
    plan.for_each_tile(task, [&](const TileRun& run) {
      ASSERT_LT(run.index, plan.tiles().size());
      EXPECT_EQ(plan.tiles()[run.index], run.tile);
      EXPECT_EQ((run.panel_end - run.panel_begin) % run.tile.panels(), 0u)
          << "a tile never takes half of what it needs";
      used.insert(run.index);
      if (run.tile.scratch) {  // tiles of that height and of one row less must add up
        const std::uint64_t tiles = (run.rows + run.tile.rows - 1) / run.tile.rows;
        EXPECT_GE(run.rows, tiles * (run.tile.rows - 1)) << run.rows << " rows in tiles of " << run.tile.rows;
      } else {
        EXPECT_EQ(run.rows, run.tile.rows);
      }
      for (std::uint64_t row = run.row; row < run.row + run.rows; ++row) {
        for (std::uint64_t panel = run.panel_begin; panel < run.panel_end; ++panel) ++times[{row, panel}];
      }
    });
  }
  EXPECT_EQ(times.size(), problem.m * panels);
  for (const auto& [where, count] : times) {
    ASSERT_EQ(count, 1) << "row " << where.first << ", panel " << where.second;
    ASSERT_TRUE(where.first < problem.m && where.second < panels);
  }
  EXPECT_EQ(used.size(), plan.tiles().size()) << "prepare would generate a kernel that no run uses";
}

TEST_P(PlanTest, TasksComputeEachElementOnceInAnnouncedTiles) {
  for (const std::uint64_t m : {1, 2, 3, 4, 5, 7, 8, 9, 13, 33, 64, 100}) {
    for (const std::uint64_t n : {1, 64, 65, 128, 192, 1000, 4096}) {
      for (const unsigned threads : {1, 2, 3, 16}) {
        const Problem problem{m, n, 4096};
        const Plan plan(problem, tuning(), threads);
        SCOPED_TRACE(testing::Message() << m << " x " << n << " on " << threads);
        expect_each_element_once(problem, plan);
        if (m * n >= 4096) {
          EXPECT_GE(plan.tasks(), std::min<std::uint64_t>(threads, (n + 127) / 128));
        }
      }
    }
  }
  EXPECT_EQ(Plan({0, 64, 64}, tuning(), 4).tasks(), 0u);
}

// Several products at once: plans are values, so that several can exist, and their tasks be done one after another.
TEST_P(PlanTest, PlansOfSeveralProblemsStandBesideEachOther) {
  const Problem problems[] = {{1, 4096, 512}, {7, 192, 512}, {0, 64, 512}, {33, 65, 512}};
  std::vector<Plan> plans;
  for (const Problem& problem : problems) plans.emplace_back(problem, tuning(), 8);
  for (std::size_t i = 0; i < plans.size(); ++i) expect_each_element_once(problems[i], plans[i]);
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

TEST_P(PlanTest, TasksAreEnoughForTheThreadsAndNoneIsEmpty) {
  for (const std::uint64_t m : {1, 7, 100, 2048}) {
    for (const std::uint64_t panels : {1, 3, 64}) {
      const Problem problem{m, panels * 64, std::uint64_t{1} << 20};  // worth waking threads for
      for (const unsigned threads : {2, 16, 96}) {
        const Plan plan(problem, tuning(), threads);
        EXPECT_GE(plan.tasks(), std::min<std::uint64_t>(threads, plan.blocks().count * panels / 2))
            << m << " " << panels;
        for (std::uint64_t task = 0; task < plan.tasks(); ++task) {
          int tiles = 0;
          plan.for_each_tile(task, [&](const TileRun&) { ++tiles; });
          EXPECT_GT(tiles, 0) << "task " << task << " of " << plan.tasks();
        }
      }
      EXPECT_EQ(Plan(problem, tuning(), 1).tasks(), 1u);
    }
  }
}

TEST(Plan, SmallProductsWakeNobody) {
  for (const CpuTuning* tuning : tunings()) {
    EXPECT_EQ(tasks_wanted({1, 64, 64}, 16), 1u);
    EXPECT_EQ(tasks_wanted({8, 256, 128}, 16), 1u);
    EXPECT_EQ(tasks_wanted({1, 4096, 4096}, 1), 1u);
    EXPECT_EQ(tasks_wanted({1, 4096, 4096}, 16), 64u);
    EXPECT_EQ(Plan({1, 4096, 4096}, *tuning, 1).tasks(), 1u);
    EXPECT_GT(Plan({1, 4096, 4096}, *tuning, 64).tasks(), 15u);
  }
}

TEST(Tuning, EveryZenHasATableForEachTierWithKernels) {
  for (const TierInfo& tier : tiers()) {
    if (!has_kernels(tier.tier)) continue;
    EXPECT_EQ(find_tuning("generic", tier.tier).name, std::string("generic"));
    EXPECT_EQ(find_tuning("generic", tier.tier).tier, tier.tier);
    for (const ZenModels& models : kZenModels) {
      EXPECT_TRUE(is_tuning(models.tuning)) << models.tuning;
      EXPECT_EQ(find_tuning(models.tuning, tier.tier).tier, tier.tier) << models.tuning;
    }
  }
  EXPECT_EQ(find_tuning("zen5", ZENWOQ_TIER_AVX512BF16).name, std::string("zen5"));
  EXPECT_FALSE(is_tuning("zen9"));
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

INSTANTIATE_TEST_SUITE_P(Every, PlanTest, testing::ValuesIn(tunings().begin(), tunings().end()),
                         [](const auto& instance) {
                           return std::string(instance.param->name) + "_" + find_tier(instance.param->tier)->name;
                         });

}  // namespace
}  // namespace zenwoq
