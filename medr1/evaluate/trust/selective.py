"""Selective prediction: the model answers only where its confidence is high enough.

The section `selective` of summary.json has three parts:

- Risk and coverage: the error ("risk") among the most confident share ("coverage") of the answers.
- Deferral: a confidence threshold below which a question is deferred to a clinician, chosen so that
  the error above it stays under a target.
- Conformal sets: for each question a set of options that holds the right one with a given
  probability.

Thresholds and set sizes are chosen on held-out items and evaluated on others. Chosen and evaluated
on the same items they would look better than they are.

Rows of level totals, (rows, 2 x levels), are the numbers of right and of wrong answers at each
distinct confidence; see `calibration.level_totals`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil

import numpy as np

from medr1.documents.metric import Missing
from medr1.documents.trust import (
    Conformal,
    ConformalSets,
    Deferral,
    DeferralRates,
    RiskPoint,
    Selective,
    SelectiveMetrics,
    SetMetrics,
)
from medr1.evaluate.coded import Mask, Values
from medr1.evaluate.estimates import mean_metric
from medr1.evaluate.groups import in_group, sort_groups
from medr1.evaluate.judging import Judged
from medr1.evaluate.trust.calibration import (
    MIN_ITEMS,
    confidence_of,
    level_totals,
    ranked_metric,
)

COVERAGE = 0.8
"""The coverage at which the risk is reported."""
LEVEL = 0.95
"""The confidence with which a chosen threshold keeps the target risk."""
THRESHOLDS = tuple(round(0.05 * k, 2) for k in range(20))
"""The thresholds that are tested, 0 to 0.95; the test requires that they are fixed beforehand."""
CURVE_POINTS = 100
"""The most points of the risk-coverage curve."""
_HELD_OUT = "it is chosen on held-out results: --calibrate-on FILE"


@dataclass(frozen=True)
class SelectiveConfig:
    """The targets for a model that may leave questions unanswered."""

    target_risk: float = 0.1
    """The accepted error among the answers above the threshold, in (0, 1)."""
    alpha: float = 0.1
    """The accepted share of items whose conformal set misses the right option, in (0, 1)."""


DEFAULT_SELECTIVE = SelectiveConfig()


# --- risk and coverage --------------------------------------------------------------------------


def _most_confident_first(sums: Values) -> tuple[Values, Values]:
    """(items, errors) at each level of `level_totals`, in descending confidence."""
    right, wrong = (part[:, ::-1] for part in np.split(sums, 2, axis=1))
    return right + wrong, wrong


def area_under_risk_coverage(sums: Values) -> Values:
    """AURC: the mean, over k = 1 ... n, of the error among the k most confident answers.

    Answers of equal confidence have no order. The value is the exact mean over all their orders:
    after k answers with d errors, the j-th of the m answers of a level with e errors makes the risk
    (d + e j / m) / (k + j) on average. Summed over j = 1 ... m this is
    e + (d - e k / m) (H(k + m) - H(k)) with the harmonic numbers H.

    Returns shape (rows,), in [0, 1], for rows of level totals.
    Source: Geifman and El-Yaniv (2017); Geifman et al. (2019).
    """
    n, wrong = _most_confident_first(sums)
    after, errors = np.cumsum(n, axis=1), np.cumsum(wrong, axis=1)
    # in the formula: before is k, errors_before is d, error_rate is e / m
    before, errors_before = after - n, errors - wrong
    error_rate = wrong / np.maximum(n, 1)
    areas = wrong + (errors_before - error_rate * before) * (_harmonic(after) - _harmonic(before))
    aurc: Values = areas.sum(axis=1) / after[:, -1]
    return aurc


def excess_aurc(sums: Values) -> Values:
    """E-AURC: AURC less that of the best order, which puts every wrong answer last.

    Returns shape (rows,), in [0, 1], for rows of level totals. Source: Geifman et al. (2019).
    """
    n, wrong = _most_confident_first(sums)
    total, errors = n.sum(axis=1), wrong.sum(axis=1)
    right = total - errors
    best: Values = (errors - right * (_harmonic(total) - _harmonic(right))) / total
    return area_under_risk_coverage(sums) - best


def risk_at_coverage(sums: Values, coverage: float = COVERAGE) -> Values:
    """The error among the most confident share of the answers (their number is rounded up).

    Where the limit cuts through a level of equal confidence, its answers count with the level's
    error rate.

    Args:
        sums: Rows of level totals, shape (rows, 2 x levels).
        coverage: The share of answers, in (0, 1].

    Returns:
        Shape (rows,), in [0, 1].
    """
    n, wrong = _most_confident_first(sums)
    answered = np.ceil(coverage * n.sum(axis=1, keepdims=True) - 1e-9)
    # how many answers of each level lie above the limit
    from_level = np.clip(answered - (np.cumsum(n, axis=1) - n), 0, n)
    risks: Values = (from_level * wrong / np.maximum(n, 1)).sum(axis=1) / answered[:, 0]
    return risks


def _harmonic(numbers: Values) -> Values:
    """The harmonic numbers H(n) = 1 + 1/2 + ... + 1/n."""
    from scipy.special import digamma

    harmonic: Values = digamma(numbers + 1) + np.euler_gamma
    return harmonic


def risk_coverage(confidence: Values, correct: Values) -> list[RiskPoint]:
    """The points of the risk-coverage curve, CURVE_POINTS at most, in ascending coverage.

    Each has coverage, the risk there, and the threshold that gives it: the lowest confidence among
    those answers. `confidence` and `correct` have shape (items,).
    """
    sums = level_totals(confidence, correct)
    n = len(correct)
    counts = np.unique(np.ceil(np.linspace(1 / CURVE_POINTS, 1, CURVE_POINTS) * n))
    descending = np.sort(confidence)[::-1]
    return [
        RiskPoint(
            coverage=count / n,
            risk=float(risk_at_coverage(sums, count / n)[0]),
            threshold=float(descending[int(count) - 1]),
        )
        for count in counts.tolist()
    ]


# --- deferral -----------------------------------------------------------------------------------


def choose_threshold(confidence: Values, correct: Values, target: float) -> float | None:
    """The lowest of THRESHOLDS above which the error is under the target, with confidence LEVEL.

    From the highest threshold down, each is tested: it passes where the Clopper-Pearson upper bound
    of the error among the answers at or above it is at most the target. The first that fails ends
    the search, and the last that passed is chosen. Because the order is fixed beforehand, no
    correction for the number of tests is needed: Learn then Test by fixed-sequence testing
    (Angelopoulos et al., 2021).

    A threshold with so few answers that it would fail even without any error is skipped, not
    failed; that depends on the number of answers alone, not on which are right. Items are taken as
    independent.

    Args:
        confidence: Of held-out answers, in [0, 1], shape (items,).
        correct: 0.0 or 1.0, shape (items,).
        target: The accepted error, in (0, 1).

    Returns:
        The threshold; None where none passes.
    """
    from scipy.stats import beta

    passed = None
    for threshold in reversed(THRESHOLDS):
        answered = confidence >= threshold
        n, right = int(answered.sum()), int(correct[answered].sum())
        if (1 - target) ** n > 1 - LEVEL:
            continue
        if not right or beta.ppf(LEVEL, n - right + 1, right) > target:
            break
        passed = threshold
    return passed


def _deferral(judged: Judged, held_out: Judged | None, target: float) -> Deferral | Missing:
    """The threshold for a target error, the share it defers to a clinician, and the error left."""
    confidence, source = confidence_of(judged)
    if held_out is None:
        return Missing(reason=_HELD_OUT)
    held_out_confidence, held_out_source = confidence_of(held_out)
    has_confidence = ~np.isnan(held_out_confidence)
    if has_confidence.sum() < MIN_ITEMS:
        return Missing(reason=f"fewer than {MIN_ITEMS} held-out items have a confidence")
    if held_out_source != source:
        return Missing(
            reason=f"confidence is by {source} here and by {held_out_source} in the held-out file"
        )
    threshold = choose_threshold(
        held_out_confidence[has_confidence], held_out.correct[has_confidence], target
    )
    if threshold is None:
        problem = f"no threshold keeps the risk under {target:g} with confidence {LEVEL:g}"
        return Missing(
            reason=f"{problem}, on {int(has_confidence.sum())} held-out items: "
            "defer all questions, or collect more items"
        )
    # an answer without a confidence is deferred
    answered = np.nan_to_num(confidence, nan=-1.0) >= threshold
    overall = _deferral_rates(judged, answered, np.ones(len(judged), dtype=bool))
    return Deferral(
        target_risk=target,
        level=LEVEL,
        threshold=threshold,
        n=len(judged),
        deferred=overall.deferred,
        risk=overall.risk,
        groups={
            name: _deferral_rates(judged, answered, where) for name, where in _modalities(judged)
        },
    )


def _deferral_rates(judged: Judged, answered: Mask, where: Mask) -> DeferralRates:
    """Of the items of `where`: the share that is deferred, and the error among the others."""
    return DeferralRates(
        deferred=mean_metric((~answered).astype(np.float64), judged, where),
        risk=mean_metric(1 - judged.correct, judged, where & answered, "every item is deferred"),
    )


# --- conformal sets -----------------------------------------------------------------------------


def conformal_quantile(scores: Values, alpha: float) -> float | None:
    """The ceil((n + 1)(1 - alpha))-th smallest of n scores, as split conformal prediction needs it.

    Args:
        scores: 1 - p(right option) of the held-out items, in [0, 1], shape (n,).
        alpha: Accepted share of sets that miss the right option, in (0, 1).

    Returns:
        The quantile; None where n is too small, that is under 1/alpha - 1.
    """
    # 150 * (1 - 0.18) is 123.00000000000001 in floating point, which ceil alone would make 124
    rank = ceil((len(scores) + 1) * (1 - alpha) - 1e-9)
    return None if rank > len(scores) else float(np.sort(scores)[rank - 1])


def prediction_sets(probabilities: Values, quantile: Values) -> Mask:
    """Which options are in each item's set, shape (items, K): those with 1 - p <= its quantile.

    Args:
        probabilities: Of the options, in [0, 1], shape (items, K), NaN where an item has fewer.
        quantile: Of each item, shape (items,); see `conformal_quantile`.
    """
    with np.errstate(invalid="ignore"):
        return 1 - probabilities <= quantile[:, None] + 1e-12


def _conformal(judged: Judged, held_out: Judged | None, alpha: float) -> Conformal | Missing:
    """Split conformal sets: by one quantile for all items, and by one for each modality.

    The score is 1 - p (LAC, Sadinle et al., 2019); a quantile for each group is Mondrian conformal
    prediction (Vovk et al., 2005). A modality with too few held-out items keeps the
    quantile of all and is listed in `without_own_quantile`.
    """
    if held_out is None:
        return Missing(reason=_HELD_OUT)
    calibration_scores, here = held_out.columns.scores, judged.columns.scores
    if calibration_scores.has_options.sum() < MIN_ITEMS or not here.has_options.any():
        return Missing(
            reason=f"fewer than {MIN_ITEMS} held-out items, or none here, have option_probs"
        )
    scores = 1 - calibration_scores.of_right(calibration_scores.probabilities)
    overall = conformal_quantile(scores[calibration_scores.has_options], alpha)
    if overall is None:
        return Missing(
            reason=f"alpha {alpha:g} needs at least {ceil(1 / alpha) - 1} held-out items"
        )
    common = np.full(len(judged), overall)
    mondrian, without_own = common.copy(), []
    held_out_masks = dict(_modalities(held_out))
    for name, where in _modalities(judged):
        in_modality = (
            scores[held_out_masks[name] & calibration_scores.has_options]
            if name in held_out_masks
            else scores[:0]
        )
        quantile = conformal_quantile(in_modality, alpha)
        if quantile is None:
            without_own.append(name)
        else:
            mondrian[where] = quantile
    return Conformal(
        alpha=alpha,
        nominal=1 - alpha,
        n_calibration=int(calibration_scores.has_options.sum()),
        quantile=overall,
        split=_sets(judged, common),
        mondrian=_sets(judged, mondrian),
        without_own_quantile=without_own,
    )


def _sets(judged: Judged, quantile: Values) -> ConformalSets:
    """Coverage and size of the sets, and the shares of sets with one and with no option.

    Over all items with option probabilities, and by modality.
    """
    here = judged.columns.scores
    in_set = prediction_sets(here.probabilities, quantile)
    size = in_set.sum(axis=1).astype(np.float64)
    covered = in_set[np.arange(len(size)), here.right_index].astype(np.float64)

    def metrics_of(where: Mask) -> SetMetrics:
        included = where & here.has_options
        reason = "no item has option_probs"
        return SetMetrics(
            coverage=mean_metric(covered, judged, included, reason),
            size=mean_metric(size, judged, included, reason, share=False),
            single=mean_metric((size == 1).astype(np.float64), judged, included, reason),
            empty=mean_metric((size == 0).astype(np.float64), judged, included, reason),
        )

    overall = metrics_of(np.ones(len(size), dtype=bool))
    return ConformalSets(
        coverage=overall.coverage,
        size=overall.size,
        single=overall.single,
        empty=overall.empty,
        groups={name: metrics_of(where) for name, where in _modalities(judged)},
    )


def _modalities(judged: Judged) -> Sequence[tuple[str, Mask]]:
    """Each modality with the mask of its items."""
    column = judged.columns.groups["modality"]
    names = sort_groups(value for value in column.values if value is not None)
    return [(name, in_group(column, name)) for name in names]


# --- the section of summary.json ----------------------------------------------------------------


def selective(
    judged: Judged, held_out: Judged | None = None, config: SelectiveConfig = DEFAULT_SELECTIVE
) -> Selective | Missing:
    """The section `selective` of summary.json. An answer without a confidence is deferred.

    Args:
        judged: The items that are evaluated.
        held_out: Other items, on which the threshold and the conformal quantiles are chosen; None
            for neither.
        config: The target error and the alpha of the conformal sets.

    Returns:
        The section; missing where fewer than MIN_ITEMS items have a confidence.
    """
    confidence, source = confidence_of(judged)
    where = ~np.isnan(confidence)
    n = int(where.sum())
    if source is None or n < MIN_ITEMS:
        return Missing(reason=f"fewer than {MIN_ITEMS} items have a confidence")
    known_confidence, correct = confidence[where], judged.correct[where]
    ranked = partial(ranked_metric, known_confidence, correct, judged, where)
    return Selective(
        source=source,
        n=n,
        metrics=SelectiveMetrics(
            risk=mean_metric(1 - judged.correct, judged, where),
            aurc=ranked(area_under_risk_coverage),
            e_aurc=ranked(excess_aurc),
            risk_at_80=ranked(risk_at_coverage),
        ),
        curve=risk_coverage(known_confidence, correct),
        deferral=_deferral(judged, held_out, config.target_risk),
        conformal=_conformal(judged, held_out, config.alpha),
    )
