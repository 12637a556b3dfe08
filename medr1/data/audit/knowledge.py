"""Where a blind predictor is above chance: on all items, or in one group of them.

On all items, a predictor is above chance where its 95 % interval lies above the accuracy of random
guessing. There are many groups (each modality, question type and data set), and by chance alone one
in forty would pass that test. In a group, a sign-flip test over images is used instead, with p
values corrected for all predictors and groups together (Holm). It tests the mean of (1 if
right, else 0) - 1 / (number of options). With four options a right item counts +0.75 and a wrong
one -0.25; this asymmetry makes the test cautious where there are few items: it may miss a group,
but does not report more than there is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from medr1.data.audit.blind import chance
from medr1.documents.audit import GroupAboveChance
from medr1.records import Sample

GROUPS = ("modality", "question_type", "dataset")
"""The fields of a sample by which items are grouped."""
LEVEL = 0.05
"""Significance level of the corrected p values."""
MIN_ITEMS = 10
"""A smaller group is not tested: it could show nothing, and would count among the tests."""


@dataclass(frozen=True)
class AboveChance:
    """A set of test items on which a predictor is better than random guessing."""

    predictor: str
    kind: str
    """The field that forms the group, one of GROUPS; "" for all items."""
    group: str
    """The group's name, such as "CT"; "" for all items."""
    indices: tuple[int, ...]
    """Positions of the items in the test samples."""
    value: float
    """The share that the predictor gets right."""
    chance: float
    """The share that random guessing gets right."""
    p_holm: float | None = None
    """The corrected p value of the group's test; None for all items."""

    def document(self) -> GroupAboveChance:
        """The entry in audit.json: the number of items instead of their positions."""
        return GroupAboveChance(
            predictor=self.predictor,
            kind=self.kind,
            group=self.group,
            value=self.value,
            chance=self.chance,
            p_holm=self.p_holm,
            n=len(self.indices),
        )


def groups_of(
    test: Sequence[Sample], scored_indices: Sequence[int]
) -> Iterator[tuple[str, dict[str, list[int]]]]:
    """Group the scored items by each field of GROUPS.

    Args:
        test: The test items.
        scored_indices: Positions of the items that have options and a right answer.

    Returns:
        (field, {name: positions}) for each field; items without the field are in none of its
        groups.
    """
    for kind in GROUPS:
        members: dict[str, list[int]] = defaultdict(list)
        for position in scored_indices:
            if (name := getattr(test[position], kind)) is not None:
                members[name].append(position)
        yield kind, dict(sorted(members.items()))


def groups_above_chance(
    test: Sequence[Sample], scored_indices: Sequence[int], right: Mapping[str, Sequence[bool]]
) -> list[AboveChance]:
    """Test every predictor in every group of at least MIN_ITEMS items.

    A group of all scored items is left out, because `shortcuts` tests all items in another way.

    Args:
        test: The test items.
        scored_indices: Positions of the items that have options and a right answer.
        right: Predictor -> whether it is right, for each item of `test`.

    Returns:
        The groups in which a predictor is above chance, at level LEVEL.
    """
    import numpy as np

    from medr1.stats.intervals import cluster_codes
    from medr1.stats.significance import holm, sign_flip_test

    images = cluster_codes(sample.images for sample in test)
    guess = np.array([1 / len(sample.options) if sample.options else 0.0 for sample in test])
    candidates: list[AboveChance] = []
    p_values: list[float | None] = []
    for kind, groups in groups_of(test, scored_indices):
        for name, members in groups.items():
            if not MIN_ITEMS <= len(members) < len(scored_indices):
                continue
            # One test for each predictor; images that occur in several items are one cluster.
            for predictor, verdicts in right.items():
                hits = np.array([verdicts[i] for i in members], dtype=np.float64)
                p_values.append(sign_flip_test(hits - guess[members], images[members]))
                value, by_chance = float(hits.mean()), chance(test[i] for i in members)
                candidates.append(
                    AboveChance(predictor, kind, name, tuple(members), value, by_chance)
                )
    # The test is two-sided: a predictor that is significantly below chance is left out.
    return [
        replace(candidate, p_holm=p)
        for candidate, p in zip(candidates, holm(p_values), strict=True)
        if p is not None and p < LEVEL and candidate.value > candidate.chance
    ]


def expected_lucky_items(above_chance: Sequence[AboveChance]) -> float:
    """About how many items the predictors get right by guessing.

    Suppose a predictor knows some items and guesses the others. If a is its accuracy and c that of
    guessing, then (1 - a) / (1 - c) of the items are guessed, and a share c of these is right by
    luck: c (1 - a) / (1 - c) for each item. An item counts once, for its most accurate predictor.
    """
    best: dict[int, AboveChance] = {}
    for entry in above_chance:
        for index in entry.indices:
            if index not in best or entry.value > best[index].value:
                best[index] = entry
    return sum(entry.chance * (1 - entry.value) / (1 - entry.chance) for entry in best.values())
