"""Calibration: whether a model is right as often as its confidence says.

The section `calibration` of summary.json: calibration errors, Brier score, negative log-likelihood
(NLL), the reliability diagram, and the temperature that would correct the probabilities.

Arrays, for n items and K options:

    confidence     (items,)    in [0, 1], NaN where unknown
    correct        (items,)    1.0 where the answer is right, else 0.0
    probabilities  (items, K)  of the options; NaN where an item has fewer options

`medr1 eval --explain NAME` prints the definition of each metric.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from medr1.documents.metric import Metric, Missing, no_value, value_of
from medr1.documents.trust import (
    Calibration,
    CalibrationGroup,
    CalibrationMetrics,
    ReliabilityBin,
    Temperature,
)
from medr1.evaluate.coded import Mask, Values
from medr1.evaluate.estimates import mean_metric
from medr1.evaluate.groups import in_group, sort_groups
from medr1.evaluate.judging import Judged
from medr1.evaluate.trust.binned import (
    BINS,
    Bins,
    bin_contributions,
    bin_totals,
    brier_decomposition,
    chance_error,
    debiased_calibration_error,
    debiased_interval,
    equal_mass,
    equal_width,
    expected_calibration_error,
    maximum_calibration_error,
)
from medr1.evaluate.trust.ranking import auroc_metric
from medr1.stats.intervals import (
    Interval,
    bootstrap_statistic,
    cluster_totals,
    named_interval,
    percentiles,
)

MIN_ITEMS = 50
"""With fewer items that have a confidence nothing is computed: a bin would hold about three."""
MIN_PROBABILITY = 1e-6
"""Smaller probabilities count as this in logarithms; results.json rounds to this precision."""
MAX_RESAMPLED_ITEMS = 10_000
"""With more items no interval is computed: it would be narrow, and take minutes."""
_LEVELS = 128
"""Most distinct confidences in the bootstrap of a rank statistic; neighbours are merged."""
_FEW = f"fewer than {MIN_ITEMS} items have a confidence"


# --- ranks --------------------------------------------------------------------------------------


def level_totals(confidence: Values, correct: Values) -> Values:
    """The numbers of right and of wrong answers at each distinct confidence, shape (1, 2 x levels).

    The levels are in ascending order of confidence: first all counts of right answers, then all of
    wrong ones.

    Args:
        confidence: In [0, 1], shape (items,), without NaN.
        correct: 0.0 or 1.0, shape (items,).
    """
    level = np.unique(confidence, return_inverse=True)[1]
    return np.concatenate([np.bincount(level, column) for column in (correct, 1 - correct)])[None]


def level_contributions(confidence: Values, correct: Values, max_levels: int) -> Values:
    """What each item adds to `level_totals`, shape (items, 2 x levels).

    A level is one distinct confidence. Where there are more than `max_levels` of them, neighbours
    are merged into groups of about equal size.
    """
    values, level = np.unique(confidence, return_inverse=True)
    # the bootstrap holds a row of levels for each cluster, so their number bounds the memory
    if len(values) > max_levels:
        edges = np.unique(np.quantile(confidence, np.linspace(0, 1, max_levels + 1)[1:-1]))
        level = np.searchsorted(edges, confidence, side="right")
    at_level = np.eye(int(level.max(initial=0)) + 1)[level]
    return np.hstack([at_level * correct[:, None], at_level * (1 - correct)[:, None]])


def ranked_metric(
    confidence: Values,
    correct: Values,
    judged: Judged,
    where: Mask,
    statistic: Callable[[Values], Values],
) -> Metric:
    """A statistic of the order of items by confidence, with its bootstrap interval.

    The value is exact; the interval is computed with confidences merged into 128 levels.

    Args:
        confidence: Of the items of `where`, in [0, 1], shape (n,).
        correct: Of the items of `where`, 0.0 or 1.0, shape (n,).
        judged: All items, for their clusters and the settings of the bootstrap.
        where: The items that have a confidence, shape (items,); n of them are True.
        statistic: Maps rows of `level_totals` (rows, 2 x levels) to (rows,).
    """
    value = float(statistic(level_totals(confidence, correct))[0])
    interval, n = None, len(correct)
    if n <= MAX_RESAMPLED_ITEMS:
        sums, clusters = level_contributions(confidence, correct, _LEVELS), judged.clusters[where]
        interval = bootstrap_statistic(sums, clusters, statistic, **judged.resampling)
    return _metric(value, interval, n, judged)


def _metric(value: float, interval: Interval | None, n: int, judged: Judged) -> Metric:
    """A value and its interval in the form that every number of summary.json has."""
    if interval is None and n > MAX_RESAMPLED_ITEMS:
        method = f"more than {MAX_RESAMPLED_ITEMS:,} items: no interval"
    else:
        interval, method = named_interval(interval, judged.unit)
    return Metric(value=value, ci95=interval, n=n, method=method)


# --- temperature --------------------------------------------------------------------------------


def apply_temperature(probabilities: Values, temperature: float) -> Values:
    """Temperature scaling: p^(1/T), normalised to sum to 1 for each item.

    It equals a softmax of the log-probabilities divided by T. T > 1 makes confident probabilities
    less so; the order of the options does not change. Source: Guo et al. (2017).

    Args:
        probabilities: In [0, 1], shape (items, K), NaN where an item has fewer options.
        temperature: T, above 0.
    """
    scores = np.log(np.maximum(probabilities, MIN_PROBABILITY)) / temperature
    weights = np.exp(scores - np.nanmax(scores, axis=1, keepdims=True, initial=-np.inf))
    scaled: Values = weights / np.nansum(weights, axis=1, keepdims=True)
    return scaled


def mean_nll(probabilities: Values, right: NDArray[np.intp], weights: Values) -> float:
    """The weighted mean of -ln p(right option), in nats; `right` has the column of that option.

    Agrees with scikit-learn (`log_loss`).
    """
    of_right = probabilities[np.arange(len(right)), right]
    return float(np.average(-np.log(np.maximum(of_right, MIN_PROBABILITY)), weights=weights))


def fit_temperature(
    probabilities: Values, right: NDArray[np.intp], weights: Values | None = None
) -> float:
    """The temperature between 0.05 and 20 that minimises the NLL: scipy's bounded search over ln T.

    Source: Guo et al. (2017).

    Args:
        probabilities: In [0, 1], shape (items, K).
        right: The column of the right option, shape (items,).
        weights: Weight of each item, shape (items,); None for equal weights.
    """
    from scipy.optimize import minimize_scalar

    item_weights = np.ones(len(right)) if weights is None else weights
    search = minimize_scalar(
        lambda log_t: mean_nll(
            apply_temperature(probabilities, float(np.exp(log_t))), right, item_weights
        ),
        bounds=(np.log(0.05), np.log(20.0)),
        method="bounded",
    )
    return float(np.exp(search.x))


def temperature_metric(judged: Judged, num_resamples: int = 200) -> Metric:
    """The temperature fitted on judged items, with its interval over draws of their images.

    Without a value where fewer than MIN_ITEMS items have option probabilities.
    """
    scores = judged.columns.scores
    usable = scores.has_options
    n = int(usable.sum())
    if n < MIN_ITEMS:
        return no_value(f"fewer than {MIN_ITEMS} items to fit it on have option probabilities")
    probabilities, right = scores.probabilities[usable], scores.right_index[usable]
    codes = np.unique(judged.clusters[usable], return_inverse=True)[1]
    num_clusters = int(codes.max()) + 1
    rng = np.random.default_rng(judged.settings.seed)
    temperatures: list[float] = []
    for _ in range(num_resamples if num_clusters > 1 and n <= MAX_RESAMPLED_ITEMS else 0):
        # A cluster that is drawn twice counts twice: its items get that weight.
        counts = np.bincount(rng.integers(num_clusters, size=num_clusters), minlength=num_clusters)
        temperatures.append(fit_temperature(probabilities, right, counts[codes].astype(np.float64)))
    value = fit_temperature(probabilities, right)
    return _metric(value, percentiles(temperatures) if temperatures else None, n, judged)


# --- the section of summary.json ----------------------------------------------------------------


def confidence_of(judged: Judged) -> tuple[Values, str | None]:
    """The confidence of each answer, NaN where unknown, and where it comes from.

    It is the probability of the answer among the options, or the confidence that the file states.
    Only where no item has either, it is the share of the item's samples with the same answer.

    Returns:
        (confidence (items,), "probabilities", "stated confidence", both joined by "and", or
        "agreement of samples"); the source is None where no item has a confidence.
    """
    scores = judged.columns.scores
    available = {
        "probabilities": ~np.isnan(scores.of_answer(scores.probabilities)),
        "stated confidence": ~np.isnan(scores.stated_confidence),
    }
    if names := [name for name, where in available.items() if where.any()]:
        return scores.confidence, " and ".join(names)
    outcomes, sampled = judged.outcomes, judged.columns.sampled
    agreement = np.full(len(judged), np.nan)
    for i, (outcome, item_samples) in enumerate(zip(outcomes, sampled, strict=True)):
        if item_samples.answers and outcome.answer is not None:
            agreement[i] = np.mean([answer == outcome.answer for answer in item_samples.answers])
    return agreement, None if np.isnan(agreement).all() else "agreement of samples"


def calibration(judged: Judged, held_out: Judged | None = None) -> Calibration | Missing:
    """The section `calibration` of summary.json.

    Args:
        judged: The items that are evaluated.
        held_out: Other items, on which the temperature is fitted; None for no temperature.

    Returns:
        The section; missing where fewer than MIN_ITEMS items have a confidence.
    """
    confidence, source = confidence_of(judged)
    where = ~np.isnan(confidence)
    n = int(where.sum())
    if source is None:
        invalid = "the values of option_probs or confidence are no probabilities"
        absent = "the file has neither option_probs, confidence nor samples"
        return Missing(reason=invalid if judged.columns.scores.invalid.any() else absent)
    if n < MIN_ITEMS:
        return Missing(reason=_FEW)
    probabilities = judged.columns.scores.probabilities
    return Calibration(
        source=source,
        n=n,
        n_without=len(judged) - n,
        metrics=calibration_metrics(judged, confidence, probabilities, where),
        brier_decomposition=brier_decomposition(
            confidence[where], judged.correct[where], equal_width(confidence[where])
        ),
        bins=_diagram(judged, confidence),
        groups={kind: _groups(judged, confidence, kind) for kind in ("modality", "question_type")},
        temperature=_after_temperature(judged, held_out),
    )


def calibration_metrics(
    judged: Judged, confidence: Values, probabilities: Values, included: Mask
) -> CalibrationMetrics:
    """Every metric of calibration, over some items that have a confidence.

    Args:
        judged: All items.
        confidence: Of all items, in [0, 1], shape (items,), after a temperature where one is
            applied.
        probabilities: Of all items, in [0, 1], shape (items, K), after that temperature.
        included: Which items count, shape (items,): at least one, each with a confidence.
    """
    included_confidence, correct = confidence[included], judged.correct[included]
    clusters = judged.clusters[included]

    def biased(bins: Bins, statistic: Callable[[Values], Values]) -> Metric:
        return error_metric(included_confidence, correct, clusters, bins, statistic, judged)

    def mean(values: Values, where: Mask, *, share: bool = True) -> Metric:
        if not where.any():
            return no_value("no item has option probabilities")
        if where.sum() <= MAX_RESAMPLED_ITEMS:
            return mean_metric(values, judged, where, share=share)
        return _metric(float(values[where].mean()), None, int(where.sum()), judged)

    width_bins, mass_bins = equal_width(included_confidence), equal_mass(included_confidence)
    scores = judged.columns.scores
    of_right, has_options = scores.of_right(probabilities), scores.has_options & included
    # NaN, where the right option has no probability, becomes 1: those items are masked below
    nll = -np.log(np.maximum(np.nan_to_num(of_right, nan=1.0), MIN_PROBABILITY))
    target = np.zeros_like(probabilities)
    target[np.flatnonzero(has_options), scores.right_index[has_options]] = 1.0
    option_squares = np.nansum((probabilities - target) ** 2, axis=1)
    squares = (confidence - judged.correct) ** 2
    n_clipped = int((of_right[has_options] < MIN_PROBABILITY).sum())
    return CalibrationMetrics(
        confidence=mean(confidence, included),
        accuracy=mean_metric(judged.correct, judged, included),
        overconfidence=mean(confidence - judged.correct, included),
        ece=biased(width_bins, expected_calibration_error),
        ece_mass=biased(mass_bins, expected_calibration_error),
        ece_debiased=_debiased(included_confidence, correct, clusters, mass_bins, judged),
        mce=biased(width_bins, maximum_calibration_error),
        brier=mean(squares, included),
        brier_options=mean(option_squares, has_options, share=False),
        nll=replace(mean(nll, has_options, share=False), n_clipped=n_clipped),
        auroc=auroc_metric(confidence, judged.correct == 1, judged, included),
    )


def error_metric(
    confidence: Values,
    correct: Values,
    clusters: NDArray[np.intp],
    bins: Bins,
    statistic: Callable[[Values], Values],
    judged: Judged,
) -> Metric:
    """A biased calibration error, with the value that calibrated models reach by chance.

    Args:
        confidence: In [0, 1], shape (n,), without NaN.
        correct: 0.0 or 1.0, shape (n,).
        clusters: Cluster codes, shape (n,).
        bins: The bin of each item, shape (n,).
        statistic: An error of `binned`, of sums (rows, 3 x bins).
        judged: The items' settings: seed, number of resamples, and what a cluster is.

    Returns:
        A metric without an interval, with `by_chance`: see `binned.chance_error`.
    """
    n, by_chance = len(correct), None
    if n <= MAX_RESAMPLED_ITEMS:
        by_chance = chance_error(
            confidence, correct, clusters, bins, statistic, **judged.resampling
        )
    explanation = (
        "95 % of calibrated models have an error below by_chance, by verdicts drawn anew and a "
        f"wild bootstrap over {judged.unit}s"
    )
    return Metric(
        value=float(statistic(bin_totals(confidence, correct, bins))[0]),
        ci95=None,
        n=n,
        by_chance=by_chance,
        method="biased upwards: no interval"
        + (f"; {explanation}" if by_chance is not None else ""),
    )


def _debiased(
    confidence: Values, correct: Values, clusters: NDArray[np.intp], bins: Bins, judged: Judged
) -> Metric:
    """The debiased calibration error with its interval: see `binned.debiased_interval`."""
    interval, n = None, len(correct)
    if n <= MAX_RESAMPLED_ITEMS:
        totals = cluster_totals(bin_contributions(confidence, correct, bins), clusters)
        interval = debiased_interval(totals)
    value = float(debiased_calibration_error(bin_totals(confidence, correct, bins))[0])
    metric = _metric(value, interval, n, judged)
    name = f"noncentral chi-square over {judged.unit}s"
    return replace(metric, method=name) if metric.ci95 else metric


def _diagram(judged: Judged, confidence: Values) -> list[ReliabilityBin]:
    """The bins of the reliability diagram in ascending confidence, without the empty ones."""
    where = ~np.isnan(confidence)
    bins = np.where(where, equal_width(np.nan_to_num(confidence)), -1)
    return [
        ReliabilityBin(
            low=number / BINS,
            high=(number + 1) / BINS,
            n=int((bins == number).sum()),
            confidence=float(confidence[bins == number].mean()),
            accuracy=mean_metric(judged.correct, judged, bins == number),
        )
        for number in range(BINS)
        if (bins == number).any()
    ]


def _groups(judged: Judged, confidence: Values, kind: str) -> dict[str, CalibrationGroup]:
    """Group -> its calibration; a group of fewer than MIN_ITEMS has a reason instead."""
    column = judged.columns.groups[kind]
    groups = {}
    for name in sort_groups(value for value in column.values if value is not None):
        included = in_group(column, name) & ~np.isnan(confidence)
        n = int(included.sum())
        if n < MIN_ITEMS:
            groups[name] = CalibrationGroup(n=n, reason=_FEW)
            continue
        metrics = calibration_metrics(
            judged, confidence, judged.columns.scores.probabilities, included
        )
        main = replace(metrics, ece_mass=None, mce=None, brier_options=None, nll=None)
        groups[name] = CalibrationGroup(n=n, metrics=main)
    return groups


def _after_temperature(judged: Judged, held_out: Judged | None) -> Temperature | Missing:
    """The temperature fitted on held-out items, and all metrics with it applied to these items."""
    if held_out is None:
        return Missing(reason="no held-out results were given: --calibrate-on FILE")
    temperature = temperature_metric(held_out)
    if temperature.reason is not None:
        return Missing(reason=temperature.reason)
    scores = judged.columns.scores
    if not scores.has_options.any():
        return Missing(reason="no item here has option probabilities")
    scaled = apply_temperature(scores.probabilities, value_of(temperature))
    confidence = scores.of_answer(scaled)
    included = ~np.isnan(confidence)
    metrics = calibration_metrics(judged, confidence, scaled, included) if included.any() else None
    return Temperature(temperature=temperature, metrics=metrics)
