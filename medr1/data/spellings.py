"""A Sample in the spelling that others read: the way back from `items`.

    published    image, problem ("stem A)x, B)y"), solution ("<answer> C </answer>")
    guide        image, question with its options inlined, question_type (open, multiple_choice,
                 yes_no), ground_truth, and any further key
    omnimedvqa   dataset, question_id, question_type, question, gt_answer (the right option's
                 text), image_path, option_A .., modality_type
    medr1        the fields of Sample

What a spelling has no place for is named by `dropped`. What it has a place for comes back as it
was: `spelled` reads its own item back, and an item that would come back otherwise is an ItemError.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from medr1.data.items import read_item
from medr1.errors import ItemError
from medr1.prompts import problem_text
from medr1.records import Sample, sample_id

SPELLINGS = ("medr1", "published", "guide", "omnimedvqa")

_DESCRIBED = ("question_type", "modality", "dataset")
_CARRIED = {
    "medr1": ("id", "answer_type", *_DESCRIBED, "metadata"),
    "published": (),
    "guide": ("id", "answer_type", "modality", "dataset", "metadata"),
    "omnimedvqa": ("id", *_DESCRIBED),
}
"""What each spelling has a place for, beside images, question, options and ground truth."""


def spelled(sample: Sample, spelling: str) -> dict[str, Any]:
    """The item in one of SPELLINGS; ItemError `not_carried` where reading it would change it."""
    item = _WRITE[spelling](sample)
    read, failure = read_item(item, "the item")
    if failure is None and same(carried(read, spelling), carried(sample, spelling)):
        return item
    why = failure.message.partition(": ")[2] if failure else _difference(sample, read, spelling)
    raise ItemError("not_carried", f"the {spelling} spelling cannot hold it: {why}")


def carried(sample: Sample, spelling: str) -> Sample:
    """The sample without what the spelling has no place for."""
    empty = Sample("", (), "")
    names = ("answer_type", *_DESCRIBED, "metadata")
    kept = {name: getattr(empty, name) for name in names if name not in _CARRIED[spelling]}
    name = sample.id if "id" in _CARRIED[spelling] and has_own_id(sample) else ""
    metadata = dict(sample.metadata) if spelling != "guide" else without_nulls(sample)
    kept = {"metadata": metadata, **kept, "id": name}
    return replace(sample, options=dict(sample.options), **kept)


def dropped(sample: Sample, spelling: str) -> Iterator[str]:
    """The names of what the sample has and the spelling has no place for."""
    kept = _CARRIED[spelling]
    if "id" not in kept and has_own_id(sample):
        yield "id"
    for name in _DESCRIBED:
        if name not in kept and getattr(sample, name) is not None:
            yield name
    if "metadata" not in kept:
        yield from (f"metadata {key}" for key in sample.metadata)
    elif spelling == "guide":
        yield from null_keys(sample)
    if "answer_type" not in kept and read_item(_WRITE[spelling](sample), "")[0].answer_type != (
        sample.answer_type
    ):
        yield "answer_type"


def has_own_id(sample: Sample) -> bool:
    """Whether the id is one that the data brought, not the hash of what it asks."""
    name = sample_id(sample.images, sample.question, sample.options)
    return bool(sample.id) and re.fullmatch(f"{name}(-\\d+)?", sample.id) is None


def without_nulls(sample: Sample) -> dict[str, Any]:
    """The metadata as further keys of an item hold it, where null is the same as absent."""
    return {key: value for key, value in sample.metadata.items() if value is not None}


def null_keys(sample: Sample) -> Iterator[str]:
    """What `without_nulls` leaves out, as `dropped` names it."""
    return (f"metadata {key} (null)" for key, value in sample.metadata.items() if value is None)


def same(one: Sample, other: Sample) -> bool:
    """Whether they are equal, with 1, 1.0 and true told apart."""
    return one == other and _exact(one.metadata) == _exact(other.metadata)


def _exact(metadata: Mapping[str, Any]) -> str:
    return json.dumps(metadata, sort_keys=True)


def _difference(sample: Sample, read: Sample, spelling: str) -> str:
    there, here = vars(carried(read, spelling)), vars(carried(sample, spelling))
    names = [name for name in here if there[name] != here[name]] or ["metadata"]
    said = " and ".join(name.replace("_", " ") for name in names)
    return f"its {said} would be read otherwise; reword it, or choose another spelling."


def _image(sample: Sample) -> str | list[str]:
    return sample.images[0] if len(sample.images) == 1 else list(sample.images)


def _published(sample: Sample) -> dict[str, Any]:
    item: dict[str, Any] = {"image": _image(sample), "problem": problem_text(sample)}
    if sample.ground_truth is not None:
        item["solution"] = f"<answer> {sample.ground_truth} </answer>"
    return item


def _guide(sample: Sample) -> dict[str, Any]:
    item: dict[str, Any] = {"id": sample.id} if has_own_id(sample) else {}
    item |= {"image": _image(sample), "question": problem_text(sample)}
    if sample.answer_type != "count":  # which the guide does not know; the gold says it
        item["question_type"] = sample.answer_type
    item["ground_truth"] = sample.ground_truth
    item |= {"modality": sample.modality, "dataset": sample.dataset}
    item = {key: value for key, value in item.items() if value is not None}
    return {**item, **{k: v for k, v in without_nulls(sample).items() if k not in item}}


def _omnimedvqa(sample: Sample) -> dict[str, Any]:
    gold = sample.ground_truth
    item = {
        "dataset": sample.dataset,
        "question_id": sample.id if has_own_id(sample) else None,
        "question_type": sample.question_type,
        "question": sample.question,
        "gt_answer": sample.options.get(gold or "", gold),
        "image_path": _image(sample),
        **{f"option_{letter}": text for letter, text in sample.options.items()},
        "modality_type": sample.modality,
    }
    return {key: value for key, value in item.items() if value is not None}


def _medr1(sample: Sample) -> dict[str, Any]:
    item = {**vars(sample), "images": list(sample.images), "options": dict(sample.options)}
    item["metadata"] = dict(sample.metadata)
    if not has_own_id(sample):
        del item["id"]
    return {key: value for key, value in item.items() if value not in (None, {}, [])}


_WRITE = {
    "published": _published,
    "guide": _guide,
    "omnimedvqa": _omnimedvqa,
    "medr1": _medr1,
}
