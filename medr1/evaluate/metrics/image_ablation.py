"""How much a model uses the image: its answers with the image compared with those without it.

The answers without the image come from `medr1 infer --ablate-image blank|noise|shuffle` on the
same questions. A model that answers as well without the image has not shown that it uses it.
Visual reliance, image sensitivity and hallucinated visual reasoning are the numbers of "Beyond
Accuracy" (arXiv 2603.03437).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from msgspec import UNSET

from medr1 import answers
from medr1.documents.summary import ImageAblation
from medr1.errors import InputError
from medr1.evaluate.coded import Values
from medr1.evaluate.comparing.pairing import pair_items
from medr1.evaluate.estimates import difference_metric, mean_metric
from medr1.evaluate.judging import Judged, Outcome, Settings, judge_all
from medr1.evaluate.reading.results import Results
from medr1.records import Prediction
from medr1.text.visual_claims import claims_to_see

SHUFFLE = "shuffle"
"""The ablation whose gain is called visual reliance: the image of another question."""


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
    """The `image_ablation` part of summary.json: what changes without the image.

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
    same, changed = answer_changes(seeing, blind)
    texts = [prediction.generated_text for prediction in paired.predictions[name]]
    claims = np.array(
        [
            claims_to_see(text or "", prediction.sample.question)
            for text, prediction in zip(texts, paired.predictions[name], strict=True)
        ],
        dtype=np.float64,
    )
    has_text, no_text = np.array([bool(text) for text in texts], dtype=bool), "no completions"
    gain = difference_metric(seeing.correct, blind.correct, seeing)
    return ImageAblation(
        results=path,
        ablation=kind,
        paired_by=paired.paired_by,
        accuracy_without_image=mean_metric(blind.correct, seeing),
        ablation_gain=gain,
        visual_reliance=gain if kind == SHUFFLE else UNSET,
        same_answer=mean_metric(same, seeing),
        image_sensitivity=mean_metric(changed, seeing),
        visual_claims=mean_metric(claims, seeing, has_text, no_text),
        hallucinated_visual_reasoning=mean_metric(claims * same, seeing, has_text, no_text),
    )


def answer_changes(seeing: Judged, blind: Judged) -> tuple[Values, Values]:
    """Where the answer is the same without the image (1.0), and where it is another.

    An answer to only one of both is a change. An item without any answer is in neither.

    Args:
        seeing: The items with their images, or another run to compare with.
        blind: The same items without their images, or otherwise changed.
    """
    pairs = list(zip(seeing.outcomes, blind.outcomes, strict=True))
    protocol = seeing.settings.protocol
    same_pairs = {pair: _same_answer(*pair, protocol) for pair in dict.fromkeys(pairs)}
    same = np.array([same_pairs[pair] for pair in pairs], dtype=np.float64)
    has_answer = [a.answer is not None or b.answer is not None for a, b in pairs]
    return same, np.array(has_answer, dtype=np.float64) - same


def _same_answer(seeing: Outcome, blind: Outcome, protocol: str) -> bool:
    """Whether both have an answer, and it is the same by the rules of the protocol."""
    if seeing.answer is None or blind.answer is None:
        return False
    return answers.same_answer(
        blind.answer,
        seeing.answer,
        options=dict(seeing.options),
        answer_type=seeing.answer_type,
        protocol=protocol,
    )
