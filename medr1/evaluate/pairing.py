"""The same items of several result files, paired by id whatever their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medr1.errors import InputError
from medr1.records import Prediction


@dataclass(frozen=True)
class Paired:
    """Result files over the same items, all in the order of the first file."""

    predictions: Mapping[str, list[Prediction]]
    """Of each file the items that all have."""
    left_out: int
    """How many items are in some files only."""

    @property
    def first(self) -> list[Prediction]:
        """The first file's items: what was asked, about which images, in which groups."""
        return next(iter(self.predictions.values()))


def pair_by_id(
    files: Mapping[str, Sequence[Prediction]], *, common_only: bool | None = None
) -> Paired:
    """The items of several files side by side; each must have them all, unless `common_only`.

    None, where a command does not have --common-only, is False.

    InputError: an id twice in a file, items that some files lack, or one id with different
    questions, options or ground truths.
    """
    indexed = {name: _by_id(name, predictions) for name, predictions in files.items()}
    first_name, first = next(iter(indexed.items()))
    for name, found in indexed.items():
        shared = found.keys() & first.keys()
        if not common_only and (missing := len(first) + len(found) - 2 * len(shared)):
            here = first_name if len(shared) < len(first) else name
            example = next(i for i in indexed[here] if i not in shared)
            other_way = ", or give --common-only to compare what all share"
            raise InputError(
                f"{missing} items are not in both {first_name} and {name}; the first, "
                f"{example[:80]!r}, is in {here} only. Run both on the same questions"
                f"{'' if common_only is None else other_way}."
            )
        for item in first:
            if item in found and _asked(found[item]) != _asked(first[item]):
                what = _differs(first[item], found[item])
                raise InputError(
                    f"item {item[:80]!r} has another {what} in {name} than in {first_name}, so "
                    "the two cannot be compared. Run both on the same questions."
                )
    everywhere = set.intersection(*(set(found) for found in indexed.values()))
    kept = [item for item in first if item in everywhere]
    if not kept:
        raise InputError(
            f"{' and '.join(list(indexed)[:2])} have no items in common. Check the files, and that "
            "the items have ids."
        )
    anywhere = set().union(*indexed.values())
    return Paired(
        {name: [found[item] for item in kept] for name, found in indexed.items()},
        len(anywhere) - len(kept),
    )


def _by_id(name: str, predictions: Sequence[Prediction]) -> dict[str, Prediction]:
    found: dict[str, Prediction] = {}
    for prediction in predictions:
        if found.setdefault(prediction.sample.id, prediction) is not prediction:
            raise InputError(
                f"{name}: the id {prediction.sample.id[:80]!r} stands twice, so items cannot be "
                "paired. Make ids unique, or leave them out."
            )
    return found


def _asked(prediction: Prediction) -> tuple[Any, ...]:
    sample = prediction.sample
    return sample.question, sample.options, sample.ground_truth


def _differs(one: Prediction, other: Prediction) -> str:
    names = ("question", "list of options", "ground truth")
    pairs = zip(names, _asked(one), _asked(other), strict=True)
    return next(name for name, mine, theirs in pairs if mine != theirs)
