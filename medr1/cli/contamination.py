"""`medr1 contamination`: whether a model prefers the published order of the options."""

from __future__ import annotations

import click

from medr1.cli.common import (
    Medr1Command,
    allow_template_option,
    argument,
    call,
    common_options,
    device_options,
    image_root_option,
    json_option,
    model_path_option,
    offline_option,
    option,
    overwrite_option,
    seed_option,
)
from medr1.cli.scan_options import scan_options, scans_from
from medr1.terminal import echo
from medr1.workflows.contamination import run_contamination


@click.command(
    cls=Medr1Command,
    workflow=run_contamination,
    first_options="--model-path --orders --limit --batch-size --image-root --output-file --device "
    "--json",
    short_help="Test whether a model prefers the published order of options.",
)
@argument("data", metavar="PATH")
@model_path_option(required=True)
@option(
    "--orders",
    group="Metrics",
    type=click.IntRange(min=2),
    help="Number of orders of the options of each question, with the published one.",
)
@option(
    "--limit",
    group="Input",
    type=click.IntRange(min=1),
    help="Number of questions to use, from the start of the file. [default: all]",
)
@option(
    "--batch-size",
    group="Metrics",
    type=click.IntRange(min=1),
    help="Number of questions per batch.",
)
@option(
    "--output-file",
    group="Output",
    metavar="FILE",
    help="File to write, such as contamination.json, for `medr1 eval --card --contamination`. "
    "[default: no file]",
)
@allow_template_option
@image_root_option
@scan_options
@device_options
@seed_option
@offline_option
@overwrite_option
@json_option
@common_options
def contamination(as_json: bool, **options: object) -> None:
    """Test whether a model prefers the published order of a test set's options.

    PATH is a file with questions, or a folder with test.json. Of each question, the probability of
    its text with the options in the published order is compared with that in other random orders.
    A model that has not seen the test set has no preference, so a preference is a sign that it was
    trained on these questions. No preference does not show that it was not.

    Questions whose options are sorted or refer to each other ("none of the above") are left out: a
    model prefers their order without having seen them. Only for a Qwen-VL.

    \b
    Examples:
      medr1 contamination data/tiny_vqa_ds --model-path tiny-vl
      medr1 contamination test.json --model-path VQA_CT \\
          --output-file contamination.json
    """
    from medr1.files import to_json
    from medr1.report.terminal.contamination import contamination_text

    scans = scans_from(options)
    document = call(run_contamination, options, scans=scans)
    echo(to_json(document) if as_json else contamination_text(document), nl=False)
