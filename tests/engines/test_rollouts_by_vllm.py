"""Three steps of GRPO whose completions a real vLLM server samples, with new weights each step."""

import json
import shutil
from pathlib import Path

import pytest
from engine_server import EngineUnavailable, engine_server, install
from safetensors.torch import load_file, save_file

from medr1.api import run_training
from medr1.data.tiny import tiny_config, tiny_vl_folder, tiny_vqa_folder

pytestmark = pytest.mark.engines

DIFFERENCE = "sampling/sampling_logp_difference"
OPTIONS = ("--logprobs-mode", "processed_logprobs", "--max-model-len", "1024")
RUN = {
    **{
        "max_steps": 3,
        "logging_steps": 1,
        "warmup_steps": 0,
        "per_device_train_batch_size": 32,
        "seed": 3,
    },
    **{"learning_rate": 3e-3, "freeze_vision": False},
}


@pytest.fixture(scope="module")
def untied(tmp_path_factory):
    """tiny-vl with an output layer of its own: vLLM for CPUs does not reload one that is tied."""
    folder = tmp_path_factory.mktemp("model") / "tiny-vl"
    shutil.copytree(tiny_vl_folder(), folder)
    (folder / "SHA256SUMS").unlink()
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = (folder / "config.json").read_text()
    tied = '"tie_word_embeddings": true'
    (folder / "config.json").write_text(config.replace(tied, tied.replace("true", "false")))
    return folder


@pytest.fixture(scope="module")
def url(untied):
    """The address of a vLLM server of this checkpoint."""
    try:
        install("vllm")
    except EngineUnavailable as error:
        pytest.skip(str(error))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("VLLM_SERVER_DEV_MODE", "1")
        with engine_server("vllm", untied, *OPTIONS) as server:
            yield server.base_url


def train(model, url, output, **changed):
    """The logged entries of a run's steps."""
    values = {**tiny_config(), "data": tiny_vqa_folder(), **RUN, **changed}
    del values["batch_size"]  # the option's name for per_device_train_batch_size
    values |= {"model_path": model, "output_dir": output, "rollout_url": url}
    run_training(**values)
    lines = (Path(output) / "metrics.jsonl").read_text().splitlines()
    return [entry for entry in map(json.loads, lines) if "learning_rate" in entry]


@pytest.mark.parametrize(
    "adapter", [{}, {"use_peft": True, "lora_r": 8, "lora_dropout": 0.0}], ids=["weights", "lora"]
)
def test_each_step_has_the_weights_of_the_one_before(url, untied, tmp_path, adapter):
    steps = train(untied, url, tmp_path / "run", **adapter)
    assert [entry["step"] for entry in steps] == [1, 2, 3]
    for entry in steps:
        assert entry[f"{DIFFERENCE}/max"] < 1e-3
        assert entry["sampling/sequences_beyond_bounds"] == 0
        assert entry["grad_norm"] > 0
    assert not (tmp_path / "run" / "alarms.jsonl").exists()
