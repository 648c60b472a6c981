// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// One part of the tokens after another, in phases: each is a loop over threads.
#include "src/run/experts.h"

#include "src/run/arena.h"
#include "src/run/product.h"

namespace zenwoq {
namespace {

constexpr std::uint64_t kMaxTokens = 4096;  // at a time: enough rows for each expert that reading weights counts little
constexpr std::uint64_t kRowsBytes = std::uint64_t{256} << 20;  // of scratch, unless one token needs more

// One of an expert's two products.
struct Half {
  RunArguments args;  // those of the product
  std::optional<Product> product;
  Activations activations;
  std::uint8_t* converted;  // where rows are prepared; NULL: they are read as they are
  float* sums;              // [G, rows]; NULL: the weight needs none
};

// An expert that tokens chose. A place is a row of it: of the first one's rows, then of the next one's.
struct ExpertJob {
  const ExpertLayers* layers;
  std::uint64_t first, rows;  // places
  Half gate, down;
  std::uint64_t tasks_end;

  Half& half(bool of_gate) { return of_gate ? gate : down; }
  const Half& half(bool of_gate) const { return of_gate ? gate : down; }
  const Layer& layer(bool of_gate) const { return of_gate ? layers->gate : layers->down; }
};

// Bytes of all that a place has.
struct PlaceBytes {
  std::uint64_t x;     // rows that gate reads; what down wrote lies there later
  std::uint64_t h;     // what gate wrote
  std::uint64_t down;  // rows that down reads, where they are not those
  std::uint64_t gate_sums, down_sums;

  PlaceBytes(const Context& context, const Experts& experts)
      : x(std::max(row_bytes(experts.hidden, context.x_type()), experts.hidden * sizeof(float))),
        h(experts.intermediate * 2),
        down(experts.arranges_down || context.x_type() != ZENWOQ_BF16
                 ? row_bytes(experts.intermediate, context.x_type())
                 : 0),
        gate_sums(experts.gate_sums * sizeof(float)),
        down_sums(experts.down_sums * sizeof(float)) {}
  std::uint64_t all() const { return x + h + down + gate_sums + down_sums; }
};

// Into how many parts tokens are cut, equal ones.
std::uint64_t parts_of(const PlaceBytes& bytes, const ExpertsArguments& args) {
  const std::uint64_t of_memory = kRowsBytes / bytes.all() / std::max<std::uint64_t>(args.slots, 1);
  const std::uint64_t most = std::clamp<std::uint64_t>(of_memory, 1, kMaxTokens);
  return args.tokens / most + (args.tokens % most != 0);
}

// The memory of a part of `tokens` tokens.
struct PartArrays {
  std::uint32_t* begins;    // [E + 1]
  std::uint32_t* place_of;  // [tokens, slots]
  std::uint32_t* token_of;  // [places]
  float* weights;           // [tokens, slots]
  ExpertJob* jobs;          // of the experts that tokens chose
  std::uint8_t* x;          // [places], as the others that follow
  std::uint8_t *h, *down;
  std::uint8_t *gate_sums, *down_sums;

  PartArrays(Arena& arena, const PlaceBytes& bytes, std::size_t experts, std::size_t tokens, std::size_t slots) {
    const auto product = [](std::size_t a, std::size_t b) {
      std::size_t all = 0;
      return __builtin_mul_overflow(a, b, &all) ? SIZE_MAX : all;
    };
    const std::size_t places = product(tokens, slots);
    begins = arena.take<std::uint32_t>(experts + 1);
    place_of = arena.take<std::uint32_t>(places);
    token_of = arena.take<std::uint32_t>(places);
    weights = arena.take<float>(places);
    jobs = arena.take<ExpertJob>(std::min(places, experts));
    x = arena.take<std::uint8_t>(product(places, bytes.x));
    h = arena.take<std::uint8_t>(product(places, bytes.h));
    down = arena.take<std::uint8_t>(product(places, bytes.down));
    gate_sums = arena.take<std::uint8_t>(product(places, bytes.gate_sums));
    down_sums = arena.take<std::uint8_t>(product(places, bytes.down_sums));
  }
};

// Tokens [begin, end) of a run, in memory that the next part uses again.
class Part {
 public:
  Part(Context& context, const Experts& experts, const ExpertsArguments& args, const PlaceBytes& bytes,
       const PartArrays& arrays)
      : context_(context), experts_(experts), args_(args), bytes_(bytes), to_(arrays) {}

  void run(std::uint64_t begin, std::uint64_t end) {
    token_begin_ = begin;
    tokens_ = end - begin;
    sort();
    make_jobs();
    prepare(true, args_.x_type,
            [this](std::uint64_t place) { return args_.x + (token_begin_ + to_.token_of[place]) * args_.ldx_bytes; });
    multiply(true);
    prepare(false, ZENWOQ_BF16, [this](std::uint64_t place) { return to_.h + place * bytes_.h; });
    multiply(false);
    add_up();
  }

 private:
  // The places of each expert, in the order of tokens and slots.
  void sort() {
    const std::size_t experts = experts_.layers.size();
    const std::size_t entries = tokens_ * args_.slots;
    const std::size_t first = token_begin_ * args_.slots;
    const auto chosen = [&](std::size_t i) {
      const auto expert = expert_at(args_, first + i, experts);
      return expert && experts_.layers[*expert] != nullptr ? expert : std::nullopt;
    };
    std::fill_n(to_.begins, experts + 1, 0);
    for (std::size_t i = 0; i < entries; ++i) {
      const auto expert = chosen(i);
      // Remembered, so that what is sorted is what was counted.
      to_.place_of[i] = expert ? static_cast<std::uint32_t>(*expert) : kNoPlace;
      if (expert) ++to_.begins[*expert + 1];
    }
    for (std::size_t e = 0; e < experts; ++e) to_.begins[e + 1] += to_.begins[e];
    places_ = to_.begins[experts];
    for (std::size_t i = 0; i < entries; ++i) {
      to_.weights[i] = load_as_f32(args_.router_type, args_.router, first + i);
      if (to_.place_of[i] == kNoPlace) continue;
      const std::uint32_t place = to_.begins[to_.place_of[i]]++;
      to_.place_of[i] = place;
      to_.token_of[place] = static_cast<std::uint32_t>(i / args_.slots);
    }
    // to_.begins[e] is now where the next expert begins.
  }

  void make_jobs() {
    job_count_ = 0;
    gate_shares_ = down_shares_ = {};
    std::uint64_t first = 0;
    for (std::size_t e = 0; e < experts_.layers.size(); first = to_.begins[e++]) {
      const std::uint64_t rows = to_.begins[e] - first;
      if (rows == 0) continue;
      ExpertJob& job = *new (&to_.jobs[job_count_++]) ExpertJob{experts_.layers[e], first, rows, {}, {}, 0};
      gate_shares_.add(problem_of(job.layers->gate, rows));
      down_shares_.add(problem_of(job.layers->down, rows));
    }
    for (ExpertJob& job : jobs()) {
      job.gate.args = arguments(job, to_.h + job.first * bytes_.h, bytes_.h);
      job.down.args = arguments(job, to_.x + job.first * down_y_bytes(), down_y_bytes());
      job.gate.converted = to_.x + job.first * bytes_.x;
      make(job, true, gate_shares_, to_.gate_sums + job.first * bytes_.gate_sums);
      make(job, false, down_shares_, to_.down_sums + job.first * bytes_.down_sums);
    }
  }

  RunArguments arguments(const ExpertJob& job, std::uint8_t* y, std::uint64_t ldy_bytes) const {
    return {{job.rows, ZENWOQ_BF16, nullptr, 0}, y, ldy_bytes, {}, {}, args_.threads, args_.loop};
  }

  // The product, and where its activations will be.
  void make(ExpertJob& job, bool of_gate, const TaskShares& shares, std::uint8_t* sums) {
    const Layer& layer = job.layer(of_gate);
    Half& half = job.half(of_gate);
    half.product.emplace(context_, layer, half.args, shares.of(problem_of(layer, job.rows), args_.threads));
    const zenwoq_dtype type = half.product->x_type();
    if (!of_gate && converts(layer.weight.header, ZENWOQ_BF16, type)) {
      half.converted = to_.down + job.first * bytes_.down;
    }
    half.sums = layer.weight.header.zero_kind == ZENWOQ_ZERO_NONE ? nullptr : reinterpret_cast<float*>(sums);
    half.activations = half.converted != nullptr
                           ? Activations{half.converted, row_bytes(layer.weight.header.k, type), half.sums}
                           : Activations{to_.h + job.first * bytes_.h, bytes_.h, half.sums};
  }

  // Rows as the kernels of a half take them. row_of(place): where the row is that it reads.
  template <typename RowOf>
  void prepare(bool of_gate, zenwoq_dtype x_type, const RowOf& row_of) {
    const bool any = std::any_of(jobs().begin(), jobs().end(), [&](const ExpertJob& job) {
      return job.half(of_gate).converted != nullptr || job.half(of_gate).sums != nullptr;
    });
    if (!any) return;
    const std::uint64_t k = of_gate ? experts_.hidden : experts_.intermediate;
    const std::uint64_t tasks = row_tasks(places_, k, args_.threads);
    parallel(context_, tasks, args_.threads, args_.loop, [&](std::size_t task) {
      const std::uint64_t end = places_ * (task + 1) / tasks;
      std::uint64_t place = places_ * task / tasks;
      const std::span<const ExpertJob> all = jobs();
      auto job = std::upper_bound(all.begin(), all.end(), place,
                                  [](std::uint64_t at, const ExpertJob& of) { return at < of.first + of.rows; });
      for (; place < end; ++job) {
        const std::uint64_t last = std::min(end, job->first + job->rows);
        for (; place < last; ++place) prepare_place(*job, of_gate, x_type, row_of(place), place - job->first);
      }
    });
  }

  void prepare_place(const ExpertJob& job, bool of_gate, zenwoq_dtype x_type, const std::uint8_t* from,
                     std::uint64_t row) const {
    const Half& half = job.half(of_gate);
    const PackedView& weight = job.layer(of_gate).weight;
    const zenwoq_dtype type = half.product->x_type();
    const std::uint8_t* x = from;
    if (half.converted != nullptr) {
      std::uint8_t* out = half.converted + row * half.activations.ldx_bytes;
      prepare_row(x_type, from, weight.header.k, arrangement_of(weight), type, out);
      x = out;
    }
    if (half.sums == nullptr) return;
    sum_groups(type, x, half.activations.ldx_bytes, 1, weight.header.k, weight.header.group(), half.sums + row,
               job.rows);
  }

  void multiply(bool of_gate) {
    std::uint64_t end = 0;
    for (ExpertJob& job : jobs()) job.tasks_end = end += job.half(of_gate).product->tasks();
    const std::span<const ExpertJob> all = jobs();
    const unsigned threads = (of_gate ? gate_shares_ : down_shares_).threads(args_.threads);
    parallel(context_, end, threads, args_.loop, [&](std::size_t i) {
      with_job(all, i, [of_gate](const ExpertJob& job, std::uint64_t task) {
        job.half(of_gate).product->run(task, job.half(of_gate).activations);
      });
    });
  }

  void add_up() {
    const std::uint64_t tasks =
        row_tasks(tokens_, experts_.hidden * std::max<std::uint64_t>(args_.slots, 1), args_.threads);
    parallel(context_, tasks, args_.threads, args_.loop, [&](std::size_t task) {
      for (std::uint64_t t = tokens_ * task / tasks; t < tokens_ * (task + 1) / tasks; ++t) {
        context_.slot_sum()({reinterpret_cast<const float*>(to_.x), experts_.hidden, to_.place_of + t * args_.slots,
                             to_.weights + t * args_.slots, args_.slots, experts_.output_type,
                             args_.y + (token_begin_ + t) * args_.ldy_bytes});
      }
    });
  }

  std::span<ExpertJob> jobs() const { return {to_.jobs, job_count_}; }
  std::uint64_t down_y_bytes() const { return experts_.hidden * sizeof(float); }

  Context& context_;
  const Experts& experts_;
  const ExpertsArguments& args_;
  const PlaceBytes& bytes_;
  const PartArrays& to_;
  std::uint64_t token_begin_ = 0, tokens_ = 0, places_ = 0;
  std::size_t job_count_ = 0;
  TaskShares gate_shares_, down_shares_;
};

// Of a part.
std::uint64_t most_tokens(const PlaceBytes& bytes, const ExpertsArguments& args) {
  const std::uint64_t parts = parts_of(bytes, args);
  return args.tokens / parts + (args.tokens % parts != 0);
}

}  // namespace

void Experts::note(const ExpertLayers& expert) {
  const auto sums = [](const Layer& layer) {
    return layer.weight.header.zero_kind == ZENWOQ_ZERO_NONE ? 0 : layer.weight.header.groups();
  };
  gate_sums = std::max(gate_sums, sums(expert.gate));
  down_sums = std::max(down_sums, sums(expert.down));
  arranges_down |= converts(expert.down.weight.header, ZENWOQ_BF16, ZENWOQ_BF16);
}

std::optional<std::size_t> expert_at(const ExpertsArguments& args, std::size_t i, std::size_t experts) {
  std::int64_t id = 0;
  if (args.id_bytes == 8) {
    std::memcpy(&id, args.ids + i * 8, 8);
  } else {
    std::int32_t narrow;
    std::memcpy(&narrow, args.ids + i * 4, 4);
    id = narrow;
  }
  if (id < 0 || static_cast<std::uint64_t>(id) >= experts) return std::nullopt;
  return static_cast<std::size_t>(id);
}

std::optional<std::size_t> scratch_bytes(const Context& context, const Experts& experts, const ExpertsArguments& args) {
  Arena arena;
  const PlaceBytes bytes(context, experts);
  (void)PartArrays(arena, bytes, experts.layers.size(), most_tokens(bytes, args), args.slots);
  return arena.bytes();
}

void run(Context& context, const Experts& experts, const ExpertsArguments& args, std::uint8_t* scratch) {
  Arena arena(scratch);
  const PlaceBytes bytes(context, experts);
  const PartArrays arrays(arena, bytes, experts.layers.size(), most_tokens(bytes, args), args.slots);
  Part part(context, experts, args, bytes, arrays);
  const std::uint64_t parts = parts_of(bytes, args);
  for (std::uint64_t i = 0; i < parts; ++i) part.run(args.tokens * i / parts, args.tokens * (i + 1) / parts);
}

}  // namespace zenwoq
