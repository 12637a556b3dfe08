"""What can be known of a checkpoint before a tensor is allocated, and is refused if it is wrong."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from medr1.checkpoints.trial import CheckpointErrors
from medr1.errors import InputError
from medr1.files import parse_json, read_text

MODEL_TYPES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")

_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_CONFIGURATION = (
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
)
_MAX_BYTES = 10_000_000
_MAX_LIST = 10_000
_TIMES_THE_FILES = 2

# The most that each number may be, wherever it stands; each is a whole number of at least 1.
_MOST = {
    "num_hidden_layers": 1024, "depth": 1024, "hidden_size": 1 << 16, "embed_dim": 1 << 16,
    "intermediate_size": 1 << 20, "out_hidden_size": 1 << 16, "vocab_size": 1 << 22,
    "num_attention_heads": 1024, "num_key_value_heads": 1024, "num_heads": 1024,
    "head_dim": 1 << 12, "mlp_ratio": 64, "max_position_embeddings": 1 << 27,
    "num_position_embeddings": 1 << 20, "in_channels": 16, "in_chans": 16, "patch_size": 256,
    "temporal_patch_size": 64, "spatial_merge_size": 64, "spatial_patch_size": 256,
    "merge_size": 64, "window_size": 1 << 16, "min_pixels": 1 << 24, "max_pixels": 10**9,
    "shortest_edge": 1 << 24, "longest_edge": 10**9, "height": 1 << 16, "width": 1 << 16,
    "max_frames": 1 << 16, "num_beams": 64, "num_return_sequences": 64,
}  # fmt: skip


def weight_files(folder: Path) -> list[Path]:
    """The safetensors of a checkpoint, all of them in its folder; InputError otherwise."""
    if (folder / _WEIGHTS).is_file():
        return [folder / _WEIGHTS]
    index = folder / _INDEX
    if not index.is_file():
        raise InputError(
            f"cannot load the checkpoint {folder}: it holds no {_WEIGHTS}. Other formats can run "
            "code and are not read; fetch it as safetensors."
        )
    document = parse_json(read_text(index), str(index))
    shards = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(shards, dict) or not shards:
        raise InputError(f"{index}: expected a weight_map of tensors to files. Fetch it again.")
    files = []
    for name in sorted(set(map(str, shards.values()))):
        if Path(name).name != name or "\\" in name or not name.endswith(".safetensors"):
            raise InputError(
                f"{index}: {name!r} is no safetensors file of this folder. Do not use this "
                "checkpoint."
            )
        if not (folder / name).is_file():
            raise InputError(f"{index}: {name} is not in the folder. Fetch the checkpoint again.")
        files.append(folder / name)
    return files


def tensor_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Tensor name -> shape, from the header alone; InputError where the file is damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as tensors:
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"cannot load {file}: {error}. Fetch it again.") from None


def require_finite(files: list[Path]) -> int:
    """How many tensors the files hold; InputError for the first that is not finite."""
    import torch
    from safetensors import safe_open

    count = 0
    for file in files:
        tensor_shapes(file)
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118
                count += 1
                if not bool(torch.isfinite(tensors.get_tensor(name)).all()):
                    raise InputError(f"{file}: {name} holds NaN or infinity. Fetch it again.")
    return count


def require_sound(folder: Path) -> None:
    """InputError where a checkpoint's configuration is wrong, or asks for more than its files hold.

    Reads headers and JSON alone: a configuration made to exhaust the memory is refused before it
    can.
    """
    files = weight_files(folder)
    held = sum(math.prod(shape) for file in files for shape in tensor_shapes(file).values())
    config = read_configurations(folder)["config.json"]
    where = folder / "config.json"
    kind = config.get("model_type")
    if kind not in MODEL_TYPES:
        raise InputError(
            f"{where}: model_type {str(kind)[:40]!r} is not one that medr1 loads. Choose a "
            f"checkpoint of {', '.join(MODEL_TYPES)}."
        )
    for key in ("quantization_config", "transformers_weights", "is_encoder_decoder"):
        if config.get(key):
            raise InputError(f"{where}: {key} is not supported. Fetch the plain checkpoint.")
    asked = _parameters(folder, config)
    if asked > _TIMES_THE_FILES * held:
        raise InputError(
            f"{where} describes a model of about {asked:,} parameters, the files hold {held:,}. "
            "Fetch the checkpoint again."
        )


def read_configurations(folder: Path) -> dict[str, dict[str, Any]]:
    """The folder's configuration by file name; InputError for a list or number out of bounds."""
    documents = {name: read_configuration(folder / name) for name in _CONFIGURATION}
    for name, document in documents.items():
        _require_modest(document, str(folder / name))
    return documents


def read_configuration(file: Path) -> dict[str, Any]:
    """A JSON object of a checkpoint; {} where there is no such file, InputError where it is odd."""
    if not file.is_file():
        return {}
    if file.stat().st_size > _MAX_BYTES:
        raise InputError(f"{file} is larger than a configuration can be. Fetch it again.")
    document = parse_json(read_text(file), str(file))
    if not isinstance(document, dict):
        raise InputError(f"{file}: expected a JSON object. Fetch it again.")
    return document


def _require_modest(value: Any, where: str, key: str = "") -> None:
    """InputError for a list too long, and for a number in _MOST that is none or too large."""
    if isinstance(value, dict):
        for name, inner in value.items():
            _require_modest(inner, where, name)
    elif isinstance(value, list):
        if len(value) > _MAX_LIST:
            raise InputError(f"{where}: {key} is a list of {len(value):,}. Fetch it again.")
        for inner in value:
            _require_modest(inner, where)
    elif key in _MOST and value is not None:
        whole = type(value) is int or (key == "mlp_ratio" and type(value) is float)
        if not whole or not 1 <= value <= _MOST[key]:
            raise InputError(
                f"{where}: {key} is {str(value)[:40]!r}, expected a whole number from 1 to "
                f"{_MOST[key]:,}. Fetch it again."
            )


def resolved_configuration(folder: Path, attention: str | None = None) -> Any:
    """What transformers makes of config.json, with this attention and no other.

    config.json can name one too, even a kernel to be run from the hub, and would win over what a
    `from_pretrained` is asked for: so each is given this. Raises what transformers raises.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    config._attn_implementation = attention
    return config


def _parameters(folder: Path, document: dict[str, Any]) -> int:
    """About how many parameters the model has that transformers would build of config.json.

    Of the resolved configuration, because what config.json leaves out has defaults of 72B models.
    """
    with CheckpointErrors(f"{folder / 'config.json'} is not valid"):
        config = resolved_configuration(folder)
        _require_whole_heads(config)
        _require_tokens(document, config.get_text_config().vocab_size)
        return count_parameters(config)


def _require_tokens(document: dict[str, Any], vocabulary: int) -> None:
    """ValueError where config.json numbers a token that the vocabulary does not have."""
    for key, value in document.items():
        if isinstance(value, dict):
            _require_tokens(value, vocabulary)
        elif key.endswith("_token_id") and value is not None:
            for token in value if isinstance(value, list) else [value]:
                if not is_token(token, vocabulary):
                    raise ValueError(f"{key} is {str(value)[:40]}, of {vocabulary:,} tokens")


def is_token(value: Any, vocabulary: int) -> bool:
    """Whether this is the number of a token in a vocabulary of that size."""
    return type(value) is int and 0 <= value < vocabulary


def _require_whole_heads(config: Any) -> None:
    """ValueError where the heads do not share out the width."""
    text, vision = config.text_config, config.vision_config
    shared = text.num_key_value_heads or text.num_attention_heads
    wide = getattr(vision, "embed_dim", None) or vision.hidden_size
    ratios = (
        (text.hidden_size, text.num_attention_heads),
        (text.num_attention_heads, shared),
        (wide, vision.num_heads),
    )
    for whole, part in ratios:
        if whole % part:
            raise ValueError(f"{part} heads cannot share {whole}")


def count_parameters(config: Any) -> int:
    """About how many parameters a Qwen-VL of this configuration has, within a few per cent."""
    text, vision = config.text_config, config.vision_config
    wide, heads = text.hidden_size, text.num_attention_heads
    shared = text.num_key_value_heads or heads
    deep = getattr(text, "head_dim", None) or wide // heads
    layer = 2 * wide * deep * (heads + shared) + 3 * wide * text.intermediate_size
    tied = getattr(config, "tie_word_embeddings", False)
    words = text.vocab_size * wide * (1 if tied else 2)

    own = getattr(vision, "embed_dim", None) or vision.hidden_size
    out = getattr(vision, "out_hidden_size", None) or vision.hidden_size
    inner = getattr(vision, "intermediate_size", None) or int(own * vision.mlp_ratio)
    gates = 3 if config.model_type == "qwen2_5_vl" else 2
    block = 4 * own * own + gates * own * inner
    merged = own * vision.spatial_merge_size**2
    mergers = 1 + len(getattr(vision, "deepstack_visual_indexes", None) or ())
    patches = own * vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    places = (getattr(vision, "num_position_embeddings", None) or 0) * own
    seeing = vision.depth * block + mergers * merged * (merged + out) + patches + places
    return text.num_hidden_layers * layer + words + seeing
