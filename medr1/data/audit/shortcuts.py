"""Shortcuts: what blind predictors reach on a test split, and which items need their image.

A blind predictor answers from the question and the options alone. Its accuracy is compared with
random guessing and with its own accuracy after training on shuffled labels.

An item needs its image unless a predictor with real knowledge gets it right. Four predictors read
the options and so can have knowledge (longest_option, option_prior, question_option_lookup,
text_classifier). They have it where they are above chance: on all items, or in one modality,
question type or data set (`knowledge`). Only there may they take an item out of the image-needed
subset. A coin is right in a quarter of all items as well, and taking those out would say nothing
about them. For the same reason a tie, where the training split knows none of the options, takes
nothing out.

What follows from this definition:
- The predictors score low on the subset by construction; their accuracy there means nothing.
  Chance is still the mean of 1 / (number of options).
- Some items are taken out because a predictor guessed well (`lucky` in audit.json,
  `knowledge.expected_lucky_items`). That makes the subset smaller, not easier.
- Items with a wrong ground truth stay in, because nothing predicts them. Look at the right answers
  of a small subset before trusting a score on it.
- It is not proved that the other items cannot be answered without the image: another predictor, or
  a large model that has read a lot, may do it.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

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
from medr1.data.audit.knowledge import (
    AboveChance,
    expected_lucky_items,
    groups_above_chance,
    groups_of,
)
from medr1.documents.audit import (
    AuditGroup,
    BlindPredictor,
    BlindPredictors,
    ImageNeeded,
    ShuffledLabels,
)
from medr1.documents.metric import Metric, Missing, no_value, value_of
from medr1.records import Sample

PREDICTORS = (
    *("majority_letter", "longest_option", "option_prior"),
    *("question_option_lookup", "text_classifier"),
)
"""All blind predictors, the simplest first."""
INFORMED = ("option_prior", "question_option_lookup", "text_classifier")
"""The predictors that read the options and learn from the training split."""
FITTED = ("majority_letter", *INFORMED)
"""The predictors that learn from the training split."""


@dataclass(frozen=True)
class BlindPanel:
    """The answers of all blind predictors to a test split, and what they show.

    All sequences are in the order of the test samples. A sample is scored where it has options and
    its ground truth is the letter of one of them.
    """

    letters: Mapping[str, tuple[str, ...]]
    """Predictor -> a letter for each sample, "" for one without options."""
    right: Mapping[str, tuple[bool, ...]]
    """Predictor -> whether the letter is the ground truth; False for one without options."""
    metrics: Mapping[str, Metric]
    """Predictor -> its accuracy on the scored samples."""
    chance: float
    """Accuracy of random guessing on the scored samples; nan where there are none."""
    best: str
    """The predictor with the highest accuracy on this test split; "" where nothing is scored."""
    above_chance: tuple[AboveChance, ...]
    """Where predictors that read the options are above chance: on all samples, in groups."""
    image_needed: tuple[bool, ...]
    """Whether none of these gets the sample right; False where a sample cannot be scored."""

    @property
    def predictors_above_chance(self) -> tuple[str, ...]:
        """The predictors that are above chance on all samples."""
        return tuple(entry.predictor for entry in self.above_chance if not entry.kind)

    @property
    def best_accuracy(self) -> float:
        """Accuracy of the best predictor, in [0, 1]; nan where nothing is scored."""
        return value_of(self.metrics[self.best]) if self.best else math.nan


def blind_panel(train: Sequence[Sample], test: Sequence[Sample], *, seed: int = 0) -> BlindPanel:
    """Fit every blind predictor on `train` and apply it to `test`.

    Args:
        train: Training items.
        test: Test items.
        seed: Seed of the bootstrap intervals.
    """
    return _panel_and_controls(train, test, draws=0, seed=seed)[0]


def _panel_and_controls(
    train: Sequence[Sample], test: Sequence[Sample], *, draws: int, seed: int
) -> tuple[BlindPanel, list[dict[str, float]]]:
    """The panel, and for each draw of shuffled labels: fitted predictor -> its accuracy then."""
    train = answerable(train)
    shuffled_trains = [with_shuffled_labels(train, seed + draw) for draw in range(draws)]
    label_sets = [
        [sample.ground_truth for sample in samples] for samples in (train, *shuffled_trains)
    ]
    # One call for all label sets, because the classifier's features are the same for all.
    classifier_by_set = classifier_scores(train, test, label_sets) if train else []
    # Without training items there are no scores; then both lists stay empty.
    scores_of_sets = [
        _informed_scores(samples, test, scores)
        for samples, scores in zip((train, *shuffled_trains), classifier_by_set, strict=False)
    ]
    scored_indices = _scored_indices(test)
    controls = []
    for samples, scores in zip(shuffled_trains, scores_of_sets[1:], strict=False):
        letters = {"majority_letter": majority_letter(samples, test), **_letters(scores)}
        controls.append(
            {
                name: _accuracy(chosen_letters, test, scored_indices)
                for name, chosen_letters in letters.items()
                if scored_indices
            }
        )
    return _panel(
        train, test, scores_of_sets[0] if scores_of_sets else {}, scored_indices, seed
    ), controls


def _scored_indices(test: Sequence[Sample]) -> list[int]:
    """Positions of the test samples that have options and a right answer among them."""
    return [
        index
        for index, sample in enumerate(test)
        if sample.options and sample.ground_truth in sample.options
    ]


def _accuracy(
    letters: Sequence[str], test: Sequence[Sample], scored_indices: Sequence[int]
) -> float:
    return sum(letters[i] == test[i].ground_truth for i in scored_indices) / len(scored_indices)


def _letters(scores: Mapping[str, Sequence[Scores]]) -> dict[str, list[str]]:
    """Predictor -> its chosen letter for each sample."""
    return {
        name: [best_letter(item_scores) for item_scores in predictor_scores]
        for name, predictor_scores in scores.items()
    }


def _panel(
    train: Sequence[Sample],
    test: Sequence[Sample],
    scores: Mapping[str, Sequence[Scores]],
    scored_indices: Sequence[int],
    seed: int,
) -> BlindPanel:
    """The panel, from the informed predictors' scores; `scored_indices` are positions in `test`."""
    scores = {"longest_option": longest_option_scores(test), **scores}
    letters = {
        "majority_letter": tuple(majority_letter(train, test)),
        **{name: tuple(chosen_letters) for name, chosen_letters in _letters(scores).items()},
    }
    right = {
        name: tuple(
            bool(letter) and letter == sample.ground_truth
            for letter, sample in zip(chosen_letters, test, strict=True)
        )
        for name, chosen_letters in letters.items()
    }
    clusters = [test[i].images for i in scored_indices]
    metrics = {
        name: accuracy_metric([right[name][i] for i in scored_indices], clusters, seed=seed)
        for name in letters
    }
    guess = chance(test[i] for i in scored_indices)
    above_chance = [
        AboveChance(name, "", "", tuple(scored_indices), value_of(metrics[name]), guess)
        for name in scores
        if is_above_chance(metrics[name], guess)
    ]
    above_chance += groups_above_chance(
        test, scored_indices, {name: right[name] for name in scores}
    )
    # An item needs its image unless a predictor that is above chance there predicts it, without
    # a tie.
    image_needed = [False] * len(test)
    for i in scored_indices:
        image_needed[i] = True
    for entry in above_chance:
        for i in entry.indices:
            if strictly_best(scores[entry.predictor][i], test[i].ground_truth or ""):
                image_needed[i] = False
    return BlindPanel(
        letters=letters,
        right=right,
        metrics=metrics,
        chance=guess,
        best=max(metrics, key=lambda name: value_of(metrics[name])) if scored_indices else "",
        above_chance=tuple(above_chance),
        image_needed=tuple(image_needed),
    )


def _informed_scores(
    train: Sequence[Sample], test: Sequence[Sample], classifier_item_scores: list[Scores]
) -> dict[str, list[Scores]]:
    """Predictor -> scores of each test sample, for each of INFORMED.

    The classifier's scores are an argument, because it is fitted for all label sets at once.
    """
    return {
        "option_prior": option_prior_scores(train, test),
        "question_option_lookup": question_option_scores(train, test),
        "text_classifier": classifier_item_scores,
    }


def strictly_best(scores: Scores, letter: str) -> bool:
    """Whether this letter has the highest score and shares it with no other letter."""
    if letter not in scores:
        return False
    return all(scores[letter] > value for key, value in scores.items() if key != letter)


def with_shuffled_labels(train: Sequence[Sample], seed: int) -> list[Sample]:
    """The training samples with their right letters shuffled, as a control.

    Letters move only between items with the same number of options, so that each stays valid. All
    that can still be learned is how often each letter is right. A predictor that is well above
    chance in every such draw does not have its answers from the training labels.
    """
    shuffler = random.Random(seed)
    by_size: dict[int, list[int]] = defaultdict(list)
    for position, sample in enumerate(train):
        by_size[len(sample.options)].append(position)
    shuffled = list(train)
    # Each group of items with the same number of options has its letters shuffled among itself.
    for positions in by_size.values():
        letters = [train[position].ground_truth for position in positions]
        shuffler.shuffle(letters)
        for position, letter in zip(positions, letters, strict=True):
            shuffled[position] = replace(train[position], ground_truth=letter)
    return shuffled


def accuracy_metric(
    right: Sequence[bool], clusters: Sequence[tuple[str, ...]], *, seed: int = 0
) -> Metric:
    """An accuracy with its 95 % interval.

    The interval is Wilson's where each item has an image of its own, else a bootstrap over images.

    Args:
        right: Whether each item is right.
        clusters: The images of each item.
        seed: Seed of the bootstrap.

    Returns:
        The accuracy in [0, 1]; without items no value, and the reason.
    """
    from medr1.stats.intervals import bootstrap_mean, wilson

    n = len(right)
    if not n:
        return no_value("no item has options and a right answer")
    # Items on the same image are not independent, which Wilson's interval assumes.
    if len(set(clusters)) == n:
        interval = wilson(sum(right), n)
    else:
        interval = bootstrap_mean(right, clusters, seed=seed)
    return Metric(value=sum(right) / n, ci95=interval, n=n)


def is_above_chance(metric: Metric, guess: float) -> bool:
    """Whether the whole interval of a metric lies above the accuracy of random guessing.

    Args:
        metric: An accuracy; one without an interval is not above.
        guess: Accuracy of random guessing, in [0, 1].
    """
    return metric.ci95 is not None and metric.ci95[0] > guess


@dataclass(frozen=True)
class Shortcuts:
    """Three parts of audit.json."""

    blind: BlindPredictors
    image_needed: ImageNeeded | Missing
    groups: dict[str, dict[str, AuditGroup]]


def shortcuts(
    train: Sequence[Sample] | None, test: Sequence[Sample], *, seed: int = 0
) -> tuple[Shortcuts, BlindPanel | None]:
    """Compute the `blind`, `image_needed` and `groups` parts of audit.json.

    Args:
        train: Training items; None where no training file is given. Then only the longest option
            can be evaluated.
        test: Test items.
        seed: Seed of the intervals and of the shuffled labels.

    Returns:
        The three parts, and the panel they come from (None without training items).
    """
    if train is None:
        return _without_training(test, seed), None
    # The controls show what a predictor reaches with nothing to learn but the letters' frequencies.
    panel, controls = _panel_and_controls(train, test, draws=_num_draws(len(train)), seed=seed)
    scored_indices = _scored_indices(test)
    blind = BlindPredictors(
        chance=_number(panel.chance),
        predictors={
            name: BlindPredictor(
                accuracy=panel.metrics.get(name, _NOTHING_LEARNED),
                shuffled_labels=_control(controls, name) if name in FITTED else None,
            )
            for name in PREDICTORS
        },
        best=panel.best or None,
        above_chance=[
            name for name in panel.metrics if is_above_chance(panel.metrics[name], panel.chance)
        ],
    )
    needed = sum(panel.image_needed)
    image_needed = ImageNeeded(
        items=needed,
        n=len(scored_indices),
        share=needed / len(scored_indices) if scored_indices else None,
        predictors=list(panel.predictors_above_chance),
        in_groups=[entry.document() for entry in panel.above_chance if entry.kind],
        lucky=round(expected_lucky_items(panel.above_chance), 1) if scored_indices else None,
    )
    groups = _groups(panel, test, scored_indices, seed)
    return Shortcuts(blind, image_needed, groups), panel


def _num_draws(n: int) -> int:
    """How often labels are shuffled: 3 to 20 times, more often the fewer training items there are.

    A single draw may lie far from chance where the data are made of a few wordings.
    """
    return max(3, min(20, 30_000 // max(1, n)))


def _control(controls: Sequence[Mapping[str, float]], name: str) -> ShuffledLabels:
    """A predictor's accuracy after training on shuffled labels: mean and range over the draws."""
    values = [accuracies[name] for accuracies in controls if name in accuracies]
    if not values:
        return ShuffledLabels(value=None, range=None, draws=0)
    return ShuffledLabels(
        value=sum(values) / len(values), range=(min(values), max(values)), draws=len(values)
    )


_NOTHING_LEARNED = no_value("no training item has options and a right answer")


def _without_training(test: Sequence[Sample], seed: int) -> Shortcuts:
    """The parts of audit.json where no training file is given."""
    reason = "needs --against"
    scored_samples = answerable(test)
    letters = longest_option(scored_samples)
    right = [
        letter == sample.ground_truth
        for letter, sample in zip(letters, scored_samples, strict=True)
    ]
    clusters = [sample.images for sample in scored_samples]
    longest = accuracy_metric(right, clusters, seed=seed)
    not_fitted = Metric(value=None, ci95=None, n=len(scored_samples), reason=reason)
    blind = BlindPredictors(
        chance=_number(chance(scored_samples)),
        predictors={
            name: BlindPredictor(accuracy=not_fitted if name in FITTED else longest)
            for name in PREDICTORS
        },
        best=None,
        above_chance=[],
    )
    return Shortcuts(blind, Missing(reason=reason), {})


def _groups(
    panel: BlindPanel, test: Sequence[Sample], scored_indices: Sequence[int], seed: int
) -> dict[str, dict[str, AuditGroup]]:
    """Accuracy by modality, question type and data set, over the items that state theirs."""

    def group(indices: Sequence[int]) -> AuditGroup:
        images = [test[i].images for i in indices]
        return AuditGroup(
            n=len(indices),
            chance=chance(test[i] for i in indices),
            blind={
                name: accuracy_metric([panel.right[name][i] for i in indices], images, seed=seed)
                for name in PREDICTORS
                if name in panel.right
            },
            image_needed=sum(panel.image_needed[i] for i in indices),
        )

    return {
        kind: {name: group(indices) for name, indices in members.items()}
        for kind, members in groups_of(test, scored_indices)
    }


def _number(value: float) -> float | None:
    """The value, or None for nan, which JSON does not have."""
    return None if math.isnan(value) else value
