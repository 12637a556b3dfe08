"""Predictions for the tests of this folder."""

from itertools import count

from medr1 import answers
from medr1.records import Prediction, Sample

_COUNTER = count()


def prediction(output, gold, *, options=None, image=None, name="", **more):
    """One prediction; unless told, every item has its own image."""
    index = next(_COUNTER)
    keys = ("modality", "question_type", "dataset", "metadata")
    fields = {key: more.pop(key) for key in keys if key in more}
    sample = Sample(
        name or f"q{index}",
        (image or f"{index}.png",),
        more.pop("question", "Which?"),
        options or {},
        gold,
        more.pop("answer_type", None) or answers.answer_type_of(gold, options or {}),
        **fields,
    )
    return Prediction(sample, output, **more)


def tag(text):
    return f"<answer>{text}</answer>"
