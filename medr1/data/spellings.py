"""Writes a Sample as an item with the field names of other projects. `items` reads it back.

    published    image, problem ("question A)x, B)y"), solution ("<answer> C </answer>")
    guide        image, question with its options, question_type (open, multiple_choice,
                 yes_no), ground_truth, and all other keys
    omnimedvqa   dataset, question_id, question_type, question, gt_answer (the text of the right
                 option), image_path, option_A .., modality_type
    medr1        the fields of Sample

A set of field names may lack a field of the sample: `missing_fields` lists such fields. All others
are read back unchanged: `sample_to_item` reads each item that it writes, and raises an ItemError if
a value would change.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from medr1.data.conversations import HISTORY_KEY
from medr1.data.items import read_item
from medr1.errors import ItemError
from medr1.prompts import problem_text
from medr1.records import Sample, sample_id

FIELD_NAME_SETS = ("medr1", "published", "guide", "omnimedvqa")

_DESCRIBED = ("question_type", "modality", "dataset")
_FIELDS = {
    "medr1": ("id", "answer_type", *_DESCRIBED, "metadata", "history"),
    "published": (),
    "guide": ("id", "answer_type", "modality", "dataset", "metadata", "history"),
    "omnimedvqa": ("id", *_DESCRIBED),
}
"""The fields of each set besides images, question, options and ground truth, which all have."""


def sample_to_item(sample: Sample, field_names: str) -> dict[str, object]:
    """The sample as an item with other field names.

    Args:
        sample: The sample to write.
        field_names: One of FIELD_NAME_SETS.

    Raises:
        ItemError: `not_carried`, if the item would not be read back as the same sample.
    """
    if sample.history and "history" not in _FIELDS[field_names]:
        raise ItemError(
            "not_carried",
            f"the field names of {field_names} have no place for earlier turns; those of "
            "medr1 have.",
        )
    item = _WRITE[field_names](sample)
    read_back, failure = read_item(item, "the item")
    if failure is None and is_same_sample(
        supported_part(read_back, field_names), supported_part(sample, field_names)
    ):
        return item
    reason = (
        failure.message.partition(": ")[2]
        if failure
        else _difference(sample, read_back, field_names)
    )
    raise ItemError(
        "not_carried", f"it cannot be written with the field names of {field_names}: {reason}"
    )


def supported_part(sample: Sample, field_names: str) -> Sample:
    """The sample without the values for which there is no field.

    Args:
        sample: A sample.
        field_names: One of FIELD_NAME_SETS.
    """
    empty = Sample("", (), "")
    names = ("answer_type", *_DESCRIBED, "metadata")
    fields = {name: getattr(empty, name) for name in names if name not in _FIELDS[field_names]}
    item_id = sample.id if "id" in _FIELDS[field_names] and has_own_id(sample) else ""
    metadata = dict(sample.metadata) if field_names != "guide" else without_nulls(sample)
    fields = {"metadata": metadata, **fields, "id": item_id}
    return replace(sample, options=dict(sample.options), **fields)


def missing_fields(sample: Sample, field_names: str) -> Iterator[str]:
    """The names of the values of a sample for which there is no field, such as "metadata age".

    Args:
        sample: A sample.
        field_names: One of FIELD_NAME_SETS.
    """
    fields = _FIELDS[field_names]
    if "id" not in fields and has_own_id(sample):
        yield "id"
    for name in _DESCRIBED:
        if name not in fields and getattr(sample, name) is not None:
            yield name
    if "metadata" not in fields:
        yield from (f"metadata {key}" for key in sample.metadata)
    elif field_names == "guide":
        yield from null_keys(sample)
    if "answer_type" not in fields:
        # It is not missing if it follows from the other fields.
        read_back, _ = read_item(_WRITE[field_names](sample), "")
        if read_back.answer_type != sample.answer_type:
            yield "answer_type"


def has_own_id(sample: Sample) -> bool:
    """Whether the id is from the data set, and not the hash that items without an id get."""
    hash_id = sample_id(sample)
    return bool(sample.id) and re.fullmatch(f"{hash_id}(-\\d+)?", sample.id) is None


def without_nulls(sample: Sample) -> dict[str, object]:
    """The metadata without nulls: as a key of an item, null is the same as no such key."""
    return {key: value for key, value in sample.metadata.items() if value is not None}


def null_keys(sample: Sample) -> Iterator[str]:
    """The keys that `without_nulls` removes, as `missing_fields` names them."""
    return (f"metadata {key} (null)" for key, value in sample.metadata.items() if value is None)


def is_same_sample(first: Sample, second: Sample) -> bool:
    """Whether two samples are equal; in their metadata 1, 1.0 and true are different values.

    Args:
        first: A sample.
        second: Another sample.
    """
    return first == second and _to_json(first.metadata) == _to_json(second.metadata)


def _to_json(metadata: Mapping[str, object]) -> str:
    """The metadata as JSON, which writes 1, 1.0 and true differently."""
    return json.dumps(metadata, sort_keys=True)


def _difference(sample: Sample, read_back: Sample, field_names: str) -> str:
    """Which fields would change if the item were written and read back, and what to do."""
    after = vars(supported_part(read_back, field_names))
    before = vars(supported_part(sample, field_names))
    names = [name for name in before if after[name] != before[name]] or ["metadata"]
    fields = " and ".join(name.replace("_", " ") for name in names)
    return f"its {fields} would be read differently; reword it, or choose other field names."


def _image(sample: Sample) -> str | list[str]:
    return sample.images[0] if len(sample.images) == 1 else list(sample.images)


def history_field(sample: Sample) -> dict[str, object]:
    """The earlier turns of a sample under their key.

    Args:
        sample: A sample.

    Returns:
        A dictionary with one key; empty if there are no earlier turns.
    """
    return {HISTORY_KEY: [vars(turn) for turn in sample.history]} if sample.history else {}


def _published(sample: Sample) -> dict[str, object]:
    item: dict[str, object] = {"image": _image(sample), "problem": problem_text(sample)}
    if sample.ground_truth is not None:
        item["solution"] = f"<answer> {sample.ground_truth} </answer>"
    return item


def _guide(sample: Sample) -> dict[str, object]:
    item: dict[str, object] = {"id": sample.id} if has_own_id(sample) else {}
    item |= {"image": _image(sample), "question": problem_text(sample)}
    # The guide has no type "count": it follows from the ground truth, a number.
    if sample.answer_type != "count":
        item["question_type"] = sample.answer_type
    item |= history_field(sample)
    item["ground_truth"] = sample.ground_truth
    item |= {"modality": sample.modality, "dataset": sample.dataset}
    item = {key: value for key, value in item.items() if value is not None}
    return {**item, **{k: v for k, v in without_nulls(sample).items() if k not in item}}


def _omnimedvqa(sample: Sample) -> dict[str, object]:
    ground_truth = sample.ground_truth
    item = {
        "dataset": sample.dataset,
        "question_id": sample.id if has_own_id(sample) else None,
        "question_type": sample.question_type,
        "question": sample.question,
        "gt_answer": sample.options.get(ground_truth or "", ground_truth),
        "image_path": _image(sample),
        **{f"option_{letter}": text for letter, text in sample.options.items()},
        "modality_type": sample.modality,
    }
    return {key: value for key, value in item.items() if value is not None}


def _medr1(sample: Sample) -> dict[str, object]:
    item = {**vars(sample), "images": list(sample.images), "options": dict(sample.options)}
    item["metadata"] = dict(sample.metadata)
    item |= {"history": None, **history_field(sample)}
    if not has_own_id(sample):
        del item["id"]
    return {key: value for key, value in item.items() if value not in (None, {}, [])}


_WRITE = {
    "published": _published,
    "guide": _guide,
    "omnimedvqa": _omnimedvqa,
    "medr1": _medr1,
}
