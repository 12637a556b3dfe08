"""What TRL's GRPO cannot train: models whose inputs it does not pass on, or makes wrongly.

The processor makes inputs of images. TRL passes all of them when it samples, and a fixed list of
them when it computes log-probabilities.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from medr1.errors import InputError
from medr1.models.families.choice import SHARING_TYPES
from medr1.models.loading import LoadedModel
from medr1.records import Sample

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from trl import GRPOConfig

_NEEDED_FOR_SEVERAL = {"batch_num_images"}
"""Inputs that a model needs only for a prompt with several images (LLaVA-OneVision)."""


def require_passed_fields(
    loaded: LoadedModel, samples: Sequence[Sample], config: GRPOConfig
) -> None:
    """Check that TRL passes all inputs that the model needs for these samples.

    Args:
        loaded: The model and its processor; an outline without weights is enough.
        samples: The samples to train on.
        config: TRL's configuration.

    Raises:
        InputError: TRL leaves out an input, or raises an error because of it.
    """
    largest = max(samples, key=lambda sample: len(sample.images), default=None)
    if largest is None or not largest.images or not (fields := _left_out(loaded)):
        return
    names, kind = " and ".join(sorted(fields)), loaded.model.config.model_type
    if len(largest.images) > 1 or fields - _NEEDED_FOR_SEVERAL:
        remedy = "" if fields - _NEEDED_FOR_SEVERAL else "leave out items with several images, or "
        raise InputError(
            f"TRL's GRPO does not pass {names} to a {kind}, which needs this for item {largest.id} "
            f"with {len(largest.images)} image{'s' if len(largest.images) > 1 else ''}. To train "
            f"it, {remedy}use --method sft."
        )
    if _scores_before_updates(config):
        raise InputError(
            f"TRL's GRPO cannot compute log-probabilities of a {kind} before an update, as it does "
            "with a beta, with num_iterations, and with a steps_per_generation that does not "
            "divide --gradient-accumulation-steps. Leave these out."
        )


def not_shared_reason(model: PreTrainedModel, config: GRPOConfig) -> str | None:
    """Why the prompts of this model cannot be shared, as a phrase; None if they can.

    Args:
        model: The model; an outline without weights is enough.
        config: TRL's configuration.
    """
    if model.config.model_type not in SHARING_TYPES:
        return f"{model.config.model_type} is not one of {', '.join(SHARING_TYPES)}"
    text = model.config.get_text_config()
    coefficient = config.router_aux_loss_coef
    if coefficient is None:
        coefficient = getattr(text, "router_aux_loss_coef", None)
    # the condition of TRL's trainer
    if hasattr(text, "output_router_logits") and coefficient != 0:
        return (
            "the load-balancing loss of experts counts the prompt of every row; to share, set "
            "router_aux_loss_coef to 0"
        )
    return None


def start_is_written_twice(loaded: LoadedModel) -> bool:
    """Whether both the chat template and the tokenizer begin a prompt with the start token.

    Args:
        loaded: The model and its processor; an outline without weights is enough.

    Raises:
        InputError: The template writes the token itself, and not as `bos_token`.
    """
    if not _starts_twice(loaded):
        return False
    # a template is called with the special tokens, which the call can change
    if _starts_twice(loaded, bos_token=""):
        raise InputError(
            f"the chat template of {loaded.path} writes {loaded.processor.tokenizer.bos_token} and "
            "so does its tokenizer, which TRL's GRPO does not notice. Write {{ bos_token }} in the "
            "template."
        )
    return True


def _starts_twice(loaded: LoadedModel, **template_arguments: Any) -> bool:
    """Whether the ids of a rendered prompt begin with two start tokens."""
    tokenizer, processor = loaded.processor.tokenizer, loaded.processor
    messages: Any = [{"role": "user", "content": [{"type": "text", "text": "?"}]}]
    text = str(processor.apply_chat_template(messages, tokenize=False, **template_arguments))
    ids: list[int] = tokenizer(text)["input_ids"]
    return tokenizer.bos_token_id is not None and ids[:2] == [tokenizer.bos_token_id] * 2


def _left_out(loaded: LoadedModel) -> set[str]:
    """The processor's inputs for a prompt with an image that are none of TRL's parameters."""
    from trl import GRPOTrainer

    parameters = inspect.signature(GRPOTrainer._get_per_token_logps_and_entropies).parameters
    inputs = loaded.family.trial_inputs(loaded.processor)
    return {*inputs.keys()} - {*parameters, "input_ids", "attention_mask"}


def _scores_before_updates(config: GRPOConfig) -> bool:
    """Whether TRL computes log-probabilities before the loss; then it passes on all inputs."""
    updates = (config.steps_per_generation or 1) * config.num_iterations
    is_split = config.gradient_accumulation_steps % updates != 0
    return bool(config.beta) or is_split or config.use_vllm
