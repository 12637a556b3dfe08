"""Leakage: images, patients, questions and answers of a test file that are also in a training file.

Image paths are compared without surrounding blanks and with `./`, `//` and `..` resolved
(same_image). Paths that agree only when case, blanks, the direction of slashes and Unicode forms
are ignored are counted separately (same_image_by_case), because two different files may differ in
exactly that. Where both images can be read and their bytes differ, an equal path is a coincidence
and no leak: two folders may both have a `1.png`.

A training question about another image is no leak, however similar, because data sets are made from
templates. How many items reuse a wording is counted in `wordings`.
"""

from __future__ import annotations

import posixpath
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from medr1.data.audit.blind import normalized_option, normalized_question
from medr1.data.audit.defects import AuditFinding, ground_truth_text
from medr1.data.audit.images import HashedImage
from medr1.data.audit.near import near_images
from medr1.data.audit.patients import patients, series
from medr1.documents.audit import Leak
from medr1.records import Sample

LEAKS = {
    "same_image": "the training file has the same image path",
    "same_image_by_case": "the same path only when case, blanks and slashes are ignored",
    "same_bytes": "a training image has the same bytes, under any name",
    "near_image": "a training image looks the same: re-encoded, resized, brightened",
    "same_patient": "a training image is of the same patient",
    "same_series": "a training image is from the same series, study or volume",
    "same_image_and_question": "the same question about the same image",
    "near_question": "a similar question about the same image, or the same about a near duplicate",
    "same_image_and_answer": "the same image with the same right answer",
}
"""Kind of leak -> what it means. A count is of items: an item counts once for each kind."""
SIMILAR = 85
"""Questions about one image are similar from this rapidfuzz.fuzz.token_sort_ratio on (0 to 100)."""
_OF_IMAGES = ("same_image", "same_image_by_case", "same_bytes", "near_image")
"""The kinds of leaks whose different images are counted besides items."""


@dataclass(frozen=True)
class QuestionFile:
    """The samples of one file, test or training, and the hashes of their images."""

    name: str
    samples: Sequence[Sample]
    images: Mapping[str, HashedImage] = field(default_factory=dict)
    """Image path -> its hashes; empty where none of the file's images exist here."""


@dataclass(frozen=True)
class Leakage:
    """The leaks between one test file and one training file."""

    findings: list[AuditFinding]
    """Items of the test file; `other_index` is the training item."""
    leaked_keys: dict[str, set[str]]
    """Kind -> the different images, patients or series of the test file that leak."""
    path_coincidences: int
    """Number of image paths that both files have and that name different images."""
    images_compared: bool
    """Whether bytes and looks could be compared: images of both files exist here."""

    def items(self, kind: str) -> set[int]:
        """The positions of the test items with this kind of leak."""
        return {finding.index for finding in self.findings if finding.kind == kind}


def find_leaks(test: QuestionFile, train: QuestionFile) -> Leakage:
    """Compare every test item with the training file.

    Args:
        test: The audited file.
        train: A training file.

    Returns:
        A finding for each test item and kind of leak, in the order of the items. It names one
        training item: the first that matches.
    """
    same, near, path_coincidences = _shared_images(test, train)
    by_image: dict[str, list[int]] = defaultdict(list)
    for train_index, sample in enumerate(train.samples):
        for image in sample.images:
            by_image[image].append(train_index)
    findings: list[AuditFinding] = []
    leaked_keys: dict[str, set[str]] = defaultdict(set)
    # First the images that are also in the training file, then what it asks about them.
    for index, sample in enumerate(test.samples):
        for kind, shared in {**same, "near_image": near}.items():
            leaked = [image for image in sample.images if image in shared]
            leaked_keys[kind].update(map(normalized_path, leaked))
            if leaked:
                train_images, detail = shared[leaked[0]]
                train_index = by_image[train_images[0]][0]
                findings.append(AuditFinding(kind, index, detail, train.name, train_index))
        same_as = [
            name
            for shared in same.values()
            for image in sample.images
            for name in shared.get(image, ((), ""))[0]
        ]
        near_to = [name for image in sample.images for name in near.get(image, ((), ""))[0]]
        if same_as or near_to:
            findings += _same_questions(index, sample, same_as, near_to, by_image, train)
    # Another image of the same patient leaks too: it looks alike.
    for kind, keys_of in (("same_patient", patients), ("same_series", series)):
        key_findings, shared_keys = _same_keys(kind, keys_of, test, train)
        findings += key_findings
        leaked_keys[kind] |= shared_keys
    findings.sort(key=lambda finding: finding.index)
    return Leakage(findings, leaked_keys, path_coincidences, bool(test.images and train.images))


Shared = dict[str, tuple[list[str], str]]
"""Image of the test file -> (the training images that match it, the detail of the finding)."""


def _shared_images(
    test: QuestionFile, train: QuestionFile
) -> tuple[dict[str, Shared], Shared, int]:
    """The same images by kind of leak, the near duplicates, and `Leakage.path_coincidences`."""
    test_images = list(dict.fromkeys(image for sample in test.samples for image in sample.images))
    train_images = list(dict.fromkeys(image for sample in train.samples for image in sample.images))
    by_path, by_case, by_bytes = (
        _group_by(train_images, key)
        for key in (normalized_path, folded_path, lambda image: _sha256(train, image))
    )
    same: dict[str, Shared] = {"same_image": {}, "same_image_by_case": {}, "same_bytes": {}}
    path_coincidences = 0
    # One image may be in several of the three: the same path usually has the same bytes.
    for image in test_images:
        sha256 = _sha256(test, image)

        def without_contradiction(names: list[str], sha256: str | None = sha256) -> list[str]:
            """The training images whose bytes are equal, or cannot be compared."""
            hashes = ((name, _sha256(train, name)) for name in names)
            return [
                name for name, other in hashes if sha256 is None or other is None or other == sha256
            ]

        same_path = by_path.get(normalized_path(image), [])
        path_coincidences += bool(same_path) and not without_contradiction(same_path)
        if matches := without_contradiction(same_path):
            same["same_image"][image] = matches, matches[0]
        elif not same_path and (
            matches := without_contradiction(by_case.get(folded_path(image), []))
        ):
            same["same_image_by_case"][image] = matches, matches[0]
        if sha256 and (matches := by_bytes.get(sha256, [])):
            same["same_bytes"][image] = matches, matches[0]
    # An image that is the same as a training image is not searched for near duplicates.
    unmatched = [
        image
        for image in test_images
        if image in test.images and not any(image in shared for shared in same.values())
    ]
    near: Shared = {}
    if unmatched and train.images:
        candidates = [image for image in train_images if image in train.images]
        hashes = [train.images[name] for name in candidates]
        nearest = near_images([test.images[image] for image in unmatched], hashes)
        for image, match in zip(unmatched, nearest, strict=True):
            if match:
                candidate, phash, dhash = match
                detail = f"{candidates[candidate]} (differs in {phash} and {dhash} of 64 bits)"
                near[image] = [candidates[candidate]], detail
    return same, near, path_coincidences


def _group_by(images: Iterable[str], key: Callable[[str], str | None]) -> dict[str, list[str]]:
    """Key -> the images that have it; an image whose key is None is left out."""
    groups: dict[str, list[str]] = defaultdict(list)
    for image in images:
        if (value := key(image)) is not None:
            groups[value].append(image)
    return groups


def _sha256(file: QuestionFile, image: str) -> str | None:
    hashed = file.images.get(image)
    return hashed.sha256 if hashed else None


@lru_cache(maxsize=200_000)
def normalized_path(image: str) -> str:
    """A path for comparison: without surrounding blanks, `./`, `//` and `..`."""
    return posixpath.normpath(image.strip())


@lru_cache(maxsize=200_000)
def folded_path(image: str) -> str:
    """A path for comparison that ignores case, blanks, kind of slash and Unicode form.

    "A\\B C.PNG" -> "a/bc.png"
    """
    text = unicodedata.normalize("NFKC", image).replace("\\", "/").casefold()
    return "".join(normalized_path(text).split())


def _same_questions(
    index: int,
    sample: Sample,
    same_as: Sequence[str],
    near_to: Sequence[str],
    by_image: Mapping[str, Sequence[int]],
    train: QuestionFile,
) -> list[AuditFinding]:
    """Leaked questions and answers of one test item: training items on its image that ask the same.

    `same_as` and `near_to` are the training images that are the item's, or near duplicates of it.
    At most one finding of each kind, with the first training item that matches.
    """
    from rapidfuzz.fuzz import token_sort_ratio

    question = normalized_question(sample.question)
    conversation = normalized_question(sample.conversation)
    answer = ground_truth_text(sample)
    findings: dict[str, AuditFinding] = {}

    def note(kind: str, detail: str, train_index: int) -> None:
        findings.setdefault(kind, AuditFinding(kind, index, detail, train.name, train_index))

    # A near duplicate is not certainly the same image: any match of questions about it is the
    # weaker kind, near_question, and answers are not compared.
    for images, is_same in ((same_as, True), (near_to, False)):
        for train_index in (i for image in dict.fromkeys(images) for i in by_image[image]):
            train_sample = train.samples[train_index]
            other_question = normalized_question(train_sample.question)
            other_conversation = normalized_question(train_sample.conversation)
            if question and conversation == other_conversation:
                kind = "same_image_and_question" if is_same else "near_question"
                note(kind, train_sample.question, train_index)
            elif token_sort_ratio(question, other_question) >= SIMILAR:
                note("near_question", train_sample.question, train_index)
            other_answer = ground_truth_text(train_sample)
            if (
                is_same
                and answer
                and other_answer
                and normalized_option(answer) == normalized_option(other_answer)
            ):
                note("same_image_and_answer", other_answer, train_index)
    # The stronger finding replaces the weaker one.
    if "same_image_and_question" in findings:
        findings.pop("near_question", None)
    return list(findings.values())


def _same_keys(
    kind: str, keys_of: Callable[[Sample], set[str]], test: QuestionFile, train: QuestionFile
) -> tuple[list[AuditFinding], set[str]]:
    """Test items whose patient (or series) the training file has, and the keys of these patients.

    The findings say "patient 1", "patient 2" and not the patient's identifier, because the report
    and the CSV file that show them are passed on to others.
    """
    first_with_key: dict[str, int] = {}
    for train_index, sample in enumerate(train.samples):
        for key in keys_of(sample):
            first_with_key.setdefault(key, train_index)
    findings: list[AuditFinding] = []
    shared_keys: set[str] = set()
    labels: dict[str, str] = {}
    word = kind.removeprefix("same_")
    for index, sample in enumerate(test.samples) if first_with_key else ():
        if shared := sorted(key for key in keys_of(sample) if key in first_with_key):
            shared_keys.update(shared)
            label = labels.setdefault(shared[0], f"{word} {len(labels) + 1}")
            train_index = first_with_key[shared[0]]
            findings.append(AuditFinding(kind, index, label, train.name, train_index))
    return findings, shared_keys


def leakage_document(leaks: Sequence[Leakage], n: int) -> dict[str, Leak]:
    """Count leaks for audit.json, over one training file or several together.

    Args:
        leaks: The leaks of one test file to each training file.
        n: Number of items in the test file.

    Returns:
        Kind -> the count; an item counts once for each kind, however many training files have it.
    """
    all_compared = bool(leaks) and all(file_leaks.images_compared for file_leaks in leaks)
    unchecked = () if all_compared else ("same_bytes", "near_image")
    return {
        kind: Leak(items=None, reason="not all files' images are here")
        if kind in unchecked
        else _leak(kind, leaks, n)
        for kind in LEAKS
    }


def _leak(kind: str, leaks: Sequence[Leakage], n: int) -> Leak:
    """How many of the n test items leak in this way, and how many images, patients or series."""
    items = set().union(*(file_leaks.items(kind) for file_leaks in leaks))
    n_keys = len(set().union(*(file_leaks.leaked_keys.get(kind, set()) for file_leaks in leaks)))
    return Leak(
        items=len(items),
        share=len(items) / n,
        images=n_keys if kind in _OF_IMAGES else None,
        patients=n_keys if kind == "same_patient" else None,
        series=n_keys if kind == "same_series" else None,
    )
