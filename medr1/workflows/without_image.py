"""The answers of a model in training to its questions with grey images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medr1.data.roots import ImageRoot
from medr1.errors import InputError
from medr1.infer.local.engine import predict
from medr1.models.loading import LoadedModel
from medr1.records import Decoding, Sample

if TYPE_CHECKING:
    from torch.nn import Module


@dataclass(frozen=True)
class GreyImageAnswers:
    """Answers questions with the model as it is now, and grey images of the same size."""

    loaded: LoadedModel
    image_root: ImageRoot
    """Where relative image paths start."""
    prompt: str
    """The prompt of the training."""
    max_new_tokens: int
    """The most tokens of a completion, as in training."""

    def __call__(self, samples: Sequence[Sample]) -> list[str]:
        """The greedy completion of each question.

        Args:
            samples: The questions, which are answered as one batch.

        Raises:
            InputError: A question could not be answered.
        """
        with _evaluation_mode(self.loaded):
            predictions = predict(
                self.loaded,
                samples,
                image_root=self.image_root,
                batch_size=len(samples),
                prompt=self.prompt,
                decoding=Decoding(
                    "generate", max_new_tokens=self.max_new_tokens, ablate_image="blank"
                ),
            )
        for prediction in predictions:
            if prediction.error is not None:
                raise InputError(
                    f"item {prediction.sample.id} could not be answered without its image: "
                    f"{prediction.error.message}"
                )
        return [prediction.model_output or "" for prediction in predictions]


@contextmanager
def _evaluation_mode(loaded: LoadedModel) -> Iterator[None]:
    """Within the block the model has no dropout and no gradient checkpointing."""
    modes: dict[Module, bool] = {module: module.training for module in loaded.model.modules()}
    loaded.model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
