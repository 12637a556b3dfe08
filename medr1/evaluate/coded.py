"""Columns of repeated values: the distinct ones once, with a code for each item."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Mask = NDArray[np.bool_]
T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True)
class Coded(Generic[T]):
    """A column of repeated values: the distinct ones, and for each item the index of its own."""

    values: list[T]
    codes: NDArray[np.intp]

    @classmethod
    def of(cls, items: Iterable[T]) -> Coded[T]:
        seen: dict[T, int] = {}
        codes = np.array([seen.setdefault(item, len(seen)) for item in items], dtype=np.intp)
        return cls(list(seen), codes)

    @classmethod
    def joined(cls, parts: Sequence[Coded[T]]) -> Coded[T]:
        """The parts one after the other, each value once."""
        seen: dict[T, int] = {}
        codes = []
        for part in parts:
            new = [seen.setdefault(value, len(seen)) for value in part.values]
            codes.append(np.array(new, dtype=np.intp)[part.codes])
        return cls(list(seen), np.concatenate(codes) if codes else np.zeros(0, dtype=np.intp))

    def where(self, condition: Callable[[T], bool]) -> Mask:
        """For each item whether its value meets the condition."""
        return np.array([condition(value) for value in self.values], dtype=bool)[self.codes]

    def map(self, function: Callable[[T], float]) -> Values:
        """For each item the number that the function gives for its value."""
        return np.array([function(value) for value in self.values], dtype=np.float64)[self.codes]

    def __getitem__(self, place: int) -> T:
        """The value of one item."""
        return self.values[self.codes[place]]

    def __iter__(self) -> Any:
        return (self.values[code] for code in self.codes)
