"""What a training run is asked for: medr1's own settings, and fields of TRL's configurations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medr1.checkpoints.finding import is_adapter
from medr1.errors import InputError
from medr1.models import LoadedModel
from medr1.rewards import reward_functions
from medr1.train.checks import require_ranges
from medr1.train.extras import require_extras
from medr1.train.fields import (
    CONFIGS,
    convert_values,
    model_fields,
    require_method_fields,
    trainer_fields,
)
from medr1.train.tracking import require_trackers

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import BitsAndBytesConfig
    from trl import ModelConfig

LORA_TARGETS = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
"""The linear layers of the language models of Qwen2-VL, Qwen2.5-VL and Qwen3-VL."""


@dataclass(frozen=True)
class TrainingSettings:
    """What medr1 decides itself; everything else is a field of one of TRL's configurations."""

    output_dir: Path
    method: str = "grpo"
    """A key of fields.CONFIGS."""
    prompt: str = "nothink"
    """A name, a file or a text, as in prompts.template."""
    rewards: tuple[str, ...] = ("accuracy", "format")
    freeze_vision: bool = False
    shared_prefix: bool = True
    """Run each prompt once for all its completions, where that applies (train/shared_prefix.py)."""
    dtype: str | None = None
    """What is computed in, where that is not the dtype of the weights: bfloat16 or float16."""
    min_pixels: int | None = None
    max_pixels: int | None = None
    max_prompt_length: int | None = None
    """Tokens of a prompt with its images; a longer one is refused. None: what the model takes."""
    completions_steps: int = 10
    """Steps between two looks at completions; 0: none are kept."""
    trainer: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the method's configuration by name."""
    model: Mapping[str, Any] = field(default_factory=dict)
    """Fields of ModelConfig and ScriptArguments by name."""


def trainer_config(settings: TrainingSettings, loaded: LoadedModel) -> Any:
    """TRL's GRPOConfig or SFTConfig for these settings; InputError for values that TRL refuses."""
    import trl

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
    if settings.method == "sft":
        fixed["max_length"] = None  # TRL would cut at 1024 tokens, through the image or the answer
    given = {**fixed, **settings.trainer}
    given["report_to"] = given["report_to"] or []  # None would be the name of one
    try:
        config = getattr(trl, CONFIGS[settings.method])(**given)
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"training configuration refused: {reason}") from None
    if is_adapter(loaded.path):
        _require_whole_start(settings, loaded, config)
    return config


def _require_whole_start(settings: TrainingSettings, loaded: LoadedModel, config: Any) -> None:
    """Refuse a run from an adapter that would name, or hold itself to, the adapter's base alone."""
    reason = ""
    if settings.model.get("use_peft"):  # adapter_config.json names a folder of whole weights
        reason = "--use-peft trains an adapter on a whole checkpoint"
    elif getattr(config, "beta", 0):  # TRL reads the reference from the folder of the weights
        reason = "with a beta, the reference is the model that training starts from"
    if reason:
        raise InputError(
            f"{reason}, and {loaded.path} is an adapter: merge it first with medr1 merge."
        )


def compute_dtype(settings: TrainingSettings, loaded: LoadedModel) -> str:
    """The name of the dtype that the forward and backward passes run in."""
    return settings.dtype or str(loaded.dtype).removeprefix("torch.")


def lora_config(settings: TrainingSettings) -> PeftConfig | None:
    """The adapter to train, where `use_peft` asks for one instead of all weights.

    Where no target modules are named, all linear layers of the language model: the vision tower's
    have the same names in some architectures, and stay as they are.
    """
    from trl import get_peft_config

    try:
        config: Any = get_peft_config(_model_config(settings))
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"model configuration refused: {reason}") from None
    if config is not None and config.target_modules is None:
        config.target_modules = LORA_TARGETS
    return config


def quantization_config(settings: TrainingSettings) -> BitsAndBytesConfig | None:
    """How the layers under an adapter are held in 4 or 8 bits, where `load_in_4bit` asks for it.

    The vision tower stays whole: no adapter makes up for what it would lose.
    """
    chosen = _model_config(settings)
    if not (chosen.load_in_4bit or chosen.load_in_8bit):
        return None
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=chosen.load_in_4bit,
        load_in_8bit=chosen.load_in_8bit,
        llm_int8_skip_modules=["model.visual", "lm_head"],
        bnb_4bit_compute_dtype=settings.dtype,
        bnb_4bit_quant_type=chosen.bnb_4bit_quant_type,
        bnb_4bit_use_double_quant=chosen.use_bnb_nested_quant,
        bnb_4bit_quant_storage=chosen.bnb_4bit_quant_storage,
    )


def _model_config(settings: TrainingSettings) -> ModelConfig:
    """TRL's ModelConfig for these settings; InputError for values that TRL refuses."""
    from trl import ModelConfig

    own = ModelConfig.__dataclass_fields__.keys()
    try:
        return ModelConfig(**{k: v for k, v in settings.model.items() if k in own})
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"model configuration refused: {reason}") from None


def settings_from(values: Mapping[str, Any], output_dir: Path) -> TrainingSettings:
    """The settings that a configuration file such as configs/tiny.yaml stands for.

    Raises InputError for a value that is not of its field's type or range, a field that may not be
    set or belongs to another method, and a reward that the prompt cannot have, and
    ModuleNotFoundError for a package that a field needs and that is not here.
    """
    method = str(values.get("method", "grpo"))
    require_method_fields(method, values)
    names = {"batch_size": "per_device_train_batch_size"}
    others = ("model_path", "data", "answer_types", "device")
    own: dict[str, Any] = {"rewards": tuple}
    own |= dict.fromkeys(("freeze_vision", "shared_prefix"), bool)
    own |= dict.fromkeys(("method", "prompt", "dtype"), str)
    numbers = ("min_pixels", "max_pixels", "max_prompt_length", "completions_steps")
    own |= dict.fromkeys(numbers, int)
    fields = {names.get(k, k): v for k, v in values.items() if k not in (*others, *own)}
    typed = convert_values(fields, method)
    require_ranges(typed)
    if (typed.get("load_in_4bit") or typed.get("load_in_8bit")) and not typed.get("use_peft"):
        raise InputError("weights of 4 or 8 bits are not trained themselves. Add --use-peft.")
    require_trackers(typed.get("report_to"))
    require_extras(typed)
    settings = TrainingSettings(
        output_dir=output_dir,
        **{name: kind(values[name]) for name, kind in own.items() if name in values},
        trainer={k: v for k, v in typed.items() if k in trainer_fields(method)},
        model={k: v for k, v in typed.items() if k in model_fields()},
    )
    if method == "grpo":  # refused before a model is loaded
        longest = settings.trainer.get("max_completion_length", 1)
        reward_functions(settings.rewards, settings.prompt, max_completion_length=longest)
    return settings
