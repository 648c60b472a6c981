/* SPDX-FileCopyrightText: 2026 The zenwoq authors
 * SPDX-License-Identifier: Apache-2.0
 *
 * zenwoq: linear layers with 4-bit weights and bf16 activations on AMD Zen CPUs. This header is the manual.
 *
 *   y[M,N] = x[M,K] * W[N,K]^T (+ bias[N])
 *
 *   W[n,k] = scale[n,g] * (code[n,k] - zero[n,g])          integer zero points: ZENWOQ_ZERO_INTEGER
 *   W[n,k] = scale[n,g] * (value[n,k] - zero[n,g])         zero points that are fractions: ZENWOQ_ZERO_FLOAT
 *   W[n,k] = scale[n,g] * value[n,k] (+ offset[n,g])       none, or additive offsets: ZENWOQ_ZERO_NONE, ZENWOQ_ZERO_OFFSET
 *
 * with code in 0..15, value = table[code] and g = k / group_size. The usual table is value = code - 8
 * (ZENWOQ_TABLE_MINUS_8), so that no zero point means a zero point of 8; with another table, read "code" in the first
 * line as table[code] + 8. A weight may have three things more: a tensor scale, by which y is multiplied or divided before
 * the bias is added; a permutation of its columns (act-order: groups are of columns that lie apart, g = permuted place /
 * group_size); a factor for each column of x. Life order: context -> weight (pack) -> linear -> run. Example (compiled by the
 * tests): examples/hello.c.
 *
 * Results. The same row of x gives the same bits for every tier, M, thread count, alignment and MXCSR state of the
 * caller (arithmetic version ZENWOQ_ARITHMETIC_VERSION); only the sign and payload of a NaN are not promised.
 *
 * Infinities and NaN in x. NaN reaches all of its row of y. So does an infinity where there are zero points or offsets
 * (their part of the sum is taken of all of a group: 0 * inf and inf - inf are NaN) in many columns, where a product with
 * dequantized weights gives infinities; without zero points the two agree. Sums are f32: with K up to 2^21, |scale| and
 * |offset| up to 1 and table values up to 16, finite x below 2^100 (1e30) gives finite y; larger x may overflow on the way, to
 * infinity or NaN. src/reference/arithmetic.md has the exact bound.
 *
 * Errors. Every function returns a zenwoq_status; zenwoq_last_error() gives the sentence that belongs to it. On an
 * error outputs are untouched, unless the function says otherwise. Nothing aborts or throws, and nothing prints unless the
 * environment variable ZENWOQ_VERBOSE asks for it.
 *
 * Threads. All functions may be called from any thread. A context, weight, linear or zenwoq_experts may be used by any
 * number of threads at once; destroying a handle while another thread uses that same handle is the caller's error. Handles keep
 * what they are made from alive: they may be destroyed in any order.
 *
 * Whose threads. A program of its own: the context's pool, whose threads spin for some 30 us after a loop, then sleep. A
 * runtime with threads of its own (OpenMP, TBB, a graph executor, anything whose threads poll): theirs, since two pools on
 * the same CPUs take time from each other, up to half the speed. Give the context one thread and each run a parallel_for
 * and the number of its `threads`, or the context both if the loop is the same for all; pack with zenwoq_weight_pack,
 * range by range.
 *
 * Forks. fork() may be called at any time, whatever other threads do: the child may use and destroy all handles, and the
 * first loop in it starts the pool's threads anew. A parallel_for of the caller must itself work in the child (libgomp's and
 * libomp's threads do not). Children made without the handlers of pthread_atfork (vfork, _Fork, clone) may only exec.
 * A fork waits for calls that are in the making of something: a host that holds a lock of its own around calls of zenwoq and
 * takes it in a handler of pthread_atfork too must register that handler after it has loaded the library (the last one
 * registered is the first to take), or a fork and a call may wait for each other.
 *
 * Environment. It is read as the library is loaded and by zenwoq_context_create, nowhere else. ZENWOQ_TIER caps the tier: avx2
 * or reference. ZENWOQ_VERBOSE=error|warn|info|dispatch writes a line "zenwoq: LEVEL: TEXT" to stderr for each event of this
 * level and those before it, where no log function is set: a call that fails (the level is the latest context's); what makes
 * runs slower than they could be, unless it was asked for; contexts and generated kernels; each run and its kernels.
 * ZENWOQ_PERF=map names kernels for perf in /tmp/perf-PID.map, ZENWOQ_PERF=jitdump:FOLDER in FOLDER/jit-PID.dump (perf
 * record -k mono, perf inject --jit); both never follow links or touch what another user made, and programs with
 * raised privileges ignore them.
 * backtrace(), debuggers and profilers see through kernels (not those that a forked child generates) if libgcc is of 13 or
 * newer, or if ZENWOQ_PERF is set (to nothing else: unwind). With an older libgcc, and so only where that was asked for, each
 * C++ throw of the process then takes a lock of libgcc's, which a child forked meanwhile may find taken for ever.
 *
 * Structs start with struct_size; call their *_init function, which this header compiles into the caller, then set
 * fields. So a program and a library of different versions understand each other: a shorter struct of an older program is
 * completed with the defaults of *_init, the longer one of a newer program is taken as long as the fields that the library
 * does not know are zero. Of a struct that a function fills, struct_size bytes are written, never more.
 *
 * Sizes are in bytes where the name says so, in elements otherwise. Pointers need no alignment, except packed weights
 * (64 bytes).
 */
#ifndef ZENWOQ_H
#define ZENWOQ_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ZENWOQ_VERSION_MAJOR 0
#define ZENWOQ_VERSION_MINOR 1
#define ZENWOQ_VERSION_PATCH 0
#define ZENWOQ_ARITHMETIC_VERSION 1 /* results with the same number have the same bits */
#define ZENWOQ_PACKED_VERSION 3     /* layout of packed weights; those of version 2 are read, and written where they can say it */
#define ZENWOQ_PACKED_ALIGNMENT 64

#if defined(ZENWOQ_STATIC)
#define ZENWOQ_API
#else
#define ZENWOQ_API __attribute__((visibility("default")))
#endif

/* The type of every enum is int, also where a C++ compiler would choose: a value that has no name yet is still a value. */
#ifdef __cplusplus
#define ZENWOQ_ENUM(name) enum name : int
#else
#define ZENWOQ_ENUM(name) enum name
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Status ------------------------------------------------------------------------------------------------- */

typedef ZENWOQ_ENUM(zenwoq_status) {
  ZENWOQ_OK = 0,
  ZENWOQ_ERROR_INVALID_ARGUMENT = 1, /* null pointer, unknown enum value, size that does not fit, non-finite scale */
  ZENWOQ_ERROR_OVERFLOW = 2,         /* a shape whose byte size does not fit in memory */
  ZENWOQ_ERROR_BUFFER_TOO_SMALL = 3, /* a buffer's *_bytes is less than its shape needs */
  ZENWOQ_ERROR_BAD_PACKED = 4,       /* packed bytes: wrong magic, version, checksum or sizes */
  ZENWOQ_ERROR_UNSUPPORTED = 5,      /* a valid request that this version cannot serve */
  ZENWOQ_ERROR_OUT_OF_MEMORY = 6,
  ZENWOQ_ERROR_INTERNAL = 7, /* a defect of zenwoq: please report it with the text */
  ZENWOQ_ERROR_BAD_FILE = 8  /* zenwoq/formats.h: a file that cannot be opened or written, is damaged, or is of no known kind */
} zenwoq_status;

/* Name of a status ("ZENWOQ_OK"); "unknown status" for any other value. Static storage. */
ZENWOQ_API const char *zenwoq_status_name(zenwoq_status status);

/* What went wrong in the calling thread's last zenwoq call, with the offending values and what would be right; empty
 * after ZENWOQ_OK. Owned by the library, valid until the thread's next zenwoq call. */
ZENWOQ_API const char *zenwoq_last_error(void);

/* For libraries on top of this one, as zenwoq/formats.h is: what a function of theirs returns, and its sentence for
 * zenwoq_last_error() and ZENWOQ_VERBOSE. text is copied, and cut after some 700 bytes; NULL is the empty one. Returns
 * status. */
ZENWOQ_API zenwoq_status zenwoq_report(zenwoq_status status, const char *text);

/* "0.1.0". Static storage. */
ZENWOQ_API const char *zenwoq_version(void);

/* ---- Types -------------------------------------------------------------------------------------------------- */

typedef ZENWOQ_ENUM(zenwoq_dtype) {
  ZENWOQ_F32 = 1,
  ZENWOQ_F16 = 2,
  ZENWOQ_BF16 = 3,
  /* Of scales alone. Sources: OCP Microscaling Formats v1.0 (E8M0), OCP 8-bit Floating Point v1.0 (E4M3), ggml. */
  ZENWOQ_E8M0 = 4,   /* a byte e: 2^(e - 127); 255, NaN, is refused. e = 0 counts as 0 in products, as denormals do */
  ZENWOQ_E4M3 = 5,   /* a byte: sign, 4 bits of exponent (bias 7), 3 of mantissa; 0x7F and 0xFF, NaN, are refused */
  /* Two levels: a byte a group, times an f16 of every eight groups (256 k of ggml's K-quants, in groups of 32). K must be a
   * multiple of eight groups. */
  ZENWOQ_U8_F16 = 6, /* bytes 0..255: Q4_K, whose offsets are such products too */
  ZENWOQ_S8_F16 = 7  /* bytes -128..127: IQ4_XS */
} zenwoq_dtype;

typedef ZENWOQ_ENUM(zenwoq_zero_kind) {
  ZENWOQ_ZERO_NONE = 0,    /* W = scale * value */
  ZENWOQ_ZERO_INTEGER = 1, /* W = scale * (code - zero), code = value + 8, zero an int8 in 0..16 per group */
  ZENWOQ_ZERO_OFFSET = 2,  /* W = scale * value + offset, offset in the scale's type (f32, f16, bf16, u8 x f16) per group */
  ZENWOQ_ZERO_FLOAT = 3    /* W = scale * (value - zero), zero an f32, f16 or bf16 (zero_type) per group */
} zenwoq_zero_kind;

typedef ZENWOQ_ENUM(zenwoq_tensor_scale_kind) {
  ZENWOQ_TENSOR_SCALE_NONE = 0,
  ZENWOQ_TENSOR_SCALE_TIMES = 1, /* all scales times tensor_scale: NVFP4 of ModelOpt and TorchAO */
  ZENWOQ_TENSOR_SCALE_BY = 2     /* all scales divided by tensor_scale: NVFP4 of compressed-tensors */
} zenwoq_tensor_scale_kind;

/* What runs a layer. All tiers give the same bits. */
typedef ZENWOQ_ENUM(zenwoq_tier) {
  ZENWOQ_TIER_BEST = 0,       /* no cap */
  ZENWOQ_TIER_REFERENCE = 10, /* plain C++, compiled for FMA where the CPU has it; runs everywhere */
  ZENWOQ_TIER_AVX2 = 20,      /* generated kernels: AVX2, FMA, F16C and BMI2 (Zen 1 to 3, Intel since Haswell) */
  ZENWOQ_TIER_AVX512BF16 = 30 /* generated kernels: AVX-512 F, BW, DQ, VL, BF16 and BMI2 */
} zenwoq_tier;

/* "reference", "avx2", "avx512bf16": the words of the variable ZENWOQ_TIER, of kernel names and of every tool. NULL for any
 * other value. Static storage. */
ZENWOQ_API const char *zenwoq_tier_name(zenwoq_tier tier);

typedef ZENWOQ_ENUM(zenwoq_code_layout) {
  ZENWOQ_CODES_NIBBLES = 0, /* two codes a byte along K, even k in the low four bits; rows of ceil(K/2) bytes */
  ZENWOQ_CODES_U8 = 1,      /* one code a byte, 0..15 */
  ZENWOQ_CODES_S8 = 2,      /* one signed value a byte, -8..7; its code is the low four bits (two's complement) */
  /* Rows of GGUF blocks as they lie in a file or in a host's memory: codes is the first block, scales and zeros are NULL (they
   * are in the blocks). The description must say group_size 32, scale type f16, a K that is a multiple of 32, and ... */
  ZENWOQ_CODES_GGUF_Q4_0 = 3, /* ... ZENWOQ_ZERO_NONE; block: f16 scale, 16 bytes of codes (IQ4_NL too, with its table) */
  ZENWOQ_CODES_GGUF_Q4_1 = 4, /* ... ZENWOQ_ZERO_OFFSET, ZENWOQ_TABLE_UNSIGNED; block: f16 scale, f16 offset, codes */
  ZENWOQ_CODES_GGUF_MXFP4 = 5, /* as Q4_0 with scale type e8m0 and ZENWOQ_TABLE_E2M1; block: the scale's byte, 16 of codes */
  /* The same with 256 codes a block in groups of 32, K a multiple of 256. */
  ZENWOQ_CODES_GGUF_Q4_K = 6,   /* scale type u8 x f16, ZENWOQ_ZERO_OFFSET, ZENWOQ_TABLE_UNSIGNED */
  ZENWOQ_CODES_GGUF_IQ4_XS = 7, /* scale type s8 x f16, ZENWOQ_ZERO_NONE, ZENWOQ_TABLE_IQ4_NL */
  ZENWOQ_CODES_NIBBLES_HIGH = 8, /* as NIBBLES with even k in the high four bits (bitsandbytes); K must be even */
  /* Words of 32 bits with eight codes, the first in the lowest bits. codes_row_bytes: from one row of words to the next. */
  ZENWOQ_CODES_GPTQ = 9, /* [ceil(K/8), N]: word [i,n] has the codes k = 8i .. 8i + 7 of row n */
  ZENWOQ_CODES_AWQ = 10, /* [K, N/8]: word [k,i] has those of rows 8i + 0, 2, 4, 6, 1, 3, 5, 7; N a multiple of 8 */
  ZENWOQ_CODES_AWQ_FAST = 11, /* [N/4, K] words of 16 bits, the order of AutoAWQ's gemv_fast; N a multiple of 4, K of 64 */
  /* Blocks of 64 or 32 rows of K * 32 or 16 bytes, for each k a byte with the codes of rows r and r + 32 (r + 16), r ascending;
   * a last block of fewer rows: of rows 2r and 2r + 1. What _convert_weight_to_int4pack of ATen makes on CPUs with AVX-512 and
   * with AVX2. N a multiple of 16, codes_row_bytes 0. */
  ZENWOQ_CODES_ATEN_64 = 12,
  ZENWOQ_CODES_ATEN_32 = 13
} zenwoq_code_layout;

typedef ZENWOQ_ENUM(zenwoq_code_table) {
  ZENWOQ_TABLE_MINUS_8 = 0,        /* code - 8: GGUF Q4_0, TorchAO opaque, GPTQ, AWQ */
  ZENWOQ_TABLE_TWOS_COMPLEMENT = 1, /* 0..7, -8..-1: TorchAO IntxWeightOnlyConfig with ZENWOQ_CODES_S8 */
  ZENWOQ_TABLE_UNSIGNED = 2, /* code: GGUF Q4_1 and Q4_K */
  ZENWOQ_TABLE_NF4 = 3,      /* bitsandbytes: quantiles of a normal distribution, in products rounded to bf16 */
  ZENWOQ_TABLE_FP4 = 4,      /* bitsandbytes: +-{0, 1/192, 2/3, 1, 1/3, 1/2, 1/6, 1/4}, in products rounded to bf16 */
  ZENWOQ_TABLE_E2M1 = 5,     /* +-{0, 0.5, 1, 1.5, 2, 3, 4, 6}: MXFP4 and NVFP4 */
  ZENWOQ_TABLE_IQ4_NL = 6    /* -127 .. 113: GGUF IQ4_NL and IQ4_XS */
} zenwoq_code_table;

/* Functions of a product's f32 values, in f32: fixed polynomials whose bits are the same in every tier, within 2 ulp where
 * |f(v)| >= 2^-10 |v| and within 2^-33 |v| below (src/reference/arithmetic.md). NaN stays NaN. */
typedef ZENWOQ_ENUM(zenwoq_activation) {
  ZENWOQ_ACTIVATION_NONE = 0,
  ZENWOQ_ACTIVATION_RELU = 1,      /* max(v, 0) */
  ZENWOQ_ACTIVATION_SILU = 2,      /* v / (1 + exp(-v)) */
  ZENWOQ_ACTIVATION_GELU = 3,      /* v / 2 * (1 + erf(v / sqrt(2))) */
  ZENWOQ_ACTIVATION_GELU_TANH = 4, /* v / 2 * (1 + tanh(sqrt(2 / pi) * (v + 0.044715 v^3))) */
  /* Of gated products alone, as gpt-oss has it: g = min(gate, 7), u = min(max(up, -7), 7), g / (1 + exp(-1.702 g)) * (u + 1) */
  ZENWOQ_ACTIVATION_SWIGLU_OAI = 5
} zenwoq_activation;

/* ---- Context ------------------------------------------------------------------------------------------------ */

typedef struct zenwoq_context zenwoq_context;

/* The caller's threads: run task(arg, i) once for every i in [0, n), in any order, on any threads or one after
 * another, and return when all are done. Must not throw. Which to use where: "Whose threads" above; examples/adapters/
 * has it for OpenMP, std::thread and a pool of one's own. */
typedef void (*zenwoq_parallel_for_fn)(void *user, size_t n, void (*task)(void *arg, size_t i), void *arg);

/* One line of text (no newline): creation of kernels, and why a slower tier runs; with ZENWOQ_VERBOSE=dispatch also each
 * run. May be called from any thread; must not throw. */
typedef void (*zenwoq_log_fn)(void *user, const char *line);

typedef struct zenwoq_context_options {
  size_t struct_size;
  uint32_t threads;                    /* threads a run may use, the caller's included; 0 = CPUs the calling thread may use */
  zenwoq_tier max_tier;                /* cap of the tier; never raises it. The variable ZENWOQ_TIER caps further */
  const char *tuning;                  /* NULL = this CPU's; else "zen4", "zen5" or "generic": tiles, never bits */
  size_t code_bytes_max;               /* budget for generated code, 0 = 64 MiB; beyond it the reference runs */
  zenwoq_parallel_for_fn parallel_for; /* NULL = the context's own pool; else `threads` says how many tasks to cut */
  void *parallel_for_user;
  zenwoq_log_fn log; /* NULL = silent */
  void *log_user;
} zenwoq_context_options;

/* Zeroes, then struct_size. Like every *_init it does nothing for NULL. */
static inline void zenwoq_context_options_init(zenwoq_context_options *options) {
  if (options == NULL) return;
  memset(options, 0, sizeof *options);
  options->struct_size = sizeof *options;
}

/* Detects the CPU, probes executable memory, starts the pool. options may be NULL (all defaults).
 * On success *context is the caller's, to be given to zenwoq_context_destroy; on an error *context is NULL.
 * Errors: INVALID_ARGUMENT (null context, struct_size or enum unknown, unknown tuning, unknown value of an environment
 * variable: ZENWOQ_TIER, ZENWOQ_VERBOSE, ZENWOQ_PERF), OUT_OF_MEMORY. If the system refuses threads, the pool runs with fewer.
 *
 * CPUs the calling thread may use: those of its affinity mask, at most as many as the quotas of the process's cgroups (v1 and
 * v2) allow. The pool's threads inherit the mask. Where OMP_PROC_BIND is set, an OpenMP runtime (torch brings one) binds the
 * program's first thread to one CPU as it is loaded: create the context before that or in a thread of another mask, give the
 * first thread its CPUs back (sched_setaffinity), or hand over OpenMP's own threads: examples/adapters/openmp.h. */
ZENWOQ_API zenwoq_status zenwoq_context_create(const zenwoq_context_options *options, zenwoq_context **context);
ZENWOQ_API void zenwoq_context_destroy(zenwoq_context *context); /* NULL is allowed */

/* ---- Weights ------------------------------------------------------------------------------------------------ */

typedef struct zenwoq_weight zenwoq_weight;

typedef struct zenwoq_weight_desc {
  size_t struct_size;
  size_t n; /* output features, >= 1 */
  size_t k; /* input features, >= 1 */
  size_t group_size; /* 0 = per-channel (one scale per row); else a multiple of 8; the last group may be short */
  zenwoq_dtype scale_type;
  zenwoq_zero_kind zero_kind;
  float table[16]; /* value of each code, finite; the product uses it rounded to bf16 (exact for integers, E2M1) */
  zenwoq_dtype zero_type; /* of ZENWOQ_ZERO_FLOAT: f32, f16 or bf16 */
  zenwoq_tensor_scale_kind tensor_scale_kind;
  float tensor_scale; /* finite; not 0 where scales are divided by it */
  uint32_t permuted;  /* 1: columns are permuted, zenwoq_weight_source.permutation says how */
  uint32_t x_scaled;  /* 1: columns of x have factors, zenwoq_weight_source.x_scale */
  uint32_t reserved;  /* 0 */
} zenwoq_weight_desc;

/* Zeroes, then struct_size, scale and zero type bf16, the ZENWOQ_TABLE_MINUS_8 table and a tensor scale of 1. */
static inline void zenwoq_weight_desc_init(zenwoq_weight_desc *desc) {
  int code;
  if (desc == NULL) return;
  memset(desc, 0, sizeof *desc);
  desc->struct_size = sizeof *desc;
  desc->scale_type = ZENWOQ_BF16;
  desc->zero_type = ZENWOQ_BF16;
  desc->tensor_scale = 1.0f;
  for (code = 0; code < 16; code++) desc->table[code] = (float)(code - 8);
}
/* "int4 sym per-group 128, scale bf16": what zenwoq_weight_text says of such a weight; at most 159 bytes and a NUL.
 * Errors: INVALID_ARGUMENT, BUFFER_TOO_SMALL. */
ZENWOQ_API zenwoq_status zenwoq_weight_desc_text(const zenwoq_weight_desc *desc, char *text, size_t text_bytes);

/* Fills one of the usual tables, in f32. Errors: INVALID_ARGUMENT (null, unknown kind). */
ZENWOQ_API zenwoq_status zenwoq_code_table_fill(zenwoq_code_table kind, float table[16]);

/* Unpacked weights. G = ceil(K / group_size), 1 for per-channel. scales and zeros are [N,G], row after row without gaps, or
 * [G,N]. zeros: int8 for ZENWOQ_ZERO_INTEGER, the scale's type for ZENWOQ_ZERO_OFFSET, desc.zero_type for ZENWOQ_ZERO_FLOAT,
 * NULL for ZENWOQ_ZERO_NONE. Of a scale type with two levels, scales (and offsets) are the bytes, and super_scales (and
 * super_offsets) the f16 that they are multiplied with, [N,G/8] (or [G/8,N]). */
typedef struct zenwoq_weight_source {
  size_t struct_size;
  zenwoq_code_layout code_layout;
  const void *codes;
  size_t codes_bytes;
  size_t codes_row_bytes; /* from one row to the next, 0 = rows without gaps */
  const void *scales;
  size_t scales_bytes;
  const void *zeros;
  size_t zeros_bytes;
  uint32_t parameters_by_group; /* 1: scales, zeros and those of the second level are [G,N] */
  uint32_t reserved;            /* 0 */
  const void *super_scales;     /* NULL unless the scale type has two levels */
  size_t super_scales_bytes;
  const void *super_offsets; /* NULL unless there are offsets of two levels */
  size_t super_offsets_bytes;
  /* [K], of a permuted weight: place j of a row is column permutation[j] of codes (and of x), each column once. Place j is in
   * group j / group_size. zenwoq_permutation_fill makes it from a g_idx. NULL otherwise. */
  const uint32_t *permutation;
  size_t permutation_bytes;
  const float *x_scale; /* [K], finite, by column of codes: x is multiplied with it, and rounded to bf16. NULL if there is none */
  size_t x_scale_bytes;
} zenwoq_weight_source;

/* Zeroes, then struct_size. */
static inline void zenwoq_weight_source_init(zenwoq_weight_source *source) {
  if (source == NULL) return;
  memset(source, 0, sizeof *source);
  source->struct_size = sizeof *source;
}

/* The permutation of columns in which those of a group lie side by side: a stable sort by group. g_idx: [K], the group of each
 * column, as GPTQ's act-order stores it. Group g must have the columns that group_size says: group_size, the last what is left.
 * *permuted: 0 if the columns lie so already (permutation is then 0, 1, 2 ...).
 * Errors: INVALID_ARGUMENT (null, a group outside 0..G-1 or of another length, which the text names; group_size as in
 * zenwoq_weight_desc), BUFFER_TOO_SMALL, OUT_OF_MEMORY. */
ZENWOQ_API zenwoq_status zenwoq_permutation_fill(const int32_t *g_idx, size_t g_idx_bytes, size_t k, size_t group_size,
                                                 uint32_t *permutation, size_t permutation_bytes, uint32_t *permuted);

/* Bytes of the packed form, a pure function of desc. In a buffer that is 2 MiB aligned and has huge pages (MADV_HUGEPAGE)
 * runs of one to three rows come ten to thirty points nearer to the speed of memory; memory that a weight owns is like
 * that. Errors: INVALID_ARGUMENT, OVERFLOW. */
ZENWOQ_API zenwoq_status zenwoq_weight_packed_bytes(const zenwoq_weight_desc *desc, size_t *bytes);

/* Packs rows [n_begin, n_end) of source (which describes the whole matrix) into packed, a 64-byte aligned buffer of
 * zenwoq_weight_packed_bytes. n_begin must be a multiple of 64, n_end too or N. Ranges may be packed by different
 * threads at once, in any order; the range that starts at 0 writes the header. Packed bytes are self-describing, may be
 * copied, saved and mapped, and are tied to no CPU. Errors: INVALID_ARGUMENT (also a code out of range, a non-finite scale
 * or offset, a zero outside 0..16: then the range's bytes are unspecified), OVERFLOW, BUFFER_TOO_SMALL.
 * A loader whose own interface cannot fail (a function of a host that returns nothing) must not replace such a scale, nor
 * run what was packed: it keeps the tensor as it came, leaves its products to the host's own code, which gives the NaN that
 * the file says, and reports zenwoq_last_error(), which names row and group. */
ZENWOQ_API zenwoq_status zenwoq_weight_pack(const zenwoq_weight_desc *desc, const zenwoq_weight_source *source,
                                            size_t n_begin, size_t n_end, void *packed, size_t packed_bytes);

/* Packs on the context's threads into memory the weight owns: from 2 MiB on pages that these threads are the first to
 * touch; smaller weights share mappings of 8 MiB, each of which is given back with its last weight. On success *weight is
 * the caller's, on an error NULL. Errors: those of zenwoq_weight_pack for all rows, OUT_OF_MEMORY. source is not kept. */
ZENWOQ_API zenwoq_status zenwoq_weight_create(zenwoq_context *context, const zenwoq_weight_desc *desc,
                                              const zenwoq_weight_source *source, zenwoq_weight **weight);

typedef ZENWOQ_ENUM(zenwoq_ownership) {
  ZENWOQ_BORROW = 0, /* packed must stay valid and unchanged until the weight and its linears are destroyed */
  ZENWOQ_COPY = 1
} zenwoq_ownership;

/* Opens packed bytes, which may be hostile: the header's checksum and every size are checked, never more than
 * packed_bytes is read. Borrowed bytes must be 64-byte aligned, copied ones need not be.
 * Errors: INVALID_ARGUMENT, BAD_PACKED, OUT_OF_MEMORY. */
ZENWOQ_API zenwoq_status zenwoq_weight_open(const void *packed, size_t packed_bytes, zenwoq_ownership ownership,
                                            zenwoq_weight **weight);

/* Whatever keeps borrowed bytes may go: called once, by the thread that destroys the last of a weight and its linears. Must
 * not throw. */
typedef void (*zenwoq_release_fn)(void *user);

/* As zenwoq_weight_open with ZENWOQ_BORROW, and release(user) is called when nothing needs the bytes any longer: how a weight
 * keeps a mapping of a file that several weights share. After an error it is not called. Errors: INVALID_ARGUMENT (also:
 * release is NULL), BAD_PACKED, OUT_OF_MEMORY. */
ZENWOQ_API zenwoq_status zenwoq_weight_open_kept(const void *packed, size_t packed_bytes, zenwoq_release_fn release, void *user,
                                                 zenwoq_weight **weight);
ZENWOQ_API void zenwoq_weight_destroy(zenwoq_weight *weight); /* NULL is allowed */

/* Shape and types of a weight; desc->struct_size must be set (zenwoq_weight_desc_init). Errors: INVALID_ARGUMENT. */
ZENWOQ_API zenwoq_status zenwoq_weight_describe(const zenwoq_weight *weight, zenwoq_weight_desc *desc);
/* "int4 sym per-group 128, scale bf16": the wording of every tool. Owned by the weight. NULL for NULL. */
ZENWOQ_API const char *zenwoq_weight_text(const zenwoq_weight *weight);
/* The packed bytes; owned by the weight or borrowed as they were. Errors: INVALID_ARGUMENT. */
ZENWOQ_API zenwoq_status zenwoq_weight_packed(const zenwoq_weight *weight, const void **packed, size_t *packed_bytes);

/* Codes [N, ceil(K/2)] as ZENWOQ_CODES_NIBBLES, scales and zeros [N,G] exactly as they were packed (columns of codes in the
 * source's order, permuted or not). A NULL buffer with 0 bytes is left out. Errors: INVALID_ARGUMENT, BUFFER_TOO_SMALL. */
ZENWOQ_API zenwoq_status zenwoq_weight_unpack(const zenwoq_weight *weight, void *codes, size_t codes_bytes, void *scales,
                                              size_t scales_bytes, void *zeros, size_t zeros_bytes);

/* The other arrays of a weight's source, each [N,G/8] or [K]; those that it does not have must be NULL with 0 bytes. */
typedef struct zenwoq_weight_extras {
  size_t struct_size;
  void *super_scales; /* f16 */
  size_t super_scales_bytes;
  void *super_offsets;
  size_t super_offsets_bytes;
  uint32_t *permutation;
  size_t permutation_bytes;
  float *x_scale;
  size_t x_scale_bytes;
} zenwoq_weight_extras;

/* Zeroes, then struct_size. */
static inline void zenwoq_weight_extras_init(zenwoq_weight_extras *extras) {
  if (extras == NULL) return;
  memset(extras, 0, sizeof *extras);
  extras->struct_size = sizeof *extras;
}

/* Fills the arrays that extras points to, exactly as they were packed; NULL ones with 0 bytes are left out.
 * Errors: INVALID_ARGUMENT (also an array that the weight does not have), BUFFER_TOO_SMALL. */
ZENWOQ_API zenwoq_status zenwoq_weight_unpack_extras(const zenwoq_weight *weight, const zenwoq_weight_extras *extras);

/* Rows [n_begin, n_end) of W in f32, rows of K without gaps, columns in the source's order, one rounding each: s * (code - zero),
 * s * (value - zero) (zero points that are fractions: the difference is rounded too), or fma(s, value, offset), where s is the
 * scale, with a tensor scale their product or quotient rounded to f32 (and so the offset); denormals are kept. Factors of x are
 * no part of W. Errors: INVALID_ARGUMENT, BUFFER_TOO_SMALL. */
ZENWOQ_API zenwoq_status zenwoq_weight_dequantize(const zenwoq_weight *weight, size_t n_begin, size_t n_end, float *values,
                                                  size_t values_bytes);

/* Part of a weight as a weight of its own, copied into packed, a 64-byte aligned buffer of zenwoq_weight_slice_bytes: rows
 * [n_begin, n_end) and of them columns [k_begin, k_end), for hosts that share a layer among processes. The bytes are those that
 * packing that part of the source gives, with the same group_size; factors of x are cut with the columns, and of a weight with
 * one group a row its scales, zeros and offsets are there again in every part.
 * n_begin must be a multiple of 64, n_end too or N. Columns must begin and end with groups, where scales have two levels with
 * eight groups, where there is one group a row at multiples of 8, or end at K. Of a permuted weight only all columns can be taken.
 * What the parts of K give, added, is x * W^T but for the order of sums: it has not its bits.
 * Errors: INVALID_ARGUMENT (also ranges that are none of these, packed that overlaps the weight's bytes), BUFFER_TOO_SMALL. */
ZENWOQ_API zenwoq_status zenwoq_weight_slice_bytes(const zenwoq_weight *weight, size_t n_begin, size_t n_end, size_t k_begin,
                                                   size_t k_end, size_t *bytes);
ZENWOQ_API zenwoq_status zenwoq_weight_slice(const zenwoq_weight *weight, size_t n_begin, size_t n_end, size_t k_begin,
                                             size_t k_end, void *packed, size_t packed_bytes);

/* The rows of `count` weights (at least one, one of them more than once if need be), one weight's below the other's, as one
 * weight: copied into packed, a 64-byte aligned buffer of zenwoq_weights_join_bytes. The bytes are those that packing all rows
 * gives, with the group_size of weights[0]. They must be alike in all that is not N (also permutation, factors of x, and the
 * tensor scale's value), and the N of each but the last a multiple of 64.
 * Errors: INVALID_ARGUMENT (also NULL entries, count 0, weights that do not fit, which the text names, packed that overlaps bytes
 * of theirs), OVERFLOW, BUFFER_TOO_SMALL, OUT_OF_MEMORY. */
ZENWOQ_API zenwoq_status zenwoq_weights_join_bytes(const zenwoq_weight *const *weights, size_t count, size_t *bytes);
ZENWOQ_API zenwoq_status zenwoq_weights_join(const zenwoq_weight *const *weights, size_t count, void *packed,
                                             size_t packed_bytes);

/* ---- Linear ------------------------------------------------------------------------------------------------- */

typedef struct zenwoq_linear zenwoq_linear;

typedef struct zenwoq_linear_desc {
  size_t struct_size;
  zenwoq_dtype output_type; /* ZENWOQ_F32 or ZENWOQ_BF16 */
  zenwoq_dtype bias_type;   /* of bias and up_bias, used where one of them is not NULL: f32, f16 or bf16 */
  const void *bias;         /* [N] or NULL; copied by zenwoq_linear_create, borrowed by runs of packed bytes */
  size_t bias_bytes;
  /* What is done to the sums, in this order, in f32, before the one rounding to the output type:
   *   v = x * W^T + bias;  v = activation(v);  v = v * factor;  v = v + residual[0];  v = v + residual[1] */
  zenwoq_activation activation;
  uint32_t factors;   /* 1: each run brings a matrix to multiply with; else 0 */
  uint32_t residuals; /* how many matrices each run brings to add, 0 to 2 */
  uint32_t halves;    /* 1: one weight holds gate and up, as below; else 0 */
  /* A gated product, v = activation(x * Wgate^T + bias) * (x * Wup^T + up_bias), without either in memory; factors and
   * residuals must be 0. Gate is the linear's weight, and up what one of the next two names, or with halves the weight's rows
   * from N/2 on (so of bias; N must be a multiple of 128, up_bias NULL, and y is [M,N/2]): one of the three, or no gated
   * product. Gate and up must be alike in shape, group size, types of scales and zeros, table, kind of tensor scale,
   * permutation and factors of columns, and may be the same weight. Of a pair with one bias the other one counts as zeroes. */
  zenwoq_weight *up; /* for zenwoq_linear_create alone, which keeps it alive as it does its weight */
  /* For zenwoq_packed_run and zenwoq_packed_runs alone, which keep and copy nothing. Its bytes may overlap those of gate. */
  const struct zenwoq_packed *up_packed;
  const void *up_bias; /* [N] of bias_type, or NULL; copied or borrowed as bias is */
  size_t up_bias_bytes;
} zenwoq_linear_desc;

/* Zeroes, then struct_size, output and bias type f32. */
static inline void zenwoq_linear_desc_init(zenwoq_linear_desc *desc) {
  if (desc == NULL) return;
  memset(desc, 0, sizeof *desc);
  desc->struct_size = sizeof *desc;
  desc->output_type = ZENWOQ_F32;
  desc->bias_type = ZENWOQ_F32;
}

/* A layer on a context. Kernels are generated on first use or by zenwoq_linear_prepare. desc may be NULL (f32, no bias);
 * nothing of it is kept but what it says is kept alive. On success *linear is the caller's, on an error NULL.
 * Errors: INVALID_ARGUMENT (null; an unknown enum value; counts and combinations that zenwoq_linear_desc does not allow;
 * up_packed; a pair that is not alike, halves of a weight whose N does not fit), BUFFER_TOO_SMALL (a bias), OUT_OF_MEMORY. */
ZENWOQ_API zenwoq_status zenwoq_linear_create(zenwoq_context *context, zenwoq_weight *weight, const zenwoq_linear_desc *desc,
                                              zenwoq_linear **linear);
ZENWOQ_API void zenwoq_linear_destroy(zenwoq_linear *linear); /* NULL is allowed */

/* Generates every kernel that runs of m rows need, so that the first run is as fast as the next. A tier that cannot
 * run is no error: see zenwoq_linear_kernel. Errors: INVALID_ARGUMENT, OUT_OF_MEMORY. */
ZENWOQ_API zenwoq_status zenwoq_linear_prepare(zenwoq_linear *linear, size_t m);

/* A matrix [M,N] of the linear's output type, of y's shape, row m at data + m * ld elements. */
typedef struct zenwoq_matrix {
  const void *data; /* NULL: there is none */
  size_t ld;        /* 0 = N */
  size_t bytes;     /* at least ((M-1) * ld + N) elements */
} zenwoq_matrix;

typedef struct zenwoq_run_args {
  size_t struct_size;
  size_t m;            /* rows; 0 is allowed and does nothing */
  zenwoq_dtype x_type; /* f32 and f16 are first rounded to bf16, to nearest even */
  const void *x;       /* [M,K], row m at x + m * ldx elements */
  size_t ldx;          /* 0 = K */
  size_t x_bytes;      /* at least ((M-1) * ldx + K) elements */
  void *y;             /* [M,N] in the linear's output type; not read unless it is a factor or residual; bytes between the rows
                        * are untouched. Of a linear with halves, N is here and below half of the weight's */
  size_t ldy;          /* 0 = N */
  size_t y_bytes;
  void *workspace; /* NULL = the library's own scratch, kept for the next run */
  size_t workspace_bytes;
  uint32_t threads;  /* this run's, at most the context's; 0 = the context's. With parallel_for: tasks to cut, not 0 */
  uint32_t reserved; /* 0 */
  zenwoq_parallel_for_fn parallel_for; /* NULL = the context's threads; else this run's, which must say how many */
  void *parallel_for_user;
  /* As many as the linear's desc says, the others zeroes. Each may be y itself (same address, and where M > 1 the same ld: it is
   * read before it is written), but not overlap y otherwise, nor workspace; it may overlap all that is only read. */
  zenwoq_matrix factor;
  zenwoq_matrix residual[2];
} zenwoq_run_args;

/* Zeroes, then struct_size and x_type bf16. */
static inline void zenwoq_run_args_init(zenwoq_run_args *args) {
  if (args == NULL) return;
  memset(args, 0, sizeof *args);
  args->struct_size = sizeof *args;
  args->x_type = ZENWOQ_BF16;
}

/* Workspace of a run, any alignment; a pure function of the arguments and the context's tier. 0 if none is needed: on the
 * tiers avx512bf16 and reference for bf16 rows of a weight without zeros, permutation and factors, on avx2 (whose kernels
 * read rows in f32) only for small products.
 * Errors: INVALID_ARGUMENT, OVERFLOW. */
ZENWOQ_API zenwoq_status zenwoq_linear_workspace_bytes(const zenwoq_linear *linear, size_t m, zenwoq_dtype x_type,
                                                       size_t *bytes);

/* y = x * W^T + bias, and what the linear's desc adds. x, y and workspace must not overlap. Allocates nothing once the kernels
 * exist and a workspace is given. The calling thread, and each that runs tasks of a parallel_for, needs 64 KiB of stack, here and
 * in every run that follows: kernels of many rows decode codes there. Generating kernels (a first run, _prepare) is not promised
 * so small a stack; where there is no memory for one, the reference runs in its place, with the same bits.
 * Errors: INVALID_ARGUMENT, OVERFLOW, BUFFER_TOO_SMALL, OUT_OF_MEMORY (own scratch). */
ZENWOQ_API zenwoq_status zenwoq_linear_run(zenwoq_linear *linear, const zenwoq_run_args *args);

/* Runs of several linears of one context, as if each were run alone, with the same bits, in one loop over threads: the
 * projections of an attention (which share x: it is prepared once), or one product for each of several batches. linears and args
 * have count entries, which are only read; a linear may be there more than once. count = 0 does nothing. threads and parallel_for
 * are those of args[0], and all others' must be equal; each workspace must be NULL.
 * No y may overlap anything of another run, but rows of several y may lie side by side in one matrix (with one ldy where there is
 * more than one row). In place a run may be as if alone: factor and residuals that are its own y. What is only read may overlap.
 * Errors: those of zenwoq_linear_run (the text names the run), INVALID_ARGUMENT (also a NULL entry, linears of different
 * contexts, threads or a parallel_for that differ, a workspace), OVERFLOW (also of all runs together); all is checked before
 * anything is written. Allocates nothing once the kernels and the library's scratch are there. */
ZENWOQ_API zenwoq_status zenwoq_linears_run(zenwoq_linear *const *linears, const zenwoq_run_args *const *args, size_t count);

/* ---- Packed bytes without handles ------------------------------------------------------------------------------ */

/* Packed bytes as a caller holds them, borrowed for the length of one call: any alignment, 64 bytes is the fastest. */
typedef struct zenwoq_packed {
  size_t struct_size;
  const void *packed;
  size_t packed_bytes;
  size_t n, k; /* the shape that the caller takes the weight to have: another one in the header is an error */
} zenwoq_packed;

/* Zeroes, then struct_size. */
static inline void zenwoq_packed_init(zenwoq_packed *packed) {
  if (packed == NULL) return;
  memset(packed, 0, sizeof *packed);
  packed->struct_size = sizeof *packed;
}

/* Shape and types of packed bytes, checked as in zenwoq_weight_open; packed->n and k are not looked at.
 * Errors: INVALID_ARGUMENT, BAD_PACKED. */
ZENWOQ_API zenwoq_status zenwoq_packed_describe(const zenwoq_packed *packed, zenwoq_weight_desc *desc);

/* Makes rows [n_begin, n_end) of writable packed bytes, which are checked as in zenwoq_weight_open, a packed weight where they
 * lie: *cut and *cut_bytes, within the given bytes and as they are aligned (modulo 64). No panel is moved: its header is written
 * into the 256 bytes before its first panel, and permutation, factors of x and spare bytes behind its last one. So a process that
 * needs some rows of a file maps it privately (MAP_PRIVATE) and makes copies of two or three pages, whatever the weight's size.
 * The given bytes are then no packed weight any longer (their header is cleared, unless n_begin is 0), and nothing that was opened
 * on them may be used again; a second part needs a mapping of its own. n_begin must be a multiple of 64, n_end too or N.
 * Errors, after which nothing has changed: INVALID_ARGUMENT (null, rows), BAD_PACKED. */
ZENWOQ_API zenwoq_status zenwoq_packed_cut(void *packed, size_t packed_bytes, size_t n_begin, size_t n_end, void **cut,
                                           size_t *cut_bytes);

/* The same bits as a linear made from the same bytes and desc (NULL: f32, no bias), for runtimes whose weights are
 * tensors that may move or change between two calls: nothing is kept of packed, desc->up_packed and biases, headers are checked
 * at each call, and the context finds the kernels. y must overlap none of these. Allocates nothing once the kernels and the
 * library's scratch are there; args->workspace must be NULL. Errors: those of zenwoq_linear_create (but here desc->up must be
 * NULL) and zenwoq_linear_run; INVALID_ARGUMENT (also a shape that is not the caller's n and k); BAD_PACKED. */
ZENWOQ_API zenwoq_status zenwoq_packed_run(zenwoq_context *context, const zenwoq_packed *packed, const zenwoq_linear_desc *desc,
                                           const zenwoq_run_args *args);

/* As zenwoq_linears_run, of packed bytes: count entries each, descs, or one of them, may be NULL. No y may overlap packed bytes
 * and biases of any run, its own included. Errors: those of zenwoq_linears_run and zenwoq_packed_run; the text names the run. */
ZENWOQ_API zenwoq_status zenwoq_packed_runs(zenwoq_context *context, const zenwoq_packed *const *packed,
                                            const zenwoq_linear_desc *const *descs, const zenwoq_run_args *const *args,
                                            size_t count);

/* ---- Mixture of experts ------------------------------------------------------------------------------------------ */

/* The experts of a mixture-of-experts block: for each token t, over its slots s in order,
 *
 *   sum = +0;  for s: e = ids[t,s];  h = bf16(activation(x[t] Wgate[e]^T + bias) * (x[t] Wup[e]^T + bias))
 *                     sum = fma(router[t,s], h Wdown[e]^T + bias, sum)
 *   y[t] = sum, rounded once if y is bf16
 *
 * with h rounded to bf16 once, all else in f32. A slot whose id is < 0 or >= the number of experts is skipped (expert
 * parallelism: another process has it). So a token has the same bits alone and in any batch, for any number of threads. */
typedef struct zenwoq_experts zenwoq_experts;

typedef struct zenwoq_experts_desc {
  size_t struct_size;
  size_t experts; /* E >= 1 */
  size_t hidden, intermediate; /* H and I */
  /* [E] each; the arrays are only read, the weights kept alive. gate and up [I,H], each pair alike as zenwoq_linear_desc says,
   * down [H,I]; experts need not be alike, and a weight may be there more than once. */
  zenwoq_weight *const *gate;
  zenwoq_weight *const *up; /* NULL: each gate is [2I,H], its first I rows gate, the others up; I a multiple of 64 */
  zenwoq_weight *const *down;
  zenwoq_activation activation; /* not NONE */
  zenwoq_dtype output_type;     /* f32 or bf16 */
  zenwoq_dtype bias_type;       /* of all three, used where one of them is not NULL: f32, f16 or bf16 */
  const void *gate_bias; /* [E,I] ([E,2I] where up is NULL), or NULL; copied, as the others */
  size_t gate_bias_bytes;
  const void *up_bias; /* [E,I], or NULL, as where up is NULL. Of gate and up with one bias the other one counts as zeroes */
  size_t up_bias_bytes;
  const void *down_bias; /* [E,H], or NULL */
  size_t down_bias_bytes;
} zenwoq_experts_desc;

/* Zeroes, then struct_size, SiLU, output and bias type f32. */
static inline void zenwoq_experts_desc_init(zenwoq_experts_desc *desc) {
  if (desc == NULL) return;
  memset(desc, 0, sizeof *desc);
  desc->struct_size = sizeof *desc;
  desc->activation = ZENWOQ_ACTIVATION_SILU;
  desc->output_type = ZENWOQ_F32;
  desc->bias_type = ZENWOQ_F32;
}

/* On success *experts is the caller's, on an error NULL; nothing of desc is kept but weights. Errors: INVALID_ARGUMENT (null; an
 * enum value that is not named above; sizes and combinations that zenwoq_experts_desc does not allow; weights of another shape, or
 * that are not alike: the text names the expert),
 * BUFFER_TOO_SMALL (a bias), OVERFLOW (more than 2^31 - 1 experts, sizes), OUT_OF_MEMORY. */
ZENWOQ_API zenwoq_status zenwoq_experts_create(zenwoq_context *context, const zenwoq_experts_desc *desc,
                                               zenwoq_experts **experts);
ZENWOQ_API void zenwoq_experts_destroy(zenwoq_experts *experts); /* NULL is allowed */

/* Generates every kernel that runs need in which an expert has 1 to `rows` rows (of tokens * slots at most; more than 1024 need
 * no others), as zenwoq_linear_prepare does. Errors: INVALID_ARGUMENT (null), OUT_OF_MEMORY. */
ZENWOQ_API zenwoq_status zenwoq_experts_prepare(zenwoq_experts *experts, size_t rows);

typedef struct zenwoq_experts_args {
  size_t struct_size;
  size_t tokens, slots; /* T, and S experts of each token, one of them more than once if need be; 0 tokens do nothing, 0 slots
                         * give zeroes and need neither ids nor router */
  zenwoq_dtype x_type;  /* f32 and f16 are first rounded to bf16, to nearest even */
  const void *x;        /* [T,H] */
  size_t ldx;           /* 0 = H */
  size_t x_bytes;
  const void *ids; /* [T,S] signed integers of id_bytes each, without gaps */
  size_t id_bytes; /* 4 or 8 */
  size_t ids_bytes;
  zenwoq_dtype router_type;
  const void *router; /* [T,S] f32, f16 or bf16 without gaps; that of a slot that is skipped may be anything */
  size_t router_bytes;
  void *y; /* [T,H] in the output type; never read; bytes between the rows are untouched */
  size_t ldy; /* 0 = H */
  size_t y_bytes;
  uint32_t threads;  /* as in zenwoq_run_args, so the next three */
  uint32_t reserved; /* 0 */
  zenwoq_parallel_for_fn parallel_for;
  void *parallel_for_user;
} zenwoq_experts_args;

/* Zeroes, then struct_size, x_type bf16, router_type f32 and ids of 4 bytes. */
static inline void zenwoq_experts_args_init(zenwoq_experts_args *args) {
  if (args == NULL) return;
  memset(args, 0, sizeof *args);
  args->struct_size = sizeof *args;
  args->x_type = ZENWOQ_BF16;
  args->router_type = ZENWOQ_F32;
  args->id_bytes = 4;
}

/* Work is cut by (expert, rows, columns), so one token, or one expert that all tokens chose, still uses all threads. y may
 * not overlap x, ids or router; these may overlap each other. Scratch is the context's, kept for the next run: about tokens *
 * slots * (4 H + 2 I) bytes (4 H + 6 I on avx2), of as many tokens at a time as need 256 MiB, at most 4096. Allocates nothing
 * once the kernels and that scratch are there. Stack: as zenwoq_linear_run.
 * Errors: INVALID_ARGUMENT, OVERFLOW (also slots beyond 2^31 - 1), BUFFER_TOO_SMALL, OUT_OF_MEMORY (scratch); nothing is written
 * before an error. */
ZENWOQ_API zenwoq_status zenwoq_experts_run(zenwoq_experts *experts, const zenwoq_experts_args *args);

/* The experts' packed weights as a runtime holds them in three tensors: those of expert e begin at gate + e * gate_stride (up,
 * down) and reach at most to where the next begin, those of the last to the end of the tensor. Borrowed for one call; any
 * alignment, 64 bytes (of strides too) is the fastest. Tensors may overlap. Only experts that a token chose are looked at. */
typedef struct zenwoq_packed_experts {
  size_t struct_size;
  size_t experts;
  size_t hidden, intermediate;
  const void *gate;
  size_t gate_stride, gate_bytes; /* from one expert to the next, and of the tensor */
  const void *up; /* NULL: gate has both, as in zenwoq_experts_desc */
  size_t up_stride, up_bytes;
  const void *down;
  size_t down_stride, down_bytes;
  zenwoq_activation activation;
  zenwoq_dtype output_type, bias_type;
  const void *gate_bias, *up_bias, *down_bias; /* as in zenwoq_experts_desc, but borrowed */
  size_t gate_bias_bytes, up_bias_bytes, down_bias_bytes;
} zenwoq_packed_experts;

/* Zeroes, then struct_size, SiLU, output and bias type f32. */
static inline void zenwoq_packed_experts_init(zenwoq_packed_experts *experts) {
  if (experts == NULL) return;
  memset(experts, 0, sizeof *experts);
  experts->struct_size = sizeof *experts;
  experts->activation = ZENWOQ_ACTIVATION_SILU;
  experts->output_type = ZENWOQ_F32;
  experts->bias_type = ZENWOQ_F32;
}

/* The same bits as zenwoq_experts_run of the same bytes. Nothing is kept; the headers of the experts that are looked at are
 * checked at each call, before anything is written. y may overlap none of the tensors and biases. Errors: those of
 * zenwoq_experts_create and zenwoq_experts_run, BUFFER_TOO_SMALL (also a tensor that ends before its last expert begins),
 * BAD_PACKED; the text names the expert. */
ZENWOQ_API zenwoq_status zenwoq_packed_experts_run(zenwoq_context *context, const zenwoq_packed_experts *experts,
                                                   const zenwoq_experts_args *args);

/* ---- Inspection --------------------------------------------------------------------------------------------- */

typedef struct zenwoq_cpu_info {
  size_t struct_size;
  char vendor[16];  /* "AuthenticAMD" */
  char brand[64];   /* brand string of the CPU */
  char uarch[16];   /* "zen1".."zen5", or "unknown" */
  char tuning[16];  /* the tile table in use */
  uint32_t family, model, stepping;
  uint32_t avx2, avx512bf16;              /* 1 = what that tier needs of the CPU and the operating system is there */
  uint64_t l1d_bytes, l2_bytes, l3_bytes; /* per core, per core, per CCX; a fallback where cache_source says so */
  char cache_source[16];                  /* "cpuid" or "fallback" */
  uint32_t threads;                       /* threads a run may use */
  zenwoq_tier tier;                       /* the tier that runs */
  char tier_reason[192];                  /* why no higher tier runs; empty if none is higher */
  char code_memory[192];                  /* "memfd", "mprotect", or "none: ..." with the system's reason */
} zenwoq_cpu_info;

/* Zeroes, then struct_size: so are all structs that a function fills. */
static inline void zenwoq_cpu_info_init(zenwoq_cpu_info *info) {
  if (info == NULL) return;
  memset(info, 0, sizeof *info);
  info->struct_size = sizeof *info;
}

/* Errors: INVALID_ARGUMENT (null, struct_size). */
ZENWOQ_API zenwoq_status zenwoq_context_cpu_info(const zenwoq_context *context, zenwoq_cpu_info *info);

/* Why generated kernels of a tier cannot run in this context: a missing feature, a cap, no executable memory. Empty if they
 * can (or for the reference, which always can); NULL for a NULL context or an unknown tier. Owned by the context. */
ZENWOQ_API const char *zenwoq_context_why_not(const zenwoq_context *context, zenwoq_tier tier);

typedef struct zenwoq_registry_stats {
  size_t struct_size;
  uint64_t kernels;       /* generated and kept */
  uint64_t code_bytes;    /* of these kernels */
  uint64_t generation_ns; /* total time of generating them */
  uint64_t refused;       /* keys remembered as unsupported */
  uint64_t failed;        /* generations that found no memory; tried again at the next use */
} zenwoq_registry_stats;

/* Zeroes, then struct_size. */
static inline void zenwoq_registry_stats_init(zenwoq_registry_stats *stats) {
  if (stats == NULL) return;
  memset(stats, 0, sizeof *stats);
  stats->struct_size = sizeof *stats;
}

/* Errors: INVALID_ARGUMENT (null, struct_size). */
ZENWOQ_API zenwoq_status zenwoq_context_registry_stats(const zenwoq_context *context, zenwoq_registry_stats *stats);

typedef struct zenwoq_kernel_info {
  size_t struct_size;
  char name[128];         /* "gemm_bf16_t4_g128_k4096_sbf16_z0_m6x2_yf32_avx512bf16_p4096", or "reference" */
  zenwoq_tier tier;
  const void *address;    /* NULL for the reference */
  size_t code_bytes;
  uint64_t generation_ns;
  char reason[192];       /* why the reference runs; empty for a generated kernel */
} zenwoq_kernel_info;

/* Zeroes, then struct_size. */
static inline void zenwoq_kernel_info_init(zenwoq_kernel_info *info) {
  if (info == NULL) return;
  memset(info, 0, sizeof *info);
  info->struct_size = sizeof *info;
}

/* Kernels that runs of m rows use, generated if need be: fills *count, and info (if not NULL) for the kernel with this
 * index. Errors: INVALID_ARGUMENT (index not below the count). */
ZENWOQ_API zenwoq_status zenwoq_linear_kernel(zenwoq_linear *linear, size_t m, size_t index, size_t *count,
                                              zenwoq_kernel_info *info);

/* The code of a kernel by name, the same bytes on every x86-64 machine: fills *code_bytes, and code if code_capacity is
 * large enough (code may be NULL with 0). Errors: INVALID_ARGUMENT (a name outside the grammar), UNSUPPORTED (a tile that
 * does not fit the registers), BUFFER_TOO_SMALL, OUT_OF_MEMORY. */
ZENWOQ_API zenwoq_status zenwoq_kernel_emit(const char *name, void *code, size_t code_capacity, size_t *code_bytes);

#ifdef __cplusplus
}
#endif
#endif /* ZENWOQ_H */
