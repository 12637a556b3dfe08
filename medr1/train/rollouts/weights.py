"""The weights of the policy in a folder, from which the server loads them."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FOLDER = ".rollout-weights"
"""Folder in the run's folder with the weights that the server loads."""


@contextmanager
def weights_folder(model: Any, output: Path, step: int) -> Iterator[Path]:
    """Within the block, a folder has the weights of the model as a checkpoint has them.

    The folder gets its name when it is complete. An adapter is merged into a copy of the weights,
    since merging and subtracting it again would round the weights of the policy.

    Args:
        model: The policy, not sharded.
        output: The run's folder.
        step: Number of updates so far, for the folder's name.

    Raises:
        OutputError: The disk is full.
    """
    from peft import PeftModel

    from medr1.train.recovery.exact_resume import explain_write_errors

    parent = output.resolve() / FOLDER
    shutil.rmtree(parent, ignore_errors=True)  # what an interrupted run has left
    partial, folder = parent / f"step-{step}.partial", parent / f"step-{step}"
    try:
        with explain_write_errors(output / FOLDER):
            complete = copy.deepcopy(model).merge_and_unload() if is_adapted(model) else model
            assert not isinstance(complete, PeftModel)
            complete.save_pretrained(partial)
            partial.rename(folder)
        yield folder
    finally:
        shutil.rmtree(parent, ignore_errors=True)


def is_adapted(model: Any) -> bool:
    """Whether a model has an adapter of peft."""
    from peft import PeftModel

    return isinstance(model, PeftModel)
