# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""``python -m zenwoq.vllm SOURCE FOLDER``: see :func:`zenwoq.vllm.convert`."""

import argparse
import sys

from zenwoq.vllm import convert

parser = argparse.ArgumentParser(
    prog="python -m zenwoq.vllm", description="Writes a 4-bit model as a folder of packed weights."
)
parser.add_argument("source", help="a folder with a 4-bit checkpoint, or a .gguf file")
parser.add_argument("folder", help="where to write")
arguments = parser.parse_args()
try:
    convert(arguments.source, arguments.folder)
except (ImportError, OSError, ValueError) as error:
    sys.exit(f"{parser.prog}: {error}")
