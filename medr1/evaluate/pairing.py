"""The same items of several result files, paired by id whatever their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medr1.errors import InputError
from medr1.evaluate.metrics import GROUPS, Judged, judge_all
from medr1.records import Prediction

Values = NDArray[np.float64]


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


@dataclass(frozen=True)
class Settings:
    """How answers are judged and what intervals draw."""

    protocol: str = "default"
    cluster_by: str = "image"
    """What intervals draw: images, or what shares this key of the items' metadata."""
    seed: int = 0
    num_resamples: int = 2000

    def judge(self, predictions: Sequence[Prediction]) -> Judged:
        """The verdicts on these predictions."""
        return judge_all(
            predictions,
            protocol=self.protocol,
            cluster_by=self.cluster_by,
            seed=self.seed,
            num_resamples=self.num_resamples,
        )


def pair_by_id(files: Mapping[str, Sequence[Prediction]], *, common_only: bool = False) -> Paired:
    """The items of several files side by side; each must have them all, unless `common_only`.

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
            raise InputError(
                f"{missing} items are not in both {first_name} and {name}; the first, "
                f"{example[:80]!r}, is in {here} only. Run both on the same questions, or give "
                "--common-only to compare what all share."
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


def groups_of(
    predictions: Sequence[Prediction], group_by: Sequence[str] = ()
) -> dict[str, list[str | None]]:
    """Of each kind of group (modality ..., and these metadata keys) the group of each item."""
    found: dict[str, list[str | None]] = {
        kind: [getattr(p.sample, kind) for p in predictions] for kind in GROUPS
    }
    for key in group_by:
        if key in GROUPS:
            continue
        values = [p.sample.metadata.get(key) for p in predictions]
        if all(value is None for value in values):
            known = sorted({name for p in predictions for name in p.sample.metadata})
            raise InputError(
                f"--group-by {key}: no item has this key in its metadata; there are: "
                f"{', '.join(known)[:200] or 'none'}."
            )
        found[key] = [None if value is None else str(value) for value in values]
    return found
