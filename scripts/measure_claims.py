"""Measure precision and recall of medr1/claims on the labelled statements, by kind.

python scripts/measure_claims.py
python scripts/measure_claims.py --file tests/claims/statements.jsonl --errors
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medr1.claims import KINDS, contradictions, known_of
from medr1.records import Sample
from medr1.stats.intervals import wilson

FILES = [
    Path(__file__).resolve().parent.parent / "tests" / "claims" / name
    for name in ("statements.jsonl", "kept-aside.jsonl", "fresh.jsonl")
]


def predicted_kinds(statement: Mapping[str, Any]) -> set[str]:
    """The kinds of contradiction that the rules find in one statement."""
    fields = ("question", "options", "modality", "metadata", "ground_truth", "answer_type")
    values = {name: statement[name] for name in fields if name in statement}
    sample = Sample(id=statement["id"], images=(), **values)
    known = known_of(sample, statement["answer"])
    return {item.kind for item in contradictions(statement["text"], known)}


def counts_of(path: Path, *, print_errors: bool = False) -> dict[str, tuple[int, int, int]]:
    """Kind, and "all" -> the numbers of right, false and missed contradictions.

    Args:
        path: The file with the labelled statements.
        print_errors: Print each statement that is read wrongly.
    """
    counts = {kind: [0, 0, 0] for kind in (*KINDS, "all")}
    for line in path.read_text(encoding="utf-8").splitlines():
        statement = json.loads(line)
        predicted, labelled = predicted_kinds(statement), set(statement["kinds"])
        for kind in KINDS:
            for row in (counts[kind], counts["all"]):
                row[0] += kind in predicted and kind in labelled
                row[1] += kind in predicted and kind not in labelled
                row[2] += kind not in predicted and kind in labelled
        if print_errors and predicted != labelled:
            print(
                f"{statement['id']} {sorted(labelled)} read as {sorted(predicted)}: "
                f"{statement['text']}"
            )
    return {kind: (row[0], row[1], row[2]) for kind, row in counts.items()}


def share(part: int, total: int) -> str:
    """A share with its 95 % Wilson interval."""
    if not total:
        return "-"
    low, high = wilson(part, total) or (0.0, 1.0)
    return f"{part / total:.3f} [{low:.3f}, {high:.3f}] of {total}"


def main() -> None:
    """Print a table for each file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--file", type=Path, action="append", help="file with labelled statements")
    parser.add_argument("--errors", action="store_true", help="print what is read wrongly")
    arguments = parser.parse_args()
    for path in arguments.file or FILES:
        print(f"{path.name}\n| kind | precision | recall |\n|---|---|---|")
        for kind, (right, false, missed) in counts_of(path, print_errors=arguments.errors).items():
            print(f"| {kind} | {share(right, right + false)} | {share(right, right + missed)} |")


if __name__ == "__main__":
    main()
