"""Greedy accuracy on questions that are held back from training, under any number of processes."""

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
    """Questions that a model answers greedily while it is being trained."""

    loaded: LoadedModel
    questions: Questions
    prompt: str
    max_new_tokens: int
    batch_size: int

    def accuracy(self, *, divided: bool = True) -> dict[str, float]:
        """Accuracy under `default` with its 95 % interval, and under `strict`, as `eval_...`.

        `divided`: each process answers its share; otherwise, where the weights are split over the
        processes and each pass needs all of them, each answers everything.
        """
        started = time.monotonic()
        predictions = self._predictions(divided)
        judged = judge_all(predictions, Settings(protocols=("strict",)))
        found = mean_metric(judged.correct, judged)
        values = {
            "eval_accuracy": found["value"],
            "eval_accuracy_strict": float(judged.columns.protocols["strict"].mean()),
            "eval_n": found["n"],
            "eval_seconds": round(time.monotonic() - started, 3),
        }
        if found["ci95"]:
            values["eval_accuracy_low"], values["eval_accuracy_high"] = found["ci95"]
        return values

    def _predictions(self, divided: bool) -> list[Prediction]:
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
        return [parts[i % size][i // size] for i in range(len(self.questions.samples))]


def validation_questions(path: Path, split: str, training: Questions) -> Questions:
    """The questions of --eval-data: a file, or a folder with one of that split.

    Raises InputError for a test split, for the training data, and where an answer is missing. A
    warning says how many images stand in the training data too.
    """
    file = split_file(path, split)
    if file.stem == "test":
        raise InputError(
            f"--eval-data {file}: what chooses the checkpoint cannot test it. Name a validation "
            "split, cut from the training data."
        )
    questions = read_questions(file)
    questions.require_complete()
    if questions.sha256 == training.sha256:
        raise InputError(f"--eval-data {file} is the training data. Name questions held back.")
    shared = _images(questions) & _images(training)
    if shared:
        logger.warning(
            "%d images of --eval-data stand in the training data too: accuracy on them is no "
            "validation. medr1 data audit names them.",
            len(shared),
        )
    return questions


def _images(questions: Questions) -> set[str]:
    names = {name for sample in questions.samples for name in sample.images}
    return {os.path.realpath(os.path.join(questions.image_root, name)) for name in names}
