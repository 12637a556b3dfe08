"""`medr1 train` as it is typed: flags of TRL's fields, wrong ones, and several processes."""

import dataclasses
import json
import subprocess
import sys

import pytest
import torch
from click.testing import CliRunner
from in_process import medr1

from medr1.cli import cli
from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder
from medr1.models.loading import load_model
from medr1.train.fields import CONFIGS

trl = pytest.importorskip("trl")

NEEDED = (
    *("--model_name_or_path", str(tiny_vl_folder()), "--dataset_name", str(tiny_vqa_folder())),
    *("--answer-types", "multiple_choice", "--device", "cpu"),
)
SMALL = (
    *("--max-steps", "2", "--per_device_train_batch_size", "8", "--num-generations", "4"),
    *("--max-completion-length", "8", "--logging-steps", "1", "--save-strategy", "no"),
)


def run(*args, launcher=()):
    command = [sys.executable, *launcher, "-m", "medr1", "train", *NEEDED, *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


def test_fields_of_trl_are_flags_in_the_plan(tmp_path):
    flags = ("--warmup_steps", "3", "--use-peft", "--lora-target-modules", "q_proj", "v_proj")
    planned = ("--no-bf16", "--dry-run", "--json", "--output_dir", tmp_path / "out")
    plan = json.loads(medr1("train", *NEEDED, *SMALL, *flags, *planned).stdout)
    assert plan["trainer_fields"]["warmup_steps"] == 3
    assert plan["model_fields"] == {
        "use_peft": True,
        "lora_target_modules": ["q_proj", "v_proj"],
    }


DEFAULTS = (
    *("num_generations", "per_device_train_batch_size", "gradient_accumulation_steps", "beta"),
    *("max_completion_length", "temperature", "learning_rate", "num_train_epochs", "seed"),
    *("logging_steps", "save_steps"),
)


@pytest.mark.parametrize("name", DEFAULTS)
def test_the_help_states_the_default_of_trl(name):
    options = {option.name: option for option in cli.commands["train"].params}
    values = {}
    for method, config in CONFIGS.items():
        fields = {field.name: field.default for field in dataclasses.fields(getattr(trl, config))}
        if name in fields:
            values[method] = fields[name]
    by_method = ", ".join(f"{value} for {method}" for method, value in values.items())
    stated = by_method if len(set(values.values())) > 1 else values["grpo"]
    assert f"[default: {stated}]" in options[name].help


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (
            ("--lerning-rate", "1"),
            "No such option '--lerning-rate'. Did you mean '--learning-rate'?",
        ),
        (("--warmup-steps", "few"), "warmup_steps: 'few' is not a number"),
        (("--lr-scheduler-type", "liner"), "lr_scheduler_type: 'liner' is not one of linear"),
        (("--trust-remote-code",), "trust_remote_code cannot be set"),
        (("--bf16", "--dtype", "float16"), "--bf16 and --dtype float16 contradict each other"),
        (("--lora-r", "4", "--lora-r", "8"), "--lora-r is given twice"),
        (("stray",), "unexpected extra argument (stray)"),
        (("--method", "sft"), "num_generations belongs to --method grpo"),
        (("--max-length", "9"), "max_length belongs to --method sft"),
        (("--max-lenght", "9"), "No such option '--max-lenght'"),
        (("--prompt", "thnk"), "unknown prompt 'thnk'"),
        (("--prompt", "bare"), "a prompt without <answer> asks for no format"),
    ],
)
def test_a_wrong_flag_is_one_sentence(args, says, tmp_path):
    command = ["train", *args, *NEEDED, *SMALL, "--output_dir", str(tmp_path / "out")]
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 2
    assert says in result.stderr, result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--answer-types", "opn"), "Choose from: multiple_choice, yes_no, count, open"),
        (("--answer-types", "open"), "Its items have: count, multiple_choice"),
        (("--max-steps", "-3"), "max_steps is -3; it has to be at least 1"),
    ],
)
def test_a_wrong_value_is_one_sentence(args, says, tmp_path):
    command = ["train", *NEEDED, *SMALL, *args, "--output_dir", str(tmp_path / "out")]
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 2 and says in result.stderr, result.stderr


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--packing",), "packing cannot be set: TRL packs only texts"),
        (("--rewards", "accuracy"), "rewards belongs to --method grpo"),
        (("--max-lenght", "9"), "No such option '--max-lenght'. Did you mean '--max-length'?"),
        (("--max-length", "60"), "prompts with their answers have more than 60 tokens"),
        (("--prompt", "think"), "2540 of 2540 items have no rationale"),
    ],
)
def test_a_wrong_flag_of_sft_is_one_sentence(args, says, tmp_path):
    command = ["train", "--method", "sft", *args, *NEEDED, "--output_dir", str(tmp_path / "out")]
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 2
    assert says in result.stderr, result.stderr


def asked(folder, image, *args):
    question = ("--image-path", image, "--question", "What is seen? A)CT, B)MRI", "--device", "cpu")
    short = ("--max-new-tokens", "8", "--json")
    result = CliRunner().invoke(
        cli, ["infer", "--model-path", str(folder), *question, *short, *args]
    )
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize("method", ["grpo", "sft"])
def test_a_template_file_is_trained_with_and_asked_again_without_it(method, tmp_path):
    file, out = tmp_path / "mine.txt", tmp_path / "out"
    text = "Look closely. {problem} Say {answer} in <answer> </answer>."
    file.write_text(text + "\n")
    flags = SMALL if method == "grpo" else ("--max-steps", "2", "--save-strategy", "no")
    command = ["train", "--method", method, *NEEDED, *flags, "--prompt", str(file)]
    result = CliRunner().invoke(cli, [*command, "--output_dir", str(out)])
    assert result.exit_code == 0, result.output
    written = json.loads((out / "medr1.json").read_text())
    assert (written["method"], written["prompt"]) == (method, "mine.txt")
    assert written["prompt_text"] == text
    image = str(sorted((tiny_vqa_folder() / "images").glob("validation_*.jpg"))[0])
    given = asked(out, image, "--prompt", str(file))
    assert asked(out, image, "--prompt", "nothink")["option_probs"] != given["option_probs"]
    file.unlink()
    assert asked(out, image) == given


@pytest.mark.slow  # a start of two processes
def test_two_processes_train_one_checkpoint(tmp_path):
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    result = run(*SMALL, "--json", "--output_dir", str(tmp_path / "out"), launcher=launcher)
    assert result.returncode == 0, result.stderr[-3000:]
    assert json.loads(result.stdout) == {"output_dir": str(tmp_path / "out")}
    lines = (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines if '"reward"' in line] == [1, 2]
    looks = (tmp_path / "out" / "completions.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in looks] == [1] * 4 + [2] * 4
    assert len({json.loads(line)["id"] for line in looks[:4]}) == 4  # of both processes
    plan = json.loads((tmp_path / "out" / "training.json").read_text())
    assert (plan["completions_per_step"], plan["prompts_per_step"]) == (16, 4)
    assert load_model(tmp_path / "out", device="cpu").info.prompt == "nothink"


@pytest.mark.slow
def test_two_processes_do_the_same_supervised_steps_as_one(tmp_path):
    given = ("--method", "sft", "--max-steps", "3", "--logging-steps", "1", "--save-strategy", "no")
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    runs = {"one": ("8", ()), "two": ("4", launcher)}
    for name, (size, how) in runs.items():
        flags = ("--batch-size", size, "--output_dir", str(tmp_path / name))
        result = run(*given, *flags, launcher=how)
        assert result.returncode == 0, result.stderr[-3000:]
    one, two = (
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in runs
    )
    for key in ("loss", "mean_token_accuracy", "grad_norm"):
        first, second = ([line[key] for line in lines if "loss" in line] for lines in (one, two))
        assert first == pytest.approx(second, rel=1e-4), key
    weights = (load_model(tmp_path / name, device="cpu").model.state_dict() for name in runs)
    assert all(
        torch.allclose(a, b, atol=1e-6) for a, b in zip(*(w.values() for w in weights), strict=True)
    )
