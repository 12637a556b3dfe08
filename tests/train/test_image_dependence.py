"""The reward `image-dependence`: what earns it, what does not, and the column in training."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from medr1.answers import extract
from medr1.data.readers import Questions, read_questions
from medr1.data.tiny import tiny_config
from medr1.errors import InputError
from medr1.infer.local.engine import predict
from medr1.models.loading import LoadedModel, load_model
from medr1.records import Decoding
from medr1.rewards import reward_functions

pytest.importorskip("trl")

from medr1.train.grpo import fitting_samples
from medr1.train.run import train
from medr1.train.settings import settings_from
from medr1.workflows.without_image import GreyImageAnswers

OPTIONS = {"A": "CT", "B": "MRI"}
RUN = {
    "rewards": ["accuracy", "image-dependence"],
    "reward_weights": [0.0, 1.0],
    "max_steps": 1,
    "logging_steps": 1,
    "completions_steps": 1,
    "batch_size": 32,
    "seed": 1,
}


def scores(completions: list[str], without_image: str, solution: str = "B") -> list[float]:
    (reward,) = reward_functions(["image-dependence"], "think")
    count = len(completions)
    return reward(
        completions=completions,
        solution=[solution] * count,
        options=[OPTIONS] * count,
        output_without_image=[without_image] * count,
    )


def test_only_a_right_answer_that_needs_the_image_earns_it() -> None:
    right, wrong = "<answer>B</answer>", "<answer>A</answer>"
    assert scores([right, wrong], without_image=wrong) == [1.0, 0.0]
    assert scores([right, wrong], without_image=right) == [0.0, 0.0]
    # the same option in other words is the same answer
    assert scores([right], without_image="<answer>MRI</answer>") == [0.0]
    assert scores([right], without_image="I cannot see an image.") == [1.0]
    assert scores(["", "no answer"], without_image=wrong) == [0.0, 0.0]


def test_reasoning_that_is_emptied_or_padded_earns_nothing() -> None:
    texts = ("", "The image shows grey and white matter.", "The image clearly shows it. " * 40)
    for answer in "AB":
        for without_image in ("<answer>A</answer>", "<answer>B</answer>", ""):
            completions = [f"<think>{text}</think><answer>{answer}</answer>" for text in texts]
            assert len(set(scores(completions, without_image))) == 1


def test_the_column_is_needed() -> None:
    (reward,) = reward_functions(["image-dependence"], "think")
    with pytest.raises(InputError, match="needs output_without_image"):
        reward(completions=["<answer>B</answer>"], solution=["B"], options=[OPTIONS])


@pytest.mark.parametrize("changes", [{}, {"shared_prefix": False}, {"use_peft": True, "lora_r": 4}])
def test_training_compares_with_the_policy_without_the_image(
    changes: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medr1.train.monitoring.completions_log.COMPLETIONS_PER_STEP", 32)
    config = {**tiny_config(), **RUN, **changes}
    questions = read_questions(config["data"] / "train.json").only(config["answer_types"])
    questions = replace(questions, samples=questions.samples[:24])
    loaded = load_model(config["model_path"], device="cpu")
    blind = answers_without_image(loaded, questions, config)
    without_image = GreyImageAnswers(
        loaded, questions.image_root, config["prompt"], config["max_completion_length"]
    )
    settings = settings_from(config, tmp_path / "out")
    train(loaded, questions, settings, answers_without_image=without_image)
    assert all(module.training for module in loaded.model.modules())
    rows = [json.loads(line) for line in (tmp_path / "out/completions.jsonl").open()]
    samples = {sample.id: sample for sample in questions.samples}
    for row in rows:
        sample = samples[row["id"]]
        answer = extract(
            row["completion"], options=sample.options, answer_type=sample.answer_type
        ).answer
        expected = row["rewards"]["accuracy"] and answer != blind[row["id"]]
        assert row["rewards"]["image-dependence"] == expected
    assert {row["rewards"]["image-dependence"] for row in rows} == {0.0, 1.0}


def answers_without_image(
    loaded: LoadedModel, questions: Questions, config: dict[str, object]
) -> dict[str, str | None]:
    """Id -> the extracted answer of the model to the question with a grey image."""
    predictions = predict(
        loaded,
        questions.samples,
        image_root=questions.image_root,
        batch_size=8,
        prompt=str(config["prompt"]),
        decoding=Decoding(
            "generate",
            max_new_tokens=int(str(config["max_completion_length"])),
            ablate_image="blank",
        ),
    )
    return {prediction.sample.id: prediction.extracted_answer for prediction in predictions}


def test_questions_without_images_are_refused(tmp_path: Path) -> None:
    config = {**tiny_config(), **RUN}
    questions = read_questions(config["data"] / "train.json").only(config["answer_types"])
    loaded = load_model(config["model_path"], device="cpu")
    without = [replace(sample, images=()) for sample in questions.samples[:8]]
    with pytest.raises(InputError, match="'image-dependence' pays for the use of images"):
        fitting_samples(
            loaded,
            replace(questions, samples=without),
            settings_from(config, tmp_path / "out"),
        )


def test_answers_without_the_image_have_to_be_passed(tmp_path: Path) -> None:
    config = {**tiny_config(), **RUN}
    questions = read_questions(config["data"] / "train.json").only(config["answer_types"])
    loaded = load_model(config["model_path"], device="cpu")
    with pytest.raises(InputError, match="'image-dependence' needs answers without the image"):
        train(loaded, questions, settings_from(config, tmp_path / "out"))
