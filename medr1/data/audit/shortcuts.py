"""What blind predictors reach on a test split, against chance and against shuffled labels.

An item needs its image where no predictor that knows something there gets the item right. Those
that read the options can know something (longest_option, option_prior, question_option_lookup,
text_classifier), and do so on all items or in a modality, a question type or a data set where they
are above chance (`knowledge`). Only these may take an item out: a coin is right in a quarter of
all items as well, and to take those out would say nothing about them. For the same reason a choice
among equals, where the training split knows none of the options, takes nothing out.

What follows from this definition:
- The predictors score low on the subset by construction; their accuracy there means nothing.
  Chance is still the mean of one over the number of options.
- Some items are taken out because a predictor guessed well (`lucky`, `knowledge.guessed_well`).
  That makes the subset smaller, not easier.
- Items with a wrong gold answer stay in, because nothing predicts them. Look at the gold answers
  of a small subset before trusting a score on it.
- It is not proved that the other items cannot be answered without the image: another predictor,
  or what a large model has read, may do it.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medr1.data.audit.blind import (
    Scores,
    answerable,
    best_letter,
    chance,
    longest_option,
    longest_option_scores,
    majority_letter,
    option_prior_scores,
    question_option_scores,
)
from medr1.data.audit.classifier import classifier_scores
from medr1.data.audit.knowledge import Knowledge, groups_of, guessed_well, known_in_groups
from medr1.records import Sample

PREDICTORS = (
    *("majority_letter", "longest_option", "option_prior"),
    *("question_option_lookup", "text_classifier"),
)
INFORMED = ("option_prior", "question_option_lookup", "text_classifier")
"""Those that read the options and learned from the training split."""
FITTED = ("majority_letter", *INFORMED)


@dataclass(frozen=True)
class BlindPanel:
    """What each blind predictor says of each test sample; all sequences in the test's order."""

    letters: Mapping[str, tuple[str, ...]]
    """Predictor -> a letter for each sample, "" for one without options."""
    right: Mapping[str, tuple[bool, ...]]
    """Predictor -> whether the letter is the gold one; False for a sample without options."""
    metrics: Mapping[str, Mapping[str, Any]]
    """Predictor -> {"value", "ci95", "n"} over the samples that have options and a gold letter."""
    chance: float
    """Over the same samples; nan where there are none."""
    best: str
    """The predictor with the highest accuracy on this test split; "" where nothing is scored."""
    known: tuple[Knowledge, ...]
    """Where predictors that read the options are above chance: on all samples, in groups."""
    image_needed: tuple[bool, ...]
    """Whether none of these gets the sample right; False where nothing can be scored."""

    @property
    def knowing(self) -> tuple[str, ...]:
        """The predictors that are above chance on all samples."""
        return tuple(one.predictor for one in self.known if not one.kind)

    @property
    def best_accuracy(self) -> float:
        """The share that the best predictor gets right; nan where nothing is scored."""
        value = self.metrics[self.best]["value"] if self.best else None
        return math.nan if value is None else float(value)


def blind_panel(train: Sequence[Sample], test: Sequence[Sample], *, seed: int = 0) -> BlindPanel:
    """Every blind predictor, fitted on `train`, on `test`; `seed` is that of the intervals."""
    return _panels(train, test, draws=0, seed=seed)[0]


def _panels(
    train: Sequence[Sample], test: Sequence[Sample], *, draws: int, seed: int
) -> tuple[BlindPanel, list[dict[str, float]]]:
    """The panel, and for each draw of shuffled labels what each fitted predictor then reaches."""
    train = answerable(train)
    deals = [with_shuffled_labels(train, seed + draw) for draw in range(draws)]
    golds = [[sample.ground_truth for sample in one] for one in (train, *deals)]
    classified = classifier_scores(train, test, golds) if train else []
    said = [
        _all_scores(one, test, scores)
        for one, scores in zip((train, *deals), classified, strict=False)
    ]
    scored = [i for i, s in enumerate(test) if s.options and s.ground_truth in s.options]
    controls = []
    for one, scores in zip(deals, said[1:], strict=False):
        letters = {"majority_letter": majority_letter(one, test), **_letters(scores)}
        controls.append(
            {name: _share(found, test, scored) for name, found in letters.items() if scored}
        )
    return _panel(train, test, said[0] if said else {}, scored, seed), controls


def _share(letters: Sequence[str], test: Sequence[Sample], scored: Sequence[int]) -> float:
    return sum(letters[i] == test[i].ground_truth for i in scored) / len(scored)


def _letters(scores: Mapping[str, Sequence[Scores]]) -> dict[str, list[str]]:
    return {name: [best_letter(one) for one in found] for name, found in scores.items()}


def _panel(
    train: Sequence[Sample],
    test: Sequence[Sample],
    scores: Mapping[str, Sequence[Scores]],
    scored: Sequence[int],
    seed: int,
) -> BlindPanel:
    scores = {"longest_option": longest_option_scores(test), **scores}
    letters = {
        "majority_letter": tuple(majority_letter(train, test)),
        **{name: tuple(found) for name, found in _letters(scores).items()},
    }
    right = {
        name: tuple(bool(a) and a == s.ground_truth for a, s in zip(said, test, strict=True))
        for name, said in letters.items()
    }
    clusters = [test[i].images for i in scored]
    metrics = {
        name: metric([right[name][i] for i in scored], clusters, seed=seed) for name in letters
    }
    guess = chance(test[i] for i in scored)
    known = [
        Knowledge(name, "", "", tuple(scored), metrics[name]["value"], guess)
        for name in scores
        if above(metrics[name], guess)
    ]
    known += known_in_groups(test, scored, {name: right[name] for name in scores})
    needed = [False] * len(test)
    for i in scored:
        needed[i] = True
    for one in known:
        for i in one.places:
            if strictly_best(scores[one.predictor][i], test[i].ground_truth or ""):
                needed[i] = False
    return BlindPanel(
        letters=letters,
        right=right,
        metrics=metrics,
        chance=guess,
        best=max(metrics, key=lambda name: metrics[name]["value"]) if scored else "",
        known=tuple(known),
        image_needed=tuple(needed),
    )


def _all_scores(
    train: Sequence[Sample], test: Sequence[Sample], classified: list[Scores]
) -> dict[str, list[Scores]]:
    """The informed predictors' scores, fitted on these labels."""
    return {
        "option_prior": option_prior_scores(train, test),
        "question_option_lookup": question_option_scores(train, test),
        "text_classifier": classified,
    }


def strictly_best(scores: Scores, letter: str) -> bool:
    """Whether this letter has the highest score and shares it with no other."""
    if letter not in scores:
        return False
    return all(scores[letter] > value for other, value in scores.items() if other != letter)


def with_shuffled_labels(train: Sequence[Sample], seed: int) -> list[Sample]:
    """The training samples with their gold letters dealt anew among items of as many options.

    What is left to learn is the letters' balance alone; a predictor that is always well above
    chance when fitted on this has another way to the answer than its training labels.
    """
    deal = random.Random(seed)
    by_size: dict[int, list[int]] = defaultdict(list)
    for position, sample in enumerate(train):
        by_size[len(sample.options)].append(position)
    shuffled = list(train)
    for places in by_size.values():
        letters = [train[position].ground_truth for position in places]
        deal.shuffle(letters)
        for position, letter in zip(places, letters, strict=True):
            shuffled[position] = Sample(**{**vars(train[position]), "ground_truth": letter})
    return shuffled


def metric(right: Sequence[bool], clusters: Sequence[Any], *, seed: int = 0) -> dict[str, Any]:
    """{"value", "ci95", "n"} of right or wrong items, with null for what cannot be said.

    The interval is Wilson's where each item has an image of its own, else a bootstrap over images.
    """
    from medr1.intervals import bootstrap_mean, wilson

    n = len(right)
    if not n:
        return {"value": None, "ci95": None, "n": 0, "reason": "no item has options and a gold"}
    if len(set(clusters)) == n:
        interval = wilson(sum(right), n)
    else:
        interval = bootstrap_mean(right, clusters, seed=seed)
    return {"value": sum(right) / n, "ci95": list(interval) if interval else None, "n": n}


def above(found: Mapping[str, Any], guess: float) -> bool:
    """Whether a metric's whole interval lies above what guessing gives."""
    return found["ci95"] is not None and bool(found["ci95"][0] > guess)


def shortcuts(
    train: Sequence[Sample] | None, test: Sequence[Sample], *, seed: int = 0
) -> tuple[dict[str, Any], BlindPanel | None]:
    """The audit's `blind`, `image_needed` and `groups`, and the panel they come from.

    Without a training split there is the longest option alone, and no panel.
    """
    if train is None:
        return _unfitted(test, seed), None
    panel, controls = _panels(train, test, draws=_draws(len(train)), seed=seed)
    scored = [i for i, s in enumerate(test) if s.options and s.ground_truth in s.options]
    blind: dict[str, Any] = {"chance": _number(panel.chance)}
    for name in PREDICTORS:
        blind[name] = dict(panel.metrics.get(name) or _NOTHING_LEARNED)
        if name in FITTED:
            blind[name]["shuffled_labels"] = _control(controls, name)
    blind["best"] = panel.best or None
    blind["above_chance"] = [
        name for name in panel.metrics if above(panel.metrics[name], panel.chance)
    ]
    needed = sum(panel.image_needed)
    found = {
        "blind": blind,
        "image_needed": {
            "items": needed,
            "n": len(scored),
            "share": needed / len(scored) if scored else None,
            "predictors": list(panel.knowing),
            "in_groups": [one.document() for one in panel.known if one.kind],
            "lucky": round(guessed_well(panel.known), 1) if scored else None,
        },
        "groups": _groups(panel, test, scored, seed),
    }
    return found, panel


def _draws(n: int) -> int:
    """Of shuffled labels: 3 to 20, more the fewer the training items.

    One alone may lie far from chance where a few wordings make up the data.
    """
    return max(3, min(20, 30_000 // max(1, n)))


def _control(controls: Sequence[Mapping[str, float]], name: str) -> dict[str, Any]:
    """The mean over the draws of shuffled labels, and the lowest and highest of them."""
    values = [found[name] for found in controls if name in found]
    if not values:
        return {"value": None, "range": None, "draws": 0}
    spread = [min(values), max(values)]
    return {"value": sum(values) / len(values), "range": spread, "draws": len(values)}


_NOTHING_LEARNED = {
    "value": None,
    "ci95": None,
    "n": 0,
    "reason": "no training item has options and a gold",
}


def _unfitted(test: Sequence[Sample], seed: int) -> dict[str, Any]:
    kept = answerable(test)
    letters = longest_option(kept)
    right = [a == s.ground_truth for a, s in zip(letters, kept, strict=True)]
    missing = {"value": None, "ci95": None, "n": len(kept), "reason": "needs --against"}
    blind: dict[str, Any] = {"chance": _number(chance(kept)), **dict.fromkeys(FITTED, missing)}
    blind["longest_option"] = metric(right, [sample.images for sample in kept], seed=seed)
    needed = {"items": None, "n": len(kept), "reason": "needs --against"}
    return {"blind": blind, "image_needed": needed, "groups": {}}


def _groups(
    panel: BlindPanel, test: Sequence[Sample], scored: Sequence[int], seed: int
) -> dict[str, Any]:
    """By modality, question type and data set, where the items say theirs."""
    found: dict[str, Any] = {}
    for kind, members in groups_of(test, scored):
        found[kind] = {
            name: {
                "n": len(places),
                "chance": chance(test[i] for i in places),
                "blind": {
                    predictor: metric(
                        [panel.right[predictor][i] for i in places],
                        [test[i].images for i in places],
                        seed=seed,
                    )
                    for predictor in PREDICTORS
                    if predictor in panel.right
                },
                "image_needed": {"items": sum(panel.image_needed[i] for i in places)},
            }
            for name, places in members.items()
        }
    return found


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
