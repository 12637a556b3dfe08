"""The rounds of a review: stores of one round put together, and a second round for an adjudicator.

The second round has the cases on which the readers of the first differ, in a store of its own. Its
study names the study of the first round. The adjudicator is shown the earlier verdicts, with a code
in place of each reader's name.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from medr1.errors import InputError
from medr1.review.rubric import RUBRIC
from medr1.review.sampling import CONTRADICTIONS, ReviewCandidate
from medr1.review.store import Judgement, Store, StoredItem, Study

QUESTIONS = tuple(question.key for question in RUBRIC if question.is_about_case)
"""The questions of the rubric on which readers can differ."""


@contextmanager
def opened_rounds(paths: Sequence[Path]) -> Iterator[tuple[Store, Store | None]]:
    """The stores of the first round as one, and those of the adjudication; None without one.

    The files are not changed: what is opened are copies.

    Args:
        paths: Stores of readers and of an adjudicator, in any order.

    Raises:
        InputError: A file is no store, none is of a first round, or they are of other reviews.
    """
    groups: dict[bool, list[Path]] = {True: [], False: []}
    for path in paths:
        with closing(Store(path)) as store:
            groups["first_round" in store.study.settings].append(path)
    if not groups[False]:
        raise InputError("only an adjudication is named. Name the readers' files as well.")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        first = stack.enter_context(closing(_merged(groups[False], folder / "first.db")))
        second = None
        if groups[True]:
            second = stack.enter_context(closing(_merged(groups[True], folder / "second.db")))
            if second.study.settings["first_round"] != _study_values(first.study):
                raise InputError(f"{groups[True][0]} adjudicates another review.")
        yield first, second


def require_one_model(study: Study) -> None:
    """Refuse a review that compares two models.

    Args:
        study: The study of the first round.

    Raises:
        InputError: The study compares two models.
    """
    if study.is_comparison:
        raise InputError(
            "the review compares two models, and only a review of one model can be adjudicated, "
            "exported, written as labels or added to a report. Use `medr1 review summary`."
        )


def _merged(paths: Sequence[Path], copy: Path) -> Store:
    """A store with the judgements of several."""
    with closing(Store(paths[0])) as original:
        original.copy_to(copy)
    store = Store(copy)
    with ExitStack() as if_it_fails:
        if_it_fails.callback(store.close)
        for path in paths[1:]:
            store.import_from(path)
        if_it_fails.pop_all()
    return store


def adjudication_study(first: Study, adjudicator: str, questions: Sequence[str]) -> Study:
    """The study of the second round.

    Args:
        first: The study of the first round.
        adjudicator: The name or code of the reader who decides.
        questions: Keys of the questions of the rubric whose disputes are decided.
    """
    settings = {
        "first_round": _study_values(first),
        "adjudicator": adjudicator,
        "questions": list(questions),
        "blind": bool(first.settings.get("blind")),
    }
    return Study(first.results_sha256, first.seed, 0, settings)


def _study_values(study: Study) -> dict[str, Any]:
    return {
        "results_sha256": study.results_sha256,
        "seed": study.seed,
        "repeats": study.repeats,
        "settings": dict(study.settings),
    }


def first_looks(judgements: Sequence[Judgement]) -> dict[tuple[str, int], Judgement]:
    """(reader, place of the case) -> the reader's judgement at the first look.

    Args:
        judgements: The judgements that count, from `Store.judgements`.
    """
    return {
        (judgement.reader, judgement.place): judgement
        for judgement in judgements
        if judgement.action == "judge" and not judgement.is_repeat
    }


def disputed_places(
    first: Mapping[tuple[str, int], Judgement], questions: Sequence[str]
) -> list[int]:
    """The places of the cases on which readers gave different answers, in ascending order.

    Args:
        first: The judgements at the first look, from `first_looks`.
        questions: Keys of the questions of the rubric that count.
    """
    ratings: dict[tuple[int, str], set[str]] = defaultdict(set)
    for (_, place), judgement in first.items():
        for key in questions:
            if key in judgement.ratings:
                ratings[place, key].add(judgement.ratings[key])
    return sorted({place for (place, _), answers in ratings.items() if len(answers) > 1})


def earlier_verdicts(
    first: Mapping[tuple[str, int], Judgement], places: Sequence[int]
) -> dict[int, list[dict[str, object]]]:
    """Place -> what each reader answered, as JSON values, with a code such as "Reader 1".

    A reader has the same code in every case; codes are in the order of the names.

    Args:
        first: The judgements at the first look, from `first_looks`.
        places: The cases.
    """
    names = sorted({reader for reader, _ in first})
    return {
        place: [
            {
                "reader": f"Reader {number}",
                "ratings": dict(first[name, place].ratings),
                "comment": first[name, place].comment,
            }
            for number, name in enumerate(names, 1)
            if (name, place) in first
        ]
        for place in places
    }


def candidate_of(item: StoredItem) -> ReviewCandidate:
    """An item of the first round as a candidate, of the same kind, for the second store."""
    return ReviewCandidate(
        item_id=item.item_id,
        is_right=item.is_right,
        confidence=item.confidence,
        modality=None,
        question_type=None,
        cluster=item.cluster,
        contradiction=item.kind if item.kind in CONTRADICTIONS else None,
        answer_type=item.answer_type,
    )
