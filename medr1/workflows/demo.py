"""The demo: evaluate the embedded model, train it with GRPO, evaluate it again, and compare."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from medr1.processes import require_forks
from medr1.workflows.arguments import (
    keep_apart,
    require_at_least,
    require_choice,
    require_writable,
)

if TYPE_CHECKING:
    from medr1.documents.demo import Demo

logger = logging.getLogger("medr1")

DemoPrompt = Literal["nothink", "think"]
"""The format of the answers: in words, or a short caption and the letter."""
CONFIGS: dict[DemoPrompt, str] = {"nothink": "tiny", "think": "tiny-think"}
"""Prompt -> the name of the demo's configuration in configs/."""
LOCK = ".lock"
"""The file in the output folder that a demo locks while it works there."""


def run_demo(
    *,
    output_dir: str | Path = "output/demo",
    prompt: DemoPrompt = "nothink",
    seed: int = 0,
    max_steps: int | None = None,
) -> Demo:
    """Run the demo and return the document that `medr1 demo --json` prints.

    Args:
        output_dir: Where everything is written: base/, checkpoint/, trained/, demo.json, curve.png.
            Results of an earlier demo there are kept as NAME.bak. An interrupted demo with the
            same arguments is continued.
        prompt: nothink or think.
        seed: Of the training, the shuffled images and the intervals.
        max_steps: Training steps; None for those of the configuration.

    Returns:
        The content of demo.json; accuracies are in [0, 1].

    Raises:
        InputError: The embedded model or data is not on this machine, or an argument is wrong.
        LockedError: Another demo is running in the folder.
        OutputError: The folder cannot be written.
    """
    from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder
    from medr1.files import prepare_folder
    from medr1.journal import locked_file, require_unlocked
    from medr1.workflows.demo_progress import RESULT, DemoProgress, unfinished
    from medr1.workflows.demo_steps import plan_demo, run_steps

    require_forks("medr1 demo")
    require_choice("prompt", prompt, CONFIGS)
    require_at_least(1, max_steps=max_steps)
    folder = Path(output_dir)
    require_writable(folder / RESULT)
    keep_apart(folder, [tiny_vl_folder(), tiny_vqa_folder()], move=True)
    if folder.is_dir():
        require_unlocked(folder / LOCK)
    plan = plan_demo(CONFIGS[prompt], seed=seed, max_steps=max_steps)
    progress = unfinished(folder, plan.inputs)
    if progress is None:
        prepare_folder(folder, overwrite=True)
        progress = DemoProgress(folder, plan.inputs)
    else:
        logger.info("%s has an interrupted demo with the same settings: it continues.", folder)
    with locked_file(folder / LOCK):
        return run_steps(plan, progress, prompt=prompt)
