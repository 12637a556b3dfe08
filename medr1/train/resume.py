"""Training that is never lost: a run that was interrupted and gone on with is the run undisturbed.

    class Exact(ExactResumeMixin, GRPOTrainer): ...          or SFTTrainer

equals it bit for bit, in the logged numbers and in the weights: on one or two processes, where
sums have one order, and where completions are sampled here and not by a vLLM server. Stock
Trainer and TRL do otherwise in these places, each overridden below:

- weights are loaded by names that have changed since they were written, and what is not found is
  left as it is;
- GRPO keeps a block of completions for several updates, which no checkpoint holds, so that only
  between blocks can be gone on from;
- a second pass over the data begins with the order of the first;
- losses and metrics gathered since the last logged line are forgotten;
- a checkpoint counts as one from its first file on, and an older one is deleted before that.
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
from medr1.models import load_weights
from medr1.train.manifest import (
    SAVING,
    checkpoint_faults,
    read_manifest,
    remove_checkpoint,
    remove_older,
    resume_hint,
    write_manifest,
)
from medr1.train.stopping import Watch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from transformers import Trainer, TrainerControl, TrainerState, TrainingArguments
else:
    Trainer = object

logger = logging.getLogger("medr1")

REFERENCE = "reference"
"""Where a checkpoint keeps a reference model that follows the policy."""


class ExactResumeMixin(Trainer):
    """A mixin before TRL's trainers: exact checkpoints, strict loading, stops in good order."""

    watch: Watch | None = None
    """What signals it obeys; None: none."""
    files_beside: Mapping[str, str] = {}
    """Texts by file name that go into each checkpoint beside the weights."""
    stopped_by = 0
    """The signal that all processes agreed to stop for."""
    ref_model: Any
    _metrics: Any
    _run_folder: Path | None = None
    _sampler: Any = None
    _going_on_from: Path | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.limit = self.args.save_total_limit
        self.args.save_total_limit = None  # Trainer would delete before the new one is whole
        self.add_callback(_BetweenBlocks(self))

    @property
    def output(self) -> Path:
        """The run's folder."""
        return Path(str(self.args.output_dir))

    # --- blocks of steps that share their completions

    @property
    def block_steps(self) -> int:
        """Updates until a whole number of generations is used up."""
        accumulation = self.args.gradient_accumulation_steps
        return self._block_batches // math.gcd(self._block_batches, accumulation)

    @property
    def _block_batches(self) -> int:
        generation = getattr(self.args, "steps_per_generation", None) or 1
        return generation * (getattr(self.args, "num_iterations", None) or 1)

    def is_between_blocks(self) -> bool:
        """Whether nothing that was generated is still to be used."""
        return getattr(self, "_step", 0) % self._block_batches == 0

    def agreed_signal(self) -> int:
        """The signal that any process has received, the same number on all; 0 for none."""
        received = self.watch.signal if self.watch else 0
        if self.args.world_size > 1:
            highest = torch.tensor(received, device=self.args.device)
            torch.distributed.all_reduce(highest, op=torch.distributed.ReduceOp.MAX)
            received = int(highest.item())
        return received

    # --- saving

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._run_folder) if self._run_folder else super()._get_output_dir(trial)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if not self.is_between_blocks():
            return
        final = self.output / f"checkpoint-{self.state.global_step}"
        try:
            with writing(final):
                self._run_folder = self.output / SAVING
                super()._save_checkpoint(model, trial)
                self.accelerator.wait_for_everyone()
                if self.args.should_save:
                    self._complete(self.output / SAVING / final.name, final)
        except OutputError:
            shutil.rmtree(self.output / SAVING, ignore_errors=True)
            raise
        finally:
            self._run_folder = None
        self.accelerator.wait_for_everyone()
        self.stopped_by = self.stopped_by or self.agreed_signal()
        self.control.should_training_stop |= bool(self.stopped_by)

    def _complete(self, partial: Path, final: Path) -> None:
        """Give a checkpoint that is written its manifest and its name, then let older ones go."""
        if self.state.best_model_checkpoint == str(partial):
            self.state.best_model_checkpoint = str(final)
            self.state.save_to_json(str(partial / "trainer_state.json"))
        if getattr(self.args, "sync_ref_model", False):
            reference: Any = self.accelerator.unwrap_model(self.ref_model)
            reference.save_pretrained(partial / REFERENCE)
        for name, text in self.files_beside.items():
            write_atomic(partial / name, text)
        write_manifest(partial, step=self.state.global_step, processes=self.args.world_size)
        if final.exists():
            remove_checkpoint(final)  # one that was passed over, or it would be gone on from
        os.replace(partial, final)
        partial.parent.rmdir()
        if self.limit and not (faults := checkpoint_faults(final)):
            best = self.state.best_model_checkpoint
            remove_older(final, self.limit, Path(best) if best else None)
        elif self.limit:
            raise OutputError(f"{final} cannot be read back as it was written: {faults[0]}.")

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Nothing: TRL's says "fine-tuned from None"; card.py writes one with the weights."""

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        progress = {
            "tokens": getattr(self, "_total_train_tokens", 0),
            "loss": self._tr_loss.detach().cpu(),
            "total_loss": self._total_loss_scalar,
            "last_logged": self._globalstep_last_logged,
            "metrics": {mode: dict(values) for mode, values in self._metrics.items()},
        }
        torch.save(progress, Path(output_dir) / f"progress_{self.args.process_index}.pt")

    # --- going on and ending

    def train_watched(self, watch: Watch, checkpoint: Path | None) -> None:
        """Train, from a checkpoint that the first process names, until the end or a signal."""
        from accelerate.utils import broadcast_object_list, gather_object

        self.watch = watch
        if self.args.world_size > 1:  # on CPUs transformers leaves it at torch's 30 minutes
            set_timeout = torch.distributed.distributed_c10d._set_pg_timeout
            set_timeout(timedelta(seconds=self.args.ddp_timeout))
        (start,) = broadcast_object_list([checkpoint])
        if self.is_world_process_zero():
            shutil.rmtree(self.output / SAVING, ignore_errors=True)
            if start is not None:
                self._say_start(start)
        node = os.environ.get("GROUP_RANK", "0")
        everyone = gather_object([(node, os.getpid())])
        watch.peers = [pid for where, pid in everyone if where == node]
        came_to_an_end = False
        try:
            self.train(resume_from_checkpoint=str(start) if start else None)
            came_to_an_end = True
        finally:
            watch.peers = []
            if not came_to_an_end and self.is_world_process_zero():
                said = resume_hint(self.output)
                logger.warning("Ended at step %d. %s", self.state.global_step, said)
        self.accelerator.wait_for_everyone()  # nobody leaves while others still look for it

    def _say_start(self, checkpoint: Path) -> None:
        logger.info("going on from %s", checkpoint)
        if not self._has_my_files(checkpoint):
            logger.warning(
                "%s is of %d processes and goes on with %d: the questions and the schedule go on, "
                "what is sampled will be other than without the break.",
                checkpoint,
                read_manifest(checkpoint)["processes"],
                self.args.world_size,
            )

    @property
    def is_finished(self) -> bool:
        """Whether no step is left to do."""
        return not self.stopped_by or self.state.global_step >= self.state.max_steps

    def end_if_stopped(self, watch: Watch) -> None:
        """Raise StoppedBySignal where a signal came, whatever was still finished then."""
        watch.signal = watch.signal or self.stopped_by
        if not watch.signal:
            return
        if not self.is_world_process_zero():
            raise SystemExit(watch.exit_code)
        after = "the run is finished." if self.is_finished else resume_hint(self.output)
        name = signal.Signals(watch.signal).name
        raise StoppedBySignal(f"{name}, step {self.state.global_step}: {after}", watch.exit_code)

    def train(self, resume_from_checkpoint: Any = None, *args: Any, **kwargs: Any) -> Any:
        self._going_on_from = Path(resume_from_checkpoint) if resume_from_checkpoint else None
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if self.is_fsdp_enabled:  # which loads strictly itself
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

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Any:
        self._sampler = super()._get_train_sampler(*args, **kwargs)
        return self._sampler

    def _init_training_state(
        self, max_steps: int, num_update_steps_per_epoch: int, num_train_epochs: int, *args: Any
    ) -> tuple[int, int]:
        epochs, batches = super()._init_training_state(
            max_steps, num_update_steps_per_epoch, num_train_epochs, *args
        )
        if self.state.global_step >= max_steps:  # Trainer would take one step more
            return num_train_epochs, 0
        if isinstance(getattr(self._sampler, "generator", None), torch.Generator):
            for _ in range(epochs):  # each pass draws its order from one generator
                next(iter(self._sampler))
        return epochs, batches

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is None or self._has_my_files(Path(checkpoint)):
            super()._load_rng_state(checkpoint)
            return
        from accelerate.utils import set_seed

        set_seed(self.args.seed + 1_000_003 * self.state.global_step, device_specific=True)

    def _has_my_files(self, checkpoint: Path) -> bool:
        return read_manifest(checkpoint)["processes"] == self.args.world_size

    def restore_progress(self) -> None:
        """Take up what was gathered since the last logged line."""
        if self._going_on_from is None:
            return
        mine = self._has_my_files(self._going_on_from)
        file = self._going_on_from / f"progress_{self.args.process_index if mine else 0}.pt"
        progress = torch.load(file, map_location="cpu", weights_only=True)
        if hasattr(self, "_total_train_tokens"):
            self._total_train_tokens = progress["tokens"]
        self._tr_loss = progress["loss"].to(self._tr_loss.device)
        self._total_loss_scalar = progress["total_loss"]
        self._globalstep_last_logged = progress["last_logged"]
        self._initial_global_step = 0
        for mode, values in progress["metrics"].items():
            self._metrics[mode].update(values)


class _BetweenBlocks(TrainerCallback):
    """Moves what is saved to the end of a block, and stops there for a signal."""

    def __init__(self, trainer: ExactResumeMixin) -> None:
        self.trainer = trainer
        self.save_pending = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.trainer.restore_progress()
        block = self.trainer.block_steps
        state.compute_steps(args, state.max_steps)
        rounded = -(-state.save_steps // block) * block
        if rounded != state.save_steps and args.save_strategy == "steps":
            if state.is_world_process_zero:
                logger.info(
                    "Checkpoints every %d steps instead of %d: completions are shared by %d steps.",
                    rounded,
                    state.save_steps,
                    block,
                )
            state.save_steps = rounded

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
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
    """Put a checkpoint's weights into the model they were saved from: all of them, and no others.

    An adapter goes into the adapter. Raises InputError or StateError where they do not fit.
    """
    from peft import PeftModel

    if isinstance(model, PeftModel):
        _load_adapter(model, folder)
        return
    source = load_weights(folder, model.dtype, model.config._attn_implementation)
    model.load_state_dict(source.state_dict(), strict=True)


def _load_adapter(model: Any, folder: Path) -> None:
    from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors.torch import load_file

    held = load_file(folder / "adapter_model.safetensors")
    wanted = get_peft_model_state_dict(model)
    for name in sorted(held.keys() | wanted.keys()):
        there = held[name].shape if name in held else None
        if name not in wanted or there != wanted[name].shape:
            raise StateError(f"{folder}: {name} does not fit the adapter of this run.")
    set_peft_model_state_dict(model, held)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """A block that writes weights: OutputError where the disk does not take them."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if isinstance(error, OutputError) or not _is_of_the_disk(error):
            raise
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:120]
        raise OutputError(
            f"cannot write {path}: {reason}. Make room. {resume_hint(path.parent)}"
        ) from None


def _is_of_the_disk(error: Exception) -> bool:
    """Whether it is the writing that failed: torch says so in a RuntimeError's words alone."""
    return not isinstance(error, RuntimeError) or "inline_container" in str(error)
