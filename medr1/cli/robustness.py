"""`medr1 robustness`: the same questions with perturbed images or reworded, in one run."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medr1.cli.common import (
    CommaList,
    Medr1Command,
    allow_template_option,
    cluster_by_option,
    common_options,
    device_options,
    image_root_option,
    json_option,
    keep_apart,
    load,
    max_errors_option,
    max_new_tokens_option,
    model_path_option,
    offline_option,
    option,
    overwrite_option,
    protocol_option,
    require_writable,
    seed_option,
)
from medr1.errors import InputError, ItemErrorsOverBudget
from medr1.terminal import echo

if TYPE_CHECKING:
    from medr1.data.variants import PerturbationPlan
    from medr1.evaluate.judging import Settings

logger = logging.getLogger("medr1")


@click.command(
    cls=Medr1Command, short_help="Measure accuracy with perturbed images and reworded questions."
)
@model_path_option(required=True)
@option("--batch-file", metavar="FILE", required=True, help="File with questions and ground truth.")
@option(
    "--output-dir",
    metavar="DIR",
    required=True,
    help="Folder to write: results.json, robustness.json and robustness.html.",
)
@option(
    "--perturbations",
    type=CommaList(str),
    metavar="NAME,...|all",
    help="Perturbations, such as jpeg,rotation. A word of the name, such as noise, selects all "
    "that have it. [default: gaussian_blur, gaussian_noise, contrast, brightness, jpeg, "
    "downscale, rotation, occlusion, option_order]",
)
@option(
    "--severities",
    type=CommaList(int),
    metavar="N,...",
    default="1,3,5",
    help="Severities of image perturbations, from 1 (mild) to 5 (strong). Of question "
    "perturbations, the numbers of the variants, which are not a scale.",
)
@option(
    "--limit",
    type=click.IntRange(min=1),
    help="Number of questions to use, from the start of the file. [default: all]",
)
@option(
    "--batch-size", type=click.IntRange(min=1), default=8, help="Number of questions per batch."
)
@option(
    "--mode",
    type=click.Choice(["generate", "options", "both"]),
    default="both",
    help="What is computed. generate: a completion. options: the probability of each option; the "
    "fastest. both: the two, if the question has options.",
)
@max_new_tokens_option
@option(
    "--prompt",
    metavar="NAME|FILE",
    help="Prompt template, as for `medr1 infer`. [default: the checkpoint's]",
)
@option("--dry-run", is_flag=True, help="Print the plan, and stop.")
@allow_template_option
@protocol_option
@cluster_by_option
@max_errors_option
@image_root_option
@device_options
@seed_option
@offline_option
@overwrite_option
@json_option
@common_options
def robustness(**options: Any) -> None:
    """Measure accuracy with perturbed images and reworded questions.

    Asks the original questions, then the same questions under each perturbation, and reports how
    much accuracy is lost. results.json has every answer, for
    `medr1 eval --group-by perturbation`. An interrupted run resumes when the same command is given
    again.

    Perturbations of the image: gaussian_blur, gaussian_noise, shot_noise, speckle_noise, contrast,
    brightness, gamma_dark, gamma_bright, jpeg, downscale, rotation, crop, occlusion,
    flip_horizontal, flip_vertical. Perturbations of the question: option_order, letter_names,
    paraphrase, distractor. A grey image is always included, as a comparison: its right answers do
    not come from the image.

    \b
    Examples:
      medr1 robustness --model-path checkpoints/tiny-vl --batch-file questions.json \\
          --output-dir output/robustness --mode options --batch-size 32
      medr1 robustness ... --perturbations noise,jpeg,flip_horizontal --severities 1,2,3,4,5
      medr1 robustness ... --perturbations all --dry-run
    """
    from medr1.data.readers import read_questions
    from medr1.data.variants import DEFAULT_KINDS, chosen_kinds, plan_perturbations
    from medr1.prompts import template

    output = Path(options["output_dir"]) / "results.json"
    require_writable(output)
    keep_apart(output, [options["batch_file"]], options["overwrite"])
    kinds = chosen_kinds(options["perturbations"] or DEFAULT_KINDS)
    if options["prompt"]:
        template(options["prompt"])  # an unknown prompt is refused before the model is loaded
    questions = read_questions(
        options["batch_file"],
        image_root=Path(options["image_root"]) if options["image_root"] else None,
        limit=options["limit"],
    )
    planned = plan_perturbations(
        questions,
        kinds,
        _severities(options["severities"]),
        seed=options["seed"],
        options_only=options["mode"] == "options",
    )
    if options["dry_run"]:
        _print_plan(planned, options["as_json"])
        return
    settings = _settings(planned, options)
    n_error = _answer(planned, output, options)
    if n_error is not None:  # None under torchrun, in all processes but the first
        _judge(planned, output, settings, as_json=options["as_json"])
        if n_error > options["max_errors"]:
            raise ItemErrorsOverBudget(
                f"{n_error} of {len(planned.questions.samples)} questions failed; see their "
                f"`error` in {output}."
            )


def _severities(numbers: tuple[int, ...]) -> tuple[int, ...]:
    """The numbers of --severities, sorted, each once; InputError for one that there is not."""
    from medr1.data.perturbations import SEVERITIES

    if wrong := [number for number in numbers if number not in SEVERITIES]:
        raise InputError(f"--severities: {wrong[0]} is not one of 1, 2, 3, 4, 5.")
    if not numbers:
        raise InputError("--severities: give at least one of 1, 2, 3, 4, 5.")
    return tuple(sorted(set(numbers)))


def _settings(planned: PerturbationPlan, options: Mapping[str, Any]) -> Settings:
    """How the answers are judged; InputError if --cluster-by names a key that the items lack.

    That is checked here, because after hours of inference it would be too late.
    """
    from medr1.evaluate.groups import require_clusters
    from medr1.evaluate.judging import Settings, judge_all
    from medr1.records import Prediction

    settings = Settings(options["protocol"], options["cluster_by"], seed=options["seed"])
    require_clusters(judge_all([Prediction(sample) for sample in planned.clean], settings))
    return settings


def _print_plan(planned: PerturbationPlan, as_json: bool) -> None:
    """Print how many questions each perturbation has, and how many are left out and why."""
    from medr1.files import to_json
    from medr1.report.terminal.robustness import plan_text

    document = {
        "n": planned.num_clean,
        "n_questions": len(planned.questions.samples),
        "perturbations": {kind: list(numbers) for kind, numbers in planned.severities.items()},
        "left_out": planned.left_out,
    }
    echo(to_json(document) if as_json else plan_text(document), nl=not as_json)


def _answer(planned: PerturbationPlan, output: Path, options: Mapping[str, Any]) -> int | None:
    """Write the answers to results.json; the number of questions that failed.

    None under torchrun in all processes but the first.
    """
    from medr1.infer.batch import manifest, require_free, run_batch
    from medr1.records import Decoding

    require_free(output)
    decoding = Decoding(mode=options["mode"], max_new_tokens=options["max_new_tokens"])
    loaded = load(dict(options))
    meta = manifest(
        loaded,
        planned.questions,
        data=Path(options["batch_file"]).name,
        prompt=options["prompt"],
        decoding=decoding,
        seed=options["seed"],
        perturbations=planned.severities,
    )
    if not output.exists() or options["overwrite"]:
        _log_estimated_time(loaded, planned, decoding, options)
    outcome = run_batch(
        loaded,
        planned.questions,
        output,
        meta,
        decoding=decoding,
        prompt=options["prompt"],
        batch_size=options["batch_size"],
        perturbations=planned.perturbations,
        overwrite=options["overwrite"],
    )
    return None if outcome is None else outcome.n_error


def _log_estimated_time(
    loaded: Any, planned: PerturbationPlan, decoding: Any, options: Mapping[str, Any]
) -> None:
    """Log the number of questions and, from the time of one batch, about how long all take.

    With fewer than ten batches, no time is estimated: the extra batch would not be worth it.
    """
    from medr1.infer.engine import predict

    questions, size = planned.questions, options["batch_size"]
    n = len(questions.samples)
    logger.info(
        "%d questions: %d original, %d perturbed", n, planned.num_clean, n - planned.num_clean
    )
    if n < 10 * size:
        return
    start = time.monotonic()
    first_batch = planned.clean[:size]
    predict(
        loaded,
        first_batch,
        image_root=questions.image_root,
        prompt=options["prompt"],
        decoding=decoding,
        seed=options["seed"],
        batch_size=size,
    )
    minutes = (time.monotonic() - start) * n / len(first_batch) / 60
    logger.info("about %s", f"{minutes:.0f} minutes" if minutes >= 2 else f"{60 * minutes:.0f} s")


def _judge(planned: PerturbationPlan, output: Path, settings: Settings, *, as_json: bool) -> None:
    """Write robustness.json and robustness.html from results.json, and print the table."""
    from medr1.data.burned_in import burned_in_reason, warning
    from medr1.evaluate.reading.results import read_results
    from medr1.evaluate.trust.robustness import robustness as robustness_of
    from medr1.files import to_json, write_atomic
    from medr1.report.pages.robustness import robustness_html
    from medr1.report.pages.thumbnails import perturbed_thumbnails
    from medr1.report.terminal.robustness import robustness_table

    results = read_results(output)
    document = robustness_of(
        results.predictions,
        settings=settings,
        left_out=planned.left_out,
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
    echo(to_json(document) if as_json else robustness_table(document), nl=not as_json)
