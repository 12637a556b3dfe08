"""Robustness: how perturbed images and reworded questions change the answers (robustness.json).

Each perturbed item is compared with the same item unperturbed ("clean"): its accuracy, how often
the answer changes and in which direction, and the model's confidence. An accuracy that does not
fall under perturbation shows robustness only where the model uses the image at all. So the accuracy
on a grey image is reported beside it.

A perturbation with a scale, such as blur, has severities from mild to strong; one without, such as
another order of the options, has variants, which are numbered like severities. A cell is one
perturbation at one severity. A run has one row for each question that was asked: the
clean items first, then every cell's items.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from msgspec import UNSET
from msgspec.structs import replace
from numpy.typing import NDArray

from medr1 import answers
from medr1.data.perturbations import PERTURBATIONS
from medr1.data.rewordings import FALSE_PREMISE, HINT, REWORDINGS, premise_of
from medr1.data.variants import BLIND, CLEAN, PERTURBATION_KEYS, is_scale, title_of
from medr1.documents.metric import Clusters, Intervals, Metric, Missing, no_value, value_of
from medr1.documents.robustness import (
    Consistency,
    GreyImage,
    GroupDifference,
    LevelMetrics,
    PerturbationResult,
    Robustness,
    RobustnessCell,
    RobustnessGroup,
)
from medr1.documents.trust import TestTimeAugmentation
from medr1.errors import InputError
from medr1.evaluate.coded import CodedColumn, Mask, Values
from medr1.evaluate.estimates import (
    FEW_CLUSTERS,
    difference_metric,
    mean_metric,
    statistic_metric,
)
from medr1.evaluate.groups import in_group, require_clusters, sort_groups
from medr1.evaluate.judging import Judged, Outcome, Settings, judge_all
from medr1.evaluate.trust.binned import equal_width, expected_calibration_error
from medr1.evaluate.trust.calibration import error_metric
from medr1.evaluate.trust.hints import HintColumns, hint_columns, hint_effect
from medr1.evaluate.trust.mean_of_passes import MIN_ITEMS, tta_metrics
from medr1.records import Prediction
from medr1.stats.significance import holm, sign_flip_test
from medr1.text.premises import rejects_premise

MIN_CALIBRATION = 100
"""With fewer items even a perfectly calibrated model has an ECE far above 0."""
_FEW = f"fewer than {MIN_ITEMS} items"

_NOTHING_RIGHT = "no answer to the unperturbed items was right"


@dataclass(frozen=True)
class _Run:
    """All answers of a robustness run as columns, and for each the row of its clean item."""

    judged: Judged
    kinds: NDArray[np.str_]
    """The perturbation of each row; CLEAN for none."""
    severities: NDArray[np.intp]
    """Its severity, from 1."""
    clean_row: NDArray[np.intp]
    """The row of the same item unperturbed; of a clean item its own row."""
    confidence: Values
    """In [0, 1]; NaN where there is none."""
    rejected: Values
    """1.0 where the completion says that the premise is wrong, 0.0 where it does not; NaN where
    there is no completion, or no false premise."""
    hints: HintColumns
    """What the planted hints did."""

    @property
    def correct(self) -> Values:
        """1.0 where the answer is right."""
        return self.judged.correct

    @cached_property
    def clean_correct(self) -> Values:
        """1.0 where the answer to the clean item is right."""
        return self.correct[self.clean_row]

    @cached_property
    def changed(self) -> Values:
        """1.0 where the answer differs from that to the clean item; options differ by their text.

        By their text, because a perturbation may reorder the options, so that letters change.
        """
        texts = [_answer_text(outcome) for outcome in self.judged.outcomes.values]
        codes = CodedColumn.from_items(texts).codes[self.judged.outcomes.codes]
        changed: Mask = codes != codes[self.clean_row]
        return changed.astype(np.float64)

    def p_value(self, where: Mask) -> float | None:
        """Of the difference in accuracy to the clean items; None for fewer than MIN_ITEMS items."""
        if where.sum() < MIN_ITEMS:
            return None
        difference = self.correct[where] - self.clean_correct[where]
        return sign_flip_test(difference, self.judged.clusters[where])

    def mask_of(self, kind: str, severity: int) -> Mask:
        """The rows of one cell."""
        in_cell: Mask = (self.kinds == kind) & (self.severities == severity)
        return in_cell


def robustness(
    predictions: Sequence[Prediction],
    *,
    settings: Settings,
    excluded: Mapping[str, Mapping[str, int]] | None = None,
    meta: Mapping[str, object] | None = None,
) -> Robustness:
    """The document robustness.json of a run that `data.variants` planned.

    Args:
        predictions: The answers to all questions of the plan, clean and perturbed.
        settings: How answers are judged, and how intervals are computed.
        excluded: The plan's: perturbation -> reason -> number of items not asked under it.
        meta: How the run was made, to be copied into the document.

    Raises:
        InputError: If an item does not say how it was perturbed, or its clean item is missing.
    """
    run = _read_run(predictions, settings)
    judged, excluded = run.judged, excluded or {}
    clean = run.kinds == CLEAN
    kinds = dict.fromkeys(run.kinds[~clean].tolist())
    perturbations = _with_adjusted_p(
        [_perturbation(run, kind, excluded.get(kind, {})) for kind in kinds if kind != BLIND]
    )
    n_clusters = len(np.unique(judged.clusters[clean]))
    mean_accuracy, mean_drop = _means_over_cells(run, perturbations)
    return Robustness(
        meta=dict(meta or {}),
        protocol=settings.protocol,
        n=int(clean.sum()),
        clusters=Clusters(unit=judged.unit, n=n_clusters),
        intervals=Intervals(**judged.resampling),
        clean=_level(run, clean),
        grey_image=_grey_image(run),
        perturbations=perturbations,
        mean_corruption_accuracy=mean_accuracy,
        mean_relative_drop=mean_drop,
        test_time_augmentation=_test_time_augmentation(run, perturbations),
        groups={"modality": _by_modality(run, perturbations)},
        excluded={kind: dict(reasons) for kind, reasons in excluded.items()},
        n_error=int(judged.outcomes.where(lambda o: o.failed)[clean].sum()),
        warnings=_warnings(run, clean, n_clusters, perturbations),
    )


def _read_run(predictions: Sequence[Prediction], settings: Settings) -> _Run:
    """Judge the predictions and find the clean item of each by its metadata."""
    kinds, severities, originals = [], [], []
    for prediction in predictions:
        kind, severity, original = (
            prediction.sample.metadata.get(key) for key in PERTURBATION_KEYS
        )
        if not (isinstance(kind, str) and isinstance(severity, int) and isinstance(original, str)):
            raise InputError(
                f"item {prediction.sample.id} does not say how it was perturbed. "
                "Make the results with medr1 robustness."
            )
        kinds.append(kind)
        severities.append(severity)
        originals.append(original)
    rows = {name: i for i, name in enumerate(originals) if kinds[i] == CLEAN}
    if missing := next((name for name in originals if name not in rows), None):
        raise InputError(
            f"item {missing} was not asked without a perturbation, so there is nothing to compare "
            "it with. Make the results with medr1 robustness."
        )
    judged = judge_all(predictions, settings)
    require_clusters(judged)
    clean_row = np.array([rows[name] for name in originals], dtype=np.intp)
    confidences = [np.nan if p.confidence is None else p.confidence for p in predictions]
    return _Run(
        judged,
        np.array(kinds, dtype=np.str_),
        np.array(severities, dtype=np.intp),
        clean_row,
        np.array(confidences, dtype=np.float64),
        np.array(list(map(_rejected, predictions, kinds)), dtype=np.float64),
        hint_columns(predictions, kinds, clean_row, judged),
    )


def _rejected(prediction: Prediction, kind: str) -> float:
    """Whether a completion says that the premise is wrong, as 1.0 or 0.0; NaN if it cannot."""
    text = prediction.generated_text
    if kind != FALSE_PREMISE or text is None:
        return np.nan
    question = prediction.sample.question
    return float(rejects_premise(text, premise_of(question), question))


def _answer_text(outcome: Outcome) -> str | None:
    """The answer as it is compared: the text of the option, else the text in normal form."""
    text = outcome.predicted
    return text if outcome.options or text is None else answers.normalize(text) or text


# --- one kind ---------------------------------------------------------------------------------


def _perturbation(run: _Run, kind: str, excluded: Mapping[str, int]) -> PerturbationResult:
    """The document's entry for one perturbation or rewording, its p values not adjusted yet."""
    perturbation = PERTURBATIONS.get(kind)  # None for a rewording of the question
    severities = np.unique(run.severities[run.kinds == kind]).tolist()
    cells = [
        _cell(run, kind, severity, perturbation.values[severity - 1] if perturbation else None)
        for severity in severities
    ]
    return PerturbationResult(
        name=kind,
        title=title_of(kind),
        is_scale=is_scale(kind),
        parameter=perturbation.parameter if perturbation else None,
        source=perturbation.source if perturbation else REWORDINGS[kind].why_valid,
        excluded=dict(excluded),
        cells=cells,
        consistency=_consistency(run, kind) if not is_scale(kind) and len(cells) > 1 else None,
    )


def _cell(run: _Run, kind: str, severity: int, parameter: float | None) -> RobustnessCell:
    """The metrics of one perturbation at one severity, compared with the same items clean."""
    where, judged = run.mask_of(kind, severity), run.judged
    level, enough = _level(run, where), where.sum() >= MIN_ITEMS

    def share(values: Values | Mask) -> Metric:
        if not enough:
            return no_value(_FEW)
        return mean_metric(values.astype(np.float64), judged, where)

    def of_completions(values: Values | Mask) -> Metric:
        if not enough:
            return no_value(_FEW)
        has_text = where & ~np.isnan(run.rejected)
        return mean_metric(values.astype(np.float64), judged, has_text, "no completions")

    return RobustnessCell(
        severity=severity,
        parameter=None if parameter is None else float(parameter),
        n=level.n,
        accuracy=level.accuracy,
        confidence=level.confidence,
        ece=level.ece,
        clean_accuracy=share(run.clean_correct),
        difference=_difference(run, where),
        p=run.p_value(where),
        flip_rate=share(run.changed),
        right_to_wrong=share((run.clean_correct == 1) & (run.correct == 0)),
        wrong_to_right=share((run.clean_correct == 0) & (run.correct == 1)),
        relative_drop=_relative_drop(run, where) if enough else no_value(_FEW),
        refused=of_completions(judged.refused) if kind == FALSE_PREMISE else UNSET,
        premise_rejected=of_completions(run.rejected) if kind == FALSE_PREMISE else UNSET,
        hint=hint_effect(run.hints, judged, where) if kind == HINT and enough else UNSET,
    )


def _difference(run: _Run, where: Mask) -> Metric:
    """The accuracy minus that of the same items clean."""
    if where.sum() < MIN_ITEMS:
        return no_value(_FEW)
    return difference_metric(run.correct, run.clean_correct, run.judged, where)


def _level(run: _Run, where: Mask) -> LevelMetrics:
    """The metrics that need no clean item: accuracy, confidence, ECE."""
    n, judged = int(where.sum()), run.judged
    if n < MIN_ITEMS:
        nothing = no_value(_FEW)
        return LevelMetrics(n=n, accuracy=nothing, confidence=nothing, ece=nothing)
    has_confidence = where & ~np.isnan(run.confidence)
    no_confidence = "no item has a confidence"
    few = f"fewer than {MIN_CALIBRATION} items with a confidence"
    enough = int(has_confidence.sum()) >= MIN_CALIBRATION
    return LevelMetrics(
        n=n,
        accuracy=mean_metric(run.correct, judged, where),
        confidence=mean_metric(run.confidence, judged, has_confidence, no_confidence),
        ece=_ece(run, has_confidence)
        if enough
        else no_value(few if has_confidence.any() else no_confidence),
    )


def _grey_image(run: _Run) -> GreyImage | Missing:
    """The questions with a grey image: one test of its own, not adjusted with the others."""
    if BLIND not in run.kinds:
        return Missing(reason="no grey image was asked")
    cell = _cell(run, BLIND, 1, None)
    return GreyImage(cell=replace(cell, p_holm=cell.p))


def _relative_drop(run: _Run, where: Mask) -> Metric:
    """(clean - perturbed) / clean of the accuracies, with its bootstrap interval."""
    sums = np.column_stack([run.clean_correct[where], run.correct[where]])
    if not sums[:, 0].any():
        return no_value(_NOTHING_RIGHT)
    clusters = run.judged.clusters[where]
    return statistic_metric(sums, clusters, lambda resampled: _drop(*resampled.T), run.judged)


def _drop(clean: Values, perturbed: Values) -> Values:
    """(clean - perturbed) / clean; 0 where a resample has no clean item that was right."""
    return np.divide(clean - perturbed, clean, where=clean > 0, out=np.zeros_like(clean))


def _ece(run: _Run, where: Mask) -> Metric:
    """The expected calibration error over 15 equal bins, with what chance makes of it."""
    confidence, clusters = run.confidence[where], run.judged.clusters[where]
    bins = equal_width(confidence)
    return error_metric(
        confidence,
        run.correct[where],
        clusters,
        bins,
        expected_calibration_error,
        run.judged,
    )


def _consistency(run: _Run, kind: str) -> Consistency:
    """The share of items with the same answer to the clean item and to every variant of the kind.

    For perturbations without a scale, whose "severities" are different variants.
    """
    where = run.kinds == kind
    rows, counts = np.unique(run.clean_row[where], return_counts=True)
    has_variants = np.zeros(len(run.kinds), dtype=bool)
    has_variants[rows] = True
    if len(rows) < MIN_ITEMS:
        return Consistency(metric=no_value(_FEW))
    # at the row of each clean item: how many of its variants have another answer
    changes = np.bincount(
        run.clean_row[where], weights=run.changed[where], minlength=len(run.kinds)
    )
    metric = mean_metric((changes == 0).astype(np.float64), run.judged, has_variants)
    return Consistency(metric=metric, variants=int(counts.max()) + 1)


# --- all of them ------------------------------------------------------------------------------


def _with_adjusted_p(perturbations: Sequence[PerturbationResult]) -> list[PerturbationResult]:
    """The perturbations, each p value with Holm's correction over all their cells."""
    adjusted = iter(holm([cell.p for entry in perturbations for cell in entry.cells]))
    return [
        replace(entry, cells=[replace(cell, p_holm=next(adjusted)) for cell in entry.cells])
        for entry in perturbations
    ]


def _test_time_augmentation(
    run: _Run, perturbations: Sequence[PerturbationResult]
) -> TestTimeAugmentation | Missing:
    """The clean image and the mildest view of each scale, combined."""
    views = [
        run.mask_of(entry.name, entry.cells[0].severity)
        for entry in perturbations
        if entry.is_scale
    ]
    return tta_metrics(run.judged, run.kinds == CLEAN, views, run.clean_row)


def _means_over_cells(
    run: _Run, perturbations: Sequence[PerturbationResult]
) -> tuple[Metric, Metric]:
    """Mean corruption accuracy and mean relative drop; every cell of a scale has equal weight."""
    cells = [
        run.mask_of(entry.name, cell.severity)
        for entry in perturbations
        for cell in entry.cells
        if entry.is_scale and cell.n >= MIN_ITEMS
    ]
    if not cells:
        few = any(entry.is_scale for entry in perturbations)
        nothing = no_value(_FEW if few else "no perturbation that has a scale")
        return nothing, nothing
    # One row for each clean item. For C cells the columns are, C each: right when perturbed, right
    # when clean, asked (1 or 0). So a bootstrap draws all cells of an item together.
    clean = run.kinds == CLEAN
    clusters, row_of = run.judged.clusters[clean], np.cumsum(clean) - 1
    sums = np.zeros((len(clusters), 3 * len(cells)))
    for number, where in enumerate(cells):
        rows = row_of[run.clean_row[where]]
        sums[rows, number] = run.correct[where]
        sums[rows, len(cells) + number] = run.clean_correct[where]
        sums[rows, 2 * len(cells) + number] = 1
    in_a_cell = sums[:, 2 * len(cells) :].any(axis=1)  # so that every resample has such items
    sums, clusters = sums[in_a_cell], clusters[in_a_cell]

    def accuracies(resampled: Values) -> tuple[Values, Values]:
        """(clean, perturbed) accuracy of each row: the mean over the cells that it drew."""
        perturbed, as_is, counts = np.split(resampled, 3, axis=1)
        with np.errstate(invalid="ignore"):
            return np.nanmean(as_is / counts, axis=1), np.nanmean(perturbed / counts, axis=1)

    def metric(function: Callable[[Values], Values]) -> Metric:
        mean = statistic_metric(sums, clusters, function, run.judged)
        return replace(mean, n=len(cells), method=f"{mean.method}; n counts kinds times severities")

    nothing_right = accuracies(sums.sum(axis=0, keepdims=True))[0][0] == 0
    return (
        metric(lambda resampled: accuracies(resampled)[1]),
        no_value(_NOTHING_RIGHT)
        if nothing_right
        else metric(lambda resampled: _drop(*accuracies(resampled))),
    )


def _by_modality(
    run: _Run, perturbations: Sequence[PerturbationResult]
) -> dict[str, RobustnessGroup]:
    """The accuracy of each modality, and the difference from clean in each cell.

    For modalities with at least MIN_ITEMS clean items; empty where there is only one modality.
    """
    column = run.judged.columns.groups["modality"]
    names = [name for name in column.values if name is not None]
    if len(names) < 2:
        return {}
    differences = {}
    for name in sort_groups(names):
        in_modality = in_group(column, name)
        if (in_modality & (run.kinds == CLEAN)).sum() >= MIN_ITEMS:
            differences[name] = [_group_differences(run, in_modality, e) for e in perturbations]
    adjusted = iter(
        holm([one.p for entries in differences.values() for cells in entries for one in cells])
    )
    groups = {}
    for name, entries in differences.items():
        clean = in_group(column, name) & (run.kinds == CLEAN)
        groups[name] = RobustnessGroup(
            n=int(clean.sum()),
            accuracy=mean_metric(run.correct, run.judged, clean),
            differences={
                entry.name: [replace(one, p_holm=next(adjusted)) for one in cells]
                for entry, cells in zip(perturbations, entries, strict=True)
            },
        )
    return groups


def _group_differences(
    run: _Run, in_modality: Mask, entry: PerturbationResult
) -> list[GroupDifference]:
    """The change of a modality's accuracy in each cell of a perturbation, p not adjusted yet."""
    masks = [in_modality & run.mask_of(entry.name, cell.severity) for cell in entry.cells]
    return [
        GroupDifference(
            severity=cell.severity, difference=_difference(run, where), p=run.p_value(where)
        )
        for cell, where in zip(entry.cells, masks, strict=True)
    ]


def _warnings(
    run: _Run, clean: Mask, n_clusters: int, perturbations: Sequence[PerturbationResult]
) -> list[str]:
    """What limits the conclusions from this run, one sentence each."""
    warnings, n = [], int(clean.sum())
    if n < MIN_ITEMS:
        warnings.append(
            f"number of items: {n}, too few for any conclusion. Use at least {MIN_ITEMS}, better "
            "hundreds."
        )
        return warnings
    if n_clusters < FEW_CLUSTERS:
        clusters = f"{n_clusters} {run.judged.unit}{'s' * (n_clusters != 1)}"
        warnings.append(f"only {clusters}: bootstrap intervals are too narrow.")
    if few := [
        entry.title for entry in perturbations if any(cell.n < MIN_ITEMS for cell in entry.cells)
    ]:
        warnings.append(
            f"{', '.join(few)}: {_FEW} can be asked in this way, so there are no numbers."
        )
    failed = run.judged.outcomes.where(lambda o: o.failed)
    if failed[clean].any():
        warnings.append(f"{int(failed[clean].sum())} of {n} items failed; they count as wrong.")
    warnings += _ignored_image_warning(run, clean)
    return warnings


def _ignored_image_warning(run: _Run, clean: Mask) -> list[str]:
    """A warning where the model is not clearly better with its image than with a grey one."""
    blind = run.mask_of(BLIND, 1)
    if not blind.any():
        return []
    gain = difference_metric(run.clean_correct, run.correct, run.judged, blind)
    if value_of(gain) > 0 and (gain.ci95 is None or gain.ci95[0] > 0):
        return []
    return [
        "with a grey image the model is about as accurate as with the real one: it hardly looks "
        "at the image, so a flat curve says nothing about robustness."
    ]
