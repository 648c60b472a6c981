# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The tables of bench/llm.py: one for each part of a run."""

from __future__ import annotations

from bench.report import markdown
from bench.report.figures import count, unique
from bench.report.run import Run

# For each part: a heading, and the columns with how their figures are written.
PARTS = {
    "operator": ("The torch operator, one thread", {"over the C call": ("over_c_us", "{:.2f} us")}),
    "optimize": (
        "zenwoq.torch.optimize",
        {"time": ("seconds", "{:.2f} s"), "memory over that before": ("peak_over_before_mib", "{:.0f} MiB")},
    ),
    "llama": (
        "A Llama of 8 layers",
        {
            "a token": ("token_ms", "{:.1f} ms"),
            "the prompt": ("prompt_ms", "{:.0f} ms"),
            "a token over the roof": ("over_roof", "{:.2f}"),
        },
    ),
    "smollm2": (
        "SmolLM2-135M",
        {
            "decode": ("tokens_per_s", "{:.0f} tokens/s"),
            "prefill": ("prompt_tokens_per_s", "{:.0f} tokens/s"),
        },
    ),
}


def print_llm(run: Run) -> None:
    """Prints the medians of all parts."""
    context = run.context
    threads = count(int(context["threads"]), "thread")
    tier = [f"tier {context['tier']}"] if "tier" in context else []  # older runs do not say
    about = [context["cpu"], context["uarch"], *tier, context["date"][:10], threads]
    print(f"{', '.join(about)}, {context['bandwidth_gb_s']} GB/s.\n")
    for part in unique(row["part"] for row in run.rows):
        title, columns = PARTS[part]
        print(f"### {title}\n")
        lines = []
        for row in run.rows:
            cells = [form.format(float(row[key])) if key in row else "" for key, form in columns.values()]
            if row["part"] == part and any(cells):
                lines.append([row["name"], *cells])
        print(markdown.table(["variant", *columns], lines))
