"""The bytes that a pass keeps for the backward pass, estimated.

    bytes = values * bytes of a number
    values = tokens * layers * (13 * hidden size + 4 * intermediate size), of the language model
             and, where it is trained, the same of the vision tower for its patches
    logits of the sampled tokens, with GRPO

The two factors are measured: `python scripts/bench_train.py --json` reports the bytes that are kept
by a model with random weights (README.md has the numbers). A prompt that is shared counts once for
its group. Attention scores are not counted: the attention that is used by default keeps none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedConfig
    from trl import GRPOConfig, SFTConfig

HIDDEN_VALUES = 13
"""Numbers that a layer keeps for each token and hidden value."""
INTERMEDIATE_VALUES = 4
"""Numbers that a layer keeps for each token and intermediate value of its gated MLP: the gate, its
activation, the other factor and the product."""


@dataclass(frozen=True)
class PassShape:
    """What a pass with gradient consists of, apart from the number of its rows."""

    tokens: int
    """Tokens of the longest prompt, with SFT including its target."""
    image_tokens: int = 0
    """Those of `tokens` that stand for images."""
    shares: bool = False
    """Whether a prompt is run once for all completions of its group."""
    trains_vision: bool = False
    """Whether the vision tower has a gradient."""
    passes: int = 1
    """Number of passes over a batch that are kept for one backward pass."""


def activations(
    model_config: PreTrainedConfig, config: GRPOConfig | SFTConfig, shape: PassShape, rows: int
) -> int:
    """The bytes kept for the backward pass of one batch.

    With SFT no logits are kept: TRL computes them in parts, and again in the backward pass.

    Args:
        model_config: The configuration of the model.
        config: The trainer's configuration.
        shape: What a pass consists of.
        rows: Number of completions of the batch; with SFT of items.
    """
    text = model_config.get_text_config()
    element = 2 if config.bf16 or config.fp16 else 4
    new_tokens = getattr(config, "max_completion_length", None) or 0
    generations = getattr(config, "num_generations", None) or 1
    prompts = rows // math.gcd(generations, rows) if shape.shares else rows
    checkpoints = bool(config.gradient_checkpointing)
    tokens = prompts * shape.tokens + rows * new_tokens
    values = tokens * _values(text, checkpoints=checkpoints)
    vision = getattr(model_config, "vision_config", None)
    if shape.trains_vision and vision is not None:
        patches = prompts * _patches(model_config, shape.image_tokens)
        values += patches * _values(vision, checkpoints=checkpoints)
    logits = rows * new_tokens * text.vocab_size * (4 + element)
    return int(shape.passes * (values * element + logits))


def _values(part: Any, *, checkpoints: bool) -> int:
    """The numbers that the layers of a model, or of its vision tower, keep for a token.

    Args:
        part: The configuration of the part.
        checkpoints: Whether each layer keeps only its input. In the backward pass one layer at a
            time is computed again, and kept completely.
    """
    # Qwen2-VL's vision tower calls its hidden size embed_dim, and that of its output hidden_size
    hidden = getattr(part, "embed_dim", None) or getattr(part, "hidden_size", None)
    layers = getattr(part, "depth", None) or getattr(part, "num_hidden_layers", None)
    if not isinstance(hidden, int) or not isinstance(layers, int):
        return 0  # a vision tower of stages with different sizes
    intermediate = getattr(part, "intermediate_size", None) or 4 * hidden
    if isinstance(intermediate, list | tuple):  # of each layer
        intermediate = max(intermediate)
    if experts := getattr(part, "num_experts_per_tok", None):
        intermediate = experts * getattr(part, "moe_intermediate_size", intermediate)
    layer = HIDDEN_VALUES * hidden + INTERMEDIATE_VALUES * intermediate
    return int(layers * hidden + layer if checkpoints else layers * layer)


def _patches(model_config: Any, image_tokens: int) -> int:
    """The patches that the vision tower reads for so many image tokens of the language model."""
    vision = model_config.vision_config
    merged = getattr(vision, "spatial_merge_size", None) or getattr(
        model_config, "scale_factor", None
    )
    if isinstance(merged, int):
        return image_tokens * merged**2
    sizes = [getattr(vision, name, None) for name in ("image_size", "patch_size")]
    image_size, patch_size = (size[0] if isinstance(size, list | tuple) else size for size in sizes)
    # tokens of an image or of one of its tiles
    names = ("mm_tokens_per_image", "image_seq_length")
    tile_tokens = next((n for name in names if (n := getattr(model_config, name, None))), None)
    if not tile_tokens or not image_size or not patch_size:
        return image_tokens
    return image_tokens * int(image_size // patch_size) ** 2 // int(tile_tokens)
