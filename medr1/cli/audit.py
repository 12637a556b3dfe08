"""`medr1 data audit`: defects, leakage and shortcuts of a file of questions."""

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
    option,
    overwrite_option,
    seed_option,
)
from medr1.errors import InputError, Medr1Error
from medr1.terminal import echo
from medr1.workflows.arguments import keep_apart, require_writable

if TYPE_CHECKING:
    from medr1.data.audit.document import Audit

GATES = ("leakage", "defects", "shortcut")
"""The checks that --fail-on can ask for."""


def _gates(
    ctx: click.Context, param: click.Parameter, value: tuple[str, ...] | None
) -> tuple[str, ...]:
    """The checks of --fail-on; click.BadParameter for an unknown one."""
    for name in value or ():
        if name not in GATES:
            raise click.BadParameter(f"{name!r} is not one of {', '.join(GATES)}.", ctx, param)
    return value or ()


@click.command(cls=Medr1Command, short_help="Check questions for defects, leakage and shortcuts.")
@click.argument("file", metavar="PATH")
@option(
    "--against",
    multiple=True,
    metavar="PATH",
    help="File with training questions, or folder with train.json. Repeatable. The predictors that "
    "see no image are fitted on the first.",
)
@image_root_option
@option(
    "--image-hashes",
    metavar="FILE",
    help="File to keep the hashes of the images in; it makes the next audit faster.",
)
@option(
    "--output-dir",
    metavar="DIR",
    help="Folder to write: audit.html, audit.json, items.csv and, with --against, the questions "
    "that need their image (image_needed.*). [default: no files]",
)
@option(
    "--write-image-needed",
    metavar="FILE",
    help="File to write: the questions that need their image, because no predictor without it "
    "answers them right. Needs --against. Its extension must be that of PATH, such as .json.",
)
@option(
    "--fail-on",
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
    from medr1.data.audit.document import audit as audit_files
    from medr1.data.audit.document import failed_gates
    from medr1.data.readers import split_file
    from medr1.files import to_json
    from medr1.report.terminal.audit import audit_table

    path = split_file(Path(file), "test")
    trains = [split_file(Path(name), "train") for name in against]
    if not trains and (need_trains := [name for name in fail_on if name != "defects"]):
        raise InputError(
            f"--fail-on {need_trains[0]} needs the training questions: give --against."
        )
    if write_image_needed:
        _check_subset(path, Path(write_image_needed), bool(trains), overwrite)
    if output_dir:
        require_writable(Path(output_dir) / "audit.json")
    keep_apart(output_dir, [file, *against, image_root, image_hashes], overwrite)
    result = audit_files(
        path,
        trains,
        image_root=Path(image_root) if image_root else None,
        image_hashes=Path(image_hashes) if image_hashes else None,
        seed=seed,
    )
    _write(result, path, output_dir, write_image_needed, overwrite)
    table = audit_table(result.document, width=_table_width())
    echo(to_json(result.document) if as_json else table, nl=not as_json)
    failures = [reason for gate, reason in failed_gates(result.document).items() if gate in fail_on]
    if failures:
        raise Medr1Error(f"{path} has {' and '.join(failures)}.")


def _check_subset(path: Path, target: Path, has_training: bool, overwrite: bool) -> None:
    """Refuse --write-image-needed if the file could not be written, before the audit begins."""
    if not has_training:
        raise InputError("--write-image-needed needs the training questions: give --against.")
    if path.is_dir():
        raise InputError(
            f"{path} is a data set on disk; --write-image-needed needs a file. Convert it with "
            "medr1 data convert."
        )
    if target.suffix.lower() != path.suffix.lower():
        raise InputError(
            f"{target}: the subset has the same format as {path}. Use a name that ends in "
            f"{path.suffix}."
        )
    if target.exists() and not overwrite:
        raise InputError(f"{target} exists. Choose another name, or give --overwrite.")
    require_writable(target)


def _write(
    result: Audit, path: Path, output_dir: str | None, target: str | None, overwrite: bool
) -> None:
    """Write what --output-dir and --write-image-needed ask for."""
    from medr1.data.audit.subset import subset_of
    from medr1.files import prepare_folder, to_json, write_atomic
    from medr1.report.pages.audit import audit_html
    from medr1.report.terminal.audit import items_csv

    needed: Sequence[int] | None = result.image_needed
    if output_dir:  # first, because --write-image-needed may name a file in this folder
        prepare_folder(Path(output_dir), overwrite=overwrite)
    if target and needed is not None:
        write_atomic(Path(target), subset_of(path, needed))
    if not output_dir:
        return
    folder = Path(output_dir)
    write_atomic(folder / "audit.json", to_json(result.document))
    write_atomic(folder / "items.csv", items_csv(result.items))
    write_atomic(folder / "audit.html", audit_html(result.document, result.items))
    if needed is not None and not path.is_dir():
        write_atomic(folder / f"image_needed{path.suffix.lower()}", subset_of(path, needed))


def _table_width() -> int:
    """Width of the terminal in characters, at most 100; 80 if stdout is no terminal."""
    import shutil

    return min(100, shutil.get_terminal_size((80, 24)).columns)
