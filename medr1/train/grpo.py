"""GRPO on a vision-language model: TRL's GRPOTrainer, given medical questions and verdicts.

    for each step:
        draw P prompts; sample G completions of each from the policy      num_generations = G
        r_g = sum_k w_k * reward_k(completion_g)                           rewards.py
        A_g = (r_g - mean_G r) / (std_G r + 1e-4)                          scale_rewards = "group"
        rho_t = pi(token_t) / pi_old(token_t)
        L = -mean_t min(rho_t A, clip(rho_t, 1 - eps, 1 + eps) A) + beta KL(pi || ref)

Where it departs from the GRPO paper (arXiv 2402.03300), as TRL's defaults do: beta is 0, so there
is no reference model; one update a batch, so rho is 1 at the update; and the mean over tokens runs
over the whole batch (loss_type "dapo"), which does not favour short right answers.

    medr1 train --config configs/tiny.yaml --output-dir output/tiny
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medr1.checkpoints.integrity import checkpoint_sha256, write_checksums
from medr1.data.images import load_image, resolve_image
from medr1.data.readers import Questions
from medr1.errors import InputError
from medr1.files import to_json, write_atomic
from medr1.models import LoadedModel, checkpoint_document, control_tokens, library_versions
from medr1.prompts import as_plain_text, prompt_sha256, user_text
from medr1.records import Sample
from medr1.rewards import reward_functions
from medr1.train.fields import checked, model_fields, trainer_fields

if TYPE_CHECKING:
    from datasets import Dataset
    from peft import PeftConfig
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

logger = logging.getLogger("medr1")


LORA_TARGETS = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
"""The linear layers of the language models of Qwen2-VL, Qwen2.5-VL and Qwen3-VL."""


@dataclass(frozen=True)
class GrpoSettings:
    """What medr1 decides itself; everything else is a field of one of TRL's configurations."""

    output_dir: Path
    prompt: str = "nothink"
    rewards: tuple[str, ...] = ("accuracy", "format")
    freeze_vision: bool = False
    grpo: Mapping[str, Any] = field(default_factory=dict)
    """Fields of GRPOConfig by name."""
    model: Mapping[str, Any] = field(default_factory=dict)
    """Fields of ModelConfig and ScriptArguments by name."""


def grpo_config(settings: GrpoSettings, loaded: LoadedModel) -> GRPOConfig:
    """TRL's configuration for these settings; InputError for values that TRL refuses."""
    from trl import GRPOConfig

    dtype = str(loaded.dtype).removeprefix("torch.")
    fixed = {
        "output_dir": str(settings.output_dir),
        "remove_unused_columns": False,
        "disable_tqdm": True,
        "report_to": [],
        "use_cpu": loaded.device.type == "cpu",
        "bf16": dtype == "bfloat16",
        "fp16": dtype == "float16",
        "gradient_checkpointing": False,
    }
    try:
        return GRPOConfig(**{**fixed, **settings.grpo})
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"training configuration refused: {reason}") from None


def lora_config(settings: GrpoSettings) -> PeftConfig | None:
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


def settings_from(values: Mapping[str, Any], output_dir: Path) -> GrpoSettings:
    """The settings that a configuration file such as configs/tiny.yaml stands for.

    Raises InputError for a value that is not of its field's type, or a field that may not be set.
    """
    names = {"batch_size": "per_device_train_batch_size"}
    others = ("model_path", "data", "answer_types", "device", "dtype")
    own = {"rewards": tuple, "prompt": str, "freeze_vision": bool}
    fields = {names.get(k, k): v for k, v in values.items() if k not in (*others, *own)}
    typed = checked(fields)
    return GrpoSettings(
        output_dir=output_dir,
        **{name: kind(values[name]) for name, kind in own.items() if name in values},
        grpo={k: v for k, v in typed.items() if k in trainer_fields()},
        model={k: v for k, v in typed.items() if k in model_fields()},
    )


def training_set(samples: Sequence[Sample], image_root: Path, prompt: str, style: str) -> Dataset:
    """The samples as the columns TRL reads; images are decoded when a row is asked for."""
    from datasets import Dataset

    def rows(batch: dict[str, list[int]]) -> dict[str, list[Any]]:
        chosen = [samples[index] for index in batch["index"]]
        return {
            "prompt": [[{"role": "user", "content": user_text(s, prompt, style)}] for s in chosen],
            "images": [
                [load_image(resolve_image(name, image_root)).image for name in s.images]
                for s in chosen
            ],
            "id": [s.id for s in chosen],
            "solution": [s.ground_truth for s in chosen],
            "options": [dict(s.options) for s in chosen],
            "answer_type": [s.answer_type for s in chosen],
        }

    return Dataset.from_dict({"index": list(range(len(samples)))}).with_transform(rows)


def build_trainer(
    loaded: LoadedModel,
    questions: Questions,
    settings: GrpoSettings,
    callbacks: Sequence[TrainerCallback] = (),
) -> GRPOTrainer:
    """The trainer, ready to run: stock TRL, with our prompts, images and rewards."""
    from transformers import PrinterCallback
    from trl import GRPOTrainer

    from medr1.train.callbacks import MetricsLog

    tokens = control_tokens(loaded.processor)
    samples = [as_plain_text(sample, tokens) for sample in questions.require_complete()]
    config = grpo_config(settings, loaded)
    if settings.freeze_vision:
        loaded.model.model.visual.requires_grad_(False)
    rewards = reward_functions(
        settings.rewards, settings.prompt, max_completion_length=config.max_completion_length
    )
    reward_funcs: list[Any] = list(rewards)
    trainer = GRPOTrainer(
        model=loaded.model,
        reward_funcs=reward_funcs,
        args=config,
        train_dataset=training_set(
            samples, questions.image_root, settings.prompt, loaded.info.answer_style
        ),
        processing_class=loaded.processor,
        peft_config=lora_config(settings),
        callbacks=[MetricsLog(settings.output_dir / "metrics.jsonl"), *callbacks],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def is_first_process() -> bool:
    """Whether this process writes and logs: the only one, or rank 0 of a launcher's."""
    return os.environ.get("RANK", "0") == "0"


def train(
    loaded: LoadedModel,
    questions: Questions,
    settings: GrpoSettings,
    callbacks: Sequence[TrainerCallback] = (),
) -> Path:
    """Run GRPO and write the trained checkpoint to `settings.output_dir`; returns that folder.

    Beside the weights: `medr1.json`, `metrics.jsonl` (a line a logged step), `config.json`s of the
    model, and last `SHA256SUMS`. Raises InputError for settings or data that cannot be trained on.
    """
    # the plan makes a GRPOConfig of its own, which resets accelerate's state: before the trainer
    plan = resolved(loaded, questions, settings)
    if is_first_process():
        write_atomic(settings.output_dir / "training.json", to_json(plan))
    trainer = build_trainer(loaded, questions, settings, callbacks)
    trainer.train()
    trainer.save_model(str(settings.output_dir))  # by every process: where weights are sharded
    if trainer.is_world_process_zero():
        write_atomic(
            settings.output_dir / "medr1.json",
            checkpoint_document(
                base=loaded.path.resolve().name,
                base_sha256=checkpoint_sha256(loaded.path),
                method="grpo",
                prompt=settings.prompt,
                prompt_sha256=prompt_sha256(settings.prompt),
                answer_style=loaded.info.answer_style,
                data_sha256=questions.sha256,
                seed=trainer.args.seed,
                versions=library_versions(),
            ),
        )
        write_checksums(settings.output_dir)
        logger.info("checkpoint written: %s", settings.output_dir)
    return settings.output_dir


def resolved(loaded: LoadedModel, questions: Questions, settings: GrpoSettings) -> dict[str, Any]:
    """The plan of a run: what goes in, how often, and every setting given."""
    config = grpo_config(settings, loaded)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    completions = config.per_device_train_batch_size * config.gradient_accumulation_steps * world
    return {
        "model": str(loaded.path),
        "device": loaded.device.type,
        "dtype": str(loaded.dtype).removeprefix("torch."),
        "parameters": sum(p.numel() for p in loaded.model.parameters()),
        "samples": len(questions.samples),
        "prompt": settings.prompt,
        "rewards": list(settings.rewards),
        "freeze_vision": settings.freeze_vision,
        "completions_per_step": completions,
        "prompts_per_step": completions // (config.num_generations or 1),
        "max_steps": config.max_steps,
        "grpo": dict(settings.grpo),
        "model_fields": dict(settings.model),
        "data_sha256": questions.sha256,
        "versions": library_versions(),
    }
