"""Calls of a loaded model and its processor, with the types that transformers leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, ProcessorMixin


class VisionOutput(Protocol):
    """What the vision tower of a Qwen-VL returns; transformers' own class has a tensor here."""

    pooler_output: Sequence[torch.Tensor]
    """The vectors of each image, (vectors, width)."""
    deepstack_features: Sequence[Sequence[torch.Tensor]]
    """The same for several layers of the vision tower; only Qwen3-VL has this attribute."""


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


def image_features(
    model: PreTrainedModel, patches: torch.Tensor, grid: torch.Tensor
) -> VisionOutput:
    """Run the vision tower on images.

    Args:
        model: A Qwen-VL.
        patches: The patches of all images, (patches, values of a patch).
        grid: Frames, rows and columns of patches of each image, (images, 3).
    """
    # The attribute is a method, not a tensor; see `greedy_tokens`.
    output: VisionOutput = model.get_image_features(patches, grid, return_dict=True)  # type: ignore[operator]
    return output


def image_token(processor: ProcessorMixin) -> str:
    """The text that stands for one vector of an image in a prompt, such as "<|image_pad|>"."""
    return str(vars(processor)["image_token"])
