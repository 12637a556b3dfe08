"""Baselines to compare an accuracy with: chance, and predictors that do not see the image.

Such blind predictors answer from the texts alone, for example with the option that is most often
right in the training split (`data.audit`). An accuracy no higher than theirs does not show that
the model uses the image.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from medr1.documents.metric import no_value
from medr1.documents.summary import Blind
from medr1.evaluate.estimates import difference_metric, mean_metric
from medr1.evaluate.judging import Judged

if TYPE_CHECKING:
    from medr1.data.audit import BlindPanel


def blind_summary(judged: Judged, panel: BlindPanel | None) -> Blind | None:
    """The `blind` part of summary.json: the blind predictors' accuracies and the gain over them.

    All numbers are over the items with options, because blind predictors cannot guess on others.
    `image_gain` is the accuracy less that of the predictor that is best on these same items. The
    choice after the fact makes the gain smaller, never larger.

    Args:
        judged: The items that the model answered.
        panel: The blind predictors' results on the same items in the same order. None where there
            is no training split to fit them on.

    Returns:
        The part of the document; None without a panel.

    Raises:
        ValueError: The panel is about another number of items.
    """
    if panel is None:
        return None
    if len(panel.image_needed) != len(judged):
        raise ValueError(f"a blind panel of {len(panel.image_needed)} for {len(judged)} items")
    has_options = judged.outcomes.where(lambda outcome: bool(outcome.options))
    no_items = "no item has options"
    right = {name: np.array(values, np.float64) for name, values in panel.right.items()}
    accuracies = {
        name: mean_metric(values, judged, has_options, no_items) for name, values in right.items()
    }
    not_fitted = no_value("no training item has options")
    return Blind(
        chance=panel.chance if math.isfinite(panel.chance) else None,
        option_prior=accuracies.get("option_prior", not_fitted),
        best_predictor=panel.best or None,
        best=accuracies[panel.best] if panel.best else not_fitted,
        image_gain=difference_metric(
            judged.correct, right[panel.best], judged, has_options, no_items
        )
        if panel.best
        else not_fitted,
        image_needed=mean_metric(
            judged.correct,
            judged,
            np.array(panel.image_needed, dtype=bool),
            "a blind predictor is right on every item",
        ),
        predictors=accuracies,
    )
