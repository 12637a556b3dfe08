"""A short GRPO run learns what it is rewarded for, and does not when a part of it is broken."""

import pytest

from medr1.data.readers import read_questions
from medr1.data.tiny import tiny_config
from medr1.evaluate.metrics.summary import compare_accuracy
from medr1.models.loading import load_model
from medr1.records import Decoding
from medr1.workflows.demo_steps import EvaluationSet, shuffle_images

pytest.importorskip("trl")

from medr1.train import grpo
from medr1.train.run import train
from medr1.train.settings import settings_from

pytestmark = pytest.mark.slow

STEPS = 60
ENOUGH = {"default": 0.05, "strict": 0.30}
"""What the untouched recipe gains on the validation split in so many steps, with room."""


def constant(completions, **columns):
    return [1.0] * len(completions)


def negated(reward):
    def worse(**columns):
        return [-value for value in reward(**columns)]

    worse.__name__ = reward.__name__
    return worse


@pytest.fixture
def gains(tmp_path, monkeypatch):
    """Runs the recipe, broken as asked, and says what it gained under each protocol."""

    def run(rewards=lambda functions: functions, data=lambda questions: questions, **changed):
        config = {**tiny_config(), "seed": 3, "max_steps": STEPS, **changed}
        training, validation = (
            read_questions(config["data"] / f"{split}.json").only(config["answer_types"])
            for split in ("train", "validation")
        )
        exam = EvaluationSet(validation, validation, Decoding(max_new_tokens=16))
        loaded = load_model(config["model_path"], device="cpu")
        base = exam.predictions(loaded)
        functions = grpo.reward_functions
        monkeypatch.setattr(grpo, "reward_functions", lambda *a, **kw: rewards(functions(*a, **kw)))
        train(loaded, data(training), settings_from(config, tmp_path / "out"))
        trained = exam.predictions(load_model(tmp_path / "out", device="cpu"))
        return {
            name: compare_accuracy(base, trained, protocol=name).difference.value for name in ENOUGH
        }

    return run


def learned(gain):
    return all(gain[protocol] > bar for protocol, bar in ENOUGH.items())


def test_the_recipe_learns(gains):
    assert learned(gains())


def test_constant_rewards_teach_nothing(gains):
    gain = gains(lambda functions: [constant] * len(functions))
    assert gain == {"default": 0, "strict": 0}


def test_the_format_reward_alone_teaches_the_format_and_costs_knowledge(gains):
    gain = gains(reward_weights=[0.0, 1.0])
    assert not learned(gain)
    assert gain["default"] < 0 < gain["strict"]


def test_images_shuffled_in_training_teach_nothing_about_images(gains):
    gain = gains(data=lambda training: shuffle_images(training, 0))
    assert not learned(gain)


def test_negated_advantages_unlearn(gains):
    gain = gains(lambda functions: [negated(function) for function in functions])
    assert not learned(gain)
    assert gain["default"] < 0
