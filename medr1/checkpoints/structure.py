"""Checking the files of a checkpoint before a tensor is allocated.

Only JSON files and the headers of safetensors files are read. A checkpoint is refused whose
configuration is invalid, or describes a model so large that loading it would exhaust the memory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from medr1.checkpoints.trial import CheckpointErrors
from medr1.errors import InputError
from medr1.files import parse_json, read_text
from medr1.models.families.choice import FAMILIES, family_of

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedConfig

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
"""Of a configuration file."""
_PART = 1 << 24
"""Numbers of a tensor that are read at once."""
_MAX_LIST = 10_000
"""Elements of a list in a configuration file."""
_MAX_PARAMETER_RATIO = 2
"""Parameters that config.json describes, over those that the files hold."""

# Key -> the largest valid value, anywhere in a configuration file. Each has to be a whole number of
# at least 1. The limits are far above those of real models.
_MAX_VALUES = {
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
    """The safetensors files of a checkpoint: one file, or the parts that an index lists.

    InputError where there are none, or the index names a file outside the folder or a missing one.
    """
    if (folder / _WEIGHTS).is_file():
        return [folder / _WEIGHTS]
    index = folder / _INDEX
    if not index.is_file():
        raise InputError(
            f"cannot load the checkpoint {folder}: it holds no {_WEIGHTS}. Other formats can run "
            "code and are not read; fetch it as safetensors."
        )
    # {"weight_map": {"model.embed_tokens.weight": "model-00001-of-00002.safetensors", ...}}
    document = parse_json(read_text(index), str(index))
    shards = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(shards, dict) or not shards:
        raise InputError(f"{index}: expected a weight_map of tensors to files. Fetch it again.")
    files = []
    for name in sorted(set(map(str, shards.values()))):
        # a name with a folder in it could lead out of the checkpoint
        if Path(name).name != name or "\\" in name or not name.endswith(".safetensors"):
            raise InputError(
                f"{index}: {name!r} is not a safetensors file of this folder. Do not use this "
                "checkpoint."
            )
        if not (folder / name).is_file():
            raise InputError(f"{index}: {name} is not in the folder. Fetch the checkpoint again.")
        files.append(folder / name)
    return files


def tensor_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Tensor name -> shape, from the header alone; InputError if the file is damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as tensors:
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"cannot load {file}: {error}. Fetch it again.") from None


def is_finite(tensor: Tensor) -> bool:
    """Whether a tensor holds neither NaN nor infinity.

    It is read in parts, because torch makes temporary tensors: 1.4 GiB of them for the embeddings
    of Qwen2.5-VL-3B, which have 0.6 GiB.
    """
    return all(bool(part.isfinite().all()) for part in tensor.reshape(-1).split(_PART))


def require_finite(files: list[Path]) -> int:
    """The number of tensors in the files; InputError for the first with NaN or infinity."""
    from safetensors import safe_open

    count = 0
    for file in files:
        tensor_shapes(file)
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118
                count += 1
                if not is_finite(tensors.get_tensor(name)):
                    raise InputError(f"{file}: {name} holds NaN or infinity. Fetch it again.")
    return count


def require_sound(folder: Path) -> None:
    """Refuse a checkpoint whose configuration is invalid, or larger than its files.

    Reads only JSON and headers. So a configuration that would exhaust the memory is refused before
    it is used. InputError says what is wrong.
    """
    files = weight_files(folder)
    parameters_in_files = sum(
        math.prod(shape) for file in files for shape in tensor_shapes(file).values()
    )
    config = read_configurations(folder)["config.json"]
    where = folder / "config.json"
    model_type = config.get("model_type")
    if family_of(str(model_type)) is None:
        code = "It has code of its own, which is never run. " if config.get("auto_map") else ""
        raise InputError(
            f"{where}: model_type {str(model_type)[:40]!r} is not one that medr1 loads. {code}"
            f"Choose a checkpoint of {', '.join(FAMILIES)}, or of another image-text-to-text model "
            "that transformers has."
        )
    for key in ("quantization_config", "transformers_weights", "is_encoder_decoder"):
        if config.get(key):
            raise InputError(f"{where}: {key} is not supported. Fetch the plain checkpoint.")
    described = _parameters(folder, config)
    if described > _MAX_PARAMETER_RATIO * parameters_in_files:
        raise InputError(
            f"{where} describes a model of about {described:,} parameters, the files hold "
            f"{parameters_in_files:,}. Fetch the checkpoint again."
        )


def read_configurations(folder: Path) -> dict[str, dict[str, object]]:
    """File name -> content of each configuration file; InputError for a value out of bounds."""
    documents = {name: read_configuration(folder / name) for name in _CONFIGURATION}
    for name, document in documents.items():
        _require_modest(document, str(folder / name))
    return documents


def read_configuration(file: Path) -> dict[str, object]:
    """The JSON object in a file; {} if there is no such file, InputError if it holds none."""
    if not file.is_file():
        return {}
    if file.stat().st_size > _MAX_BYTES:
        raise InputError(f"{file} is larger than a configuration can be. Fetch it again.")
    document = parse_json(read_text(file), str(file))
    if not isinstance(document, dict):
        raise InputError(f"{file}: expected a JSON object. Fetch it again.")
    return document


def _require_modest(value: object, where: str, key: str = "") -> None:
    """InputError for a list that is too long, and for an invalid value of a key in _MAX_VALUES."""
    if isinstance(value, dict):
        for name, inner in value.items():
            _require_modest(inner, where, name)
    elif isinstance(value, list):
        if len(value) > _MAX_LIST:
            raise InputError(f"{where}: {key} is a list of {len(value):,}. Fetch it again.")
        for inner in value:
            _require_modest(inner, where)
    elif key in _MAX_VALUES and value is not None:
        is_number = type(value) is int or (key == "mlp_ratio" and type(value) is float)
        if not (isinstance(value, int | float) and is_number and 1 <= value <= _MAX_VALUES[key]):
            raise InputError(
                f"{where}: {key} is {str(value)[:40]!r}, expected a whole number from 1 to "
                f"{_MAX_VALUES[key]:,}. Fetch it again."
            )


def resolved_configuration(folder: Path, attention: str | None = None) -> PreTrainedConfig:
    """The configuration that transformers builds from config.json, with a fixed attention.

    config.json can name an attention implementation too, even a kernel that is downloaded from the
    hub and run. It would win over the argument of `from_pretrained`. So every `from_pretrained` is
    given this configuration.

    Args:
        folder: The checkpoint.
        attention: The implementation, such as "sdpa"; None for transformers' default.

    Raises:
        Exception: What transformers raises; see `CheckpointErrors`.
    """
    from transformers import AutoConfig, PreTrainedConfig

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    assert isinstance(config, PreTrainedConfig)
    config._attn_implementation = attention
    return config


def _parameters(folder: Path, document: Mapping[str, object]) -> int:
    """About how many parameters the model has that transformers would build from config.json.

    The resolved configuration counts: for what config.json leaves out, transformers has the values
    of models of 72B parameters.
    """
    with CheckpointErrors(f"{folder / 'config.json'} is not valid"):
        config = resolved_configuration(folder)
        family = family_of(config.model_type)
        assert family is not None, "require_sound has refused other types"
        family.require_valid(config)
        _require_tokens(document, config.get_text_config().vocab_size)
        return family.count_parameters(config)


def _require_tokens(document: Mapping[str, object], vocabulary: int) -> None:
    """ValueError where a special token in config.json is not in the vocabulary."""
    for key, value in document.items():
        if isinstance(value, dict):
            _require_tokens(value, vocabulary)
        elif key.endswith("_token_id") and value is not None:
            for token in value if isinstance(value, list) else [value]:
                if not is_token(token, vocabulary):
                    raise ValueError(f"{key} is {str(value)[:40]}, of {vocabulary:,} tokens")


def is_token(value: object, vocabulary: int) -> bool:
    """Whether a value is a token id.

    Args:
        value: Anything, as JSON has it.
        vocabulary: Number of tokens in the vocabulary.
    """
    return type(value) is int and 0 <= value < vocabulary
