"""The gallery of report.html: which items it shows, and each item as the template needs it."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterable, Mapping, Sequence

from medr1.data.identifiers import replace_identifiers
from medr1.documents.items import GalleryCandidate, GalleryItem
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

Cell = tuple[str, int]
"""Kind of verdict, and the number of a file and modality."""


def gallery_choice(
    candidates: Iterable[GalleryCandidate],
    *,
    num_wrong: int = NUM_WRONG,
    num_right: int = NUM_RIGHT,
    seed: int = 0,
) -> list[int]:
    """The positions of the items to show, in ascending order: some wrong and some correct ones.

    They are spread over files, modalities and kinds of verdict, so that a rare failure in a small
    group is shown beside the common ones. The candidates may be a stream: few of them are kept in
    memory.

    Args:
        candidates: All items.
        num_wrong: The most items that are not correct.
        num_right: The most correct items.
        seed: The seed of the random choice.
    """
    rng = random.Random(seed)
    # A cell is a kind of verdict in one group of one file. Each cell keeps a uniform random sample
    # of its items by reservoir sampling: item number k replaces a kept one with probability size/k.
    cells: dict[Cell, list[int]] = {}
    n_seen: dict[Cell, int] = {}
    for position, candidate in enumerate(candidates):
        kind = candidate.kind
        name = f"{candidate.results}\n{candidate.modality}".encode("utf-8", "replace")
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


def _in_turns(cells: Mapping[Cell, list[int]], limit: int, rng: random.Random) -> list[int]:
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


def gallery_view(
    items: Sequence[GalleryItem], thumbnails: Mapping[str, bytes | str]
) -> dict[str, object]:
    """The gallery as the template needs it: the filters with their values, and every item.

    Args:
        items: The items to show.
        thumbnails: Their small images as JPEG, or why there is none, by `thumbnail_key`.
    """
    # each value of a facet has a number, and each item lists its numbers for the page's script
    codes_by_facet: dict[str, dict[str, int]] = {name: {} for name in _FACETS}
    views = []
    for place, item in enumerate(items):
        codes = [
            codes_by_facet[name].setdefault(value, len(codes_by_facet[name]))
            for name, value in zip(_FACETS, _facet_values(item), strict=True)
        ]
        views.append({**_item_view(item, place, thumbnails), "codes": " ".join(map(str, codes))})
    filters = [
        {
            "place": place,
            "label": _FACET_WORDS.get(name, name),
            "values": sorted(codes_by_facet[name].items()),
        }
        for place, name in enumerate(_FACETS)
        if len(codes_by_facet[name]) > 1  # a filter with one value would not filter
    ]
    n_wrong = sum(item.row.kind != "right" for item in items)
    return {"filters": filters, "entries": views, "wrong": n_wrong, "right": len(views) - n_wrong}


def _facet_values(item: GalleryItem) -> list[str]:
    """The item's value of each of _FACETS, as the page shows it."""
    sample = item.prediction.sample
    groups = (sample.modality, sample.question_type, sample.dataset, sample.answer_type)
    return [
        one_line(short_path(item.row.results), 60),
        KINDS[item.row.kind],
        *(one_line(value, 60) if value is not None else "(not given)" for value in groups),
    ]


def _item_view(
    item: GalleryItem, place: int, thumbnails: Mapping[str, bytes | str]
) -> dict[str, object]:
    """One item as the template needs it. Identifiers of patients are left out of its texts."""
    prediction, sample, row = item.prediction, item.prediction.sample, item.row
    groups = (sample.modality, sample.question_type, sample.dataset)
    completion, confidence = prediction.model_output, prediction.confidence
    return {
        "anchor": f"item-{place + 1}",
        "place": place,
        "kind": row.kind,
        "verdict": KINDS[row.kind],
        "id": one_line(replace_identifiers(row.id, item.hidden)),
        "file": short_path(row.results),
        "about": [one_line(value, 60) for value in groups if value is not None],
        "images": [_image_view(item, name, thumbnails) for name in sample.images[:MAX_IMAGES]],
        "more_images": max(0, len(sample.images) - MAX_IMAGES),
        "question": visible(sample.question, 2000),
        "options": [_option_view(item, letter) for letter in list(sample.options)[:MAX_OPTIONS]],
        "more_options": max(0, len(sample.options) - MAX_OPTIONS),
        "ground_truth": _answer(row.ground_truth, sample.options),
        "answer": _answer(row.extracted_answer, sample.options),
        "completion": visible(completion) if completion else None,
        "reasoning": visible(item.reasoning) if item.reasoning else None,
        "extraction": one_line(row.extraction) if row.extraction else None,
        "trace": [one_line(step, 200) for step in row.trace[:40]],
        "confidence": percent(confidence) if confidence is not None else None,
        "confidence_order": confidence if confidence is not None else -1,
        "tokens": prediction.num_tokens,
        "length": len(completion or ""),
        "cut": row.finish_reason == "length",
        "error": _error(item),
        "metadata": [
            (one_line(key, 60), one_line(value, 200)) for key, value in item.metadata.items()
        ],
    }


def _error(item: GalleryItem) -> str | None:
    """Code and message of the error of an item that failed."""
    if (error := item.prediction.error) is None:
        return None
    message = one_line(replace_identifiers(error.message, item.hidden), 400)
    return f"{one_line(error.code)}: {message}"


def _answer(answer: str | None, options: Mapping[str, str]) -> str | None:
    """ "B) No finding" if the answer is a letter of the options, else the answer itself."""
    if answer is None:
        return None
    return one_line(f"{answer}) {options[answer]}" if answer in options else answer, 300)


def _option_view(item: GalleryItem, letter: str) -> dict[str, object]:
    probability = (item.prediction.option_probs or {}).get(letter)
    return {
        "letter": one_line(letter, 12),
        "text": one_line(item.prediction.sample.options[letter], 300),
        "is_ground_truth": letter == item.row.ground_truth,
        "is_answer": letter == item.row.extracted_answer,
        "probability": percent(probability) if probability is not None else None,
    }


def _image_view(
    item: GalleryItem, name: str, thumbnails: Mapping[str, bytes | str]
) -> dict[str, object]:
    """An image's name and source, or a note that says why it is not shown."""
    thumbnail = thumbnails.get(thumbnail_key(item, name), "image not shown")
    label = short_path(replace_identifiers(name, item.hidden))
    if isinstance(thumbnail, str):
        return {"name": label, "source": None, "note": one_line(thumbnail, 500)}
    return {"name": label, "source": data_uri(thumbnail), "note": ""}
