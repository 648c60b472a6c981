/* SPDX-FileCopyrightText: 2026 The zenwoq authors
 * SPDX-License-Identifier: Apache-2.0
 *
 * Loads every 4-bit layer of a checkpoint and says what it leaves alone:
 *   cc checkpoint.c $(pkg-config --cflags --libs zenwoq-formats) && ./a.out model.gguf */
#include <stdio.h>
#include <zenwoq/formats.h>

static int failed(void) {
  fprintf(stderr, "%s\n", zenwoq_last_error());
  return 1;
}

int main(int argc, char **argv) {
  zenwoq_context *context = NULL;
  zenwoq_checkpoint *checkpoint = NULL;
  size_t count = 0, i, expert;
  if (argc != 2) return fprintf(stderr, "usage: %s CHECKPOINT\n", argv[0]), 2;
  if (zenwoq_context_create(NULL, &context) || zenwoq_checkpoint_open(argv[1], NULL, &checkpoint) ||
      zenwoq_checkpoint_count(checkpoint, &count)) {
    return failed();
  }
  for (i = 0; i < count; i++) {
    zenwoq_tensor_info info;
    zenwoq_tensor_info_init(&info);
    if (zenwoq_checkpoint_info(checkpoint, i, &info)) return failed();
    if (info.kind != ZENWOQ_TENSOR_LAYER) {
      printf("%s: left alone: %s\n", info.name, info.reason);
      continue;
    }
    for (expert = 0; expert < info.experts; expert++) {
      zenwoq_weight *weight = NULL; /* for zenwoq_linear_create */
      if (zenwoq_checkpoint_load(checkpoint, i, expert, context, &weight)) return failed();
      zenwoq_weight_destroy(weight);
    }
    printf("%s: %lu x %lu, %s, %s\n", info.name, (unsigned long)info.n, (unsigned long)info.k, info.format,
           info.quantization);
  }
  zenwoq_checkpoint_destroy(checkpoint), zenwoq_context_destroy(context);
  return 0;
}
