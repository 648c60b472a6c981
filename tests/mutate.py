#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Breaks the library on purpose, one mistake at a time, and asks whether a test notices.

Each entry of MUTATIONS is a mistake that somebody could make, with the test programs that must notice it: those of what
the library does. golden_test is none of them: it notices every changed byte of code and so says nothing of what is
wrong. A mutation whose text is no longer in its file is stale and has to be written again. tools/test.sh leaves this
out: it takes some minutes.

mutate.py                  copies the tree to a temporary folder, builds, mutates, runs tests; one line a mutation
mutate.py --list           the mutations
mutate.py --only TEXT      those with TEXT in their name or file
mutate.py --keep FOLDER    works in FOLDER and leaves it, so that the next call builds little
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Mutation:
    """One mistake: what it breaks, the text that occurs once in the file and what stands there instead."""

    name: str
    file: str
    find: str
    replace: str
    noticed_by: tuple[str, ...]


KERNEL = ("kernel_property_test",)
RUN = ("run_property_test",)
PLAN = ("plan_test",)
PACK = ("pack_test",)
PARTS = ("weight_parts_test",)
LAYOUTS = ("code_layouts_test",)
BATCH = ("batch_test",)
EXPERTS = ("experts_test",)
API = ("api_test",)
KEY = ("key_test",)
REFERENCE = ("reference_test",)
ACTIVATION = ("activation_test",)
EPILOGUE = ("epilogue_api_test",)
EPILOGUE_ERRORS = ("epilogue_errors_test",)

# By file, those that many include last: what one mutation restores is compiled together with the next.
MUTATIONS = [
    # Formats
    Mutation(
        "Zeros of GPTQ lose what version 1 subtracted",
        "formats/gptq.cpp",
        "return config.stores_zero_minus_one ? one_in_each : 0;",
        "return 0;",
        ("gptq_test",),
    ),
    Mutation(
        "Columns of AWQ are taken in their plain order",
        "formats/awq.cpp",
        "gemm_order[word_codes] = {0, 2, 4, 6, 1, 3, 5, 7};",
        "gemm_order[word_codes] = {0, 1, 2, 3, 4, 5, 6, 7};",
        ("awq_test",),
    ),
    Mutation(
        "Columns that compressed-tensors has sorted are taken as they are",
        "formats/compressed_tensors.cpp",
        "if (!is_unused(g_idx->second)) {",
        "if (!is_unused(g_idx->second) && layer->desc.k == 0) {",
        ("compressed_tensors_test",),
    ),
    Mutation(
        "Two blocks of bitsandbytes share a scale",
        "formats/bitsandbytes.cpp",
        "absmax.at(i * group_of(desc) / blocksize)",
        "absmax.at(i * group_of(desc) / blocksize / 2)",
        ("bitsandbytes_test",),
    ),
    Mutation(
        "Packed zero points of ONNX are read as one row",
        "formats/onnx_matmulnbits.cpp",
        "(groups + 1) / 2 * 2",
        "groups",
        ("formats_fixtures_test",),
    ),
    Mutation(
        "External data of ONNX may lie anywhere",
        "formats/container/onnx_file.cpp",
        "if (!is_plain_file_name(name))",
        "if (false)",
        ("onnx_test",),
    ),
    Mutation(
        "High bits of Q6_K are those of another value",
        "formats/container/ggml_blocks.cpp",
        "i % 128 / 64 * 4",
        "i % 64 / 32 * 4",
        ("formats_fixtures_test",),
    ),
    Mutation(
        "A layer is found by a name that two have",
        "formats/api.cpp",
        "if (found != none) refuse(",
        "if (false) refuse(",
        ("formats_api_test",),
    ),
    Mutation(
        "The header of a .zwq file is taken as it is",
        "formats/container/zwq_file.cpp",
        "if (header.header_checksum != checksum) {",
        "if (false) {",
        ("zwq_test",),
    ),
    Mutation(
        "The directory of a .zwq file is taken as it is",
        "formats/container/zwq_file.cpp",
        "if (header.directory_checksum != checksum) {",
        "if (false) {",
        ("zwq_test",),
    ),
    Mutation(
        "Bytes between the entries of a .zwq file are not looked at",
        "formats/container/zwq_file.cpp",
        "if (byte != padding.end()) {",
        "if (false) {",
        ("zwq_test",),
    ),
    Mutation(
        "A .zwq file may say anything in fields that are reserved",
        "formats/container/zwq_file.cpp",
        "if (differs != written.end()) {",
        "if (false) {",
        ("zwq_test",),
    ),
    Mutation(
        "A packed weight may be another than its directory says",
        "formats/zwq.cpp",
        "if (std::memcmp(&desc, &layer.desc, sizeof desc) == 0) return;",
        "return;",
        ("zwq_test",),
    ),
    Mutation(
        "A mapped weight does not keep the file",
        "formats/zwq.cpp",
        "std::make_unique<Keeper>(std::move(files))",
        "std::make_unique<Keeper>()",
        ("zwq_test",),
    ),
    Mutation(
        "What cannot be written is left out in silence",
        "formats/convert.cpp",
        "if (lost == 0) return {};",
        "return {};",
        ("zwq_test",),
    ),
    Mutation(
        "A file under another name stays when the write fails",
        "formats/container/whole_file.cpp",
        "if (!path.empty()) unlink(path.c_str());",
        "",
        ("zwq_test",),
    ),
    Mutation(
        "Weights said to be asymmetric are read without zero points",
        "formats/compressed_tensors.cpp",
        'if (config.asymmetric) require_part(parts, "weight_zero_point", where);\n    layer =',
        "layer =",
        ("compressed_tensors_test",),
    ),
    Mutation(
        "The global scale of nvfp4 in compressed-tensors multiplies",
        "formats/compressed_tensors.cpp",
        "ZENWOQ_TENSOR_SCALE_BY",
        "ZENWOQ_TENSOR_SCALE_TIMES",
        ("formats_fixtures_test",),
    ),
    Mutation(
        "The second scale of ModelOpt divides",
        "formats/modelopt.cpp",
        "ZENWOQ_TENSOR_SCALE_TIMES",
        "ZENWOQ_TENSOR_SCALE_BY",
        ("formats_fixtures_test",),
    ),
    Mutation(
        "Biases of MLX are taken for zero points",
        "formats/mlx.cpp",
        "layer->desc.zero_kind = ZENWOQ_ZERO_OFFSET;",
        "layer->desc.zero_kind = ZENWOQ_ZERO_FLOAT, layer->desc.zero_type = layer->desc.scale_type;",
        ("formats_fixtures_test",),
    ),
    Mutation(
        "The experts of gpt-oss lie side by side in a row",
        "formats/gpt_oss.cpp",
        "blocks.shape[1], blocks.shape[2] * blocks.shape[3]}",
        "blocks.shape[1] * blocks.shape[0], blocks.shape[2] * blocks.shape[3]}",
        ("formats_fixtures_test",),
    ),
    Mutation(
        "Every expert has the bias of the first",
        "formats/layer.cpp",
        "return bias.sub(expert * each, each);",
        "return bias.sub(0 * expert, each);",
        ("formats_api_test",),
    ),
    Mutation(
        "What AutoRound calls auto_round has its zero points less 1",
        "formats/gptq.cpp",
        'config->stores_zero_minus_one = packing != "auto_round";',
        "config->stores_zero_minus_one = true;",
        ("formats_fixtures_test",),
    ),
    Mutation(
        "AWQ of AutoRound is looked for under a method's name",
        "formats/awq.cpp",
        '"auto_round:auto_awq"',
        '"auto_round:awq"',
        ("formats_fixtures_test",),
    ),
    Mutation(
        "Values of TorchAO's Int4Tensor have no sign",
        "formats/torchao_int4.cpp",
        "ZENWOQ_TABLE_TWOS_COMPLEMENT",
        "ZENWOQ_TABLE_UNSIGNED",
        ("formats_fixtures_test",),
    ),
    Mutation(
        "Scales of TorchAO's Int4Tensor are taken row by row",
        "formats/torchao_int4.cpp",
        "  layer->by_group = true;\n",
        "",
        ("formats_fixtures_test",),
    ),
    Mutation(
        "A g_idx that is no order is taken for the plain one",
        "formats/parts.cpp",
        "  if (status != ZENWOQ_OK) order.reason = zenwoq_last_error();\n",
        "",
        ("gptq_test",),
    ),
    Mutation(
        "Columns that lie in order are permuted to where they are",
        "formats/parts.cpp",
        "if (status != ZENWOQ_OK || permuted == 0) order",
        "if (status != ZENWOQ_OK) order",
        ("gptq_test",),
    ),
    Mutation(
        "Bytes after the last block of a tensor in memory are nothing wrong",
        "formats/checkpoint.cpp",
        "if (bytes == given.data.size()) return;",
        "if (bytes && *bytes <= given.data.size()) return;",
        ("open_tensors_test",),
    ),
    Mutation(
        "Tensors in memory lie as far apart as this version's struct is large",
        "formats/api.cpp",
        "++i, next += distance)",
        "++i, next += sizeof(zenwoq_tensor))",
        ("open_tensors_test",),
    ),
    Mutation(
        "There is an expert after the last one",
        "formats/api.cpp",
        "if (expert >= layer.experts)",
        "if (expert > layer.experts)",
        ("formats_api_test",),
    ),
    # AVX2
    Mutation(
        "Odd k are loaded from one byte further on instead of two",
        "jit/decode_avx2.cpp",
        "codes + k % 2 * 2",
        "codes + k % 2",
        KERNEL,
    ),
    Mutation(
        "Low and high bytes of the table change places",
        "jit/decode_avx2.cpp",
        "  e_.vpunpcklbw(a, first, second);  // columns 0, 1 of each half\n",
        "  e_.vpunpcklbw(a, second, first);  // columns 0, 1 of each half\n",
        KERNEL,
    ),
    Mutation(
        "Two's complement codes are not flipped",
        "jit/decode_table.h",
        " ^ flipped << 4 * n;",
        ";",
        KERNEL,
    ),
    Mutation(
        "A NaN is rounded like a number, so that it may become -0",
        "jit/epilogue_avx2.cpp",
        "  e_.vpandn(increment, nan, increment);\n",
        "",
        KERNEL,
    ),
    Mutation(
        "The column after the last one is written",
        "jit/epilogue_avx2.cpp",
        "  e_.cmp(count, columns);\n  e_.jl(next, e_.T_NEAR);\n",
        "  e_.cmp(count, columns);\n  e_.jle(next, e_.T_NEAR);\n",
        KERNEL,
    ),
    Mutation(
        "The second half of a strip takes the zeros of the first",
        "jit/gemm_avx2.cpp",
        "parameters_of(r_.zeros, zero_bytes, i)",
        "parameters_of(r_.zeros, zero_bytes, i / kHalves * kHalves)",
        KERNEL,
    ),
    Mutation(
        "All passes of a tile are of its first columns",
        "jit/gemm_avx2.cpp",
        "  first_ = pass * v_.vectors();\n",
        "  first_ = pass * 0;\n",
        KERNEL,
    ),
    Mutation(
        "The table decoder's constants are what the last unit's epilogue left in their registers",
        "jit/gemm_avx2.cpp",
        "  if (key_.codes == Codes::table) decode_.load_constants();",
        "  if (key_.codes == Codes::integer) decode_.load_constants();",
        KERNEL,
    ),
    Mutation(
        "What waits of a group is not cleared when the group ends",
        "jit/scratch_avx2_tiles.cpp",
        "  vxorps(scale(), scale(), scale());\n",
        "  vmovaps(scale(), zero());\n",
        KERNEL,
    ),
    Mutation(
        "Low tiles read the sums of activations of the tall tiles before them",
        "jit/scratch_avx2_tiles.cpp",
        "add(r_.xsum, rows * 4);",
        "add(r_.xsum, 0);",
        KERNEL,
    ),
    Mutation(
        "A scale of E8M0 is widened with a sign",
        "jit/parameters_avx2.cpp",
        "e_.vpmovzxbd(to, at);\n      e_.vpslld(to, to, 23);",
        "e_.vpmovsxbd(to, at);\n      e_.vpslld(to, to, 23);",
        KERNEL,
    ),
    Mutation(
        "Scales of E4M3 lose their sign",
        "jit/parameters_avx2.cpp",
        "e_.vpmovsxbw(half, at);",
        "e_.vpmovzxbw(half, at);",
        KERNEL,
    ),
    Mutation(
        "Scales of E4M3 keep the exponent's bias of an f16",
        "jit/parameters_avx2.cpp",
        '      e_.vmulps(to, to, e_.ptr[e_.constant(kE4m3Factors, "256")]);\n',
        "",
        KERNEL,
    ),
    Mutation(
        "Offsets of two levels stay bytes",
        "jit/parameters_avx2.cpp",
        "if (format_.has_offsets() && format_.has_two_levels())",
        "if (format_.has_float_zeros() && format_.has_two_levels())",
        KERNEL,
    ),
    Mutation(
        "Zero points that are fractions are added",
        "jit/parameters_avx2.cpp",
        "e_.vfnmadd231ps(acc, zero, xsum);",
        "e_.vfmadd231ps(acc, zero, xsum);",
        KERNEL,
    ),
    Mutation(
        "Rows of f32 are divided by a tensor's scale that multiplies",
        "jit/epilogue_avx2.cpp",
        "      e_.vmulps(total, total, e_.ptr[tensor_scales]);",
        "      e_.vdivps(total, total, e_.ptr[tensor_scales]);",
        KERNEL,
    ),
    Mutation(
        "A tensor's scale reaches half of a vector",
        "jit/gemm_avx2.cpp",
        ".tensor_scales = 8}",
        ".tensor_scales = 4}",
        KERNEL,
    ),
    Mutation(
        "What eight groups share is looked for after seven",
        "jit/scratch_avx2.cpp",
        "static_cast<int>(PanelLayout::kSuperGroups));",
        "static_cast<int>(PanelLayout::kSuperGroups - 1));",
        KERNEL,
    ),
    Mutation(
        "Offsets of two levels take what the scales of eight groups share",
        "jit/scratch_avx2_tiles.cpp",
        "local(local_.super_offsets + column * 4)",
        "local(local_.super_scales + column * 4)",
        KERNEL,
    ),
    Mutation(
        "A run without all its kernels gives the reference f32 rows",
        "src/run/product.h",
        "complete_ ? context_.x_type() : ZENWOQ_BF16",
        "context_.x_type()",
        RUN,
    ),
    Mutation(
        "The reference does not flip the codes of a two's complement table",
        "src/reference/reference_gemm.cpp",
        "static_cast<std::int32_t>(code ^ flip)",
        "static_cast<std::int32_t>(code)",
        REFERENCE,
    ),
    # the walk
    Mutation(
        "A second pass over K goes on where the first one ended",
        "jit/gemm.cpp",
        "    if (pass > 0) begin_walk();\n",
        "",
        KERNEL,
    ),
    Mutation(
        "The last step of a row reads on past the row's end",
        "jit/gemm.cpp",
        "    multiply_step(0, true);\n",
        "    multiply_step(0, false);\n",
        KERNEL,
    ),
    Mutation(
        "A last group that ends within a step is not flushed",
        "jit/gemm.cpp",
        "  flush_group();\n  if (key_.groups() > 1) next_group();\n",
        "  if (!group.partial) flush_group();\n  if (key_.groups() > 1) next_group();\n",
        KERNEL,
    ),
    Mutation(
        "Steps that unrolling leaves over are not multiplied",
        "jit/gemm.cpp",
        "  if (count % unroll != 0) body(count % unroll);\n",
        "",
        KERNEL,
    ),
    Mutation(
        "Rows 6 to 11 begin at row 3",
        "jit/gemm.cpp",
        "lea(r_.x_high, ptr[r_.x_low + r_.ldx3 * 2]);",
        "lea(r_.x_high, ptr[r_.x_low + r_.ldx3]);",
        KERNEL,
    ),
    Mutation(
        "Of seven rows the last stays at the first activations",
        "jit/gemm.cpp",
        "if (key_.tile.rows > kLowRows) add(r_.x_high, x_bytes);",
        "if (key_.tile.rows > kLowRows + 1) add(r_.x_high, x_bytes);",
        KERNEL,
    ),
    Mutation(
        "Columns that are left are not cut to the 16 lanes of a strip",
        "jit/gemm.cpp",
        "  cmovg(count, r_.temp);\n",
        "",
        RUN,
    ),
    Mutation(
        "The second panel of a tile of two takes the scales of the first",
        "jit/gemm.cpp",
        "u32(strip % kPanelStrips * kStripColumns * element_bytes + strip / kPanelStrips * layout_.bytes());",
        "u32(strip % kPanelStrips * kStripColumns * element_bytes);",
        KERNEL,
    ),
    Mutation(
        "In the second half of a panel int8 zeros are looked for as if they had two bytes",
        "jit/gemm.cpp",
        "shr(distance, element_bytes == 2 ? 1 : 2);",
        "shr(distance, 1);",
        KERNEL,
    ),
    Mutation(
        "A unit of two strips walks a panel three times",
        "jit/gemm.cpp",
        "    jl(same_panel);\n",
        "    jle(same_panel);\n",
        KERNEL,
    ),
    Mutation(
        "The sums of activations stay those of the first group",
        "jit/gemm.cpp",
        "  if (key_.zero_kind != ZENWOQ_ZERO_NONE) add(r_.xsum, qword[local(local_.xsum_bytes)]);\n",
        "",
        KERNEL,
    ),
    Mutation(
        "Strips take what eight groups of other strips share",
        "jit/gemm.cpp",
        "strip % kPanelStrips * kStripColumns * 2 + strip",
        "strip % kPanelStrips * kStripColumns + strip",
        KERNEL,
    ),
    # the AVX-512 data path
    Mutation(
        "The tail of a row is completed with what the register held",
        "jit/gemm_avx512.cpp",
        "vmovdqu16(v_.x_tail() | k1 | T_z, ",
        "vmovdqu16(v_.x_tail() | k1, ",
        KERNEL,
    ),
    Mutation(
        "The mask of a row's tail has a lane too many",
        "jit/gemm_avx512.cpp",
        "(1u << (key_.k - k)) - 1",
        "(1u << (key_.k - k + 1)) - 1",
        KERNEL,
    ),
    Mutation(
        "Codes of the later pairs of a step are shifted by two bits a pair",
        "jit/gemm_avx512.cpp",
        "vpsrlw(weight, v_.codes(strip), static_cast<std::uint8_t>(4 * pair));",
        "vpsrlw(weight, v_.codes(strip), static_cast<std::uint8_t>(2 * pair));",
        KERNEL,
    ),
    Mutation(
        "The zero's term is subtracted",
        "jit/gemm_avx512.cpp",
        "vfmadd231ps(acc, v_.zero(), xsum);",
        "vfnmadd231ps(acc, v_.zero(), xsum);",
        KERNEL,
    ),
    Mutation(
        "8 - zero is widened without its sign",
        "jit/gemm_avx512.cpp",
        "vpmovsxbd(v_.zero(),",
        "vpmovzxbd(v_.zero(),",
        KERNEL,
    ),
    Mutation(
        "A single group is not added to +0, so its total may be -0",
        "jit/gemm_avx512.cpp",
        "vfmadd213ps(acc, v_.scale(), v_.plus_zero());",
        "vmulps(acc, acc, v_.scale());",
        KERNEL,
    ),
    Mutation(
        "Totals go to memory before the offset is added",
        "jit/gemm_avx512.cpp",
        "  if (key_.zero_kind == ZENWOQ_ZERO_OFFSET) vfmadd231ps(total, v_.zero(), xsum);\n"
        "  if (v_.totals_in_memory()) vmovups(ptr[total_address(row, strip)], acc);\n",
        "  if (v_.totals_in_memory()) vmovups(ptr[total_address(row, strip)], acc);\n"
        "  if (key_.zero_kind == ZENWOQ_ZERO_OFFSET) vfmadd231ps(total, v_.zero(), xsum);\n",
        KERNEL,
    ),
    Mutation(
        "Strips take the bias of other strips",
        "jit/gemm_avx512.cpp",
        "epilogue_.load_bias(ptr[r_.temp + strip * 64]);",
        "epilogue_.load_bias(ptr[r_.temp + strip * 32]);",
        KERNEL,
    ),
    Mutation(
        "A strip's last lane is never stored",
        "jit/epilogue_avx512.cpp",
        "e_.mov(temp.cvt32(), 0xFFFF);",
        "e_.mov(temp.cvt32(), 0x7FFF);",
        KERNEL,
    ),
    Mutation(
        "Rows of bf16 are stored without the mask",
        "jit/epilogue_avx512.cpp",
        "e_.vmovdqu16(y | e_.k1, rounded);",
        "e_.vmovups(y, rounded);",
        KERNEL,
    ),
    Mutation(
        "AVX-512: scales of E4M3 keep the sign where the exponent begins",
        "jit/gemm_avx512.cpp",
        '      vpandd(half, half, ptr[constant(kE4m3InF16, "e4m3 in f16")]);\n',
        "",
        KERNEL,
    ),
    Mutation(
        "AVX-512: offsets of two levels take what the scales of eight groups share",
        "jit/gemm_avx512.cpp",
        "ptr[super_address(true, strip)]",
        "ptr[super_address(false, strip)]",
        KERNEL,
    ),
    Mutation(
        "AVX-512: zero points that are fractions are read in the type of the scales",
        "jit/gemm_avx512.cpp",
        "load_floats(v_.zero(), format.float_type(), r_.zeros, strip)",
        "load_floats(v_.zero(), format.scale_type, r_.zeros, strip)",
        KERNEL,
    ),
    Mutation(
        "A sigmoid forgets what the first of its two floats leaves out",
        "jit/activation_math.cpp",
        "  e_.vfmadd231ps(r.remainder(), c, w_low);\n",
        "",
        ACTIVATION,
    ),
    Mutation(
        "AVX2: very negative values are not taken to 0",
        "jit/activation_math.cpp",
        "    e_.vandps(v, v, mask);\n",
        "",
        ACTIVATION,
    ),
    Mutation(
        "AVX-512: very negative values are not taken to 0",
        "jit/activation_math.cpp",
        "e_.vdivps(v | e_.k2 | e_.T_z, v, denominator);",
        "e_.vdivps(v, v, denominator);",
        ACTIVATION,
    ),
    Mutation(
        "A sigmoid of NaN is 0",
        "jit/activation_math.cpp",
        "kNotLess = 5;",
        "kNotLess = 13;",
        ACTIVATION,
    ),
    Mutation(
        "relu of NaN is 0",
        "jit/activation_math.cpp",
        "e_.vmaxps(v, r.number(), v);",
        "e_.vmaxps(v, v, r.number());",
        ACTIVATION,
    ),
    Mutation(
        "SwiGLU: up has no lower limit",
        "jit/activation_math.cpp",
        "  e_.vmaxps(up, r.number(), up);\n",
        "",
        ACTIVATION,
    ),
    Mutation(
        "SwiGLU: a gate that is NaN is 7",
        "jit/activation_math.cpp",
        "e_.vminps(gate, r.number(), gate);",
        "e_.vminps(gate, gate, r.number());",
        ACTIVATION,
    ),
    Mutation(
        "The slope of GELU is an ulp too large",
        "jit/activation.h",
        "0x1.26AEC2p+1f",
        "0x1.26AEC4p+1f",
        ACTIVATION,
    ),
    Mutation(
        "The rounding of a square counts twice",
        "jit/activation.h",
        "kGeluSquareSlope = 0x1.6Ap-4f",
        "kGeluSquareSlope = -0x1.6Ap-4f",
        ACTIVATION,
    ),
    Mutation(
        "A term of GELU has the wrong sign",
        "jit/activation.h",
        "0x1.771206p-37f",
        "-0x1.771206p-37f",
        ACTIVATION,
    ),
    Mutation(
        "AVX2: rows of bf16 of a matrix that an epilogue reads have their first half twice",
        "jit/epilogue_avx2.cpp",
        "{high, 16}}",
        "{high, 0}}",
        KERNEL,
    ),
    Mutation(
        "AVX2: a matrix is read after its last column",
        "jit/epilogue_avx2.cpp",
        "  e_.cmp(row.count, row.columns);\n  e_.jl(next, e_.T_NEAR);\n",
        "  e_.cmp(row.count, row.columns);\n  e_.jle(next, e_.T_NEAR);\n",
        KERNEL,
    ),
    Mutation(
        "AVX2: up has the tensor scale of gate",
        "jit/epilogue_avx2.cpp",
        "up ? row.up_tensor_scale : row.tensor_scale",
        "row.tensor_scale",
        KERNEL,
    ),
    Mutation(
        "AVX-512: up has the bias of gate",
        "jit/epilogue_avx512.cpp",
        "e_.qword[up ? row.up_bias_slot : row.bias_slot]",
        "e_.qword[row.bias_slot]",
        KERNEL,
    ),
    Mutation(
        "AVX-512: columns are read that do not exist",
        "jit/epilogue_avx512.cpp",
        "e_.vmovups(to | e_.k1 | e_.T_z, e_.ptr[from]);",
        "e_.vmovups(to, e_.ptr[from]);",
        KERNEL,
    ),
    Mutation(
        "AVX-512: a residual counts twice, the other not",
        "jit/epilogue_avx512.cpp",
        "row.operands.residual[i]",
        "row.operands.residual[0]",
        KERNEL,
    ),
    Mutation(
        "Rows of the second residual are as far apart as those of the first",
        "jit/epilogue.cpp",
        "offsetof(GemmArgs, residual_bytes) + i * 8",
        "offsetof(GemmArgs, residual_bytes)",
        KERNEL,
    ),
    Mutation(
        "All units read the first one's columns of a factor or residual",
        "jit/epilogue.cpp",
        "    e_.add(e_.qword[e_.rsp + operand.slot], columns * element_bytes_);\n",
        "    static_cast<void>(columns);\n    static_cast<void>(operand);\n",
        KERNEL,
    ),
    Mutation(
        "Up is gate once more",
        "jit/gemm.cpp",
        "  if (up_) add(r_.codes, qword[local(local_.up)]);\n",
        "",
        KERNEL,
    ),
    Mutation(
        "Up walks on where gate's run of panels ended",
        "jit/gemm.cpp",
        "  mov(qword[local(local_.panel)], r_.temp);\n}\n",
        "}\n",
        KERNEL,
    ),
    Mutation(
        "A run of panels goes on past the last column",
        "jit/gemm.cpp",
        "  sub(qword[local(local_.columns_left)], u32(kPanelColumns));\n  jle(done, T_NEAR);\n",
        "",
        KERNEL,
    ),
    Mutation(
        "All panels of a run are stored with the first one's totals",
        "jit/gemm.cpp",
        "    add(total, qword[local(local_.kept)]);\n",
        "",
        KERNEL,
    ),
    Mutation(
        "All units have the first one's bias of up",
        "jit/gemm.cpp",
        "  if (key_.epilogue.bias && key_.tile.gated) add(qword[local(local_.up_bias)], unit_columns * 4);\n",
        "",
        KERNEL,
    ),
    Mutation(
        "With scratch, up has the scales of gate",
        "jit/scratch_avx2_tiles.cpp",
        "  if (up) mov(r_.temp, slot(local_.up));\n",
        "  if (up) xor_(r_.temp, r_.temp);\n",
        KERNEL,
    ),
    Mutation(
        "With scratch, what eight groups share is gate's for up too",
        "jit/scratch_avx2.cpp",
        "    add(r_.temp, slot(local_.up));\n    widen_both",
        "    widen_both",
        KERNEL,
    ),
    Mutation(
        "AVX-512: a tensor's scale multiplies where it divides",
        "jit/epilogue_avx512.cpp",
        "    e_.vdivps(total, total, tensor_scale);",
        "    e_.vmulps(total, total, tensor_scale);",
        KERNEL,
    ),
    Mutation(
        "A kernel leaves the upper halves of the vector registers dirty",
        "jit/emitter.cpp",
        "  vzeroupper();\n",
        "",
        KERNEL,
    ),
    Mutation(
        "A kernel computes in the caller's MXCSR",
        "jit/emitter.cpp",
        "  vldmxcsr(dword[constant(",
        "  static_cast<void>(dword[constant(",
        KERNEL,
    ),
    Mutation(
        "A kernel leaves its own MXCSR behind",
        "jit/emitter.cpp",
        "  vldmxcsr(dword[rbp + kCallerMxcsr]);\n",
        "",
        KERNEL,
    ),
    Mutation(
        "Codes stay in registers where there are none left for them",
        "jit/avx512_registers.cpp",
        "codes_ = scratch_ + least + strips_ <= kRegisters;",
        "codes_ = scratch_ + least <= kRegisters;",
        PLAN,
    ),
    Mutation(
        "Decoding first keeps room for two of the decoded strips",
        "jit/avx512_registers.cpp",
        "weights_ = key.habits.decode_first ? strips_ : 2;",
        "weights_ = 2;",
        KERNEL,
    ),
    Mutation(
        "The codes of strip 0 share a register with the x pair",
        "jit/avx512_registers.h",
        "return scratch(weights_ + 1 + s);",
        "return scratch(weights_ + s);",
        KEY,
    ),
    # keys
    Mutation(
        "Names do not say that a prefetch goes into the L2 cache",
        "jit/key.cpp",
        'p.to_l2 ? "t1" : ""',
        'p.to_l2 ? "" : ""',
        KEY,
    ),
    Mutation(
        "Parsing a name forgets which lines are prefetched",
        "jit/key.cpp",
        '!take_number("e", &text, &p->every)',
        '!take_number("e", &text, &p->bytes)',
        KEY,
    ),
    Mutation(
        "Parsing takes names that printing would not give",
        "jit/key.cpp",
        "if (key.k == 0 || key.name() != name) return",
        "if (key.k == 0 || key.name().size() > name.size()) return",
        KEY,
    ),
    Mutation(
        "The hash of a key forgets the output type",
        "jit/key.cpp",
        " | at(key.output_type, 32)",
        "",
        KEY,
    ),
    Mutation(
        "Names do not say that a tile is gated",
        "jit/key.cpp",
        'tile.gated ? "gu" : ""',
        'tile.gated ? "" : ""',
        KEY,
    ),
    Mutation(
        "The hash of a key forgets how many residuals there are",
        "jit/key.cpp",
        " | at(key.epilogue.residuals, 36)",
        "",
        KEY,
    ),
    # packing
    Mutation(
        "A slice of two levels begins behind what eight groups share",
        "src/weight/parts.cpp",
        "from.step(first) - from.super_bytes()",
        "from.step(first)",
        PARTS,
    ),
    Mutation(
        "A slice of one group has what follows its codes for a scale",
        "src/weight/parts.cpp",
        "if (from.groups() > 1) {",
        "if (from.groups() > 0) {",
        PARTS,
    ),
    Mutation(
        "Factors of x are cut from the first column on",
        "src/weight/parts.cpp",
        "view.x_scale() + k_begin * 4",
        "view.x_scale()",
        PARTS,
    ),
    Mutation(
        "A cut weight leaves its permutation and factors behind",
        "src/weight/parts.cpp",
        "if (end < header.panels()) {",
        "if (end > header.panels()) {",
        PARTS,
    ),
    Mutation(
        "What was cut still says that it is a weight",
        "src/weight/parts.cpp",
        "if (begin > 0) std::memset(packed, 0, kHeaderBytes);",
        "",
        PARTS,
    ),
    Mutation(
        "Weights of several tensor scales are joined",
        "src/weight/parts.cpp",
        "if (std::memcmp(&f.tensor_scale, &o.tensor_scale, sizeof f.tensor_scale) != 0) {",
        "if (false) {",
        PARTS,
    ),
    Mutation(
        "Columns of act-order are cut as if they lay side by side",
        "src/weight/parts.cpp",
        "if (header.permuted) {",
        "if (false) {",
        PARTS,
    ),
    Mutation(
        "Zeros of columns past N are not 8 - zero = 0",
        "src/weight/pack.cpp",
        "    for (std::size_t c = columns; c < kPanelColumns; ++c) row[c] = 0;\n",
        "    static_cast<void>(columns);\n",
        PACK,
    ),
    Mutation(
        "Columns past N keep the scales of the panel before",
        "src/weight/pack.cpp",
        "std::memset(tile.rows, 0, sizeof tile.rows);",
        "std::memset(tile.rows, 0, sizeof tile.rows[0]);",
        PACK,
    ),
    Mutation(
        "The nibble behind the last code of an odd row is packed",
        "src/weight/code_rows.cpp",
        "    if (source.layout == ZENWOQ_CODES_NIBBLES && count % 2 != 0) rows_[c][bytes - 1] &= 0x0F;\n",
        "",
        PACK,
    ),
    Mutation(
        "zero - 8 is packed, not 8 - zero",
        "src/weight/pack.cpp",
        "static_cast<std::uint8_t>(8 - zero)",
        "static_cast<std::uint8_t>(zero - 8)",
        PACK,
    ),
    Mutation(
        "The spare bytes behind the last panel are not written",
        "src/weight/pack.cpp",
        "header.total_bytes - header.permutation_at);",
        "header.total_bytes - kSpareBytes - header.permutation_at);",
        PACK,
    ),
    Mutation(
        "The header has k before n",
        "src/weight/packed.cpp",
        "  std::uint64_t n;\n  std::uint64_t k;\n",
        "  std::uint64_t k;\n  std::uint64_t n;\n",
        PACK,
    ),
    Mutation(
        "The checksum of a header is not checked",
        "src/weight/packed.cpp",
        "if (header.checksum != checksum) {",
        "if (header.checksum == 0 && checksum != 0) {",
        API,
    ),
    Mutation(
        "A header with a right checksum and wrong offsets is opened",
        "src/weight/packed.cpp",
        "if (std::memcmp(&header, expected_bytes, sizeof header) != 0) {",
        "if (std::memcmp(&header, expected_bytes, sizeof kMagic) != 0) {",
        API,
    ),
    Mutation(
        "Packed bytes without their last 64 are opened",
        "src/weight/packed.cpp",
        "if (bytes < header.total_bytes) return",
        "if (bytes + kSpareBytes < header.total_bytes) return",
        API,
    ),
    Mutation(
        "Code 16 passes for a code",
        "src/weight/code_kernels.cpp",
        "return !any(outside & repeat(0xF0F0F0F0u));",
        "return !any(outside & repeat(0xE0E0E0E0u));",
        PACK,
    ),
    Mutation(
        "Dequantizing takes codes from 8 on for those from 0 on",
        "src/weight/code_kernels.cpp",
        "_mm256_slli_epi32(codes, 28)",
        "_mm256_slli_epi32(codes, 29)",
        PACK,
    ),
    Mutation(
        "Unpacking reads a step past the panel's last",
        "src/weight/unpack.cpp",
        "first + i < layout.steps() ? first + i : first",
        "first + i <= layout.steps() ? first + i : first",
        PACK,
    ),
    Mutation(
        "Dequantizing a block keeps the first group's scale",
        "src/weight/unpack.cpp",
        "next = std::min<std::size_t>(end, (g + 1) * header.group());",
        "next = end;",
        PACK,
    ),
    Mutation(
        "Of E4M3 only the negative NaN is refused",
        "src/weight/pack.cpp",
        "case ZENWOQ_E4M3: return pack(std::uint8_t{0x7Fu});",
        "case ZENWOQ_E4M3: return pack(std::uint8_t{0xFFu});",
        LAYOUTS,
    ),
    Mutation(
        "E8M0 of 254 is refused as if it were NaN",
        "src/weight/pack.cpp",
        "case ZENWOQ_E8M0: return pack(std::uint8_t{0xFFu});",
        "case ZENWOQ_E8M0: return pack(std::uint8_t{0xFEu});",
        LAYOUTS,
    ),
    Mutation(
        "The upper bits of scales and minima of Q4_K change places",
        "src/weight/pack.cpp",
        "(bits[upper ? i : i - 4] >> 6)",
        "(bits[upper ? i - 4 : i] >> 6)",
        LAYOUTS,
    ),
    Mutation(
        "Packed bytes with factors of columns say that version 2 reads them",
        "src/weight/packed.cpp",
        "!header.permuted && !header.x_scaled;",
        "!header.permuted;",
        ("pack_test", "api_test"),
    ),
    Mutation(
        "A permutation may lead to the column after the last one",
        "src/weight/packed.cpp",
        "if (column >= view.header.k) {",
        "if (column > view.header.k) {",
        LAYOUTS,
    ),
    Mutation(
        "Dequantizing leaves the tensor's scale out of offsets",
        "src/weight/unpack.cpp",
        "with_tensor_scale(header, parameter(format.scale_type, zeros, panel + layout.super_offsets(super), column));",
        "parameter(format.scale_type, zeros, panel + layout.super_offsets(super), column);",
        PACK,
    ),
    Mutation(
        "Dequantizing takes what the first eight groups share",
        "src/weight/unpack.cpp",
        "const std::size_t super = g / PanelLayout::kSuperGroups;",
        "const std::size_t super = g / header.groups();",
        PACK,
    ),
    Mutation(
        "Codes of a permuted weight come back in the order of their places",
        "src/weight/unpack.cpp",
        "const std::size_t column = columns[j];",
        "const std::size_t column = std::max(columns[j], j);",
        PACK,
    ),
    Mutation(
        "Columns of a group are sorted backwards",
        "src/weight/permutation.cpp",
        "for (std::size_t column = 0; column < k; ++column) {\n    const auto g =",
        "for (std::size_t column = k; column-- > 0;) {\n    const auto g =",
        LAYOUTS,
    ),
    Mutation(
        "A permutation may name a column twice",
        "src/weight/check_source.cpp",
        "if (column >= header.k || seen[column]) {",
        "if (column >= header.k) {",
        LAYOUTS,
    ),
    Mutation(
        "An infinite factor of a column is packed",
        "src/weight/check_source.cpp",
        "if (!is_finite(source.x_scale[j])) return",
        "if (source.x_scale[j] != source.x_scale[j]) return",
        LAYOUTS,
    ),
    Mutation(
        "The order of AWQ's nibbles is taken for its inverse",
        "src/weight/code_rows.cpp",
        "{0, 4, 1, 5, 2, 6, 3, 7}",
        "{0, 2, 4, 6, 1, 3, 5, 7}",
        LAYOUTS,
    ),
    Mutation(
        "AWQ is read past its last k",
        "src/weight/code_rows.cpp",
        "done + i < count ? load(from + (done + i) * source.row_bytes, bytes) : _mm_setzero_si128();",
        "load(from + (done + i) * source.row_bytes, bytes);",
        LAYOUTS,
    ),
    Mutation(
        "The second 32 k of AWQ's fast layout are looked for a row further on",
        "src/weight/code_rows.cpp",
        "row % 4 * 32 + at % 64 / 2",
        "row % 4 * 32 + at % 64",
        LAYOUTS,
    ),
    Mutation(
        "The two rows of a byte lie half a block apart in a last block of ATen's too",
        "src/weight/code_rows.cpp",
        "rows == block ? bytes : 1; ",
        "bytes;  ",
        LAYOUTS,
    ),
    Mutation(
        "ATen's layout is read past its last k",
        "src/weight/code_rows.cpp",
        "return done + i < count ? load(from + (done + i) * bytes + byte, bytes - byte) : _mm_setzero_si128();",
        "return load(from + (done + i) * bytes + byte, bytes - byte);",
        LAYOUTS,
    ),
    Mutation(
        "A permuted code of GPTQ is taken from the nibble of its place",
        "src/weight/code_rows.cpp",
        "4 * (columns[j] % kWordCodes)",
        "4 * (j % kWordCodes)",
        LAYOUTS,
    ),
    Mutation(
        "Nibbles after the last code of GPTQ are packed",
        "src/weight/code_rows.cpp",
        "left < kWordCodes ? (1u << 4 * left) - 1 : ~0u;",
        "left < kWordCodes ? ~0u >> 0 * left : ~0u;",
        LAYOUTS,
    ),
    Mutation(
        "A pair of permuted codes takes the wrong half of its second byte",
        "src/weight/code_rows.cpp",
        "{ return (low & 15u) | (high & 0xF0u); }",
        "{ return (low & 15u) | high << 4; }",
        PACK,
    ),
    Mutation(
        "A permuted code that stands alone is packed with its neighbour",
        "src/weight/code_rows.cpp",
        "      if (count % 2 != 0) rows_[c][count / 2] &= 15;  // a code that stands alone\n",
        "",
        PACK,
    ),
    # the plan
    Mutation(
        "The last panel of N is not computed where it is not full",
        "src/plan/plan.cpp",
        "panels_((problem.n + kPanelColumns - 1) / kPanelColumns)",
        "panels_(problem.n < kPanelColumns ? 1 : problem.n / kPanelColumns)",
        PLAN,
    ),
    Mutation(
        "Rows that blocks of equal height leave over are not computed",
        "src/plan/plan.cpp",
        "blocks.longer = m % blocks.count;",
        "blocks.longer = 0;",
        PLAN,
    ),
    Mutation(
        "A border of two tasks parts a tile of two panels",
        "src/plan/plan.cpp",
        "panel_grain_ = tiles_[shorter_.wide].panels();",
        "panel_grain_ = 1;",
        PLAN,
    ),
    Mutation(
        "The kernel of a tile has no bias",
        "src/plan/plan.cpp",
        "      .epilogue = epilogue,\n",
        "      .epilogue = Epilogue{epilogue.bias && tile.rows == 0},\n",
        RUN,
    ),
    Mutation(
        "A table asks for a tile that no kernel can be",
        "src/plan/tuning_zen5.cpp",
        "{8, {false, false, {4096, 1, kL1}}},",
        "{8, {false, true, {4096, 1, kL1}}},",
        PLAN,
    ),
    # activations
    Mutation(
        "The workspace has no room for its alignment",
        "src/activations/activations.cpp",
        " || __builtin_add_overflow(total, kAlignment, &total);",
        ";",
        RUN,
    ),
    Mutation(
        "Sums of the rows of a later thread go to the first rows",
        "src/activations/activations.cpp",
        "xsum_ + begin,",
        "xsum_,",
        RUN,
    ),
    Mutation(
        "The last rows are converted by nobody",
        "src/activations/activations.cpp",
        "const std::uint64_t end = source_.m * (task + 1) / tasks_;",
        "const std::uint64_t end = begin + source_.m / tasks_;",
        RUN,
    ),
    Mutation(
        "Sums add the even activation of a pair before the odd one",
        "src/activations/group_sums.cpp",
        "const float odd_added = sum[j] + load_as_f32(kType, x, j * chain_k + k + 1);\n"
        "      sum[j] = odd_added + load_as_f32(kType, x, j * chain_k + k);",
        "const float even_added = sum[j] + load_as_f32(kType, x, j * chain_k + k);\n"
        "      sum[j] = even_added + load_as_f32(kType, x, j * chain_k + k + 1);",
        REFERENCE,
    ),
    Mutation(
        "Sums are made in the caller's MXCSR",
        "src/activations/group_sums.cpp",
        "  const MxcsrScope contract(MxcsrScope::kContract);\n",
        "",
        RUN,
    ),
    Mutation(
        "The sum of a last step of odd length leaves its last activation out",
        "src/activations/group_sums.cpp",
        "for (std::uint64_t k = 0; k < count; ++k) xs[k]",
        "for (std::uint64_t k = 0; k < count / 2 * 2; ++k) xs[k]",
        REFERENCE,
    ),
    Mutation(
        "Rows of bf16 reach kernels without the factors of their columns",
        "src/activations/activations.cpp",
        "|| weight.permuted || weight.x_scaled;",
        "|| weight.permuted;",
        RUN,
    ),
    Mutation(
        "Factors are taken by place and not by column",
        "src/activations/bf16.cpp",
        "load<float>(columns.scale, i)",
        "load<float>(columns.scale, j)",
        RUN,
    ),
    Mutation(
        "The last step of an arranged row in f32 is not completed",
        "src/activations/bf16.cpp",
        "  arrange_as.template operator()<ZENWOQ_F32>();\n  complete_row(count, out);\n",
        "  arrange_as.template operator()<ZENWOQ_F32>();\n",
        RUN,
    ),
    Mutation(
        "Factors are multiplied in the caller's MXCSR",
        "src/activations/bf16.cpp",
        "  const MxcsrScope contract(MxcsrScope::kContract);\n",
        "",
        RUN,
    ),
    # the run
    Mutation(
        "All tiles take the bias of the first panel",
        "src/run/product.cpp",
        "layer.bias == nullptr ? nullptr : layer.bias + column;",
        "layer.bias;",
        RUN,
    ),
    Mutation(
        "Tiles read their matrices from column 0",
        "src/run/product.cpp",
        "operand.data + tile.row * operand.ld_bytes + column * dtype_bytes(layer.output_type)",
        "operand.data + tile.row * operand.ld_bytes + 0 * column",
        EPILOGUE,
    ),
    Mutation(
        "Tiles have the first columns of up's bias",
        "src/run/product.cpp",
        "layer.up.bias + column",
        "layer.up.bias",
        EPILOGUE,
    ),
    Mutation(
        "The reference adds the first residual twice",
        "src/reference/reference_gemm.cpp",
        "args.residual[i], args.residual_bytes[i]",
        "args.residual[0], args.residual_bytes[0]",
        EPILOGUE,
    ),
    Mutation(
        "A pair may be permuted apart",
        "src/api/checks.cpp",
        "if (!same_array(gate.permutation(), up.permutation(), g.k * sizeof(std::uint32_t))) {",
        "if (gate.permutation() != nullptr && up.permutation() == nullptr) {",
        EPILOGUE_ERRORS,
    ),
    Mutation(
        "Halves may part within a panel",
        "src/api/checks.cpp",
        "weight.n % (2 * kPanelColumns) == 0",
        "weight.n % kPanelColumns == 0",
        EPILOGUE_ERRORS,
    ),
    Mutation(
        "Columns of a run are not cut to N",
        "src/run/product.cpp",
        "std::min<std::uint64_t>(layer.n, tile.panel_end * kPanelColumns) - column;",
        "tile.panel_end * kPanelColumns - column;",
        RUN,
    ),
    Mutation(
        "All blocks take the sums of the first rows",
        "src/run/product.cpp",
        "activations.xsum == nullptr ? nullptr : activations.xsum + tile.row;",
        "activations.xsum;",
        RUN,
    ),
    Mutation(
        "Sums of the next group are looked for a tile's rows further on",
        "src/run/product.cpp",
        "args.xsum_bytes = run.x.m * sizeof(float);",
        "args.xsum_bytes = tile.tile.rows * sizeof(float);",
        RUN,
    ),
    # several runs, experts
    Mutation(
        "Slots are added in any order",
        "src/run/slot_sums.cpp",
        "std::uint64_t slot = 0; slot < sum.slots; ++slot",
        "std::uint64_t slot = sum.slots; slot-- > 0;",
        EXPERTS,
    ),
    Mutation(
        "A slot's product is rounded before it is added",
        "src/run/slot_sums.cpp",
        "total[i] = __builtin_fmaf(weight, row[i], total[i]);",
        "total[i] += weight * row[i];",
        EXPERTS,
    ),
    Mutation(
        "The sum over slots rounds as the caller does",
        "src/run/slot_sums.cpp",
        "  const MxcsrScope contract(MxcsrScope::kContract);\n",
        "",
        EXPERTS,
    ),
    Mutation(
        "A slot that is skipped is added",
        "src/run/slot_sums.cpp",
        "    if (sum.places[slot] == kNoPlace) continue;\n",
        "",
        EXPERTS,
    ),
    Mutation(
        "An id of 64 bits is cut",
        "src/run/experts.cpp",
        "if (args.id_bytes == 8) {",
        "if (args.id_bytes == 99) {",
        EXPERTS,
    ),
    Mutation(
        "Experts take the rows of the first tokens",
        "src/run/experts.cpp",
        "args_.x + (token_begin_ + to_.token_of[place])",
        "args_.x + to_.token_of[place]",
        EXPERTS,
    ),
    Mutation(
        "An expert's group sums lie as far apart as all rows are",
        "src/run/experts.cpp",
        "half.sums + row,\n               job.rows);",
        "half.sums + row,\n               places_);",
        EXPERTS,
    ),
    Mutation(
        "What gate made is not arranged for down",
        "src/run/experts.cpp",
        "if (!of_gate && converts(layer.weight.header, ZENWOQ_BF16, type)) {",
        "if (!of_gate && converts(layer.weight.header, ZENWOQ_BF16, type) && type != ZENWOQ_BF16) {",
        EXPERTS,
    ),
    Mutation(
        "Experts of another quantization take the kernels of the first",
        "src/api/experts_api.cpp",
        "if (found->key == key) return &found->slots;",
        "return &found->slots;",
        EXPERTS,
    ),
    Mutation(
        "An expert takes the biases of the first",
        "src/api/experts_checks.cpp",
        "data += expert * count * dtype_bytes(block.bias_type);",
        "data += 0;",
        EXPERTS,
    ),
    Mutation(
        "Experts are prepared for one row alone",
        "src/api/experts_api.cpp",
        "m <= std::min(rows, kMostRowsOfNewTiles)",
        "m <= 1",
        EXPERTS,
    ),
    Mutation(
        "Packed experts without a choice are opened",
        "src/api/packed_experts_api.cpp",
        "const auto expert = expert_at(args, i, block.experts);",
        "const std::optional<std::size_t> expert = i % block.experts;",
        EXPERTS,
    ),
    Mutation(
        "Rows are prepared once for weights of different permutations",
        "src/activations/activations.cpp",
        "same_array(first.permutation(), second.permutation(), a.k * sizeof(std::uint32_t))",
        "true",
        BATCH,
    ),
    Mutation(
        "Sums of other groups are taken",
        "src/activations/activations.cpp",
        "(a.zero_kind != ZENWOQ_ZERO_NONE && a.group() == b.group())",
        "a.zero_kind != ZENWOQ_ZERO_NONE",
        BATCH,
    ),
    Mutation(
        "Runs of different x share activations",
        "src/run/batch.cpp",
        "return a.x == b.x && a.m == b.m",
        "return a.m == b.m",
        BATCH,
    ),
    Mutation(
        "A small run of several has all tasks",
        "src/plan/plan.cpp",
        "* cost_of(problem) / cost_;",
        ";",
        BATCH,
    ),
    Mutation(
        "Tasks of a run are counted from the first run's",
        "src/run/product.h",
        "job == jobs.begin() ? task : task - (job - 1)->tasks_end",
        "task",
        BATCH,
    ),
    Mutation(
        "An output may lie over another one's columns",
        "src/api/run_checks.cpp",
        "column(outputs[i]) + outputs[i].row_bytes > (last ? pitch : column(next))",
        "column(outputs[i]) > (last ? pitch : column(next))",
        BATCH,
    ),
    Mutation(
        "A read behind another run's output is not seen",
        "src/api/run_checks.cpp",
        "if (output != nullptr && output->end > next.begin) return overlapping(*output, next);",
        "",
        BATCH,
    ),
    Mutation(
        "An output behind another run's read is not seen",
        "src/api/run_checks.cpp",
        "if (read != nullptr && read->end > next.begin) return overlapping(next, *read);",
        "",
        BATCH,
    ),
    Mutation(
        "A run's own residual is another run's",
        "src/api/run_checks.cpp",
        "if (operand.data == args.y) return;",
        "",
        BATCH,
    ),
    Mutation(
        "Only what began last is taken to end last",
        "src/api/run_checks.cpp",
        "return last == nullptr || next.end > last->end ? &next : last;",
        "return last == &next ? last : &next;",
        BATCH,
    ),
    Mutation(
        "One row in place must have y's ld",
        "src/api/run_checks.cpp",
        "(ld == y.ld || y.m == 1)",
        "(ld == y.ld)",
        EPILOGUE_ERRORS,
    ),
    Mutation(
        "Some rows in place may have any ld",
        "src/api/run_checks.cpp",
        "(ld == y.ld || y.m == 1)",
        "(ld == y.ld || y.m < 1000)",
        EPILOGUE_ERRORS,
    ),
    Mutation(
        "Up of packed weights has the bias of gate",
        "src/api/layer_biases.cpp",
        "if (second()) layer->up.bias = loaded(up);",
        "if (second()) layer->up.bias = layer->bias;",
        EPILOGUE,
    ),
    Mutation(
        "Both halves have the bias of the first",
        "src/api/layer_biases.cpp",
        "layer->up.bias = layer->bias + layer->n;",
        "layer->up.bias = layer->bias;",
        EPILOGUE,
    ),
    Mutation(
        "Several runs leave a workspace be",
        "src/api/run_checks.cpp",
        'return check_no_workspace("several runs", args);',
        "return {};",
        BATCH,
    ),
    # headers that many files include
    Mutation(
        "Tiles of two panels run on over an odd last panel",
        "src/plan/plan.h",
        "const std::uint64_t end = panel_end - panels % tiles_[index].panels();",
        "const std::uint64_t end = panel_end;",
        PLAN,
    ),
    Mutation(
        "Blocks behind the longer ones overlap",
        "src/plan/plan.h",
        "return block * rows + std::min(block, longer);",
        "return block * rows + (block < longer ? block : 0);",
        PLAN,
    ),
    Mutation(
        "A layer keeps the kernels of one panel and of two in one slot",
        "src/run/layer.h",
        "return slots_[tile.rows][tile.scratch ? 2 : tile.panels() - 1];",
        "return slots_[tile.rows][0];",
        RUN,
    ),
    Mutation(
        "The struct of an older caller is read past its end",
        "src/api/boundary.h",
        "  std::memcpy(out, in, std::min(size, sizeof(Struct)));\n",
        "  std::memcpy(out, in, sizeof(Struct));\n",
        API,
    ),
    Mutation(
        "The struct of an older caller is refused",
        "src/api/boundary.h",
        "ZENWOQ_PUBLIC_STRUCT(zenwoq_run_args, 88);",
        "ZENWOQ_PUBLIC_STRUCT(zenwoq_run_args, 96);",
        API,
    ),
    Mutation(
        "Keys that differ in the cache they prefetch into are equal",
        "jit/key.h",
        "bool operator==(const Prefetch&) const = default;",
        "bool operator==(const Prefetch& o) const { return bytes == o.bytes && every == o.every; }",
        KEY,
    ),
    Mutation(
        "Denormals of f16 are twice as large",
        "jit/number.h",
        "(std::bit_cast<std::int32_t>(static_cast<float>(magnitude)) - (24 << 23))",
        "(std::bit_cast<std::int32_t>(static_cast<float>(magnitude)) - (23 << 23))",
        ("number_test",),
    ),
    Mutation(
        "A scale of E8M0 of 0 is dequantized to 0",
        "jit/number.h",
        "e == 0 ? 0x00400000u : std::uint32_t{e} << 23",
        "std::uint32_t{e} << 23",
        ("number_test",),
    ),
    # forks, hosts
    Mutation(
        "A fork takes no lock",
        "src/system/fork_mutex.cpp",
        "pthread_atfork(ForkHandlers::before, ForkHandlers::in_parent, ForkHandlers::in_child);",
        "pthread_atfork(nullptr, nullptr, [] { fork_count_of_this_process.fetch_add(1); });",
        ("fork_test",),
    ),
    Mutation(
        "A child waits for the kernel that its parent was making",
        "src/registry/registry.cpp",
        "const Making mine{key, fork_count()};",
        "const Making mine{key, 0};",
        ("registry_test",),
    ),
    Mutation(
        "A child keeps the threads of its parent",
        "src/run/thread_pool.cpp",
        "return process_ == fork_count(); }",
        "return process_ == 0; }",
        ("thread_pool_test",),
    ),
    Mutation(
        "A child counts the end of a worker that it never counted",
        "src/run/thread_pool.cpp",
        "if (self.is_here()) awake.add(-1);",
        "awake.add(-1);",
        ("thread_pool_test",),
    ),
    Mutation(
        "Who waits in a crowd keeps its CPU",
        "src/run/thread_pool.cpp",
        "      sched_yield();",
        "      _mm_pause();",
        ("thread_pool_test",),
    ),
    Mutation(
        "A worker that is awake does not count",
        "src/run/thread_pool.cpp",
        "    epoch_.wait(seen);\n    awake.add(1);\n",
        "    epoch_.wait(seen);\n",
        ("thread_pool_test",),
    ),
    Mutation(
        "The loop of a run is limited by the context's threads",
        "src/api/run_checks.cpp",
        "parallel_for == nullptr ? context.threads() : threads;",
        "context.threads();",
        API,
    ),
    Mutation(
        "The second half of a GGUF block comes first",
        "src/weight/code_rows.cpp",
        "store_pairs(low, _mm_srli_epi16(low, 4), nibbles);",
        "store_pairs(_mm_srli_epi16(low, 4), low, nibbles);",
        PACK,
    ),
    Mutation(
        "Blocks of GGUF Q4_1 take any table",
        "src/weight/check_source.cpp",
        "if (header.table[code] != right) {",
        "if (header.table[code] != header.table[code] + 0 * right) {",
        PACK,
    ),
    Mutation(
        "A link in /tmp is followed",
        "src/system/profile.cpp",
        "O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_APPEND | O_NONBLOCK",
        "O_RDWR | O_CLOEXEC | O_APPEND | O_NONBLOCK",
        ("profile_test",),
    ),
    Mutation(
        "A hard link in /tmp is written to",
        "src/system/profile.cpp",
        "                   found.st_nlink == 1 && ",
        "                   ",
        ("profile_test",),
    ),
    Mutation(
        "The frame is gone one instruction later than the table for unwinding says",
        "jit/frame.cpp",
        "kPopped = 10;",
        "kPopped = 9;",
        ("profile_test",),
    ),
]


def stale(mutations: Iterable[Mutation], root: Path) -> list[str]:
    """What is wrong with the table: texts that do not occur exactly once, tests that there are not."""
    faults = []
    for mutation in mutations:
        file = root / mutation.file
        times = file.read_text().count(mutation.find) if file.is_file() else 0
        if times != 1:
            faults.append(f"stale: {mutation.name!r}: its text occurs {times} times in {mutation.file}, must be once")
        faults += [
            f"stale: {mutation.name!r}: there is no tests/{test}.cpp"
            for test in mutation.noticed_by
            if not (root / "tests" / f"{test}.cpp").is_file()
        ]
    return faults


def copy_tree(to: Path) -> None:
    """Makes `to` hold the files of the working tree, changes included; those that are the same keep their times."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    files = {name for name in listing.split("\0") if name and (ROOT / name).is_file()}
    for name in files:
        source, copy = ROOT / name, to / name
        if copy.is_file() and copy.read_bytes() == source.read_bytes():
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, copy)
        shutil.copymode(source, copy)
    for copy in to.rglob("*"):
        if copy.is_file() and str(copy.relative_to(to)) not in files and "__pycache__" not in copy.parts:
            copy.unlink()


class Workshop:
    """A copy of the tree and its release build."""

    def __init__(self, folder: Path, jobs: int) -> None:
        self.tree, self.build_folder, self.jobs = folder / "tree", folder / "build", jobs
        self.seconds: dict[str, float] = {}  # of each test, unmutated
        copy_tree(self.tree)
        if not (self.build_folder / "build.ninja").is_file():
            meson = subprocess.run(
                [self.tree / "tools/install_packages.sh", "--print-meson"], capture_output=True, text=True, check=True
            ).stdout.strip()
            setup = [meson, "setup", self.build_folder, self.tree, "-Dbuildtype=release"]
            subprocess.run(setup, stdout=subprocess.DEVNULL, check=True)

    def build(self, tests: Iterable[str]) -> str:
        """Empty, or the compiler's complaint."""
        targets = [f"tests/{test}" for test in tests]
        built = subprocess.run(
            ["ninja", "-C", self.build_folder, "-j", str(self.jobs), "--quiet", *targets],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return "" if built.returncode == 0 else built.stdout

    def complaint(self, test: str) -> str:
        """Runs a test: empty if it passed, else the case that failed or how the program ended."""
        limit = 10 + 5 * self.seconds[test] if test in self.seconds else None
        command = [self.build_folder / "tests" / test, "--gtest_brief=1", "--gtest_fail_fast"]
        try:
            ran = subprocess.run(command, capture_output=True, timeout=limit, check=False)
        except subprocess.TimeoutExpired:
            return "ran too long"
        if ran.returncode < 0:
            return f"ended by {signal.Signals(-ran.returncode).name}"
        failed = re.search(rb"\[  FAILED  \] ([\w/.]+)", ran.stdout)
        return "" if ran.returncode == 0 else failed[1].decode() if failed else f"exit status {ran.returncode}"

    def check_unmutated(self, tests: list[str]) -> None:
        """Builds the tests, runs them and takes their times."""
        if complaint := self.build(tests):
            raise SystemExit(f"{complaint}\nthe tree does not build")
        for test in tests:
            start = time.monotonic()
            if complaint := self.complaint(test):
                raise SystemExit(f"{test} fails without a mutation: {complaint}")
            self.seconds[test] = time.monotonic() - start
            print(f"unmutated  {test}: passes, {self.seconds[test]:.1f} s", flush=True)

    def notice(self, mutation: Mutation) -> str:
        """The test that notices a mutation and how; empty if none does. The tree is as before afterwards."""
        file = self.tree / mutation.file
        original = file.read_text()
        try:
            file.write_text(original.replace(mutation.find, mutation.replace))
            for test in mutation.noticed_by:
                if complaint := self.build([test]):
                    raise SystemExit(f"{complaint}\n{mutation.name!r} does not build: a mistake of the mutation")
                if complaint := self.complaint(test):
                    return f"{test} ({complaint})"
            return ""
        finally:
            file.write_text(original)


def run(folder: Path, mutations: list[Mutation], jobs: int) -> int:
    """All mutations one after another; the exit status."""
    workshop = Workshop(folder, jobs)
    workshop.check_unmutated(sorted({test for mutation in mutations for test in mutation.noticed_by}))
    noticed = 0
    for mutation in mutations:
        start = time.monotonic()
        by = workshop.notice(mutation)
        noticed += by != ""
        outcome = f"noticed by {by}" if by else f"NOT NOTICED by {', '.join(mutation.noticed_by)}"
        print(f"{mutation.file}: {mutation.name}: {outcome}, {time.monotonic() - start:.1f} s", flush=True)
    print(f"{noticed} of {len(mutations)} noticed")
    return 0 if noticed == len(mutations) else 1


def main() -> int:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="print the mutations and do nothing")
    parser.add_argument("--only", default="", metavar="TEXT", help="mutations with this text in their name or file")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where to work; it stays")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="of ninja")
    options = parser.parse_args()
    wanted = options.only.lower()
    mutations = [m for m in MUTATIONS if wanted in m.name.lower() or wanted in m.file.lower()]
    if not mutations:
        parser.error(f"no mutation has {options.only!r} in its name or file")
    if options.list:
        for mutation in mutations:
            print(f"{mutation.file}: {mutation.name} -> {', '.join(mutation.noticed_by)}")
        return 0
    if faults := stale(mutations, ROOT):
        print("\n".join(faults))
        return 1
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # some mutations crash
    if options.keep is not None:
        return run(options.keep.resolve(), mutations, options.jobs)
    with tempfile.TemporaryDirectory(prefix="zenwoq-mutate-") as folder:
        return run(Path(folder), mutations, options.jobs)


if __name__ == "__main__":
    sys.exit(main())
