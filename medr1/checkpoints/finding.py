"""Finding the folder of a checkpoint by the name that a user gives: path, short name or hub id."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from medr1.errors import InputError
from medr1.installation import embedded_path

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
"""Folder of a published Med-R1 checkpoint -> the modality or question type of its training data."""

LOADED_SUFFIXES = (".safetensors", ".json", ".jinja", ".txt", ".model")
"""Suffixes of the files of a checkpoint that are read; none of these formats can run code."""


def is_adapter(folder: Path) -> bool:
    """Whether the folder holds a LoRA adapter, which needs a base model."""
    return os.path.isfile(folder / "adapter_config.json")


def is_checkpoint(folder: Path) -> bool:
    """Whether the folder holds a complete model or a LoRA adapter."""
    return os.path.isfile(folder / "config.json") or is_adapter(folder)


def find_checkpoint(name: str, *, offline: bool = False, revision: str | None = None) -> Path:
    """The folder of a checkpoint.

    Args:
        name: A path; a short name, which is the last folder, or folders, of a path under
            checkpoints/ ("VQA_CT", "Qwen_2.5_3B_nothink/VQA_CT"); or an id on the Hugging Face hub
            ("owner/model"), which is downloaded. They are tried in this order.
        offline: Whether the network may not be used; a hub id is then looked for among earlier
            downloads.
        revision: Of the hub id: a branch, tag or commit; None for the newest.

    Raises:
        InputError: If there is no such checkpoint (the message lists those at hand), or a short
            name stands for several.
    """
    path = Path(name).expanduser()
    if is_checkpoint(path):
        return path
    # a path wins over a short name, and a short name over the hub, so that nothing is downloaded
    # that is on the disk
    matches = _by_short_name(name)
    if len(matches) > 1:
        raise InputError(
            f"{name} stands for several checkpoints: {', '.join(map(str, matches))}. Give more of "
            "the path."
        )
    if matches:
        return matches[0]
    if os.path.isdir(path):
        raise InputError(
            f"{path} holds neither config.json nor adapter_config.json, so it is not a "
            f"checkpoint. {available_checkpoints()}"
        )
    if os.path.exists(path):
        raise InputError(f"{path} is a file. Give the folder of the checkpoint.")
    if med_r1_name := _med_r1_name(name):
        raise InputError(
            f'checkpoint not found: {name}. To download it, run "medr1 fetch {med_r1_name}". '
            f"{available_checkpoints()}"
        )
    if _is_hub_id(name):
        return _from_hub(name, offline, revision)
    raise InputError(f"checkpoint not found: {name}. {available_checkpoints()}")


def _checkpoints() -> list[Path]:
    """The checkpoints under checkpoints/ of the working directory; if none, those of medr1."""
    for root in (Path("checkpoints"), embedded_path("checkpoints")):
        folders = {
            file.parent
            for pattern in ("config.json", "adapter_config.json")
            for file in root.rglob(pattern)
            if not any(part.startswith(".") for part in file.relative_to(root).parts)
        }
        if folders:
            return sorted(folders)
    return []


def _by_short_name(name: str) -> list[Path]:
    """The checkpoints whose path ends with the name, compared folder by folder."""
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts or name.startswith(("/", "~")):
        return []
    return [folder for folder in _checkpoints() if folder.parts[-len(parts) :] == parts]


def available_checkpoints() -> str:
    """A sentence for errors: the checkpoints at hand, with Med-R1's short names explained."""
    folders = _checkpoints()
    if not folders:
        return "There are no checkpoints under checkpoints/ here; give the path of one."
    names = dict.fromkeys(folder.name for folder in folders if folder.name in MED_R1_NAMES)
    if folders[0].is_relative_to(embedded_path("checkpoints")):
        return f"Here are only the embedded {' and '.join(folder.name for folder in folders)}."
    available = f"Available under checkpoints/: {', '.join(map(str, folders))}."
    explained = "; ".join(f"{name} = {MED_R1_NAMES[name]}" for name in names)
    return f"{available} ({explained}.)" if explained else available


def _med_r1_name(name: str) -> str | None:
    """The name under which `medr1 fetch` downloads a checkpoint of Med-R1; None for another one.

    It is the last folder of the name, in any letters ("vqa_ct"), with the folder of its variant
    ("Qwen_2.5_3B_nothink") where the name has one. The id of another repository is none.
    """
    *folders, last = PurePosixPath(name).parts or ("",)
    known = next((known for known in MED_R1_NAMES if known.lower() == last.lower()), None)
    if known is None:
        return None
    variant = folders[-1] if folders else ""
    if variant.startswith("Qwen"):
        return f"{variant}/{known}"
    return known if variant in ("", "checkpoints", "Med-R1") else None


def _is_hub_id(name: str) -> bool:
    """Whether the name looks like owner/model, and is not a path into a local folder.

    So a typing error in "checkpoints/VQA_CT" is reported as such, and not looked up on the hub.
    """
    owner, _, model = name.partition("/")
    return (
        bool(owner and model)
        and "/" not in model
        and owner[0] not in ".~"
        and not (os.path.exists(owner) or owner in ("checkpoints", "output", "data"))
    )


def _from_hub(name: str, offline: bool, revision: str | None) -> Path:
    """The folder of a checkpoint of the hub, which is downloaded; offline an earlier download."""
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
            f"{name} on the hub holds no config.json at its top, so it is not a single checkpoint. "
            f"Download the folder you want to {os.path.join('checkpoints', name)} and name its "
            "path."
        )
    return Path(folder)
