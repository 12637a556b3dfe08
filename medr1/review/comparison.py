"""Two models' answers to one question: the pairs, and the order in which a reader sees them."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medr1.errors import InputError
from medr1.evaluate.comparing.pairing import BY_ID, pair_items, pairing_warnings
from medr1.evaluate.judging import Settings
from medr1.evaluate.reading.results import read_results
from medr1.files import sha256_of
from medr1.records import Prediction
from medr1.review.candidates import candidates_of
from medr1.review.rubric import RUBRIC, SECOND
from medr1.review.sampling import (
    CONTRADICTIONS,
    ReviewCandidate,
    SecondVerdict,
    random_generator,
)

if TYPE_CHECKING:
    from medr1.data.readers import Questions

_OTHER = {"a": "b", "b": "a"}


@dataclass(frozen=True)
class SecondAnswers:
    """The answers of the second model, in the order of the first one's."""

    predictions: Sequence[Prediction]
    is_right: Sequence[bool]
    """The automatic verdicts."""
    titles: tuple[str, str]
    """Names of the first and the second model."""


@dataclass(frozen=True)
class Pairs:
    """The items that both files have."""

    predictions: Sequence[Prediction]
    """The first model's answers."""
    candidates: Sequence[ReviewCandidate]
    second: SecondAnswers
    settings: Mapping[str, Any]
    """What the store has of the comparison, as JSON values."""
    warnings: Sequence[str]


def read_pairs(
    path: Path,
    other: Path,
    settings: Settings,
    *,
    columns: Mapping[str, str] | None = None,
    questions: Questions | None = None,
    contradictions: Container[str] = CONTRADICTIONS,
) -> Pairs:
    """The items that two results files have in common.

    Args:
        path: The results of the first model, whose verdicts decide which items are sampled.
        other: The results of the second model.
        settings: How answers are judged, and which items are not independent.
        columns: Name of a field -> the files' column or key of that meaning.
        questions: The questions that were answered, for what the files lack.
        contradictions: Kinds of contradiction of the first model to look for, as in
            `candidates_of`.

    Raises:
        InputError: A file holds no results, both are the same file, they have no items in common,
            or other questions for one item.
    """
    hashes = sha256_of(path), sha256_of(other)
    if hashes[0] == hashes[1]:
        raise InputError(f"{path} and {other} are equal. Compare the results of two models.")
    files = [read_results(name, columns=columns, questions=questions) for name in (path, other)]
    paired = pair_items(
        {str(path): files[0].predictions, str(other): files[1].predictions}, common_only=True
    )
    first, second = paired.predictions.values()
    titles = [Path(str(file.meta.get("model") or "")).name for file in files]
    unpaired = [len(file.predictions) - len(first) for file in files]
    others = candidates_of(second, settings, ())
    return Pairs(
        predictions=first,
        candidates=[
            replace(candidate, second=SecondVerdict(other.is_right, other.confidence))
            for candidate, other in zip(
                candidates_of(first, settings, contradictions), others, strict=True
            )
        ],
        second=SecondAnswers(second, [other.is_right for other in others], (titles[0], titles[1])),
        settings={"results_sha256": hashes[1], "models": titles, "unpaired": unpaired},
        warnings=[] if paired.paired_by == BY_ID else pairing_warnings(paired.paired_by),
    )


def is_swapped(seed: int, reader: str, place: int, *, is_repeat: bool) -> bool:
    """Whether a reader sees the second model's answer first, at random for each presentation.

    Args:
        seed: The seed of the study.
        reader: The name or code of the reader.
        place: The place of the case.
        is_repeat: Whether the reader has been shown the case before.
    """
    rng = random_generator(seed, "side", reader, str(place), str(int(is_repeat)))
    return bool(rng.random() < 0.5)


def swapped(ratings: Mapping[str, str]) -> dict[str, str]:
    """Ratings in which the two answers have changed places; twice gives the same ratings.

    Args:
        ratings: Key of `rubric_of(is_comparison=True)` -> answer.
    """
    about_answer = {question.key for question in RUBRIC if question.is_about_case}
    result: dict[str, str] = {}
    for key, rating in ratings.items():
        if key == "preference":
            result[key] = _OTHER.get(rating, rating)
        elif key.startswith(SECOND):
            result[key.removeprefix(SECOND)] = rating
        else:
            result[f"{SECOND}{key}" if key in about_answer else key] = rating
    return result
