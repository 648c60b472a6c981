/* SPDX-FileCopyrightText: 2026 The zenwoq authors
 * SPDX-License-Identifier: Apache-2.0
 *
 * zenwoq-formats: 4-bit checkpoints as weights of zenwoq. This header is the manual; zenwoq.h, which it includes, has
 * what is said here of errors, threads, structs and sizes in full.
 *
 * A checkpoint is a folder or file with tensors. Those that together are the weight of a linear layer in a 4-bit format
 * become one entry, which can be loaded; every other tensor is an entry that says why it is left alone. Nothing is guessed:
 * what is of an unknown kind, or of a kind whose results would differ from the file's, is left alone with the reason, and what
 * contradicts itself is an error that names file and tensor. Life order: checkpoint -> info -> weight. Example:
 *
 *   zenwoq_checkpoint *checkpoint = NULL;
 *   size_t count = 0, i;
 *   if (zenwoq_checkpoint_open("model/", NULL, &checkpoint) || zenwoq_checkpoint_count(checkpoint, &count)) return 1;
 *   for (i = 0; i < count; i++) {
 *     zenwoq_tensor_info info;
 *     zenwoq_weight *weight = NULL;
 *     zenwoq_tensor_info_init(&info);
 *     if (zenwoq_checkpoint_info(checkpoint, i, &info)) return 1;
 *     if (info.kind != ZENWOQ_TENSOR_LAYER) continue;
 *     if (zenwoq_checkpoint_load(checkpoint, i, 0, context, &weight)) return 1;
 *     ...
 *   }
 *
 * Errors. As in zenwoq.h; zenwoq_last_error() has the sentence of this library's functions too. ZENWOQ_ERROR_BAD_FILE is what
 * is wrong with a file.
 *
 * Threads. All functions may be called from any thread, and any number of threads may use a checkpoint at once, loading
 * included; destroying it while another thread uses it is the caller's error. Weights outlive their checkpoint.
 *
 * Files may be hostile: every size, offset and count is checked before it is used. They are mapped, not read: they must not be
 * cut or changed by others while the checkpoint is open, or the system answers with SIGBUS. A weight that was loaded
 * needs them no longer.
 */
#ifndef ZENWOQ_FORMATS_H
#define ZENWOQ_FORMATS_H

#include "zenwoq/zenwoq.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct zenwoq_checkpoint zenwoq_checkpoint;

/* Which machine packed weights of TorchAO's Int4OpaqueTensor, which do not say so themselves. The wrong choice is noticed
 * where weights were quantized in TorchAO's usual way; loading then fails. */
typedef ZENWOQ_ENUM(zenwoq_opaque_layout) {
  ZENWOQ_OPAQUE_AVX512 = 0,
  ZENWOQ_OPAQUE_AVX2 = 1
} zenwoq_opaque_layout;

typedef struct zenwoq_checkpoint_options {
  size_t struct_size;
  zenwoq_opaque_layout opaque_layout;
  uint32_t reserved; /* 0 */
} zenwoq_checkpoint_options;

/* Zeroes, then struct_size. */
static inline void zenwoq_checkpoint_options_init(zenwoq_checkpoint_options *options) {
  if (options == NULL) return;
  memset(options, 0, sizeof *options);
  options->struct_size = sizeof *options;
}

/* Opens
 *   - a .safetensors file, which must hold whole layers;
 *   - a .safetensors.index.json, with the shards that it names beside it;
 *   - a .gguf file; of a model in several files any one, with the others beside it;
 *   - a folder with one of these: model.safetensors.index.json, else model.safetensors, else its only GGUF model.
 * Of config.json, quantize_config.json and hf_quant_config.json beside them the quantization is read where a format needs
 * it. A file never names another one outside of its folder (symbolic links are followed). Checks sizes and offsets of all
 * tensors, not their values. options may be NULL (all defaults). On success *checkpoint is the caller's, to be given to
 * zenwoq_checkpoint_destroy; on an error it is NULL.
 * Errors: INVALID_ARGUMENT, BAD_FILE (cannot be opened, of no known kind, damaged, contradicts itself), OUT_OF_MEMORY. */
ZENWOQ_API zenwoq_status zenwoq_checkpoint_open(const char *path, const zenwoq_checkpoint_options *options,
                                                zenwoq_checkpoint **checkpoint);
ZENWOQ_API void zenwoq_checkpoint_destroy(zenwoq_checkpoint *checkpoint); /* NULL is allowed */

/* A tensor in the caller's memory: for runtimes that have loaded one by themselves. */
typedef struct zenwoq_tensor {
  size_t struct_size;
  const char *name;      /* as a file has it: "model.layers.0.mlp.up_proj.qweight" */
  const char *type;      /* as safetensors spells it: "I32", "BF16", "F8_E4M3"; or a type of GGUF's: "q4_k" */
  const uint64_t *shape; /* [rank], rows first; in values, also of a type whose values lie in blocks */
  size_t rank;
  const void *data;      /* row after row without gaps, of any alignment */
  size_t data_bytes;
} zenwoq_tensor;

/* Zeroes, then struct_size. */
static inline void zenwoq_tensor_init(zenwoq_tensor *tensor) {
  if (tensor == NULL) return;
  memset(tensor, 0, sizeof *tensor);
  tensor->struct_size = sizeof *tensor;
}

typedef struct zenwoq_tensors {
  size_t struct_size;
  const zenwoq_tensor *tensors; /* [count], all with one struct_size, which is the distance between them */
  size_t count;
  const char *config;   /* the text of config.json, or of one with "quantization_config" alone; NULL: none */
  const char *metadata; /* the JSON object __metadata__ of a safetensors file, whose values are texts; NULL: none */
} zenwoq_tensors;

/* Zeroes, then struct_size. */
static inline void zenwoq_tensors_init(zenwoq_tensors *tensors) {
  if (tensors == NULL) return;
  memset(tensors, 0, sizeof *tensors);
  tensors->struct_size = sizeof *tensors;
}

/* The same of tensors in memory: those of one layer, say, under the names that a file of its format has. Names, shapes and
 * texts are copied; data are borrowed until the checkpoint is destroyed (weights are not, as always). Sizes are checked
 * as those of files are. Errors: as zenwoq_checkpoint_open, BAD_FILE being what is wrong with the tensors. */
ZENWOQ_API zenwoq_status zenwoq_checkpoint_open_tensors(const zenwoq_tensors *tensors,
                                                        const zenwoq_checkpoint_options *options,
                                                        zenwoq_checkpoint **checkpoint);

typedef ZENWOQ_ENUM(zenwoq_tensor_kind) {
  ZENWOQ_TENSOR_LAYER = 1, /* a 4-bit weight, or the experts' of one layer: can be loaded */
  ZENWOQ_TENSOR_DENSE = 2, /* a tensor of f32, f16 or bf16 numbers that belongs to no layer (norms, embeddings), or of
                              GGUF blocks that are unpacked to them (Q2_K, Q3_K, Q5_0, Q5_1, Q5_K, Q6_K, Q8_0) */
  ZENWOQ_TENSOR_OTHER = 3  /* anything else: other types, and 4-bit weights that are not read */
} zenwoq_tensor_kind;

/* The texts are owned by the checkpoint, never NULL, and printable in one line. */
typedef struct zenwoq_tensor_info {
  size_t struct_size;
  zenwoq_tensor_kind kind;
  uint32_t has_bias;        /* 1 = the layer has a bias */
  const char *name;         /* of a layer: without ".weight"; else the tensor's own, or the weight's that it is a part of */
  const char *reason;       /* why it is left alone: "2-D f32, not quantized"; empty for a layer */
  /* Of layers; empty or 0 for other kinds, source_bytes excepted: */
  const char *format;       /* "torchao intx", "gptq", "awq gemm", "compressed-tensors", "gguf q4_0", ... */
  const char *quantization; /* as zenwoq_weight_text has it: "int4 sym per-group 128, scale bf16" */
  size_t n, k;              /* of each weight */
  size_t experts;           /* weights of this layer: 1, or as many as a mixture of experts has */
  uint64_t source_bytes;    /* in the files: of all its weights, biases not counted; of another kind, of the tensor (0 for a
                               weight of several tensors that is not read) */
  uint64_t packed_bytes;    /* of all its weights once they are loaded */
  zenwoq_dtype bias_type;   /* of the bias in the file */
  uint32_t reserved;
  const char *type;         /* of a tensor's elements as the file spells it: "BF16", "I64", "q6_k"; empty for a layer, and
                               for a weight of several tensors that is not read */
  uint32_t rank;            /* dimensions; 0 for a scalar, and where type is empty but for layers */
  zenwoq_dtype values_type; /* of ZENWOQ_TENSOR_DENSE, else 0: the narrowest type in which all its values are exact */
  uint64_t shape[8];        /* rows first: of a layer n, k, or experts, n, k; of a GGUF file its dimensions from the last to
                               the first. 0 beyond rank; a dense tensor has at most 8, of another the first 8 are here */
} zenwoq_tensor_info;

/* Zeroes, then struct_size: so are all structs that a function fills. */
static inline void zenwoq_tensor_info_init(zenwoq_tensor_info *info) {
  if (info == NULL) return;
  memset(info, 0, sizeof *info);
  info->struct_size = sizeof *info;
}

/* How many entries there are: layers first. Errors: INVALID_ARGUMENT. */
ZENWOQ_API zenwoq_status zenwoq_checkpoint_count(const zenwoq_checkpoint *checkpoint, size_t *count);

/* What entry `index` is. Errors: INVALID_ARGUMENT (index not below the count, struct_size). */
ZENWOQ_API zenwoq_status zenwoq_checkpoint_info(const zenwoq_checkpoint *checkpoint, size_t index, zenwoq_tensor_info *info);

/* The entry with exactly this name; a layer is found by its weight's name ("blk.0.attn_q.weight") too.
 * Errors: INVALID_ARGUMENT (no entry, or more than one, has this name). */
ZENWOQ_API zenwoq_status zenwoq_checkpoint_find(const zenwoq_checkpoint *checkpoint, const char *name, size_t *index);

/* How the weights of layer `index` are described. desc->struct_size must be set (zenwoq_weight_desc_init).
 * Errors: INVALID_ARGUMENT (not a layer). */
ZENWOQ_API zenwoq_status zenwoq_checkpoint_describe(const zenwoq_checkpoint *checkpoint, size_t index,
                                                    zenwoq_weight_desc *desc);

/* Packs weight `expert` (0 where there is one) of layer `index` on the context's threads, as zenwoq_weight_create does.
 * Beside the weight it takes at most some two times the bytes of the weight in the file meanwhile. On success *weight is
 * the caller's, on an error NULL. Errors: INVALID_ARGUMENT (not a layer, expert not below info.experts), BAD_FILE (a
 * value that cannot be: an infinite scale, a code out of range), OUT_OF_MEMORY. */
ZENWOQ_API zenwoq_status zenwoq_checkpoint_load(const zenwoq_checkpoint *checkpoint, size_t index, size_t expert,
                                                zenwoq_context *context, zenwoq_weight **weight);

/* Copies the bias [N] of weight `expert` of layer `index` as `type`: info.bias_type, or ZENWOQ_F32 (exactly the values of
 * the file). A type that would lose bits is UNSUPPORTED. bias needs no alignment. Errors: INVALID_ARGUMENT (no layer with a
 * bias, expert not below info.experts), UNSUPPORTED, BUFFER_TOO_SMALL. */
ZENWOQ_API zenwoq_status zenwoq_checkpoint_bias(const zenwoq_checkpoint *checkpoint, size_t index, size_t expert,
                                                zenwoq_dtype type, void *bias, size_t bias_bytes);

/* Copies all values of tensor `index`, whose kind is ZENWOQ_TENSOR_DENSE, row-major as `type`: info.values_type, or
 * ZENWOQ_F32 (exactly the values of the file; what they are in GGUF's blocks is defined by gguf-py's dequantize, every f32
 * operation in its order). A type that would lose bits is UNSUPPORTED. values is the caller's, needs no alignment, takes
 * the product of info.shape elements and may be NULL if there are none; on an error it is unchanged. Errors:
 * INVALID_ARGUMENT (index not below the count, not a dense tensor), UNSUPPORTED, BUFFER_TOO_SMALL. */
ZENWOQ_API zenwoq_status zenwoq_checkpoint_values(const zenwoq_checkpoint *checkpoint, size_t index, zenwoq_dtype type,
                                                  void *values, size_t values_bytes);

#ifdef __cplusplus
}
#endif
#endif /* ZENWOQ_FORMATS_H */
