"""How sure a model is, in columns: the options' probabilities, and that of what it answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medr1.answers import Verdict, gold_answer, same_answer
from medr1.records import Prediction, Sample

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """One row per item; K is the largest number of options."""

    probabilities: Values
    """(items, K), the options by name, whatever order a file gives; NaN where there is none."""
    said: NDArray[np.intp]
    """Place of the answer among them; -1 for none."""
    right: NDArray[np.intp]
    """Place of the right one; -1 where it is not among them."""
    stated: Values
    """The file's own confidence in the answer, where it gives no probabilities; else NaN."""
    unfit: NDArray[np.bool_]
    """Where there are option_probs or a confidence that are no probabilities: left out."""
    dropout: Values
    """(items, passes, K), the probabilities of each pass with dropout on; NaN where there is none,
    no column where no item has any."""

    @classmethod
    def joined(cls, parts: Sequence[Scores]) -> Scores:
        """The parts one after the other."""
        return cls(
            _stacked([part.probabilities for part in parts]),
            np.concatenate([part.said for part in parts]),
            np.concatenate([part.right for part in parts]),
            np.concatenate([part.stated for part in parts]),
            np.concatenate([part.unfit for part in parts]),
            _stacked([part.dropout for part in parts]),
        )

    @property
    def has_options(self) -> NDArray[np.bool_]:
        """Where the probabilities of the options are there, and the right one is among them."""
        return self.right >= 0

    def of_answer(self, probabilities: Values) -> Values:
        """What these probabilities (items, K) say of the answers; NaN where there is none."""
        return _at(probabilities, self.said)

    def of_right(self, probabilities: Values) -> Values:
        """What they say of the right options; NaN where those are not among them."""
        return _at(probabilities, self.right)

    @property
    def confidence(self) -> Values:
        """The probability of each answer, or what the file says it is; NaN where unknown."""
        found = self.of_answer(self.probabilities)
        return np.where(np.isnan(found), self.stated, found)


def scores_of(predictions: Sequence[Prediction], verdicts: Sequence[Verdict | None]) -> Scores:
    """The scores of predictions with their verdicts; what is no probability counts as unknown."""
    given = [p.option_probs or {} for p in predictions]
    rows = [row if _are_shares(row) else {} for row in given]
    unfit = np.array([bool(one) and not row for one, row in zip(given, rows, strict=True)], bool)
    most = max((len(p.sample.options) for p in predictions), default=0)
    width = max(most, *map(len, rows)) if any(rows) else 0
    probabilities = np.full((len(rows), width), np.nan)
    said, right = np.full((2, len(rows)), -1, dtype=np.intp)
    stated = np.full(len(rows), np.nan)
    passes = max((len(p.dropout_probs) for p in predictions), default=0)
    dropout = np.full((len(rows), passes, width), np.nan)
    for i, (prediction, found, row) in enumerate(zip(predictions, verdicts, rows, strict=True)):
        answer = found.extraction.answer if found else None
        if row:
            options = prediction.sample.options
            keys = sorted(options if row.keys() <= options.keys() else row)
            probabilities[i, : len(keys)] = [row.get(key, np.nan) for key in keys]
            for number, one in enumerate(prediction.dropout_probs):
                if _are_shares(one):
                    dropout[i, number, : len(keys)] = [one.get(key, np.nan) for key in keys]
            names = [key if key in row else "" for key in keys]
            said[i] = _place(answer, names, prediction.sample)
            right[i] = _place(_gold(prediction.sample), names, prediction.sample)
        elif _is_share(prediction.confidence):
            stated[i] = prediction.confidence if answer is not None else np.nan
        elif prediction.confidence is not None:
            unfit[i] = True
    return Scores(probabilities, said, right, stated, unfit, dropout)


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1


def _are_shares(row: Mapping[str, object]) -> bool:
    """Whether these are probabilities of options that exclude each other, up to rounding."""
    return all(map(_is_share, row.values())) and sum(row.values()) <= 1.01  # type: ignore[arg-type]


def _gold(sample: Sample) -> str | None:
    """The right answer, whatever was said; None where there is none."""
    gold = sample.ground_truth or ""
    return gold_answer(gold, options=sample.options, answer_type=sample.answer_type)


def _place(answer: str | None, keys: Sequence[str], sample: Sample) -> int:
    """The place of the key that is this answer; -1 where it is not one of them, or "".

    By its name, in capitals or without; with no options also by what it says.
    """
    if not answer:
        return -1
    if answer in keys:
        return keys.index(answer)
    folded = [key.casefold() for key in keys]
    if answer.casefold() in folded:
        return folded.index(answer.casefold())
    if not sample.options:
        for place, key in enumerate(keys):
            if key and same_answer(key, answer, options={}, answer_type=sample.answer_type):
                return place
    return -1


def _at(values: Values, places: NDArray[np.intp]) -> Values:
    """The value at each row's place; NaN at -1."""
    padded = np.column_stack([values, np.full(len(values), np.nan)])
    return padded[np.arange(len(values)), places]


def _stacked(parts: Sequence[Values]) -> Values:
    """The parts one after the other, each axis as long as the longest part's."""
    sizes = np.max([part.shape[1:] for part in parts], axis=0)
    return np.concatenate([widened(part, sizes) for part in parts])


def widened(values: Values, sizes: Sequence[int]) -> Values:
    """The values with as much of NaN at the end of each further axis as makes up its size."""
    more = [(0, size - own) for size, own in zip(sizes, values.shape[1:], strict=True)]
    return np.pad(values, [(0, 0), *more], constant_values=np.nan)
