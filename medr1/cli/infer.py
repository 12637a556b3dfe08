"""`medr1 infer`: one image at a desk, or a batch file to results.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from medr1.cli.common import (
    Medr1Command,
    common_options,
    device_options,
    image_root_option,
    json_option,
    model_path_option,
    offline_option,
    option,
    overwrite_option,
    require_writable,
    seed_option,
)
from medr1.prompts import PROMPTS


@click.command(cls=Medr1Command)
@model_path_option(required=True)
@option("--image-path", metavar="FILE", help="One image; goes with --question.")
@option("--question", help="A question, with its options inlined: `... A)CT, B)MRI`.")
@option(
    "--question-type",
    type=click.Choice(["open", "multiple_choice", "yes_no"]),
    help="What kind of answer is asked for. [default: by the question]",
)
@option("--batch-file", metavar="FILE", help="Questions: JSON, JSONL, CSV or Parquet.")
@option("--output-file", metavar="FILE", help="Where results.json goes; needed with --batch-file.")
@option("--batch-size", type=click.IntRange(min=1), default=1, help="Questions at a time.")
@option("--limit", type=click.IntRange(min=1), help="Only the first N questions.")
@option("--max-new-tokens", type=click.IntRange(min=1), default=512, help="Longest completion.")
@option("--do-sample", is_flag=True, help="Sample instead of greedy decoding.")
@option(
    "--temperature",
    type=click.FloatRange(min=0, min_open=True),
    default=0.7,
    help="Of sampling; unused without --do-sample.",
)
@option(
    "--prompt",
    type=click.Choice(list(PROMPTS)),
    help="[default: the checkpoint's own, else nothink with options and bare without]",
)
@option("--allow-template", is_flag=True, help="Try a chat template that medr1 does not know.")
@option("--show-reasoning", is_flag=True, help="Print the reasoning before the answer.")
@option("--max-errors", type=click.IntRange(min=0), default=0, help="More end with exit code 3.")
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
    from medr1.errors import ItemError
    from medr1.files import to_json
    from medr1.infer.engine import predict
    from medr1.records import prediction_to_dict

    if not (options["image_path"] and options["question"]):
        raise click.UsageError("--image-path and --question go together.")
    # a path typed by the user is what it is; only a path inside a file is held to its root
    image = str(Path(options["image_path"]).expanduser().absolute())
    sample = sample_from_question(options["question"], (image,), options["question_type"])
    (prediction,) = predict(
        _load(options),
        [sample],
        image_root=Path("."),
        prompt=options["prompt"],
        decoding=_decoding(options),
        seed=options["seed"],
    )
    if prediction.error is not None:
        raise ItemError(prediction.error.code, prediction.error.message)
    if options["as_json"]:
        click.echo(to_json(prediction_to_dict(prediction)), nl=False)
        return
    if options["show_reasoning"] and prediction.reasoning:
        click.echo(prediction.reasoning + "\n")
    answer = prediction.extracted_answer or prediction.model_output or ""
    text = sample.options.get(answer)
    click.echo(f"{answer}) {text}" if text else answer)


def _infer_batch(options: dict[str, Any]) -> None:
    from medr1.data.readers import read_questions
    from medr1.errors import ItemErrorsOverBudget
    from medr1.files import to_json
    from medr1.infer.batch import manifest, run_batch

    if not options["output_file"]:
        raise click.UsageError("--batch-file needs --output-file.")
    output = Path(options["output_file"])
    require_writable(output)
    root = options["image_root"]
    questions = read_questions(
        options["batch_file"], image_root=Path(root) if root else None, limit=options["limit"]
    )
    loaded = _load(options)
    decoding = _decoding(options)
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
    said = {"output_file": str(output), "n": outcome.n, "n_error": outcome.n_error}
    click.echo(to_json(said) if options["as_json"] else f"{output}", nl=not options["as_json"])
    if outcome.n_error > options["max_errors"]:
        raise ItemErrorsOverBudget(
            f"{outcome.n_error} of {outcome.n} items have no answer, see their `error` in "
            f"{output}. The first: {outcome.first_error}"
        )


def _load(options: dict[str, Any]) -> Any:
    from medr1.models import find_checkpoint, load_model

    path = find_checkpoint(options["model_path"], offline=options["offline"])
    return load_model(
        path,
        device=options["device"],
        dtype=options["dtype"],
        allow_template=options["allow_template"],
        offline=options["offline"],
    )


def _decoding(options: dict[str, Any]) -> Any:
    from medr1.infer.engine import Decoding

    return Decoding(options["max_new_tokens"], options["do_sample"], options["temperature"])
