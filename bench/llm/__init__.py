# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""What bench/llm.py is made of: models, ways to run them, what is measured of each.

What other libraries print is silenced, before they are imported, so that the program's own lines can be read.
"""

import logging
import os

logging.disable(logging.WARNING)  # TorchAO names every GPU library that it does not find
os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
