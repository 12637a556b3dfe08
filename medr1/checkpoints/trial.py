"""Errors that the files of a checkpoint cause: told in one sentence, and before the first answer.

`CheckpointErrors` turns what transformers and tokenizers raise on invalid files into an
`InputError`. `require_answer` runs a loaded model once, so that what would fail at every answer
fails here.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from medr1.errors import InputError
from medr1.models.families.family import Family

if TYPE_CHECKING:
    from transformers import PreTrainedModel, ProcessorMixin


class CheckpointErrors:
    """Context manager for code that reads a checkpoint: errors of its files become an `InputError`.

    `with CheckpointErrors("cannot load x"): ...` raises "cannot load x: <reason>".
    """

    def __init__(self, failure: str) -> None:
        self.failure = failure

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        _: TracebackType | None,
    ) -> None:
        from huggingface_hub.errors import StrictDataclassError
        from safetensors import SafetensorError

        # what the libraries raise on invalid files; anything else is an error of medr1
        file_errors = (
            OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError,
            ArithmeticError, AssertionError, SafetensorError, StrictDataclassError,
        )  # fmt: skip
        if isinstance(error, InputError) or kind is None:
            return
        if isinstance(error, file_errors) or kind is Exception:  # tokenizers raises plain Exception
            reason = " ".join(str(error).split())[:300] or kind.__name__
            raise InputError(f"{self.failure}: {reason}") from error


def require_answer(
    model: PreTrainedModel, processor: ProcessorMixin, family: Family, path: Path
) -> None:
    """Refuse a model that cannot process a small image and a question mark.

    Args:
        model: The loaded model.
        processor: Its processor.
        family: Its family.
        path: The checkpoint, for the message.

    Raises:
        InputError: If the forward pass fails, or the tokenizer has tokens that the model lacks.
    """
    import torch

    weights = model.get_input_embeddings().weight
    assert isinstance(weights, torch.Tensor)
    # Not tried: weights that are split over processes, which are empty here, and attention kernels
    # that need 16-bit numbers.
    if not weights.numel() or model.config._attn_implementation not in ("sdpa", "eager"):
        return
    with CheckpointErrors(f"cannot use the checkpoint {path}"), torch.inference_mode():
        inputs = family.trial_inputs(processor)
        if (highest := max(processor.tokenizer.get_vocab().values())) >= len(weights):
            raise InputError(
                f"checkpoint {path}: its tokenizer has a token {highest}, its model does not. "
                "Fetch the checkpoint again."
            )
        model(**inputs.to(weights.device, model.dtype))
        if hasattr(model.model, "rope_deltas"):
            model.model.rope_deltas = None  # the forward pass stored positions of this prompt
