"""The steps of the demo: predictions, training, the comparison before and after, and the chart.

The model has seen the training images. The test images come from other regions or scanners, but
mostly from the same sources. So the numbers hold for these sources, not for medicine in general.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medr1.checkpoints.integrity import checkpoint_sha256
from medr1.data.audit import blind_panel
from medr1.data.readers import Questions, read_questions
from medr1.data.tiny import tiny_config
from medr1.documents.demo import (
    CurvePoint,
    Demo,
    DemoCompletion,
    DemoProtocol,
    DemoSample,
    ShuffledImages,
)
from medr1.documents.metric import Metric
from medr1.documents.summary import Blind
from medr1.errors import InputError, StateError
from medr1.evaluate.judging import Settings, judge_all
from medr1.evaluate.metrics.summary import compare_accuracy, summarize
from medr1.files import to_json
from medr1.infer.ablation import shuffle_images
from medr1.infer.batch import manifest, write_results
from medr1.infer.local.engine import LocalEngine, predict
from medr1.models.loading import LoadedModel, load_model
from medr1.records import Decoding, Prediction
from medr1.report.charts.learning_curve import learning_curve
from medr1.report.pages.training import write_training_page
from medr1.terminal import counted
from medr1.workflows.demo_progress import DemoProgress, demo_inputs, earlier_predictions

logger = logging.getLogger("medr1")

BATCH_SIZE = 64
SAVES = 10
"""Number of checkpoints during the training, so that an interruption costs at most a tenth."""


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


@dataclass(frozen=True)
class DemoPlan:
    """What a demo does, before any model is loaded."""

    config: Mapping[str, Any]
    """The configuration of the training, with the paths of model and data."""
    splits: Mapping[str, Questions]
    """The questions of train, validation and test."""
    decoding: Decoding
    inputs: Mapping[str, object]
    """All that decides the numbers."""

    def evaluation_set(self, split: str) -> EvaluationSet:
        """The questions of a split, also with shuffled images."""
        questions = self.splits[split]
        return EvaluationSet(
            questions, shuffle_images(questions, self.config["seed"]), self.decoding
        )


def plan_demo(config_name: str, *, seed: int, max_steps: int | None) -> DemoPlan:
    """Read the configuration and the questions of a demo.

    Args:
        config_name: Name of the configuration in configs/.
        seed: Of the training, the shuffled images and the intervals.
        max_steps: Training steps; None for those of the configuration.
    """
    config = {**tiny_config(config_name), "seed": seed}
    if max_steps is not None:
        config["max_steps"] = max_steps
    splits = {
        split: read_questions(config["data"] / f"{split}.json").only(config["answer_types"])
        for split in ("train", "validation", "test")
    }
    decoding = Decoding("generate", max_new_tokens=2 * config["max_completion_length"])
    inputs = demo_inputs(config, checkpoint_sha256(config["model_path"]), splits)
    return DemoPlan(config, splits, decoding, inputs)


def run_steps(plan: DemoPlan, progress: DemoProgress, *, prompt: str) -> Demo:
    """Run the steps that are left, and return the document that `demo.run_demo` describes.

    Args:
        plan: What the demo does.
        progress: What it has done already, and its folder: base/, checkpoint/, trained/, demo.json
            and curve.png are written there.
        prompt: Name of the prompt, for the document.
    """
    config, output_dir, seed = plan.config, progress.folder, plan.config["seed"]
    progress.save()
    training, test = plan.splits["train"], plan.splits["test"]
    loaded = load_model(config["model_path"], device=config["device"])
    test_set = plan.evaluation_set("test")

    logger.info("1/4  base model on %d held-out test questions", len(test.samples))
    base = run_and_save(test_set, loaded, output_dir / "base", seed)

    logger.info("2/4  GRPO, %s", counted(config["max_steps"], "step"))
    checkpoint = train_and_measure(plan, progress, loaded)

    logger.info("3/4  trained model on the same test questions")
    trained = run_and_save(
        test_set, load_model(checkpoint, device=config["device"]), output_dir / "trained", seed
    )

    logger.info("4/4  evaluation")
    blind, n_images, n_sources = without_images(trained["results"], training, seed)
    document = Demo(
        seed=seed,
        prompt=prompt,
        n=len(test.samples),
        n_images=n_images,
        n_sources=n_sources,
        blind=blind,
        default=compare(base["results"], trained["results"], "default", seed),
        strict=compare(base["results"], trained["results"], "strict", seed),
        shuffled_images=ShuffledImages(
            base=accuracy_of(base["results_shuffled_images"], seed),
            trained=accuracy_of(trained["results_shuffled_images"], seed),
        ),
        curve=progress.curve,
        samples=before_and_after(base["results"], trained["results"]),
        seconds=progress.seconds,
    )
    draw_curve(output_dir / "curve.png", document)
    progress.finish(to_json(document))
    return document


def train_and_measure(plan: DemoPlan, progress: DemoProgress, loaded: LoadedModel) -> Path:
    """Train in checkpoint/, from its newest checkpoint there, and measure the curve.

    Args:
        plan: What the demo does.
        progress: Receives the points of the curve, and has those before an interruption.
        loaded: The base model, which is trained.

    Returns:
        The folder of the trained model.
    """
    from medr1.train.monitoring.metrics_log import EveryNSteps
    from medr1.train.recovery.checkpoint_manifest import checkpoints, remove_checkpoint
    from medr1.train.recovery.run_state import (
        RunState,
        configuration,
        inspect_run_folder,
        locked_run_folder,
    )
    from medr1.train.run import train
    from medr1.train.settings import settings_from

    steps, training = plan.config["max_steps"], plan.splits["train"]
    saving = {"save_strategy": "steps", "save_steps": max(1, steps // SAVES), "save_total_limit": 1}
    settings = settings_from({**plan.config, **saving}, progress.folder / "checkpoint")
    validation_set = plan.evaluation_set("validation")

    def validate(step: int) -> None:
        point = progress.measure(step, lambda: validation_accuracies(loaded, validation_set, step))
        values = f"{100 * point.default:.1f} % (default), {100 * point.strict:.1f} % (strict)"
        logger.info("     step %d, validation accuracy: %s", step, values)

    run_configuration = configuration(settings, loaded.path, training)
    output, overwrite = settings.output_dir, False
    try:
        run_state = inspect_run_folder(output, run_configuration, overwrite=False, first=True)
    except (InputError, StateError):
        logger.warning("%s is damaged, so the training starts again.", output)
        run_state, overwrite = RunState(run_configuration), True
    if not run_state.is_finished:
        with locked_run_folder(output, run_state, overwrite=overwrite, first=True):
            every = EveryNSteps(max(1, steps // 5), validate)
            train(loaded, training, settings, [every], run_state=run_state)
    for folder in checkpoints(output):  # a finished demo needs only the trained weights
        remove_checkpoint(folder)
    write_training_page(output, questions=training)
    return output


def run_and_save(
    evaluation_set: EvaluationSet, loaded: LoadedModel, folder: Path, seed: int
) -> dict[str, list[Prediction]]:
    """The answers with the right and with shuffled images, which are also written to `folder`.

    Answers that the same model gave there before an interruption are read, not made again.

    Keys: results, results_shuffled_images; the files have the same names.
    """
    runs = {
        "results": (evaluation_set.questions, evaluation_set.predictions),
        "results_shuffled_images": (evaluation_set.shuffled, evaluation_set.shuffled_predictions),
    }
    answers: dict[str, list[Prediction]] = {}
    for name, (questions, predict_with) in runs.items():
        path = folder / f"{name}.json"
        meta = manifest(
            LocalEngine(loaded).identity(),
            questions,
            data=name,
            prompt=None,
            decoding=evaluation_set.decoding,
            seed=seed,
        )
        predictions = earlier_predictions(path, meta)
        if predictions is None:
            predictions = predict_with(loaded)
            write_results(path, meta, predictions)
        answers[name] = predictions
    return answers


def validation_accuracies(
    loaded: LoadedModel, evaluation_set: EvaluationSet, step: int
) -> CurvePoint:
    """The accuracy of greedy answers under each protocol, and with shuffled images.

    Args:
        loaded: The model.
        evaluation_set: The validation questions.
        step: The training step, to be copied.
    """
    predictions = evaluation_set.predictions(loaded)
    shuffled = evaluation_set.shuffled_predictions(loaded)
    return CurvePoint(
        step=step,
        default=accuracy_under(predictions, "default"),
        strict=accuracy_under(predictions, "strict"),
        shuffled_images=accuracy_under(shuffled, "default"),
    )


def accuracy_under(predictions: Sequence[Prediction], protocol: str) -> float:
    """The accuracy under a protocol, in [0, 1]."""
    return float(judge_all(predictions, Settings(protocol)).correct.mean())


def without_images(
    predictions: Sequence[Prediction], training: Questions, seed: int
) -> tuple[Blind, int, int]:
    """What is right without images, and the numbers of images and of their sources.

    Args:
        predictions: Those of the trained model on the test split.
        training: The training questions, on which the blind predictors (no image) are fitted.
        seed: Of the intervals.
    """
    samples = [prediction.sample for prediction in predictions]
    blind = summarize(
        predictions, blind=blind_panel(training.samples, samples, seed=seed), seed=seed
    ).blind
    assert blind is not None, "a summary with a panel has the part blind"
    n_sources = len({sample.metadata["source"] for sample in samples})
    return blind, len({sample.images for sample in samples}), n_sources


def compare(
    base: Sequence[Prediction], trained: Sequence[Prediction], protocol: str, seed: int
) -> DemoProtocol:
    """The base model against the trained one on the test split, under one protocol.

    Args:
        base: The predictions of the base model.
        trained: The predictions of the trained model on the same items.
        protocol: The rules of the verdict.
        seed: Of the intervals.
    """
    accuracies = compare_accuracy(base, trained, protocol=protocol, seed=seed)
    # images of one source are not independent either: the difference is given by source too
    by_source = compare_accuracy(base, trained, protocol=protocol, cluster_by="source", seed=seed)
    return DemoProtocol(
        base=accuracies.base,
        trained=accuracies.trained,
        difference=accuracies.difference,
        difference_by_source=by_source.difference,
    )


def accuracy_of(predictions: Sequence[Prediction], seed: int) -> Metric:
    """The accuracy under the protocol `default` with its interval; `seed` is of the bootstrap."""
    return summarize(predictions, seed=seed).metrics["accuracy"]


def before_and_after(
    base: Sequence[Prediction], trained: Sequence[Prediction], num_samples: int = 6
) -> list[DemoSample]:
    """A few test items, evenly spaced, with the model's output before and after the training."""
    models = [list(zip(rows, judge_all(rows).correct, strict=True)) for rows in (base, trained)]
    chosen = range(0, len(base), max(1, len(base) // num_samples))[:num_samples]

    def completion(prediction: Prediction, correct: float) -> DemoCompletion:
        return DemoCompletion(model_output=prediction.model_output, correct=bool(correct))

    return [
        DemoSample(
            question=base[i].sample.question,
            options=dict(base[i].sample.options),
            ground_truth=base[i].sample.ground_truth or "",
            base=completion(*models[0][i]),
            trained=completion(*models[1][i]),
        )
        for i in chosen
    ]


def draw_curve(path: Path, document: Demo) -> None:
    """Draw the validation accuracy by step, and the test accuracy before and after the training.

    Args:
        path: Where the PNG is written.
        document: As `run_steps` returns it.
    """
    default, strict = document.default, document.strict
    curve, shuffled = document.curve, document.shuffled_images
    learning_curve(
        path,
        steps=[point.step for point in curve],
        series={
            "default": [point.default for point in curve],
            "strict": [point.strict for point in curve],
            "default, images shuffled": [point.shuffled_images for point in curve],
        },
        outcomes={
            "default": (default.base, default.trained),
            "strict": (strict.base, strict.trained),
            "default, images shuffled": (shuffled.base, shuffled.trained),
        },
        lines={
            "without image": document.blind.option_prior.value,
            "chance": document.blind.chance,
        },
        title=f"GRPO on the embedded model, prompt {document.prompt}, seed {document.seed}",
    )
