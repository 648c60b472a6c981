# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The build backend of pyproject.toml: meson-python, with one date for all files of an archive.

Without it a wheel would hold the time at which it was made. SOURCE_DATE_EPOCH, where it is set, is taken instead.
"""

import os

from mesonpy import *  # noqa: F403

os.environ.setdefault("SOURCE_DATE_EPOCH", "1767225600")  # 2026-01-01
