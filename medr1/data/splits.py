"""Assigns items to splits: as published files have it, or at random by groups.

A random split keeps a group in one split: the items of one image, patient or data set. Two splits
never share an image, whatever the groups are. Each stratum (modality and question type) has the
same share of its items in the test split, as nearly as its groups allow.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medr1.data.readers import read_questions
from medr1.errors import InputError
from medr1.records import Sample

SPLITS = ("train", "validation", "test")
GROUPS = ("image", "patient", "dataset")
_PATIENT = ("patient", "patient_id", "patientid", "subject", "subject_id")
_FILE = re.compile(r"(?:.*[ _.-])?(train|validation|val|test)", re.IGNORECASE)
_EXTENSIONS = (".json", ".jsonl", ".ndjson", ".csv", ".parquet")


def split_files(folder: Path) -> dict[Path, str]:
    """The files of a folder whose names end in a split, such as CT_train.json: path -> split."""
    files = {}
    for path in sorted(folder.iterdir()):
        split = split_of_name(path)
        if split and path.suffix.lower() in _EXTENSIONS and path.is_file():
            files[path] = split
    return files


def split_of_name(path: Path) -> str | None:
    """The split that a file's name ends in: "train" for CT_train.json; None for other names."""
    match = _FILE.fullmatch(path.stem)
    if match is None:
        return None
    return "validation" if match[1].lower() == "val" else match[1].lower()


@dataclass(frozen=True)
class PublishedSplits:
    """The splits that published files assign to items."""

    by_question: Mapping[tuple[str, str], Mapping[tuple[tuple[str, ...], str | None], str]]
    """(images, question) -> (options, ground truth) -> split."""
    num_items: int
    """Number of items in the files."""

    def split_of(self, sample: Sample) -> str | None:
        """The split of the item with the same images and question; None if there is no such item.

        If such items are in several splits, the options and the ground truth must be equal too.
        """
        split_of_answer = self.by_question.get(_question_key(sample))
        if split_of_answer is None:
            return None
        if len(splits := set(split_of_answer.values())) == 1:
            return splits.pop()
        return split_of_answer.get(_answer_key(sample))


def published_splits(folder: Path) -> PublishedSplits:
    """The splits of all split files in a folder.

    Raises:
        InputError: If there are no such files, an item of them cannot be used, or two files put the
            same item into different splits.
    """
    if not folder.is_dir():
        raise InputError(f"--splits {folder} is not a folder. Check the path.")
    files = split_files(folder)
    if not files:
        raise InputError(
            f"{folder} has no split files. Their names end in train or test, such as CT_train.json."
        )
    by_question: dict[tuple[str, str], dict[tuple[tuple[str, ...], str | None], str]] = defaultdict(
        dict
    )
    num_items = 0
    for path, split in files.items():
        for index, sample in enumerate(read_questions(path).require_complete()):
            num_items += 1
            first_split = by_question[_question_key(sample)].setdefault(_answer_key(sample), split)
            if first_split != split:
                raise InputError(
                    f"{path}, item {index + 1}: the same item is also in a {first_split} file of "
                    f"{folder}. Put each set of splits into its own folder."
                )
    return PublishedSplits(by_question, num_items)


def _question_key(sample: Sample) -> tuple[str, str]:
    """The images and the question, in which case and blanks do not matter."""
    return "\n".join(sample.images), " ".join(sample.conversation.split()).casefold()


def _answer_key(sample: Sample) -> tuple[tuple[str, ...], str | None]:
    """The texts of the options and the ground truth."""
    return tuple(sample.options.values()), sample.ground_truth


def random_split(
    samples: Sequence[Sample], *, group_by: str = "image", test_share: float = 0.2, seed: int = 0
) -> list[str]:
    """Assign samples to train and test at random, by groups.

    The split of a sample does not depend on the order of the samples.

    Args:
        samples: The items.
        group_by: What keeps items together: one of GROUPS.
        test_share: Share of items for the test split, between 0 and 1.
        seed: Seed of the order in which groups of equal size are assigned.

    Returns:
        "train" or "test" for each sample.

    Raises:
        InputError: If an item has no group of this kind, or one split would be empty.
    """
    groups = _groups(samples, group_by)
    strata = Counter(_stratum(sample) for sample in samples)
    assigned: Counter[tuple[str, str]] = Counter()
    test: Counter[tuple[str, str]] = Counter()
    split = ["train"] * len(samples)
    for _, members in sorted(groups.items(), key=lambda group: _order_key(seed, *group)):
        counts = Counter(_stratum(samples[index]) for index in members)
        assigned.update(counts)
        # How many items the test split lacks in each stratum of this group, if it goes to train.
        # The choice with the smaller squared error, relative to the size of the stratum, is taken.
        missing = {key: test_share * assigned[key] - test[key] for key in counts}
        train_error = sum(missing[key] ** 2 / strata[key] for key in counts)
        test_error = sum((missing[key] - n) ** 2 / strata[key] for key, n in counts.items())
        if test_error < train_error:
            test.update(counts)
            for index in members:
                split[index] = "test"
    if len(set(split)) < 2:
        raise InputError(
            f"the {len(samples)} items in {len(groups)} groups cannot be split: train or test "
            "would be empty. Choose another --group-by or --test-share."
        )
    return split


def _stratum(sample: Sample) -> tuple[str, str]:
    """The modality and the question type."""
    return sample.modality or "", sample.question_type or ""


def _order_key(seed: int, name: str, members: Sequence[int]) -> tuple[int, str]:
    """The place of a group in the order of assignment: large groups first, else by the seed.

    The small groups at the end can then balance what the large ones left.
    """
    return -len(members), hashlib.sha256(f"{seed}\n{name}".encode()).hexdigest()


def _groups(samples: Sequence[Sample], group_by: str) -> dict[str, list[int]]:
    """Name -> indices of samples that stay together: groups that share an image are joined."""
    # A union-find structure: each name has a parent, and the last parent names the joined group.
    parents: dict[str, str] = {}

    def root(name: str) -> str:
        while (parent := parents.setdefault(name, name)) != name:
            parents[name] = name = parents[parent]
        return name

    all_names = [_group_names(sample, group_by) for sample in samples]
    if missing := sum(not all(names) for names in all_names):
        raise InputError(
            f"{missing} of {len(samples)} items have no {group_by}. Choose another --group-by, or "
            f"tell which key has it: --map {group_by}=KEY."
        )
    for names in all_names:
        for name in names[1:]:
            first, second = sorted((root(str(names[0])), root(str(name))))
            parents[second] = first
    groups: dict[str, list[int]] = defaultdict(list)
    for index, names in enumerate(all_names):
        groups[root(str(names[0]))].append(index)
    return groups


def _group_names(sample: Sample, group_by: str) -> list[str | None]:
    """The groups of an item: its patient or data set (None if not known), and its images."""
    images: list[str | None] = [f"image {name}" for name in sample.images]
    if group_by == "image":
        return images
    if group_by == "dataset":
        return [sample.dataset and f"dataset {sample.dataset}", *images]
    metadata = {key.casefold(): value for key, value in sample.metadata.items()}
    values = [metadata[key] for key in _PATIENT if metadata.get(key) not in (None, "")]
    # Two data sets may use one number for different patients. Such patients share a group, which
    # does no harm: groups that are too large cannot leak.
    return [f"patient {values[0]}" if values else None, *images]


def count_table(pairs: Iterable[tuple[Sample, str]]) -> dict[str, dict[str, dict[str, int]]]:
    """The number of items by modality and by question type, for the manifest.

    Returns:
        "modality" or "question_type" -> its value -> split -> number of items.
    """
    tables: dict[str, dict[str, Counter[str]]] = {"modality": {}, "question_type": {}}
    for sample, split in pairs:
        for key, table in tables.items():
            table.setdefault(getattr(sample, key) or "unknown", Counter())[split] += 1
    return {
        key: {name: dict(sorted(counts.items())) for name, counts in sorted(table.items())}
        for key, table in tables.items()
    }
