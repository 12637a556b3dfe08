"""Validation during training: measure every N steps, and keep the checkpoint of the best step."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medr1.checkpoints.integrity import CHECKSUMS
from medr1.files import parse_json, read_text

if TYPE_CHECKING:
    from torch.nn import Module

    from medr1.train.recovery.exact_resume import ExactResumeMixin

logger = logging.getLogger("medr1")

BEST = "best"
"""Folder in the run's folder with the checkpoint of the best step."""


@dataclass(frozen=True)
class Validation:
    """What is measured during training, and how often."""

    measure: Callable[[], Mapping[str, float]]
    """Measures the model, which is in evaluation mode. It is called on every process and returns
    the same values on all. Their names begin with `eval_`; `eval_accuracy` decides which step is
    the best."""
    num_steps: int | None = None
    """Number of steps between two measurements; None: a tenth of the run."""


class BestCheckpoint:
    """The action of `EveryNSteps`: measures, logs, and saves the model if it is the best so far.

    `save(folder, values)` writes a complete checkpoint; it is called on every process.
    """

    def __init__(
        self,
        trainer: ExactResumeMixin,
        validation: Validation,
        folder: Path,
        save: Callable[[Path, dict[str, float]], None],
    ) -> None:
        self.trainer, self.validation, self.folder, self.save = trainer, validation, folder, save
        # A checkpoint is written here first, so that `folder` never has an incomplete one.
        self.partial_folder = folder.with_name(f".{folder.name}")
        if trainer.is_world_process_zero():
            self._finish_interrupted_save()
        self.best_accuracy: float | None = None
        self.has_validated = False

    def __call__(self, step: int) -> None:
        # Not in __init__: only here the step is known at which a resumed run begins.
        if not self.has_validated:
            self.best_accuracy = saved_accuracy(self.folder, before=step)
            self.has_validated = True
        with self._gathered_model(), self.trainer.accelerator.autocast():
            values = dict(self.validation.measure())
        # `log` turns should_log off, and TRL's own line of this step would be left out.
        should_log = self.trainer.control.should_log
        self.trainer.log(dict(values))
        self.trainer.control.should_log = should_log
        accuracy = values["eval_accuracy"]
        # Step 0 is the model before training, which is not saved again.
        is_best = step > 0 and (self.best_accuracy is None or accuracy > self.best_accuracy)
        if self.trainer.is_world_process_zero():
            logger.info(_log_line(step, values, self.folder if is_best else None))
        if not is_best:
            return
        self.best_accuracy = accuracy
        self.save(self.partial_folder, {"step": step, **values})
        if self.trainer.is_world_process_zero():
            shutil.rmtree(self.folder, ignore_errors=True)
            os.replace(self.partial_folder, self.folder)
        self.trainer.accelerator.wait_for_everyone()

    def _finish_interrupted_save(self) -> None:
        """Complete or remove what an earlier run left when it was killed while saving.

        SHA256SUMS is written last: with it the checkpoint is complete. If `folder` is there too,
        the run was killed before it removed that one, and measures this step again.
        """
        if (self.partial_folder / CHECKSUMS).is_file() and not self.folder.exists():
            os.replace(self.partial_folder, self.folder)
        shutil.rmtree(self.partial_folder, ignore_errors=True)

    def _gathered_model(self) -> AbstractContextManager[Module]:
        """A context manager: with DeepSpeed's ZeRO-3 each process has all weights within it."""
        from trl.models.utils import unwrap_model_for_generation

        return unwrap_model_for_generation(self.trainer.model_wrapped, self.trainer.accelerator)


def _log_line(step: int, values: Mapping[str, float], saved_in: Path | None) -> str:
    """The message of a measurement; `saved_in` is the folder of a new best checkpoint."""
    message = f"step {step}, validation accuracy {values['eval_accuracy']:.1%}"
    if "eval_accuracy_low" in values:
        message += f" ({values['eval_accuracy_low']:.1%} to {values['eval_accuracy_high']:.1%})"
    return f"{message}, the best so far: saved in {saved_in}" if saved_in else message


def saved_accuracy(folder: Path, *, before: int) -> float | None:
    """The validation accuracy of the best checkpoint; None if there is none from before this step.

    A run that was resumed from an earlier checkpoint may find one of a later step. Its training is
    lost, and the step is done and measured again.
    """
    file = folder / "medr1.json"
    if not file.is_file():
        return None
    validated = parse_json(read_text(file), str(file))["validation"]
    return float(validated["eval_accuracy"]) if validated["step"] < before else None
