"""Pair the items of several result files, so that runs are compared on the same questions.

Items are paired by id where all files have the same ids, whatever their order. Otherwise they are
paired by question, options and image name. Those are equal even if two files name the images of
one data set in different folders, while the ids may differ: the id of an item without one of its
own is a hash that covers the image's path.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from medr1.data.spellings import has_own_id
from medr1.errors import InputError
from medr1.records import Prediction, Sample

Key = tuple[str, tuple[tuple[str, str], ...], tuple[tuple[str, ...], ...]]
"""A question, its options, and its images' paths, each split into folders and file name."""
BY_ID = "id"
BY_QUESTION = "question and image name"

Index = Mapping[str, Mapping[Hashable, Prediction]]
"""File -> id or `Key` of an item -> the item; files are compared by these keys."""


@dataclass(frozen=True)
class PairedFiles:
    """Several result files about the same items, all in the order of the first file."""

    predictions: Mapping[str, list[Prediction]]
    """File -> its predictions for the items that all files have."""
    num_left_out: int
    """Number of items that only some of the files have."""
    paired_by: str
    """How items were matched: BY_ID or BY_QUESTION."""

    @property
    def first(self) -> list[Prediction]:
        """The first file's predictions; questions, images and groups are taken from them."""
        return next(iter(self.predictions.values()))


def pair_items(
    files: Mapping[str, Sequence[Prediction]], *, common_only: bool | None = None
) -> PairedFiles:
    """Bring the items of several files into one order, by id or by question and image name.

    Args:
        files: Name of the file -> its predictions in any order.
        common_only: True pairs the items that all files have and leaves out the others. False
            refuses files with different items, and the message offers --common-only. None refuses
            them without that offer, for commands that do not have the option.

    Raises:
        InputError: A file has an id twice; some files lack items; two files have different
            questions, options or ground truths for one item; or two items of a file are equal but
            for their ids, and the files do not share ids.
    """
    index, paired_by = _best_index(files)
    if not common_only:
        _require_all(index, paired_by, offer_common=common_only is not None)
    _require_same(index)
    common_keys = _common_keys(index)
    first = next(iter(index.values()))
    keys = [key for key in first if key in common_keys]
    if not keys:
        raise InputError(
            f"{' and '.join(list(index)[:2])} have no items in common, neither by id nor by "
            "question, options and image name. Give results of the same questions."
        )
    predictions = {name: [by_key[key] for key in keys] for name, by_key in index.items()}
    return PairedFiles(predictions, _num_left_out(index), paired_by)


def pairing_warnings(paired_by: str) -> list[str]:
    """A warning where items were not paired by id; an empty list where they were."""
    if paired_by == BY_ID:
        return []
    return [
        "the files do not have the same ids: items were paired by question, options and image "
        "name (and by folders where names repeat)."
    ]


def image_names(paths: Sequence[str], num_parts: int = 1) -> tuple[tuple[str, ...], ...]:
    """The last parts of each path: ("a/b/1.png",) gives (("b", "1.png"),) for two parts.

    Args:
        paths: Image paths, with slashes or backslashes.
        num_parts: How many parts to keep; 1 is the file name alone.
    """
    return tuple(_parts(path)[-num_parts:] for path in paths)


def _parts(path: str) -> tuple[str, ...]:
    parts = path.replace("\\", "/").split("/")
    return tuple(part for part in parts if part not in ("", "."))


# --- the keys that items are paired by --------------------------------------------------------


def _best_index(files: Mapping[str, Sequence[Prediction]]) -> tuple[Index, str]:
    """The items of each file by the key they are paired by, and which key that is.

    By id where no item would be left out, or where questions and image names would leave out as
    many items as ids do.
    """
    by_id = {name: _by_id(name, predictions) for name, predictions in files.items()}
    if not _num_left_out(by_id):
        return by_id, BY_ID
    keys = {
        name: [_key(prediction.sample) for prediction in predictions]
        for name, predictions in files.items()
    }
    duplicates = _first_duplicates(files, keys)
    if duplicates is not None:
        # Only ids tell some items apart, so ids it must be, unless the files share none.
        if _common_keys(by_id):
            return by_id, BY_ID
        raise duplicates
    by_question = _by_question(files, keys)
    if _num_left_out(by_question) < _num_left_out(by_id):
        return by_question, BY_QUESTION
    return by_id, BY_ID


def _by_id(name: str, predictions: Sequence[Prediction]) -> dict[Hashable, Prediction]:
    by_id: dict[Hashable, Prediction] = {}
    for prediction in predictions:
        if by_id.setdefault(prediction.sample.id, prediction) is not prediction:
            raise InputError(
                f"{name}: two items have the id {prediction.sample.id[:80]!r}, so items cannot be "
                "paired. Make ids unique, or leave them out."
            )
    return by_id


def _by_question(
    files: Mapping[str, Sequence[Prediction]], keys: Mapping[str, Sequence[Key]]
) -> Index:
    """The items by question, options and the last parts of the image paths.

    The number of parts is the smallest with which the items of each file have distinct keys: the
    file name alone, or else one folder more, and so on. Keys with full paths must be distinct.
    """

    for num_parts in count(1):
        index: dict[str, dict[Hashable, Prediction]] = {
            name: {
                _shortened(key, num_parts): prediction
                for key, prediction in zip(keys[name], predictions, strict=True)
            }
            for name, predictions in files.items()
        }
        if all(len(index[name]) == len(predictions) for name, predictions in files.items()):
            break
    return index


def _first_duplicates(
    files: Mapping[str, Sequence[Prediction]], keys: Mapping[str, Sequence[Key]]
) -> InputError | None:
    """The error about the first two items of a file that differ in nothing but their ids.

    None where there are no such items.
    """
    for name, predictions in files.items():
        first_position: dict[Hashable, int] = {}
        for position, key in enumerate(keys[name]):
            earlier = first_position.setdefault(key, position)
            if earlier != position:
                labels = dict.fromkeys(map(_label, (predictions[earlier], predictions[position])))
                return InputError(
                    f"{name}: items {earlier + 1} and {position + 1}, {' and '.join(labels)}, have "
                    "the same question, options and image path, and the files do not share ids, "
                    "so items cannot be paired. Give the items of all files the same ids, or "
                    "remove one of the two."
                )
    return None


def _key(sample: Sample) -> Key:
    """The item's question, options and full image paths."""
    images = tuple(map(_parts, sample.images))
    return _question(sample), tuple(sorted(sample.options.items())), images


def _shortened(key: Key, num_parts: int) -> Key:
    """The key with only the last `num_parts` parts of each image path."""
    question, options, images = key
    return question, options, tuple(parts[-num_parts:] for parts in images)


def _question(sample: Sample) -> str:
    """The question and earlier turns with single spaces, since files differ in line breaks."""
    return " ".join(sample.conversation.split())


# --- checks that files are about the same items -----------------------------------------------


def _common_keys(index: Index) -> set[Hashable]:
    """The keys that all files have."""
    return set.intersection(*(set(by_key) for by_key in index.values()))


def _num_left_out(index: Index) -> int:
    """Number of items that only some files have."""
    return len(set().union(*index.values())) - len(_common_keys(index))


def _require_all(index: Index, paired_by: str, *, offer_common: bool) -> None:
    """InputError where a file lacks an item of the first file, or has one that it lacks."""
    first_name, first = next(iter(index.items()))
    for name, by_key in index.items():
        shared = by_key.keys() & first.keys()
        if num_unshared := len(first) + len(by_key) - 2 * len(shared):
            owner = first_name if len(shared) < len(first) else name
            example = next(item for key, item in index[owner].items() if key not in shared)
            how = "" if paired_by == BY_ID else f", paired by {paired_by}"
            offer = ", or give --common-only to compare the items that all files share"
            raise InputError(
                f"{num_unshared} items are not in both {first_name} and {name}{how}; the first, "
                f"{_label(example)}, is in {owner} only. Run both on the same questions"
                f"{offer if offer_common else ''}."
            )


def _require_same(index: Index) -> None:
    """InputError where one item has different questions, options or ground truths in two files."""
    first_name, first = next(iter(index.items()))
    for name, by_key in index.items():
        for key, item in first.items():
            if key in by_key and _content(by_key[key]) != _content(item):
                raise InputError(
                    f"item {_label(item)} has another {_difference(item, by_key[key])} in {name} "
                    f"than in {first_name}, so the two cannot be compared. Run both on the same "
                    "questions."
                )


def _content(prediction: Prediction) -> tuple[str, Mapping[str, str], str | None]:
    """What has to be the same in all files for one item."""
    sample = prediction.sample
    return _question(sample), sample.options, sample.ground_truth


def _difference(a: Prediction, b: Prediction) -> str:
    """The name of the first part of the contents in which two items differ."""
    names = ("question", "list of options", "ground truth")
    pairs = zip(names, _content(a), _content(b), strict=True)
    return next(name for name, part_a, part_b in pairs if part_a != part_b)


def _label(prediction: Prediction) -> str:
    """What a message calls an item: its id, or question and image where the id is a hash."""
    sample = prediction.sample
    if has_own_id(sample):
        return repr(sample.id[:80])
    return f"{sample.question[:80]!r} about {', '.join(sample.images)[:80] or 'no image'}"
