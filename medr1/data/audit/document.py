"""One audit from beginning to end: files in, audit.json and the flagged items out."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medr1.data.audit.defects import DEFECTS, Finding, find_defects, letter_balance, option_counts
from medr1.data.audit.leakage import Leakage, Split, find_leaks, leakage_document
from medr1.data.audit.pictures import Picture, look_at, pictures_below
from medr1.data.audit.places import item_lines
from medr1.data.audit.shortcuts import BlindPanel, above, shortcuts
from medr1.data.audit.wordings import wordings
from medr1.data.burned_in import suspected, warning
from medr1.data.readers import Questions, read_questions
from medr1.data.roots import ImageRoot, folder_to_name, resolve_image
from medr1.errors import InputError, ItemError
from medr1.records import AUDIT_SCHEMA

_ABSENT = ("image_missing",)


@dataclass(frozen=True)
class Audit:
    """What an audit found."""

    document: dict[str, Any]
    """audit.json."""
    items: list[dict[str, Any]]
    """A row for each flagged item and kind of finding, with where it stands."""
    image_needed: list[int] | None
    """Indices of the items of the image-needed subset; None where no training file is known."""


@dataclass(frozen=True)
class _File:
    path: Path
    questions: Questions
    pictures: Mapping[str, Picture]

    def split(self) -> Split:
        return Split(str(self.path), self.questions.samples, self.pictures)

    def defects(self) -> list[Finding]:
        return sorted(
            [*find_defects(self.questions), *_image_defects(self)], key=lambda found: found.index
        )


def audit(
    path: Path,
    against: Sequence[Path] = (),
    *,
    image_root: Path | None = None,
    image_hashes: Path | None = None,
    seed: int = 0,
) -> Audit:
    """Audit a file of questions against training files; the blind are fitted on the first."""
    if len({str(p) for p in against}) < len(against):
        raise InputError("--against names a file twice. Name each training file once.")
    test, *trains = _read([path, *against], image_root, image_hashes)
    samples = test.questions.samples
    notes = _notes(test, trains)
    found = [(file, find_leaks(test.split(), file.split())) for file in trains]
    notes += [note for file, leaks in found for note in _coincidences(file, leaks)]
    fitted, panel = shortcuts(trains[0].questions.samples if trains else None, samples, seed=seed)
    letters, balance = letter_balance(samples)
    defects = {file.path: file.defects() for file in (test, *trains)}
    document = {
        "schema": AUDIT_SCHEMA,
        **_about(test),
        "options": option_counts(samples),
        "letters": letters,
        "letter_balance": balance,
        "defects": _counts(defects[path], test),
        "leakage": leakage_document([leaks for _, leaks in found], len(samples)) if found else {},
        "blind": fitted["blind"],
        "image_needed": fitted["image_needed"],
        "groups": fitted["groups"],
        "against": [
            {
                **_about(file),
                "fitted": place == 0,
                "defects": _counts(defects[file.path], file),
                "leakage": leakage_document([leaks], len(samples)),
                "wordings": wordings(file.questions.samples, samples),
            }
            for place, (file, leaks) in enumerate(found)
        ],
        "seed": seed,
        "notes": notes,
    }
    every = [(file, finding) for file in (test, *trains) for finding in defects[file.path]]
    every += [(test, finding) for _, leaks in found for finding in leaks.findings]
    needed = _needed(panel)
    return Audit(document, _rows(every, {str(f.path): f for f in (test, *trains)}), needed)


def gates(document: Mapping[str, Any]) -> dict[str, str]:
    """What --fail-on may ask -> why it fails; a gate that holds is not there.

    `defects`: the audited file has any. `leakage`: any item stands in a training file in any way.
    `shortcut`: a blind predictor's whole interval lies above chance.
    """
    said = {}
    if bad := {kind: n for kind, n in document["defects"].items() if n}:
        said["defects"] = "defects (" + ", ".join(f"{n} {kind}" for kind, n in bad.items()) + ")"
    leaks = {kind: entry["items"] for kind, entry in document["leakage"].items() if entry["items"]}
    if leaks:
        said["leakage"] = "leakage (" + ", ".join(f"{n} {k}" for k, n in leaks.items()) + ")"
    blind = document["blind"]
    if (best := blind.get("best")) and above(blind[best], blind["chance"]):
        value, chance = (f"{100 * x:.1f} %" for x in (blind[best]["value"], blind["chance"]))
        said["shortcut"] = f"a shortcut ({best} is right in {value}, chance {chance})"
    return said


def _read(paths: Sequence[Path], root: Path | None, image_hashes: Path | None) -> list[_File]:
    """The files with what is known of their pictures; each root's pictures are looked at once."""
    questions = [read_questions(path, image_root=root) for path in paths]
    by_root: dict[ImageRoot, dict[str, None]] = {}
    for one in questions:
        names = by_root.setdefault(one.image_root, {})
        names.update(dict.fromkeys(name for sample in one.samples for name in sample.images))
    known = {
        place: look_at(names, place, cache=image_hashes) if pictures_below(names, place) else {}
        for place, names in by_root.items()
    }
    files = []
    for path, one in zip(paths, questions, strict=True):
        names = dict.fromkeys(name for sample in one.samples for name in sample.images)
        here = {name: known[one.image_root][name] for name in names if known[one.image_root]}
        if not any(picture.sha256 for picture in here.values()):
            here = {}
        files.append(_File(path, one, here))
    return files


def _image_defects(file: _File) -> list[Finding]:
    found = []
    for index, sample in enumerate(file.questions.samples) if file.pictures else ():
        bad = [error for name in sample.images if (error := file.pictures[name].error)]
        for kind, absent in (("missing_image", True), ("corrupt_image", False)):
            said = next((text for code, text in bad if (code in _ABSENT) == absent), None)
            if said is not None:
                found.append(Finding(kind, index, said))
    return found


def _counts(findings: Sequence[Finding], file: _File) -> dict[str, int | None]:
    """How many items have each defect; null for what could not be looked at."""
    counts = Counter(finding.kind for finding in findings)
    unseen = () if file.pictures else ("missing_image", "corrupt_image")
    return {kind: None if kind in unseen else counts[kind] for kind in DEFECTS}


def _about(file: _File) -> dict[str, Any]:
    samples = file.questions.samples
    images = {name for sample in samples for name in sample.images}
    about = {"file": str(file.path), "sha256": file.questions.sha256, "n": len(samples)}
    here = {"image_root": str(file.questions.image_root), "images_here": bool(file.pictures)}
    return {**about, "images": len(images), **here}


def _notes(test: _File, trains: Sequence[_File]) -> list[str]:
    """What limits the audit, one sentence each."""
    notes = []
    roots = dict.fromkeys(f.questions.image_root for f in (test, *trains) if not f.pictures)
    for root in roots:
        notes.append(f"no images found below {root}; image checks were not done.")
    for file in (test, *trains):
        if outside := _outside(file):
            folder = folder_to_name(outside[0], outside)
            notes.append(
                f"{len(outside)} images of {file.path} lie outside {file.questions.image_root} and "
                f"were not looked at; --image-root {shlex.quote(folder)} looks at them."
            )
    for file in trains:
        if file.questions.sha256 == test.questions.sha256:
            notes.append(f"{file.path} has the same content as the audited file.")
    for file in (test, *trains):
        samples = file.questions.samples
        if text := warning(map(suspected, samples), f"items of {file.path}"):
            notes.append(text)
    if len(trains) > 1:
        notes.append(f"the blind predictors are fitted on {trains[0].path} alone.")
    return notes


def _outside(file: _File) -> list[str]:
    """The absolute names that lead out of the folder of a file, which is not looked beyond."""
    root = file.questions.image_root
    names = dict.fromkeys(name for sample in file.questions.samples for name in sample.images)
    outside = []
    for name in names if not root.closed else ():
        try:
            if os.path.isabs(name):
                resolve_image(name, replace(root, closed=True))
        except ItemError as error:
            outside += [name] if error.code == "image_outside_root" else []
    return outside


def _coincidences(file: _File, leaks: Leakage) -> list[str]:
    if not leaks.other_bytes:
        return []
    return [
        f"{leaks.other_bytes} image paths stand in {file.path} as well and name other pictures "
        "there; they are not counted."
    ]


def _needed(panel: BlindPanel | None) -> list[int] | None:
    if panel is None:
        return None
    return [index for index, needed in enumerate(panel.image_needed) if needed]


def _rows(
    found: Sequence[tuple[_File, Finding]], files: Mapping[str, _File]
) -> list[dict[str, Any]]:
    """A row for each finding: where the item stands, what it is, and the item it meets."""
    lines: dict[Path, list[int] | None] = {}

    def line(file: _File, index: int) -> int | None:
        if file.path not in lines:
            lines[file.path] = item_lines(file.path)
        known = lines[file.path]
        return known[index] if known else None

    rows = []
    for file, finding in found:
        sample = file.questions.samples[finding.index]
        row = {
            "kind": finding.kind,
            "file": str(file.path),
            "line": line(file, finding.index),
            "item": finding.index + 1,
            "id": sample.id,
            "image": sample.images[0] if sample.images else "",
            "question": sample.question,
            "detail": finding.detail,
        }
        if finding.other is not None:
            other = files[finding.other_file] if finding.other_file else file
            row["other_file"] = str(other.path)
            row["other_line"] = line(other, finding.other)
            row["other_item"] = finding.other + 1
        rows.append(row)
    return rows
