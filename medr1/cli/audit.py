"""`medr1 data audit`: what a score on a file of questions is worth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from medr1.cli.common import (
    CommaList,
    Medr1Command,
    common_options,
    image_root_option,
    json_option,
    keep_apart,
    option,
    overwrite_option,
    require_writable,
    seed_option,
)
from medr1.errors import InputError, Medr1Error
from medr1.terminal import echo

if TYPE_CHECKING:
    from medr1.data.audit.document import Audit

GATES = ("leakage", "defects", "shortcut")


def _gates(
    ctx: click.Context, param: click.Parameter, value: tuple[str, ...] | None
) -> tuple[str, ...]:
    for name in value or ():
        if name not in GATES:
            raise click.BadParameter(f"{name!r} is not one of {', '.join(GATES)}.", ctx, param)
    return value or ()


@click.command(
    cls=Medr1Command, short_help="Check a data set: defects, leakage, questions that need no image."
)
@click.argument("file", metavar="FILE")
@option(
    "--against",
    multiple=True,
    metavar="TRAIN",
    help="Training questions. Repeatable; the blind predictors are fitted on the first.",
)
@image_root_option
@option(
    "--image-hashes",
    metavar="FILE",
    help="Cache the images' hashes in this file, to speed up the next audit.",
)
@option(
    "--output-dir",
    metavar="DIR",
    help="Also write audit.html, audit.json, items.csv and the image-needed subset.",
)
@option(
    "--write-image-needed",
    metavar="FILE",
    help="Write the items that no blind predictor gets right, spelled as in the audited file.",
)
@option(
    "--fail-on",
    type=CommaList(str),
    callback=_gates,
    metavar="GATE,...",
    help="Exit with 1 for leakage (any item), defects (any in FILE) or shortcut (the best blind "
    "predictor's interval lies above chance).",
)
@seed_option
@overwrite_option
@json_option
@common_options
def audit(
    file: str,
    against: tuple[str, ...],
    image_root: str | None,
    image_hashes: str | None,
    output_dir: str | None,
    write_image_needed: str | None,
    fail_on: tuple[str, ...],
    seed: int,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Say what a score on FILE is worth: defects, leaks, shortcuts.

    Pictures are compared where they lie beside the files or below --image-root; questions and
    answers alone are enough for the rest. A folder stands for its test file, and with --against
    for its training file.

    \b
      medr1 data audit data/tiny_vqa_ds --against data/tiny_vqa_ds
      medr1 data audit test.json --against train.json --output-dir output/audit
      medr1 data audit test.json --against train.json --fail-on leakage,defects
    """
    from medr1.data.audit.document import audit as audit_files
    from medr1.data.audit.document import failed_gates
    from medr1.data.readers import split_file
    from medr1.files import to_json
    from medr1.report.audit import audit_table

    path = split_file(Path(file), "test")
    trains = [split_file(Path(name), "train") for name in against]
    if not trains and (asked := [name for name in fail_on if name != "defects"]):
        raise InputError(f"--fail-on {asked[0]} needs the training questions: give --against.")
    if write_image_needed:
        _check_subset(path, Path(write_image_needed), bool(trains), overwrite)
    if output_dir:
        require_writable(Path(output_dir) / "audit.json")
    keep_apart(output_dir, [file, *against, image_root, image_hashes], overwrite)
    found = audit_files(
        path,
        trains,
        image_root=Path(image_root) if image_root else None,
        image_hashes=Path(image_hashes) if image_hashes else None,
        seed=seed,
    )
    _write(found, path, output_dir, write_image_needed, overwrite)
    table = audit_table(found.document, width=_width())
    echo(to_json(found.document) if as_json else table, nl=not as_json)
    failed = [said for gate, said in failed_gates(found.document).items() if gate in fail_on]
    if failed:
        raise Medr1Error(f"{path} has {' and '.join(failed)}.")


def _check_subset(path: Path, target: Path, fitted: bool, overwrite: bool) -> None:
    """Refuse a subset that could not be made, before the work is done."""
    if not fitted:
        raise InputError("--write-image-needed needs the training questions: give --against.")
    if path.is_dir():
        raise InputError(f"{path} is a saved data set; save it as a file to take a part of it.")
    if target.suffix.lower() != path.suffix.lower():
        raise InputError(
            f"{target}: the subset is spelled as {path}. End its name in {path.suffix}."
        )
    if target.exists() and not overwrite:
        raise InputError(f"{target} exists. Choose another name, or --overwrite.")
    require_writable(target)


def _write(
    found: Audit, path: Path, output_dir: str | None, target: str | None, overwrite: bool
) -> None:
    """What the options ask for, on disk."""
    from medr1.data.audit.subset import subset_of
    from medr1.files import prepare_folder, to_json, write_atomic
    from medr1.report.audit import items_csv
    from medr1.report.audit_page import audit_html

    needed: Sequence[int] | None = found.image_needed
    if output_dir:  # first, because the subset may be written into it
        prepare_folder(Path(output_dir), overwrite=overwrite)
    if target and needed is not None:
        write_atomic(Path(target), subset_of(path, needed))
    if not output_dir:
        return
    folder = Path(output_dir)
    write_atomic(folder / "audit.json", to_json(found.document))
    write_atomic(folder / "items.csv", items_csv(found.items))
    write_atomic(folder / "audit.html", audit_html(found.document, found.items))
    if needed is not None and not path.is_dir():
        write_atomic(folder / f"image_needed{path.suffix.lower()}", subset_of(path, needed))


def _width() -> int:
    """Of the terminal, where there is one; never so wide that a line is hard to follow."""
    import shutil

    return min(100, shutil.get_terminal_size((80, 24)).columns)
