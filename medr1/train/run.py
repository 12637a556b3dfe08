"""One training run: from a loaded model and questions to a checkpoint, whatever the method."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medr1.checkpoints.integrity import checkpoint_sha256, write_checksums
from medr1.data.readers import Questions
from medr1.files import to_json, write_atomic
from medr1.models import LoadedModel, checkpoint_document, library_versions, outline
from medr1.prompts import prompt_sha256
from medr1.train.grpo import build_trainer
from medr1.train.lengths import set_pixel_limits
from medr1.train.plan import run_plan
from medr1.train.settings import TrainingSettings, compute_dtype, lora_config, trainer_config

if TYPE_CHECKING:
    from transformers import TrainerCallback

logger = logging.getLogger("medr1")


def train(
    loaded: LoadedModel,
    questions: Questions,
    settings: TrainingSettings,
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


def resolved(
    loaded: LoadedModel, questions: Questions, settings: TrainingSettings
) -> dict[str, Any]:
    """The plan of a run: what goes in, how often, what it needs, and every setting given."""
    set_pixel_limits(loaded.processor, settings.min_pixels, settings.max_pixels)
    config = trainer_config(settings, loaded)
    adapter = lora_config(settings)
    trained = outline(loaded.model.config, loaded.dtype)
    if settings.freeze_vision:
        trained.model.visual.requires_grad_(False)
    if adapter is not None:
        from peft import get_peft_model

        trained = get_peft_model(trained, adapter)
    return {
        "model": str(loaded.path),
        "device": loaded.device.type,
        "dtype": compute_dtype(settings, loaded),
        "weights_dtype": str(loaded.dtype).removeprefix("torch."),
        "prompt": settings.prompt,
        "rewards": list(settings.rewards),
        "freeze_vision": settings.freeze_vision,
        "shared_prefix": settings.shared_prefix,
        **run_plan(
            loaded, questions, config, settings.prompt, trained, has_adapter=adapter is not None
        ),
        "trainer_fields": dict(settings.trainer),
        "model_fields": dict(settings.model),
        "data_sha256": questions.sha256,
        "versions": library_versions(),
    }


def is_first_process() -> bool:
    """Whether this process writes and logs: the only one, or rank 0 of a launcher's."""
    return os.environ.get("RANK", "0") == "0"
