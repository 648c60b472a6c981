# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""The tables of bench/serve.py: for each model tokens a second, time to first token and time per output token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.report import markdown
from bench.report.figures import Spread, count, unique
from bench.report.peers import OURS
from bench.report.run import Run

FIGURES = {
    "tokens_per_s": ("Tokens a second, of all requests together", "{:.1f}"),
    "ttft_ms": ("Time to first token, ms", "{:.0f}"),
    "tpot_ms": ("Time per output token, ms", "{:.1f}"),
}
Engine = tuple[str, str]  # implementation, mode
Rows = Mapping[tuple[Engine, int], Mapping[str, str]]


def print_serve(run: Run, spread: bool = False) -> None:
    """Prints the medians of all models, and what was not measured."""
    context = run.context
    how = "compiled" if context["compiled"] == "true" else "eager"
    bound = {"nobind": count(int(context["threads"]), "thread"), "auto": "threads as vLLM binds them"}
    threads = bound.get(context["bind"], f"threads bound to {context['bind']}")
    tokens = f"{context['input_tokens']} tokens in, {context['output_tokens']} out"
    about = [context["cpu"], context["uarch"], f"zenwoq's tier {context['tier']}", context["date"][:10]]
    versions = [f"{key.removeprefix('version ')} {value}" for key, value in context.items() if key[:8] == "version "]
    print(f"{', '.join([*about, threads, how, tokens])}; {', '.join(versions)}.\n")
    rows = [row for row in run.rows if "not_measured" not in row]
    for model in unique(row["model"] for row in rows):
        print_model(model, [row for row in rows if row["model"] == model], spread)
    for row in run.rows:
        if "not_measured" in row:
            where = f" ({row['model']})" if "model" in row else ""
            print(f"Not measured: {row['implementation']}, {row['mode']}{where}: {row['not_measured']}")


def print_model(model: str, rows: Sequence[Mapping[str, str]], spread: bool) -> None:
    """Prints a table for each figure, and one of what a server is at all loads."""
    at: Rows = {((row["implementation"], row["mode"]), int(row["requests"])): row for row in rows}
    engines = unique(engine for engine, _ in at)
    requests = sorted(unique(number for _, number in at))
    ours = next((engine for engine in engines if engine[0] == OURS), None)
    for name, (title, form) in FIGURES.items():
        print(f"### {model}: {title[0].lower()}{title[1:]}\n")
        lines = []
        for engine in engines:
            cells = [_cell(at, engine, ours, number, name, form, spread) for number in requests]
            lines.append([", ".join(engine), *cells])
        print(markdown.table(["requests at once", *map(str, requests)], lines))
    first = [next(row for (engine, _), row in at.items() if engine == each) for each in engines]
    lines = [
        [", ".join(engine), f"{float(row['start_s']):.0f} s", f"{float(row['loss']):.3f}"]
        for engine, row in zip(engines, first, strict=True)
    ]
    print(markdown.table(["server", "start", "loss of a text, nats a token"], lines))


def _cell(at: Rows, engine: Engine, ours: Engine | None, requests: int, name: str, form: str, spread: bool) -> str:
    """A figure; of tokens a second also how many times as many zenwoq makes."""
    row = at.get((engine, requests))
    if row is None:
        return ""
    figure = Spread.read(row, name)
    text = form.format(figure.median)
    base = at.get((ours, requests)) if ours and engine != ours and name == "tokens_per_s" else None
    if base is not None:
        text += f" ({Spread.read(base, name).median / figure.median:.2f}x)"
    return text + (f" [{form.format(figure.low)}..{form.format(figure.high)}]" if spread else "")
