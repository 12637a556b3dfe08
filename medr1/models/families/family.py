"""What medr1 has to know of a model family to load its checkpoints and to ask them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import BatchFeature, PreTrainedConfig, ProcessorMixin


@dataclass(frozen=True)
class Family:
    """What differs between architectures."""

    name: str
    processors: tuple[str, ...]
    """Names of the processor classes; () for any that has a tokenizer and an image processor."""
    has_own_passes: bool
    """Whether medr1's own passes know its positions, image inputs and attention: several prompts at
    a time and packed answer strings in inference, and training. Other families are asked one prompt
    at a time by transformers' own `generate`."""
    require_valid: Callable[[PreTrainedConfig], None]
    """Raises ValueError for a resolved configuration that no model can have."""
    count_parameters: Callable[[PreTrainedConfig], int]
    """About how many parameters a model of this configuration has, within a few per cent."""
    trial_inputs: Callable[[ProcessorMixin], BatchFeature]
    """The model's inputs for a small image and a question mark."""
