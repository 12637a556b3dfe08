"""Refuse settings early that TRL and its libraries would refuse only during the run.

The checks run before the weights are read. Where a library can be tried without the model, it is:
an optimizer and a schedule are made for one number, an addition is checkpointed, and a small model
of one layer generates two tokens. The other checks are lists: the ranges of numbers, and the
combinations of settings that are not possible.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import inf
from typing import TYPE_CHECKING, Any

from medr1.errors import InputError, did_you_mean
from medr1.models.loading import LoadedModel

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel
    from trl import GRPOConfig, SFTConfig

_RANGES = {
    "per_device_train_batch_size": "[1, inf)", "per_device_eval_batch_size": "[1, inf)",
    "gradient_accumulation_steps": "[1, inf)", "steps_per_generation": "[1, inf)",
    "generation_batch_size": "[1, inf)", "num_generations": "[2, inf)",
    "num_generations_eval": "[1, inf)", "num_iterations": "[1, inf)",
    "max_completion_length": "[1, inf)", "num_train_epochs": "(0, inf)",
    "ref_model_sync_steps": "[1, inf)", "ref_model_mixup_alpha": "[0, 1]",
    "dataloader_num_workers": "[0, inf)", "seed": "[0, 4294967295]",
    "temperature": "(0, inf)", "top_p": "(0, 1]", "top_k": "[0, inf)", "min_p": "[0, 1]",
    "repetition_penalty": "(0, inf)", "top_entropy_quantile": "[0, 1]",
    "beta": "[0, inf)", "epsilon": "[0, inf)", "epsilon_high": "[0, inf)", "delta": "(0, inf)",
    "sapo_temperature_pos": "(0, inf)", "sapo_temperature_neg": "(0, inf)",
    "off_policy_mask_threshold": "(0, inf)", "weight_decay": "[0, inf)",
    "label_smoothing_factor": "[0, 1]", "lora_r": "[1, inf)", "lora_dropout": "[0, 1)",
    "papo": "[0, inf)", "papo_entropy": "[0, inf)",
}  # fmt: skip
"""Field -> the interval of its values: [ and ] include the end, ( and ) exclude it."""

_REFUSALS = (ValueError, TypeError, ImportError, RuntimeError, AttributeError)
"""The exceptions that libraries raise for a setting that they do not accept."""


def require_ranges(fields: Mapping[str, Any]) -> None:
    """Raise InputError if a number is outside the range of its field; `fields` is by name."""
    steps = fields.get("max_steps")
    if steps is not None and steps < 1 and steps != -1:  # -1 is TRL's "not set"
        raise InputError(f"max_steps is {steps}; it has to be at least 1. Correct the value.")
    for name in fields.keys() & _RANGES.keys():
        value, interval = fields[name], _RANGES[name]
        if value is None:
            continue
        least, most = (float(part) for part in interval[1:-1].split(","))
        above = value >= least if interval[0] == "[" else value > least
        below = value <= most if interval[-1] == "]" else value < most
        if not (above and below):
            first = f"{'at least' if interval[0] == '[' else 'above'} {least:.10g}"
            last = f" and {'at most' if interval[-1] == ']' else 'below'} {most:.10g}"
            condition = first if most == inf else first + last
            raise InputError(
                f"{name} is {value:.10g}; it has to be {condition}. Correct the value."
            )


def require_accepted(
    config: GRPOConfig | SFTConfig, loaded: LoadedModel, steps: int, rewards: int | None
) -> None:
    """Check that the trainer, the optimizer and generation accept the settings.

    Args:
        config: TRL's configuration of the method.
        loaded: The model; an outline without weights is enough.
        steps: Number of optimizer steps of the run.
        rewards: Number of rewards; None for SFT.

    Raises:
        InputError: A setting is not accepted.
    """
    from trl import GRPOConfig

    _require_combination(config, loaded, rewards)
    with refusals_as_input_errors("gradient_checkpointing_kwargs"):
        _try_checkpointing(config)
    with refusals_as_input_errors("optimizer or schedule"):
        _try_optimizer(config, loaded.model, steps)
    if isinstance(config, GRPOConfig) and not config.use_vllm:
        _require_generation(config, loaded)


def require_adapter(model: PeftModel) -> None:
    """Raise InputError if the adapter is on the output layer, where TRL would not train it."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    if isinstance(model.get_output_embeddings(), BaseTunerLayer):
        raise InputError(
            "lora_target_modules has lm_head. TRL uses the weights of this layer directly, so an "
            "adapter there would not be trained. Leave it out."
        )


@contextmanager
def refusals_as_input_errors(what: str) -> Iterator[None]:
    """Turn what a library raises in the `with` block into InputError, with its message in one line.

    `what` names the settings, for the message.
    """
    try:
        yield
    except InputError:
        raise
    except _REFUSALS as error:
        raise InputError(f"{what} refused: {' '.join(str(error).split())}") from None


def _require_combination(
    config: GRPOConfig | SFTConfig, loaded: LoadedModel, rewards: int | None
) -> None:
    from trl import GRPOConfig

    checks = [*_refusals_of_any(config, loaded)]
    if isinstance(config, GRPOConfig):
        checks += _refusals_of_grpo(config, loaded, rewards or 0)
    else:
        checks += _refusals_of_sft(config, loaded)
    for sentence, applies in checks:
        if applies:
            raise InputError(sentence)


def _refusals_of_any(
    config: GRPOConfig | SFTConfig, loaded: LoadedModel
) -> Iterator[tuple[str, bool]]:
    """The messages of refusals for any method, and whether each applies."""
    from accelerate.utils import DynamoBackend
    from torch._inductor import list_mode_options

    text = loaded.model.config.get_text_config()
    workers = config.dataloader_num_workers
    backends = [backend.value.lower() for backend in DynamoBackend]
    backend, mode = config.torch_compile_backend, config.torch_compile_mode
    modes = list(list_mode_options())
    yield (
        "router_aux_loss_coef is for a mixture of experts, which this model is not. Leave it out.",
        bool(config.router_aux_loss_coef) and not hasattr(text, "output_router_logits"),
    )
    yield (
        "save_strategy best is not supported: with --eval-data, the best step is in the folder "
        "best. Use steps, epoch or no.",
        config.save_strategy == "best",
    )
    yield (
        "accelerator_config: dispatch_batches separates images from their questions. Leave it out.",
        bool(getattr(config.accelerator_config, "dispatch_batches", None)),
    )
    yield (
        "dataloader_persistent_workers and dataloader_multiprocessing_context need "
        "dataloader_num_workers of 1 or more.",
        workers == 0
        and bool(config.dataloader_persistent_workers or config.dataloader_multiprocessing_context),
    )
    yield (
        f"torch_compile_backend: {backend!r} is not one of {', '.join(backends)}.",
        backend is not None and backend.lower() not in backends,
    )
    yield (
        f"torch_compile_mode: {mode!r} is not one of {', '.join(modes)}.",
        mode is not None and mode not in modes,
    )


def _refusals_of_sft(config: SFTConfig, loaded: LoadedModel) -> Iterator[tuple[str, bool]]:
    tokenizer = loaded.processor.tokenizer
    checkpointing = _mapping(config.gradient_checkpointing_kwargs)
    yield (
        f"train_sampling_strategy {config.train_sampling_strategy} needs the lengths of items "
        "before their images are read. Use random or sequential.",
        config.train_sampling_strategy in ("group_by_length", "batch_rebalance"),
    )
    yield (
        f"pad_token: {config.pad_token!r} is not a token of {loaded.path}. Leave it out.",
        config.pad_token is not None and config.pad_token not in tokenizer.get_vocab(),
    )
    yield (
        "activation_offloading moves activations from a GPU, and this run has none. Leave it out.",
        config.activation_offloading and loaded.device.type == "cpu",
    )
    yield (
        "gradient_checkpointing_kwargs: selective needs --gradient-checkpointing, and no "
        "use_reentrant.",
        bool(checkpointing.get("selective"))
        and (not config.gradient_checkpointing or bool(checkpointing.get("use_reentrant"))),
    )


def _mapping(value: dict[str, Any] | str | None) -> dict[str, Any]:
    """A field that TRL declares as mapping or text, and that `convert_values` makes a mapping."""
    return value if isinstance(value, dict) else {}


def _refusals_of_grpo(
    config: GRPOConfig, loaded: LoadedModel, rewards: int
) -> Iterator[tuple[str, bool]]:
    weights = config.reward_weights
    yield (
        f"reward_weights has length {len(weights or ())}, and there are {rewards} rewards. Give "
        "each reward one weight.",
        weights is not None and len(weights) != rewards,
    )
    yield (
        "sync_ref_model updates a reference model, and with beta 0 there is none. Give --beta, or "
        "leave it out.",
        config.sync_ref_model and config.beta == 0,
    )
    yield (
        "use_transformers_continuous_batching is for models without images. Leave it out.",
        config.use_transformers_continuous_batching,
    )
    yield (
        "cast_lm_head_to_fp32 is for a model whose output layer and embeddings have different "
        f"weights; {loaded.path} has the same for both. Leave it out.",
        config.cast_lm_head_to_fp32 and loaded.model.config.tie_word_embeddings,
    )
    yield (
        "loss_type vespo needs vllm_importance_sampling_mode token_truncate or token_mask.",
        config.loss_type == "vespo"
        and config.use_vllm
        and config.vllm_importance_sampling_correction
        and config.vllm_importance_sampling_mode not in ("token_truncate", "token_mask"),
    )


def require_no_reference_sync(config: GRPOConfig | SFTConfig) -> None:
    """Raise InputError if `sync_ref_model` is set in a run that trains an adapter.

    The reference is then the model without its adapter, so there are no weights to update.
    """
    if getattr(config, "sync_ref_model", False):
        raise InputError(
            "sync_ref_model updates a reference model, and with --use-peft there is none: the "
            "model without its adapter is the reference. Leave out one of the two."
        )


def _try_checkpointing(config: GRPOConfig | SFTConfig) -> None:
    """Run one addition under gradient checkpointing; raises what torch raises."""
    if not config.gradient_checkpointing:
        return
    import torch
    from torch.utils.checkpoint import checkpoint

    arguments = {"use_reentrant": False, **_mapping(config.gradient_checkpointing_kwargs)}
    if not hasattr(config, "num_generations"):
        arguments.pop("selective", None)  # TRL's SFTTrainer reads it itself
    checkpoint(lambda x: x + 1, torch.zeros(1, requires_grad=True), **arguments)


def _try_optimizer(config: GRPOConfig | SFTConfig, model: PreTrainedModel, steps: int) -> None:
    """Make the optimizer and the schedule for one number; raises what the libraries raise."""
    import torch
    from transformers import Trainer, get_scheduler

    kind, arguments = Trainer.get_optimizer_cls_and_kwargs(config, model)
    number = torch.nn.Parameter(torch.zeros(1))
    # an optimizer with one of these arguments needs all weights of the model, so it is not made
    model_arguments = {"model", "params", "optimizer_dict"} & arguments.keys()
    optimizer = torch.optim.SGD([number]) if model_arguments else kind([number], **arguments)
    get_scheduler(
        config.lr_scheduler_type,
        optimizer=optimizer,
        num_warmup_steps=config.get_warmup_steps(steps),
        num_training_steps=steps,
        scheduler_specific_kwargs=_mapping(config.lr_scheduler_kwargs),
    )


def _require_generation(config: GRPOConfig, loaded: LoadedModel) -> None:
    """Raise InputError for generation settings that are unknown, or that `generate` refuses."""
    from transformers import GenerationConfig

    settings = config.generation_kwargs or {}
    if not isinstance(settings, dict):
        raise InputError(f"generation_kwargs: {settings!r} is not a mapping. Correct the value.")
    known_names = vars(GenerationConfig())
    for name in settings:
        if name == "guidance_scale":
            raise InputError(
                "generation_kwargs: guidance_scale runs the prompt again without its images, which "
                "is not possible with these models. Leave it out."
            )
        if name not in known_names or name == "disable_compile":  # which TRL sets itself
            other_names = () if name in known_names else known_names
            hint = did_you_mean(name, other_names, "Leave it out.")
            raise InputError(f"generation_kwargs: {name} cannot be set. {hint}")
    with refusals_as_input_errors("generation settings"):
        _try_generation(config, loaded, settings)


def _try_generation(
    config: GRPOConfig, loaded: LoadedModel, generation_kwargs: Mapping[str, object]
) -> None:
    """Let a small model generate two tokens for two rows, with these settings and TRL's own.

    Raises what transformers raises for a setting, or ValueError if the result is not one completion
    for each row.
    """
    import torch
    from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM

    sizes: dict[str, Any] = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    vocabulary = loaded.model.config.get_text_config().vocab_size
    names = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "cache_implementation")
    settings: dict[str, object] = {"do_sample": True, "pad_token_id": 0, "max_new_tokens": 2}
    settings |= {name: getattr(config, name) for name in names}
    settings |= generation_kwargs
    generation = GenerationConfig(**settings, disable_compile=True)
    generation.max_new_tokens, generation.min_new_tokens, generation.min_length = 2, None, 0
    cache = str(generation.cache_implementation)
    if cache.startswith("offloaded") and loaded.device.type != "cpu":
        generation.cache_implementation = None  # not possible on the CPU, where the small model is
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        model_config = Qwen2Config(
            vocab_size=vocabulary, num_attention_heads=1, num_key_value_heads=1, **sizes
        )
        rows = (
            Qwen2ForCausalLM(model_config)
            .eval()
            .generate(
                torch.ones(2, 2, dtype=torch.long),
                attention_mask=torch.ones(2, 2, dtype=torch.long),
                generation_config=generation,
            )
        )
    if not isinstance(rows, torch.Tensor) or len(rows) != 2:
        raise ValueError("they do not return one completion for each row.")
