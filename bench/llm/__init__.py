# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The parts of bench/llm.py: models, ways to run them, and what is measured of each.

Other libraries' messages are silenced before they are imported, so that the program's own lines can be read.
"""

import logging
import os

logging.disable(logging.WARNING)  # TorchAO names every GPU library that it does not find
os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
