"""The tiny run by Trainer's own means: what a fault does to it without medr1's resume and watch.

    python scripts/stock_run.py OUT '{"max_steps": 8}'       also under torchrun

The trainer is medr1's without `ExactResumeMixin`: the same questions, images, rewards and log. It
resumes from what transformers finds to be the last checkpoint.
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
from medr1.models import LoadedModel, load_model
from medr1.train import resume
from medr1.train.grpo import build_trainer
from medr1.train.settings import settings_from


class Stock:
    """In the place of our mixin: nothing of ours."""


class StockWithHandler:
    """The same, with transformers' handler of SIGTERM, which our settings refuse."""

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
    """The trainer of the tiny run, with medr1's resume or without it."""
    ours, own = resume.ExactResumeMixin, {**TINY, **values}
    if stock:
        handled = own.pop("enable_jit_checkpoint", False)
        resume.ExactResumeMixin = StockWithHandler if handled else Stock  # type: ignore[assignment, misc]
    try:
        settings = settings_from(own, out)
        return build_trainer(loaded, few_questions(number), settings, list(callbacks))
    finally:
        resume.ExactResumeMixin = ours  # type: ignore[misc]


def last_checkpoint(out: Path) -> Path | None:
    """What transformers goes on from."""
    found = get_last_checkpoint(str(out)) if out.is_dir() else None
    return Path(found) if found else None


def attempt(out: Path, loaded: LoadedModel, **values: Any) -> None:
    """One go at the run, to its end."""
    trainer = tiny_trainer(out, loaded, values, stock=True)
    trainer.train(resume_from_checkpoint=str(last_checkpoint(out) or "") or None)
    trainer.save_model(str(out))


def main() -> None:
    """The run in this process."""
    out, values = sys.argv[1:]
    attempt(Path(out), load_model(tiny_vl_folder(), device="cpu"), **json.loads(values))


if __name__ == "__main__":
    main()
