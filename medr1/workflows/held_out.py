"""Validation during training: the accuracy of greedy answers to questions that are not trained on.

It works with any number of processes: each answers a part of the questions, and all get the result.
"""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path

from medr1.data.readers import Questions, read_questions, split_file
from medr1.data.scans.options import ScanOptions
from medr1.documents.metric import value_of
from medr1.errors import InputError
from medr1.evaluate.estimates import mean_metric
from medr1.evaluate.judging import Settings, judge_all
from medr1.infer.engine import InferencePlan, all_predictions
from medr1.infer.plan import plan_batches
from medr1.models.loading import LoadedModel
from medr1.records import Decoding, Prediction
from medr1.workflows.engines import local_engine

logger = logging.getLogger("medr1")


@dataclass(frozen=True)
class HeldOutEvaluator:
    """A model in training and the validation questions that it answers by greedy decoding."""

    loaded: LoadedModel
    """The model and its processor."""
    questions: Questions
    """The validation questions."""
    prompt: str
    """The prompt of the training, a key of prompts.PROMPTS or a template's text."""
    max_new_tokens: int
    """The most tokens of an answer."""
    batch_size: int
    """The most questions that a process answers at once."""

    def accuracy(self, *, divided: bool = True) -> dict[str, float]:
        """Measure the accuracy on all questions.

        Args:
            divided: Whether each process answers only its share of the questions. It has to be
                False if the weights are split over the processes: then each forward pass needs all
                processes, and each process answers every question.

        Returns:
            Entries for the training log: eval_accuracy (protocol `default`), its 95 % interval
            eval_accuracy_low and eval_accuracy_high (absent if there is no interval),
            eval_accuracy_strict (protocol `strict`), eval_n (number of questions) and eval_seconds.

        Raises:
            InputError: The model cannot be asked at all, such as without room for a prompt.
        """
        started = time.monotonic()
        predictions = self._predictions(divided)
        judged = judge_all(predictions, Settings(protocols=("strict",)))
        metric = mean_metric(judged.correct, judged)
        values = {
            "eval_accuracy": value_of(metric),
            "eval_accuracy_strict": float(judged.columns.right_under("strict").mean()),
            "eval_n": metric.n,
            "eval_seconds": round(time.monotonic() - started, 3),
        }
        if metric.ci95:
            values["eval_accuracy_low"], values["eval_accuracy_high"] = metric.ci95
        return values

    def _predictions(self, divided: bool) -> list[Prediction]:
        """The predictions for all questions, in order, gathered from all processes."""
        import torch.distributed as processes

        is_alone = not (divided and processes.is_available() and processes.is_initialized())
        rank, size = (0, 1) if is_alone else (processes.get_rank(), processes.get_world_size())
        samples, image_root = self.questions.samples[rank::size], self.questions.image_root
        plan = InferencePlan(
            plan_batches(samples, image_root, self.batch_size),
            image_root,
            prompt=self.prompt,
            decoding=Decoding("generate", max_new_tokens=self.max_new_tokens),
        )
        answers = all_predictions(local_engine(self.loaded, plan.decoding), samples, plan)
        if is_alone:
            return answers
        parts: list[list[Prediction]] = [[]] * size
        processes.all_gather_object(parts, answers)
        # process r has answered the questions r, r + size, r + 2 * size, ...
        return [parts[i % size][i // size] for i in range(len(self.questions.samples))]


def validation_questions(
    path: Path, split: str, training: Questions, *, scans: ScanOptions | None = None
) -> Questions:
    """Read the questions of --eval-data, and warn if the training data has some of their images.

    Args:
        path: A file, or a folder with a file for each split.
        split: The split that is read from a folder.
        training: The questions to train on.
        scans: How scans are shown, as those of the training questions are.

    Raises:
        InputError: The file is a test split or the training data, it cannot be read, or an item
            cannot be used, for example without ground truth.
    """
    file = split_file(path, split)
    if file.stem == "test":
        raise InputError(
            f"--eval-data {file} is a test split. Questions that choose the best checkpoint cannot "
            "also test it. Give a validation split of the training data."
        )
    questions = read_questions(file, scans=scans)
    questions.require_complete()
    if questions.sha256 == training.sha256:
        raise InputError(
            f"--eval-data {file} is the training data. Give questions that are not trained on."
        )
    shared_images = _image_paths(questions) & _image_paths(training)
    if shared_images:
        logger.warning(
            "%d images of --eval-data are also in the training data; the accuracy on them may be "
            "too high. medr1 data audit lists them.",
            len(shared_images),
        )
    return questions


def _image_paths(questions: Questions) -> set[str]:
    """The real paths of all images, so that a link and its target count as the same image."""
    names = {name for sample in questions.samples for name in sample.images}
    return {os.path.realpath(os.path.join(questions.image_root, name)) for name in names}
