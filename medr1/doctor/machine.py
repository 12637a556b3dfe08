"""The facts about a machine: versions, devices, memory, disk. `examination` judges them."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from dataclasses import dataclass

from medr1.installation import embedded_path

LIBRARIES = ("torch", "torchvision", "transformers", "accelerate", "huggingface-hub", "numpy",
             "pillow")  # fmt: skip
"""Libraries that medr1 requires."""
EXTRAS = {
    "trl": ("medr1 train", "trl"),
    "peft": ("adapters in TRL", "peft"),
    "datasets": ("medr1 train, and data sets that it saved", "datasets"),
    "pyarrow": ("Parquet files", "pyarrow"),
    "matplotlib": ("the learning curve of medr1 demo", "matplotlib"),
}
"""Optional library -> (what it is for, what `pip install` is told to install)."""


@dataclass(frozen=True)
class Device:
    """A device that torch finds."""

    kind: str
    """cuda, mps or cpu."""
    name: str
    memory: int | None
    """In bytes; None for the CPU."""
    free: int | None
    """The part of `memory` that is not in use; None for the CPU."""


@dataclass(frozen=True)
class ChosenSettings:
    """What a command would use."""

    device: str
    """A kind of `Device`."""
    dtype: str
    attention: str
    """sdpa or eager."""


@dataclass(frozen=True)
class Memory:
    """The memory of the machine, in bytes."""

    total: int
    available: int


@dataclass(frozen=True)
class MachineFacts:
    """All facts about a machine, in the order of the JSON document."""

    medr1: str
    python: str
    """The version of Python; `medr1` is that of medr1."""
    system: str
    is_mac: bool
    libraries: dict[str, dict[str, str | None]]
    """From `compared_versions`."""
    devices: list[Device]
    """The best first."""
    chosen: ChosenSettings
    memory: Memory
    disk_free: int
    """Free bytes of the disk of the current folder."""
    extras: dict[str, str | None]
    """Optional library -> its version, None if it is not installed."""


def compared_versions() -> dict[str, dict[str, str | None]]:
    """Library -> {"installed", "tried", "needs"}: its versions, None where unknown.

    "tried" is the version that medr1 was last tested with, "needs" a range such as ">=2.11".
    """
    from importlib.metadata import requires

    from medr1.models.loading import installed_version

    text = embedded_path("scripts/constraints.txt").read_text(encoding="utf-8")
    tested = dict(re.findall(r"^([\w.-]+)==(\S+)", text, re.M))
    required = {}
    if installed_version("medr1") is not None:
        for line in requires("medr1") or ():
            if match := re.fullmatch(r"([\w.-]+)([<>=][\w.,<>=]+)", line):
                required[match[1].lower()] = match[2]
    return {
        name: {
            "installed": installed_version(name),
            "tried": tested.get(name),
            "needs": required.get(name),
        }
        for name in LIBRARIES
    }


def devices() -> list[Device]:
    """Every device that torch finds, the best first."""
    import torch

    gpus: list[Device] = []
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        name = torch.cuda.get_device_name(index)
        gpus.append(Device("cuda", name, memory=total, free=free))
    if torch.backends.mps.is_available():
        limit = torch.mps.recommended_max_memory()
        gpus.append(Device("mps", platform.processor(), memory=limit, free=limit))
    name = f"{platform.machine()}, {torch.get_num_threads()} of {os.cpu_count()} cores used"
    return [*gpus, Device("cpu", name, memory=None, free=None)]


def chosen_settings(device: str) -> ChosenSettings:
    """What a command with this --device would use."""
    from medr1.models.loading import choose_attention, choose_device, choose_dtype

    target = choose_device(device)
    dtype = str(choose_dtype("auto", target)).removeprefix("torch.")
    return ChosenSettings(target.type, dtype, choose_attention(target))


def facts(device: str) -> MachineFacts:
    """All facts; `device` is that of --device, such as "auto"."""
    import psutil

    from medr1 import __version__
    from medr1.models.loading import installed_version

    memory = psutil.virtual_memory()
    release = platform.mac_ver()[0] or platform.release().split("-")[0]
    return MachineFacts(
        medr1=__version__,
        python=platform.python_version(),
        system=f"{platform.system()} {release}, {platform.machine()}",
        is_mac=sys.platform == "darwin",
        libraries=compared_versions(),
        devices=devices(),
        chosen=chosen_settings(device),
        memory=Memory(memory.total, memory.available),
        disk_free=shutil.disk_usage(".").free,
        extras={name: installed_version(name) for name in EXTRAS},
    )
