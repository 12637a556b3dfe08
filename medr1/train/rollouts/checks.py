"""Which settings rollouts by a server do not support."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medr1.errors import InputError

if TYPE_CHECKING:
    from trl import GRPOConfig


def require_rollout_settings(
    config: GRPOConfig, *, is_quantized: bool, dynamic_sampling: int
) -> None:
    """Check the settings of a run whose completions are sampled by a server.

    Args:
        config: TRL's configuration.
        is_quantized: Whether the weights under the adapter have 4 or 8 bits.
        dynamic_sampling: Number of further draws that replace groups with equal rewards.

    Raises:
        InputError: A setting is not supported.
    """
    modes = ("token_truncate", "token_mask")
    reasons = {
        "use_vllm is TRL's own way to a server. Leave one of the two out.": config.use_vllm,
        "generation_kwargs are arguments of transformers, which a server does not have. Leave them "
        "out.": bool(config.generation_kwargs),
        "without vllm_importance_sampling_correction, a server with old weights is not noticed. "
        "Leave it on.": not config.vllm_importance_sampling_correction,
        "weights of 4 or 8 bits cannot be merged with the adapter without another rounding. Leave "
        "load_in_4bit and load_in_8bit out.": is_quantized,
        "the server samples one draw of questions in a step. Leave --dynamic-sampling out.": (
            dynamic_sampling > 0
        ),
        f"loss_type vespo needs vllm_importance_sampling_mode {' or '.join(modes)}.": (
            config.loss_type == "vespo" and config.vllm_importance_sampling_mode not in modes
        ),
    }
    for reason, applies in reasons.items():
        if applies:
            raise InputError(f"--rollout-url: {reason}")
