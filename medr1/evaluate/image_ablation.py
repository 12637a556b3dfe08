"""How much a model uses the image: its answers with the image beside those without it.

The second file is `medr1 infer --ablate-image blank|noise|shuffle` on the same questions. A model
that answers as well without the image has not shown that it sees anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medr1.errors import InputError
from medr1.evaluate.estimates import difference_metric, mean_metric
from medr1.evaluate.judging import Settings, judge_all
from medr1.evaluate.pairing import pair_items
from medr1.evaluate.results import Results
from medr1.records import Prediction


def ablation_of(meta: dict[str, Any]) -> str | None:
    """What stood in the image's place (blank, noise, shuffle), as the run's manifest says."""
    decoding = meta.get("decoding")
    said = decoding.get("ablate_image") if isinstance(decoding, dict) else None
    return said if isinstance(said, str) and said != "none" else None


def image_ablation(
    with_image: Sequence[Prediction], name: str, ablated: Results, path: str, settings: Settings
) -> dict[str, Any]:
    """The `image_ablation` part of summary.json: accuracy without the image, and the gain by it.

    `name` and `path` are the files that the predictions with and without the image came from.
    InputError where they are not the same items, or `ablated` does not say that it is an ablation.
    """
    kind = ablation_of(ablated.meta)
    if kind is None:
        raise InputError(
            f"{path} does not say that the image was taken away. Make it with medr1 infer "
            "--ablate-image blank."
        )
    paired = pair_items({name: with_image, path: ablated.predictions})
    seen, unseen = (judge_all(paired.predictions[file], settings) for file in (name, path))
    same = [
        one.answer is not None and one.answer == other.answer
        for one, other in zip(seen.outcomes, unseen.outcomes, strict=True)
    ]
    return {
        "results": path,
        "ablation": kind,
        "paired_by": paired.paired_by,
        "accuracy_without_image": mean_metric(unseen.correct, seen),
        "ablation_gain": difference_metric(seen.correct, unseen.correct, seen),
        "same_answer": mean_metric(np.array(same, dtype=np.float64), seen),
    }
