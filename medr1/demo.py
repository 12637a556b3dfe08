"""The embedded chain: evaluate the base, train it with GRPO, evaluate it again, say what changed.

The model has seen the training images; the test split comes from other regions or scanners of
mostly the same sources, so the numbers speak of these sources and not of medicine in general.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from medr1 import answers
from medr1.data.audit import blind_predictions
from medr1.data.readers import Questions, read_questions
from medr1.data.tiny import tiny_config, tiny_vl_folder, tiny_vqa_folder
from medr1.evaluate.metrics import compare_accuracy, summarize
from medr1.files import to_json, write_atomic
from medr1.infer.batch import manifest, write_results
from medr1.infer.engine import Decoding, predict
from medr1.models import LoadedModel, load_model
from medr1.records import Prediction, Sample
from medr1.report.plots import learning_curve

logger = logging.getLogger("medr1")

PROTOCOLS = ("default", "strict")
DECODING = Decoding(max_new_tokens=16)
BATCH_SIZE = 64


def run_demo(output_dir: Path, *, seed: int = 0, max_steps: int | None = None) -> dict[str, Any]:
    """Run the chain into `output_dir` and return what `medr1 demo --json` prints (DESIGN 5)."""
    from medr1.train.callbacks import EveryNSteps
    from medr1.train.grpo import settings_from, train

    started = time.monotonic()
    folder = tiny_vqa_folder()
    splits = {name: multiple_choice(folder / f"{name}.json") for name in SPLITS}
    test = splits["test"]
    blind = blind_predictions(splits["train"].samples, test.samples)
    loaded = load_model(tiny_vl_folder(), device="cpu")

    logger.info("1/4  base model on %d held-out test questions", len(test.samples))
    base, base_shuffled = answer_test(loaded, test, output_dir / "base", seed)

    values = {**tiny_config(), "seed": seed}
    if max_steps is not None:
        values["max_steps"] = max_steps
    settings = settings_from(values, output_dir / "checkpoint")
    logger.info("2/4  GRPO, %s steps", settings.grpo["max_steps"])
    curve: list[dict[str, Any]] = []

    def validate(step: int) -> None:
        shares = shares_right(loaded, splits["validation"])
        curve.append({"step": step, **shares})
        said = ", ".join(f"{name} {share:.3f}" for name, share in shares.items())
        logger.info("     step %d, validation accuracy: %s", step, said)

    every = max(1, int(settings.grpo["max_steps"]) // 8)
    checkpoint = train(loaded, splits["train"], settings, [EveryNSteps(every, validate)])

    logger.info("3/4  trained model on the same test questions")
    trained, trained_shuffled = answer_test(
        load_model(checkpoint, device="cpu"), test, output_dir / "trained", seed
    )

    logger.info("4/4  evaluation")
    document: dict[str, Any] = {"seed": seed, "n": len(test.samples)}
    document["blind"] = summarize(trained, blind=blind, seed=seed)["blind"]
    for protocol in PROTOCOLS:
        document[protocol] = compare_accuracy(base, trained, protocol=protocol, seed=seed)
    document["shuffled_images"] = {
        name: summarize(predictions, seed=seed)["metrics"]["accuracy"]
        for name, predictions in (("base", base_shuffled), ("trained", trained_shuffled))
    }
    document["curve"] = curve
    document["samples"] = before_and_after(base, trained)
    document["seconds"] = round(time.monotonic() - started, 1)
    draw(output_dir / "curve.png", document)
    write_atomic(output_dir / "demo.json", to_json(document))
    return document


SPLITS = ("train", "validation", "test")


def multiple_choice(path: Path) -> Questions:
    """The questions of a split that have options; the few counting items have none."""
    questions = read_questions(path)
    return replace(questions, samples=[s for s in questions.require_complete() if s.options])


def answer_test(
    loaded: LoadedModel, test: Questions, folder: Path, seed: int
) -> tuple[list[Prediction], list[Prediction]]:
    """Answers on the test split, and on the same questions with the pictures shuffled."""
    shuffled = replace(test, samples=with_shuffled_images(test.samples, seed))
    found = []
    for name, questions in (("results", test), ("results_shuffled_images", shuffled)):
        predictions = answer(loaded, questions)
        meta = manifest(loaded, questions, data=name, prompt=None, decoding=DECODING, seed=seed)
        write_results(folder / f"{name}.json", meta, predictions)
        found.append(predictions)
    return found[0], found[1]


def answer(loaded: LoadedModel, questions: Questions) -> list[Prediction]:
    """Greedy answers to all questions."""
    return list(
        predict(
            loaded,
            questions.samples,
            image_root=questions.image_root,
            decoding=DECODING,
            batch_size=BATCH_SIZE,
        )
    )


def with_shuffled_images(samples: Sequence[Sample], seed: int) -> list[Sample]:
    """The same questions, each with the image of another."""
    images = [sample.images for sample in samples]
    random.Random(seed).shuffle(images)
    return [replace(s, images=image) for s, image in zip(samples, images, strict=True)]


def shares_right(loaded: LoadedModel, questions: Questions) -> dict[str, float]:
    """The share of right greedy answers under each protocol, while a model is being trained."""
    training = loaded.model.training
    loaded.model.eval()
    predictions = answer(loaded, questions)
    loaded.model.train(training)
    return {
        protocol: sum(is_right(p, protocol) for p in predictions) / len(predictions)
        for protocol in PROTOCOLS
    }


def is_right(prediction: Prediction, protocol: str) -> bool:
    """The protocol's verdict on one prediction."""
    sample = prediction.sample
    return answers.judge(
        prediction.model_output or "",
        ground_truth=sample.ground_truth or "",
        options=sample.options,
        answer_type=sample.answer_type,
        protocol=protocol,
    ).correct


def before_and_after(
    base: Sequence[Prediction], trained: Sequence[Prediction], num_samples: int = 6
) -> list[dict[str, Any]]:
    """A few test items, evenly spaced, with what the model said before and after."""
    step = max(1, len(base) // num_samples)
    return [
        {
            "question": before.sample.question,
            "right": before.sample.options[before.sample.ground_truth or ""],
            "base": before.model_output,
            "trained": after.model_output,
        }
        for before, after in list(zip(base, trained, strict=True))[::step][:num_samples]
    ]


def draw(path: Path, document: dict[str, Any]) -> None:
    """The picture of the curve: validation accuracy by step, over the test split's baselines."""
    curve = document["curve"]
    shuffled = document["shuffled_images"]["trained"]["value"]
    learning_curve(
        path,
        steps=[point["step"] for point in curve],
        series={name: [point[name] for point in curve] for name in PROTOCOLS},
        lines={
            "blind": document["blind"]["option_prior"]["value"],
            "shuffled images": shuffled,
            "chance": document["blind"]["chance"],
        },
        title=f"GRPO on the embedded model, seed {document['seed']} (validation split)",
    )
