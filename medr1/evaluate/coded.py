"""Columns of repeated values, stored as the distinct values and an integer code for each item.

A million items have a few hundred distinct outcomes, so memory is small, and a function of the
value is called once for each distinct value (as with pandas' categorical columns).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
"""One number for each item."""
Mask = NDArray[np.bool_]
"""For each item whether it belongs to a subset."""
T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True)
class CodedColumn(Generic[T]):
    """A column of hashable values, one for each item.

    The items "CT", "MRI", "CT" are stored as values ["CT", "MRI"] and codes [0, 1, 0].
    """

    values: list[T]
    """The distinct values, in order of first appearance."""
    codes: NDArray[np.intp]
    """For each item the index of its value."""

    @classmethod
    def from_items(cls, items: Iterable[T]) -> CodedColumn[T]:
        """The column of these items' values, in order."""
        code_of: dict[T, int] = {}
        codes = np.array([code_of.setdefault(item, len(code_of)) for item in items], dtype=np.intp)
        return cls(list(code_of), codes)

    @classmethod
    def concatenate(cls, parts: Sequence[CodedColumn[T]]) -> CodedColumn[T]:
        """The parts one after the other; a value that several parts have gets one code."""
        code_of: dict[T, int] = {}
        codes = []
        for part in parts:
            new_codes = [code_of.setdefault(value, len(code_of)) for value in part.values]
            codes.append(np.array(new_codes, dtype=np.intp)[part.codes])
        return cls(list(code_of), np.concatenate(codes) if codes else np.zeros(0, dtype=np.intp))

    def where(self, condition: Callable[[T], bool]) -> Mask:
        """For each item whether its value meets the condition, asked once per distinct value."""
        return np.array([condition(value) for value in self.values], dtype=bool)[self.codes]

    def map(self, function: Callable[[T], float]) -> Values:
        """For each item the function of its value, computed once per distinct value."""
        return np.array([function(value) for value in self.values], dtype=np.float64)[self.codes]

    def __getitem__(self, position: int) -> T:
        """The value of the item at this position."""
        value: T = self.values[self.codes[position]]
        return value

    def __iter__(self) -> Iterator[T]:
        return (self.values[code] for code in self.codes)
