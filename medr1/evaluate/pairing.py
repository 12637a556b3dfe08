"""The same items of several result files, paired whatever their order.

By id where all files have the same ids. Otherwise by question, options and image name, which are
the same where two files name the images of one data set in different folders: the id of an item
that brought none is a hash of its image's path.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from medr1.data.spellings import has_own_id
from medr1.errors import InputError
from medr1.records import Prediction, Sample

Key = tuple[str, tuple[tuple[str, str], ...], tuple[tuple[str, ...], ...]]
"""A question, its options, and the parts of its images' paths."""
BY_ID = "id"
BY_QUESTION = "question and image name"

Index = Mapping[str, Mapping[Hashable, Prediction]]
"""File -> what identifies an item -> the item."""


@dataclass(frozen=True)
class Paired:
    """Result files over the same items, all in the order of the first file."""

    predictions: Mapping[str, list[Prediction]]
    """Of each file the items that all have."""
    left_out: int
    """How many items are in some files only."""
    paired_by: str
    """BY_ID or BY_QUESTION."""

    @property
    def first(self) -> list[Prediction]:
        """The first file's items: what was asked, about which images, in which groups."""
        return next(iter(self.predictions.values()))


def pair_items(
    files: Mapping[str, Sequence[Prediction]], *, common_only: bool | None = None
) -> Paired:
    """The items of several files side by side; each must have them all, unless `common_only`.

    None, where a command does not have --common-only, is False.

    InputError: an id twice in a file, items that some files lack, one item with different
    questions, options or ground truths, or items that only an id could tell apart and none does.
    """
    index, paired_by = _best_index(files)
    if not common_only:
        _require_all(index, paired_by, offer_common=common_only is not None)
    _require_same(index)
    common = _in_all(index)
    first = next(iter(index.values()))
    kept = [key for key in first if key in common]
    if not kept:
        raise InputError(
            f"{' and '.join(list(index)[:2])} have no items in common, neither by id nor by "
            "question, options and image name. Give results of the same questions."
        )
    predictions = {name: [found[key] for key in kept] for name, found in index.items()}
    return Paired(predictions, _left_out(index), paired_by)


def pairing_warnings(paired_by: str) -> list[str]:
    """A sentence about a pairing that is not by id; none about one that is."""
    if paired_by == BY_ID:
        return []
    return [
        "the files do not have the same ids: items were paired by question, options and image "
        "name (and by folders where names repeat)."
    ]


def image_names(paths: Sequence[str], num_parts: int = 1) -> tuple[tuple[str, ...], ...]:
    """Of each path the file name, with its last folders where `num_parts` is more than 1."""
    return tuple(_parts(path)[-num_parts:] for path in paths)


def _parts(path: str) -> tuple[str, ...]:
    parts = path.replace("\\", "/").split("/")
    return tuple(part for part in parts if part not in ("", "."))


# --- what items are known by ------------------------------------------------------------------


def _best_index(files: Mapping[str, Sequence[Prediction]]) -> tuple[Index, str]:
    """The items by what they are paired by, and which of the two that is.

    By id where all ids are shared, or where questions and image names would leave out as many.
    """
    by_id = {name: _by_id(name, predictions) for name, predictions in files.items()}
    if not _left_out(by_id):
        return by_id, BY_ID
    keys = {name: [_key(one.sample) for one in rows] for name, rows in files.items()}
    twins = _first_twins(files, keys)
    if twins is not None:
        if _in_all(by_id):
            return by_id, BY_ID
        raise twins
    by_question = _by_question(files, keys)
    if _left_out(by_question) < _left_out(by_id):
        return by_question, BY_QUESTION
    return by_id, BY_ID


def _by_id(name: str, predictions: Sequence[Prediction]) -> dict[Hashable, Prediction]:
    found: dict[Hashable, Prediction] = {}
    for prediction in predictions:
        if found.setdefault(prediction.sample.id, prediction) is not prediction:
            raise InputError(
                f"{name}: the id {prediction.sample.id[:80]!r} stands twice, so items cannot be "
                "paired. Make ids unique, or leave them out."
            )
    return found


def _by_question(
    files: Mapping[str, Sequence[Prediction]], keys: Mapping[str, Sequence[Key]]
) -> Index:
    """The items by question, options and image name, the same number of folders in all files.

    That number is the smallest that tells the items of each file apart; full paths must do so.
    """

    for num_parts in count(1):
        index: dict[str, dict[Hashable, Prediction]] = {
            name: {
                _shortened(key, num_parts): one for key, one in zip(keys[name], rows, strict=True)
            }
            for name, rows in files.items()
        }
        if all(len(index[name]) == len(rows) for name, rows in files.items()):
            break
    return index


def _first_twins(
    files: Mapping[str, Sequence[Prediction]], keys: Mapping[str, Sequence[Key]]
) -> InputError | None:
    """What to say of the first two items of a file that only ids tell apart; None without such."""
    for name, predictions in files.items():
        seen: dict[Hashable, int] = {}
        for place, key in enumerate(keys[name]):
            earlier = seen.setdefault(key, place)
            if earlier != place:
                named = dict.fromkeys(map(_named, (predictions[earlier], predictions[place])))
                return InputError(
                    f"{name}: items {earlier + 1} and {place + 1}, {' and '.join(named)}, have the "
                    "same question, options and image path, and the files do not share ids, so "
                    "items cannot be paired. Give the items of all files the same ids, or remove "
                    "one of the two."
                )
    return None


def _key(sample: Sample) -> Key:
    """What is asked about which images, with their full paths."""
    images = tuple(map(_parts, sample.images))
    return _question(sample), tuple(sorted(sample.options.items())), images


def _shortened(key: Key, num_parts: int) -> Key:
    """The key with the last parts of its paths alone."""
    question, options, images = key
    return question, options, tuple(parts[-num_parts:] for parts in images)


def _question(sample: Sample) -> str:
    return " ".join(sample.question.split())


# --- whether files fit each other -------------------------------------------------------------


def _in_all(index: Index) -> set[Hashable]:
    return set.intersection(*(set(found) for found in index.values()))


def _left_out(index: Index) -> int:
    """How many items are in some files only."""
    return len(set().union(*index.values())) - len(_in_all(index))


def _require_all(index: Index, paired_by: str, *, offer_common: bool) -> None:
    """Refuse files of which one lacks items of the first, or has further ones."""
    first_name, first = next(iter(index.items()))
    for name, found in index.items():
        shared = found.keys() & first.keys()
        if missing := len(first) + len(found) - 2 * len(shared):
            here = first_name if len(shared) < len(first) else name
            example = next(item for key, item in index[here].items() if key not in shared)
            how = "" if paired_by == BY_ID else f", paired by {paired_by}"
            other_way = ", or give --common-only to compare what all share"
            raise InputError(
                f"{missing} items are not in both {first_name} and {name}{how}; the first, "
                f"{_named(example)}, is in {here} only. Run both on the same questions"
                f"{other_way if offer_common else ''}."
            )


def _require_same(index: Index) -> None:
    """Refuse an item with another question, list of options or ground truth in another file."""
    first_name, first = next(iter(index.items()))
    for name, found in index.items():
        for key, item in first.items():
            if key in found and _asked(found[key]) != _asked(item):
                raise InputError(
                    f"item {_named(item)} has another {_differs(item, found[key])} in {name} than "
                    f"in {first_name}, so the two cannot be compared. Run both on the same "
                    "questions."
                )


def _asked(prediction: Prediction) -> tuple[Any, ...]:
    sample = prediction.sample
    return _question(sample), sample.options, sample.ground_truth


def _differs(one: Prediction, other: Prediction) -> str:
    names = ("question", "list of options", "ground truth")
    pairs = zip(names, _asked(one), _asked(other), strict=True)
    return next(name for name, mine, theirs in pairs if mine != theirs)


def _named(prediction: Prediction) -> str:
    """What a message calls an item: its id, or question and image where it brought none."""
    sample = prediction.sample
    if has_own_id(sample):
        return repr(sample.id[:80])
    return f"{sample.question[:80]!r} about {', '.join(sample.images)[:80] or 'no image'}"
