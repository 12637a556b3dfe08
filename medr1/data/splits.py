"""Which item goes to which split: as published, or drawn anew with groups kept whole.

Drawn: items that share an image, a patient or a data set stay together, whatever the group is
called they never share an image across splits, and each stratum (modality and question type) gives
its share to the test split as exactly as its groups allow.
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
_ENDINGS = (".json", ".jsonl", ".ndjson", ".csv", ".parquet")


def split_files(folder: Path) -> dict[Path, str]:
    """The files of a folder that are splits by their names ("CT_train.json"), with the split."""
    found = {}
    for path in sorted(folder.iterdir()):
        match = _FILE.fullmatch(path.stem)
        if match and path.suffix.lower() in _ENDINGS and path.is_file():
            found[path] = "validation" if match[1].lower() == "val" else match[1].lower()
    return found


@dataclass(frozen=True)
class Published:
    """What published files say of who is where."""

    by_question: Mapping[tuple[str, str], Mapping[tuple[tuple[str, ...], str | None], str]]
    n: int

    def split_of(self, sample: Sample) -> str | None:
        """The split of a sample, by its image and question; None for one that is in none.

        Where that says two splits, the options and the answer decide.
        """
        there = self.by_question.get(_question_key(sample))
        if there is None:
            return None
        if len(splits := set(there.values())) == 1:
            return splits.pop()
        return there.get(_answer_key(sample))


def published_splits(folder: Path) -> Published:
    """The splits of the files in a folder, all of them together; InputError for a contradiction."""
    if not folder.is_dir():
        raise InputError(f"the splits {folder} are no folder. Check --splits.")
    files = split_files(folder)
    if not files:
        raise InputError(
            f"{folder} holds no split files. Their names end in train or test: CT_train.json."
        )
    found: dict[tuple[str, str], dict[tuple[tuple[str, ...], str | None], str]] = defaultdict(dict)
    n = 0
    for path, split in files.items():
        for index, sample in enumerate(read_questions(path).require_complete()):
            n += 1
            before = found[_question_key(sample)].setdefault(_answer_key(sample), split)
            if before != split:
                raise InputError(
                    f"{path}, item {index + 1}: the same item is also in a {before} file of "
                    f"{folder}. Put families of splits into folders of their own."
                )
    return Published(found, n)


def _question_key(sample: Sample) -> tuple[str, str]:
    return "\n".join(sample.images), " ".join(sample.question.split()).casefold()


def _answer_key(sample: Sample) -> tuple[tuple[str, ...], str | None]:
    return tuple(sample.options.values()), sample.ground_truth


def random_split(
    samples: Sequence[Sample], *, group_by: str = "image", test_share: float = 0.2, seed: int = 0
) -> list[str]:
    """ "train" or "test" for each sample; the same for the same samples in whatever order.

    InputError where an item has no such group, or where they are all one.
    """
    groups = _groups(samples, group_by)
    strata = Counter(_stratum(sample) for sample in samples)
    seen: Counter[tuple[str, str]] = Counter()
    test: Counter[tuple[str, str]] = Counter()
    split = ["train"] * len(samples)
    for _, members in sorted(groups.items(), key=lambda one: _place(seed, *one)):
        counts = Counter(_stratum(samples[index]) for index in members)
        seen.update(counts)
        # what each choice leaves between the test split and its share of what was dealt so far
        short = {key: test_share * seen[key] - test[key] for key in counts}
        to_train = sum(short[key] ** 2 / strata[key] for key in counts)
        to_test = sum((short[key] - n) ** 2 / strata[key] for key, n in counts.items())
        if to_test < to_train:
            test.update(counts)
            for index in members:
                split[index] = "test"
    if len(set(split)) < 2:
        raise InputError(
            f"the {len(samples)} items in {len(groups)} groups cannot be split: one side would be "
            "empty. Choose another --group-by or --test-share."
        )
    return split


def _stratum(sample: Sample) -> tuple[str, str]:
    return sample.modality or "", sample.question_type or ""


def _place(seed: int, name: str, members: Sequence[int]) -> tuple[int, str]:
    """Large groups are dealt first, while there is room; equal ones by the seed."""
    return -len(members), hashlib.sha256(f"{seed}\n{name}".encode()).hexdigest()


def _groups(samples: Sequence[Sample], group_by: str) -> dict[str, list[int]]:
    """Name -> indices of what stays together: a group, and whatever shares an image with it."""
    above: dict[str, str] = {}

    def top(name: str) -> str:
        while (parent := above.setdefault(name, name)) != name:
            above[name] = name = above[parent]
        return name

    names = [_names(sample, group_by) for sample in samples]
    if missing := sum(not all(found) for found in names):
        raise InputError(
            f"{missing} of {len(samples)} items name no {group_by}. Choose another --group-by, or "
            f"say which key has it: --map {group_by}=KEY."
        )
    for found in names:
        for name in found[1:]:
            one, other = sorted((top(str(found[0])), top(str(name))))
            above[other] = one
    groups: dict[str, list[int]] = defaultdict(list)
    for index, found in enumerate(names):
        groups[top(str(found[0]))].append(index)
    return groups


def _names(sample: Sample, group_by: str) -> list[str | None]:
    """What an item belongs to: its images, and its patient or data set; None where not known."""
    images: list[str | None] = [f"image {name}" for name in sample.images]
    if group_by == "image":
        return images
    if group_by == "dataset":
        return [sample.dataset and f"dataset {sample.dataset}", *images]
    known = {key.casefold(): value for key, value in sample.metadata.items()}
    values = [known[key] for key in _PATIENT if known.get(key) not in (None, "")]
    # also where data sets count their patients anew: to keep too much together leaks nothing
    return [f"patient {values[0]}" if values else None, *images]


def count_table(pairs: Iterable[tuple[Sample, str]]) -> dict[str, dict[str, dict[str, int]]]:
    """For modality and question type: name -> split -> items, for the manifest."""
    found: dict[str, dict[str, Counter[str]]] = {"modality": {}, "question_type": {}}
    for sample, split in pairs:
        for key, table in found.items():
            table.setdefault(getattr(sample, key) or "unknown", Counter())[split] += 1
    return {
        key: {name: dict(sorted(counts.items())) for name, counts in sorted(table.items())}
        for key, table in found.items()
    }
