"""`medr1 data audit`: defects, leakage and shortcuts of a file of questions."""

from __future__ import annotations

from typing import get_args

import click

from medr1.cli.common import (
    CommaList,
    Medr1Command,
    argument,
    call,
    columns_of,
    common_options,
    image_root_option,
    json_option,
    map_option,
    option,
    overwrite_option,
    seed_option,
)
from medr1.cli.scan_options import scan_options, scans_from
from medr1.errors import Medr1Error
from medr1.terminal import echo
from medr1.workflows.audit import AuditCheck, run_audit


def _gates(
    ctx: click.Context, param: click.Parameter, value: tuple[str, ...] | None
) -> tuple[str, ...]:
    """The checks of --fail-on; click.BadParameter for an unknown one."""
    for name in value or ():
        if name not in get_args(AuditCheck):
            choices = ", ".join(get_args(AuditCheck))
            raise click.BadParameter(f"{name!r} is not one of {choices}.", ctx, param)
    return value or ()


@click.command(
    cls=Medr1Command,
    workflow=run_audit,
    first_options="--against --map --image-root --output-dir --write-image-needed --fail-on "
    "--window --overwrite --json",
    short_help="Check questions for defects, leakage and shortcuts.",
)
@argument("file", metavar="PATH")
@option(
    "--against",
    group="Input",
    multiple=True,
    metavar="PATH",
    help="File with training questions, or folder with train.json. Repeatable. The predictors that "
    "see no image are fitted on the first.",
)
@map_option("PATH and --against", "ground_truth=label")
@image_root_option
@scan_options
@option(
    "--image-hashes",
    group="Run",
    metavar="FILE",
    help="File to keep the hashes of the images in; it makes the next audit faster.",
)
@option(
    "--output-dir",
    group="Output",
    metavar="DIR",
    help="Folder to write: audit.html, audit.json, items.csv and, with --against, the questions "
    "that need their image (image_needed.*). [default: no files]",
)
@option(
    "--write-image-needed",
    group="Output",
    metavar="FILE",
    help="File to write: the questions that need their image, because no predictor without it "
    "answers them right. Needs --against. Its extension must be that of PATH, such as .json.",
)
@option(
    "--fail-on",
    group="Checks",
    type=CommaList(str),
    callback=_gates,
    metavar="CHECK,...",
    help="Checks that end with exit code 1 if they fail. leakage: an item, its image or its "
    "patient is in the training questions too. defects: an item of PATH has a defect. shortcut: "
    "the best predictor without images is above chance (with its whole 95 % interval).",
)
@seed_option
@overwrite_option
@json_option
@common_options
def audit(mapping: tuple[str, ...], as_json: bool, **options: object) -> None:
    """Check the questions in PATH: defects, leakage from training data, and shortcuts.

    Defects are faults of an item, such as a missing image or two equal options. Leakage means that
    items or images are in the training questions (--against) too. A shortcut is a way to answer
    right without the image.

    PATH is a file, or a folder with test.json. Images are compared if they are found; all other
    checks need no images.

    \b
    Examples:
      medr1 data audit data/tiny_vqa_ds --against data/tiny_vqa_ds
      medr1 data audit test.json --against train.json --output-dir output/audit
      medr1 data audit test.json --against train.json --fail-on leakage,defects
    """
    from medr1.files import to_json
    from medr1.report.terminal.audit import audit_table

    scans = scans_from(options)
    result = call(run_audit, options, columns=columns_of(mapping), scans=scans)
    document = result.document
    echo(to_json(document) if as_json else audit_table(document), nl=not as_json)
    if result.failures:
        raise Medr1Error(f"{result.path} has {' and '.join(result.failures)}.")
