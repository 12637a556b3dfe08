"""How sure a model is of its answers: the options' probabilities, as arrays over all items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medr1.answers import Verdict, ground_truth_answer, same_answer
from medr1.records import Prediction, Sample

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """Probabilities of all items, one row per item; K is the largest number of options."""

    probabilities: Values
    """(items, K): the probability of each option. A row's options are sorted by name, so that their
    order does not depend on the file's; NaN where an item has fewer options or no probabilities."""
    answer_index: NDArray[np.intp]
    """Column of the option that was answered; -1 where it is none of them."""
    right_index: NDArray[np.intp]
    """Column of the right option; -1 where it is none of them."""
    stated_confidence: Values
    """The confidence in the answer that the file gives instead of probabilities; else NaN."""
    invalid: NDArray[np.bool_]
    """Where option_probs or confidence are no valid probabilities; they are ignored."""
    dropout: Values
    """(items, passes, K): the probabilities of each pass with dropout on; NaN where there is none.
    `passes` is 0 where no item has any."""

    @classmethod
    def concatenate(cls, parts: Sequence[Scores]) -> Scores:
        """The parts one after the other."""
        return cls(
            _concatenate_padded([part.probabilities for part in parts]),
            np.concatenate([part.answer_index for part in parts]),
            np.concatenate([part.right_index for part in parts]),
            np.concatenate([part.stated_confidence for part in parts]),
            np.concatenate([part.invalid for part in parts]),
            _concatenate_padded([part.dropout for part in parts]),
        )

    @property
    def has_options(self) -> NDArray[np.bool_]:
        """Where an item has probabilities and the right option is among its options."""
        return self.right_index >= 0

    def of_answer(self, probabilities: Values) -> Values:
        """For each item the entry of its answer in an array (items, K); NaN without one."""
        return _at(probabilities, self.answer_index)

    def of_right(self, probabilities: Values) -> Values:
        """For each item the entry of its right option in an array (items, K); NaN without one."""
        return _at(probabilities, self.right_index)

    @property
    def confidence(self) -> Values:
        """The probability of each answer, else the confidence that the file states; else NaN."""
        probability = self.of_answer(self.probabilities)
        return np.where(np.isnan(probability), self.stated_confidence, probability)


def scores_of(predictions: Sequence[Prediction], verdicts: Sequence[Verdict | None]) -> Scores:
    """The scores of predictions; values that are no probabilities count as unknown.

    Args:
        predictions: One for each item, with option_probs, dropout_probs or confidence.
        verdicts: Their verdicts in the same order, which say what the answer is.
    """
    option_probs = [prediction.option_probs or {} for prediction in predictions]
    rows = [probs if _are_probabilities(probs) else {} for probs in option_probs]
    invalid = np.array(
        [bool(probs) and not row for probs, row in zip(option_probs, rows, strict=True)], bool
    )
    most_options = max((len(prediction.sample.options) for prediction in predictions), default=0)
    width = max(most_options, *map(len, rows)) if any(rows) else 0
    probabilities = np.full((len(rows), width), np.nan)
    answer_index, right_index = np.full((2, len(rows)), -1, dtype=np.intp)
    stated_confidence = np.full(len(rows), np.nan)
    passes = max((len(prediction.dropout_probs) for prediction in predictions), default=0)
    dropout = np.full((len(rows), passes, width), np.nan)
    for i, (prediction, verdict, row) in enumerate(zip(predictions, verdicts, rows, strict=True)):
        answer = verdict.extraction.answer if verdict else None
        if row:
            options = prediction.sample.options
            # A row of the item's letters may lack some of them; those columns stay NaN. A row
            # with other keys (an item without options: "yes", "no") has its own columns.
            keys = sorted(options if row.keys() <= options.keys() else row)
            probabilities[i, : len(keys)] = [row.get(key, np.nan) for key in keys]
            for number, pass_row in enumerate(prediction.dropout_probs):
                if _are_probabilities(pass_row):
                    dropout[i, number, : len(keys)] = [pass_row.get(key, np.nan) for key in keys]
            # an option without a probability cannot be the column of an answer
            names = [key if key in row else "" for key in keys]
            answer_index[i] = _column_of(answer, names, prediction.sample)
            right_index[i] = _column_of(
                _canonical_ground_truth(prediction.sample), names, prediction.sample
            )
        elif _is_probability(prediction.confidence):
            stated_confidence[i] = prediction.confidence if answer is not None else np.nan
        elif prediction.confidence is not None:
            invalid[i] = True
    return Scores(probabilities, answer_index, right_index, stated_confidence, invalid, dropout)


def _is_probability(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1


def _are_probabilities(row: Mapping[str, object]) -> bool:
    """Whether all values are probabilities with a sum of at most 1, up to rounding."""
    return all(map(_is_probability, row.values())) and sum(row.values()) <= 1.01  # type: ignore[arg-type]


def _canonical_ground_truth(sample: Sample) -> str | None:
    """The ground truth in the form in which answers are extracted; None where there is none."""
    ground_truth = sample.ground_truth or ""
    return ground_truth_answer(ground_truth, options=sample.options, answer_type=sample.answer_type)


def _column_of(answer: str | None, keys: Sequence[str], sample: Sample) -> int:
    """The index of the key that is this answer, in any case; -1 where none is.

    Keys that are "" match nothing. For an item without options, a key that says the same as the
    answer matches too: "2" and "two".
    """
    if not answer:
        return -1
    if answer in keys:
        return keys.index(answer)
    folded = [key.casefold() for key in keys]
    if answer.casefold() in folded:
        return folded.index(answer.casefold())
    if not sample.options:
        for index, key in enumerate(keys):
            if key and same_answer(key, answer, options={}, answer_type=sample.answer_type):
                return index
    return -1


def _at(values: Values, columns: NDArray[np.intp]) -> Values:
    """For each row of `values` its entry in the given column; NaN where the column is -1."""
    # index -1 is the last column, which is NaN here
    padded = np.column_stack([values, np.full(len(values), np.nan)])
    return padded[np.arange(len(values)), columns]


def _concatenate_padded(parts: Sequence[Values]) -> Values:
    """The parts along the first axis, each further axis padded with NaN to the longest part's."""
    sizes = np.max([part.shape[1:] for part in parts], axis=0)
    return np.concatenate([pad_axes(part, sizes) for part in parts])


def pad_axes(values: Values, sizes: Sequence[int]) -> Values:
    """An array with NaN added at the end of every axis but the first.

    Args:
        values: The array (items, ...).
        sizes: The new size of each further axis, at least the present one.
    """
    padding = [(0, size - own) for size, own in zip(sizes, values.shape[1:], strict=True)]
    return np.pad(values, [(0, 0), *padding], constant_values=np.nan)
