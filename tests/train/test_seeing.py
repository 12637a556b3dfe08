"""What a run shows while it goes: completions, alarms, a bar or lines, and services told of it."""

import html
import json
import logging
import os
import pty
import sys
from importlib.util import find_spec

import pytest
from click.testing import CliRunner

from medr1.cli import cli
from medr1.data.readers import read_questions
from medr1.data.tiny import tiny_config, tiny_vl_folder, tiny_vqa_folder
from medr1.errors import InputError
from medr1.models.loading import load_model

pytest.importorskip("trl")

from medr1.train.monitoring.completions_log import (
    COMPLETIONS_PER_STEP,
    CompletionsLog,
    repeats_prompt,
)
from medr1.train.monitoring.tracking import require_trackers
from medr1.train.run import train
from medr1.train.settings import settings_from

NEEDED = (
    *("train", "--model-path", str(tiny_vl_folder()), "--data", str(tiny_vqa_folder())),
    *("--answer-types", "multiple_choice", "--device", "cpu"),
)
STEPS = 12


@pytest.fixture(scope="module")
def constant(tmp_path_factory):
    """A real run from the command line whose reward is always the same: folder and what it said."""
    folder = tmp_path_factory.mktemp("constant")
    (folder / "constant_rewards.py").write_text(
        "def same(completions, **columns):\n    return [0.25] * len(completions)\n"
    )
    sys.path.append(str(folder))
    command = [
        *NEEDED,
        *("--rewards", "accuracy,constant_rewards:same", "--reward-weights", "0,1"),
        *("--max-steps", str(STEPS), "--batch-size", "8", "--num-generations", "4"),
        *("--max-completion-length", "6", "--logging-steps", "1", "--save-strategy", "no"),
        *("--completions-steps", "5", "--report-to", "tensorboard"),
        *("--output-dir", str(folder / "out")),
    ]
    result = CliRunner().invoke(cli, command)
    sys.path.remove(str(folder))
    assert result.exit_code == 0, result.output
    return folder / "out", result.stderr


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_constant_rewards_raise_one_alarm_once(constant):
    folder, said = constant
    (alarm,) = lines(folder / "alarms.jsonl")
    assert (alarm["step"], alarm["alarm"]) == (10, "equal_rewards")
    assert said.count("had the same reward, 0.25, and nothing is learned from that") == 1
    assert alarm["causes"][0] == "constant_reward"
    page = html.unescape((folder / "training.html").read_text())
    assert alarm["sentence"] in page and f"Most likely cause:</b> <bdi>{alarm['cause']}" in page


def test_a_run_that_goes_on_compares_with_what_was_logged_before(tmp_path):
    from transformers import TrainerState, TrainingArguments

    from medr1.train.monitoring.metrics_log import AlarmLog

    logged = [
        {"step": step, "learning_rate": 1.0, "reward": 1.0 if step < 9 else 0.1, "reward_std": 0.3}
        for step in range(1, 16)
    ]
    arguments = TrainingArguments(str(tmp_path / "out"), use_cpu=True)
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(e) + "\n" for e in logged[:9]))
    log = AlarmLog(tmp_path / "alarms.jsonl")
    state = TrainerState(global_step=9, is_world_process_zero=True)
    log.on_train_begin(arguments, state, None)
    for entry in logged[9:]:
        state.global_step = entry["step"]
        log.on_log(arguments, state, None, {k: v for k, v in entry.items() if k != "step"})
    (alarm,) = lines(tmp_path / "alarms.jsonl")
    assert (alarm["step"], alarm["alarm"]) == (10, "reward_fall")


def test_completions_are_those_of_their_items(constant):
    folder, _ = constant
    samples = {s.id: s for s in read_questions(tiny_vqa_folder() / "train.json").samples}
    rows = lines(folder / "completions.jsonl")
    assert [row["step"] for row in rows] == [
        step for step in (1, 5, 10, 12) for _ in range(COMPLETIONS_PER_STEP)
    ]
    for row in rows:
        sample = samples[row["id"]]
        assert sample.question in row["question"] and row["ground_truth"] == sample.ground_truth
        assert row["rewards"].keys() == {"accuracy", "constant_rewards:same"}
        assert row["rewards"]["constant_rewards:same"] == 0.25
        assert row["advantage"] == 0 and isinstance(row["completion"], str)
    # all the prompts of a batch
    assert len({row["id"] for row in rows[:COMPLETIONS_PER_STEP]}) == 2
    assert any(row["completion"] for row in rows)


def test_tensorboard_has_what_metrics_has(constant):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder, _ = constant
    (file,) = (folder / "runs").rglob("events.*")
    events = EventAccumulator(str(file))
    events.Reload()
    found = {event.step: event.value for event in events.Scalars("train/grad_norm")}
    logged = {e["step"]: e["grad_norm"] for e in lines(folder / "metrics.jsonl") if "reward" in e}
    assert list(found) == list(range(1, STEPS + 1)) and found == pytest.approx(logged)
    assert "train/rewards/accuracy/mean" in events.Tags()["scalars"]


def test_completions_stay_within_their_bound(tmp_path, monkeypatch):
    from transformers import TrainerState

    monkeypatch.setattr("medr1.train.monitoring.completions_log.MAX_BYTES", 3000)
    row = {"id": "a", "question": "q" * 20_000, "completion": "c", "rewards": {}, "advantage": 0.0}
    log = CompletionsLog(tmp_path / "completions.jsonl", 1, lambda: [row])
    for step in range(1, 6):
        log.on_step_end(None, TrainerState(global_step=step, is_world_process_zero=True), None)
    kept = [tmp_path / name for name in ("completions.1.jsonl", "completions.jsonl")]
    assert sorted(tmp_path.iterdir()) == sorted(kept)
    assert [entry["step"] for file in kept for entry in lines(file)] == [4, 5]
    assert all(len(lines(file)[0]["question"]) == 8000 for file in kept)
    log.on_step_end(None, TrainerState(global_step=6, is_world_process_zero=False), None)
    assert lines(kept[1])[-1]["step"] == 5


@pytest.mark.parametrize(
    ("completion", "repeats"),
    [
        ("What part of the body can be seen in this picture? A)Spine, B)Colon", True),
        ("WHAT PART OF THE BODY can be seen in this picture", True),
        ("<answer> Spine </answer>", False),
        ("A)Spine, B)Colon", False),
        ("", False),
        (
            "The picture shows vertebrae in a row with discs between them. The question asks what "
            "part of the body can be seen, and that is the spine. <answer> A </answer>",
            False,
        ),
    ],
)
def test_a_prompt_said_again_is_told_from_an_answer(completion, repeats):
    prompt = "What part of the body can be seen in this picture? A)Spine, B)Colon Give the option."
    assert repeats_prompt(prompt, completion) is repeats


@pytest.fixture
def run(tmp_path, monkeypatch):
    """run(terminal, level) trains three steps and returns what stderr got."""

    def run(*, terminal, level=logging.INFO):
        if terminal:
            ours, theirs = pty.openpty()
            stderr = os.fdopen(theirs, "w")
        else:
            stderr = (tmp_path / "stderr").open("w+")
        logger = logging.getLogger("medr1")
        monkeypatch.setattr(logger, "handlers", [logging.StreamHandler(stderr)])
        monkeypatch.setattr(logger, "level", level)
        logger.manager._clear_cache()
        monkeypatch.setattr("sys.stderr", stderr)
        config = {**tiny_config(), "max_steps": 3, "batch_size": 4, "num_generations": 4}
        config |= {"logging_steps": 1, "max_completion_length": 4}
        questions = read_questions(tiny_vqa_folder() / "train.json", limit=8)
        loaded = load_model(tiny_vl_folder(), device="cpu")
        train(loaded, questions, settings_from(config, tmp_path / "out"))
        print("after", file=stderr, flush=True)
        if not terminal:
            return (tmp_path / "stderr").read_text()
        said = b""
        while not said.endswith(b"after\r\n"):
            said += os.read(ours, 1 << 16)
        return said.decode()

    yield run
    logging.getLogger("medr1").manager._clear_cache()


def test_a_terminal_gets_a_bar(run):
    said = run(terminal=True)
    assert "step 0/3 |" in said and "step 3/3 |" in said and "00:00 left" in said
    for name in ("reward 0.", "accuracy 0.", "length "):
        assert name in said
    assert "\nafter" in said and "step 3/3, reward" not in said


def test_a_file_gets_a_line_now_and_then(run):
    said = run(terminal=False)
    assert [part for part in said.splitlines() if part.startswith("step ")][-1].startswith(
        "step 3/3, reward 0."
    )
    assert "step 0/3" not in said


@pytest.mark.parametrize("terminal", [True, False])
def test_quiet_is_quiet(run, terminal):
    assert "step" not in run(terminal=terminal, level=logging.WARNING)


def test_a_service_nobody_knows_is_one_sentence():
    with pytest.raises(InputError, match=r"unknown service 'tensorbord'. Did you mean tensorboard"):
        settings_from({"report_to": "tensorbord"}, None)
    require_trackers(["none"])


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_service_that_is_not_installed_is_one_sentence(name, tmp_path):
    if find_spec(name):
        pytest.skip(f"{name} is installed here")
    command = [*NEEDED, "--report-to", name, "--output-dir", str(tmp_path / "out")]
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 2 and f"{name}, which is not installed here" in result.stderr
    assert ("pip install -e '.[tracking]'" in result.stderr) == (name == "wandb")
    assert not (tmp_path / "out").exists()
