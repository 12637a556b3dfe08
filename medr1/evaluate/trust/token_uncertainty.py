"""Uncertainty by the probabilities of the tokens: the section `token_uncertainty` of summary.json.

CEBaG (arXiv 2603.21693) observes that a hallucinated answer has uneven token probabilities, and
probabilities that hardly change when the image is removed. The two numbers here are after it: the
variance of the tokens' log-probabilities, and the mean shift of the log-probability without the
image. How the paper combines them is not reproduced: `combined` is medr1's own: the z-score of
the variance less that of the shift.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from msgspec import UNSET, UnsetType

from medr1.documents.trust import TokenUncertainty
from medr1.evaluate.coded import Mask, Values
from medr1.evaluate.estimates import mean_metric
from medr1.evaluate.judging import Judged
from medr1.evaluate.trust.ranking import auroc_metric


def token_uncertainty(judged: Judged) -> TokenUncertainty | UnsetType:
    """The section `token_uncertainty` of summary.json; UNSET where no item has what it needs.

    An item counts where the file has the log-probabilities with the image and without it.
    """
    columns = judged.columns.tokens
    known = columns.known
    if not known.any():
        return UNSET
    variance, shift = (np.where(known, values, 0.0) for values in (columns.variance, columns.shift))
    combined = standardised(variance, known) - standardised(shift, known)
    mean = partial(mean_metric, judged=judged, where=known, share=False)
    # How well a number tells wrong answers, which are the positive ones, from right answers.
    area = partial(auroc_metric, positive=judged.correct == 0, judged=judged, where=known)
    return TokenUncertainty(
        n=int(known.sum()),
        n_without=int((~known).sum()),
        variance=mean(variance),
        image_shift=mean(shift),
        auroc_variance=area(variance),
        auroc_image_shift=area(-shift),
        auroc_combined=area(combined),
    )


def standardised(values: Values, where: Mask) -> Values:
    """The z-scores of the values: less their mean, divided by their standard deviation.

    Args:
        values: One number for each item.
        where: Which items the mean and the standard deviation are of.

    Returns:
        The z-scores; 0 for all where the values are equal.
    """
    chosen = values[where]
    deviation = float(chosen.std())
    # Equal values can have a deviation of rounding errors.
    if deviation <= 1e-12 * max(1.0, float(np.abs(chosen).max())):
        return np.zeros(len(values))
    scores: Values = (values - chosen.mean()) / deviation
    return scores
