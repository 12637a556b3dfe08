"""`medr1 infer`: one image at a desk, or a batch file to results.json."""

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
ABLATIONS = ("none", "blank", "noise", "shuffle")


@click.command(cls=Medr1Command)
@model_path_option(required=True)
@option("--image-path", metavar="FILE", help="Image to ask about, with --question.")
@option("--question", help="A question; its options may be inlined: `... A)CT, B)MRI`.")
@option("--option", "options", multiple=True, metavar="TEXT", help="An answer option. Repeatable.")
@option(
    "--question-type",
    type=click.Choice(["open", "multiple_choice", "yes_no"]),
    help="Kind of answer expected. [default: detected from the question]",
)
@option("--batch-file", metavar="FILE", help="Questions: JSON, JSONL, CSV or Parquet.")
@option("--output-file", metavar="FILE", help="Results file to write, with --batch-file.")
@option("--batch-size", type=click.IntRange(min=1), default=1, help="Questions per batch.")
@option(
    "--mode",
    type=click.Choice(MODES),
    default="both",
    help="Free decoding, the options' probabilities, or both where there are options.",
)
@option(
    "--permute",
    type=click.IntRange(min=1),
    default=1,
    metavar="N",
    help="Average the probabilities over N rotations of the options; as many as there are "
    "options take away any preference for a place.",
)
@option(
    "--num-samples",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Sample N more answers to each question.",
)
@option(
    "--dropout-samples",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="The options' probabilities in N more passes with the model's dropout on: an adapter's, "
    "or its attention's. How far they differ is what the model does not know.",
)
@option("--limit", type=click.IntRange(min=1), help="Only the first N questions.")
@max_new_tokens_option
@option("--do-sample", is_flag=True, help="Sample instead of greedy decoding.")
@option(
    "--temperature",
    type=click.FloatRange(min=0, min_open=True),
    default=0.7,
    help="Sampling temperature, for --do-sample and --num-samples.",
)
@option(
    "--prompt",
    metavar="NAME|FILE",
    help="think, nothink, think-after, bare, authors-* (Med-R1's own) or a text file that holds "
    "{problem}. [default: the checkpoint's own, else nothink with options and bare without]",
)
@option(
    "--ablate-image",
    type=click.Choice(ABLATIONS),
    default="none",
    help="Replace the image by a grey one, noise, or another question's image.",
)
@allow_template_option
@option("--show-reasoning", is_flag=True, help="Print the reasoning before the answer.")
@max_errors_option
@image_root_option
@device_options
@seed_option
@offline_option
@overwrite_option
@json_option
@common_options
def infer(**options: Any) -> None:
    """Answer one question about an image, or a file of them.

    \b
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
    from medr1.data.readers import sample_from_question
    from medr1.data.roots import ImageRoot
    from medr1.errors import ItemError
    from medr1.files import to_json
    from medr1.infer.engine import predict
    from medr1.records import prediction_to_dict
    from medr1.report.tables import answer_text

    if not (options["image_path"] and options["question"]):
        raise click.UsageError("--image-path and --question go together.")
    if options["output_file"]:
        raise click.UsageError("--output-file goes with --batch-file; --json prints the record.")
    if options["ablate_image"] == "shuffle":
        raise click.UsageError("--ablate-image shuffle needs the other images of a --batch-file.")
    # a path typed by the user is what it is; only a path inside a file is held to its root
    image = str(Path(options["image_path"]).expanduser().absolute())
    sample = sample_from_question(
        options["question"], (image,), options["question_type"], options["options"]
    )
    decoding = _decoding(options)
    if decoding.dropout_samples and sample.answer_type in ("open", "count"):
        raise click.UsageError("--dropout-samples needs a question with options, or yes or no.")
    loaded = _load(options)
    as_written = options["show_reasoning"] or sample.answer_type == "open"
    writes = decoding.mode != "options" and not options["as_json"]
    watched = as_written and writes and sys.stdout.isatty()
    (prediction,) = predict(
        loaded,
        [sample],
        image_root=ImageRoot(Path(".")),
        prompt=options["prompt"],
        decoding=decoding,
        seed=options["seed"],
        streamer=_streamer(loaded) if watched else None,
    )
    if prediction.error is not None:
        raise ItemError(prediction.error.code, prediction.error.message)
    entry = prediction_to_dict(prediction)
    if options["as_json"]:
        echo(to_json(entry), nl=False)
        return
    text = answer_text(entry, reasoning=options["show_reasoning"] and not watched)
    if not watched or text != entry["model_output"]:
        echo(text)


def _streamer(loaded: Any) -> Any:
    """Shows a completion on the terminal while it is written."""
    from transformers import TextStreamer

    class Visible(TextStreamer):
        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            echo(text, nl=stream_end)

    return Visible(loaded.processor.tokenizer, skip_prompt=True, skip_special_tokens=True)


def _infer_batch(options: dict[str, Any]) -> None:
    from medr1.data.readers import read_questions
    from medr1.errors import ItemErrorsOverBudget
    from medr1.files import to_json
    from medr1.infer.batch import manifest, require_free, run_batch

    if not options["output_file"]:
        raise click.UsageError("--batch-file needs --output-file.")
    if options["question_type"] or options["show_reasoning"]:
        raise click.UsageError("--question-type and --show-reasoning go with --question.")
    if options["options"]:
        raise click.UsageError("--option goes with --question; in a file each item has its own.")
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
    if outcome is None:  # another process of this run says it
        return
    if options["as_json"]:
        echo(to_json({"output_file": str(output), **vars(outcome)}), nl=False)
    else:
        echo(output)
    if outcome.n_circular:
        logger.info(
            "the same option under every rotation: %d of %d items (circular consistency %.1f %%)",
            outcome.n_consistent,
            outcome.n_circular,
            100 * outcome.n_consistent / outcome.n_circular,
        )
    if outcome.n_error > options["max_errors"]:
        raise ItemErrorsOverBudget(
            f"{outcome.n_error} of {outcome.n} items have no answer, see their `error` in "
            f"{output}. The first: {outcome.first_error}"
        )


def _decoding(options: dict[str, Any]) -> Any:
    from medr1.infer.engine import Decoding
    from medr1.prompts import template

    if options["mode"] == "options" and (options["num_samples"] or options["do_sample"]):
        raise click.UsageError("--mode options writes no text to sample; leave one of them out.")
    asked = {"--dropout-samples": options["dropout_samples"], "--permute": options["permute"] > 1}
    for name in (name for name, value in asked.items() if value):
        if options["mode"] == "generate":
            raise click.UsageError(
                f"{name} is about the options' probabilities, which --mode generate leaves out; "
                "use both or options."
            )
    if options["prompt"]:
        template(options["prompt"])  # refused before a model is loaded
    return Decoding(**{f.name: options[f.name] for f in fields(Decoding)})


def _load(options: dict[str, Any]) -> Any:
    """The model; where its dropout is sampled one that has some, an adapter's left beside it."""
    from medr1.infer.dropout import require_dropout

    if not options["dropout_samples"]:
        return load(options)
    loaded = load(options, merge=False)
    require_dropout(loaded)
    return loaded
