"""Breaks tiny training runs off, and goes on by Trainer's own resume and by medr1's.

    python scripts/fault_table.py            a Markdown table on stdout, a minute

Trainer's own is medr1's trainer without its resume, with the same questions, images and rewards.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fault_runs import LORA, TINY, few_questions, logged
from transformers import TrainerCallback
from transformers.trainer_utils import get_last_checkpoint

from medr1.data.tiny import tiny_vl_folder
from medr1.errors import StateError
from medr1.models import load_model
from medr1.train import resume
from medr1.train.grpo import build_trainer
from medr1.train.manifest import newest_checkpoint
from medr1.train.settings import settings_from


class Stock:
    """In the place of our mixin: nothing of ours."""


class Broken(BaseException):
    """Ends a run where a kill would."""


class BreaksAfter(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.step:
            raise Broken


def go(
    out: Path, mixin: type, *, until: int = -1, number: int = 40, start: Path | None, **values: Any
) -> list[dict[str, Any]]:
    """One go at a run, and what it has logged up to now."""
    ours, resume.ExactResume = resume.ExactResume, mixin  # type: ignore[misc]
    try:
        loaded = load_model(tiny_vl_folder(), device="cpu")
        settings = settings_from({**TINY, **values}, out)
        trainer = build_trainer(loaded, few_questions(number), settings, [BreaksAfter(until)])
        trainer.train(resume_from_checkpoint=str(start) if start else None)
    except Broken:
        pass
    finally:
        resume.ExactResume = ours  # type: ignore[misc]
    return logged(out)


def first_difference(folder: Path, mixin: type, **values: Any) -> str:
    """What differs between a run undisturbed and one broken after step 3 and gone on with."""
    whole = go(folder / "whole", mixin, start=None, **values)
    broken = folder / "broken"
    go(broken, mixin, until=3, start=None, **values)
    last = get_last_checkpoint(str(broken))
    again = go(broken, mixin, start=Path(str(last)), **values)
    for one, other in zip(whole, again, strict=True):
        if one != other:
            name = next(k for k in one if one[k] != other.get(k))
            return f"{name} differs from step {one['step']}: {other.get(name)} for {one[name]}"
    return "equal bit for bit"


def incomplete(folder: Path, mixin: type) -> str:
    """What is gone on from where the newest checkpoint has lost its weights."""
    go(folder / "run", mixin, until=5, start=None)
    for name in ("model.safetensors", "trainer_state.json"):
        (folder / "run" / "checkpoint-4" / name).unlink()
    try:
        ours = newest_checkpoint(folder / "run")
    except StateError:
        ours = None
    taken = ours if mixin is not Stock else get_last_checkpoint(str(folder / "run"))
    return f"{Path(str(taken)).name} is taken"


ROWS: dict[str, tuple[str, Callable[..., str], dict[str, Any]]] = {
    "B1": ("broken after 3 steps, all weights", first_difference, {}),
    "B1, KL": ("the same, beta 0.04", first_difference, {"beta": 0.04}),
    "B1, LoRA": ("the same, adapter with dropout", first_difference, LORA),
    "B1, second pass": (
        "the same in a second pass over the data", first_difference,
        {**LORA, "number": 4, "max_steps": 6},
    ),
    "B2": (
        "two updates a generation, saved every step", first_difference,
        {**LORA, "num_iterations": 2, "save_steps": 1},
    ),
    "B5": ("the newest checkpoint lost two files", incomplete, {}),
}  # fmt: skip


def main() -> None:
    """Print the table."""
    logging.getLogger("medr1").setLevel(logging.ERROR)
    print("| figure | fault | Trainer's own resume | medr1 |\n|---|---|---|---|", flush=True)
    for figure, (fault, measure, values) in ROWS.items():
        with tempfile.TemporaryDirectory() as folder:
            found = [
                measure(Path(folder) / mixin.__name__, mixin, **values)
                for mixin in (Stock, resume.ExactResume)
            ]
        print(f"| {figure} | {fault} | {found[0]} | {found[1]} |", flush=True)


if __name__ == "__main__":
    main()
