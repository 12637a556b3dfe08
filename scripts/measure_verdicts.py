"""Measure recall and precision of medr1's verdicts on labelled answers in prose.

    python scripts/measure_verdicts.py [FILE.jsonl ...] [--anchors] [--json]

FILE has one line for each answer, with the keys question, gold (the ground truth), output (the
completion), label (right | wrong), style, and kind (yes_no; anything else for an open question).
Without FILE, both files in tests/prose are measured. Intervals are Wilson's, 95 %.

--anchors also measures simple rules of one line on the open answers: whether the answer contains
the ground truth, all its tokens, a similar text by rapidfuzz's partial_ratio, or the ground truth
under any name in medr1's table of names.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from medr1.answers import answer_type_of, judge, normalize
from medr1.documents.metric import Metric
from medr1.stats.intervals import wilson

HALVES = Path(__file__).resolve().parent.parent / "tests" / "prose"
SHORT = ("word", "sentence")
"""The styles of short answers."""
PARTIAL_RATIO = 90
"""The least partial_ratio of an answer that counts as right, out of 100."""

Case = Mapping[str, str]
Rule = Callable[[Case], bool]


def read_cases(path: Path) -> list[Case]:
    """The labelled answers of a file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]


def is_yes_no(case: Case) -> bool:
    """Whether the question is answered by yes or no."""
    return case["kind"] == "yes_no"


def begins_with_answer(case: Case) -> bool:
    """Whether the output's first word is yes or no."""
    words = normalize(case["output"]).split()
    return bool(words) and words[0] in ("yes", "no")


def verdict_of(case: Case) -> tuple[bool, bool]:
    """Whether medr1 judges the answer right, and whether it leaves it undecided."""
    verdict = judge(
        case["output"],
        ground_truth=case["gold"],
        options={},
        answer_type=answer_type_of(case["gold"], {}),
        question=case["question"],
    )
    return verdict.correct, verdict.undecided is not None


def contains(case: Case) -> bool:
    """Whether the answer contains the ground truth, both normalized."""
    return f" {normalize(case['gold'])} " in f" {normalize(case['output'])} "


def has_all_tokens(case: Case) -> bool:
    """Whether the answer has all tokens of the ground truth: a recall of 1 in LLaVA-Med."""
    return set(normalize(case["gold"]).split()) <= set(normalize(case["output"]).split())


def is_partly_equal(case: Case) -> bool:
    """Whether rapidfuzz's partial_ratio is at least `PARTIAL_RATIO`."""
    from rapidfuzz.fuzz import partial_ratio

    ratio = partial_ratio(normalize(case["gold"]), normalize(case["output"]))
    return bool(ratio >= PARTIAL_RATIO)


def contains_by_any_name(case: Case) -> bool:
    """Every name and stem of the gold in the answer, under any of its names, and nothing else."""
    from medr1.answers.prose.golds import parse_ground_truth
    from medr1.answers.prose.mentions import mentions_of
    from medr1.answers.prose.sentences import read_sentence

    sentence = read_sentence(case["output"])
    parts = parse_ground_truth(case["gold"], "").parts
    return bool(parts) and all(mentions_of(part, sentence) for part in parts)


ANCHORS: dict[str, Rule] = {
    "gold contained": contains,
    "all gold tokens": has_all_tokens,
    f"partial_ratio >= {PARTIAL_RATIO}": is_partly_equal,
    "contained by any name": contains_by_any_name,
}


def measure(cases: Iterable[Case], verdicts: Iterable[bool]) -> dict[str, Any]:
    """Recall and precision of verdicts, each with its interval.

    Args:
        cases: The labelled answers.
        verdicts: For each answer, whether it was judged right.
    """
    pairs = [
        (case["label"] == "right", verdict) for case, verdict in zip(cases, verdicts, strict=True)
    ]
    num_right = sum(is_right for is_right, _ in pairs)
    num_judged_right = sum(verdict for _, verdict in pairs)
    hits = sum(is_right and verdict for is_right, verdict in pairs)
    return {
        "n": len(pairs),
        "recall": share(hits, num_right),
        "precision": share(hits, num_judged_right),
    }


def share(hits: int, n: int) -> dict[str, Any]:
    """The share of `hits` in `n` with its interval; None if `n` is 0."""
    return {"value": hits / n if n else None, "ci95": list(wilson(hits, n)) if n else None, "n": n}


def groups_of(case: Case) -> list[str]:
    """Names of the rows of the table in which a case is counted."""
    if is_yes_no(case):
        lead = "begins with yes or no" if begins_with_answer(case) else "does not"
        return ["yes/no", f"  {lead}", f"  {case['style']}"]
    form = "short answers and sentences" if case["style"] in SHORT else "other styles"
    return ["open", f"  {form}", f"  {case['style']}", f"  gold: {case['kind']}"]


def table(cases: list[Case]) -> dict[str, dict[str, Any]]:
    """Rows for open and for yes/no answers: all, by form, by style, by kind of ground truth."""
    verdicts = [verdict_of(case) for case in cases]
    rows: dict[str, list[int]] = {}
    for i, case in enumerate(cases):
        for row in groups_of(case):
            name = row if not row.startswith(" ") else f"{groups_of(case)[0]}{row}"
            rows.setdefault(name, []).append(i)
    return {
        name: {
            **measure([cases[i] for i in indices], [verdicts[i][0] for i in indices]),
            "undecided": sum(verdicts[i][1] for i in indices),
        }
        for name, indices in sorted(rows.items())
    }


def anchors(cases: list[Case]) -> dict[str, dict[str, Any]]:
    """Recall and precision of the simple rules on the open answers."""
    open_cases = [case for case in cases if not is_yes_no(case)]
    return {
        name: measure(open_cases, [rule(case) for case in open_cases])
        for name, rule in ANCHORS.items()
    }


def text_of(metric: Metric) -> str:
    """A share with its interval as text; a dash if it has no value."""
    if metric.value is None or metric.ci95 is None:
        return f"{'-':>18}"
    low, high = metric.ci95
    return f"{metric.value:.2f} ({low:.2f} to {high:.2f})"


def print_rows(rows: Mapping[str, Mapping[str, Any]]) -> None:
    """Print rows of the table."""
    for name, row in rows.items():
        undecided = row.get("undecided", "")
        print(
            f"{name:42} {row['n']:4}  {text_of(row['recall'])}  {text_of(row['precision'])}"
            f"  {undecided}"
        )


def main() -> None:
    """Measure each file, and print the tables or one JSON document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("files", nargs="*", type=Path, help="Files with labelled answers.")
    parser.add_argument("--anchors", action="store_true", help="Also measure simple rules.")
    parser.add_argument("--json", action="store_true", help="Print one JSON document.")
    arguments = parser.parse_args()
    files = arguments.files or [HALVES / "cases.jsonl", HALVES / "held-out.jsonl"]
    document = {}
    for path in files:
        cases = read_cases(path)
        document[str(path)] = {"verdicts": table(cases)}
        if arguments.anchors:
            document[str(path)]["anchors"] = anchors(cases)
    if arguments.json:
        json.dump(document, sys.stdout, indent=1)
        return
    for name, tables in document.items():
        print(f"\n{name}\n{'':42}    n  recall               precision            undecided")
        for rows in tables.values():
            print_rows(rows)


if __name__ == "__main__":
    main()
