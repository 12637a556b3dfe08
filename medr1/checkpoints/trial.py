"""What transformers and tokenizers raise on files that are wrong, told in one sentence, and a first
question to a checkpoint that was loaded: what would fail at every answer fails here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medr1.errors import InputError


class CheckpointErrors:
    """A block in which a checkpoint is read or used; InputError where its files are not right."""

    def __init__(self, failure: str) -> None:
        self.failure = failure

    def __enter__(self) -> None:
        """Nothing is to be prepared."""

    def __exit__(self, kind: type[BaseException] | None, error: Any, _: Any) -> None:
        from huggingface_hub.errors import StrictDataclassError
        from safetensors import SafetensorError

        usual = (
            OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError,
            ArithmeticError, AssertionError, SafetensorError, StrictDataclassError,
        )  # fmt: skip
        if isinstance(error, InputError) or kind is None:
            return
        if isinstance(error, usual) or kind is Exception:  # which tokenizers raises as it is
            reason = " ".join(str(error).split())[:300] or kind.__name__
            raise InputError(f"{self.failure}: {reason}") from error


def require_answer(model: Any, processor: Any, path: Path) -> None:
    """InputError where the model cannot be asked about a small picture."""
    import torch
    from PIL import Image

    weights = model.get_input_embeddings().weight
    # not where each process holds a share of the weights, nor of what 16 bits alone can compute
    if not weights.numel() or model.config._attn_implementation not in ("sdpa", "eager"):
        return
    with CheckpointErrors(f"cannot use the checkpoint {path}"), torch.inference_mode():
        text = f"<|vision_start|>{processor.image_token}<|vision_end|>?"
        asked = processor(text=[text], images=[Image.new("RGB", (56, 56))], return_tensors="pt")
        if (highest := max(processor.tokenizer.get_vocab().values())) >= len(weights):
            raise InputError(
                f"checkpoint {path}: its tokenizer has a token {highest}, its model not."
            )
        model(**asked.to(weights.device, model.dtype))
        model.model.rope_deltas = None
