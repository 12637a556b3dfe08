"""The steps of the demo: predictions, training, the comparison before and after, and the chart.

The model has seen the training images. The test images come from other regions or scanners, but
mostly from the same sources. So the numbers hold for these sources, not for medicine in general.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medr1.data.audit import blind_panel
from medr1.data.readers import Questions, read_questions
from medr1.data.tiny import tiny_config
from medr1.evaluate.judging import Settings, judge_all
from medr1.evaluate.metrics.summary import compare_accuracy, summarize
from medr1.files import to_json, write_atomic
from medr1.infer.ablation import shuffle_images
from medr1.infer.batch import manifest, write_results
from medr1.infer.engine import Decoding, predict
from medr1.models.loading import LoadedModel, load_model
from medr1.records import Prediction
from medr1.report.charts.learning_curve import learning_curve
from medr1.report.pages.training import write_training_page
from medr1.terminal import counted

logger = logging.getLogger("medr1")

PROTOCOLS = ("default", "strict")
"""How answers are judged; both are reported."""
BATCH_SIZE = 64


@dataclass(frozen=True)
class EvaluationSet:
    """Questions, and the same questions with shuffled images, which show what needs no image."""

    questions: Questions
    shuffled: Questions
    """The same questions, each with the image of another one."""
    decoding: Decoding
    """Greedy, with a limit on the length."""

    def predictions(self, loaded: LoadedModel) -> list[Prediction]:
        """The greedy answers to all questions."""
        return self._predict(loaded, self.questions)

    def shuffled_predictions(self, loaded: LoadedModel) -> list[Prediction]:
        """The answers with shuffled images: what is right here did not come from the image."""
        return self._predict(loaded, self.shuffled)

    def _predict(self, loaded: LoadedModel, questions: Questions) -> list[Prediction]:
        return predict(
            loaded,
            questions.samples,
            image_root=questions.image_root,
            decoding=self.decoding,
            batch_size=BATCH_SIZE,
        )


def run_steps(
    output_dir: Path, config_name: str, *, prompt: str, seed: int, max_steps: int | None
) -> dict[str, Any]:
    """Run all steps of the demo, and return the document that `demo.run_demo` describes.

    Args:
        output_dir: Where everything is written: base/, checkpoint/, trained/, demo.json, curve.png.
        config_name: Name of the configuration in configs/.
        prompt: Name of the prompt, for the document.
        seed: Of the training, the shuffled images and the intervals.
        max_steps: Training steps; None for those of the configuration.
    """
    from medr1.train.monitoring.metrics_log import EveryNSteps
    from medr1.train.run import train
    from medr1.train.settings import settings_from

    started = time.monotonic()
    config = {**tiny_config(config_name), "seed": seed}
    if max_steps is not None:
        config["max_steps"] = max_steps
    settings = settings_from(config, output_dir / "checkpoint")
    training, validation, test = (
        read_questions(config["data"] / f"{split}.json").only(config["answer_types"])
        for split in ("train", "validation", "test")
    )
    decoding = Decoding("generate", max_new_tokens=2 * config["max_completion_length"])
    loaded = load_model(config["model_path"], device=config["device"])

    logger.info("1/4  base model on %d held-out test questions", len(test.samples))
    test_set = EvaluationSet(test, shuffle_images(test, seed), decoding)
    base = run_and_save(test_set, loaded, output_dir / "base", seed)

    logger.info("2/4  GRPO, %s", counted(config["max_steps"], "step"))
    validation_set = EvaluationSet(validation, shuffle_images(validation, seed), decoding)
    curve: list[dict[str, Any]] = []

    def validate(step: int) -> None:
        curve.append({"step": step, **validation_accuracies(loaded, validation_set)})
        values = ", ".join(f"{100 * curve[-1][name]:.1f} % ({name})" for name in PROTOCOLS)
        logger.info("     step %d, validation accuracy: %s", step, values)

    every = max(1, config["max_steps"] // 5)
    checkpoint = train(loaded, training, settings, [EveryNSteps(every, validate)])
    write_training_page(checkpoint)

    logger.info("3/4  trained model on the same test questions")
    trained = run_and_save(
        test_set, load_model(checkpoint, device=config["device"]), output_dir / "trained", seed
    )

    logger.info("4/4  evaluation")
    document = {
        "seed": seed,
        "prompt": prompt,
        **compare(base, trained, training, seed),
        "curve": curve,
        "samples": before_and_after(base["results"], trained["results"]),
        "seconds": round(time.monotonic() - started, 1),
    }
    draw_curve(output_dir / "curve.png", document)
    write_atomic(output_dir / "demo.json", to_json(document))
    return document


def run_and_save(
    evaluation_set: EvaluationSet, loaded: LoadedModel, folder: Path, seed: int
) -> dict[str, list[Prediction]]:
    """The answers with the right and with shuffled images, which are also written to `folder`.

    Keys: results, results_shuffled_images; the files have the same names.
    """
    runs = {
        "results": (evaluation_set.questions, evaluation_set.predictions(loaded)),
        "results_shuffled_images": (
            evaluation_set.shuffled,
            evaluation_set.shuffled_predictions(loaded),
        ),
    }
    for name, (questions, predictions) in runs.items():
        meta = manifest(
            loaded, questions, data=name, prompt=None, decoding=evaluation_set.decoding, seed=seed
        )
        write_results(folder / f"{name}.json", meta, predictions)
    return {name: predictions for name, (_, predictions) in runs.items()}


def validation_accuracies(loaded: LoadedModel, evaluation_set: EvaluationSet) -> dict[str, float]:
    """The accuracy of greedy answers under each protocol, and with shuffled images."""
    predictions = evaluation_set.predictions(loaded)
    shuffled = evaluation_set.shuffled_predictions(loaded)
    return {
        **{protocol: accuracy_under(predictions, protocol) for protocol in PROTOCOLS},
        "shuffled_images": accuracy_under(shuffled, "default"),
    }


def accuracy_under(predictions: Sequence[Prediction], protocol: str) -> float:
    """The accuracy under a protocol, in [0, 1]."""
    return float(judge_all(predictions, Settings(protocol)).correct.mean())


def compare(
    base: dict[str, list[Prediction]],
    trained: dict[str, list[Prediction]],
    training: Questions,
    seed: int,
) -> dict[str, Any]:
    """The base model against the trained one on the test split, with what is right without images.

    Args:
        base: The predictions of the base model, as `run_and_save` returns them.
        trained: The predictions of the trained model.
        training: The training questions, on which the blind predictors (no image) are fitted.
        seed: Of the intervals.
    """
    before, after = base["results"], trained["results"]
    blind = blind_panel(training.samples, [p.sample for p in after], seed=seed)
    document: dict[str, Any] = {
        "n": len(after),
        "n_images": len({p.sample.images for p in after}),
        "n_sources": len({p.sample.metadata["source"] for p in after}),
        "blind": summarize(after, blind=blind, seed=seed)["blind"],
    }
    for protocol in PROTOCOLS:
        # images of one source are not independent either: the difference is given by source too
        compared = compare_accuracy(before, after, protocol=protocol, seed=seed)
        by_source = compare_accuracy(
            before, after, protocol=protocol, cluster_by="source", seed=seed
        )["difference"]
        document[protocol] = {**compared, "difference_by_source": by_source}
    document["shuffled_images"] = {
        name: summarize(side["results_shuffled_images"], seed=seed)["metrics"]["accuracy"]
        for name, side in (("base", base), ("trained", trained))
    }
    return document


def before_and_after(
    base: Sequence[Prediction], trained: Sequence[Prediction], num_samples: int = 6
) -> list[dict[str, Any]]:
    """A few test items, evenly spaced, with the model's output before and after the training."""
    right = [judge_all(predictions).correct for predictions in (base, trained)]
    chosen = range(0, len(base), max(1, len(base) // num_samples))[:num_samples]
    return [
        {
            "question": base[i].sample.question,
            "options": dict(base[i].sample.options),
            "ground_truth": base[i].sample.ground_truth,
            "base": {"model_output": base[i].model_output, "correct": bool(right[0][i])},
            "trained": {"model_output": trained[i].model_output, "correct": bool(right[1][i])},
        }
        for i in chosen
    ]


def draw_curve(path: Path, document: dict[str, Any]) -> None:
    """Draw the validation accuracy by step, and the test accuracy before and after the training.

    Args:
        path: Where the PNG is written.
        document: As `run_steps` returns it.
    """
    curve, shuffled = document["curve"], "default, images shuffled"
    learning_curve(
        path,
        steps=[point["step"] for point in curve],
        series={
            **{name: [point[name] for point in curve] for name in PROTOCOLS},
            shuffled: [point["shuffled_images"] for point in curve],
        },
        outcomes={
            **{name: (document[name]["base"], document[name]["trained"]) for name in PROTOCOLS},
            shuffled: tuple(document["shuffled_images"].values()),
        },
        lines={
            "blind": document["blind"]["option_prior"]["value"],
            "chance": document["blind"]["chance"],
        },
        title=f"GRPO on the embedded model, prompt {document['prompt']}, seed {document['seed']}",
    )
