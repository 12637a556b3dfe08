"""demo.json, the document of `medr1 demo`."""

from __future__ import annotations

from msgspec import Struct

from medr1.documents.metric import Metric
from medr1.documents.summary import Blind


class PairedAccuracy(Struct, frozen=True, kw_only=True):
    """The accuracy of the base model and of the trained model on the same items."""

    base: Metric
    trained: Metric
    difference: Metric
    """trained minus base."""


class DemoProtocol(PairedAccuracy, frozen=True, kw_only=True):
    """The accuracies under one protocol."""

    difference_by_source: Metric
    """The same difference; its interval resamples the sources of the images."""


class ShuffledImages(Struct, frozen=True, kw_only=True):
    """Accuracy where each question has the image of another one."""

    base: Metric
    trained: Metric


class CurvePoint(Struct, frozen=True, kw_only=True):
    """Accuracies on the validation split after some training steps."""

    step: int
    default: float
    strict: float
    shuffled_images: float


class DemoCompletion(Struct, frozen=True, kw_only=True):
    """What a model answered to one question."""

    model_output: str | None
    correct: bool


class DemoSample(Struct, frozen=True, kw_only=True):
    """A test question with the answers before and after training."""

    question: str
    options: dict[str, str]
    ground_truth: str
    base: DemoCompletion
    trained: DemoCompletion


class Demo(Struct, frozen=True, kw_only=True):
    """demo.json: the base model and the trained model on the held-out test questions."""

    seed: int
    prompt: str
    n: int
    n_images: int
    n_sources: int
    blind: Blind
    default: DemoProtocol
    strict: DemoProtocol
    shuffled_images: ShuffledImages
    curve: list[CurvePoint]
    samples: list[DemoSample]
    seconds: float
