"""The gallery of report.html: which items it shows, and each item as the template needs it."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from medr1.data.identifiers import replace_identifiers
from medr1.report.pages.sanitize import one_line, short_path, visible
from medr1.report.pages.thumbnails import MAX_IMAGES, data_uri, thumbnail_key
from medr1.report.terminal.tables import percent

NUM_WRONG = 200
NUM_RIGHT = 40
"""The most wrong and the most correct items of a gallery."""
MAX_CELLS = 1 << 16
"""Groups that are told apart, for each kind of verdict. More groups share a cell at random, so that
a column with a million different values needs little memory."""
MAX_OPTIONS = 26

KINDS = {
    "wrong": "wrong answer",
    "undecided": "the rules cannot judge it",
    "unparsed": "no readable answer",
    "ambiguous": "ambiguous answer",
    "refused": "the model declined to answer",
    "truncated": "cut off without an answer",
    "empty": "empty completion",
    "failed": "failed before an answer",
    "right": "correct",
}
"""Kind of verdict -> its name on the page, in the order of the page's filter."""

_FACETS = ("results", "kind", "modality", "question_type", "dataset", "answer_type")
"""What the page can filter by."""
_FACET_WORDS = {
    "results": "file",
    "kind": "verdict",
    "question_type": "question type",
    "dataset": "data set",
    "answer_type": "answer type",
}

Item = Mapping[str, Any]
"""An item with its completion and verdict, as a line of items.jsonl."""


def verdict_kind(item: Item) -> str:
    """One of KINDS: "right", or why the item does not count as correct."""
    if item.get("correct"):
        return "right"
    if item.get("error"):
        return "failed"
    if item.get("undecided"):
        return "undecided"
    if item.get("extracted_answer") is not None:
        return "wrong"
    method = item.get("extraction")
    if method in ("ambiguous", "refused", "empty"):
        return str(method)
    return "truncated" if item.get("finish_reason") == "length" else "unparsed"


def gallery_choice(
    items: Iterable[Item],
    *,
    group: str = "modality",
    num_wrong: int = NUM_WRONG,
    num_right: int = NUM_RIGHT,
    seed: int = 0,
) -> list[int]:
    """The positions of the items to show, in ascending order: some wrong and some correct ones.

    They are spread over files, groups and kinds of verdict, so that a rare failure in a small group
    is shown beside the common ones. The items may be a stream: few of them are kept in memory.

    Args:
        items: Items with the keys results, correct, undecided, error, extracted_answer, extraction,
            finish_reason and that of `group`.
        group: The key of the groups that the choice is spread over.
        num_wrong: The most items that are not correct.
        num_right: The most correct items.
        seed: The seed of the random choice.
    """
    rng = random.Random(seed)
    # A cell is a kind of verdict in one group of one file. Each cell keeps a uniform random sample
    # of its items by reservoir sampling: item number k replaces a kept one with probability size/k.
    cells: dict[tuple[str, int], list[int]] = {}
    n_seen: dict[tuple[str, int], int] = {}
    for position, item in enumerate(items):
        kind = verdict_kind(item)
        name = f"{item.get('results')}\n{item.get(group)}".encode("utf-8", "replace")
        cell = (kind, zlib.crc32(name) % MAX_CELLS)
        sample, n_before = cells.setdefault(cell, []), n_seen.get(cell, 0)
        n_seen[cell] = n_before + 1
        if len(sample) < (num_right if kind == "right" else num_wrong):
            sample.append(position)
        elif (place := int(rng.random() * (n_before + 1))) < len(sample):
            sample[place] = position
    right = {cell: sample for cell, sample in cells.items() if cell[0] == "right"}
    wrong = {cell: sample for cell, sample in cells.items() if cell[0] != "right"}
    return sorted(_in_turns(wrong, num_wrong, rng) + _in_turns(right, num_right, rng))


def _in_turns(cells: Mapping[Any, list[int]], limit: int, rng: random.Random) -> list[int]:
    """At most `limit` positions: one from each cell, then a second one from each, and so on."""
    samples = [cells[cell] for cell in sorted(cells)]
    rng.shuffle(samples)
    for sample in samples:
        rng.shuffle(sample)
    chosen: list[int] = []
    depth = 0
    while len(chosen) < limit and (turn := [s[depth] for s in samples if depth < len(s)]):
        chosen += turn[: limit - len(chosen)]
        depth += 1
    return chosen


def gallery_view(items: Sequence[Item], thumbnails: Mapping[str, bytes | str]) -> dict[str, Any]:
    """The gallery as the template needs it: the filters with their values, and every item.

    Args:
        items: The items to show.
        thumbnails: Their small images as JPEG, or why there is none, by `thumbnail_key`.
    """
    # each value of a facet has a number, and each item lists its numbers for the page's script
    facets: dict[str, dict[str, int]] = {name: {} for name in _FACETS}
    views = []
    for place, item in enumerate(items):
        values = {**item, "kind": verdict_kind(item), "results": short_path(item.get("results"))}
        codes = [
            facets[name].setdefault(_facet_value(name, values.get(name)), len(facets[name]))
            for name in _FACETS
        ]
        views.append({**_item_view(item, place, thumbnails), "codes": " ".join(map(str, codes))})
    filters = [
        {
            "place": place,
            "label": _FACET_WORDS.get(name, name),
            "values": sorted(facets[name].items()),
        }
        for place, name in enumerate(_FACETS)
        if len(facets[name]) > 1  # a filter with one value would not filter
    ]
    n_wrong = sum(view["kind"] != "right" for view in views)
    return {"filters": filters, "entries": views, "wrong": n_wrong, "right": len(views) - n_wrong}


def _facet_value(name: str, value: Any) -> str:
    if name == "kind":
        return KINDS[str(value)]
    return one_line(value, 60) if value is not None else "(not given)"


def _item_view(item: Item, place: int, thumbnails: Mapping[str, bytes | str]) -> dict[str, Any]:
    """One item as the template needs it. Identifiers of patients are left out of its texts."""
    kind = verdict_kind(item)
    options = item.get("options") or {}
    groups = [item.get(key) for key in ("modality", "question_type", "dataset")]
    names = list(item.get("images") or ())
    error = item.get("error") or {}
    completion, reasoning = item.get("model_output"), item.get("reasoning")
    confidence = item.get("confidence")
    hidden = item.get("hidden") or {}  # an identifier, such as a name -> what is shown instead
    return {
        "anchor": f"item-{place + 1}",
        "place": place,
        "kind": kind,
        "verdict": KINDS[kind],
        "id": one_line(replace_identifiers(str(item.get("id", "")), hidden)),
        "file": short_path(item.get("results")),
        "about": [one_line(value, 60) for value in groups if value is not None],
        "images": [_image_view(item, name, thumbnails) for name in names[:MAX_IMAGES]],
        "more_images": max(0, len(names) - MAX_IMAGES),
        "question": visible(item.get("question"), 2000),
        "options": [_option_view(item, letter) for letter in list(options)[:MAX_OPTIONS]],
        "more_options": max(0, len(options) - MAX_OPTIONS),
        "ground_truth": _answer(item.get("ground_truth"), options),
        "answer": _answer(item.get("extracted_answer"), options),
        "completion": visible(completion) if completion else None,
        "reasoning": visible(reasoning) if reasoning else None,
        "extraction": one_line(item.get("extraction")) if item.get("extraction") else None,
        "trace": [one_line(step, 200) for step in list(item.get("trace") or ())[:40]],
        "confidence": percent(confidence) if confidence is not None else None,
        "confidence_order": confidence if confidence is not None else -1,
        "tokens": item.get("num_tokens"),
        "length": len(str(completion or "")),
        "cut": item.get("finish_reason") == "length",
        "error": f"{one_line(error.get('code'))}: "
        f"{one_line(replace_identifiers(str(error.get('message', '')), hidden), 400)}"
        if error
        else None,
        "metadata": [
            (one_line(key, 60), one_line(value, 200))
            for key, value in (item.get("metadata") or {}).items()
        ],
    }


def _answer(answer: Any, options: Mapping[str, str]) -> str | None:
    """ "B) No finding" if the answer is a letter of the options, else the answer itself."""
    if answer is None:
        return None
    return one_line(f"{answer}) {options[answer]}" if answer in options else answer, 300)


def _option_view(item: Item, letter: str) -> dict[str, Any]:
    probability = (item.get("option_probs") or {}).get(letter)
    return {
        "letter": one_line(letter, 12),
        "text": one_line(item["options"][letter], 300),
        "is_ground_truth": letter == item.get("ground_truth"),
        "is_answer": letter == item.get("extracted_answer"),
        "probability": percent(probability) if probability is not None else None,
    }


def _image_view(item: Item, name: str, thumbnails: Mapping[str, bytes | str]) -> dict[str, Any]:
    """An image's name and source, or a note that says why it is not shown."""
    thumbnail = thumbnails.get(thumbnail_key(item, name), "image not shown")
    label = short_path(replace_identifiers(name, item.get("hidden") or {}))
    if isinstance(thumbnail, str):
        return {"name": label, "source": None, "note": one_line(thumbnail, 500)}
    return {"name": label, "source": data_uri(thumbnail), "note": ""}
