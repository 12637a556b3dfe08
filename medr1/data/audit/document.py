"""The whole audit: reads the files, and makes audit.json and the list of flagged items."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from msgspec import structs

from medr1.data.audit.defects import (
    DEFECTS,
    AuditFinding,
    find_defects,
    letter_balance,
    option_counts,
)
from medr1.data.audit.images import HashedImage, any_image_below, hash_images
from medr1.data.audit.leakage import Leakage, QuestionFile, find_leaks, leakage_document
from medr1.data.audit.places import item_lines
from medr1.data.audit.shortcuts import BlindPanel, shortcuts
from medr1.data.audit.wordings import wordings
from medr1.data.burned_in import burned_in_reason, warning
from medr1.data.readers import Questions, read_questions
from medr1.data.roots import ImageRoot, resolve_image, suggested_image_root
from medr1.data.scans.options import ScanOptions
from medr1.documents.audit import Audit, AuditedFile, FlaggedItem, TrainingFile
from medr1.documents.metric import value_of
from medr1.errors import InputError, ItemError
from medr1.records import Sample


@dataclass(frozen=True)
class FileAudit:
    """The audit of one file of questions."""

    document: Audit
    """The content of audit.json."""
    items: list[FlaggedItem]
    """A row for each flagged item and kind of finding."""
    image_needed: list[int] | None
    """Positions of the items of the image-needed subset; None without a training file."""


@dataclass(frozen=True)
class _File:
    """A file of questions that was read, and the hashes of its images."""

    path: Path
    questions: Questions
    images: Mapping[str, HashedImage]
    """Image path -> hashes; empty where none of the file's images exist here."""

    def to_compare(self) -> QuestionFile:
        return QuestionFile(str(self.path), self.questions.samples, self.images)

    def defects(self) -> list[AuditFinding]:
        return sorted(
            [*find_defects(self.questions), *_image_defects(self)],
            key=lambda finding: finding.index,
        )


def audit(
    path: Path,
    against: Sequence[Path] = (),
    *,
    columns: Mapping[str, str] | None = None,
    image_root: Path | None = None,
    image_hashes: Path | None = None,
    scans: ScanOptions | None = None,
    seed: int = 0,
) -> FileAudit:
    """Audit a file of questions: defects, leakage and shortcuts.

    Args:
        path: The file to audit.
        against: Training files. The blind predictors are fitted on the first one.
        columns: Key of medr1 -> column of the files (--map).
        image_root: Folder in which the images of all files lie; None: each file's own folder.
        image_hashes: Cache of image hashes (`images`), read and extended; None: no cache.
        scans: How scans are shown; None: they are no images.
        seed: Seed of the intervals and of the shuffled labels.

    Raises:
        InputError: A file cannot be read, or a training file is given twice.
        OutputError: `image_hashes` cannot be written.
    """
    if len({str(p) for p in against}) < len(against):
        raise InputError("--against names a file twice. Name each training file once.")
    test, *trains = _read([path, *against], columns, image_root, image_hashes, scans)
    samples = test.questions.samples
    notes = _notes(test, trains)
    leaks_by_file = [(file, find_leaks(test.to_compare(), file.to_compare())) for file in trains]
    notes += [note for file, leaks in leaks_by_file for note in _coincidences(file, leaks)]
    parts, panel = shortcuts(trains[0].questions.samples if trains else None, samples, seed=seed)
    letters, balance = letter_balance(samples)
    defects = {file.path: file.defects() for file in (test, *trains)}
    document = Audit(
        file=_audited_file(test, defects[path]),
        # All training files together: an item that is in two of them counts once.
        leakage=leakage_document([leaks for _, leaks in leaks_by_file], len(samples))
        if leaks_by_file
        else {},
        option_counts=option_counts(samples),
        letters=letters,
        letter_balance=balance,
        blind=parts.blind,
        image_needed=parts.image_needed,
        groups=parts.groups,
        against=[
            _training_file(file, defects[file.path], leaks, samples, fitted=number == 0)
            for number, (file, leaks) in enumerate(leaks_by_file)
        ],
        seed=seed,
        notes=notes,
    )
    # A leak is a finding about the test item; the training item is its other item.
    findings = [(file, finding) for file in (test, *trains) for finding in defects[file.path]]
    findings += [(test, finding) for _, leaks in leaks_by_file for finding in leaks.findings]
    image_needed = _image_needed(panel)
    rows = _rows(findings, {str(file.path): file for file in (test, *trains)})
    return FileAudit(document, rows, image_needed)


def failed_gates(document: Audit) -> dict[str, str]:
    """The gates of --fail-on that an audit fails, each with the reason; {} where it passes all.

    `defects`: the audited file has a defect. `leakage`: an item leaks, in any way. `shortcut`: the
    best blind predictor's whole interval lies above chance.
    """
    reasons = {}
    if defects := {kind: n for kind, n in document.file.defects.items() if n}:
        counts = ", ".join(f"{n} {kind}" for kind, n in defects.items())
        reasons["defects"] = f"defects ({counts})"
    if leaks := {kind: leak.items for kind, leak in document.leakage.items() if leak.items}:
        counts = ", ".join(f"{n} {kind}" for kind, n in leaks.items())
        reasons["leakage"] = f"leakage ({counts})"
    blind = document.blind
    if blind.best in blind.above_chance and blind.chance is not None:
        accuracy = value_of(blind.predictors[blind.best].accuracy)
        value, chance = (f"{100 * x:.1f} %" for x in (accuracy, blind.chance))
        reasons["shortcut"] = f"a shortcut ({blind.best} has accuracy {value}, chance is {chance})"
    return reasons


def _read(
    paths: Sequence[Path],
    columns: Mapping[str, str] | None,
    root: Path | None,
    image_hashes: Path | None,
    scans: ScanOptions | None,
) -> list[_File]:
    """The files with the hashes of their images.

    Files with the same image root share one pass, so that no image is hashed twice.
    """
    question_files = [
        read_questions(path, image_root=root, columns=columns, scans=scans) for path in paths
    ]
    by_root: dict[ImageRoot, dict[str, None]] = {}
    for questions in question_files:
        names = by_root.setdefault(questions.image_root, {})
        names.update(dict.fromkeys(_image_names(questions)))
    hashes_by_root = {
        folder: hash_images(names, folder, cache=image_hashes)
        if any_image_below(names, folder)
        else {}
        for folder, names in by_root.items()
    }
    files = []
    for path, questions in zip(paths, question_files, strict=True):
        hashes = hashes_by_root[questions.image_root]
        images = {name: hashes[name] for name in dict.fromkeys(_image_names(questions)) if hashes}
        # Not one image of this file can be read: its images are not here, which is no defect.
        if not any(image.sha256 for image in images.values()):
            images = {}
        files.append(_File(path, questions, images))
    return files


def _image_names(questions: Questions) -> Iterator[str]:
    """The image paths of a file, with repetitions."""
    return (name for sample in questions.samples for name in sample.images)


def _image_defects(file: _File) -> list[AuditFinding]:
    """Items with a missing image, or with one that cannot be decoded."""
    findings = []
    for index, sample in enumerate(file.questions.samples) if file.images else ():
        errors = [error for name in sample.images if (error := file.images[name].error)]
        for kind, is_missing in (("missing_image", True), ("corrupt_image", False)):
            matching = (text for code, text in errors if (code == "image_missing") == is_missing)
            message = next(matching, None)
            if message is not None:
                findings.append(AuditFinding(kind, index, message))
    return findings


def _counts(findings: Sequence[AuditFinding], file: _File) -> dict[str, int | None]:
    """Kind of defect -> number of items; None for the images' where these are not here."""
    counts = Counter(finding.kind for finding in findings)
    unchecked = () if file.images else ("missing_image", "corrupt_image")
    return {kind: None if kind in unchecked else counts[kind] for kind in DEFECTS}


def _audited_file(file: _File, findings: Sequence[AuditFinding]) -> AuditedFile:
    """What audit.json says of a file: name, hash, numbers of items, images and defects."""
    return AuditedFile(
        path=str(file.path),
        sha256=file.questions.sha256,
        n=len(file.questions.samples),
        n_images=len(set(_image_names(file.questions))),
        image_root=str(file.questions.image_root),
        images_available=bool(file.images),
        defects=_counts(findings, file),
    )


def _training_file(
    file: _File,
    findings: Sequence[AuditFinding],
    leaks: Leakage,
    test: Sequence[Sample],
    *,
    fitted: bool,
) -> TrainingFile:
    """What audit.json says of a training file.

    Args:
        file: The training file.
        findings: Its defects.
        leaks: What the audited file has in common with it.
        test: The items of the audited file.
        fitted: Whether the blind predictors were fitted on it.
    """
    return TrainingFile(
        **structs.asdict(_audited_file(file, findings)),
        fitted=fitted,
        leakage=leakage_document([leaks], len(test)),
        wordings=wordings(file.questions.samples, test),
    )


def _notes(test: _File, trains: Sequence[_File]) -> list[str]:
    """What limits the audit, in one sentence each."""
    notes = []
    roots = dict.fromkeys(f.questions.image_root for f in (test, *trains) if not f.images)
    for root in roots:
        notes.append(f"no images found below {root}; image checks were not done.")
    for file in (test, *trains):
        if outside := _outside(file):
            folder = suggested_image_root(outside[0], outside)
            notes.append(
                f"{len(outside)} images of {file.path} lie outside {file.questions.image_root} and "
                f"were not opened. To check them, give --image-root {shlex.quote(folder)}."
            )
    for file in trains:
        if file.questions.sha256 == test.questions.sha256:
            notes.append(f"{file.path} has the same content as the audited file.")
    for file in (test, *trains):
        samples = file.questions.samples
        if text := warning(map(burned_in_reason, samples), f"items of {file.path}"):
            notes.append(text)
    if len(trains) > 1:
        notes.append(f"the blind predictors are fitted on {trains[0].path} alone.")
    return notes


def _outside(file: _File) -> list[str]:
    """The absolute image paths outside the file's folder; the audit does not open them."""
    root = file.questions.image_root
    outside = []
    # A closed root (--image-root) makes such a path a defect of its item, not a note.
    for name in dict.fromkeys(_image_names(file.questions)) if not root.closed else ():
        try:
            if os.path.isabs(name):
                resolve_image(name, replace(root, closed=True))
        except ItemError as error:
            outside += [name] if error.code == "image_outside_root" else []
    return outside


def _coincidences(file: _File, leaks: Leakage) -> list[str]:
    """A note where both files have the same image paths for different images."""
    if not leaks.path_coincidences:
        return []
    return [
        f"{leaks.path_coincidences} image paths are also in {file.path}, but for different images; "
        "they are not counted as leaks."
    ]


def _image_needed(panel: BlindPanel | None) -> list[int] | None:
    if panel is None:
        return None
    return [index for index, needed in enumerate(panel.image_needed) if needed]


def _rows(
    findings: Sequence[tuple[_File, AuditFinding]], files: Mapping[str, _File]
) -> list[FlaggedItem]:
    """A row for each finding: where the item is, what is wrong, and where the other item is."""
    lines_of_file: dict[Path, list[int] | None] = {}

    def line(file: _File, index: int) -> int | None:
        if file.path not in lines_of_file:
            lines_of_file[file.path] = item_lines(file.path)
        lines = lines_of_file[file.path]
        return lines[index] if lines else None

    rows = []
    for file, finding in findings:
        sample = file.questions.samples[finding.index]
        row = FlaggedItem(
            kind=finding.kind,
            file=str(file.path),
            line=line(file, finding.index),
            item=finding.index + 1,
            id=sample.id,
            image=sample.images[0] if sample.images else "",
            question=sample.question,
            detail=finding.detail,
        )
        if finding.other_index is not None:
            other_file = files[finding.other_file] if finding.other_file else file
            row = structs.replace(
                row,
                other_file=str(other_file.path),
                other_line=line(other_file, finding.other_index),
                other_item=finding.other_index + 1,
            )
        rows.append(row)
    return rows
