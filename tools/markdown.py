# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
#
# Tables in Markdown: what bench_table.py and peers_table.py share.


def print_table(head, lines):
    """head: texts; lines: lists of as many texts."""
    print(f"| {' | '.join(head)} |")
    print(f"|{'---|' * len(head)}")
    for line in lines:
        print(f"| {' | '.join(line)} |")
    print()
