"""Paths of the embedded model, data and configuration, from any working directory.

They are part of the repository and not of the package. So they exist in a source checkout, and with
an editable install, which is what scripts/demo.sh makes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medr1.errors import InputError

_REPOSITORY = Path(__file__).resolve().parents[2]


def tiny_vqa_folder() -> Path:
    """The folder of the embedded data set: train.json, validation.json, test.json and images/."""
    return _embedded("data/tiny_vqa_ds")


def tiny_vl_folder() -> Path:
    """The folder of the embedded checkpoint."""
    return _embedded("checkpoints/tiny-vl")


def tiny_config_file(name: str = "tiny") -> Path:
    """The file of an embedded training configuration: configs/<name>.yaml."""
    return _embedded(f"configs/{name}.yaml")


def tiny_config(name: str = "tiny") -> dict[str, Any]:
    """The values of configs/<name>.yaml, with the full paths of its model and data."""
    import yaml

    values = yaml.safe_load(tiny_config_file(name).read_text(encoding="utf-8"))
    return {**values, **{key: _embedded(values[key]) for key in ("model_path", "data")}}


def _embedded(name: str) -> Path:
    """The path of a file of the repository; it is also searched in all folders above this one."""
    current = Path.cwd().resolve()
    for folder in (_REPOSITORY, current, *current.parents):
        if (folder / name).exists():
            return folder / name
    raise InputError(
        f"{name} was not found: it comes with the source checkout. "
        "Run inside the checkout, or install from it: pip install -e ."
    )
