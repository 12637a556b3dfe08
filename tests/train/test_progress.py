"""The steps that a training run shows on stderr, whatever is logged."""

import json
import re

import pytest
from in_process import medr1

from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder
from medr1.train.monitoring.progress import Progress

GRPO = (
    *("train", "--model-path", tiny_vl_folder(), "--data", tiny_vqa_folder(), "--device", "cpu"),
    *("--answer-types", "multiple_choice", "--batch-size", 8, "--save-strategy", "no"),
    *("--max-completion-length", 8, "--num-generations", 4, "--max-steps", 4),
)
SFT = (*GRPO[:-6], "--method", "sft", "--max-steps", 4)
LINE = re.compile(r"step (\d+)/4((?:, (?:reward|loss|accuracy|length|KL) -?\d+\.\d+)*), \d+ s left")


def steps_shown(output, *arguments):
    """Number of each step that a run shows -> its metrics, as text."""
    done = medr1(*arguments, "--output-dir", output)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("step ")]
    matches = [LINE.fullmatch(line) for line in lines]
    assert all(matches), lines
    return {int(match[1]): match[2] for match in matches}


@pytest.fixture
def every_step(monkeypatch):
    """Lets a line follow the last one at once."""
    monkeypatch.setattr(Progress.__init__, "__defaults__", (0.0,))


def test_the_first_and_the_last_step_are_shown(tmp_path):
    shown = steps_shown(tmp_path / "out", *GRPO, "--logging-steps", 50)
    assert {1, 4} <= set(shown)
    assert all("reward" in metrics and "length" in metrics for metrics in shown.values())


def test_each_step_is_shown_with_its_own_metrics_though_none_is_logged(tmp_path, every_step):
    shown = steps_shown(tmp_path / "a", *GRPO, "--logging-strategy", "no")
    logged = steps_shown(tmp_path / "b", *GRPO, "--logging-steps", 1)
    assert list(shown) == list(logged) == [1, 2, 3, 4]
    assert shown == logged
    lines = (tmp_path / "b" / "metrics.jsonl").read_text().splitlines()
    rewards = [json.loads(line)["reward"] for line in lines if '"reward"' in line]
    assert len(rewards) == 4
    for step, reward in enumerate(rewards, start=1):
        assert shown[step].startswith(f", reward {reward:.3f},")


def test_steps_between_two_log_entries_are_shown(tmp_path, every_step):
    shown = steps_shown(tmp_path / "out", *GRPO, "--logging-steps", 0.75)
    assert list(shown) == [1, 2, 3, 4]
    sft = steps_shown(tmp_path / "sft", *SFT, "--logging-steps", 2)
    assert ["loss" in sft[step] for step in (1, 2, 3, 4)] == [False, True, False, True]
    assert all("accuracy" in metrics for metrics in sft.values())
