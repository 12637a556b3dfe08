"""The final answer of a review about each case: the adjudicated one, else that of the majority."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from medr1.review.store import Judgement

SOURCES = ("adjudicated", "majority", "undecided")
"""Where a final answer is from; "undecided": no answer has more than half of the readers."""


@dataclass(frozen=True)
class FinalAnswer:
    """The final answer about one case to one question of the rubric."""

    answer: str | None
    """The answer; None where it is undecided."""
    source: str
    """One of SOURCES."""
    counts: Mapping[str, int]
    """Answer -> number of readers of the first round who gave it."""


def final_answers(
    first: Mapping[tuple[str, int], Judgement],
    adjudicated: Mapping[tuple[str, int], Judgement],
    question: str,
) -> dict[int, FinalAnswer]:
    """Place of each case that was judged -> its final answer.

    Several adjudicators, whose answers differ, decide by their majority.

    Args:
        first: The readers' judgements at the first look, from `rounds.first_looks`.
        adjudicated: Those of the adjudication; empty without one.
        question: Key of the question of the rubric.
    """
    rounds = [_counts(first, question), _counts(adjudicated, question)]
    final: dict[int, FinalAnswer] = {}
    for place in sorted({*rounds[0], *rounds[1]}):
        readers = rounds[0].get(place, Counter())
        decided = _majority(rounds[1].get(place, Counter()))
        source = "adjudicated"
        if decided is None:
            decided, source = _majority(readers), "majority"
        final[place] = FinalAnswer(decided, source if decided else "undecided", dict(readers))
    return final


def _counts(looks: Mapping[tuple[str, int], Judgement], question: str) -> dict[int, Counter[str]]:
    """Place -> how often each answer was given."""
    counts: dict[int, Counter[str]] = defaultdict(Counter)
    for (_, place), judgement in looks.items():
        if question in judgement.ratings:
            counts[place][judgement.ratings[question]] += 1
    return dict(counts)


def _majority(counts: Counter[str]) -> str | None:
    """The answer of more than half; None where there is none."""
    for answer, number in counts.most_common(1):
        if 2 * number > counts.total():
            return answer
    return None
