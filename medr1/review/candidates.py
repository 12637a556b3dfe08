"""The items of a results file as candidates for the review."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medr1.evaluate.judging import Settings, group_of, judge_all
from medr1.evaluate.reading.results import Results, read_results
from medr1.records import Prediction
from medr1.review.sampling import ReviewCandidate

if TYPE_CHECKING:
    from medr1.data.readers import Questions


def candidates_of(predictions: Sequence[Prediction], settings: Settings) -> list[ReviewCandidate]:
    """The candidates, in the order of the items.

    Args:
        predictions: All items of the results file.
        settings: How answers are judged, and which items are not independent.

    Raises:
        InputError: An item has no ground truth.
    """
    judged = judge_all(predictions, settings)
    return [
        ReviewCandidate(
            item_id=prediction.sample.id,
            is_right=bool(is_right),
            confidence=prediction.confidence,
            modality=group_of(prediction.sample, "modality"),
            question_type=group_of(prediction.sample, "question_type"),
            cluster=int(cluster),
        )
        for prediction, is_right, cluster in zip(
            predictions, judged.correct, judged.clusters, strict=True
        )
    ]


def read_candidates(
    path: str | Path,
    settings: Settings,
    *,
    columns: Mapping[str, str] | None = None,
    questions: Questions | None = None,
) -> tuple[Results, list[ReviewCandidate]]:
    """The items of a results file, and the candidates that they are.

    Args:
        path: The results file.
        settings: How answers are judged, and which items are not independent.
        columns: Name of a field -> the file's column or key of that meaning.
        questions: The questions that were answered, for what the file lacks.

    Raises:
        InputError: The file holds no results, or an item cannot be read or judged.
    """
    results = read_results(path, columns=columns, questions=questions)
    return results, candidates_of(results.predictions, settings)
