"""What a training run is asked for: medr1's own settings, and fields of TRL's configurations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medr1.errors import InputError
from medr1.models import LoadedModel
from medr1.train.fields import checked, model_fields, trainer_fields

if TYPE_CHECKING:
    from peft import PeftConfig
    from trl import GRPOConfig

LORA_TARGETS = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
"""The linear layers of the language models of Qwen2-VL, Qwen2.5-VL and Qwen3-VL."""


@dataclass(frozen=True)
class TrainingSettings:
    """What medr1 decides itself; everything else is a field of one of TRL's configurations."""

    output_dir: Path
    prompt: str = "nothink"
    rewards: tuple[str, ...] = ("accuracy", "format")
    freeze_vision: bool = False
    dtype: str | None = None
    """What is computed in, where that is not the dtype of the weights: bfloat16 or float16."""
    min_pixels: int | None = None
    max_pixels: int | None = None
    max_prompt_length: int | None = None
    """Tokens of a prompt with its images; a longer one is refused. None: what the model takes."""
    trainer: Mapping[str, Any] = field(default_factory=dict)
    """Fields of GRPOConfig by name."""
    model: Mapping[str, Any] = field(default_factory=dict)
    """Fields of ModelConfig and ScriptArguments by name."""


def trainer_config(settings: TrainingSettings, loaded: LoadedModel) -> GRPOConfig:
    """TRL's configuration for these settings; InputError for values that TRL refuses."""
    from trl import GRPOConfig

    dtype = compute_dtype(settings, loaded)
    fixed = {
        "output_dir": str(settings.output_dir),
        "remove_unused_columns": False,
        "disable_tqdm": True,
        "report_to": [],
        "use_cpu": loaded.device.type == "cpu",
        "bf16": dtype == "bfloat16",
        "fp16": dtype == "float16",
        "gradient_checkpointing": False,
        "ddp_timeout": 600,  # seconds until a process that hangs ends the run
    }
    try:
        return GRPOConfig(**{**fixed, **settings.trainer})
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"training configuration refused: {reason}") from None


def compute_dtype(settings: TrainingSettings, loaded: LoadedModel) -> str:
    """The name of the dtype that the forward and backward passes run in."""
    return settings.dtype or str(loaded.dtype).removeprefix("torch.")


def lora_config(settings: TrainingSettings) -> PeftConfig | None:
    """The adapter to train, where `use_peft` asks for one instead of all weights.

    Where no target modules are named, all linear layers of the language model: the vision tower's
    have the same names in some architectures, and stay as they are.
    """
    from trl import ModelConfig, get_peft_config

    own = ModelConfig.__dataclass_fields__.keys()
    given = {name: value for name, value in settings.model.items() if name in own}
    if given.keys() & {"load_in_4bit", "load_in_8bit"}:
        raise InputError("load_in_4bit and load_in_8bit are not there yet. Use use_peft alone.")
    try:
        config: Any = get_peft_config(ModelConfig(**given))
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"model configuration refused: {reason}") from None
    if config is not None and config.target_modules is None:
        config.target_modules = LORA_TARGETS
    return config


def settings_from(values: Mapping[str, Any], output_dir: Path) -> TrainingSettings:
    """The settings that a configuration file such as configs/tiny.yaml stands for.

    Raises InputError for a value that is not of its field's type, or a field that may not be set.
    """
    names = {"batch_size": "per_device_train_batch_size"}
    others = ("model_path", "data", "answer_types", "device")
    own: dict[str, Any] = {"rewards": tuple, "prompt": str, "freeze_vision": bool, "dtype": str}
    own |= dict.fromkeys(("min_pixels", "max_pixels", "max_prompt_length"), int)
    fields = {names.get(k, k): v for k, v in values.items() if k not in (*others, *own)}
    typed = checked(fields)
    return TrainingSettings(
        output_dir=output_dir,
        **{name: kind(values[name]) for name, kind in own.items() if name in values},
        trainer={k: v for k, v in typed.items() if k in trainer_fields()},
        model={k: v for k, v in typed.items() if k in model_fields()},
    )
