"""One training run: from a loaded model and questions to a checkpoint, whatever the method."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medr1.checkpoints.integrity import write_checksums
from medr1.data.readers import Questions
from medr1.errors import InputError
from medr1.files import to_json, write_atomic
from medr1.models import (
    LoadedModel,
    checkpoint_document,
    library_versions,
    outline,
    prompt_record,
)
from medr1.prompts import prompt_name
from medr1.train import grpo, sft
from medr1.train.begin import RECORD, RunState, configuration, require_space
from medr1.train.callbacks import EveryNSteps
from medr1.train.card import model_card
from medr1.train.checks import (
    refusals_as_input_errors,
    require_accepted,
    require_adapter,
    require_no_reference_sync,
)
from medr1.train.plan import dropout_in_groups, num_steps, run_plan, sharding
from medr1.train.progress import Progress
from medr1.train.settings import (
    TrainingSettings,
    compute_dtype,
    lora_config,
    quantization_config,
    trainer_config,
)
from medr1.train.tracking import reporting
from medr1.train.validation import BEST, BestCheckpoint, Validation

if TYPE_CHECKING:
    from transformers import Trainer, TrainerCallback

logger = logging.getLogger("medr1")

METHODS: dict[str, Any] = {"grpo": grpo, "sft": sft}
"""Each has `fitting_samples` and `build_trainer`."""


def train(
    loaded: LoadedModel,
    questions: Questions,
    settings: TrainingSettings,
    callbacks: Sequence[TrainerCallback] = (),
    validation: Validation | None = None,
    run_state: RunState | None = None,
    plan: Mapping[str, Any] | None = None,
) -> Path:
    """Run the method and write the trained checkpoint to `settings.output_dir`, which it returns.

    Beside the weights: `medr1.json`, `metrics.jsonl` (a line a logged step), `alarms.jsonl` and
    `completions.jsonl` where there are any, `config.json`s of the model, and last `SHA256SUMS`.
    With a validation, the folder `best` holds the checkpoint of the step that was best under it.
    `run_state` is the state of the run folder, from `begin.inspect_run_folder`; without it the run
    begins with its first step. `plan` is the result of `resolved`, if it was called already.

    Raises InputError for settings or data that cannot be trained on, OutputError if the disk is
    full, StoppedBySignal after SIGTERM or SIGUSR1.
    """
    from medr1.train.stopping import Watch

    # the plan makes a configuration of its own, which resets accelerate's state: before the trainer
    plan = plan or resolved(loaded, questions, settings)
    if "dropout" in plan and is_first_process():
        logger.warning("dropout: %s.", plan["dropout"])
    run_state = run_state or RunState(configuration(settings, loaded.path, questions))
    output, progress = settings.output_dir, Progress()
    with Watch(output) as watch:
        method = METHODS[settings.method]
        trainer = method.build_trainer(loaded, questions, settings, [progress, *callbacks])
        require_sharding(trainer, plan["sharding"])
        document = partial(_document, loaded, settings, run_state.configuration, trainer.args.seed)
        save = partial(write_checkpoint, trainer, document)
        if trainer.is_world_process_zero():
            trainer.files_beside = {"medr1.json": document()}
            write_atomic(
                output / RECORD, to_json({**plan, "configuration": run_state.configuration})
            )
            require_space(output, plan, loaded.path, trainer.args.save_strategy, trainer.limit)
        if validation is not None:
            best = BestCheckpoint(trainer, validation, output / BEST, save)
            every = validation.num_steps or ceil(plan["steps"] / 10)
            trainer.add_callback(EveryNSteps(every, best))
        try:
            with reporting():
                trainer.train_watched(watch, run_state.checkpoint)
        finally:
            progress.close()
        if trainer.is_finished:
            save(output)
            if is_first_process():
                logger.info("checkpoint written: %s", output)
        trainer.end_if_stopped(watch)
    return output


def write_checkpoint(
    trainer: Any,
    document: Callable[..., str],
    folder: Path,
    validated: Mapping[str, Any] | None = None,
) -> None:
    """Write what has been trained so far, with medr1.json and last SHA256SUMS; on every process.

    `document` makes the text of medr1.json; `validated` is what validation measured at this step.
    """
    from medr1.train.resume import writing

    with writing(folder / "the trained weights"):
        trainer.save_model(str(folder))  # by every process: where weights are sharded
    if trainer.is_world_process_zero():
        (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle; training.json says more
        described = document(validation=validated)
        write_atomic(folder / "medr1.json", described)
        name = folder.name.lstrip(".")  # what a validation finds best is still beside its place
        write_atomic(folder / "README.md", model_card(name, json.loads(described)))
        write_checksums(folder)


def _document(
    loaded: LoadedModel,
    settings: TrainingSettings,
    configuration: Mapping[str, Any],
    seed: int,
    *,
    validation: Mapping[str, Any] | None = None,
) -> str:
    """The medr1.json of this run's checkpoints."""
    return checkpoint_document(
        base=loaded.path.resolve().name,
        base_sha256=configuration["model_sha256"],
        method=settings.method,
        **prompt_record(settings.prompt),
        answer_style=loaded.info.answer_style,
        data_sha256=configuration["data_sha256"],
        seed=seed,
        **({"validation": validation} if validation else {}),
        versions=library_versions(),
    )


def resolved(
    loaded: LoadedModel, questions: Questions, settings: TrainingSettings
) -> dict[str, Any]:
    """The plan of a run: what goes in, how often, what it needs, and every setting given."""
    samples = METHODS[settings.method].fitting_samples(loaded, questions, settings)
    questions = replace(questions, samples=samples)
    completions: list[str] = []
    if settings.method == "sft":
        completions = sft.target_completions(loaded, questions.samples, settings.prompt)
    config = trainer_config(settings, loaded)
    adapter, held = lora_config(settings), quantization_config(settings)
    trained = outline(loaded.model.config, loaded.dtype)
    if settings.freeze_vision:
        trained.model.visual.requires_grad_(False)
    steps = num_steps(config, len(samples), sharding().processes)
    rewards = len(settings.rewards) if settings.method == "grpo" else None
    require_accepted(config, loaded, max(steps, 1), rewards)
    if adapter is not None:
        from peft import get_peft_model

        require_no_reference_sync(config)
        with refusals_as_input_errors("adapter"):
            trained = get_peft_model(trained, adapter)
        require_adapter(trained)
    shares = settings.method == "grpo" and settings.shared_prefix
    dropout = dropout_in_groups(trained, config) if shares else None
    return {
        "model": str(loaded.path),
        "device": loaded.device.type,
        "dtype": compute_dtype(settings, loaded),
        "weights_dtype": str(loaded.dtype).removeprefix("torch."),
        "method": settings.method,
        "prompt": prompt_name(settings.prompt),
        **({"rewards": list(settings.rewards)} if settings.method == "grpo" else {}),
        "freeze_vision": settings.freeze_vision,
        "shared_prefix": settings.shared_prefix,
        **({"dropout": dropout} if dropout else {}),
        **run_plan(
            loaded,
            questions,
            config,
            settings.prompt,
            trained,
            has_adapter=adapter is not None,
            bits=None if held is None else 4 if held.load_in_4bit else 8,
            completions=completions,
        ),
        "trainer_fields": dict(settings.trainer),
        "model_fields": dict(settings.model),
        "data_sha256": questions.sha256,
        "versions": library_versions(),
    }


def require_sharding(trainer: Trainer, kind: str) -> None:
    """Refuse a run whose model is not split as the launcher was asked to split it.

    accelerate splits models on GPUs alone; on CPUs it copies them, and says nothing.
    """
    missing = (kind == "fsdp" and not trainer.is_fsdp_enabled) or (
        kind.startswith("zero") and not trainer.is_deepspeed_enabled
    )
    if missing:
        raise InputError(
            f"the launcher asks for {kind}, which accelerate gives to GPUs alone. "
            "Use configs/accelerate/ddp.yaml here, or torchrun."
        )


def is_first_process() -> bool:
    """Whether this process writes and logs: the only one, or rank 0 of a launcher's."""
    return os.environ.get("RANK", "0") == "0"
