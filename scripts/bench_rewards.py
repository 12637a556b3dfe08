"""Measure how many completions per second the reward `accuracy` judges on one core.

    python scripts/bench_rewards.py [--seconds 2]

There is one line per kind of ground truth. Letters are the ground truths of OmniMedVQA; the goal
for them is 40,000 per second. Prose is the labelled answers in tests/prose. Formulas are compared
by math-verify; all pairs are different.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path
from typing import Any

from medr1.rewards import accuracy

PROSE = Path(__file__).resolve().parent.parent / "tests" / "prose" / "cases.jsonl"
PROBLEM = "What imaging technique is employed? A)Mammogram, B)PET, C)CT, D)Fluoroscopy"
BATCH = 64


def letters() -> list[dict[str, Any]]:
    """Completions with a letter, as in training; one in four is right."""
    return [
        {
            "completions": f"<think>Seen on picture {i}.</think> <answer> {letter} </answer>",
            "solution": "<answer> C </answer>",
            "problem": PROBLEM,
        }
        for i, letter in zip(range(4_000), itertools.cycle("ABCD"), strict=False)
    ]


def prose(yes_no: bool) -> list[dict[str, Any]]:
    """The labelled answers to yes/no questions, or to open questions."""
    cases = [json.loads(line) for line in PROSE.read_text("utf-8").splitlines()]
    return [
        {"completions": case["output"], "solution": case["gold"], "problem": case["question"]}
        for case in cases
        if (case["kind"] == "yes_no") == yes_no
    ]


def formulas() -> list[dict[str, Any]]:
    """Different pairs of equal formulas."""
    return [
        {
            "completions": f"<answer>$\\frac{{{2 * n}}}{{14}}$</answer>",
            "solution": f"$\\frac{{{n}}}{{7}}$",
            "problem": "Find x.",
        }
        for n in range(1, 400)
    ]


def per_second(rows: list[dict[str, Any]], seconds: float) -> float:
    """Judge batches for at least `seconds`; completions per second."""
    batches = [rows[i : i + BATCH] for i in range(0, len(rows), BATCH)]
    count, begin = 0, time.perf_counter()
    for batch in itertools.cycle(batches):
        accuracy(**{name: [row[name] for row in batch] for name in batch[0]})
        count += len(batch)
        if (spent := time.perf_counter() - begin) >= seconds:
            return count / spent
    raise AssertionError("itertools.cycle ended, so there were no rows")


def main() -> None:
    """Measure each kind of ground truth."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="seconds per kind [default: 2]")
    seconds = parser.parse_args().seconds
    kinds = {
        "letters": letters(),
        "open answers in prose": prose(False),
        "yes/no in prose": prose(True),
        "formulas": formulas(),
    }
    for name, rows in kinds.items():
        accuracy(**{key: [rows[0][key]] for key in rows[0]})  # loads libraries, which is not timed
        print(f"{name:24} {per_second(rows, seconds):10,.0f} a second", flush=True)


if __name__ == "__main__":
    main()
