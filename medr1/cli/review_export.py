"""`medr1 review export`: a review as tasks of Label Studio."""

from __future__ import annotations

import click

from medr1.cli.common import (
    Medr1Command,
    argument,
    call,
    columns_of,
    common_options,
    data_option,
    json_option,
    option,
    overwrite_option,
    results_map_option,
)
from medr1.terminal import counted, echo
from medr1.workflows.review_export import export_review


@click.command(
    cls=Medr1Command,
    workflow=export_review,
    short_help="Write a review as tasks of Label Studio.",
)
@argument("results", metavar="FILE")
@argument("stores", nargs=-1, required=True, metavar="STORE...")
@option(
    "--output-dir",
    group="Output",
    metavar="DIR",
    required=True,
    help="Folder to write: label_studio.json and label_studio.xml.",
)
@option(
    "--image-url",
    group="Output",
    metavar="URL",
    help="What the address of each image begins with; the rest is its path in the image folder. "
    "The default is that of Label Studio's local storage.",
)
@option(
    "--image-root",
    group="Input",
    metavar="DIR",
    help="Folder with the images. [default: the folder of --data, else of the results]",
)
@data_option
@results_map_option
@overwrite_option
@json_option
@common_options
def export(mapping: tuple[str, ...], as_json: bool, **options: object) -> None:
    """Write a review as tasks of Label Studio, with their labelling configuration.

    FILE is the results that were reviewed, STORE what `medr1 review start` and `adjudicate` wrote.

    label_studio.json has a task for each case. Judgements are annotations, with the reader's name
    as one of the answers; those of the adjudicator are marked as ground truth. The automatic
    verdict is a prediction. label_studio.xml is the project's labelling configuration. Both have
    questions and completions. The table for spreadsheets is judgements.csv of `medr1 review
    summary`. A review of two models (--compare) cannot be exported.

    \b
    Examples:
      medr1 review export results.json results.review.db --output-dir label-studio
    """
    from dataclasses import asdict

    from medr1.files import to_json

    written = call(export_review, options, columns=columns_of(mapping))
    if as_json:
        echo(to_json(asdict(written)), nl=False)
        return
    tasks, annotations = written.n_tasks, written.n_annotations
    echo(f"{counted(tasks, 'task')} with {counted(annotations, 'annotation')}.")
    echo("Create a project with label_studio.xml, then import label_studio.json.")
