"""What of a test file stands in a training file: pictures, patients, questions, answers.

A path is compared without surrounding blanks and with `./`, `//` and `..` resolved (same_image);
what agrees only when case, blanks, the direction of slashes and Unicode's forms are ignored is
counted apart (same_image_by_case), because two files may differ in just that. Where both pictures
lie here and their bytes differ, an equal path is a coincidence and no leak.

A question that stands in the training file about another picture is no leak: data sets are made
from templates. How many items reuse a wording is said apart (`wordings`).
"""

from __future__ import annotations

import posixpath
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from medr1.data.audit.blind import normal_option, normal_question
from medr1.data.audit.defects import Finding, gold_text
from medr1.data.audit.near import near_pictures
from medr1.data.audit.patients import patients, series
from medr1.data.audit.pictures import Picture
from medr1.records import Sample

LEAKS = {
    "same_image": "the image's path stands in the training file",
    "same_image_by_case": "so it does when case, blanks and slashes are ignored, and only then",
    "same_bytes": "a training image has the same bytes, under whatever name",
    "near_image": "a training image looks the same: re-encoded, resized, brightened",
    "same_patient": "a training image is of the same patient",
    "same_series": "a training image is from the same series, study or volume",
    "same_image_and_question": "the same question about the same image",
    "near_question": "nearly the same question about the same image, or the same about a near one",
    "same_image_and_answer": "the same image with the same right answer",
}
"""Kind of leak -> what it means; each counts items."""
SIMILAR = 85
"""The rapidfuzz.fuzz.token_sort_ratio from which questions about one image are nearly the same."""
_COUNTED_TOO = {
    **dict.fromkeys(("same_image", "same_image_by_case", "same_bytes", "near_image"), "images"),
    "same_patient": "patients",
    "same_series": "series",
}


@dataclass(frozen=True)
class Split:
    """A file's samples, and what is known of their pictures (nothing where none lie here)."""

    name: str
    samples: Sequence[Sample]
    pictures: Mapping[str, Picture] = field(default_factory=dict)


@dataclass(frozen=True)
class Leakage:
    """What of one test file was found in one training file."""

    findings: list[Finding]
    counted: dict[str, set[Any]]
    """Kind -> the images, patients or series of the test file that it counts."""
    other_bytes: int
    """Images with the same path in both files that are different pictures."""
    hashed: bool
    """Whether bytes and looks could be compared."""

    def items(self, kind: str) -> set[int]:
        return {finding.index for finding in self.findings if finding.kind == kind}


def find_leaks(test: Split, train: Split) -> Leakage:
    """Every item of `test` that stands in `train` in some way, with the training item it meets."""
    same, near, other_bytes = _shared_pictures(test, train)
    by_image: dict[str, list[int]] = defaultdict(list)
    for place, sample in enumerate(train.samples):
        for image in sample.images:
            by_image[image].append(place)
    findings: list[Finding] = []
    counted: dict[str, set[Any]] = defaultdict(set)
    for index, sample in enumerate(test.samples):
        for kind, shared in {**same, "near_image": near}.items():
            met = [image for image in sample.images if image in shared]
            counted[kind].update(map(normal_path, met))
            if met:
                theirs, detail = shared[met[0]]
                place = by_image[theirs[0]][0]
                findings.append(Finding(kind, index, detail, train.name, place))
        alike = [
            i for s in same.values() for image in sample.images for i in s.get(image, ((), ""))[0]
        ]
        nearly = [i for image in sample.images for i in near.get(image, ((), ""))[0]]
        if alike or nearly:
            findings += _same_questions(index, sample, alike, nearly, by_image, train)
    for kind, keys_of in (("same_patient", patients), ("same_series", series)):
        found, keys = _same_keys(kind, keys_of, test, train)
        findings += found
        counted[kind] |= keys
    findings.sort(key=lambda finding: finding.index)
    return Leakage(findings, counted, other_bytes, bool(test.pictures and train.pictures))


Shared = dict[str, tuple[list[str], str]]
"""Image of the test file -> (its counterparts in the training file, what to say of them)."""


def _shared_pictures(test: Split, train: Split) -> tuple[dict[str, Shared], Shared, int]:
    """Images by kind of sameness, images that are near, and how many share a path by chance."""
    ours = list(dict.fromkeys(image for sample in test.samples for image in sample.images))
    theirs = list(dict.fromkeys(image for sample in train.samples for image in sample.images))
    by_path, by_case, by_bytes = (
        _grouped(theirs, key)
        for key in (normal_path, folded_path, lambda image: _sha256(train, image))
    )
    same: dict[str, Shared] = {"same_image": {}, "same_image_by_case": {}, "same_bytes": {}}
    other_bytes = 0
    for image in ours:
        sha256 = _sha256(test, image)

        def agree(found: list[str], sha256: str | None = sha256) -> list[str]:
            known = ((name, _sha256(train, name)) for name in found)
            return [n for n, other in known if sha256 is None or other is None or other == sha256]

        paths = by_path.get(normal_path(image), [])
        other_bytes += bool(paths) and not agree(paths)
        if kept := agree(paths):
            same["same_image"][image] = kept, kept[0]
        elif not paths and (kept := agree(by_case.get(folded_path(image), []))):
            same["same_image_by_case"][image] = kept, kept[0]
        if sha256 and (kept := by_bytes.get(sha256, [])):
            same["same_bytes"][image] = kept, kept[0]
    known = [i for i in ours if i in test.pictures and not any(i in s for s in same.values())]
    near: Shared = {}
    if known and train.pictures:
        names = [image for image in theirs if image in train.pictures]
        looks = [train.pictures[name] for name in names]
        matches = near_pictures([test.pictures[image] for image in known], looks)
        for image, match in zip(known, matches, strict=True):
            if match:
                place, phash, dhash = match
                said = f"{names[place]} (differs in {phash} and {dhash} of 64 bits)"
                near[image] = [names[place]], said
    return same, near, other_bytes


def _grouped(images: Iterable[str], key: Callable[[str], str | None]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for image in images:
        if (value := key(image)) is not None:
            found[value].append(image)
    return found


def _sha256(split: Split, image: str) -> str | None:
    picture = split.pictures.get(image)
    return picture.sha256 if picture else None


@lru_cache(maxsize=200_000)
def normal_path(image: str) -> str:
    """A path as it is compared: without surrounding blanks, `./`, `//` and `..`."""
    return posixpath.normpath(image.strip())


@lru_cache(maxsize=200_000)
def folded_path(image: str) -> str:
    """A path as it is compared where case, blanks, slashes and Unicode's forms do not count."""
    text = unicodedata.normalize("NFKC", image).replace("\\", "/").casefold()
    return "".join(normal_path(text).split())


def _same_questions(
    index: int,
    sample: Sample,
    alike: Sequence[str],
    nearly: Sequence[str],
    by_image: Mapping[str, Sequence[int]],
    train: Split,
) -> list[Finding]:
    """What the training file asks about this item's image, where it is what this item asks."""
    from rapidfuzz.fuzz import token_sort_ratio

    asked = normal_question(sample.question)
    gold = gold_text(sample)
    found: dict[str, Finding] = {}

    def note(kind: str, detail: str, place: int) -> None:
        found.setdefault(kind, Finding(kind, index, detail, train.name, place))

    for images, same in ((alike, True), (nearly, False)):
        for place in (place for image in dict.fromkeys(images) for place in by_image[image]):
            other = train.samples[place]
            theirs = normal_question(other.question)
            if asked and asked == theirs:
                note("same_image_and_question" if same else "near_question", other.question, place)
            elif token_sort_ratio(asked, theirs) >= SIMILAR:
                note("near_question", other.question, place)
            answer = gold_text(other)
            if same and gold and answer and normal_option(gold) == normal_option(answer):
                note("same_image_and_answer", answer, place)
    if "same_image_and_question" in found:
        found.pop("near_question", None)
    return list(found.values())


def _same_keys(
    kind: str, keys_of: Callable[[Sample], set[str]], test: Split, train: Split
) -> tuple[list[Finding], set[str]]:
    """Items whose patient (or series) the training file has, and those patients.

    The findings number them: the page and the CSV that show them are sent around.
    """
    places: dict[str, int] = {}
    for place, sample in enumerate(train.samples):
        for key in keys_of(sample):
            places.setdefault(key, place)
    findings, keys = [], set()
    numbers: dict[str, str] = {}
    word = kind.removeprefix("same_")
    for index, sample in enumerate(test.samples) if places else ():
        if shared := sorted(key for key in keys_of(sample) if key in places):
            keys.update(shared)
            detail = numbers.setdefault(shared[0], f"{word} {len(numbers) + 1}")
            findings.append(Finding(kind, index, detail, train.name, places[shared[0]]))
    return findings, keys


def leakage_document(found: Sequence[Leakage], n: int) -> dict[str, Any]:
    """The counts of one training file, or of several together: each item counts once a kind."""
    document: dict[str, Any] = {}
    hashed = bool(found) and all(one.hashed for one in found)
    for kind in LEAKS:
        items = set().union(*(one.items(kind) for one in found))
        entry: dict[str, Any] = {"items": len(items), "share": len(items) / n}
        if word := _COUNTED_TOO.get(kind):
            entry[word] = len(set().union(*(one.counted[kind] for one in found)))
        if kind in ("same_bytes", "near_image") and not hashed:
            entry = {"items": None, "images": None, "reason": "not all files' images are here"}
        document[kind] = entry
    return document
