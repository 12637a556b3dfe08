"""Validation while training: measured every N steps, and the best step's checkpoint kept."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medr1.checkpoints.integrity import CHECKSUMS
from medr1.files import parse_json, read_text

logger = logging.getLogger("medr1")

BEST = "best"
"""The folder in a run's output that holds the checkpoint of the best step."""


@dataclass(frozen=True)
class Validation:
    """What is measured while a model is trained, and how often.

    `measure` is called on every process, with the model in evaluation mode, and gives the same
    values on all: names beginning with `eval_`, of which `eval_accuracy` decides what is best.
    """

    measure: Callable[[], Mapping[str, float]]
    num_steps: int | None = None
    """None: ten times a run."""


class BestCheckpoint:
    """The action of `EveryNSteps`: measures, logs, and saves where nothing before was as good.

    `save(folder, values)` writes a whole checkpoint, on every process.
    """

    def __init__(
        self,
        trainer: Any,
        validation: Validation,
        folder: Path,
        save: Callable[[Path, dict[str, Any]], None],
    ) -> None:
        self.trainer, self.validation, self.folder, self.save = trainer, validation, folder, save
        self.beside = folder.with_name(f".{folder.name}")
        if trainer.is_world_process_zero():
            self._take_up()
        self.best: float | None = None
        self.has_validated = False

    def __call__(self, step: int) -> None:
        if not self.has_validated:  # a run that goes on may have kept one before
            self.best, self.has_validated = accuracy_of(self.folder, before=step), True
        with self._whole_model(), self.trainer.accelerator.autocast():
            values = dict(self.validation.measure())
        wanted = self.trainer.control.should_log  # which a line of ours takes for served
        self.trainer.log(dict(values))
        self.trainer.control.should_log = wanted
        accuracy = values["eval_accuracy"]
        is_best = step > 0 and (self.best is None or accuracy > self.best)
        if self.trainer.is_world_process_zero():
            logger.info(_line(step, values, self.folder if is_best else None))
        if not is_best:
            return
        self.best = accuracy
        self.save(self.beside, {"step": step, **values})
        if self.trainer.is_world_process_zero():
            shutil.rmtree(self.folder, ignore_errors=True)
            os.replace(self.beside, self.folder)
        self.trainer.accelerator.wait_for_everyone()

    def _take_up(self) -> None:
        """Finish what a kill left of the last saving: give it its name, or remove it."""
        if (self.beside / CHECKSUMS).is_file() and not self.folder.exists():
            os.replace(self.beside, self.folder)
        shutil.rmtree(self.beside, ignore_errors=True)

    def _whole_model(self) -> Any:
        """With DeepSpeed's ZeRO-3 the weights are gathered for as long as they are used."""
        from trl.models.utils import unwrap_model_for_generation

        return unwrap_model_for_generation(self.trainer.model_wrapped, self.trainer.accelerator)


def _line(step: int, values: Mapping[str, float], kept: Path | None) -> str:
    said = f"step {step}, validation accuracy {values['eval_accuracy']:.1%}"
    if "eval_accuracy_low" in values:
        said += f" ({values['eval_accuracy_low']:.1%} to {values['eval_accuracy_high']:.1%})"
    return f"{said}, the best so far: kept in {kept}" if kept else said


def accuracy_of(folder: Path, *, before: int) -> float | None:
    """The validation accuracy of a kept checkpoint; None where there is none of a step before.

    One of a later step is of work that was lost, and is measured again.
    """
    file = folder / "medr1.json"
    if not file.is_file():
        return None
    validated = parse_json(read_text(file), str(file))["validation"]
    return float(validated["eval_accuracy"]) if validated["step"] < before else None
