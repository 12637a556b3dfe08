"""`medr1 data split`: results or questions as a file for each value of a key."""

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
    map_option,
    option,
    overwrite_option,
)
from medr1.terminal import echo
from medr1.workflows.split_by_key import split_by_key


@click.command(
    cls=Medr1Command,
    workflow=split_by_key,
    short_help="Split results or questions by a key, such as the modality.",
)
@argument("sources", nargs=-1, required=True, metavar="FILE...")
@option(
    "--by",
    group="Selection",
    metavar="KEY",
    required=True,
    help="Key whose values get a file each: modality, question_type, dataset, option_count, "
    "answer_type, or a metadata key.",
)
@option(
    "--output-dir",
    group="Output",
    metavar="DIR",
    required=True,
    help="Folder to write: a file for each value.",
)
@data_option
@map_option("FILE", "modality=scan_type")
@overwrite_option
@json_option
@common_options
def split(mapping: tuple[str, ...], as_json: bool, **options: object) -> None:
    """Split results or questions into a file for each value of a key.

    A part has the layout of FILE and its items unchanged, and is named after the value, such as
    DIR/CT.json. Values that may identify a patient become running numbers, and many numbers become
    ranges, as in `medr1 eval`. Items without the key are in DIR/none.json.

    Several files have a folder each: DIR/base/CT.json and DIR/ct/CT.json. If they are results of
    several models, the command of `medr1 matrix` for them is printed; the base model is the one
    that is called base, else the first one. Files with questions whose names end in train or
    test have it in the names of their parts instead: DIR/CT_train.json.

    \b
    Examples:
      medr1 data split results.json --by modality --output-dir parts
      medr1 data split base.json ct.json mri.json --by modality --output-dir parts
      medr1 data split train.json test.json --by question_type --output-dir parts
    """
    from medr1.files import to_json

    result = call(split_by_key, options, columns=columns_of(mapping))
    if as_json:
        files = [
            {"path": str(f.path), "source": str(f.source), "value": f.value, "items": f.n}
            for f in result.files
        ]
        document = {"output_dir": str(result.output_dir), "files": files, "matrix": result.matrix}
        echo(to_json(document), nl=False)
        return
    for file in result.files:
        echo(file.path)
    if result.matrix:
        echo(result.matrix)
