"""Paths of the embedded model, data and configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medr1.installation import embedded_path


def tiny_vqa_folder() -> Path:
    """The folder of the embedded data set: train.json, validation.json, test.json and images/."""
    return embedded_path("data/tiny_vqa_ds")


def tiny_vl_folder() -> Path:
    """The folder of the embedded checkpoint."""
    return embedded_path("checkpoints/tiny-vl")


def tiny_config_file(name: str = "tiny") -> Path:
    """The file of an embedded training configuration: configs/<name>.yaml."""
    return embedded_path(f"configs/{name}.yaml")


def tiny_config(name: str = "tiny") -> dict[str, Any]:
    """The values of configs/<name>.yaml, with the full paths of its model and data."""
    import yaml

    values = yaml.safe_load(tiny_config_file(name).read_text(encoding="utf-8"))
    return {**values, **{key: embedded_path(values[key]) for key in ("model_path", "data")}}
