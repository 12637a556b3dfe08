"""Every file in configs/ as its command reads it, with model and data that are here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env
from click.testing import CliRunner

from medr1.cli import cli
from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder

pytest.importorskip("trl")

from medr1.train.dry_run.plan import Sharding, current_sharding

CONFIGS = Path(__file__).parents[2] / "configs"
RECIPES = sorted(CONFIGS.glob("*.yaml"))
SHARDINGS = {"ddp": "replicated", "fsdp2": "fsdp", "zero2": "zero2", "zero3": "zero3"}
DATA = tiny_vqa_folder() / "validation.json"
HERE = ("--model-path", str(tiny_vl_folder()), "--data", str(DATA), "--device", "cpu")


def plan(path, folder, *args):
    command = ["train", "--config", str(path), *HERE, "--output-dir", str(folder / "out")]
    result = CliRunner().invoke(cli, [*command, "--dry-run", *args])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_passes_the_dry_run(path, tmp_path):
    asked = yaml.safe_load(path.read_text(encoding="utf-8"))
    planned = json.loads(plan(path, tmp_path, "--json"))
    assert planned["prompt"] == asked.get("prompt", "nothink")
    assert planned["dtype"] == asked.get("dtype", "float32")
    assert planned["trainer_fields"]["learning_rate"] == float(asked["learning_rate"])
    assert planned["steps"] > 0
    assert not (tmp_path / "out").exists()


def test_the_authors_numbers(tmp_path):
    planned = json.loads(plan(CONFIGS / "authors.yaml", tmp_path, "--json"))
    fields = planned["trainer_fields"]
    theirs = {"learning_rate": 1e-6, "beta": 0.04, "num_generations": 4, "temperature": 1.0}
    theirs |= {"max_completion_length": 256, "loss_type": "grpo", "scale_rewards": "group"}
    assert {name: fields[name] for name in theirs} == theirs
    assert (planned["prompts_per_step"], planned["prompts"]["max_pixels"]) == (2, 401408)


def test_the_plan_is_read_by_people_too(tmp_path):
    said = plan(CONFIGS / "authors.yaml", tmp_path)
    assert "parameters                   851,072, of which 851,072 (100.0%) are trained\n" in said
    assert "steps                        358, each with 8 completions of 2 prompts\n" in said
    assert "  reference model               3.2 MiB\n" in said
    assert said.endswith("<|im_start|>assistant\n\n")


def test_numbers_of_steps_in_the_plan_are_integers_or_shares(tmp_path):
    args = ("--warmup-steps", "0.1", "--logging-steps", "5", "--batch-size", "8")
    text = plan(CONFIGS / "tiny.yaml", tmp_path, *args)
    fields = dict(line.split(maxsplit=1) for line in text.splitlines() if "_steps " in line)
    assert fields["warmup_steps"] == "0.1 (share of all steps)" and fields["logging_steps"] == "5"
    assert "8 completions of 1 prompt\n" in text


@pytest.mark.parametrize("name", SHARDINGS)
def test_the_sharding_is_read_from_what_accelerate_sets(name):
    path = CONFIGS / "accelerate" / f"{name}.yaml"
    typed = ["--config_file", str(path), "--num_processes", "4", "-m", "medr1"]
    args, defaults, _ = _validate_launch_command(launch_command_parser().parse_args(typed))
    if defaults.distributed_type == "DEEPSPEED":
        args.deepspeed_fields_from_accelerate_config = ""
        environment = prepare_deepspeed_cmd_env(args)[1]
    else:
        environment = prepare_multi_gpu_env(args)
    assert current_sharding({**environment, "WORLD_SIZE": "4"}) == Sharding(SHARDINGS[name], 4)
    assert environment["ACCELERATE_MIXED_PRECISION"] == "no"  # --dtype says what is computed in
    assert environment.get("FSDP_STATE_DICT_TYPE", "FULL_STATE_DICT") == "FULL_STATE_DICT"
    gathers = environment.get("ACCELERATE_DEEPSPEED_ZERO3_SAVE_16BIT_MODEL")
    assert name != "zero3" or gathers == "true"


def launched(name, *args):
    """`accelerate launch` with two processes, and what they said."""
    config = CONFIGS / "accelerate" / f"{name}.yaml"
    launcher = ("-m", "accelerate.commands.launch", "--config_file", str(config))
    several = ("--num_processes", "2", "--main_process_port", "0")  # any that is free
    command = [sys.executable, *launcher, *several, "-m", "medr1", "train", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


SMALL = (
    *("--config", str(CONFIGS / "tiny.yaml"), *HERE, "--max-steps", "1", "--batch-size", "8"),
    *("--logging-steps", "1", "--num-generations", "4"),
)


@pytest.mark.slow  # torchrun, which it calls, is in test_command.py
def test_accelerate_launch_is_the_same_path_and_one_process_speaks(tmp_path):
    out = tmp_path / "out"
    result = launched("ddp", *SMALL, "--output-dir", str(out))
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout == f"{out}\n"
    said = result.stderr.splitlines()
    assert [line.split(",")[0] for line in said] == ["step 1/1", f"checkpoint written: {out}"]
    planned = json.loads((out / "training.json").read_text())
    assert (planned["sharding"], planned["processes"]) == ("replicated", 2)


@pytest.mark.slow  # what only a start of two processes shows
def test_a_sharding_that_cpus_do_not_get_is_planned_and_refused(tmp_path):
    out = str(tmp_path / "out")
    result = launched("fsdp2", *SMALL, "--output-dir", out, "--dry-run", "--json")
    assert result.returncode == 0, result.stderr[-3000:]
    assert json.loads(result.stdout)["sharding"] == "fsdp"
    result = launched("fsdp2", *SMALL, "--output-dir", out)
    assert result.returncode != 0 and not Path(out, "model.safetensors").exists()
    assert "asks for fsdp" in result.stderr and "configs/accelerate/ddp.yaml" in result.stderr
