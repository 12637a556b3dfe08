"""`medr1 infer`: one question about an image, or a batch file of questions."""

from __future__ import annotations

import logging
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from medr1.cli.common import (
    Medr1Command,
    allow_template_option,
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
    require_writable,
    seed_option,
)
from medr1.terminal import echo

logger = logging.getLogger("medr1")

MODES = ("generate", "options", "both")
"""How an item is answered: by a completion, by the options' probabilities, or by both."""
ABLATIONS = ("none", "blank", "noise", "shuffle")
"""What replaces the image, to measure how much it matters."""


@click.command(
    cls=Medr1Command, short_help="Answer a question about an image, or all questions in a file."
)
@model_path_option(required=True)
@option("--image-path", metavar="FILE", help="File with the image. Needs --question.")
@option(
    "--question",
    help='Question about the image. It may contain the options: "... A)CT, B)MRI". Needs '
    "--image-path.",
)
@option(
    "--option",
    "options",
    multiple=True,
    metavar="TEXT",
    help="Answer option of --question, such as CT. Repeatable: give it once per option.",
)
@option(
    "--question-type",
    type=click.Choice(["open", "multiple_choice", "yes_no"]),
    help="Type of the answer (not the clinical category of the question). [default: detected from "
    "the question]",
)
@option(
    "--batch-file",
    metavar="FILE",
    help="File with questions: JSON, JSONL, CSV or Parquet. Needs --output-file.",
)
@option(
    "--output-file",
    metavar="FILE",
    help="File to write: the results as JSON, such as results.json. Needs --batch-file.",
)
@option(
    "--batch-size", type=click.IntRange(min=1), default=1, help="Number of questions per batch."
)
@option(
    "--mode",
    type=click.Choice(MODES),
    default="both",
    help="What is computed. generate: a completion. options: the probability of each option. both: "
    "the two, if the question has options.",
)
@option(
    "--permute",
    type=click.IntRange(min=1),
    default=1,
    help="Number of rotations of the options over which probabilities are averaged. Use as many "
    "as there are options to cancel position bias.",
)
@option(
    "--num-samples",
    type=click.IntRange(min=0),
    default=0,
    help="Number of additional completions sampled for each question.",
)
@option(
    "--dropout-samples",
    type=click.IntRange(min=0),
    default=0,
    help="Number of additional passes with dropout on (Monte Carlo dropout). Each gives option "
    "probabilities; their spread measures uncertainty. Needs a model with dropout.",
)
@option(
    "--limit",
    type=click.IntRange(min=1),
    help="Number of questions to answer, from the start of the file. [default: all]",
)
@max_new_tokens_option
@option("--do-sample", is_flag=True, help="Sample the completion; without it, decode greedily.")
@option(
    "--temperature",
    type=click.FloatRange(min=0, min_open=True),
    default=0.7,
    help="Sampling temperature, for --do-sample and --num-samples.",
)
@option(
    "--prompt",
    metavar="NAME|FILE",
    help="Prompt template: think, nothink, think-after, bare, one of Med-R1's (authors-think and "
    "others), or a text file that contains {problem}. [default: the checkpoint's, else nothink, "
    "or bare for questions without options]",
)
@option(
    "--ablate-image",
    type=click.Choice(ABLATIONS),
    default="none",
    help="Replacement of the image, to measure how much it matters. blank: a grey image. noise: "
    "random pixels. shuffle: the image of another question.",
)
@allow_template_option
@option("--show-reasoning", is_flag=True, help="Print the reasoning too, before the answer.")
@max_errors_option
@image_root_option
@device_options
@seed_option
@offline_option
@overwrite_option
@json_option
@common_options
def infer(**options: Any) -> None:
    """Answer one question about an image, or all questions in a batch file.

    An interrupted batch resumes when the same command is given again.

    \b
    Examples:
      medr1 infer --model-path checkpoints/tiny-vl --image-path scan.png \\
          --question "Which imaging technique produced this image? A)CT, B)MRI"
      medr1 infer --model-path checkpoints/tiny-vl --batch-file questions.json \\
          --output-file results.json --batch-size 32
    """
    single = options["image_path"] or options["question"]
    if bool(single) == bool(options["batch_file"]):
        raise click.UsageError("Give either --image-path with --question, or --batch-file.")
    if single:
        _infer_one(options)
    else:
        _infer_batch(options)


def _infer_one(options: dict[str, Any]) -> None:
    """Answer --question about --image-path, and print the answer or, with --json, the record."""
    from medr1.data.readers import sample_from_question
    from medr1.data.roots import ImageRoot
    from medr1.errors import ItemError
    from medr1.files import to_json
    from medr1.infer.engine import predict
    from medr1.records import prediction_to_dict
    from medr1.report.terminal.tables import answer_text

    if not (options["image_path"] and options["question"]):
        raise click.UsageError("--image-path and --question need each other. Give both.")
    if options["output_file"]:
        raise click.UsageError("--output-file needs --batch-file. To print the record, use --json.")
    if options["ablate_image"] == "shuffle":
        raise click.UsageError("--ablate-image shuffle needs the images of a --batch-file.")
    # Made absolute, because a relative path has to lie below the image root. That rule is for
    # paths in files; this one was typed by the user.
    image = str(Path(options["image_path"]).expanduser().absolute())
    sample = sample_from_question(
        options["question"], (image,), options["question_type"], options["options"]
    )
    decoding = _decoding(options)
    if decoding.dropout_samples and sample.answer_type in ("open", "count"):
        raise click.UsageError(
            "--dropout-samples needs a question with options, or a yes/no question."
        )
    loaded = _load(options)
    # On a terminal, an open answer or the reasoning is shown while it is generated.
    is_long = options["show_reasoning"] or sample.answer_type == "open"
    prints_completion = decoding.mode != "options" and not options["as_json"]
    is_streamed = is_long and prints_completion and sys.stdout.isatty()
    (prediction,) = predict(
        loaded,
        [sample],
        image_root=ImageRoot(Path(".")),
        prompt=options["prompt"],
        decoding=decoding,
        seed=options["seed"],
        streamer=_streamer(loaded) if is_streamed else None,
    )
    if prediction.error is not None:
        raise ItemError(prediction.error.code, prediction.error.message)
    entry = prediction_to_dict(prediction)
    if options["as_json"]:
        echo(to_json(entry), nl=False)
        return
    text = answer_text(entry, reasoning=options["show_reasoning"] and not is_streamed)
    if not is_streamed or text != entry["model_output"]:
        echo(text)


def _streamer(loaded: Any) -> Any:
    """An object that prints a completion while `generate` writes it."""
    from transformers import TextStreamer

    class EchoStreamer(TextStreamer):  # prints by `echo`, which escapes control characters
        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            echo(text, nl=stream_end)

    return EchoStreamer(loaded.processor.tokenizer, skip_prompt=True, skip_special_tokens=True)


def _infer_batch(options: dict[str, Any]) -> None:
    """Answer the questions of --batch-file into --output-file; ItemErrorsOverBudget if too many
    fail."""
    from medr1.data.readers import read_questions
    from medr1.errors import ItemErrorsOverBudget
    from medr1.files import to_json
    from medr1.infer.batch import manifest, require_free, run_batch

    if not options["output_file"]:
        raise click.UsageError("--batch-file needs --output-file.")
    if options["question_type"] or options["show_reasoning"]:
        raise click.UsageError("--question-type and --show-reasoning need --question.")
    if options["options"]:
        raise click.UsageError("--option needs --question. In a batch file, each item has its own.")
    output = Path(options["output_file"])
    require_writable(output)
    keep_apart(output, [options["batch_file"]], options["overwrite"])
    require_free(output)
    root = options["image_root"]
    questions = read_questions(
        options["batch_file"], image_root=Path(root) if root else None, limit=options["limit"]
    )
    decoding = _decoding(options)
    loaded = _load(options)
    meta = manifest(
        loaded,
        questions,
        data=Path(options["batch_file"]).name,
        prompt=options["prompt"],
        decoding=decoding,
        seed=options["seed"],
    )
    outcome = run_batch(
        loaded,
        questions,
        output,
        meta,
        decoding=decoding,
        prompt=options["prompt"],
        batch_size=options["batch_size"],
        overwrite=options["overwrite"],
    )
    if outcome is None:  # under torchrun, only the first process reports
        return
    if options["as_json"]:
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
    if outcome.n_error > options["max_errors"]:
        raise ItemErrorsOverBudget(
            f"{outcome.n_error} of {outcome.n} items failed; see their `error` in {output}. "
            f"The first: {outcome.first_error}"
        )


def _decoding(options: dict[str, Any]) -> Any:
    """The `Decoding` that the options ask for; UsageError for options that exclude each other."""
    from medr1.prompts import template
    from medr1.records import Decoding

    if options["mode"] == "options" and (options["num_samples"] or options["do_sample"]):
        raise click.UsageError(
            "--mode options generates no completion, so --num-samples and --do-sample cannot be "
            "used with it."
        )
    needs_probabilities = {
        "--dropout-samples": options["dropout_samples"],
        "--permute": options["permute"] > 1,
    }
    for name in (name for name, is_set in needs_probabilities.items() if is_set):
        if options["mode"] == "generate":
            raise click.UsageError(
                f"{name} needs the options' probabilities. Use --mode both or --mode options."
            )
    if options["prompt"]:
        template(options["prompt"])  # an unknown prompt is refused before the model is loaded
    return Decoding(**{f.name: options[f.name] for f in fields(Decoding)})


def _load(options: dict[str, Any]) -> Any:
    """The model of --model-path; with --dropout-samples it must have dropout.

    Then an adapter is not merged into its base, because merging removes the adapter's dropout.
    """
    from medr1.infer.dropout import require_dropout

    if not options["dropout_samples"]:
        return load(options)
    loaded = load(options, merge=False)
    require_dropout(loaded)
    return loaded
