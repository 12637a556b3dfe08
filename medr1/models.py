"""Loading a checkpoint, completely or not at all, and choosing where and how it runs.

A checkpoint is a folder with `config.json`, safetensors and a processor. What medr1 writes beside
them, `medr1.json`, says how it was made and how it answers.
"""

from __future__ import annotations

import logging
import os
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medr1.checkpoints.adapters import apply_adapter, find_base, read_adapter
from medr1.checkpoints.finding import find_checkpoint, is_adapter
from medr1.checkpoints.generation import generation_settings
from medr1.checkpoints.integrity import checkpoint_sha256, write_checksums
from medr1.checkpoints.structure import (
    read_configurations,
    require_sound,
    resolved_configuration,
)
from medr1.checkpoints.templates import require_known_template
from medr1.checkpoints.trial import CheckpointErrors, require_answer
from medr1.errors import InputError, OutputError
from medr1.files import (
    parse_json,
    prepare_folder,
    read_text,
    to_json,
    unfinished_folder,
    write_atomic,
)
from medr1.mps import limit_pixels
from medr1.prompts import ANSWER_STYLES, PROMPTS, prompt_name, prompt_sha256, template

if TYPE_CHECKING:
    import torch
    from transformers import BitsAndBytesConfig

__all__ = [
    "CheckpointInfo",
    "LoadedModel",
    "checkpoint_document",
    "choose_attention",
    "choose_device",
    "choose_dtype",
    "control_tokens",
    "find_checkpoint",
    "installed_version",
    "library_versions",
    "load_model",
    "load_outline",
    "load_processor",
    "load_weights",
    "outline",
    "prompt_record",
    "read_checkpoint_info",
    "write_merged",
]

logger = logging.getLogger("medr1")

CHECKPOINT_SCHEMA = "medr1.checkpoint/1"
DTYPES = ("auto", "bfloat16", "float16", "float32")
_PROCESSORS = ("Qwen2VLProcessor", "Qwen2_5_VLProcessor", "Qwen3VLProcessor")


@dataclass(frozen=True)
class CheckpointInfo:
    """How a checkpoint wants to be asked: from its `medr1.json`, else the field's defaults."""

    prompt: str | None = None
    """A key of prompts.PROMPTS, or a template's text; None where the checkpoint does not say."""
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


def read_checkpoint_info(path: Path) -> CheckpointInfo:
    """What `medr1.json` says; the defaults where there is none. InputError for values unknown."""
    file = path / "medr1.json"
    if not file.is_file():
        return CheckpointInfo()
    document = parse_json(read_text(file), str(file))
    if not isinstance(document, dict):
        raise InputError(f"{file}: expected a JSON object. Fetch the checkpoint again.")
    info = CheckpointInfo(_recorded_prompt(document, file), document.get("answer_style", "letter"))
    if info.answer_style not in ANSWER_STYLES:
        raise InputError(f"{file}: answer_style must be one of {', '.join(ANSWER_STYLES)}.")
    return info


def _recorded_prompt(document: dict[str, Any], file: Path) -> str | None:
    """The name of the prompt that a `medr1.json` records, or its text where no name stands for it.

    The text wins: it is what the checkpoint was trained with, whatever its file holds today.
    """
    name, text = document.get("prompt"), document.get("prompt_text")
    if text is None:
        if name is not None and (not isinstance(name, str) or name not in PROMPTS):
            raise InputError(f"{file}: unknown prompt {name!r}. Known: {', '.join(PROMPTS)}.")
        return name
    if not isinstance(text, str) or text.count("{problem}") != 1:
        raise InputError(f"{file}: prompt_text does not hold {{problem}} once. Fetch it again.")
    if prompt_sha256(text) != document.get("prompt_sha256"):
        raise InputError(
            f"{file}: prompt_text is not the text of which prompt_sha256 is the hash: one of them "
            "was changed. Fetch the checkpoint again."
        )
    return next((known for known, its in PROMPTS.items() if its == text), text)


def prompt_record(prompt: str | None) -> dict[str, str | None]:
    """What a `medr1.json` says about a prompt: enough to ask it again without its file."""
    if prompt is None:
        return {"prompt": None}
    return {
        "prompt": prompt_name(prompt),
        "prompt_text": template(prompt),
        "prompt_sha256": prompt_sha256(prompt),
    }


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
        number, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if number >= count:
            raise InputError(f"process {number} has no GPU: {count} are here. Start {count}.")
        return torch.device("cuda", number)
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
    path: Path,
    *,
    device: str = "auto",
    dtype: str = "auto",
    attention: str | None = None,
    allow_template: bool = False,
    offline: bool = False,
    quantization: BitsAndBytesConfig | None = None,
    merge: bool = True,
) -> LoadedModel:
    """Load a checkpoint whole, in evaluation mode; an adapter merged into its base.

    Without `merge` an adapter lies beside its base's weights, with its dropout (switched off).
    With `quantization` its linear layers hold 4 or 8 bits a weight: to train an adapter on them.

    Raises InputError where a tensor is missing, left over, of another shape or not finite, where a
    file is damaged or describes more than it holds, where the chat template is not known and not
    allowed, and where the checkpoint would run code of its own.
    """
    import torch

    target = choose_device(device)
    kind = choose_dtype(dtype, target)
    base = path
    if is_adapter(path):
        read_adapter(path)
        if quantization is not None:
            raise InputError(
                f"checkpoint {path} is an adapter, which cannot be merged into fewer bits. "
                f"Merge it first: medr1 merge {path} --output-dir DIR"
            )
        base = find_base(path, offline=offline)
    require_sound(base)
    processor = load_processor(path, base)
    require_known_template(processor, f"checkpoint {path}", allow=allow_template)
    model = load_weights(base, kind, attention or choose_attention(target), target, quantization)
    if base != path:
        model = apply_adapter(model, path, base, merge=merge)
    for name, tensor in model.state_dict().items():
        if not bool(torch.isfinite(tensor).all()):
            raise InputError(f"checkpoint {path}: {name} holds NaN or infinity. Fetch it again.")
    processor.tokenizer.padding_side = "left"
    limit_pixels(processor, target)
    if quantization is None:
        model.to(target)
    model.eval()
    require_answer(model, processor, path)
    info = read_checkpoint_info(path if (path / "medr1.json").is_file() else base)
    return LoadedModel(path, model, processor, info, target, kind)


def load_outline(
    path: Path, *, device: str = "auto", dtype: str = "auto", offline: bool = True
) -> LoadedModel:
    """A checkpoint as `load_model` gives it, with all but its weights: for plans.

    Its parameters lie on torch's meta device, which has shapes and no memory.
    """
    target = choose_device(device)
    kind = choose_dtype(dtype, target)
    base = find_base(path, offline=offline) if is_adapter(path) else path
    require_sound(base)
    processor = load_processor(path, base)
    processor.tokenizer.padding_side = "left"
    limit_pixels(processor, target)
    info = read_checkpoint_info(path if (path / "medr1.json").is_file() else base)
    model = outline(resolved_configuration(base), kind)
    return LoadedModel(path, model, processor, info, target, kind)


def outline(config: Any, kind: torch.dtype) -> Any:
    """A model of this configuration on torch's meta device."""
    import torch
    from transformers import AutoModelForImageTextToText

    with torch.device("meta"):
        # the plainest attention: an outline computes nothing. It is set in the configuration, which
        # may be that of a model at work: hence a copy
        return AutoModelForImageTextToText.from_config(
            deepcopy(config), dtype=kind, attn_implementation="eager"
        )


def load_weights(
    path: Path,
    kind: torch.dtype,
    attention: str,
    target: torch.device | None = None,
    quantization: BitsAndBytesConfig | None = None,
) -> Any:
    """The model of a checkpoint that is no adapter; InputError where it is not complete.

    Of its generation_config.json it takes what `generation_settings` does, and warns of the rest.
    """
    from transformers import AutoModelForImageTextToText, GenerationConfig

    if "/" in attention:
        raise InputError(
            f"attention {attention} is a kernel from a hub, which is never run. Use sdpa or eager."
        )
    with CheckpointErrors(f"cannot load the checkpoint {path}"):
        config = resolved_configuration(path, attention)
        settings, not_taken = generation_settings(path, config)
        # with output_loading_info it returns a pair, which its annotation does not say
        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            path,
            config=config,
            generation_config=GenerationConfig(**settings),
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            dtype=kind,
            attn_implementation=attention,
            quantization_config=quantization,
            device_map=None if quantization is None else {"": target},
        )
    model, report = loaded
    _require_complete(path, report)
    if not_taken:
        logger.warning("%s", not_taken)
    return model


def _has_processor(path: Path) -> bool:
    """Whether the folder has both halves of a processor: for pictures and for text."""
    pictures = ("preprocessor_config.json", "processor_config.json")
    text = ("tokenizer.json", "vocab.json")
    return all(any((path / name).is_file() for name in names) for names in (pictures, text))


def load_processor(path: Path, base: Path) -> Any:
    """The processor in the checkpoint's folder, else that in its base's."""
    from transformers import AutoProcessor

    path = path if _has_processor(path) else base
    read_configurations(path)
    with CheckpointErrors(f"cannot load the checkpoint {path}"):
        processor: Any = AutoProcessor.from_pretrained(
            path, trust_remote_code=False, local_files_only=True
        )
        if type(processor).__name__ not in _PROCESSORS:  # of another name, it is half of one
            raise ValueError(f"processor_class is not one of {', '.join(_PROCESSORS)}")
        return processor


def write_merged(loaded: LoadedModel, folder: Path, *, overwrite: bool = False) -> None:
    """Write a loaded adapter and its base as one checkpoint, whole or not at all.

    Raises InputError where the folder has content and `overwrite` is not given.
    """
    if not overwrite:
        prepare_folder(folder, overwrite=False)
    base = find_base(loaded.path, offline=True)
    try:
        with unfinished_folder(folder) as beside:
            loaded.model.save_pretrained(beside)
            loaded.processor.save_pretrained(beside)
            write_atomic(
                beside / "medr1.json",
                checkpoint_document(
                    base=base.resolve().name,
                    base_sha256=checkpoint_sha256(base),
                    adapter=loaded.path.resolve().name,
                    adapter_sha256=checkpoint_sha256(loaded.path),
                    method="merge",
                    **prompt_record(loaded.info.prompt),
                    answer_style=loaded.info.answer_style,
                    dtype=str(loaded.dtype).removeprefix("torch."),
                    versions=library_versions(),
                ),
            )
            write_checksums(beside)
            prepare_folder(folder, overwrite=overwrite)
            os.replace(beside, folder)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"cannot write {folder}: {error.strerror or error}.") from None


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
    """The strings that the tokenizer reads as control, and not as the text they are."""
    added = processor.tokenizer.added_tokens_decoder.values()
    return sorted({token.content for token in added if token.special})


def checkpoint_document(**values: Any) -> str:
    """The text of a `medr1.json`."""
    return to_json({"schema": CHECKPOINT_SCHEMA, **values})


def installed_version(package: str) -> str | None:
    """The version of a package, None where it is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def library_versions() -> dict[str, str]:
    """The versions that decide numbers, for manifests; what is not installed is absent."""
    names = ("medr1", "torch", "torchvision", "transformers", "trl", "accelerate", "pillow")
    found = {name: installed_version(name) for name in names}
    return {name: version for name, version in found.items() if version is not None}
