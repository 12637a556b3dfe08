"""`medr1 matrix`: accuracy by training domain and test domain."""

from __future__ import annotations

from typing import get_args

import click

from medr1.cli.common import (
    Medr1Command,
    argument,
    call,
    cluster_by_option,
    columns_of,
    common_only_option,
    common_options,
    json_option,
    option,
    overwrite_option,
    results_map_option,
    seed_option,
)
from medr1.cli.protocol_options import protocol_option
from medr1.terminal import echo
from medr1.workflows.matrix import run_matrix
from medr1.workflows.prepare import FolderField


@click.command(
    cls=Medr1Command,
    workflow=run_matrix,
    first_options="--from-names --by --base-name --train-data --map --image-model --output-dir "
    "--json",
    short_help="Compare training domains with test domains, as tables and heat maps.",
)
@argument("sources", nargs=-1, required=True, metavar="matrix.yaml|DIR|RESULTS...")
@option(
    "--from-names",
    group="Input",
    metavar="PATTERN",
    help="Pattern of the file names in DIR, such as '{train}_{test}.json'.",
)
@option(
    "--by",
    group="Input",
    type=click.Choice(get_args(FolderField)),
    help="Field of the items that is the test domain, for RESULTS. Each file has one value of it.",
)
@option(
    "--base-name",
    group="Input",
    metavar="NAME",
    help="Name of the base model, for DIR or RESULTS: as in the file names, or in the metadata.",
)
@option(
    "--train-data",
    group="Input",
    multiple=True,
    metavar="DOMAIN=PATH",
    help="File with the training questions of a domain, or folder with train.json, to mark cells "
    "whose test images are in the training data. Example: CT=data/ct. Repeatable.",
)
@option(
    "--image-model",
    group="Metrics",
    metavar="CHECKPOINT",
    help="Checkpoint whose vision tower compares the images of the domains, such as the base "
    "model. [default: images are not compared]",
)
@option(
    "--image-root",
    group="Input",
    metavar="DIR",
    help="Folder of the images, for --image-model. [default: the folder of the first results file]",
)
@results_map_option
@protocol_option
@cluster_by_option
@common_only_option
@option(
    "--output-dir",
    group="Output",
    metavar="DIR",
    help="Folder to write: matrix.json, .html, .csv, .md, .tex, .png and .svg. [default: no files]",
)
@seed_option
@overwrite_option
@json_option
@common_options
def matrix(mapping: tuple[str, ...], as_json: bool, **options: object) -> None:
    """Compare training domains with test domains: accuracy, and the gain over the base model.

    A YAML file names the results of each training domain and test domain. Paths are relative to the
    YAML file. A list of files is one run with several random seeds. base and train_data are
    optional.

    \b
      base: {CT: base_ct.json, MRI: base_mri.json}
      cells:
        CT: {CT: ct_ct.json, MRI: ct_mri.json}
        MRI: {CT: mri_ct.json, MRI: [mri_mri_1.json, mri_mri_2.json]}
      train_data: {CT: ct_train.json, MRI: mri_train.json}

    Without a YAML file, the domains are read from the names of the files in DIR, or from the
    metadata of RESULTS: the model's name is the training domain, --by is the test domain.

    \b
    Examples:
      medr1 matrix matrix.yaml --output-dir output/matrix
      medr1 matrix results --from-names '{train}/{test}.json' \\
          --base-name Qwen2.5-VL-3B
      medr1 matrix results/*.json --by question-type

    Stars mark gains with p < 0.05 (*), 0.01 (**) and 0.001 (***), with Holm's correction over all
    cells. A test image counts as training data if its path is the same in both.
    """
    from medr1.files import to_json
    from medr1.report.terminal.matrix import matrix_table

    document = call(run_matrix, options, columns=columns_of(mapping))
    echo(to_json(document) if as_json else matrix_table(document), nl=not as_json)
