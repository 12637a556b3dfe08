"""What a reader is shown of a case, and its images."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from dataclasses import dataclass, field

from medr1.data.images import load_image
from medr1.data.roots import ImageRoot, resolve_image
from medr1.errors import ItemError
from medr1.records import Prediction

MAX_TEXT = 20_000
"""Longest text that is shown, in characters."""
MAX_SIDE = 2048
"""Longest side of an image that is shown, in pixels."""
_CACHED_IMAGES = 12


def case_view(prediction: Prediction, *, is_right: bool, blind: bool) -> dict[str, object]:
    """What the page shows of a case, as JSON values.

    Of the metadata it has the modality and the question type. It has no id and no file name; texts
    are shown as they are.

    Args:
        prediction: The item and its answer.
        is_right: The automatic verdict.
        blind: Whether the automatic verdict and the ground truth are left out.
    """
    sample = prediction.sample
    probabilities = prediction.option_probs or {}
    view: dict[str, object] = {
        "question": _shortened(sample.conversation),
        "options": [
            {"letter": letter, "text": _shortened(text), "probability": probabilities.get(letter)}
            for letter, text in sample.options.items()
        ],
        "answer": _shortened(prediction.extracted_answer or ""),
        "completion": _shortened(prediction.model_output or ""),
        "reasoning": _shortened(prediction.reasoning or ""),
        "images": len(sample.images),
        "modality": sample.modality,
        "question_type": sample.question_type,
    }
    if not blind:
        view["ground_truth"] = _shortened(sample.ground_truth or "")
        view["verdict"] = "right" if is_right else "wrong"
    return view


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]} ..."


@dataclass
class CaseImages:
    """The images of items as PNG, made from their pixels only, the last few kept in memory."""

    root: ImageRoot
    _content: OrderedDict[str, bytes] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def png(self, name: str) -> bytes:
        """An image that an item names, as PNG.

        Raises:
            ItemError: The image is missing, outside the image folder, or cannot be read.
        """
        with self._lock:
            if name in self._content:
                self._content.move_to_end(name)
                return self._content[name]
        try:
            image = load_image(resolve_image(name, self.root), side=MAX_SIDE).image
        except OSError as error:
            raise ItemError("image_unreadable", f"the image cannot be read: {error}") from None
        buffer = io.BytesIO()
        image.save(buffer, "PNG", compress_level=1)
        with self._lock:
            self._content[name] = buffer.getvalue()
            while len(self._content) > _CACHED_IMAGES:
                self._content.popitem(last=False)
        return buffer.getvalue()
