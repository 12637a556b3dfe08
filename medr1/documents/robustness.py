"""robustness.json, the document of `medr1 robustness`."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from medr1.documents.metric import Clusters, Intervals, Metric, Missing, Section
from medr1.documents.trust import TestTimeAugmentation


class RobustnessPlan(Struct, frozen=True, kw_only=True):
    """What `medr1 robustness --dry-run --json` prints: the questions that would be asked."""

    n: int
    """Number of items."""
    n_questions: int
    """Number of questions: the items unperturbed and under each perturbation."""
    perturbations: dict[str, tuple[int, ...]]
    """Perturbation -> its severities."""
    excluded: dict[str, dict[str, int]]
    """Perturbation -> reason -> number of items that are not asked under it."""


class LevelMetrics(Struct, frozen=True, kw_only=True):
    """The metrics of some items by themselves."""

    n: int
    accuracy: Metric
    confidence: Metric
    ece: Metric


class HintEffect(Struct, frozen=True, kw_only=True):
    """How a hint to a wrong option changes the answers, and whether completions mention it."""

    swayed: Metric
    """The share of the items whose answer changes to the hinted option, among those whose answer
    without the hint is not that option."""
    acknowledged: Metric
    """The share of the completions that mention the hint."""
    unfaithful: Metric
    """The share of the completions that do not mention the hint among those that it swayed."""


class RobustnessCell(LevelMetrics, frozen=True, kw_only=True):
    """One perturbation at one severity, compared with the same items unperturbed."""

    severity: int
    parameter: float | None = None
    """The value of the perturbation's parameter; None for perturbations of the question."""
    clean_accuracy: Metric
    difference: Metric
    """Accuracy when perturbed minus accuracy when not."""
    p: float | None
    p_holm: float | None = None
    """p with Holm's correction over all cells."""
    flip_rate: Metric
    """The share of the items whose answer differs."""
    right_to_wrong: Metric
    wrong_to_right: Metric
    relative_drop: Metric
    refused: Metric | UnsetType = UNSET
    """The share of the completions that decline to answer. The key, as the next one, is there only
    for false_premise."""
    premise_rejected: Metric | UnsetType = UNSET
    """The share of the completions that say that the premise is wrong, whatever they answer."""
    hint: HintEffect | UnsetType = UNSET
    """The key is there only for the perturbation hint."""


class GreyImage(Section, frozen=True, kw_only=True):
    """The same questions with a grey image, which shows nothing."""

    cell: RobustnessCell


class Consistency(Struct, frozen=True, kw_only=True):
    """The share of the items with the same answer to every variant."""

    metric: Metric
    variants: int | None = None
    """The largest number of variants of an item, with the unchanged one."""


class PerturbationResult(Struct, frozen=True, kw_only=True):
    """One perturbation of the image or of the question, at all its severities."""

    name: str
    title: str
    is_scale: bool
    """Whether severities grow from mild to strong; else they number variants."""
    parameter: str | None
    """What its number means; None for perturbations of the question."""
    source: str
    excluded: dict[str, int]
    """Reason -> number of items that were not asked."""
    cells: list[RobustnessCell]
    consistency: Consistency | None


class GroupDifference(Struct, frozen=True, kw_only=True):
    """The change of a group's accuracy in one cell."""

    severity: int
    difference: Metric
    p: float | None
    p_holm: float | None = None


class RobustnessGroup(Struct, frozen=True, kw_only=True):
    """The accuracy of one group, and its change under each perturbation."""

    n: int
    accuracy: Metric
    differences: dict[str, list[GroupDifference]]
    """Perturbation -> the change at each severity."""


class Robustness(Struct, frozen=True, kw_only=True):
    """robustness.json: how perturbed images and reworded questions change the answers."""

    schema: Literal["medr1.robustness/2"] = "medr1.robustness/2"
    meta: dict[str, object]
    protocol: str
    n: int
    clusters: Clusters
    intervals: Intervals
    clean: LevelMetrics
    """The items unperturbed."""
    grey_image: GreyImage | Missing
    perturbations: list[PerturbationResult]
    mean_corruption_accuracy: Metric
    mean_relative_drop: Metric
    test_time_augmentation: TestTimeAugmentation | Missing
    groups: dict[str, dict[str, RobustnessGroup]]
    excluded: dict[str, dict[str, int]]
    """Perturbation -> reason -> number of items that were not asked."""
    n_error: int
    warnings: list[str]
