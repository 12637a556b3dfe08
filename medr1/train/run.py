"""One training run: from a loaded model and questions to a trained checkpoint.

The same code runs every method of `METHODS`; a method only checks its samples and builds its
trainer.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import ceil
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from msgspec import UNSET
from msgspec.structs import asdict
from msgspec.structs import replace as replace_field

from medr1.checkpoints.integrity import write_checksums
from medr1.data.readers import Questions
from medr1.documents.training import TrainingPlan, TrainingRecord
from medr1.errors import InputError
from medr1.files import to_json, write_atomic
from medr1.models.loading import (
    LoadedModel,
    checkpoint_document,
    library_versions,
    outline,
    prompt_record,
)
from medr1.models.parts import freeze_vision
from medr1.processes import is_first_process
from medr1.train import grpo, sft
from medr1.train.card import model_card
from medr1.train.dry_run.plan import (
    NOT_SHARED,
    current_sharding,
    generates,
    num_steps,
    run_plan,
)
from medr1.train.dry_run.setting_checks import (
    refusals_as_input_errors,
    require_accepted,
    require_adapter,
    require_no_reference_sync,
)
from medr1.train.library_internals import changes
from medr1.train.monitoring.best_checkpoint import BEST, BestCheckpoint, Validation
from medr1.train.monitoring.metrics_log import EveryNSteps
from medr1.train.monitoring.progress import Progress
from medr1.train.monitoring.tracking import wandb_run
from medr1.train.question_order import num_drawn, question_order
from medr1.train.recovery.run_state import RECORD, RunState, configuration, require_space
from medr1.train.settings import (
    TrainingSettings,
    lora_config,
    quantization_config,
    trainer_config,
)
from medr1.train.without_image import AnswersWithoutImage, add_answers_without_image

if TYPE_CHECKING:
    from transformers import Trainer, TrainerCallback

    from medr1.train.recovery.exact_resume import ExactResumeMixin

logger = logging.getLogger("medr1")

METHODS: dict[str, ModuleType] = {"grpo": grpo, "sft": sft}
"""Name of a method -> its module, which has `fitting_samples` and `build_trainer`."""


_ORDER = ("curriculum_sha256", "group_by_image")
"""Keys of a run's configuration on the order of the questions, which medr1.json has too."""


def train(
    loaded: LoadedModel,
    questions: Questions,
    settings: TrainingSettings,
    callbacks: Sequence[TrainerCallback] = (),
    validation: Validation | None = None,
    run_state: RunState | None = None,
    plan: TrainingPlan | None = None,
    answers_without_image: AnswersWithoutImage | None = None,
) -> Path:
    """Run the method, write the trained checkpoint to `settings.output_dir`, and return its path.

    Beside the weights there are: `medr1.json`, `metrics.jsonl` (one line per logged step),
    `alarms.jsonl` and `completions.jsonl` if there are any, the model's configuration files, and
    `SHA256SUMS`, which is written last.

    Args:
        loaded: The model to train.
        questions: The items to train on.
        settings: What to do.
        callbacks: Further callbacks of the trainer.
        validation: With it, the folder `best` has the checkpoint of the step that was best.
        run_state: The state of the run folder, from `recovery.run_state.inspect_run_folder`;
            without it the run begins with its first step.
        plan: The result of `resolve_plan`, if it was called already.
        answers_without_image: Answers of the model with grey images, for the reward
            "image-dependence".

    Raises:
        InputError: The settings or the data cannot be trained on.
        OutputError: The disk is full.
        StoppedBySignal: After SIGTERM or SIGUSR1.
    """
    from transformers.utils import logging as transformers_logging

    from medr1.train.recovery.signals import Watch

    # The plan makes a configuration of its own, which resets accelerate's state: it has to come
    # before the trainer.
    plan = plan or resolve_plan(loaded, questions, settings)
    if plan.dropout is not UNSET and is_first_process():
        logger.warning("dropout: %s.", plan.dropout)
    if plan.not_shared is not UNSET and is_first_process():
        logger.warning(NOT_SHARED, plan.not_shared)
    if plan.question_order is not UNSET and is_first_process():
        logger.info("Questions are drawn %s.", plan.question_order)
    run_state = run_state or RunState(configuration(settings, loaded.path, questions))
    output, progress = settings.output_dir, Progress()
    with Watch(output) as watch:
        method = METHODS[settings.method]
        verbosity = transformers_logging.get_verbosity()
        trainer = method.build_trainer(loaded, questions, settings, [progress, *callbacks])
        add_answers_without_image(trainer, settings.rewards, answers_without_image)
        progress.values = trainer.values_to_log
        # Trainer sets that of all processes but the first to "warning"
        transformers_logging.set_verbosity(verbosity)
        require_sharding(trainer, plan.sharding)
        document = partial(_document, loaded, settings, run_state.configuration, trainer.args.seed)
        save = partial(write_checkpoint, trainer, document)
        if trainer.is_world_process_zero():
            trainer.checkpoint_files = {"medr1.json": document()}
            record = TrainingRecord(**asdict(plan), configuration=dict(run_state.configuration))
            write_atomic(output / RECORD, to_json(record))
            save_strategy, limit = trainer.args.save_strategy, trainer.checkpoint_limit
            require_space(output, plan, loaded.path, save_strategy, limit)
        if validation is not None:
            best = BestCheckpoint(trainer, validation, output / BEST, save)
            interval = validation.num_steps or ceil(plan.steps / 10)
            trainer.add_callback(EveryNSteps(interval, best))
        try:
            with wandb_run():
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
    trainer: ExactResumeMixin,
    document: Callable[..., str],
    folder: Path,
    validated: Mapping[str, object] | None = None,
) -> None:
    """Write the weights as they are now, with medr1.json and last SHA256SUMS.

    It has to be called on every process: with sharded weights each holds only a part.

    Args:
        trainer: The trainer.
        document: Makes the text of medr1.json; its parameter `validation` is `validated`.
        folder: The folder to write.
        validated: What validation measured at this step; None without validation.

    Raises:
        OutputError: The disk is full.
    """
    from medr1.train.recovery.exact_resume import explain_write_errors

    with explain_write_errors(folder / "the trained weights"):
        trainer.save_model(str(folder))
    if trainer.is_world_process_zero():
        # A pickle, which could run code when it is loaded; training.json says more.
        (folder / "training_args.bin").unlink(missing_ok=True)
        document_text = document(validation=validated)
        write_atomic(folder / "medr1.json", document_text)
        # `BestCheckpoint` writes into a hidden folder, and gives it its name when it is complete.
        name = folder.name.lstrip(".")
        write_atomic(folder / "README.md", model_card(name, json.loads(document_text)))
        write_checksums(folder)


def _document(
    loaded: LoadedModel,
    settings: TrainingSettings,
    configuration: Mapping[str, object],
    seed: int,
    *,
    validation: Mapping[str, object] | None = None,
) -> str:
    """The text of medr1.json for a checkpoint of this run."""
    return checkpoint_document(
        base=loaded.path.resolve().name,
        base_sha256=configuration["model_sha256"],
        method=settings.method,
        **prompt_record(settings.prompt),
        answer_style=loaded.info.answer_style,
        data_sha256=configuration["data_sha256"],
        seed=seed,
        **{name: configuration[name] for name in _ORDER if name in configuration},
        **({"validation": validation} if validation else {}),
        versions=library_versions(),
    )


def resolve_plan(
    loaded: LoadedModel, questions: Questions, settings: TrainingSettings
) -> TrainingPlan:
    """The plan of a run: the data, the number of steps, the memory, and every setting.

    It warns if private methods of the libraries are not as medr1 needs them.

    Args:
        loaded: The model to train; an outline without weights is enough.
        questions: The items to train on.
        settings: What to do.

    Raises:
        InputError: The settings or the data cannot be trained on.
    """
    if is_first_process():
        for change in changes():
            logger.warning(change)
    samples = METHODS[settings.method].fitting_samples(loaded, questions, settings)
    original, questions = questions, replace(questions, samples=samples)
    completions: list[str] = []
    if settings.method == "sft":
        completions = sft.target_completions(loaded, questions.samples, settings.prompt)
    # While a configuration with ZeRO-3 exists, transformers splits each model that is made, and an
    # outline has no data to split: so the outline is made before the configuration.
    trained = outline(loaded.model.config, loaded.dtype)
    config = trainer_config(settings, loaded)
    quantization = quantization_config(settings)
    adapter = lora_config(settings, trained)
    if settings.freeze_vision:
        freeze_vision(trained)
    steps = num_steps(config, len(samples), current_sharding().processes)
    rewards = len(settings.rewards) if settings.method == "grpo" else None
    require_accepted(config, loaded, max(steps, 1), rewards)
    if adapter is not None:
        from peft import get_peft_model

        require_no_reference_sync(config)
        with refusals_as_input_errors("adapter"):
            adapted = get_peft_model(trained, adapter)
        require_adapter(adapted)
        trained = adapted  # type: ignore[assignment]  # it has the attributes of its base
    bits = None if quantization is None else 4 if quantization.load_in_4bit else 8
    plan = run_plan(
        loaded, questions, config, settings, trained, bits=bits, completions=completions
    )
    if not generates(config) or (order := question_order(settings, original, config)) is None:
        return plan
    return replace_field(plan, question_order=order.description(num_drawn(config, steps)))


def require_sharding(trainer: Trainer, kind: str) -> None:
    """Raise InputError if the model is not sharded as the launcher was told to.

    accelerate shards models on GPUs only; on CPUs it copies them without a warning.
    """
    is_missing = (kind == "fsdp" and not trainer.is_fsdp_enabled) or (
        kind.startswith("zero") and not trainer.is_deepspeed_enabled
    )
    if is_missing:
        raise InputError(
            f"the launcher's configuration asks for {kind}, which accelerate does on GPUs only. "
            "On this machine use configs/accelerate/ddp.yaml, or torchrun."
        )
