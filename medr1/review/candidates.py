"""The items of a results file as candidates for the review."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from medr1.evaluate.item_claims import ItemClaims
from medr1.evaluate.judging import Columns, Settings, group_of, judge_all
from medr1.evaluate.reading.results import Results, read_results
from medr1.reasoning.consistency import CONTRADICTS
from medr1.records import Prediction
from medr1.review.sampling import CONTRADICTIONS, ReviewCandidate

if TYPE_CHECKING:
    from medr1.data.readers import Questions


def candidates_of(
    predictions: Sequence[Prediction],
    settings: Settings,
    contradictions: Container[str] = CONTRADICTIONS,
) -> list[ReviewCandidate]:
    """The candidates, in the order of the items.

    Args:
        predictions: All items of the results file.
        settings: How answers are judged, and which items are not independent.
        contradictions: Kinds of contradiction to look for, of CONTRADICTIONS. Items with another
            one count as errors or right answers.

    Raises:
        InputError: An item has no ground truth.
    """
    reasoning, claims = (kind in contradictions for kind in CONTRADICTIONS)
    judged = judge_all(predictions, replace(settings, reasoning=reasoning, claims=claims))
    return [
        ReviewCandidate(
            item_id=prediction.sample.id,
            is_right=bool(is_right),
            confidence=prediction.confidence,
            modality=group_of(prediction.sample, "modality"),
            question_type=group_of(prediction.sample, "question_type"),
            cluster=int(cluster),
            contradiction=_contradiction(judged.columns, place),
            answer_type=prediction.sample.answer_type,
        )
        for place, (prediction, is_right, cluster) in enumerate(
            zip(predictions, judged.correct, judged.clusters, strict=True)
        )
    ]


def _contradiction(columns: Columns, place: int) -> str | None:
    """The first of CONTRADICTIONS that an item has, of those that were looked for."""
    reading = columns.reasoning.readings[place] if columns.reasoning else None
    if reading is not None and reading.outcome == CONTRADICTS:
        return CONTRADICTIONS[0]
    claims = columns.claims[place] if columns.claims else ItemClaims()
    # a text that contradicts its own answer says nothing against the item
    return CONTRADICTIONS[1] if claims.contradicted - {"own_answer"} else None


def read_candidates(
    path: str | Path,
    settings: Settings,
    *,
    columns: Mapping[str, str] | None = None,
    questions: Questions | None = None,
    contradictions: Container[str] = CONTRADICTIONS,
) -> tuple[Results, list[ReviewCandidate]]:
    """The items of a results file, and the candidates that they are.

    Args:
        path: The results file.
        settings: How answers are judged, and which items are not independent.
        columns: Name of a field -> the file's column or key of that meaning.
        questions: The questions that were answered, for what the file lacks.
        contradictions: Kinds of contradiction to look for, as in `candidates_of`.

    Raises:
        InputError: The file holds no results, or an item cannot be read or judged.
    """
    results = read_results(path, columns=columns, questions=questions)
    return results, candidates_of(results.predictions, settings, contradictions)
