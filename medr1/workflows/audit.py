"""Check a file of questions: defects, leakage from training data, and shortcuts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from medr1.data.scans.options import OWN_VIEW, ScanOptions
from medr1.errors import InputError
from medr1.workflows.arguments import (
    keep_apart,
    optional_path,
    require_choice,
    require_writable,
)

if TYPE_CHECKING:
    from medr1.data.audit.document import FileAudit
    from medr1.documents.audit import Audit, FlaggedItem

AuditCheck = Literal["leakage", "defects", "shortcut"]
"""The checks that can be required to pass."""


@dataclass(frozen=True)
class AuditResult:
    """An audit of a file of questions, and the required checks that it did not pass."""

    path: Path
    """The file of questions; of a folder, the file in it."""
    document: Audit
    """The content of audit.json."""
    items: Sequence[FlaggedItem]
    """A row for each flagged item and kind of finding, with file, line and item number."""
    image_needed: Sequence[int] | None
    """Positions of the questions that need their image; None without training questions."""
    failures: Sequence[str]
    """The reason for each check of `fail_on` that was not passed."""


def run_audit(
    file: str | Path,
    *,
    against: Sequence[str | Path] = (),
    columns: Mapping[str, str] | None = None,
    image_root: str | Path | None = None,
    image_hashes: str | Path | None = None,
    output_dir: str | Path | None = None,
    write_image_needed: str | Path | None = None,
    fail_on: Sequence[AuditCheck] = (),
    scans: ScanOptions = OWN_VIEW,
    seed: int = 0,
    overwrite: bool = False,
) -> AuditResult:
    """Check the questions of a file: defects, leakage from training data, and shortcuts.

    Args:
        file: File with the questions, or folder with test.json.
        against: Files with training questions, or folders with train.json. The predictors that see
            no image are fitted on the first.
        columns: Key of medr1 -> column of these files: {"ground_truth": "label"}.
        image_root: Folder with the images; None: the folder of the file.
        image_hashes: File to keep the hashes of the images in; it makes the next audit faster.
        output_dir: Folder to write: audit.html, audit.json, items.csv and, with `against`, the
            questions that need their image; None: no files.
        write_image_needed: File to write: the questions that need their image. Needs `against`.
        fail_on: Checks that are required to pass: leakage, defects or shortcut.
        scans: How DICOM, NIfTI and slides are shown.
        seed: Random seed.
        overwrite: Whether an existing output is replaced, and kept as NAME.bak.

    Raises:
        InputError: A file cannot be read, or an argument is wrong.
        OutputError: The output cannot be written.
    """
    from medr1.data.audit.document import audit, failed_gates
    from medr1.data.readers import split_file

    for name in fail_on:
        require_choice("fail_on", name, get_args(AuditCheck))
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
    result = audit(
        path,
        trains,
        columns=columns,
        image_root=optional_path(image_root),
        image_hashes=optional_path(image_hashes),
        scans=scans,
        seed=seed,
    )
    _write(result, path, optional_path(output_dir), optional_path(write_image_needed), overwrite)
    reasons = failed_gates(result.document)
    failures = [reason for check, reason in reasons.items() if check in fail_on]
    return AuditResult(path, result.document, result.items, result.image_needed, failures)


def _check_subset(path: Path, target: Path, has_training: bool, overwrite: bool) -> None:
    """Refuse --write-image-needed if the file could not be written, before the audit begins."""
    from medr1.data.spreadsheets import is_spreadsheet

    if not has_training:
        raise InputError("--write-image-needed needs the training questions: give --against.")
    if path.is_dir() or is_spreadsheet(path):
        kind = "a data set on disk" if path.is_dir() else "a spreadsheet"
        raise InputError(
            f"{path} is {kind}; --write-image-needed needs another file. Convert it with "
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
    result: FileAudit, path: Path, folder: Path | None, target: Path | None, overwrite: bool
) -> None:
    """Write the files of the output folder, and the questions that need their image."""
    from medr1.data.audit.subset import subset_of
    from medr1.data.spreadsheets import is_spreadsheet
    from medr1.files import prepare_folder, to_json, write_atomic
    from medr1.report.pages.audit import audit_html
    from medr1.report.terminal.audit import items_csv

    needed: Sequence[int] | None = result.image_needed
    if folder:  # first, because the target may be a file in this folder
        prepare_folder(folder, overwrite=overwrite)
    if target and needed is not None:
        write_atomic(target, subset_of(path, needed))
    if not folder:
        return
    write_atomic(folder / "audit.json", to_json(result.document))
    write_atomic(folder / "items.csv", items_csv(result.items))
    write_atomic(folder / "audit.html", audit_html(result.document, result.items))
    if needed is not None and not path.is_dir() and not is_spreadsheet(path):
        write_atomic(folder / f"image_needed{path.suffix.lower()}", subset_of(path, needed))
