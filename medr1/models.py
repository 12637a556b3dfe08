"""Loading a checkpoint, completely or not at all, and choosing where and how it runs.

A checkpoint is a folder with `config.json`, safetensors and a processor. What medr1 writes beside
them, `medr1.json`, says how it was made and how it answers.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medr1.errors import InputError
from medr1.files import parse_json, read_text, to_json
from medr1.mps import limit_pixels
from medr1.prompts import ANSWER_STYLES, PROMPTS

if TYPE_CHECKING:
    import torch

CHECKPOINT_SCHEMA = "medr1.checkpoint/1"
_EMBEDDED = Path(__file__).resolve().parent.parent / "checkpoints"
DEVICES = ("auto", "cuda", "mps", "cpu")
DTYPES = ("auto", "bfloat16", "float16", "float32")


@dataclass(frozen=True)
class CheckpointInfo:
    """How a checkpoint wants to be asked: from its `medr1.json`, else the field's defaults."""

    prompt: str | None = None
    """A key of prompts.PROMPTS; None where the checkpoint does not say."""
    answer_style: str = "letter"


@dataclass(frozen=True)
class LoadedModel:
    """A model in evaluation mode with its processor (left padding) and where it runs."""

    path: Path
    model: Any
    processor: Any
    info: CheckpointInfo
    device: torch.device
    dtype: torch.dtype


def find_checkpoint(name: str, *, offline: bool = False) -> Path:
    """The folder of a checkpoint: a local path, or a hub id, which is downloaded unless offline.

    Raises InputError, with the checkpoints that are at hand, where there is none of that name.
    """
    path = Path(name).expanduser()
    if (path / "config.json").is_file():
        return path
    if path.is_dir():
        raise InputError(
            f"{path} holds no config.json, so it is not a checkpoint. {_available_checkpoints()}"
        )
    if path.exists():
        raise InputError(f"{path} is a file; --model-path takes the checkpoint's folder.")
    if _is_hub_id(name) and not offline:
        return _download(name)
    raise InputError(f"checkpoint not found: {name}. {_available_checkpoints()}")


def _is_hub_id(name: str) -> bool:
    """`owner/model`, and not a path into a folder that is here."""
    owner, _, model = name.partition("/")
    return (
        bool(owner and model)
        and "/" not in model
        and owner[0] not in ".~"
        and not (Path(owner).exists() or owner in ("checkpoints", "output", "data"))
    )


def _available_checkpoints() -> str:
    for root in (Path("checkpoints"), _EMBEDDED):
        if found := sorted(str(c.parent) for c in root.rglob("config.json")):
            return f"Available under checkpoints/: {', '.join(found)}."
    return "There are no checkpoints under checkpoints/ here; give the path of one."


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    patterns = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model"]
    try:
        return Path(snapshot_download(name, allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"checkpoint {name} is not here and could not be downloaded ({reason}). "
            f"{_available_checkpoints()}"
        ) from None


def read_checkpoint_info(path: Path) -> CheckpointInfo:
    """What `medr1.json` says; the defaults where there is none. InputError for values unknown."""
    file = path / "medr1.json"
    if not file.is_file():
        return CheckpointInfo()
    document = parse_json(read_text(file), str(file))
    info = CheckpointInfo(document.get("prompt"), document.get("answer_style", "letter"))
    if info.prompt is not None and info.prompt not in PROMPTS:
        raise InputError(f"{file}: unknown prompt {info.prompt!r}. Known: {', '.join(PROMPTS)}.")
    if info.answer_style not in ANSWER_STYLES:
        raise InputError(f"{file}: answer_style must be one of {', '.join(ANSWER_STYLES)}.")
    return info


def choose_device(name: str = "auto") -> torch.device:
    """The device asked for, or the best there is: cuda, then mps, then cpu."""
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    import torch

    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next((kind for kind, available in here.items() if available), "cpu")
    if not here.get(name, name == "cpu"):
        raise InputError(f"device {name} is not available here. Try --device auto or cpu.")
    if name == "cuda":
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device(name)


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """The dtype asked for; auto is bfloat16 on a CUDA device that has it and float32 elsewhere."""
    import torch

    if name == "auto":
        wide = device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if wide else torch.float32
    return getattr(torch, name)


def choose_attention(device: torch.device) -> str:
    """The attention that is right there: MPS has silent faults on record in its fused one."""
    return "eager" if device.type == "mps" else "sdpa"


def load_model(
    path: Path, *, device: str = "auto", dtype: str = "auto", attention: str | None = None
) -> LoadedModel:
    """Load a checkpoint whole, in evaluation mode.

    Raises InputError where a tensor is missing, left over, of another shape or not finite, where a
    file is damaged, and where the checkpoint would run code of its own.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForImageTextToText, AutoProcessor

    target = choose_device(device)
    kind = choose_dtype(dtype, target)
    attention = attention or choose_attention(target)
    try:
        # with output_loading_info it returns a pair, which its annotation does not say
        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            path,
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            dtype=kind,
            attn_implementation=attention,
        )
        processor = AutoProcessor.from_pretrained(
            path, trust_remote_code=False, local_files_only=True
        )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"cannot load the checkpoint {path}: {reason}") from error
    model, report = loaded
    _require_complete(path, report)
    for name, tensor in model.state_dict().items():
        if not bool(torch.isfinite(tensor).all()):
            raise InputError(f"checkpoint {path}: {name} holds NaN or infinity. Fetch it again.")
    processor.tokenizer.padding_side = "left"
    limit_pixels(processor, target)
    model.to(target).eval()
    return LoadedModel(path, model, processor, read_checkpoint_info(path), target, kind)


def _require_complete(path: Path, report: dict[str, Any]) -> None:
    faults = {
        kind: sorted(str(key) for key in report.get(f"{kind}_keys") or ())
        for kind in ("missing", "unexpected", "mismatched")
    }
    said = [f"{len(keys)} {kind} (first: {keys[0]})" for kind, keys in faults.items() if keys]
    if said or report.get("error_msgs"):
        raise InputError(
            f"checkpoint {path} does not fit its own architecture: tensors {', '.join(said)}. "
            "Nothing is guessed; fetch it again."
        )


def control_tokens(processor: Any) -> list[str]:
    """The strings that the tokenizer reads as control, and that therefore no question may hold."""
    added = processor.tokenizer.added_tokens_decoder.values()
    return sorted({token.content for token in added if token.special})


def checkpoint_document(**values: Any) -> str:
    """The text of a `medr1.json`."""
    return to_json({"schema": CHECKPOINT_SCHEMA, **values})


def library_versions() -> dict[str, str]:
    """The versions that decide numbers, for manifests; what is not installed is absent."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("medr1", "torch", "torchvision", "transformers", "trl", "accelerate", "pillow"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
