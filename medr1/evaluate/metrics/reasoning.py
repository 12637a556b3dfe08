"""The part `reasoning` of summary.json: whether answers follow from the reasoning before them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from medr1.documents.metric import Metric
from medr1.documents.reasoning import ReasoningChecks
from medr1.evaluate.estimates import mean_metric
from medr1.evaluate.judging import Judged
from medr1.evaluate.reasoning_columns import ReasoningReading
from medr1.reasoning import OUTCOMES

_NO_STEP = "no reasoning has an arithmetic step"


def reasoning_checks(judged: Judged) -> ReasoningChecks | None:
    """The checks of the items that have a reasoning.

    Args:
        judged: The items.

    Returns:
        None if no item has a reasoning, or the items were judged without `Settings.reasoning`.
    """
    columns = judged.columns.reasoning
    if columns is None:
        return None
    readings = columns.readings
    has_reasoning = readings.where(lambda reading: reading is not None)
    if not has_reasoning.any():
        return None

    def share(function: Callable[[ReasoningReading], bool]) -> Metric:
        values = readings.map(lambda reading: reading is not None and function(reading))
        return mean_metric(values, judged, has_reasoning)

    def accuracy_where(outcome: str) -> Metric:
        where = readings.where(lambda reading: reading is not None and reading.outcome == outcome)
        return mean_metric(judged.correct, judged, where, f"no item has this outcome: {outcome}")

    has_step = readings.where(lambda reading: reading is not None and reading.n_steps > 0)
    has_error = readings.map(lambda reading: reading is not None and reading.n_wrong_steps > 0)
    counts = Counter(reading.outcome for reading in readings if reading is not None)
    _, words, repetition = columns.numbers.T
    return ReasoningChecks(
        n=int(has_reasoning.sum()),
        outcomes={outcome: counts[outcome] for outcome in OUTCOMES},
        names_option=share(lambda reading: reading.names_option),
        consistent=share(lambda reading: reading.outcome == "consistent"),
        contradicts=share(lambda reading: reading.outcome == "contradicts"),
        unclear=share(lambda reading: reading.outcome == "unclear"),
        accuracy_consistent=accuracy_where("consistent"),
        accuracy_contradicts=accuracy_where("contradicts"),
        n_steps=int(readings.map(lambda reading: reading.n_steps if reading else 0).sum()),
        n_wrong_steps=int(
            readings.map(lambda reading: reading.n_wrong_steps if reading else 0).sum()
        ),
        arithmetic_errors=mean_metric(has_error, judged, has_step, _NO_STEP),
        words=mean_metric(words, judged, has_reasoning, share=False),
        repetition=mean_metric(repetition, judged, has_reasoning),
        loops=share(lambda reading: reading.has_loop),
        language_switches=share(lambda reading: reading.switches_language),
    )
