"""Calls of a loaded model and its processor, with the types that transformers leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, ProcessorMixin


def greedy_tokens(model: PreTrainedModel, **arguments: object) -> torch.Tensor:
    """The token ids of each row by greedy decoding, the prompt's first: (rows, tokens).

    The checkpoint's repetition_penalty stays in force, as in the field's evaluations.

    Args:
        model: A model that can generate.
        **arguments: Further arguments of transformers' `generate`, such as max_new_tokens.
    """
    import torch

    # torch says that any attribute of a module may be a tensor, which cannot be called.
    output: object = model.generate(  # type: ignore[operator]
        **arguments, do_sample=False, temperature=None, top_k=None, top_p=None
    )
    assert isinstance(output, torch.Tensor)
    return output


def image_token(processor: ProcessorMixin) -> str:
    """The text that stands for one vector of an image in a prompt, such as "<|image_pad|>"."""
    return str(vars(processor)["image_token"])


def token_ids(processor: ProcessorMixin, texts: Sequence[str]) -> list[list[int]]:
    """The token ids of rendered prompts, as the processor's `apply_chat_template` makes them.

    The tokenizer adds no special tokens to a prompt that begins with one, as Gemma's template does.

    Args:
        processor: Of the checkpoint.
        texts: The prompts, all of one chat template; one at least.
    """
    rows: list[list[int]] = processor.tokenizer(
        list(texts), add_special_tokens=not _has_start(processor, texts[0])
    )["input_ids"]
    return rows


def with_start(processor: ProcessorMixin, text: str) -> str:
    """A rendered prompt that has the token which the tokenizer writes before it as text.

    Without special tokens it then gets the ids of `token_ids`. The text is the same for a tokenizer
    that writes no such token.

    Args:
        processor: Of the checkpoint.
        text: The prompt.
    """
    tokenizer = processor.tokenizer
    adds_start = tokenizer("")["input_ids"][:1] == [tokenizer.bos_token_id]
    return (
        f"{tokenizer.bos_token}{text}" if adds_start and not _has_start(processor, text) else text
    )


def _has_start(processor: ProcessorMixin, text: str) -> bool:
    """Whether a prompt begins with the token that begins each text."""
    start = processor.tokenizer.bos_token
    return start is not None and text.startswith(start)
