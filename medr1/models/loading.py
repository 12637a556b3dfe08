"""Loading a checkpoint, completely or not at all, and choosing device, dtype and attention.

A checkpoint is a folder with `config.json`, weights as safetensors, and a processor: the tokenizer
and the image processor. Beside them medr1 writes `medr1.json`: how the checkpoint was made, and
with which prompt it is to be asked.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medr1.checkpoints.adapters import apply_adapter, find_base, read_adapter
from medr1.checkpoints.finding import find_checkpoint, is_adapter
from medr1.checkpoints.generation import generation_settings
from medr1.checkpoints.integrity import checkpoint_sha256
from medr1.checkpoints.structure import (
    is_finite,
    read_configurations,
    require_sound,
    resolved_configuration,
)
from medr1.checkpoints.templates import require_known_template
from medr1.checkpoints.trial import CheckpointErrors, require_answer
from medr1.checkpoints.writing import new_checkpoint
from medr1.errors import InputError
from medr1.files import parse_json, read_text, to_json, write_atomic
from medr1.models.families.batched import BatchedFamily
from medr1.models.families.choice import family_of
from medr1.models.families.family import Family
from medr1.models.mps import limit_pixels
from medr1.models.parts import not_quantized
from medr1.models.quantization import compute_in_own_dtype, require_quantizing
from medr1.prompts import ANSWER_STYLES, PROMPTS, prompt_name, prompt_sha256, template

if TYPE_CHECKING:
    import torch
    from transformers import BitsAndBytesConfig, PreTrainedConfig, PreTrainedModel, ProcessorMixin

    from medr1.models.quantization import Bits

__all__ = [
    "CheckpointInfo",
    "LoadedModel",
    "batched_family",
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
    "save_merged",
    "write_merged",
]

logger = logging.getLogger("medr1")

CHECKPOINT_SCHEMA = "medr1.checkpoint/1"
"""The schema of `medr1.json`."""
DTYPES = ("auto", "bfloat16", "float16", "float32")
"""The choices of --dtype; see `choose_dtype`."""


@dataclass(frozen=True)
class CheckpointInfo:
    """How a checkpoint was trained to be asked, as its `medr1.json` records it."""

    prompt: str | None = None
    """A key of prompts.PROMPTS, or a template's text; None where the checkpoint does not say."""
    answer_style: str = "letter"
    """One of prompts.ANSWER_STYLES."""


@dataclass(frozen=True)
class LoadedModel:
    """A model in evaluation mode, with its processor (which pads on the left) and where it runs."""

    path: Path
    """The folder; of an adapter its own, not that of its base."""
    model: PreTrainedModel
    processor: ProcessorMixin
    info: CheckpointInfo
    device: torch.device
    dtype: torch.dtype
    bits: Bits | None = None
    """4 or 8, if that many bits hold a weight of the language model's linear layers."""

    @property
    def family(self) -> Family:
        """The family of its architecture."""
        family = family_of(self.model.config.model_type)
        assert family is not None, "load_model has refused other types"
        return family


def batched_family(loaded: LoadedModel) -> BatchedFamily:
    """The family of a model whose prompts are run in batches.

    Args:
        loaded: A model of such a family.
    """
    family = loaded.family
    assert isinstance(family, BatchedFamily), f"{family.name} models are asked one by one"
    return family


def read_checkpoint_info(path: Path) -> CheckpointInfo:
    """What `medr1.json` says, or the defaults if there is none; InputError for an invalid value."""
    file = path / "medr1.json"
    if not file.is_file():
        return CheckpointInfo()
    document = parse_json(read_text(file), str(file))
    if not isinstance(document, dict):
        raise InputError(f"{file}: expected a JSON object. Fetch the checkpoint again.")
    prompt, answer_style = _recorded_prompt(document, file), document.get("answer_style", "letter")
    if not isinstance(answer_style, str) or answer_style not in ANSWER_STYLES:
        raise InputError(f"{file}: answer_style must be one of {', '.join(ANSWER_STYLES)}.")
    return CheckpointInfo(prompt, answer_style)


def _recorded_prompt(document: Mapping[str, object], file: Path) -> str | None:
    """The prompt that a `medr1.json` records: its name, or its text if no known prompt has it.

    If there is a text, it counts and not the name: the checkpoint was trained with it, and the
    prompt of that name may have changed since.
    """
    name, text = document.get("prompt"), document.get("prompt_text")
    if text is None:
        if name is None or (isinstance(name, str) and name in PROMPTS):
            return name
        raise InputError(f"{file}: unknown prompt {name!r}. Known: {', '.join(PROMPTS)}.")
    if not isinstance(text, str) or text.count("{problem}") != 1:
        raise InputError(f"{file}: prompt_text must hold {{problem}} exactly once. Fetch it again.")
    if prompt_sha256(text) != document.get("prompt_sha256"):
        raise InputError(
            f"{file}: prompt_sha256 is not the hash of prompt_text: one of them was changed. "
            "Fetch the checkpoint again."
        )
    return next((key for key, prompt in PROMPTS.items() if prompt == text), text)


def prompt_record(prompt: str | None) -> dict[str, str | None]:
    """The entries of `medr1.json` about a prompt: its name, its text and the text's hash.

    They suffice to use the prompt again without the file that it came from.
    """
    if prompt is None:
        return {"prompt": None}
    return {
        "prompt": prompt_name(prompt),
        "prompt_text": template(prompt),
        "prompt_sha256": prompt_sha256(prompt),
    }


def choose_device(name: str = "auto") -> torch.device:
    """The device of that name; "auto" is the first that is available of cuda, mps, cpu.

    With several processes (`LOCAL_RANK` is set) each gets a GPU of its own. InputError if the
    device is not available.
    """
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    import torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next((kind for kind, is_there in available.items() if is_there), "cpu")
    if not available.get(name, name == "cpu"):
        raise InputError(f"device {name} is not available here. Try --device auto or cpu.")
    if name == "cuda":
        number, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if number >= count:
            raise InputError(
                f"process {number} has no GPU: this machine has {count}. Start only {count}."
            )
        return torch.device("cuda", number)
    return torch.device(name)


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """The dtype of a name.

    Args:
        name: One of DTYPES; "auto" is bfloat16 on a CUDA device that supports it, else float32.
        device: Where the model will run.
    """
    import torch

    if name == "auto":
        has_bfloat16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if has_bfloat16 else torch.float32
    dtype = getattr(torch, name)
    assert isinstance(dtype, torch.dtype)
    return dtype


def choose_attention(device: torch.device) -> str:
    """The attention implementation for a device.

    "sdpa" is fused and fast. On MPS it has returned wrong results without an error, so "eager".
    """
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
    """Load a checkpoint completely, in evaluation mode.

    Args:
        path: The folder of a model or a LoRA adapter; an adapter is loaded with its base.
        device: See `choose_device`.
        dtype: See `choose_dtype`.
        attention: Attention implementation, such as "sdpa"; None for the device's default, see
            `choose_attention`.
        allow_template: Whether an unknown chat template is accepted; see
            `require_known_template`.
        offline: Whether an adapter's base may not be downloaded.
        quantization: Loads the linear layers of the language model with 4 or 8 bits for each
            weight; None for full weights. Not for adapters.
        merge: Whether an adapter is added into its base's weights. If False, it stays beside them,
            with its dropout (switched off in evaluation mode).

    Raises:
        InputError: If a tensor is missing, unexpected, of another shape or not finite; if a file
            is damaged or the configuration describes more than the files hold; if the chat
            template is unknown and not allowed; if the checkpoint would run code of its own; if
            the device or the architecture cannot have fewer bits.
    """
    torch_device = choose_device(device)
    torch_dtype = choose_dtype(dtype, torch_device)
    if quantization is not None:
        require_quantizing(torch_device)
    base = path
    if is_adapter(path):
        read_adapter(path)  # refuse an invalid adapter before its base is searched or downloaded
        if quantization is not None:
            raise InputError(
                f"checkpoint {path} is an adapter, which cannot be merged into fewer bits. "
                f"Merge it first: medr1 merge {path} --output-dir DIR"
            )
        base = find_base(path, offline=offline)
    # the files are checked before they are used: first the sizes, then the chat template
    require_sound(base)
    processor = load_processor(path, base)
    require_known_template(processor, f"checkpoint {path}", allow=allow_template)
    model = load_weights(
        base, torch_dtype, attention or choose_attention(torch_device), torch_device, quantization
    )
    if base != path:
        model = apply_adapter(model, path, base, merge=merge)
    for name, tensor in model.state_dict().items():
        if not is_finite(tensor):
            raise InputError(f"checkpoint {path}: {name} holds NaN or infinity. Fetch it again.")
    # prompts of a batch have to end at the same position, where the completions begin
    processor.tokenizer.padding_side = "left"
    if _family(base).has_pixel_limits:
        limit_pixels(processor, torch_device)
    # `to` and `eval` have types in torch's Module, and none in transformers' model
    module: torch.nn.Module = model
    if quantization is None:  # else the weights are on the device already
        module.to(torch_device)
    module.eval()
    require_answer(model, processor, _family(base), path)
    info = read_checkpoint_info(path if (path / "medr1.json").is_file() else base)
    bits: Bits | None = None if quantization is None else 4 if quantization.load_in_4bit else 8
    return LoadedModel(path, model, processor, info, torch_device, torch_dtype, bits)


def load_outline(
    path: Path,
    *,
    device: str = "auto",
    dtype: str = "auto",
    offline: bool = True,
    allow_template: bool = False,
) -> LoadedModel:
    """A checkpoint as `load_model` returns it, but without its weights: to plan a training.

    Its parameters are on torch's meta device: they have shapes, but no values and no memory.

    Args:
        path: The folder of a model or a LoRA adapter.
        device: Where the training would run; see `choose_device`.
        dtype: See `choose_dtype`.
        offline: Whether an adapter's base may not be downloaded.
        allow_template: Whether an unknown chat template is accepted; see `require_known_template`.

    Raises:
        InputError: If the configuration, the headers of the files or the processor are invalid, or
            the chat template is unknown and not allowed.
    """
    torch_device = choose_device(device)
    torch_dtype = choose_dtype(dtype, torch_device)
    base = find_base(path, offline=offline) if is_adapter(path) else path
    require_sound(base)
    processor = load_processor(path, base)
    require_known_template(processor, f"checkpoint {path}", allow=allow_template)
    processor.tokenizer.padding_side = "left"
    if _family(base).has_pixel_limits:
        limit_pixels(processor, torch_device)
    info = read_checkpoint_info(path if (path / "medr1.json").is_file() else base)
    model = outline(resolved_configuration(base), torch_dtype)
    return LoadedModel(path, model, processor, info, torch_device, torch_dtype)


def outline(config: PreTrainedConfig, torch_dtype: torch.dtype) -> PreTrainedModel:
    """A model without weights, on torch's meta device.

    Args:
        config: A resolved configuration; it is not changed.
        torch_dtype: The dtype of the parameters.
    """
    import torch
    from transformers import AutoModelForImageTextToText, PreTrainedModel

    with torch.device("meta"):
        # Each attention will do, because an outline computes nothing. from_config writes it into
        # the configuration, which can belong to a model in use: hence the copy.
        model = AutoModelForImageTextToText.from_config(
            deepcopy(config), dtype=torch_dtype, attn_implementation="eager"
        )
    assert isinstance(model, PreTrainedModel)
    return model


def load_weights(
    path: Path,
    torch_dtype: torch.dtype,
    attention: str,
    torch_device: torch.device | None = None,
    quantization: BitsAndBytesConfig | None = None,
) -> PreTrainedModel:
    """The model of a checkpoint that is no adapter, with the weights of its files.

    Settings in its generation_config.json that `generation_settings` leaves out cause a warning.

    Args:
        path: The checkpoint's folder.
        torch_dtype: The dtype of the parameters.
        attention: The attention implementation, such as "sdpa"; kernels from a hub are refused.
        torch_device: The device, with `quantization`; without, the model is on the CPU.
        quantization: See `load_model`.

    Raises:
        InputError: If a tensor is missing, unexpected or of another shape, or a file is invalid.
    """
    from transformers import AutoModelForImageTextToText, GenerationConfig, PreTrainedModel

    if "/" in attention:
        raise InputError(
            f"attention {attention} is a kernel from a hub, which is never run. Use sdpa or eager."
        )
    with CheckpointErrors(f"cannot load the checkpoint {path}"):
        config = resolved_configuration(path, attention)
        settings, warning = generation_settings(path, config)
        if quantization is not None:
            quantization = deepcopy(quantization)
            quantization.llm_int8_skip_modules = not_quantized(outline(config, torch_dtype))
        # with output_loading_info it returns (model, report); its annotation says only a model
        loaded: object = AutoModelForImageTextToText.from_pretrained(
            path,
            config=config,
            generation_config=GenerationConfig(**settings),
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            dtype=torch_dtype,
            attn_implementation=attention,
            quantization_config=quantization,
            device_map=None if quantization is None else {"": torch_device},
        )
    assert isinstance(loaded, tuple)
    model, report = loaded
    assert isinstance(model, PreTrainedModel)
    _require_complete(path, report)
    if quantization is not None:
        compute_in_own_dtype(model)
    if warning:
        logger.warning("%s", warning)
    return model


_PROCESSOR_FILES = (
    ("processor_config.json", "preprocessor_config.json"),
    ("tokenizer.json", "vocab.json", "tokenizer.model"),
)
"""The files of a processor, for images and for text; one of each line is enough."""


def _missing_files(path: Path) -> list[str]:
    """The files of a processor that a folder lacks, as words."""
    return [
        " or ".join(names)
        for names in _PROCESSOR_FILES
        if not any((path / name).is_file() for name in names)
    ]


def load_processor(path: Path, base: Path) -> ProcessorMixin:
    """The processor of a checkpoint: the tokenizer and the image processor.

    Args:
        path: The checkpoint's folder; an adapter's often has no processor.
        base: The folder whose processor is used then.

    Raises:
        InputError: If its files are invalid, or of a class that medr1 does not know.
    """
    from transformers import AutoProcessor, ProcessorMixin

    path = base if _missing_files(path) else path
    if missing := _missing_files(path):
        raise InputError(
            f"the processor of {path} is not complete: it has no {' and no '.join(missing)}. Copy "
            "the file from the model that this one was trained from, or fetch it again."
        )
    read_configurations(path)
    with CheckpointErrors(f"cannot load the checkpoint {path}"):
        try:
            processor = AutoProcessor.from_pretrained(
                path, trust_remote_code=False, local_files_only=True
            )
        except ImportError as error:  # some processors need a package that medr1 does not
            raise InputError(f"cannot load the processor of {path}: {error}") from None
        known = _family(base).processors
        if known and type(processor).__name__ not in known:
            raise ValueError(f"processor_class is not one of {', '.join(known)}")
        # Without a processor class of its own, only the tokenizer is loaded.
        parts = ("tokenizer", "image_processor")
        if not isinstance(processor, ProcessorMixin) or not all(map(processor.__dict__.get, parts)):
            raise ValueError("its processor has no tokenizer or no image processor")
        return processor


def _family(base: Path) -> Family:
    """The family of a checkpoint that `require_sound` has accepted."""
    model_type = str(read_configurations(base)["config.json"].get("model_type"))
    family = family_of(model_type)
    assert family is not None, model_type
    return family


def write_merged(loaded: LoadedModel, folder: Path, *, overwrite: bool = False) -> None:
    """Write an adapter that was merged into its base as one checkpoint, completely or not at all.

    Args:
        loaded: The adapter, as `load_model` returns it.
        folder: Where the checkpoint is written.
        overwrite: Whether content of the folder may be replaced.

    Raises:
        InputError: If the folder has content and `overwrite` is False.
        OutputError: If the files cannot be written.
    """
    with new_checkpoint(folder, overwrite=overwrite) as temporary:
        save_merged(loaded, temporary)


def save_merged(loaded: LoadedModel, folder: Path) -> None:
    """Save an adapter that was merged into its base, and its medr1.json, in a folder.

    Args:
        loaded: The adapter, as `load_model` returns it.
        folder: The folder, which exists.
    """
    base = find_base(loaded.path, offline=True)
    loaded.model.save_pretrained(folder)
    loaded.processor.save_pretrained(folder)
    write_atomic(
        folder / "medr1.json",
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


def _require_complete(path: Path, report: Mapping[str, Iterable[object] | None]) -> None:
    """InputError if transformers' loading report has tensors that do not fit the architecture."""
    faults = {
        kind: sorted(str(key) for key in report.get(f"{kind}_keys") or ())
        for kind in ("missing", "unexpected", "mismatched")
    }
    problems = [f"{len(keys)} {kind} (first: {keys[0]})" for kind, keys in faults.items() if keys]
    if problems or report.get("error_msgs"):
        raise InputError(
            f"checkpoint {path} does not fit its own architecture: tensors "
            f"{', '.join(problems)}. medr1 does not load it in part; fetch it again."
        )


def control_tokens(processor: ProcessorMixin) -> list[str]:
    """The strings that the tokenizer turns into special tokens, such as "<|im_end|>", sorted."""
    added = processor.tokenizer.added_tokens_decoder.values()
    return sorted({token.content for token in added if token.special})


def checkpoint_document(**values: object) -> str:
    """The text of a `medr1.json` with these entries."""
    return to_json({"schema": CHECKPOINT_SCHEMA, **values})


def installed_version(package: str) -> str | None:
    """The version of an installed package; None if it is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def library_versions() -> dict[str, str]:
    """The versions of the libraries that can change results; those not installed are absent."""
    names = ("medr1", "torch", "torchvision", "transformers", "trl", "accelerate", "pillow")
    versions = {name: installed_version(name) for name in names}
    return {name: version for name, version in versions.items() if version is not None}
