"""What accuracy is held against: chance, and what blind predictors get right without the image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from medr1.evaluate.estimates import difference_metric, mean_metric, null
from medr1.evaluate.judging import Judged

if TYPE_CHECKING:
    from medr1.data.audit import BlindPanel


def blind_summary(judged: Judged, panel: BlindPanel | None) -> dict[str, Any] | None:
    """The `blind` part of summary.json; None without a panel, which has a training split.

    Over the items with options, since on others nobody guesses. The gain is over the predictor
    that is best on these very items, which makes it small rather than large.
    """
    if panel is None:
        return None
    if len(panel.image_needed) != len(judged):
        raise ValueError(f"a blind panel of {len(panel.image_needed)} for {len(judged)} items")
    where = judged.outcomes.where(lambda o: bool(o.options))
    none = "no item has options"
    right = {name: np.array(values, np.float64) for name, values in panel.right.items()}
    found = {name: mean_metric(values, judged, where, none) for name, values in right.items()}
    missing = null("no training item has options")
    best = {"predictor": panel.best, **found[panel.best]} if panel.best else missing
    return {
        "chance": panel.chance if math.isfinite(panel.chance) else None,
        "option_prior": found.get("option_prior", missing),
        "best": best,
        "image_gain": difference_metric(judged.correct, right[panel.best], judged, where, none)
        if panel.best
        else missing,
        "image_needed": mean_metric(
            judged.correct,
            judged,
            np.array(panel.image_needed, dtype=bool),
            "a blind predictor is right on every item",
        ),
        "predictors": found,
    }
