/* SPDX-FileCopyrightText: 2026 The zenwoq authors
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <zenwoq/zenwoq.h>

int main(void) {
  static unsigned char codes[128 * 256 / 2]; /* [N, K/2], two codes a byte: all zero, so every weight is -8 * 0.25 */
  static float scales[128], x[256], y[128];  /* one scale a row */
  for (int n = 0; n < 128; n++) scales[n] = 0.25f;
  for (int k = 0; k < 256; k++) x[k] = 1.0f;

  zenwoq_context *context = NULL;
  zenwoq_weight *weight = NULL;
  zenwoq_linear *linear = NULL;
  zenwoq_weight_desc desc;
  zenwoq_weight_desc_init(&desc);
  desc.n = 128, desc.k = 256, desc.scale_type = ZENWOQ_F32;
  zenwoq_weight_source source;
  zenwoq_weight_source_init(&source);
  source.codes = codes, source.codes_bytes = sizeof codes, source.scales = scales, source.scales_bytes = sizeof scales;
  zenwoq_run_args run;
  zenwoq_run_args_init(&run);
  run.m = 1, run.x_type = ZENWOQ_F32, run.x = x, run.x_bytes = sizeof x, run.y = y, run.y_bytes = sizeof y;
  if (zenwoq_context_create(NULL, &context) || zenwoq_weight_create(context, &desc, &source, &weight) ||
      zenwoq_linear_create(context, weight, NULL, &linear) || zenwoq_linear_run(linear, &run)) {
    fprintf(stderr, "%s\n", zenwoq_last_error());
    return 1;
  }
  printf("y[0] = %g\n", y[0]); /* -512 */
  zenwoq_linear_destroy(linear), zenwoq_weight_destroy(weight), zenwoq_context_destroy(context);
  return y[0] == -512.0f ? 0 : 1;
}
