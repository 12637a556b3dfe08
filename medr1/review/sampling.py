"""Which items of a results file are reviewed, and in which order each reader sees them.

Every item belongs to one kind: confident errors, answers that contradict their reasoning, texts
that contradict the item, other errors, and other right answers, which are the control. Each kind is
sampled at its own rate, and each item of a kind with the same probability, so that
`stats.prediction_powered` can tell from the sample what experts would find on all items: the kinds
are its strata. Within a kind the sample is spread over modalities and question types in proportion
to their size (systematic sampling with a random start from a list in their order).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medr1.errors import InputError

CONTRADICTIONS = ("reasoning_contradiction", "item_contradiction")
"""The kinds of contradiction: the reasoning concludes with another answer than is given
(`reasoning.consistency`); the text claims what is known of the item rules out (`claims`)."""
KINDS = ("confident_error", *CONTRADICTIONS, "error", "right")
"""The kinds of items; each item has the first that fits."""
CONFIDENT = 0.8
"""Confidence from which a wrong answer is a confident error."""


@dataclass(frozen=True)
class SecondVerdict:
    """The second model's answer to an item, in a review of two models."""

    is_right: bool
    """The automatic verdict."""
    confidence: float | None


@dataclass(frozen=True)
class ReviewCandidate:
    """What the sampling has to know about one item."""

    item_id: str
    is_right: bool
    """The automatic verdict."""
    confidence: float | None
    modality: str | None
    question_type: str | None
    cluster: int
    """The number of what it shares with other items that are not independent, such as an image."""
    contradiction: str | None = None
    """One of CONTRADICTIONS, or None."""
    answer_type: str = "open"
    """One of records.ANSWER_TYPES."""
    second: SecondVerdict | None = None
    """The second model; None in a review of one model."""

    @property
    def kind(self) -> str:
        """The kind of the item, one of KINDS."""
        is_confident = self.confidence is not None and self.confidence >= CONFIDENT
        if is_confident and not self.is_right:
            return "confident_error"
        return self.contradiction or ("right" if self.is_right else "error")


@dataclass(frozen=True)
class Presentation:
    """One time that a reader is shown a case."""

    case: int
    """The place of the item among all items of the results file."""
    is_repeat: bool = False
    """Whether the reader has been shown the case before, which tells how far they agree with
    themselves."""


def sample_cases(
    candidates: Sequence[ReviewCandidate], counts: Mapping[str, int], seed: int
) -> list[int]:
    """The places of the items to review, in ascending order.

    Args:
        candidates: All items of the results file.
        counts: How many items of each kind are wanted; where there are fewer, all are taken.
        seed: Of the random draws; the same seed gives the same sample.

    Raises:
        InputError: A kind is unknown, a count is negative, or nothing would be sampled.
    """
    unknown = sorted(set(counts) - set(KINDS))
    if unknown:
        raise InputError(f"there are no cases of kind {unknown[0]}. Choose of {', '.join(KINDS)}.")
    if min(counts.values(), default=0) < 0:
        raise InputError("the number of cases of a kind is negative. Use 0 or more.")
    chosen: list[int] = []
    for kind in KINDS:
        rng = random_generator(seed, "sample", kind)
        places = [place for place, candidate in enumerate(candidates) if candidate.kind == kind]
        keys = rng.random(len(places))  # random order within a cell
        ordered = sorted(
            range(len(places)),
            key=lambda i: (
                candidates[places[i]].modality or "",
                candidates[places[i]].question_type or "",
                keys[i],
            ),
        )
        picks = _systematic(len(places), counts.get(kind, 0), float(rng.random()))
        chosen += [places[ordered[pick]] for pick in picks]
    if not chosen:
        raise InputError(
            "no case is sampled: no item is of a kind that is wanted. Raise --errors, "
            "--right-answers or --confident-errors."
        )
    return sorted(chosen)


def _systematic(size: int, count: int, start: float) -> NDArray[np.intp]:
    """`count` places of `size`, at equal distances from a random start in [0, 1)."""
    count = min(count, size)
    if not count:
        return np.zeros(0, dtype=np.intp)
    picks: NDArray[np.intp] = np.floor((np.arange(count) + start) * (size / count)).astype(np.intp)
    return np.minimum(picks, size - 1)


def reader_order(
    cases: Sequence[int], reader: str, seed: int, repeats: int = 0
) -> list[Presentation]:
    """The cases in the order in which one reader is shown them, another one for each reader.

    A case that is shown twice is one of the first half, and comes back at least half of the cases
    later.

    Args:
        cases: The sampled cases.
        reader: The name or code of the reader.
        seed: The seed of the study.
        repeats: How many cases are shown twice, at most half of them.
    """
    rng = random_generator(seed, "order", reader)
    order = [cases[place] for place in rng.permutation(len(cases))]
    half = (len(order) + 1) // 2
    again = rng.choice(len(order) // 2, size=min(repeats, len(order) // 2), replace=False)
    keyed = [(float(place), Presentation(case)) for place, case in enumerate(order)]
    for place in sorted(int(place) for place in again):
        key = rng.uniform(place + half, len(order))
        keyed.append((key, Presentation(order[place], is_repeat=True)))
    return [presentation for _, presentation in sorted(keyed, key=lambda entry: entry[0])]


def random_generator(seed: int, *purpose: str) -> np.random.Generator:
    """A generator of random numbers for a seed and a purpose, the same on every machine.

    Args:
        seed: The seed of the study.
        *purpose: What the numbers are for.
    """
    digest = hashlib.sha256("\0".join([str(seed), *purpose]).encode("utf-8")).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))
