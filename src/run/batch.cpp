// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Who prepares activations for whom, and the two loops.
#include "src/run/batch.h"

#include <new>

namespace zenwoq {
namespace {

// Runs that share x lie side by side, as q, k and v of an attention do: a few of the last are looked at.
constexpr std::size_t kLeadersAsked = 4;

bool shares_x(const Job& first, zenwoq_dtype first_type, const Job& second, zenwoq_dtype second_type) {
  const ActivationSource &a = first.args.x, &b = second.args.x;
  return a.x == b.x && a.m == b.m && a.x_type == b.x_type && a.ldx_bytes == b.ldx_bytes && first_type == second_type &&
         serves(first.layer->weight, second.layer->weight);
}

// The last few runs that prepare x.
class Leaders {
 public:
  // The one whose activations serve the job; NULL: it leads.
  const Batch::Entry* of(const Job& job, zenwoq_dtype x_type) const {
    for (const Leader& leader : last_) {
      if (leader.job != nullptr && shares_x(*leader.job, leader.entry->product.x_type(), job, x_type)) {
        return leader.entry;
      }
    }
    return nullptr;
  }
  void add(const Job& job, const Batch::Entry& entry) { last_[next_++ % kLeadersAsked] = {&job, &entry}; }

 private:
  struct Leader {
    const Job* job = nullptr;
    const Batch::Entry* entry = nullptr;
  };
  std::array<Leader, kLeadersAsked> last_{};
  std::size_t next_ = 0;
};

}  // namespace

Batch::Batch(Context& context, std::span<const Job> jobs, Entry* table)
    : context_(context), jobs_(jobs), entries_(table, jobs.size()) {
  for (const Job& job : jobs) shares_.add(problem_of(*job.layer, job.args.x.m));
  Leaders leaders;
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    const Job& job = jobs[i];
    const std::uint64_t tasks = shares_.of(problem_of(*job.layer, job.args.x.m), job.args.threads);
    Entry& entry = *new (&table[i]) Entry{Product(context, *job.layer, job.args, tasks), nullptr, 0, {}};
    entry.leader = leaders.of(job, entry.product.x_type());
    if (entry.leader != nullptr) continue;
    entry.leader = &entry;
    leaders.add(job, entry);
    entry.workspace_bytes =
        activation_bytes(job.layer->weight.header, job.args.x.m, job.args.x.x_type, context.x_type())
            .value_or(std::size_t{PTRDIFF_MAX} + 1);
  }
}

std::optional<std::size_t> Batch::workspace_bytes() const {
  std::size_t sum = 0;
  for (const Entry& entry : entries_) {
    if (__builtin_add_overflow(sum, entry.workspace_bytes, &sum) || sum > PTRDIFF_MAX) return std::nullopt;
  }
  return sum;
}

void Batch::run(std::uint8_t* workspace) {
  if (entries_.empty()) return;
  const unsigned threads = jobs_[0].args.threads;
  const CallersLoop& loop = jobs_[0].args.loop;
  const std::span<const Entry> entries = entries_;

  std::uint64_t end = 0;
  bool worth_waking = false;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    Entry& entry = entries_[i];
    if (entry.leader == &entry) {
      const ActivationSource& x = jobs_[i].args.x;
      entry.work.emplace(jobs_[i].layer->weight, x, entry.product.x_type(), workspace, threads);
      workspace += entry.workspace_bytes;
      end += entry.work->tasks();
      worth_waking |= entry.work->tasks() > 1;
    }
    entry.tasks_end = end;
  }
  parallel(context_, tasks_of(entries), worth_waking ? threads : 1, loop, [&](std::size_t i) {
    with_job(entries, i, [](const Entry& entry, std::uint64_t task) { entry.work->run(task); });
  });

  end = 0;
  for (Entry& entry : entries_) entry.tasks_end = end += entry.product.tasks();
  parallel(context_, tasks_of(entries), shares_.threads(threads), loop, [&](std::size_t i) {
    with_job(entries, i,
             [](const Entry& entry, std::uint64_t task) { entry.product.run(task, entry.leader->work->result()); });
  });
}

}  // namespace zenwoq
