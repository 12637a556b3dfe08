"""How a run begins: with its first step, from a checkpoint of the same run, or not at all.

An output folder belongs to the run whose configuration is in its training.json. A run is resumed
only with the same configuration. These settings may differ: how often checkpoints are saved, how
long processes wait for each other, what is logged, and the number of processes and their batch
size, if the number of completions per update and per generation stays the same.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec import ValidationError, convert

from medr1.checkpoints.finding import LOADED_SUFFIXES
from medr1.checkpoints.integrity import CHECKSUMS, checkpoint_sha256
from medr1.data.readers import Questions
from medr1.documents.training import TrainingPlan, TrainingRecord
from medr1.errors import InputError, OutputError, StateError
from medr1.files import (
    clear_temporaries,
    in_gb,
    needs_overwrite,
    parse_json,
    prepare_folder,
    read_text,
    sha256_of,
)
from medr1.journal import locked_file, require_unlocked
from medr1.models.loading import library_versions
from medr1.train.recovery.checkpoint_manifest import checkpoints, newest_checkpoint
from medr1.train.settings import TrainingSettings

logger = logging.getLogger("medr1")

RECORD = "training.json"
"""The file in the output folder with the plan of the run, its configuration and versions."""
LOCK = ".lock"
"""The file in the output folder that a run locks while it works there."""

_MAY_CHANGE = {
    "save_steps", "save_strategy", "save_total_limit", "ddp_timeout", "dataloader_num_workers",
    "report_to", "run_name", "log_level", "disable_tqdm",
}  # fmt: skip
"""TRL's fields that may differ when a run is resumed; they do not change what is learned."""
_NEWER: Mapping[str, object] = {
    "dynamic_sampling": 0,
    "group_by_image": False,
    "group_by_length": False,
    "papo": 0.0,
    "papo_entropy": 0.0,
}
"""Settings that runs of older versions do not have -> the value that equals such a run. They are
recorded only with another value, so that older runs can be resumed."""
_BATCH_FIELDS = {
    "per_device_train_batch_size", "gradient_accumulation_steps", "steps_per_generation",
    "generation_batch_size",
}  # fmt: skip
"""TRL's fields that may differ if the numbers of completions stay the same (`_completions`)."""


@dataclass(frozen=True)
class RunState:
    """The state of an output folder when a run begins."""

    configuration: Mapping[str, object]
    """The run's configuration, which the first process writes to training.json."""
    checkpoint: Path | None = None
    """The checkpoint to resume from; None if the run begins with its first step."""
    is_finished: bool = False
    """Whether the run is finished, so that nothing is left to do."""


def configuration(
    settings: TrainingSettings,
    checkpoint: Path,
    questions: Questions,
    validation_questions: Questions | None = None,
) -> dict[str, object]:
    """The configuration by which a run is recognized when it is resumed.

    Args:
        settings: The run's settings.
        checkpoint: The checkpoint that training starts from.
        questions: The questions to train on.
        validation_questions: The questions of --eval-data, which choose the best step; None
            without validation.

    Returns:
        A document for training.json: hashes of the model and the data, and every setting that
        changes what is learned.
    """
    own = dataclasses.asdict(settings)
    trainer, model = own.pop("trainer"), own.pop("model")
    del own["output_dir"], own["completions_steps"]
    # The address may change. Runs of older versions have no such key.
    if own.pop("rollout_url"):
        own["rollouts"] = "server"
    # The file may be moved; what counts is what it says.
    if curriculum := own.pop("curriculum"):
        own["curriculum_sha256"] = sha256_of(Path(curriculum))
    own = {name: own[name] for name in own if name not in _NEWER or own[name] != _NEWER[name]}
    document = {
        "model_sha256": checkpoint_sha256(checkpoint),
        "data_sha256": questions.sha256,
        "eval_data_sha256": validation_questions.sha256 if validation_questions else None,
        "samples": len(questions.samples),
        **own,
        **model,
        **{
            name: value
            for name, value in trainer.items()
            if name not in _MAY_CHANGE | _BATCH_FIELDS
        },
        **_completions(trainer),
    }
    as_json: dict[str, object] = json.loads(json.dumps(document, default=str))
    return as_json


def _completions(trainer: Mapping[str, Any]) -> dict[str, int]:
    """The numbers of completions per update and per generation, over all processes."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    batch = processes * (trainer.get("per_device_train_batch_size") or 8)
    step = batch * (trainer.get("gradient_accumulation_steps") or 1)
    steps_per_generation = trainer.get("steps_per_generation")
    generation = trainer.get("generation_batch_size") or (
        batch * steps_per_generation if steps_per_generation else step
    )
    return {"completions_per_step": step, "completions_per_generation": generation}


def inspect_run_folder(
    output: Path, run_configuration: Mapping[str, object], *, overwrite: bool, first: bool
) -> RunState:
    """Find out where a run begins in an output folder, without changing anything there.

    Args:
        output: The output folder, which may not exist yet.
        run_configuration: The `configuration` of the run.
        overwrite: Whether the folder will be replaced, so that its content does not matter.
        first: Whether this is the first process, which does all checks. The others only find out
            whether the run is finished.

    Raises:
        InputError: The folder belongs to another run.
        LockedError: Another run is writing to the folder.
        StateError: training.json cannot be read, or no checkpoint is complete.
        OutputError: The folder cannot be written to.
    """
    if first and output.is_dir():
        require_unlocked(output / LOCK)
        if not os.access(output, os.W_OK):
            raise OutputError(f"cannot write to {output}. Choose another --output-dir.")
    if overwrite or not (output / RECORD).is_file():
        return RunState(run_configuration)
    is_finished = (output / CHECKSUMS).is_file()
    if first:
        _require_same(output, run_configuration)
    if is_finished or not first:
        return RunState(run_configuration, is_finished=is_finished)
    return RunState(run_configuration, checkpoint=newest_checkpoint(output))


@contextmanager
def locked_run_folder(
    output: Path, run_state: RunState, *, overwrite: bool, first: bool
) -> Iterator[None]:
    """Prepare the output folder, and keep it locked against other runs inside the `with` block.

    Args:
        output: The output folder.
        run_state: Where the run begins, from `inspect_run_folder`.
        overwrite: Whether to move a folder with content aside, as .bak.
        first: Whether this is the first process. The others do nothing.

    Raises:
        InputError: The folder has other files, and `overwrite` is False.
        LockedError: Another run is writing to the folder.
        OutputError: The folder cannot be written to.
    """
    if not first:
        yield
        return
    has_content = output.is_dir() and any(p for p in output.iterdir() if not p.name.startswith("."))
    if overwrite or output.is_file() or (has_content and not (output / RECORD).is_file()):
        prepare_folder(output, overwrite=overwrite)
    with locked_file(output / LOCK):
        clear_temporaries(output)
        if run_state.checkpoint is None and (output / RECORD).is_file():
            logger.info("%s: no checkpoint was saved there; starting from the beginning.", output)
        yield


def recorded_run(output: Path) -> TrainingRecord | None:
    """The training.json of the run in an output folder; None if there is none.

    Args:
        output: The output folder, which may not exist yet.

    Raises:
        StateError: It is not JSON.
        InputError: It is the document of another program, or of another version of medr1.
    """
    return _read_record(output) if (output / RECORD).is_file() else None


def _read_record(output: Path) -> TrainingRecord:
    """The document in training.json.

    Raises:
        StateError: It is not JSON.
        InputError: It is the document of another program, or of another version of medr1.
    """
    try:
        document = parse_json(read_text(output / RECORD), str(output / RECORD))
    except InputError as error:
        raise StateError(
            f"{error} Or start a new run with --overwrite, which keeps the old folder as .bak."
        ) from None
    try:
        return convert(document, TrainingRecord)
    except ValidationError as error:
        raise InputError(
            f"{output / RECORD} is not the record of a run that this version of medr1 can resume: "
            f"{error}. Choose another --output-dir, or give --overwrite, which keeps the old "
            "folder as .bak."
        ) from None


def _require_same(output: Path, run_configuration: Mapping[str, object]) -> None:
    """Raise InputError if the folder belongs to another run; warn if library versions differ."""
    record = _read_record(output)
    old_values = record.configuration
    differences = [
        f"{name} was {_short(old_values.get(name))}, is {_short(run_configuration.get(name))}"
        for name in sorted(old_values.keys() | run_configuration.keys())
        if old_values.get(name) != run_configuration.get(name)
    ]
    if differences:
        raise needs_overwrite(output, f"belongs to another run: {'; '.join(differences[:5])}")
    if record.versions != library_versions():
        logger.warning(
            "%s was begun with other versions of the libraries, so its results may differ slightly "
            "from those of an uninterrupted run.",
            output,
        )


def _short(value: object) -> str:
    return "not given" if value is None else str(value)[:40]


def require_space(
    output: Path, plan: TrainingPlan, base: Path, save_strategy: str, limit: int | None
) -> None:
    """Check that the disk has space for a checkpoint and the final weights.

    If it has space for these, but not for all checkpoints that are kept at the same time, there is
    a warning. The sizes are estimates: AdamW has two numbers for each trained weight, and the files
    beside the weights are as large as those of the base checkpoint.

    Args:
        output: The output folder.
        plan: The plan of the run, from `run.resolve_plan`.
        base: The checkpoint that training starts from.
        save_strategy: TRL's field; "no" if no checkpoints are saved.
        limit: Number of checkpoints that are kept; None keeps all.

    Raises:
        OutputError: There is too little space.
    """
    saves = save_strategy != "no"
    other_files = sum(p.stat().st_size for p in base.iterdir() if p.suffix in LOADED_SUFFIXES)
    other_files -= sum(p.stat().st_size for p in base.glob("*.safetensors"))
    width = {"float32": 4, "float64": 8}.get(plan.weights_dtype, 2)  # bytes of a weight
    trained = plan.trained_parameters * width
    is_adapter = plan.model_fields.get("use_peft")
    final = other_files + (trained if is_adapter else plan.parameters * width)
    checkpoint = final + 2 * trained
    free = shutil.disk_usage(output).free
    needed = final + (checkpoint if saves else 0)
    space = f"{output} has {in_gb(free)} of free space; a checkpoint takes {in_gb(checkpoint)}"
    if free < needed:
        raise OutputError(
            f"{space}, and with the final weights {in_gb(needed)} are needed. Delete files, or "
            "choose another --output-dir."
        )
    num_saved = len(checkpoints(output))
    num_to_save = max(1, limit + 1 - num_saved) if limit else 2
    if saves and free < num_to_save * checkpoint + final:
        logger.warning(
            "%s. The run will stop when the disk is full. Delete files to make space.", space
        )
