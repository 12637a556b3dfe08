"""Where a blind predictor is above chance: on all items, or in one group of them.

On all items that is where its 95 % interval lies above chance. There are many groups (each
modality, question type and data set), and by chance alone one in forty would pass that bar; in a
group it takes the sign-flip test over images, at a level that holds for all predictors and groups
together (Holm). The test is of right or wrong minus one over the number of options. Few items can
be right by luck far more often than they can be wrong, which makes the test cautious here: it
never sees more in a group than there is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medr1.data.audit.blind import chance
from medr1.records import Sample

GROUPS = ("modality", "question_type", "dataset")
LEVEL = 0.05
MIN_ITEMS = 10
"""A smaller group is not tested: it could show nothing, and would count among the tests."""


@dataclass(frozen=True)
class Knowledge:
    """A predictor that is above chance on these items."""

    predictor: str
    kind: str
    """One of GROUPS; "" for all items."""
    group: str
    places: tuple[int, ...]
    value: float
    """The share that it gets right."""
    chance: float
    p_holm: float | None = None
    """None for all items."""

    def document(self) -> dict[str, Any]:
        """As audit.json has it."""
        found = {key: value for key, value in vars(self).items() if key != "places"}
        return {**found, "n": len(self.places)}


def groups_of(
    test: Sequence[Sample], scored: Sequence[int]
) -> Iterator[tuple[str, dict[str, list[int]]]]:
    """Each kind of group, with the places of its members by name; items that name none are out."""
    for kind in GROUPS:
        members: dict[str, list[int]] = defaultdict(list)
        for position in scored:
            if (name := getattr(test[position], kind)) is not None:
                members[name].append(position)
        yield kind, dict(sorted(members.items()))


def known_in_groups(
    test: Sequence[Sample], scored: Sequence[int], right: Mapping[str, Sequence[bool]]
) -> list[Knowledge]:
    """Where each of these predictors is above chance, of all groups that are not everything."""
    import numpy as np

    from medr1.intervals import cluster_codes
    from medr1.significance import holm, sign_flip_test

    images = cluster_codes(sample.images for sample in test)
    guess = np.array([1 / len(sample.options) if sample.options else 0.0 for sample in test])
    tried: list[Knowledge] = []
    p_values: list[float | None] = []
    for kind, groups in groups_of(test, scored):
        for name, members in groups.items():
            if not MIN_ITEMS <= len(members) < len(scored):
                continue
            for predictor, verdicts in right.items():
                hits = np.array([verdicts[i] for i in members], dtype=np.float64)
                p_values.append(sign_flip_test(hits - guess[members], images[members]))
                value, by_chance = float(hits.mean()), chance(test[i] for i in members)
                tried.append(Knowledge(predictor, kind, name, tuple(members), value, by_chance))
    return [
        Knowledge(**{**vars(one), "p_holm": p})
        for one, p in zip(tried, holm(p_values), strict=True)
        if p is not None and p < LEVEL and one.value > one.chance
    ]


def guessed_well(known: Sequence[Knowledge]) -> float:
    """About how many items the predictors get right without knowing anything of them.

    Where a predictor is right in a share a of items and guessing in c, (1 - a) / (1 - c) of them
    are guessed, and c of these are right by luck. An item counts once, under the best predictor.
    """
    best: dict[int, Knowledge] = {}
    for one in known:
        for place in one.places:
            if place not in best or one.value > best[place].value:
                best[place] = one
    return sum(one.chance * (1 - one.value) / (1 - one.chance) for one in best.values())
