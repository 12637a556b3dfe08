"""`medr1 infer`: one question about an image, or a batch file of questions."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from medr1.chat.settings import Server
from medr1.cli.common import (
    Medr1Command,
    allow_template_option,
    bits_options,
    call,
    common_options,
    device_options,
    image_root_option,
    json_option,
    max_errors_option,
    max_new_tokens_option,
    model_path_option,
    offline_option,
    option,
    overwrite_option,
    seed_option,
)
from medr1.cli.scan_options import scan_options, scans_from
from medr1.cli.server_options import server_from, server_options
from medr1.records import Edit
from medr1.terminal import echo
from medr1.workflows.infer import (
    Ablation,
    Mode,
    QuestionType,
    answer_question,
    run_inference,
)

if TYPE_CHECKING:
    from medr1.data.scans.options import ScanOptions
    from medr1.records import Sample

logger = logging.getLogger("medr1")

_ONLY_FOR_BATCH = {
    *("batch_file", "output_file", "batch_size", "limit", "image_root", "overwrite"),
    *("reasoning_from", "edit"),
}
_ONLY_FOR_QUESTION = {"image_path", "question", "options", "question_type"}


@click.command(
    cls=Medr1Command,
    workflow=run_inference,
    first_options="--model-path --image-path --question --option --batch-file --output-file "
    "--prompt --max-new-tokens --batch-size --engine --base-url",
    short_help="Answer a question about an image, or all questions in a file.",
)
@model_path_option(required=True)
@option(
    "--image-path",
    group="Input",
    metavar="PATH",
    help="File with the image: PNG, JPEG, TIFF, BMP, WebP, DICOM, NIfTI or a slide; or folder with "
    "a DICOM series. Needs --question.",
)
@option(
    "--question",
    group="Input",
    help='Question about the image. It may contain the options: "... A)CT, B)MRI". Needs '
    "--image-path.",
)
@option(
    "--option",
    "options",
    group="Input",
    multiple=True,
    metavar="TEXT",
    help="Answer option of --question, such as CT. Repeatable: give it once per option.",
)
@option(
    "--question-type",
    group="Input",
    type=click.Choice(get_args(QuestionType)),
    help="Type of the answer (not the clinical category of the question). [default: detected from "
    "the question]",
)
@option(
    "--batch-file",
    group="Input",
    metavar="FILE",
    help="File with questions: JSON, JSONL, CSV, TSV, .xlsx or Parquet. Needs --output-file.",
)
@option(
    "--output-file",
    group="Output",
    metavar="FILE",
    help="File to write: the results as JSON, such as results.json. Needs --batch-file.",
)
@option(
    "--batch-size",
    group="Decoding",
    type=click.IntRange(min=1),
    help="Number of questions per batch.",
)
@option(
    "--mode",
    group="Decoding",
    type=click.Choice(get_args(Mode)),
    help="What is computed. generate: a completion. options: the probability of each option. both: "
    "the two, if the question has options.",
)
@option(
    "--permute",
    group="Decoding",
    type=click.IntRange(min=1),
    help="Number of rotations of the options over which probabilities are averaged. Use as many "
    "as there are options to cancel position bias.",
)
@option(
    "--num-samples",
    group="Decoding",
    type=click.IntRange(min=0),
    help="Number of additional completions sampled for each question.",
)
@option(
    "--dropout-samples",
    group="Decoding",
    type=click.IntRange(min=0),
    help="Number of additional passes with dropout on (Monte Carlo dropout). Each gives option "
    "probabilities; their spread measures uncertainty. Needs a model with dropout.",
)
@option(
    "--limit",
    group="Input",
    type=click.IntRange(min=1),
    help="Number of questions to answer, from the start of the file. [default: all]",
)
@max_new_tokens_option
@option(
    "--do-sample",
    group="Decoding",
    is_flag=True,
    help="Sample the completion; without it, decode greedily.",
)
@option(
    "--temperature",
    group="Decoding",
    type=click.FloatRange(min=0, min_open=True),
    help="Sampling temperature, for --do-sample and --num-samples.",
)
@option(
    "--prompt",
    group="Prompt",
    metavar="NAME|FILE",
    help="Prompt template: think, nothink, think-after, bare, one of Med-R1's (authors-think and "
    "others), one of another project (medevalkit, medevalkit-boxed, medvlthinker, omnimedvqa), "
    "or a text file that contains {problem}. [default: the checkpoint's, else nothink, or bare for "
    "questions without options]",
)
@option(
    "--ablate-image",
    group="Prompt",
    type=click.Choice(get_args(Ablation)),
    help="Replacement of the image, to measure how much it matters. blank: a grey image. noise: "
    "random pixels. shuffle: the image of another question.",
)
@option(
    "--token-logprobs",
    group="Decoding",
    is_flag=True,
    help="Write the log-probability of each token of the completion into the results, with the "
    "image and with a grey one in its place.",
)
@option(
    "--reasoning-from",
    group="Prompt",
    metavar="FILE",
    help="File with earlier results of the same questions. Their reasoning is edited and given to "
    "the model, which writes only the answer, to test whether the answer follows the reasoning. "
    "Needs --edit and --batch-file.",
)
@option(
    "--edit",
    group="Prompt",
    type=click.Choice(get_args(Edit)),
    help="Edit of the reasoning. cut: the first half of the sentences. shuffle: the sentences in "
    "another order. empty: no text. swap: the reasoning of a question with other options. none: "
    "unchanged, as a control. Needs --reasoning-from.",
)
@allow_template_option
@option(
    "--show-reasoning",
    group="Output",
    is_flag=True,
    help="Print the reasoning too, before the answer.",
)
@max_errors_option
@image_root_option
@scan_options
@server_options
@device_options
@bits_options
@seed_option
@offline_option
@overwrite_option
@json_option
@common_options
def infer(max_errors: int, show_reasoning: bool, as_json: bool, **options: object) -> None:
    """Answer one question about an image, or all questions in a batch file.

    An interrupted batch resumes when the same command is given again.

    \b
    Examples:
      medr1 infer --model-path tiny-vl --image-path scan.png \\
          --question "Which imaging technique produced this image? A)CT, B)MRI"
      medr1 infer --model-path tiny-vl --batch-file questions.json \\
          --output-file results.json --batch-size 32
      medr1 infer --engine openai --base-url http://127.0.0.1:8000/v1 \\
          --model-path NAME --batch-file questions.json --output-file results.json
    """
    server, scans = server_from(options), scans_from(options)
    single = options["image_path"] or options["question"]
    if bool(single) == bool(options["batch_file"]):
        raise click.UsageError("Give either --image-path with --question, or --batch-file.")
    if single:
        _infer_one(options, server, scans, show_reasoning, as_json)
        return
    if not options["output_file"]:
        raise click.UsageError("--batch-file needs --output-file.")
    if options["question_type"] or show_reasoning:
        raise click.UsageError("--question-type and --show-reasoning need --question.")
    if options["options"]:
        raise click.UsageError("--option needs --question. In a batch file, each item has its own.")
    _infer_batch(options, server, scans, max_errors, as_json)


def _infer_one(
    options: Mapping[str, object],
    server: Server | None,
    scans: ScanOptions,
    show_reasoning: bool,
    as_json: bool,
) -> None:
    """Answer --question about --image-path, and print the answer or, with --json, the record."""
    from medr1.files import to_json
    from medr1.infer.sentences import lacks_probabilities, note_sentences, probability_sentence
    from medr1.records import prediction_to_dict
    from medr1.report.terminal.answer import answer_text

    if not (options["image_path"] and options["question"]):
        raise click.UsageError("--image-path and --question need each other. Give both.")
    if options["reasoning_from"] or options["edit"]:
        raise click.UsageError("--reasoning-from and --edit need --batch-file.")
    if options["output_file"]:
        raise click.UsageError("--output-file needs --batch-file. To print the record, use --json.")

    def is_long(sample: Sample) -> bool:
        return show_reasoning or sample.answer_type == "open"

    def show(sample: Sample, text: str, is_end: bool) -> None:
        if is_long(sample):
            echo(text, nl=is_end)

    # On a terminal, an open answer or the reasoning is shown while it is generated.
    streams = not (server or as_json or options["mode"] == "options") and sys.stdout.isatty()
    arguments = {name: value for name, value in options.items() if name not in _ONLY_FOR_BATCH}
    shown_as = {"server": server, "scans": scans}
    prediction = call(answer_question, arguments, **shown_as, on_text=show if streams else None)
    record = prediction_to_dict(prediction)
    for sentence in note_sentences([record]):
        logger.warning("%s", sentence)
    if options["mode"] == "both" and not server and lacks_probabilities(record):
        logger.warning("%s", probability_sentence(1))
    if as_json:
        echo(to_json(record), nl=False)
        return
    is_shown = streams and is_long(prediction.sample)
    text = answer_text(prediction, reasoning=show_reasoning and not is_shown)
    if not is_shown or text != prediction.model_output:
        echo(text)


def _infer_batch(
    options: Mapping[str, object],
    server: Server | None,
    scans: ScanOptions,
    max_errors: int,
    as_json: bool,
) -> None:
    """Answer the questions of --batch-file into --output-file; ItemErrorsOverBudget if too many
    fail."""
    from medr1.errors import ItemErrorsOverBudget
    from medr1.files import to_json
    from medr1.infer.sentences import probability_sentence

    arguments = {name: value for name, value in options.items() if name not in _ONLY_FOR_QUESTION}
    outcome = call(run_inference, arguments, server=server, scans=scans)
    if outcome is None:  # under torchrun, only the first process reports
        return
    output = Path(str(options["output_file"]))
    if as_json:
        echo(to_json({"output_file": str(output), **vars(outcome)}), nl=False)
    else:
        echo(output)
    if outcome.n_circular:
        logger.info(
            "the same option in every rotation: %d of %d items (circular consistency %.1f %%)",
            outcome.n_consistent,
            outcome.n_circular,
            100 * outcome.n_consistent / outcome.n_circular,
        )
    for sentence in outcome.image_notes:
        logger.warning("%s", sentence)
    if outcome.n_without_probabilities:
        logger.warning("%s", probability_sentence(outcome.n_without_probabilities))
    for sentence in outcome.failures:
        logger.warning("%s", sentence)
    if outcome.n_error > max_errors:
        raise ItemErrorsOverBudget(
            f"{outcome.n_error} of {outcome.n} items failed; see their `error` in {output}."
        )
