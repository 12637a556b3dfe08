"""Validation during training: greedy accuracy on questions that are held back from training.

It works with any number of processes: each answers a part of the questions, and all get the result.
"""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medr1.data.readers import Questions, read_questions, split_file
from medr1.errors import InputError
from medr1.evaluate.estimates import mean_metric
from medr1.evaluate.judging import Settings, judge_all
from medr1.infer.engine import Decoding, predict
from medr1.models import LoadedModel
from medr1.records import Prediction

logger = logging.getLogger("medr1")


@dataclass(frozen=True)
class HeldOutEvaluator:
    """A model in training and the validation questions that it answers by greedy decoding."""

    loaded: LoadedModel
    questions: Questions
    prompt: str
    """The prompt of the training, a key of prompts.PROMPTS or a template's text."""
    max_new_tokens: int
    batch_size: int

    def accuracy(self, *, divided: bool = True) -> dict[str, float]:
        """The accuracy on all questions, as entries of the training log.

        Keys: eval_accuracy (protocol `default`) with its 95 % interval eval_accuracy_low and
        eval_accuracy_high (absent where there is none), eval_accuracy_strict, eval_n, eval_seconds.

        `divided`: each process answers its share of the questions. False where the weights are
        split over the processes: then each forward pass needs all of them, and each answers every
        question.
        """
        started = time.monotonic()
        predictions = self._predictions(divided)
        judged = judge_all(predictions, Settings(protocols=("strict",)))
        metric = mean_metric(judged.correct, judged)
        values = {
            "eval_accuracy": metric["value"],
            "eval_accuracy_strict": float(judged.columns.protocols["strict"].mean()),
            "eval_n": metric["n"],
            "eval_seconds": round(time.monotonic() - started, 3),
        }
        if metric["ci95"]:
            values["eval_accuracy_low"], values["eval_accuracy_high"] = metric["ci95"]
        return values

    def _predictions(self, divided: bool) -> list[Prediction]:
        """The predictions for all questions, in order, gathered from all processes."""
        import torch.distributed as processes

        alone = not (divided and processes.is_available() and processes.is_initialized())
        rank, size = (0, 1) if alone else (processes.get_rank(), processes.get_world_size())
        answers = predict(
            self.loaded,
            self.questions.samples[rank::size],
            image_root=self.questions.image_root,
            prompt=self.prompt,
            decoding=Decoding("generate", max_new_tokens=self.max_new_tokens),
            batch_size=self.batch_size,
        )
        if alone:
            return answers
        parts: list[Any] = [None] * size
        processes.all_gather_object(parts, answers)
        # process r answered the questions r, r + size, r + 2 size ...
        return [parts[i % size][i // size] for i in range(len(self.questions.samples))]


def validation_questions(path: Path, split: str, training: Questions) -> Questions:
    """The questions of --eval-data; a warning counts the images that the training data has too.

    Args:
        path: A file, or a folder with a file for each split.
        split: The split that is read from a folder.
        training: The questions of the training.

    Raises:
        InputError: If they are a test split or the training data, or a ground truth is missing.
    """
    file = split_file(path, split)
    if file.stem == "test":
        raise InputError(
            f"--eval-data {file} is a test split. Questions that choose the checkpoint cannot test "
            "it. Name a validation split, cut from the training data."
        )
    questions = read_questions(file)
    questions.require_complete()
    if questions.sha256 == training.sha256:
        raise InputError(
            f"--eval-data {file} is the training data. Name questions that are not trained on."
        )
    shared = _images(questions) & _images(training)
    if shared:
        logger.warning(
            "%d images of --eval-data are in the training data too: accuracy on them is no "
            "validation. medr1 data audit lists them.",
            len(shared),
        )
    return questions


def _images(questions: Questions) -> set[str]:
    """The real paths of all images."""
    names = {name for sample in questions.samples for name in sample.images}
    return {os.path.realpath(os.path.join(questions.image_root, name)) for name in names}
