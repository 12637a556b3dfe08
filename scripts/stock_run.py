"""The tiny training run of fault_runs.py with Trainer's own resume instead of medr1's.

    python scripts/stock_run.py OUT '{"max_steps": 8}'       also under torchrun

It shows what an interruption does to a run that medr1 does not protect. The trainer is medr1's
without `ExactResumeMixin`: the questions, images, rewards and log are the same. It resumes from
the checkpoint that transformers considers the last one.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fault_runs import TINY, few_questions
from transformers import TrainerCallback
from transformers.trainer_utils import get_last_checkpoint

from medr1.data.tiny import tiny_vl_folder
from medr1.models.loading import LoadedModel, load_model
from medr1.train.grpo import build_trainer
from medr1.train.recovery import exact_resume
from medr1.train.settings import settings_from


class Stock:
    """Takes the place of `ExactResumeMixin` and adds nothing."""


class StockWithHandler:
    """Takes the place of `ExactResumeMixin` and turns on transformers' handler of SIGTERM.

    medr1's settings refuse `enable_jit_checkpoint`, so it is set here.
    """

    def __init__(self, *, args: Any, **kwargs: Any) -> None:
        args.enable_jit_checkpoint = True
        super().__init__(args=args, **kwargs)


def tiny_trainer(
    out: Path,
    loaded: LoadedModel,
    values: Mapping[str, Any],
    *,
    stock: bool,
    number: int = 40,
    callbacks: Sequence[TrainerCallback] = (),
) -> Any:
    """Build the trainer of the tiny run.

    Args:
        out: The output folder.
        loaded: The model to train.
        values: Settings that replace those of `TINY`. With `stock`, `enable_jit_checkpoint` turns
            on transformers' handler of SIGTERM.
        stock: Leave out medr1's exact resume.
        number: Number of training questions.
        callbacks: Further callbacks of the trainer.
    """
    own_mixin, all_values = exact_resume.ExactResumeMixin, {**TINY, **values}
    if stock:
        has_handler = all_values.pop("enable_jit_checkpoint", False)
        exact_resume.ExactResumeMixin = StockWithHandler if has_handler else Stock  # type: ignore[assignment, misc]
    try:
        settings = settings_from(all_values, out)
        return build_trainer(loaded, few_questions(number), settings, list(callbacks))
    finally:
        exact_resume.ExactResumeMixin = own_mixin  # type: ignore[misc]


def last_checkpoint(out: Path) -> Path | None:
    """The checkpoint from which transformers would resume; None if there is none."""
    checkpoint = get_last_checkpoint(str(out)) if out.is_dir() else None
    return Path(checkpoint) if checkpoint else None


def attempt(out: Path, loaded: LoadedModel, **values: Any) -> None:
    """Start or resume the run with Trainer's own means, and run it to its end.

    Args:
        out: The output folder.
        loaded: The model to train.
        **values: Settings that replace those of `TINY`.
    """
    trainer = tiny_trainer(out, loaded, values, stock=True)
    trainer.train(resume_from_checkpoint=str(last_checkpoint(out) or "") or None)
    trainer.save_model(str(out))


def main() -> None:
    """Run the training in this process."""
    out, values = sys.argv[1:]
    attempt(Path(out), load_model(tiny_vl_folder(), device="cpu"), **json.loads(values))


if __name__ == "__main__":
    main()
