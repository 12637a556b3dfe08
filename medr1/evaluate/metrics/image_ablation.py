"""How much a model uses the image: its accuracy with the image compared with that without it.

The answers without the image come from `medr1 infer --ablate-image blank|noise|shuffle` on the
same questions. A model that answers as well without the image has not shown that it uses it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from medr1.documents.summary import ImageAblation
from medr1.errors import InputError
from medr1.evaluate.comparing.pairing import pair_items
from medr1.evaluate.estimates import difference_metric, mean_metric
from medr1.evaluate.judging import Settings, judge_all
from medr1.evaluate.reading.results import Results
from medr1.records import Prediction


def ablation_of(meta: Mapping[str, object]) -> str | None:
    """What replaced the image (blank, noise or shuffle) in the run with this manifest.

    None for a run with its images, or whose manifest does not say.
    """
    decoding = meta.get("decoding")
    ablation = decoding.get("ablate_image") if isinstance(decoding, dict) else None
    return ablation if isinstance(ablation, str) and ablation != "none" else None


def image_ablation(
    with_image: Sequence[Prediction], name: str, ablated: Results, path: str, settings: Settings
) -> ImageAblation:
    """The `image_ablation` part of summary.json: accuracy without the image, gain by the image.

    Args:
        with_image: The predictions of the run with images.
        name: The file they come from, for messages.
        ablated: The results of the run without images.
        path: The file they come from, for messages and the document.
        settings: How answers are judged and intervals are drawn.

    Raises:
        InputError: The files hold different items, or `ablated` does not say that its images were
            replaced.
    """
    kind = ablation_of(ablated.meta)
    if kind is None:
        raise InputError(
            f"{path} does not say that its images were replaced. Make it with medr1 infer "
            "--ablate-image blank."
        )
    paired = pair_items({name: with_image, path: ablated.predictions})
    seeing, blind = (judge_all(paired.predictions[file], settings) for file in (name, path))
    same_answer = [
        outcome.answer is not None and outcome.answer == blind_outcome.answer
        for outcome, blind_outcome in zip(seeing.outcomes, blind.outcomes, strict=True)
    ]
    return ImageAblation(
        results=path,
        ablation=kind,
        paired_by=paired.paired_by,
        accuracy_without_image=mean_metric(blind.correct, seeing),
        ablation_gain=difference_metric(seeing.correct, blind.correct, seeing),
        same_answer=mean_metric(np.array(same_answer, dtype=np.float64), seeing),
    )
