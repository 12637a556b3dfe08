"""audit.json, the document of `medr1 data audit`."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from medr1.documents.metric import Metric, Missing, Section


class LetterBalance(Struct, frozen=True, kw_only=True):
    """A chi-squared test that all letters are equally often right."""

    chi2: float | None
    df: int
    p: float | None


class Leak(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How many test items leak in one way; None with a reason where images are not available."""

    items: int | None
    share: float | None = None
    images: int | None = None
    """Number of different images that leak, for leaks of images."""
    patients: int | None = None
    series: int | None = None
    reason: str | None = None


class Wording(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How many test items reuse a wording of the training file."""

    items: int
    wordings: int | None = None
    """Number of different wordings."""


class AuditedFile(Struct, frozen=True, kw_only=True):
    """A file of questions that was read."""

    path: str
    sha256: str
    n: int
    n_images: int
    """Number of different images."""
    image_root: str
    images_available: bool
    defects: dict[str, int | None]
    """Kind of defect -> number of items; None where images are not available."""


class TrainingFile(AuditedFile, frozen=True, kw_only=True):
    """A training file, and what the audited file has in common with it."""

    fitted: bool
    """Whether the blind predictors were fitted on it."""
    leakage: dict[str, Leak]
    """Kind of leak -> how many items of the audited file leak from this file."""
    wordings: dict[str, Wording]
    """same_question, same_question_and_options or near_question -> how many items of the audited
    file have such a wording, about any image."""


class ShuffledLabels(Struct, frozen=True, kw_only=True):
    """A predictor's accuracy after training on shuffled labels."""

    value: float | None
    range: tuple[float, float] | None
    draws: int


class BlindPredictor(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The accuracy of a predictor that does not see the image."""

    accuracy: Metric
    shuffled_labels: ShuffledLabels | None = None
    """For predictors that are fitted."""


class BlindPredictors(Struct, frozen=True, kw_only=True):
    """Accuracy of the predictors that do not see the image."""

    chance: float | None
    """The accuracy of random guessing."""
    predictors: dict[str, BlindPredictor]
    best: str | None
    """The most accurate predictor."""
    above_chance: list[str]
    """Predictors whose interval lies above chance."""


class GroupAboveChance(Struct, frozen=True, kw_only=True):
    """A group of items in which a predictor is above chance."""

    predictor: str
    kind: str
    """modality, question_type or dataset."""
    group: str
    value: float
    chance: float
    p_holm: float | None
    n: int


class ImageNeeded(Section, frozen=True, kw_only=True):
    """The items that need their image: no predictor with knowledge gets them right."""

    items: int
    n: int
    share: float | None
    predictors: list[str]
    """Predictors that are above chance on all items."""
    in_groups: list[GroupAboveChance]
    lucky: float | None
    """About how many items the predictors get right by guessing; None where n is 0."""


class AuditGroup(Struct, frozen=True, kw_only=True):
    """The predictors' accuracy in one group."""

    n: int
    chance: float | None
    blind: dict[str, Metric]
    image_needed: int
    """Number of items that need their image."""


class FlaggedItem(Struct, frozen=True, kw_only=True):
    """A row of items.csv: an item with a defect or leak, and the item it repeats or leaks from."""

    kind: str
    """The kind of defect or leak."""
    file: str
    line: int | None
    """Where the item begins in the file, from 1; None for a format without lines."""
    item: int
    """The item's number in the file, from 1."""
    id: str
    image: str
    """Path of the item's first image; empty for an item without images."""
    question: str
    detail: str
    """What exactly is wrong; may be empty."""
    other_file: str | None = None
    """The file of the other item; None where the finding is about one item."""
    other_line: int | None = None
    other_item: int | None = None


class Audit(Struct, frozen=True, kw_only=True):
    """audit.json: defects, leakage and shortcuts of a file of questions."""

    schema: Literal["medr1.audit/2"] = "medr1.audit/2"
    file: AuditedFile
    leakage: dict[str, Leak]
    """Kind of leak -> how many items leak from any training file; empty without one."""
    option_counts: dict[str, int]
    """Number of options -> number of items."""
    letters: dict[str, int]
    """Letter -> number of items of which it is the right answer."""
    letter_balance: LetterBalance
    blind: BlindPredictors
    image_needed: ImageNeeded | Missing
    groups: dict[str, dict[str, AuditGroup]]
    """Kind, such as modality -> group -> accuracy there; empty without a training file."""
    against: list[TrainingFile]
    seed: int
    notes: list[str]
