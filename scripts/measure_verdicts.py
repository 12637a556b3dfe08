"""Recall and precision of medr1's verdicts on labelled answers in prose, beside simple rules.

    python scripts/measure_verdicts.py [FILE.jsonl ...] [--anchors] [--json]

FILE has a line for each answer: question, gold, output, label (right | wrong), style, kind
(yes_no, or anything for an open question). Without one, both halves in tests/prose are measured.
Intervals are Wilson's, 95 %. --anchors measures on the open answers also what the field does with a
rule of one line: the gold contained in the answer, its tokens, rapidfuzz's partial_ratio, and
containment with medr1's table of names.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from medr1.answers import answer_type_of, judge, normalize
from medr1.intervals import wilson

HALVES = Path(__file__).resolve().parent.parent / "tests" / "prose"
SHORT = ("word", "sentence")
PARTIAL_RATIO = 90

Case = Mapping[str, str]
Rule = Callable[[Case], bool]


def read_cases(path: Path) -> list[Case]:
    """The labelled answers of a file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]


def is_yes_no(case: Case) -> bool:
    return case["kind"] == "yes_no"


def begins_with_answer(case: Case) -> bool:
    """Whether the output's first word is yes or no."""
    words = normalize(case["output"]).split()
    return bool(words) and words[0] in ("yes", "no")


def verdict_of(case: Case) -> tuple[bool, bool]:
    """Whether medr1 credits the answer, and whether it leaves it undecided."""
    verdict = judge(
        case["output"],
        ground_truth=case["gold"],
        options={},
        answer_type=answer_type_of(case["gold"], {}),
        question=case["question"],
    )
    return verdict.correct, verdict.undecided is not None


def contains(case: Case) -> bool:
    """The gold contained in the answer, both normalised."""
    return f" {normalize(case['gold'])} " in f" {normalize(case['output'])} "


def has_all_tokens(case: Case) -> bool:
    """All tokens of the gold in the answer: LLaVA-Med's recall of 1."""
    return set(normalize(case["gold"]).split()) <= set(normalize(case["output"]).split())


def is_partly_equal(case: Case) -> bool:
    """rapidfuzz's partial_ratio of at least PARTIAL_RATIO."""
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


def measure(cases: Iterable[Case], credited: Iterable[bool]) -> dict[str, Any]:
    """Recall and precision of what is credited, each with its interval."""
    pairs = [
        (case["label"] == "right", credit) for case, credit in zip(cases, credited, strict=True)
    ]
    right = sum(is_right for is_right, _ in pairs)
    given = sum(credit for _, credit in pairs)
    hits = sum(is_right and credit for is_right, credit in pairs)
    return {
        "n": len(pairs),
        "recall": share(hits, right),
        "precision": share(hits, given),
    }


def share(hits: int, n: int) -> dict[str, Any]:
    return {"value": hits / n if n else None, "ci95": list(wilson(hits, n)) if n else None, "n": n}


def groups_of(case: Case) -> list[str]:
    """The rows of the table that a case counts in."""
    if is_yes_no(case):
        lead = "begins with yes or no" if begins_with_answer(case) else "does not"
        return ["yes/no", f"  {lead}", f"  {case['style']}"]
    form = "short answers and sentences" if case["style"] in SHORT else "other styles"
    return ["open", f"  {form}", f"  {case['style']}", f"  gold: {case['kind']}"]


def table(cases: list[Case]) -> dict[str, dict[str, Any]]:
    """A row for all open and yes/no answers, each style and each kind of gold."""
    verdicts = [verdict_of(case) for case in cases]
    rows: dict[str, list[int]] = {}
    for i, case in enumerate(cases):
        for row in groups_of(case):
            name = row if not row.startswith(" ") else f"{groups_of(case)[0]}{row}"
            rows.setdefault(name, []).append(i)
    return {
        name: {
            **measure([cases[i] for i in places], [verdicts[i][0] for i in places]),
            "undecided": sum(verdicts[i][1] for i in places),
        }
        for name, places in sorted(rows.items())
    }


def anchors(cases: list[Case]) -> dict[str, dict[str, Any]]:
    """What one-line rules reach on the open answers."""
    open_cases = [case for case in cases if not is_yes_no(case)]
    return {
        name: measure(open_cases, [rule(case) for case in open_cases])
        for name, rule in ANCHORS.items()
    }


def text_of(metric: Mapping[str, Any]) -> str:
    if metric["value"] is None:
        return f"{'-':>18}"
    low, high = metric["ci95"]
    return f"{metric['value']:.2f} ({low:.2f} to {high:.2f})"


def print_rows(rows: Mapping[str, Mapping[str, Any]]) -> None:
    for name, row in rows.items():
        undecided = row.get("undecided", "")
        print(
            f"{name:42} {row['n']:4}  {text_of(row['recall'])}  {text_of(row['precision'])}"
            f"  {undecided}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--anchors", action="store_true", help="Also one-line rules.")
    parser.add_argument("--json", action="store_true", help="Print one JSON document.")
    asked = parser.parse_args()
    files = asked.files or [HALVES / "cases.jsonl", HALVES / "held-out.jsonl"]
    document = {}
    for path in files:
        cases = read_cases(path)
        document[str(path)] = {"verdicts": table(cases)}
        if asked.anchors:
            document[str(path)]["anchors"] = anchors(cases)
    if asked.json:
        json.dump(document, sys.stdout, indent=1)
        return
    for name, found in document.items():
        print(f"\n{name}\n{'':42}    n  recall               precision            undecided")
        for rows in found.values():
            print_rows(rows)


if __name__ == "__main__":
    main()
