"""Runs that collapse on purpose, each for another cause: each alarm names it.

Their metrics are the collapse-*.jsonl that test_alarms.py reads; `logged` says which keys.
"""

import json
import sys
from dataclasses import replace

import pytest

from medr1.data.readers import read_questions
from medr1.data.tiny import tiny_config
from medr1.models.loading import load_model

pytest.importorskip("trl")

from medr1.train.run import train
from medr1.train.settings import settings_from

pytestmark = pytest.mark.slow

BRIEF = '''def brief(completions, **columns):
    """Pays for few words, whatever they are."""
    return [1 / (1 + len(completion[0]["content"].split())) for completion in completions]
'''
SMALL = {"batch_size": 32, "logging_steps": 1, "seed": 3, "max_steps": 12}
ACCURACY = {"rewards": ["accuracy"], "reward_weights": [1.0]}
RUNS = {
    # name: (the cause, an alarm, the step by which it is there, what is changed)
    "learning_rate": (
        *("learning_rate", "gradient_leap", 8),
        {"learning_rate": 0.06, "max_steps": 20},
    ),
    "short_answers_paid": (
        *("reward", "length_collapse", 45),
        {"rewards": ["accuracy", "brief_rewards:brief"], "reward_weights": [0.0, 1.0]}
        | {"learning_rate": 1.2e-3, "lr_scheduler_type": "constant", "max_steps": 50},
    ),
    "temperature": ("low_temperature", "zero_variance", 8, {"temperature": 0.01}),
    "no_room": ("max_completion_length", "clipped", 10, {"max_completion_length": 3}),
    "unread_format": (
        *("constant_reward", "equal_rewards", 6),
        {"rewards": ["accuracy", "format-think-after"], "reward_weights": [0.0, 1.0]},
    ),
    "four_questions": (
        *("questions", "zero_variance", 50),
        ACCURACY | {"learning_rate": 1e-3, "max_steps": 50},
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_collapse_is_named(name, tmp_path, monkeypatch):
    cause, alarm, latest, changed = RUNS[name]
    (tmp_path / "brief_rewards.py").write_text(BRIEF)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    config = {**tiny_config(), **SMALL, **changed}
    questions = read_questions(config["data"] / "train.json").only(config["answer_types"])
    if name == "four_questions":
        questions = replace(questions, samples=questions.samples[:4])
    loaded = load_model(config["model_path"], device="cpu")
    train(loaded, questions, settings_from(config, tmp_path / "out"))
    raised = [json.loads(line) for line in (tmp_path / "out/alarms.jsonl").read_text().splitlines()]
    assert {entry["causes"][0] for entry in raised} == {cause}, raised
    assert alarm in {entry["alarm"] for entry in raised if entry["step"] <= latest}
