"""Measure how perturbed images and reworded questions change the answers of a model."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from medr1.data.scans.options import OWN_VIEW, ScanOptions
from medr1.errors import InputError
from medr1.workflows.arguments import (
    keep_apart,
    optional_path,
    require_at_least,
    require_choice,
    require_writable,
)
from medr1.workflows.engines import chosen_bits, open_engine
from medr1.workflows.infer import Mode

if TYPE_CHECKING:
    from medr1.chat.settings import Server
    from medr1.data.variants import PerturbationPlan
    from medr1.documents.robustness import Robustness, RobustnessPlan
    from medr1.evaluate.judging import Settings
    from medr1.infer.engine import Engine
    from medr1.records import Decoding

logger = logging.getLogger("medr1")


@dataclass(frozen=True)
class RobustnessResult:
    """What `run_robustness` planned and, without `dry_run`, measured."""

    plan: RobustnessPlan
    document: Robustness | None
    """The content of robustness.json; None with `dry_run`."""
    n_error: int
    """Number of questions that failed."""
    results_file: Path
    """results.json, with every answer."""


def run_robustness(
    *,
    model_path: str | Path,
    batch_file: str | Path,
    output_dir: str | Path,
    perturbations: Sequence[str] | None = None,
    severities: Sequence[int] = (1, 3, 5),
    limit: int | None = None,
    batch_size: int = 8,
    mode: Mode = "both",
    max_new_tokens: int = 512,
    prompt: str | None = None,
    protocol: str = "default",
    cluster_by: str = "image",
    image_root: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    load_in_4bit: bool = False,
    load_in_8bit: bool = False,
    allow_template: bool = False,
    offline: bool = False,
    server: Server | None = None,
    scans: ScanOptions = OWN_VIEW,
    overwrite: bool = False,
    dry_run: bool = False,
) -> RobustnessResult | None:
    """Ask the questions, then ask them under each perturbation, and compare the accuracies.

    Writes results.json, robustness.json and robustness.html. An interrupted run resumes.

    Args:
        model_path: Folder of a checkpoint or LoRA adapter, its short name, or its hub id; with
            `server`, the name of the model there.
        batch_file: File with questions and ground truth.
        output_dir: Folder to write.
        perturbations: Names of perturbations, or words of their names; None: one for each effect
            of acquisition or export.
        severities: Severities of image perturbations, from 1 (mild) to 5 (strong).
        limit: Number of questions to use, from the start of the file; None: all.
        batch_size: Number of questions per batch.
        mode: What is computed: a completion, the probability of each option, or both.
        max_new_tokens: Maximum length of a completion, in tokens.
        prompt: Prompt template: a name or a text file; None: the checkpoint's.
        protocol: Rules that decide whether an answer is right.
        cluster_by: Unit that confidence intervals resample: image, or a metadata key.
        image_root: Folder with the images; None: the folder of the batch file.
        seed: Random seed.
        device: auto, cuda, mps or cpu.
        dtype: auto, bfloat16, float16 or float32.
        load_in_4bit: Whether the language model is loaded with 4 bits for each weight; not with
            server.
        load_in_8bit: Whether it is loaded with 8 bits for each weight; not with server.
        allow_template: Whether a chat template that medr1 does not know is accepted.
        offline: Whether the network may not be used.
        server: The OpenAI-compatible server that answers; None: the model runs in this process.
            It replaces batch_size, device, dtype, allow_template and offline.
        scans: How DICOM, NIfTI and slides are shown.
        overwrite: Whether an existing output is replaced, and kept as NAME.bak.
        dry_run: Whether only the plan is made.

    Returns:
        The plan, the document and the number of failed questions; None under torchrun in all
        processes but the first.

    Raises:
        InputError: An argument, the questions or the checkpoint cannot be used, or the output
            belongs to another run.
        LockedError: Another process is writing this output.
        StateError: A file with the state of the interrupted run is damaged.
        OutputError: The output cannot be written.
        Medr1Error: The server fails, or the budget of requests or tokens is used up.
        ModuleNotFoundError: load_in_4bit or load_in_8bit needs bitsandbytes.
    """
    from medr1.data.readers import read_questions
    from medr1.data.variants import DEFAULT_KINDS, chosen_kinds, plan_perturbations
    from medr1.infer.batch import require_free
    from medr1.prompts import template
    from medr1.records import Decoding

    bits = chosen_bits(load_in_4bit, load_in_8bit, server)
    require_choice("mode", mode, get_args(Mode))
    require_at_least(1, batch_size=batch_size, limit=limit, max_new_tokens=max_new_tokens)
    output = Path(output_dir) / "results.json"
    require_writable(output)
    keep_apart(output, [batch_file], overwrite)
    kinds = chosen_kinds(perturbations or DEFAULT_KINDS)
    if prompt:
        template(prompt)  # an unknown prompt is refused before the model is loaded
    questions = read_questions(batch_file, optional_path(image_root), limit=limit, scans=scans)
    planned = plan_perturbations(
        questions, kinds, _severities(severities), seed=seed, options_only=mode == "options"
    )
    if dry_run:
        return RobustnessResult(_plan_document(planned), None, 0, output)
    settings = _settings(planned, protocol, cluster_by, seed)
    require_free(output)
    decoding = Decoding(mode=mode, max_new_tokens=max_new_tokens)
    engine = open_engine(model_path, decoding, server, device, dtype, allow_template, offline, bits)
    data = Path(batch_file).name
    run = _Answering(planned, output, data, prompt, decoding, seed, batch_size, overwrite)
    n_error = run.answer(engine)
    if n_error is None:  # under torchrun, in all processes but the first
        return None
    return RobustnessResult(
        _plan_document(planned), _judge(planned, output, settings), n_error, output
    )


def _severities(numbers: Sequence[int]) -> tuple[int, ...]:
    """The numbers, sorted, each once; InputError for one that there is not."""
    from medr1.data.perturbations import SEVERITIES

    if wrong := [number for number in numbers if number not in SEVERITIES]:
        raise InputError(f"--severities: {wrong[0]} is not one of 1, 2, 3, 4, 5.")
    if not numbers:
        raise InputError("--severities: give at least one of 1, 2, 3, 4, 5.")
    return tuple(sorted(set(numbers)))


def _settings(planned: PerturbationPlan, protocol: str, cluster_by: str, seed: int) -> Settings:
    """How the answers are judged; InputError if `cluster_by` names a key that the items lack.

    That is checked here, because after hours of inference it would be too late.
    """
    from medr1.evaluate.groups import require_clusters
    from medr1.evaluate.judging import Settings, judge_all
    from medr1.records import Prediction

    settings = Settings(protocol, cluster_by, seed=seed)
    require_clusters(judge_all([Prediction(sample) for sample in planned.clean], settings))
    return settings


def _plan_document(planned: PerturbationPlan) -> RobustnessPlan:
    """How many questions each perturbation has, and how many are left out and why."""
    from medr1.documents.robustness import RobustnessPlan

    return RobustnessPlan(
        n=planned.num_clean,
        n_questions=len(planned.questions.samples),
        perturbations=planned.severities,
        excluded=planned.excluded,
    )


@dataclass(frozen=True)
class _Answering:
    """The planned questions, and how they are answered."""

    planned: PerturbationPlan
    output: Path
    data: str
    """Name of the file of questions."""
    prompt: str | None
    decoding: Decoding
    seed: int
    batch_size: int
    overwrite: bool

    def answer(self, engine: Engine) -> int | None:
        """Write the answers to results.json; the number of questions that failed.

        None under torchrun in all processes but the first.
        """
        from medr1.infer.batch import manifest, run_batch

        planned = self.planned
        meta = manifest(
            engine.identity(),
            planned.questions,
            data=self.data,
            prompt=self.prompt,
            decoding=self.decoding,
            seed=self.seed,
            perturbations=planned.severities,
        )
        if not self.output.exists() or self.overwrite:
            self._log_estimated_time(engine, is_server=bool(meta.server))
        outcome = run_batch(
            engine,
            planned.questions,
            self.output,
            meta,
            decoding=self.decoding,
            prompt=self.prompt,
            # A server gets each question when there is room for it.
            batch_size=1 if meta.server else self.batch_size,
            perturbations=planned.perturbations,
            overwrite=self.overwrite,
        )
        return None if outcome is None else outcome.n_error

    def _log_estimated_time(self, engine: Engine, *, is_server: bool) -> None:
        """Log the number of questions and, from the time of one batch, about how long all take.

        With fewer than ten batches, no time is estimated: the extra batch would not be worth it.
        With a server neither: its first answers are slow, and may cost money.
        """
        from medr1.infer.engine import InferencePlan, all_predictions

        questions, num_clean = self.planned.questions, self.planned.num_clean
        n = len(questions.samples)
        logger.info("%d questions: %d original, %d perturbed", n, num_clean, n - num_clean)
        if n < 10 * self.batch_size or is_server:
            return
        start = time.monotonic()
        first_batch = self.planned.clean[: self.batch_size]
        plan = InferencePlan(
            [range(len(first_batch))],
            questions.image_root,
            prompt=self.prompt,
            decoding=self.decoding,
            seed=self.seed,
        )
        all_predictions(engine, first_batch, plan)
        minutes = (time.monotonic() - start) * n / len(first_batch) / 60
        text = f"{minutes:.0f} minutes" if minutes >= 2 else f"{60 * minutes:.0f} s"
        logger.info("about %s", text)


def _judge(planned: PerturbationPlan, output: Path, settings: Settings) -> Robustness:
    """Write robustness.json and robustness.html from results.json; the document of the first."""
    from medr1.data.burned_in import burned_in_reason, warning
    from medr1.evaluate.reading.results import read_results
    from medr1.evaluate.trust.robustness import robustness as robustness_of
    from medr1.files import to_json, write_atomic
    from medr1.report.pages.robustness import robustness_html
    from medr1.report.pages.thumbnails import perturbed_thumbnails

    results = read_results(output)
    document = robustness_of(
        results.predictions,
        settings=settings,
        excluded=planned.excluded,
        meta=results.meta,
    )
    write_atomic(output.with_name("robustness.json"), to_json(document))
    thumbnails = perturbed_thumbnails(
        planned.clean, planned.questions.image_root.path, planned.severities, seed=settings.seed
    )
    page = output.with_name("robustness.html")
    reasons = (burned_in_reason(p.sample, p.image_notes) for p in results.predictions)
    text = (
        warning(reasons, "questions, of which one is shown with its image,") if thumbnails else None
    )
    if text:
        logger.warning("%s: %s", page.name, text)
    write_atomic(page, robustness_html(document, thumbnails=thumbnails, burned_in=text))
    logger.info("%s", page)
    return document
