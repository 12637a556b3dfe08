"""`medr1 schema`: the JSON Schema of a document that medr1 writes."""

from __future__ import annotations

import click

from medr1.cli.common import Medr1Command, argument, common_options
from medr1.documents.schemas import json_schema
from medr1.terminal import echo


@click.command(
    cls=Medr1Command, workflow=json_schema, short_help="Print the JSON Schema of a document."
)
@argument("name", metavar="NAME")
@common_options
def schema(name: str) -> None:
    """Print the JSON Schema (2020-12) of a document that medr1 writes.

    NAME is results, summary, comparison, matrix, audit, robustness, training or demo: the name of
    the file without .json. manifest is the manifest.json of `medr1 data prepare`.

    \b
    Examples:
      medr1 schema summary
      medr1 schema robustness > robustness.schema.json
    """
    from medr1.files import to_json

    echo(to_json(json_schema(name)), nl=False)
