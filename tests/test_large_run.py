"""scripts/large_checkpoint.py and large_run.py, with a small model and a small vocabulary."""

import base64
import json
import subprocess
import sys
from pathlib import Path

import large_checkpoint
import pytest
import torch

from medr1.checkpoints.structure import is_finite, weight_files
from medr1.models.loading import load_model, load_outline

ROOT = Path(__file__).parent.parent
WORDS = [b"th", b"in", b"the", b" the", b"ing", b"im", b"ag", b"imag", b"image", b" image"]
"""Tokens of several bytes; each is made of two that stand before it."""


@pytest.fixture(scope="module")
def tiktoken(tmp_path_factory):
    """A file of all bytes, in another order than their values, and some words."""
    tokens = [bytes([(byte + 33) % 256]) for byte in range(256)] + WORDS
    file = tmp_path_factory.mktemp("tokens") / "qwen.tiktoken"
    lines = [f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in enumerate(tokens)]
    file.write_text("".join(lines))
    return file


@pytest.fixture(scope="module")
def checkpoint(tiktoken, tmp_path_factory):
    folder = tmp_path_factory.mktemp("large") / "checkpoint"
    large_checkpoint.build(folder, "tiny", tiktoken, shard_bytes=200_000)
    return folder


def test_the_tokenizer_has_the_ranks_as_ids(tiktoken):
    tokenizer = large_checkpoint.build_tokenizer(tiktoken)
    ranks = large_checkpoint.read_ranks(tiktoken)
    for text, tokens in {
        "the thing": [b"the", b" ", b"th", b"ing"],
        " the image": [b" the", b" image"],
        "in é": [b"in", b" ", b"\xc3", b"\xa9"],
    }.items():
        assert tokenizer(text)["input_ids"] == [ranks[token] for token in tokens]
    control_ids = tokenizer.convert_tokens_to_ids(list(large_checkpoint.CONTROL_TOKENS))
    assert control_ids == list(range(len(ranks), len(ranks) + len(control_ids)))


def test_the_checkpoint_is_loaded_as_any_other(checkpoint):
    assert len(weight_files(checkpoint)) > 2
    loaded = load_model(checkpoint, device="cpu", dtype="bfloat16")
    outline = load_outline(checkpoint, device="cpu", dtype="bfloat16")
    shapes = {name: tensor.shape for name, tensor in outline.model.named_parameters()}
    assert shapes == {name: tensor.shape for name, tensor in loaded.model.named_parameters()}
    weights = loaded.model.get_input_embeddings().weight.float()
    assert weights.std().item() == pytest.approx(0.02, rel=0.05)
    index = json.loads((checkpoint / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(p.nbytes for p in loaded.model.parameters())


def test_the_3b_size_is_the_published_one(tiktoken):
    tokenizer = large_checkpoint.build_tokenizer(tiktoken)
    config = large_checkpoint.model_config("3b", tokenizer)
    from medr1.models.loading import outline

    model = outline(config, torch.bfloat16)
    assert sum(p.numel() for p in model.parameters()) == 3_754_622_976


def test_without_the_tokens_it_says_where_they_are(tmp_path):
    with pytest.raises(SystemExit, match="pip download --no-deps dashscope"):
        large_checkpoint.find_tiktoken(tmp_path / "qwen.tiktoken")


@pytest.mark.parametrize("place", [0, 1 << 24, (1 << 24) + 2])
def test_one_number_that_is_not_finite_is_noticed(place):
    tensor = torch.zeros((1 << 24) + 3, dtype=torch.bfloat16)
    assert is_finite(tensor)
    tensor[place] = torch.nan
    assert not is_finite(tensor)
    assert is_finite(tensor[:0]) and is_finite(torch.zeros(3, 2, dtype=torch.uint8).T)


@pytest.mark.slow  # three processes that load torch, one after the other
def test_the_processes_are_measured(tiktoken, tmp_path):
    command = [sys.executable, ROOT / "scripts" / "large_run.py", tmp_path / "run"]
    command += ["--size", "tiny", "--tiktoken", tiktoken, "--completion-length", "4"]
    command += ["--shard-bytes", "200000", "--tolerance", "1", "--json"]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=3000)
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    plan, infer, train = document["processes"]
    assert [plan["name"], infer["name"], train["name"]] == ["plan", "infer", "train"]
    assert plan["peak"] == plan["libraries"] > 10**8 and plan["planned"] == 0
    assert train["planned"] == sum(document["bytes_per_process"].values()) > infer["planned"] > 0
    assert all(process["peak"] > process["planned"] for process in document["processes"])
    log = (tmp_path / "run" / "run-tiny" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(log[0])["frac_groups_left_out"] == 0
