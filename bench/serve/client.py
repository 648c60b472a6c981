# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""vLLM's own benchmark client, with the options of ``vllm bench serve``.

Of the CPU build's wheel the ``vllm`` program itself does not start: it asks for the version of a package named vllm.
"""

from vllm.benchmarks.serve import add_cli_args, main
from vllm.utils.argparse_utils import FlexibleArgumentParser

if __name__ == "__main__":
    parser = FlexibleArgumentParser()
    add_cli_args(parser)
    main(parser.parse_args())
