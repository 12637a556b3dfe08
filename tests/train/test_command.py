"""`medr1 train` as it is typed: flags of TRL's fields, wrong ones, and several processes."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from medr1.cli import cli
from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder
from medr1.models import load_model

pytest.importorskip("trl")

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
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_fields_of_trl_are_flags_in_the_plan(tmp_path):
    flags = ("--warmup_steps", "3", "--use-peft", "--lora-target-modules", "q_proj", "v_proj")
    result = run(
        *SMALL, *flags, "--no-bf16", "--dry-run", "--json", "--output_dir", str(tmp_path / "out")
    )
    plan = json.loads(result.stdout)
    assert plan["trainer_fields"]["warmup_steps"] == 3
    assert plan["model_fields"] == {
        "use_peft": True,
        "lora_target_modules": ["q_proj", "v_proj"],
    }


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--lerning-rate", "1"), "unknown key 'lerning_rate'. Did you mean learning_rate?"),
        (("--warmup-steps", "few"), "warmup_steps: 'few' is not a number"),
        (("--lr-scheduler-type", "liner"), "lr_scheduler_type: 'liner' is none of linear"),
        (("--trust-remote-code",), "trust_remote_code cannot be set"),
        (("--bf16", "--dtype", "float16"), "--bf16 and --dtype float16 contradict each other"),
        (("--lora-r", "4", "--lora-r", "8"), "--lora-r is given twice"),
        (("stray",), "unexpected extra argument (stray)"),
    ],
)
def test_a_wrong_flag_is_one_sentence(args, says, tmp_path):
    command = ["train", *args, *NEEDED, *SMALL, "--output_dir", str(tmp_path / "out")]
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 2
    assert says in result.stderr, result.stderr
    assert not (tmp_path / "out").exists()


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
