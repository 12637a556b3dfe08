"""Make a checkpoint of Qwen2.5-VL-3B's size with random weights and Qwen's vocabulary.

    python scripts/large_checkpoint.py FOLDER --tiktoken qwen.tiktoken

The weights are drawn layer by layer and written in several files, so little memory is needed. The
chat template is Qwen2.5-VL's, as TRL has it. qwen.tiktoken has the tokens of Qwen's vocabulary, one
line for each. It is in the package dashscope:

    pip download --no-deps dashscope
    unzip dashscope-*.whl dashscope/resources/qwen.tiktoken
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
from collections.abc import Iterator
from importlib.resources import files
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

SHARD_BYTES = 1 << 30
"""A file of weights is written when it has this many bytes."""
CONTROL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
"""Qwen2.5-VL's control tokens, in the order of their ids."""

SIZES: dict[str, dict[str, Any]] = {
    "3b": {
        "vocabulary": 151_936,
        "text": {
            "hidden_size": 2048,
            "intermediate_size": 11_008,
            "num_hidden_layers": 36,
            "num_attention_heads": 16,
            "num_key_value_heads": 2,
            "max_position_embeddings": 128_000,
        },
        "mrope_section": [16, 24, 24],
        "vision": {
            "depth": 32,
            "hidden_size": 1280,
            "intermediate_size": 3420,
            "num_heads": 16,
            "fullatt_block_indexes": [7, 15, 23, 31],
        },
    },
    "tiny": {
        "vocabulary": 0,
        "text": {
            "hidden_size": 128,
            "intermediate_size": 256,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 4096,
        },
        "mrope_section": [4, 6, 6],
        "vision": {
            "depth": 2,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_heads": 4,
            "fullatt_block_indexes": [1],
        },
    },
}
"""Parts of a Qwen2.5-VL configuration: the published one of 3B, and a small one for tests. A
vocabulary is at least as large as its tokenizer's."""


def find_tiktoken(path: Path | None) -> Path:
    """The file with Qwen's tokens: `path`, or the one of an installed dashscope.

    Raises:
        SystemExit: There is no such file.
    """
    if path is None and (package := find_spec("dashscope")) is not None:
        folders = package.submodule_search_locations or []
        path = next((Path(folder) / "resources" / "qwen.tiktoken" for folder in folders), None)
    if path is not None and path.is_file():
        return path
    raise SystemExit(
        f"{path or 'qwen.tiktoken'} is not there. Qwen's vocabulary is in the package dashscope: "
        "pip download --no-deps dashscope, unzip dashscope/resources/qwen.tiktoken from the file, "
        "and give --tiktoken FILE."
    )


# ---------------------------------------------------------------------------------- tokenizer


def read_ranks(path: Path) -> dict[bytes, int]:
    """Token -> rank, from a file with a token in base64 and its rank in each line."""
    ranks = {}
    for line in path.read_bytes().splitlines():
        token, rank = line.split()
        ranks[base64.b64decode(token)] = int(rank)
    return ranks


def parts_before(token: bytes, ranks: dict[bytes, int]) -> list[bytes]:
    """The parts of a token before the last merge of byte pair encoding: two of them.

    Args:
        token: A token of two or more bytes.
        ranks: Token -> rank. Tokens of the same or a higher rank are not used.
    """
    rank, parts = ranks[token], [token[i : i + 1] for i in range(len(token))]
    while True:
        joined = [ranks.get(a + b, rank) for a, b in pairwise(parts)]
        if (lowest := min(joined)) == rank:
            return parts
        place = joined.index(lowest)
        parts[place : place + 2] = [parts[place] + parts[place + 1]]


def build_tokenizer(path: Path) -> Any:
    """Qwen's tokenizer from its tokens; the merges follow from the ranks."""
    from tokenizers import AddedToken
    from transformers import Qwen2Tokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    characters, ranks = bytes_to_unicode(), read_ranks(path)

    def text(token: bytes) -> str:
        return "".join(characters[byte] for byte in token)

    longer = sorted((t for t in ranks if len(t) > 1), key=lambda token: ranks[token])
    # the type that transformers writes is that of a list of texts, and it reads pairs
    merges: Any = [tuple(map(text, parts_before(token, ranks))) for token in longer]
    # the control tokens are in the vocabulary too, or the first two would be those named below
    vocabulary = {text(token): rank for token, rank in ranks.items()}
    vocabulary |= {token: len(ranks) + number for number, token in enumerate(CONTROL_TOKENS)}
    tokenizer = Qwen2Tokenizer(
        vocab=vocabulary,
        merges=merges,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
    )
    tokenizer.add_tokens([AddedToken(t, special=True, normalized=False) for t in CONTROL_TOKENS])
    return tokenizer


def build_processor(tokenizer: Any) -> Any:
    """A processor of Qwen2.5-VL, with its chat template and its limits of pixels."""
    from transformers import Qwen2_5_VLProcessor, Qwen2VLImageProcessor, Qwen2VLVideoProcessor

    grid: dict[str, Any] = {"patch_size": 14, "merge_size": 2, "temporal_patch_size": 2}
    grid["size"] = {"shortest_edge": 56 * 56, "longest_edge": 12_845_056}
    template = files("trl").joinpath("chat_templates", "qwen2_5_vl.jinja")
    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(**grid),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(**grid),
        chat_template=template.read_text(encoding="utf-8"),
    )


# ---------------------------------------------------------------------------------- model


def model_config(size: str, tokenizer: Any) -> Any:
    """The configuration of a size, with the token ids of the tokenizer."""
    from transformers import Qwen2_5_VLConfig

    sizes, token_id = SIZES[size], tokenizer.convert_tokens_to_ids
    text = {
        **sizes["text"],
        "vocab_size": max(sizes["vocabulary"], len(tokenizer)),
        "rms_norm_eps": 1e-6,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1_000_000.0,
            "mrope_section": sizes["mrope_section"],
        },
        "bos_token_id": token_id("<|endoftext|>"),
        "eos_token_id": token_id("<|im_end|>"),
        "pad_token_id": token_id("<|endoftext|>"),
        "tie_word_embeddings": True,
    }
    vision = {
        **sizes["vision"],
        "out_hidden_size": sizes["text"]["hidden_size"],
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "tokens_per_second": 2,
        "window_size": 112,
    }
    return Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=token_id("<|image_pad|>"),
        video_token_id=token_id("<|video_pad|>"),
        vision_start_token_id=token_id("<|vision_start|>"),
        vision_end_token_id=token_id("<|vision_end|>"),
        tie_word_embeddings=True,
        architectures=["Qwen2_5_VLForConditionalGeneration"],
        dtype="bfloat16",
    )


def random_tensors(config: Any, seed: int = 0) -> Iterator[tuple[str, Any]]:
    """Name and random values in bfloat16 of each tensor of the model, one after the other.

    The names are those of the published files. Norms are 1, biases are 0, and other weights have
    transformers' standard deviation.
    """
    import torch

    from medr1.models.loading import outline

    model = outline(config, torch.bfloat16)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():  # tied weights only once
        values = torch.empty(parameter.shape, dtype=torch.bfloat16)
        if parameter.dim() > 1:
            values.normal_(0, config.text_config.initializer_range, generator=generator)
        else:
            values.fill_(float(name.endswith("weight")))
        name = name.replace("model.language_model.", "model.").replace("model.visual.", "visual.")
        yield name, values


def write_weights(config: Any, folder: Path, shard_bytes: int) -> int:
    """Write random weights in several files with an index, and return their bytes.

    Args:
        config: The model's configuration.
        folder: The checkpoint, which exists.
        shard_bytes: A file is written when it has this many bytes.
    """
    from safetensors.torch import save_file

    shard: dict[str, Any] = {}
    places: dict[str, str] = {}
    num_files = total = filled = 0

    def write() -> None:
        file = f"model-{num_files + 1:05d}.safetensors"
        save_file(shard, folder / file, metadata={"format": "pt"})
        places.update(dict.fromkeys(shard, file))
        shard.clear()

    for name, values in random_tensors(config):
        shard[name] = values
        filled += values.nbytes
        if filled >= shard_bytes:
            write()
            num_files, total, filled = num_files + 1, total + filled, 0
    if shard:
        write()
        total += filled
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    return total


def build(folder: Path, size: str, tiktoken: Path, shard_bytes: int = SHARD_BYTES) -> int:
    """Make the checkpoint, and return the bytes of its weights.

    Args:
        folder: The folder to write.
        size: A key of `SIZES`.
        tiktoken: The file with Qwen's tokens.
        shard_bytes: A file of weights is written when it has this many bytes.
    """
    from transformers import GenerationConfig

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = build_tokenizer(tiktoken)
    build_processor(tokenizer).save_pretrained(folder)
    config = model_config(size, tokenizer)
    config.save_pretrained(folder)
    generation = GenerationConfig(
        bos_token_id=tokenizer.pad_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=[tokenizer.eos_token_id, tokenizer.pad_token_id],
    )
    generation.save_pretrained(folder)
    return write_weights(config, folder, shard_bytes)


def main() -> int:
    """Make the checkpoint that the command line describes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="folder to write")
    parser.add_argument("--size", choices=SIZES, default="3b", help="size of the model")
    parser.add_argument("--tiktoken", type=Path, help="Qwen's tokens, qwen.tiktoken")
    parser.add_argument(
        "--shard-bytes", type=int, default=SHARD_BYTES, help="least bytes of a file of weights"
    )
    options = parser.parse_args()
    tiktoken = find_tiktoken(options.tiktoken)
    print(f"{build(options.folder, options.size, tiktoken, options.shard_bytes):,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
