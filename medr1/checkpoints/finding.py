"""From what a user calls a checkpoint to its folder: a path, a short name, a hub id."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from medr1.errors import InputError

_EMBEDDED = Path(__file__).resolve().parents[2] / "checkpoints"

MED_R1_NAMES = {
    "VQA_CT": "computed tomography",
    "VQA_MRI": "magnetic resonance imaging, the modality; VQA_MR is a question type",
    "VQA_Xray": "X-ray",
    "VQA_Der": "dermoscopy",
    "VQA_FP": "fundus photography",
    "VQA_Micro": "microscopy",
    "VQA_OCT": "optical coherence tomography",
    "VQA_US": "ultrasound",
    "VQA_AI": "Anatomy Identification",
    "VQA_DD": "Disease Diagnosis",
    "VQA_LG": "Lesion Grading",
    "VQA_MR": "Modality Recognition, a question type; VQA_MRI is the modality",
    "VQA_OBA": "Other Biological Attributes",
}
"""What the folders of Med-R1's published checkpoints are called after."""


LOADED_SUFFIXES = (".safetensors", ".json", ".jinja", ".txt", ".model")
"""The endings of the files of a checkpoint that are read; none of them can run code."""


def is_adapter(folder: Path) -> bool:
    """Whether the folder holds a LoRA adapter, which goes onto a base, and no model of its own."""
    return os.path.isfile(folder / "adapter_config.json")


def is_checkpoint(folder: Path) -> bool:
    """Whether the folder holds a model or an adapter."""
    return os.path.isfile(folder / "config.json") or is_adapter(folder)


def find_checkpoint(name: str, *, offline: bool = False, revision: str | None = None) -> Path:
    """The folder of a checkpoint: a path, a short name under checkpoints/, or a hub id.

    A short name is the checkpoint's folder or the end of its path. A hub id is downloaded; offline
    it is looked for among what was downloaded before. Raises InputError, with the checkpoints that
    are at hand, where there is none of that name, and where a short name stands for several.
    """
    path = Path(name).expanduser()
    if is_checkpoint(path):
        return path
    named = _by_short_name(name)
    if len(named) > 1:
        raise InputError(
            f"{name} stands for several checkpoints: {', '.join(map(str, named))}. Give more of "
            "the path."
        )
    if named:
        return named[0]
    if os.path.isdir(path):
        raise InputError(
            f"{path} holds neither config.json nor adapter_config.json, so it is not a "
            f"checkpoint. {available_checkpoints()}"
        )
    if os.path.exists(path):
        raise InputError(f"{path} is a file; --model-path takes the checkpoint's folder.")
    if _is_hub_id(name):
        return _from_hub(name, offline, revision)
    raise InputError(f"checkpoint not found: {name}. {available_checkpoints()}")


def _checkpoints() -> list[Path]:
    """What lies under checkpoints/ here, or under the embedded one where nothing does."""
    for root in (Path("checkpoints"), _EMBEDDED):
        found = {
            file.parent
            for pattern in ("config.json", "adapter_config.json")
            for file in root.rglob(pattern)
            if not any(part.startswith(".") for part in file.relative_to(root).parts)
        }
        if found:
            return sorted(found)
    return []


def _by_short_name(name: str) -> list[Path]:
    wanted = PurePosixPath(name).parts
    if not wanted or ".." in wanted or name.startswith(("/", "~")):
        return []
    return [folder for folder in _checkpoints() if folder.parts[-len(wanted) :] == wanted]


def available_checkpoints() -> str:
    """A sentence with the checkpoints at hand, Med-R1's short names explained."""
    found = _checkpoints()
    if not found:
        return "There are no checkpoints under checkpoints/ here; give the path of one."
    names = dict.fromkeys(folder.name for folder in found if folder.name in MED_R1_NAMES)
    said = f"Available under checkpoints/: {', '.join(map(str, found))}."
    explained = "; ".join(f"{name} = {MED_R1_NAMES[name]}" for name in names)
    return f"{said} ({explained}.)" if explained else said


def _is_hub_id(name: str) -> bool:
    """`owner/model`, and not a path into a folder that is here."""
    owner, _, model = name.partition("/")
    return (
        bool(owner and model)
        and "/" not in model
        and owner[0] not in ".~"
        and not (os.path.exists(owner) or owner in ("checkpoints", "output", "data"))
    )


def _from_hub(name: str, offline: bool, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        folder = snapshot_download(
            name,
            revision=revision,
            allow_patterns=[f"*{ending}" for ending in LOADED_SUFFIXES],
            ignore_patterns=["*/*"],  # other checkpoints, each as large as this one
            local_files_only=offline,
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        if offline:
            raise InputError(
                f"checkpoint not found: {name}. Offline it is looked for among earlier downloads "
                f"only. {available_checkpoints()}"
            ) from None
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"checkpoint {name} is not here and could not be downloaded ({reason}). "
            f"{available_checkpoints()}"
        ) from None
    if not is_checkpoint(Path(folder)):
        raise InputError(
            f"{name} on the hub holds no config.json at its top, so it is not one checkpoint. "
            f"Download the folder you want to {os.path.join('checkpoints', name)} and name that."
        )
    return Path(folder)
