"""How a run begins: in a new folder, from a checkpoint of the same run, or not at all.

A folder belongs to the run whose configuration its training.json holds. What only decides how
often is saved or how long is waited may change on the way, and so may the number of processes
and the batch of each, as long as an update is made of the same completions.
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

from medr1.checkpoints.finding import LOADED_SUFFIXES
from medr1.checkpoints.integrity import CHECKSUMS, checkpoint_sha256
from medr1.data.readers import Questions
from medr1.errors import InputError, OutputError, StateError
from medr1.files import clear_temporaries, in_gb, parse_json, prepare_folder, read_text
from medr1.journal import locked_file, require_unlocked
from medr1.models import library_versions
from medr1.train.manifest import checkpoints, newest_checkpoint
from medr1.train.settings import TrainingSettings

logger = logging.getLogger("medr1")

RECORD = "training.json"
LOCK = ".lock"

_MAY_CHANGE = {
    "save_steps", "save_strategy", "save_total_limit", "ddp_timeout", "dataloader_num_workers",
    "report_to", "run_name", "log_level", "disable_tqdm",
}  # fmt: skip
_SPLIT = {
    "per_device_train_batch_size", "gradient_accumulation_steps", "steps_per_generation",
    "generation_batch_size",
}  # fmt: skip
"""How an update's completions are dealt out; compared as their number."""


@dataclass(frozen=True)
class RunState:
    """Where a run begins."""

    configuration: Mapping[str, Any]
    """What training.json will hold; the first process's alone."""
    checkpoint: Path | None = None
    """The checkpoint to go on from; None: with the first step."""
    is_finished: bool = False
    """There is nothing left to do."""


def configuration(
    settings: TrainingSettings,
    checkpoint: Path,
    questions: Questions,
    held_back: Questions | None = None,
) -> dict[str, Any]:
    """What makes a run this run and no other, as training.json holds it.

    `held_back` are the questions that it is validated on, and by which its best step is chosen.
    """
    own = dataclasses.asdict(settings)
    trainer, model = own.pop("trainer"), own.pop("model")
    del own["output_dir"], own["completions_steps"]
    document = {
        "model_sha256": checkpoint_sha256(checkpoint),
        "data_sha256": questions.sha256,
        "eval_data_sha256": held_back.sha256 if held_back else None,
        "samples": len(questions.samples),
        **own,
        **model,
        **{name: value for name, value in trainer.items() if name not in _MAY_CHANGE | _SPLIT},
        **_completions(trainer),
    }
    return json.loads(json.dumps(document, default=str))


def _completions(trainer: Mapping[str, Any]) -> dict[str, int]:
    """How many completions an update and a generation are made of, over all processes."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    batch = processes * (trainer.get("per_device_train_batch_size") or 8)
    step = batch * (trainer.get("gradient_accumulation_steps") or 1)
    blocks = trainer.get("steps_per_generation")
    generation = trainer.get("generation_batch_size") or (batch * blocks if blocks else step)
    return {"completions_per_step": step, "completions_per_generation": generation}


def inspect_run_folder(
    output: Path, wanted: Mapping[str, Any], *, overwrite: bool, first: bool
) -> RunState:
    """Where a run with this configuration would begin in this folder; nothing is changed.

    `first`: this is the process that writes; the others only want to know whether the run is
    finished. Raises InputError for another run's folder, LockedError where one is at work there,
    StateError where what is there is damaged, OutputError where nothing can be written.
    """
    if first and output.is_dir():
        require_unlocked(output / LOCK)
        if not os.access(output, os.W_OK):
            raise OutputError(f"cannot write to {output}. Choose another place.")
    if overwrite or not (output / RECORD).is_file():
        return RunState(wanted)
    is_finished = (output / CHECKSUMS).is_file()
    if first:
        _require_same(output, wanted)
    if is_finished or not first:
        return RunState(wanted, is_finished=is_finished)
    return RunState(wanted, checkpoint=newest_checkpoint(output))


@contextmanager
def locked_run_folder(
    output: Path, run_state: RunState, *, overwrite: bool, first: bool
) -> Iterator[None]:
    """A block with the folder ready for this run, and held against others by the first process."""
    if not first:
        yield
        return
    shown = output.is_dir() and any(p for p in output.iterdir() if not p.name.startswith("."))
    if overwrite or output.is_file() or (shown and not (output / RECORD).is_file()):
        prepare_folder(output, overwrite=overwrite)
    with locked_file(output / LOCK):
        clear_temporaries(output)
        if run_state.checkpoint is None and (output / RECORD).is_file():
            logger.info("%s: no checkpoint was finished there; beginning again.", output)
        yield


def _recorded(output: Path) -> dict[str, Any]:
    """The document in training.json; StateError where it cannot be read."""
    try:
        document = parse_json(read_text(output / RECORD), str(output / RECORD))
    except InputError as error:
        raise StateError(f"{error} Or start anew with --overwrite, which keeps a .bak.") from None
    return document if isinstance(document, dict) else {}


def _require_same(output: Path, wanted: Mapping[str, Any]) -> None:
    """InputError that names what this run would do otherwise; warnings for what changes bits."""
    record = _recorded(output)
    known = record.get("configuration") or {}
    other = [
        f"{name} was {_short(known.get(name))}, is {_short(wanted.get(name))}"
        for name in sorted(known.keys() | wanted.keys())
        if known.get(name) != wanted.get(name)
    ]
    if other:
        raise InputError(
            f"{output} belongs to another run: {'; '.join(other[:5])}. Choose another "
            "--output-dir, or --overwrite, which keeps the old as .bak."
        )
    if record.get("versions") != library_versions():
        logger.warning(
            "%s was run_state with other versions of the libraries; going on is not exact.", output
        )


def _short(value: Any) -> str:
    return "not given" if value is None else str(value)[:40]


def require_space(
    output: Path, plan: Mapping[str, Any], base: Path, save_strategy: str, limit: int | None
) -> None:
    """Raise OutputError where a checkpoint and the final weights do not fit; warn of less.

    `plan` is what `run.resolved` gives, and `limit` how many checkpoints are kept. Adam keeps two
    numbers for each trained one; what stands beside the weights is as large as in the base.
    """
    saves = save_strategy != "no"
    beside = sum(p.stat().st_size for p in base.iterdir() if p.suffix in LOADED_SUFFIXES)
    beside -= sum(p.stat().st_size for p in base.glob("*.safetensors"))
    width = {"float32": 4, "float64": 8}.get(plan["weights_dtype"], 2)
    trained = plan["trained_parameters"] * width
    is_adapter = plan["model_fields"].get("use_peft")
    final = beside + (trained if is_adapter else plan["parameters"] * width)
    checkpoint = final + 2 * trained
    free = shutil.disk_usage(output).free
    needed = final + (checkpoint if saves else 0)
    said = f"{output} has {in_gb(free)} left; a checkpoint takes {in_gb(checkpoint)}"
    if free < needed:
        raise OutputError(
            f"{said}, and with the final weights {in_gb(needed)} are needed. Make room or choose "
            "another place."
        )
    here = len(checkpoints(output))
    to_come = max(1, limit + 1 - here) if limit else 2
    if saves and free < to_come * checkpoint + final:
        logger.warning("%s. The run will stop where the disk is full; make room.", said)
