"""One training run: from a loaded model and questions to a checkpoint, whatever the method."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medr1.checkpoints.integrity import write_checksums
from medr1.data.readers import Questions
from medr1.files import to_json, write_atomic
from medr1.models import LoadedModel, checkpoint_document, library_versions, outline
from medr1.prompts import prompt_sha256
from medr1.train.begin import RECORD, Beginning, configuration, require_space
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
    begun: Beginning | None = None,
) -> Path:
    """Run GRPO and write the trained checkpoint to `settings.output_dir`; returns that folder.

    Beside the weights: `medr1.json`, `metrics.jsonl` (a line a logged step), `config.json`s of the
    model, and last `SHA256SUMS`. Raises InputError for settings or data that cannot be trained on,
    OutputError where the disk is full, StoppedBySignal after SIGTERM or SIGUSR1. `begun` is what
    `begin.look_at` found in the folder; without it the run begins with its first step.
    """
    from medr1.train.resume import writing
    from medr1.train.stopping import Watch

    # the plan makes a GRPOConfig of its own, which resets accelerate's state: before the trainer
    plan = resolved(loaded, questions, settings)
    begun = begun or Beginning(configuration(settings, loaded.path, questions))
    output = settings.output_dir
    with Watch(output) as watch:
        trainer = build_trainer(loaded, questions, settings, callbacks)
        if trainer.is_world_process_zero():
            document = _document(loaded, settings, begun.configuration, trainer.args.seed)
            trainer.files_beside = {"medr1.json": document}
            write_atomic(output / RECORD, to_json({**plan, "configuration": begun.configuration}))
            require_space(output, plan, loaded.path, trainer.args.save_strategy, trainer.limit)
        trainer.train_watched(watch, begun.checkpoint)
        if trainer.is_finished:
            with writing(output / "the trained weights"):
                trainer.save_model(str(output))  # by every process: where weights are sharded
            if trainer.is_world_process_zero():
                write_atomic(output / "medr1.json", trainer.files_beside["medr1.json"])
                write_checksums(output)
                logger.info("checkpoint written: %s", output)
        trainer.end_if_stopped(watch)
    return output


def _document(
    loaded: LoadedModel, settings: TrainingSettings, configuration: Mapping[str, Any], seed: int
) -> str:
    """The medr1.json of this run's checkpoints."""
    return checkpoint_document(
        base=loaded.path.resolve().name,
        base_sha256=configuration["model_sha256"],
        method="grpo",
        prompt=settings.prompt,
        prompt_sha256=prompt_sha256(settings.prompt),
        answer_style=loaded.info.answer_style,
        data_sha256=configuration["data_sha256"],
        seed=seed,
        versions=library_versions(),
    )


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
