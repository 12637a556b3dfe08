"""Prediction-powered inference: the accuracy of all items from experts who judged a part of them.

An automatic verdict is known for all items. Experts judge a random part, drawn within strata such
as failures and right answers, where each stratum has its own share of judged items. The mean of the
automatic verdicts is then corrected by how much the experts differ from them.

Source: Angelopoulos, Bates, Fannjiang, Jordan and Zrnic (2023), Prediction-powered inference,
Science 382:669. There the judged items are drawn apart from the others; here they are a part of all
items, which changes the variance as below.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable

import numpy as np
from numpy.typing import ArrayLike

from medr1.documents.metric import Metric, no_value
from medr1.stats.intervals import Floats, cluster_codes
from medr1.stats.significance import standard_error

PSEUDO_JUDGEMENTS = 1.0
"""Judgements added to the variance of a stratum, half of them +1 and half of them -1."""


def corrected_mean(
    automatic: ArrayLike,
    expert: ArrayLike,
    strata: Iterable[Hashable],
    clusters: Iterable[Hashable] | None = None,
    *,
    confidence: float = 0.95,
) -> Metric:
    """The mean that the experts' verdicts would have on all items, with its interval.

    θ = mean(f) + Σ_h W_h mean_h(y - f), with the automatic verdicts f of all items, the experts' y
    of the judged ones, and the share W_h of the items that are in stratum h. The judged items of a
    stratum have to be drawn at random from it, each with the same probability.

    The interval is about the questions of which the items are a sample, as that of the accuracy in
    summary.json. Its variance is the cluster-robust one (`standard_error`) of each item's influence
    f + d_h + (y - f - d_h) N_h/n_h on θ, with the mean difference d_h of the stratum, of which n_h
    of N_h items are judged, and 0 in place of the last term where nobody judged. To it is added
    what pseudo-judgements change (`PSEUDO_JUDGEMENTS`): experts who never differed from the rules
    in 20 items may differ in the next.

    Args:
        automatic: The automatic verdict of each item, in [0, 1], shape (items,).
        expert: The expert's verdict in [0, 1], or the mean of several; NaN where nobody judged.
        strata: The stratum of each item.
        clusters: The cluster of each item, such as its image; by default each item is its own.
        confidence: Nominal coverage, in (0, 1).

    Returns:
        The mean, clipped to [0, 1]; its n counts judged items, n_without the others. No value where
        a stratum has no judged item.

    Raises:
        ValueError: If the verdicts differ in number or a verdict is not in [0, 1].
    """
    from scipy.stats import norm

    f, y = np.asarray(automatic, dtype=np.float64), np.asarray(expert, dtype=np.float64)
    codes = cluster_codes(strata)
    if not len(f) == len(y) == len(codes):
        raise ValueError(f"{len(f)} automatic verdicts, {len(y)} of experts, {len(codes)} strata")
    is_judged = ~np.isnan(y)
    if not _in_range(f) or not _in_range(y[is_judged]):
        raise ValueError("a verdict is not in [0, 1]")
    if not is_judged.any():
        return no_value("no item is judged")
    judged_codes = set(codes[is_judged].tolist())
    n_unjudged = len(set(codes.tolist()) - judged_codes)
    if n_unjudged:
        return no_value(f"no item is judged in {n_unjudged} of {codes.max() + 1} strata")
    influence, added = f.copy(), 0.0
    for code in judged_codes:
        in_stratum = codes == code
        used = in_stratum & is_judged
        n_judged, size = int(used.sum()), int(in_stratum.sum())
        difference = y[used] - f[used]
        correction = difference.mean()
        influence[in_stratum] += correction
        influence[used] += (difference - correction) * size / n_judged
        more = _variance_with_pseudo_judgements(difference) - float(difference.var())
        added += (size / len(f)) ** 2 * (1 - n_judged / size) * more / n_judged
    error = standard_error(influence, range(len(f)) if clusters is None else clusters)
    value = min(max(float(influence.mean()), 0.0), 1.0)
    interval = None
    if error is not None:
        reach = float(norm.ppf((1 + confidence) / 2)) * math.sqrt(error**2 + added)
        interval = (max(value - reach, 0.0), min(value + reach, 1.0))
    return Metric(
        value=value,
        ci95=interval,
        n=int(is_judged.sum()),
        n_without=int(len(f) - is_judged.sum()),
        method="prediction-powered" if interval else "one cluster only: no interval",
    )


def _variance_with_pseudo_judgements(difference: Floats) -> float:
    """The variance of the differences of a stratum, with `PSEUDO_JUDGEMENTS` added."""
    n = len(difference) + PSEUDO_JUDGEMENTS
    mean = float(difference.sum()) / n
    return (float((difference**2).sum()) + PSEUDO_JUDGEMENTS) / n - mean**2


def _in_range(values: Floats) -> bool:
    return bool(((values >= 0) & (values <= 1)).all())
