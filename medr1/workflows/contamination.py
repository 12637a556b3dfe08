"""Test whether a model prefers the published order of a data set's options."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from medr1.data.scans.options import OWN_VIEW, ScanOptions
from medr1.errors import InputError
from medr1.workflows.arguments import (
    keep_apart,
    optional_path,
    require_at_least,
    require_writable,
)

if TYPE_CHECKING:
    from medr1.data.readers import Questions
    from medr1.documents.contamination import Contamination
    from medr1.documents.metric import Metric
    from medr1.models.loading import LoadedModel
    from medr1.records import Sample

logger = logging.getLogger("medr1")


def run_contamination(
    *,
    model_path: str | Path,
    data: str | Path,
    output_file: str | Path | None = None,
    orders: int = 8,
    limit: int | None = None,
    batch_size: int = 8,
    image_root: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    allow_template: bool = False,
    offline: bool = False,
    scans: ScanOptions = OWN_VIEW,
    overwrite: bool = False,
) -> Contamination:
    """Compare the probability of questions with their options in the published and in other orders.

    Args:
        model_path: Folder of a checkpoint or LoRA adapter, its short name, or its hub id; a
            Qwen-VL.
        data: File with the questions, or folder with test.json.
        output_file: File to write, contamination.json; None: no file.
        orders: Number of orders of each question, with the published one.
        limit: Number of questions to use, from the start of the file; None: all.
        batch_size: Number of questions per batch.
        image_root: Folder with the images; None: the folder of the questions.
        seed: Seed of the other orders and of the test.
        device: auto, cuda, mps or cpu.
        dtype: auto, bfloat16, float16 or float32.
        allow_template: Whether a chat template that medr1 does not know is accepted.
        offline: Whether the network may not be used.
        scans: How DICOM, NIfTI and slides are shown.
        overwrite: Whether an existing output is replaced, and kept as NAME.bak.

    Raises:
        InputError: The model or the questions cannot be used, or the output exists.
        OutputError: The output cannot be written.
    """
    from medr1.data.readers import read_questions, split_file
    from medr1.infer.local.order_scores import order_log_probabilities

    require_at_least(1, limit=limit, batch_size=batch_size)
    require_at_least(2, orders=orders)
    output = optional_path(output_file)
    _check_output(output, data, overwrite)
    file = split_file(Path(data), "test")
    questions = read_questions(file, optional_path(image_root), limit=limit, scans=scans)
    others, n_without, n_natural = _other_orders(questions, orders - 1, seed)
    loaded = _load(model_path, device, dtype, allow_template, offline)
    scores, failures = order_log_probabilities(
        loaded, questions.samples, others, questions.image_root, batch_size
    )
    if failures:
        first = failures[min(failures)].message
        logger.warning("%d questions could not be scored. The first: %s", len(failures), first)
    document = _document(loaded, questions, scores, n_without, n_natural, orders, seed)
    if output:
        _write(document, output)
    return document


def _check_output(output: Path | None, data: str | Path, overwrite: bool) -> None:
    """Refuse a file that cannot be written, before the work."""
    from medr1.files import needs_overwrite

    if output is None:
        return
    require_writable(output)
    keep_apart(output, [data], overwrite)
    if output.exists() and not overwrite:
        raise needs_overwrite(output, "exists")


def _write(document: Contamination, output: Path) -> None:
    from medr1.files import set_aside, to_json, write_atomic

    if output.exists():
        set_aside(output)
    write_atomic(output, to_json(document))


def _document(
    loaded: LoadedModel,
    questions: Questions,
    scores: Mapping[int, Sequence[float]],
    n_without: int,
    n_natural: int,
    orders: int,
    seed: int,
) -> Contamination:
    """The content of contamination.json; `scores` are log-probabilities by position."""
    from medr1.documents.contamination import Contamination
    from medr1.infer.local.engine import local_identity
    from medr1.stats.exchangeability import exchangeability_p_value

    identity = local_identity(loaded)
    preference, gain = _means(questions.samples, scores, seed)
    return Contamination(
        model=identity.model,
        model_sha256=identity.model_sha256,
        data=questions.name,
        data_sha256=questions.sha256,
        n=len(scores),
        n_without_options=n_without,
        n_natural_order=n_natural,
        n_failed=len(questions.samples) - len(scores) - n_without - n_natural,
        orders=orders,
        seed=seed,
        preference=preference,
        gain=gain,
        p_value=exchangeability_p_value(list(scores.values()), seed) if scores else None,
    )


def _other_orders(
    questions: Questions, count: int, seed: int
) -> tuple[dict[int, list[Sample]], int, int]:
    """(position -> the question in other orders, questions without options, in natural order).

    InputError if no question is left.
    """
    from medr1.data.option_orders import has_natural_order, other_orders

    samples = {i: s for i, s in enumerate(questions.samples) if i not in questions.failures}
    n_without = sum(1 for sample in samples.values() if not sample.options)
    with_options = {i: sample for i, sample in samples.items() if sample.options}
    random = {
        i: sample
        for i, sample in with_options.items()
        if not has_natural_order(list(sample.options.values()))
    }
    orders = {i: other_orders(sample, count, seed) for i, sample in random.items()}
    orders = {i: others for i, others in orders.items() if others}
    n_natural = len(with_options) - len(orders)
    if not orders:
        raise InputError(
            f"{questions.name} has no questions whose options are in a random order "
            f"({n_without:,} without options, {n_natural:,} with options that are sorted or refer "
            "to each other)."
        )
    return orders, n_without, n_natural


def _load(
    model_path: str | Path, device: str, dtype: str, allow_template: bool, offline: bool
) -> LoadedModel:
    """The model; InputError if it is of a family whose prompts cannot be run in batches."""
    from medr1.models.families.batched import BatchedFamily
    from medr1.models.families.choice import BATCHED_TYPES
    from medr1.models.loading import find_checkpoint, load_model

    loaded = load_model(
        find_checkpoint(str(model_path), offline=offline),
        device=device,
        dtype=dtype,
        allow_template=allow_template,
        offline=offline,
    )
    if not isinstance(loaded.family, BatchedFamily):
        raise InputError(
            f"{loaded.model.config.model_type} is not supported here. The models are: "
            f"{', '.join(BATCHED_TYPES)}."
        )
    return loaded


def _means(
    samples: Sequence[Sample], scores: Mapping[int, Sequence[float]], seed: int
) -> tuple[Metric, Metric]:
    """The mean preference and the mean gain in nats, with intervals over images."""
    import numpy as np

    from medr1.evaluate.estimates import mean_metric
    from medr1.evaluate.judging import Settings, judge_all
    from medr1.records import Prediction
    from medr1.stats.exchangeability import preference

    items = [replace(samples[i], ground_truth=samples[i].ground_truth or "A") for i in scores]
    judged = judge_all([Prediction(sample) for sample in items], Settings(seed=seed))
    preferences = np.array([preference(values) for values in scores.values()])
    gains = np.array([values[0] - np.mean(values[1:]) for values in scores.values()])
    return mean_metric(preferences, judged), mean_metric(gains, judged, share=False)
