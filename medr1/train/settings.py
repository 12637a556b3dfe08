"""The settings of a training run: medr1's own, and fields of TRL's configurations.

`settings_from` reads and checks them; `trainer_config`, `lora_config` and `quantization_config`
make TRL's, peft's and transformers' configurations from them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medr1.checkpoints.finding import is_adapter
from medr1.errors import InputError
from medr1.models.loading import LoadedModel
from medr1.models.parts import lora_targets
from medr1.rewards import reward_functions
from medr1.terminal import counted
from medr1.train.dry_run.setting_checks import require_ranges
from medr1.train.extras import require_extras
from medr1.train.fields import (
    CONFIGS,
    DEFAULTS,
    convert_values,
    model_fields,
    require_method_fields,
    trainer_fields,
)
from medr1.train.monitoring.tracking import require_trackers

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import BitsAndBytesConfig, PreTrainedModel
    from trl import GRPOConfig, ModelConfig, SFTConfig


@dataclass(frozen=True)
class TrainingSettings:
    """medr1's own settings; everything else is a field of one of TRL's configurations."""

    output_dir: Path
    """The run's folder."""
    method: str = "grpo"
    """A key of fields.CONFIGS."""
    prompt: str = "nothink"
    """A name, a file or a text, as in prompts.template."""
    rewards: tuple[str, ...] = ("accuracy", "format")
    """The rewards of GRPO, with their parameters, as `rewards.reward_functions` takes them."""
    freeze_vision: bool = False
    """Whether the vision tower is not trained."""
    shared_prefix: bool = True
    """Whether each prompt is run once for all its completions, if that is possible
    (train/shared_prefix/trainer.py)."""
    rollout_url: str | None = None
    """The address of a server that samples the completions of GRPO (train/rollouts/trainer.py);
    None: this process samples them."""
    dtype: str | None = None
    """bfloat16 or float16, if passes are computed in another dtype than that of the weights."""
    min_pixels: int | None = None
    """The least pixels of an image after resizing; None: the checkpoint's number."""
    max_pixels: int | None = None
    """The most pixels of an image after resizing; None: the checkpoint's number."""
    max_prompt_length: int | None = None
    """Most tokens of a prompt with its images. A longer prompt is refused. None: as many as the
    model takes."""
    completions_steps: int = 10
    """Number of steps after which completions are written again; 0: none are written."""
    dynamic_sampling: int = 0
    """The most further draws of completions for a batch, to replace groups with equal rewards
    (train/dynamic_sampling.py); 0: no group is replaced."""
    curriculum: str | None = None
    """File of pass rates by which questions are drawn from easy to hard in the first pass
    (train/question_order.py); None: they are shuffled."""
    group_by_image: bool = False
    """Whether the questions of one image are drawn together (train/question_order.py)."""
    group_by_length: bool = False
    """Whether groups of similar length are in one batch (shared_prefix/arranged_batches.py)."""
    papo: float = 0.0
    """The coefficient of the divergence of PAPO (train/masked_image.py); 0: it is not used."""
    papo_entropy: float = 0.0
    """The coefficient of the double entropy loss of PAPO."""
    trainer: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the method's configuration: name -> value."""
    model: Mapping[str, Any] = field(default_factory=dict)
    """Fields of ModelConfig and ScriptArguments: name -> value."""


def trainer_config(settings: TrainingSettings, loaded: LoadedModel) -> GRPOConfig | SFTConfig:
    """TRL's GRPOConfig or SFTConfig for these settings.

    Args:
        settings: The settings of the run.
        loaded: The model to train; an outline without weights is enough.

    Raises:
        InputError: TRL refuses a value, or the settings cannot start from an adapter.
    """
    import trl

    dtype = compute_dtype(settings, loaded)
    defaults = {
        **DEFAULTS[settings.method],
        "output_dir": str(settings.output_dir),
        "use_cpu": loaded.device.type == "cpu",
        "bf16": dtype == "bfloat16",
        "fp16": dtype == "float16",
    }
    # Fields that were set win over these defaults.
    values = {**defaults, **settings.trainer}
    values["report_to"] = values["report_to"] or []  # TRL would take None for the name of a service
    try:
        config: GRPOConfig | SFTConfig = getattr(trl, CONFIGS[settings.method])(**values)
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            _incomplete_groups(reason, values)
            or f"TRL refused the training configuration: {reason}"
        ) from None
    if is_adapter(loaded.path):
        _require_no_adapter_start(settings, loaded, config)
    return config


def _incomplete_groups(reason: str, values: Mapping[str, object]) -> str:
    """TRL's message about incomplete groups of completions, in medr1's options; "" for another."""
    match = re.match(
        r"generation_batch_size \((\d+)\) must be divisible by num_generations \((\d+)\)", reason
    )
    if not match or {"steps_per_generation", "generation_batch_size"} & values.keys():
        return ""
    return (
        f"{counted(int(match[1]), 'completion')} per step (--batch-size x devices x "
        f"--gradient-accumulation-steps) are not a multiple of --num-generations {match[2]}. "
        "Change one of them."
    )


def _require_no_adapter_start(
    settings: TrainingSettings, loaded: LoadedModel, config: GRPOConfig | SFTConfig
) -> None:
    """Refuse settings that cannot start from an adapter, because they would use only its base."""
    reason = ""
    # The new adapter's adapter_config.json can name only a folder with complete weights as base.
    if settings.model.get("use_peft"):
        reason = "--use-peft trains an adapter on a complete checkpoint"
    # TRL loads the reference model from the folder of the weights.
    elif getattr(config, "beta", 0):
        reason = "with a beta, the reference is the model that training starts from"
    if reason:
        raise InputError(
            f"{reason}, but {loaded.path} is an adapter. Merge it first with medr1 merge."
        )


def compute_dtype(settings: TrainingSettings, loaded: LoadedModel) -> str:
    """The name of the dtype that the forward and backward passes are computed in.

    Args:
        settings: The settings of the run.
        loaded: The model to train, whose dtype is the default.
    """
    return settings.dtype or str(loaded.dtype).removeprefix("torch.")


def lora_config(settings: TrainingSettings, model: PreTrainedModel) -> PeftConfig | None:
    """The configuration of the adapter to train; None if `use_peft` is not set.

    Without `lora_target_modules` the adapter is on the linear layers of the language model
    (models/parts.py).

    Args:
        settings: The settings of the run.
        model: The model to train; an outline without weights is enough.

    Raises:
        InputError: TRL refuses a value, or the model has no part of its own for text.
    """
    from trl import get_peft_config

    try:
        config: PeftConfig | None = get_peft_config(_model_config(settings))
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"TRL refused the model configuration: {reason}") from None
    if config is not None and getattr(config, "target_modules", None) is None:
        config.target_modules = lora_targets(model)  # type: ignore[attr-defined]  # of LoraConfig
    return config


def quantization_config(settings: TrainingSettings) -> BitsAndBytesConfig | None:
    """The quantization of the layers under an adapter; None if no `load_in_*bit` field is set.

    `loading.load_weights` adds the names of the modules that are not quantized: the vision tower
    has no adapter that could correct the errors.

    Raises:
        InputError: TRL refuses a value.
    """
    model_config = _model_config(settings)
    if not (model_config.load_in_4bit or model_config.load_in_8bit):
        return None
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=model_config.load_in_4bit,
        load_in_8bit=model_config.load_in_8bit,
        bnb_4bit_compute_dtype=settings.dtype,
        bnb_4bit_quant_type=model_config.bnb_4bit_quant_type,
        bnb_4bit_use_double_quant=model_config.use_bnb_nested_quant,
        bnb_4bit_quant_storage=model_config.bnb_4bit_quant_storage,
    )


def _model_config(settings: TrainingSettings) -> ModelConfig:
    """TRL's ModelConfig for these settings; InputError for values that TRL refuses."""
    from trl import ModelConfig

    names = ModelConfig.__dataclass_fields__.keys()
    try:
        return ModelConfig(**{k: v for k, v in settings.model.items() if k in names})
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"TRL refused the model configuration: {reason}") from None


def settings_from(values: Mapping[str, object], output_dir: Path) -> TrainingSettings:
    """The settings from a configuration file such as configs/tiny.yaml, checked.

    Args:
        values: Option or field -> its value.
        output_dir: The run's folder.

    Raises:
        InputError: A value has the wrong type or range, a field may not be set or belongs to
            another method, or a reward does not fit the prompt.
        ModuleNotFoundError: A field needs a package that is not installed.
    """
    method = str(values.get("method", "grpo"))
    require_method_fields(method, values)
    trl_names = {"batch_size": "per_device_train_batch_size"}
    # These are read by the command itself: they say what is loaded, not how it is trained.
    not_settings = ("model_path", "data", "answer_types", "device", "fit_memory")
    own_types: dict[str, type] = {"rewards": tuple, "papo": float, "papo_entropy": float}
    own_types |= dict.fromkeys(("freeze_vision", "shared_prefix"), bool)
    own_types |= dict.fromkeys(("group_by_image", "group_by_length"), bool)
    own_types |= dict.fromkeys(("method", "prompt", "dtype", "rollout_url", "curriculum"), str)
    numbers = ("min_pixels", "max_pixels", "max_prompt_length", "completions_steps")
    own_types |= dict.fromkeys((*numbers, "dynamic_sampling"), int)
    fields = {
        trl_names.get(k, k): v for k, v in values.items() if k not in (*not_settings, *own_types)
    }
    trl_fields = convert_values(fields, method)
    papo = {name: float(str(values.get(name, 0))) for name in ("papo", "papo_entropy")}
    require_ranges({**trl_fields, **papo})
    if papo["papo_entropy"] and not papo["papo"]:
        raise InputError("papo_entropy is a part of PAPO and needs papo. Add --papo, such as 0.01.")
    is_quantized = trl_fields.get("load_in_4bit") or trl_fields.get("load_in_8bit")
    if is_quantized and not trl_fields.get("use_peft"):
        raise InputError("weights in 4 or 8 bits cannot be trained. Add --use-peft.")
    if int(str(values.get("dynamic_sampling", 0))) < 0:
        raise InputError("dynamic_sampling is below 0. Give the number of further draws, or 0.")
    trackers = trl_fields.get("report_to")
    require_trackers(trackers if isinstance(trackers, str | list) else None)
    require_extras(trl_fields)
    settings = TrainingSettings(
        output_dir=output_dir,
        **{name: kind(values[name]) for name, kind in own_types.items() if name in values},
        trainer={k: v for k, v in trl_fields.items() if k in trainer_fields(method)},
        model={k: v for k, v in trl_fields.items() if k in model_fields()},
    )
    # Unknown rewards are refused here, before a model is loaded.
    if method == "grpo":
        import trl

        default = trl.GRPOConfig.max_completion_length
        max_tokens = settings.trainer.get("max_completion_length", default)
        reward_functions(
            settings.rewards, settings.prompt, max_completion_length=max_tokens, load=False
        )
    return settings
