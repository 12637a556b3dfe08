"""Exact resume: an interrupted run that is resumed equals the same run without interruption.

    class Exact(ExactResumeMixin, GRPOTrainer): ...          or SFTTrainer

The two are equal bit for bit, in the logged numbers and in the weights. That holds on one or two
processes, because the result of a sum depends on its order, which may vary with more of them; and
if completions are sampled in this process, not by a vLLM server. Stock Trainer and TRL differ in
these points, each of which is overridden below:

- Weights are loaded by names, which may have changed since they were written, and a weight without
  a match silently keeps its value.
- GRPO uses one block of completions for several updates. A checkpoint does not hold them, so a run
  can be resumed exactly only between blocks.
- A second pass over the data begins with the order of the first.
- Losses and metrics that were collected since the last logged line are lost.
- A checkpoint folder counts as a checkpoint from its first file on, and an older one is deleted
  before the new one is complete.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
import signal
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

from medr1.errors import OutputError, StateError, StoppedBySignal
from medr1.files import write_atomic
from medr1.models.loading import load_weights
from medr1.train.recovery.checkpoint_manifest import (
    SAVING,
    checkpoint_faults,
    read_manifest,
    remove_checkpoint,
    remove_older,
    resume_hint,
    write_manifest,
)
from medr1.train.recovery.signals import Watch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from peft import PeftModel
    from torch import nn
    from transformers import (
        PreTrainedModel,
        Trainer,
        TrainerControl,
        TrainerState,
        TrainingArguments,
    )
    from transformers.trainer_utils import TrainOutput
else:
    Trainer = object

logger = logging.getLogger("medr1")

REFERENCE = "reference"
"""Folder in a checkpoint with the reference model, if it follows the policy (sync_ref_model)."""
_DRAWS = ("drawn_questions", "sampled_completions")
"""The state of dynamic sampling (dynamic_sampling.py), the same in all processes."""


class ExactResumeMixin(Trainer):
    """Mixin for TRL's trainers: exact checkpoints, strict loading, and an orderly end on signals.

    It stands before the trainer in the list of base classes.
    """

    watch: Watch | None = None
    """Receives the signals that end the run; None: signals are not obeyed."""
    checkpoint_files: Mapping[str, str] = {}
    """File name -> text of further files that each checkpoint gets."""
    stopped_by = 0
    """The signal for which all processes agreed to stop; 0: none."""
    ref_model: PreTrainedModel | None
    _metrics: Any
    _saving_folder: Path | None = None
    """While a checkpoint is written: the folder that it is written in."""
    _sampler: Any = None
    _start_checkpoint: Path | None = None
    """The checkpoint that the run was resumed from; None: it began with its first step."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Trainer would delete older checkpoints before the new one is complete: done here instead.
        self.checkpoint_limit = self.args.save_total_limit
        self.args.save_total_limit = None
        self.add_callback(_BetweenBlocks(self))

    @property
    def values_to_log(self) -> Mapping[str, Sequence[float]]:
        """Metric -> its values since TRL logged last; the mapping stays the same for the run."""
        values: Mapping[str, Sequence[float]] = self._metrics["train"]
        return values

    @property
    def output_dir(self) -> Path:
        """The run's folder."""
        return Path(str(self.args.output_dir))

    # --- blocks of steps that share their completions

    @property
    def block_steps(self) -> int:
        """Number of updates between two points at which all completions are used up.

        A block of batches need not end with an update: 4 batches, accumulated by 3, end together
        with an update after 12 batches, which are 4 updates.
        """
        accumulation = self.args.gradient_accumulation_steps
        return self._block_batches // math.gcd(self._block_batches, accumulation)

    @property
    def _block_batches(self) -> int:
        """Number of batches that use the completions of one generation."""
        generation = getattr(self.args, "steps_per_generation", None) or 1
        return generation * (getattr(self.args, "num_iterations", None) or 1)

    def is_between_blocks(self) -> bool:
        """Whether all completions that were generated have been used."""
        return getattr(self, "_step", 0) % self._block_batches == 0

    def agreed_signal(self) -> int:
        """The signal that any process has received, the same number on all; 0 for none.

        The processes have to stop at the same step: one that stopped alone would leave the others
        waiting for it in their next collective operation.
        """
        received = self.watch.signal if self.watch else 0
        if self.args.world_size > 1:
            highest = torch.tensor(received, device=self.args.device)
            torch.distributed.all_reduce(highest, op=torch.distributed.ReduceOp.MAX)
            received = int(highest.item())
        return received

    # --- saving

    def _get_output_dir(self, trial: object) -> str:
        return str(self._saving_folder) if self._saving_folder else super()._get_output_dir(trial)

    def _save_checkpoint(self, model: nn.Module, trial: object) -> None:
        if not self.is_between_blocks():  # could not be resumed from exactly
            return
        final = self.output_dir / f"checkpoint-{self.state.global_step}"
        try:
            with explain_write_errors(final):
                # Trainer writes checkpoint-N below this folder; it is moved when it is complete.
                self._saving_folder = self.output_dir / SAVING
                super()._save_checkpoint(model, trial)
                self.accelerator.wait_for_everyone()
                if self.args.should_save:
                    self._complete_checkpoint(self.output_dir / SAVING / final.name, final)
        except OutputError:
            shutil.rmtree(self.output_dir / SAVING, ignore_errors=True)
            raise
        finally:
            self._saving_folder = None
        self.accelerator.wait_for_everyone()
        # For a signal that came while the checkpoint was written: it needs no second one.
        self.stopped_by = self.stopped_by or self.agreed_signal()
        self.control.should_training_stop |= bool(self.stopped_by)

    def _complete_checkpoint(self, partial: Path, final: Path) -> None:
        """Give a written checkpoint its manifest and its name, then remove older ones."""
        # Trainer's state has the path that the best checkpoint was written to: correct it.
        if self.state.best_model_checkpoint == str(partial):
            self.state.best_model_checkpoint = str(final)
            self.state.save_to_json(str(partial / "trainer_state.json"))
        # A reference model that follows the policy is a part of the state, like the weights.
        if getattr(self.args, "sync_ref_model", False):
            reference: PreTrainedModel = self.accelerator.unwrap_model(self.ref_model)
            reference.save_pretrained(partial / REFERENCE)
        for name, text in self.checkpoint_files.items():
            write_atomic(partial / name, text)
        write_manifest(partial, step=self.state.global_step, processes=self.args.world_size)
        # One of this name is there only if it was damaged: the run did not resume from it.
        if final.exists():
            remove_checkpoint(final)
        os.replace(partial, final)
        partial.parent.rmdir()
        # Older checkpoints are removed only after the new one was read back without a fault.
        if self.checkpoint_limit and not (faults := checkpoint_faults(final)):
            best = self.state.best_model_checkpoint
            remove_older(final, self.checkpoint_limit, Path(best) if best else None)
        elif self.checkpoint_limit:
            raise OutputError(
                f"{final} was written, but reading it back shows a fault: {faults[0]}. "
                "Check the disk. No older checkpoint was removed."
            )

    def create_model_card(self, *_: object, **__: object) -> None:
        """Write nothing: TRL's card says "fine-tuned from None". card.py writes one at the end."""

    def _save_rng_state(self, output_dir: str) -> None:
        # Trainer calls this on every process. What was collected since the last logged line is
        # different on each of them, like the state of the random numbers.
        super()._save_rng_state(output_dir)
        progress = {
            "tokens": getattr(self, "_total_train_tokens", 0),
            "loss": self._tr_loss.detach().cpu(),
            "total_loss": self._total_loss_scalar,
            "last_logged": self._globalstep_last_logged,
            "metrics": {mode: dict(values) for mode, values in self._metrics.items()},
            "draws": {name: getattr(self, name, 0) for name in _DRAWS},
        }
        torch.save(progress, Path(output_dir) / f"progress_{self.args.process_index}.pt")

    # --- resuming and ending

    def train_watched(self, watch: Watch, checkpoint: Path | None) -> None:
        """Train until the end or until a signal comes.

        Args:
            watch: Receives the signals.
            checkpoint: The checkpoint to resume from; None: begin with the first step. Only the
                value of the first process counts.
        """
        from accelerate.utils import broadcast_object_list, gather_object

        self.watch = watch
        # On CPUs transformers does not apply ddp_timeout, and torch's own is 30 minutes.
        if self.args.world_size > 1:
            set_timeout = torch.distributed.distributed_c10d._set_pg_timeout
            set_timeout(timedelta(seconds=self.args.ddp_timeout))
        (start,) = broadcast_object_list([checkpoint])
        if self.is_world_process_zero():
            shutil.rmtree(self.output_dir / SAVING, ignore_errors=True)
            if start is not None:
                self._log_start(start)
        # Process ids can be looked up on their own machine only.
        node = os.environ.get("GROUP_RANK", "0")
        processes = gather_object([(node, os.getpid())])
        watch.peers = [pid for node_of_pid, pid in processes if node_of_pid == node]
        has_returned = False
        try:
            self.train(resume_from_checkpoint=str(start) if start else None)
            has_returned = True
        finally:
            watch.peers = []
            if not has_returned and self.is_world_process_zero():
                next_command = resume_hint(self.output_dir)
                logger.warning("Ended at step %d. %s", self.state.global_step, next_command)
        # A process that ends while others still check its id would look like a dead one.
        self.accelerator.wait_for_everyone()

    def _log_start(self, checkpoint: Path) -> None:
        logger.info("resuming from %s", checkpoint)
        if not self._has_own_files(checkpoint):
            logger.warning(
                "%s was written by %d processes and is resumed with %d. The order of the questions "
                "and the learning rate schedule stay the same, but the completions that are "
                "sampled will not be those of an uninterrupted run.",
                checkpoint,
                read_manifest(checkpoint).processes,
                self.args.world_size,
            )

    @property
    def is_finished(self) -> bool:
        """Whether the run has done all its steps; a signal may have ended it earlier."""
        return not self.stopped_by or self.state.global_step >= self.state.max_steps

    def end_if_stopped(self, watch: Watch) -> None:
        """Raise the error for a signal, if one came, even if the run could still be finished.

        Raises:
            StoppedBySignal: In the first process, with the exit code for the signal.
            SystemExit: In the other processes, with the same exit code and without a message.
        """
        watch.signal = watch.signal or self.stopped_by
        if not watch.signal:
            return
        if not self.is_world_process_zero():
            raise SystemExit(watch.exit_code)
        after = "the run is finished." if self.is_finished else resume_hint(self.output_dir)
        name = signal.Signals(watch.signal).name
        raise StoppedBySignal(f"{name}, step {self.state.global_step}: {after}", watch.exit_code)

    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        trial: object = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> TrainOutput:
        """Train as Trainer does, and note the checkpoint that the run is resumed from.

        Args:
            resume_from_checkpoint: The folder of the checkpoint as text.
            trial: Trainer's.
            ignore_keys_for_eval: Trainer's.
        """
        is_folder = isinstance(resume_from_checkpoint, str) and resume_from_checkpoint
        self._start_checkpoint = Path(str(resume_from_checkpoint)) if is_folder else None
        return super().train(resume_from_checkpoint, trial, ignore_keys_for_eval)

    def _load_from_checkpoint(
        self, resume_from_checkpoint: str, model: nn.Module | None = None
    ) -> None:
        if self.is_fsdp_enabled:  # loads strictly itself
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        folder = Path(resume_from_checkpoint)
        load_strictly(model or self.model, folder)
        if getattr(self.args, "sync_ref_model", False):
            load_strictly(self.accelerator.unwrap_model(self.ref_model), folder / REFERENCE)

    def _load_best_model(self) -> None:
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            super()._load_best_model()
        else:
            load_strictly(self.model, Path(str(self.state.best_model_checkpoint)))

    def _get_train_sampler(self, *args: Any) -> Any:
        self._sampler = super()._get_train_sampler(*args)
        return self._sampler

    def _init_training_state(
        self,
        max_steps: int,
        num_update_steps_per_epoch: int,
        num_train_epochs: int,
        resume_from_checkpoint: str | None,
        trial: object,
    ) -> tuple[int, int]:
        epochs, batches = super()._init_training_state(
            max_steps,
            num_update_steps_per_epoch,
            num_train_epochs,
            resume_from_checkpoint,
            trial,
        )
        # After the last step Trainer would do one more: say that all epochs are done.
        if self.state.global_step >= max_steps:
            return num_train_epochs, 0
        # One generator draws the order of every pass, one after the other. Draw those of the
        # passes that are done, so that the next pass gets its own order and not the first one's.
        if isinstance(getattr(self._sampler, "generator", None), torch.Generator):
            for _ in range(epochs):
                next(iter(self._sampler))
        return epochs, batches

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is None or self._has_own_files(Path(checkpoint)):
            super()._load_rng_state(checkpoint)
            return
        from accelerate.utils import set_seed

        # The saved states belong to another number of processes: begin with new seeds. The seed
        # depends on the step, or the random numbers of the first step would be drawn again;
        # device_specific adds the number of the process, which is far below the factor.
        set_seed(self.args.seed + 1_000_003 * self.state.global_step, device_specific=True)

    def _has_own_files(self, checkpoint: Path) -> bool:
        """Whether it was saved by as many processes, so that each of them has its files there."""
        return bool(read_manifest(checkpoint).processes == self.args.world_size)

    def restore_progress(self) -> None:
        """Restore what was collected since the last logged line; nothing without a checkpoint."""
        if self._start_checkpoint is None:
            return
        process = self.args.process_index if self._has_own_files(self._start_checkpoint) else 0
        file = self._start_checkpoint / f"progress_{process}.pt"
        progress = torch.load(file, map_location="cpu", weights_only=True)
        if hasattr(self, "_total_train_tokens"):
            self._total_train_tokens = progress["tokens"]
        self._tr_loss = progress["loss"].to(self._tr_loss.device)
        self._total_loss_scalar = progress["total_loss"]
        self._globalstep_last_logged = progress["last_logged"]
        # Trainer divides the total loss by the steps since this one. The total that was restored
        # includes the steps before the checkpoint.
        self._initial_global_step = 0
        for mode, values in progress["metrics"].items():
            self._metrics[mode].update(values)
        for name, value in progress.get("draws", {}).items():
            setattr(self, name, value)


class _BetweenBlocks(TrainerCallback):
    """Delays a checkpoint to the end of a block, and stops the run there after a signal."""

    def __init__(self, trainer: ExactResumeMixin) -> None:
        self.trainer = trainer
        self.save_pending = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        self.trainer.restore_progress()
        block = self.trainer.block_steps
        state.compute_steps(args, state.max_steps)  # save_steps may be a share of max_steps
        rounded = -(-state.save_steps // block) * block  # up to a multiple of `block`
        if rounded != state.save_steps and args.save_strategy == "steps":
            if state.is_world_process_zero:
                logger.info(
                    "Checkpoints are saved every %d steps instead of every %d, because the same "
                    "completions are used for %d steps.",
                    rounded,
                    state.save_steps,
                    block,
                )
            state.save_steps = rounded

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        trainer = self.trainer
        self.save_pending |= control.should_save
        control.should_save = False
        if trainer.is_between_blocks():
            trainer.stopped_by = trainer.agreed_signal()
            control.should_training_stop |= bool(trainer.stopped_by)
            control.should_save = self.save_pending or bool(trainer.stopped_by)
            self.save_pending = False


def load_strictly(model: Any, folder: Path) -> None:
    """Load a checkpoint's weights into the model they were saved from: all of them, and no others.

    Args:
        model: The model; with an adapter, only the adapter is loaded.
        folder: The checkpoint.

    Raises:
        InputError: The weights cannot be read.
        StateError: The adapter's weights have other names or shapes than the model's adapter.
    """
    from peft import PeftModel

    if isinstance(model, PeftModel):
        _load_adapter(model, folder)
        return
    source = load_weights(folder, model.dtype, model.config._attn_implementation)
    model.load_state_dict(source.state_dict(), strict=True)


def _load_adapter(model: PeftModel, folder: Path) -> None:
    from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors.torch import load_file

    saved_weights = load_file(folder / "adapter_model.safetensors")
    own_weights = get_peft_model_state_dict(model)
    for name in sorted(saved_weights.keys() | own_weights.keys()):
        saved_shape = saved_weights[name].shape if name in saved_weights else None
        if name not in own_weights or saved_shape != own_weights[name].shape:
            raise StateError(
                f"{folder}: the weight {name} does not fit the adapter of this run. "
                "Resume with the settings that the checkpoint was saved with."
            )
    set_peft_model_state_dict(model, saved_weights)


@contextmanager
def explain_write_errors(path: Path) -> Iterator[None]:
    """Within the block, errors of writing weights become an OutputError that says what to do.

    Args:
        path: What is written, for the message; its folder is the run's folder.

    Raises:
        OutputError: The weights could not be written, mostly because the disk is full.
    """
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if isinstance(error, OutputError) or not _is_write_error(error):
            raise
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:120]
        raise OutputError(
            f"cannot write {path}: {reason}. Make room on the disk. {resume_hint(path.parent)}"
        ) from None


def _is_write_error(error: Exception) -> bool:
    """Whether writing failed. torch raises a RuntimeError then, which only its text identifies."""
    return not isinstance(error, RuntimeError) or "inline_container" in str(error)
