"""The gallery of report.html: which items it shows, and each item as the template needs it."""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence

from medr1.data.identifiers import replace_identifiers
from medr1.documents.items import GalleryCandidate, GalleryItem
from medr1.report.pages.facets import KINDS, Facets
from medr1.report.pages.hallucination import contradiction_texts
from medr1.report.pages.sanitize import count_text, one_line, short_path, visible
from medr1.report.pages.thumbnails import MAX_IMAGES, data_uri, thumbnail_key
from medr1.report.terminal.tables import percent

MAX_ITEMS = 5000
"""The most items of a gallery, of all files together."""
RIGHT_SHARE = 0.2
"""If there are more items, at least this share of the gallery are correct ones."""
MAX_CELLS = 1 << 16
"""Groups that are told apart, for each kind of verdict. More groups share a cell at random, so that
a column with a million different values needs little memory."""
MAX_OPTIONS = 26
TEXT_LIMIT = 4000
"""The most characters of a completion, and of its reasoning."""

Cell = tuple[str, int]
"""Kind of verdict, and the number of a file and modality."""


def gallery_choice(
    candidates: Iterable[GalleryCandidate], *, limit: int = MAX_ITEMS, seed: int = 0
) -> list[int]:
    """The positions of the items to show, in ascending order; all of them if there are few.

    Of more items, the wrong ones come first, and RIGHT_SHARE of the places are left to correct
    ones. They are spread over files, modalities and kinds of verdict, so that a rare failure in a
    small group is shown beside the common ones. The candidates may be a stream.

    Args:
        candidates: All items.
        limit: The most items that are chosen.
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
        if len(sample) < limit:
            sample.append(position)
        elif (place := int(rng.random() * (n_before + 1))) < len(sample):
            sample[place] = position
    right = {cell: sample for cell, sample in cells.items() if cell[0] == "right"}
    wrong = {cell: sample for cell, sample in cells.items() if cell[0] != "right"}
    n_right, n_wrong = (sum(map(len, part.values())) for part in (right, wrong))
    num_right = min(n_right, max(round(RIGHT_SHARE * limit), limit - n_wrong))
    return sorted(_in_turns(wrong, limit - num_right, rng) + _in_turns(right, num_right, rng))


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
    items: Sequence[GalleryItem],
    facets: Facets,
    n_items: int,
    text_limit: int = TEXT_LIMIT,
    n_small: int = 0,
) -> dict[str, object]:
    """What the page says about the gallery, without the items themselves.

    Args:
        items: The items of the gallery.
        facets: What they can be filtered by.
        n_items: The number of items of all results files.
        text_limit: The most characters of a completion.
        n_small: The number of images of which a larger copy does not fit on the page.
    """
    n_wrong = sum(item.row.kind != "right" for item in items)
    return {
        "filters": facets.menus(),
        "n": count_text(len(items)),
        "wrong": count_text(n_wrong),
        "right": count_text(len(items) - n_wrong),
        "left_out": count_text(n_items - len(items)) if n_items > len(items) else None,
        "text_limit": count_text(text_limit) if text_limit < TEXT_LIMIT else None,
        "small": count_text(n_small) if n_small else None,
        "has_confidence": any(item.prediction.confidence is not None for item in items),
    }


def item_views(
    items: Sequence[GalleryItem],
    thumbnails: Mapping[str, bytes | str],
    facets: Facets,
    *,
    text_limit: int = TEXT_LIMIT,
    small: Collection[str] = (),
) -> list[dict[str, object]]:
    """Every item as the template needs it.

    An image of several items has its data in the first one; the others refer to that one.

    Args:
        items: The items to show.
        thumbnails: Their small images as JPEG, or why there is none, by `thumbnail_key`.
        facets: What the items can be filtered by.
        text_limit: The most characters of a completion, and of its reasoning.
        small: The images of which a larger copy does not fit on the page, by `thumbnail_key`.
    """
    anchors = item_anchors(items)
    first: dict[str, tuple[str, int]] = {}  # image -> the item that has its data, and a number
    views = []
    for place, (item, anchor) in enumerate(zip(items, anchors, strict=True)):
        images = []
        for name in item.prediction.sample.images[:MAX_IMAGES]:
            image = _image_view(item, name, thumbnails)
            if image["source"]:
                key = thumbnail_key(item, name)
                is_first = key not in first
                owner, number = first.setdefault(key, (anchor, len(first)))
                image |= {"number": number, "item": owner, "is_first": is_first}
                image["is_small"] = key in small
            images.append(image)
        codes = facets.codes_of(item)
        about = {"anchor": anchor, "place": place, "images": images, "codes": codes}
        views.append({**_item_view(item, text_limit), **about})
    return views


def item_anchors(items: Sequence[GalleryItem]) -> list[str]:
    """Each item's name in a link, "item-" and its id: "item-q7", for a second such id "item-q7-2".

    Characters of the id that a link cannot have are replaced by "-".
    """
    anchors: dict[str, None] = {}
    for item in items:
        name = one_line(replace_identifiers(item.row.id, item.hidden))
        start = f"item-{re.sub('[^A-Za-z0-9._-]+', '-', name).strip('-')[:80]}"
        anchor, number = start, 1
        while anchor in anchors:
            number += 1
            anchor = f"{start}-{number}"
        anchors[anchor] = None
    return list(anchors)


def _item_view(item: GalleryItem, text_limit: int) -> dict[str, object]:
    """One item as the template needs it. Identifiers of patients are left out of its texts."""
    prediction, sample, row = item.prediction, item.prediction.sample, item.row
    groups = (sample.modality, sample.question_type, sample.dataset)
    completion, confidence = prediction.model_output, prediction.confidence
    return {
        "kind": row.kind,
        "verdict": KINDS[row.kind],
        "id": one_line(replace_identifiers(row.id, item.hidden)),
        "file": short_path(row.results),
        "about": [one_line(value, 60) for value in groups if value is not None],
        "more_images": max(0, len(sample.images) - MAX_IMAGES),
        "question": visible(sample.conversation, 2000),
        "options": [_option_view(item, letter) for letter in list(sample.options)[:MAX_OPTIONS]],
        "more_options": max(0, len(sample.options) - MAX_OPTIONS),
        "ground_truth": _answer(row.ground_truth, sample.options),
        "answer": _answer(row.extracted_answer, sample.options),
        "completion": visible(completion, text_limit) if completion else None,
        "reasoning": visible(item.reasoning, text_limit) if item.reasoning else None,
        "extraction": one_line(row.extraction) if row.extraction else None,
        "trace": [one_line(step, 200) for step in row.trace[:40]],
        "confidence": percent(confidence) if confidence is not None else None,
        "confidence_order": confidence if confidence is not None else -1,
        "tokens": prediction.num_tokens,
        "length": len(completion or ""),
        "cut": row.finish_reason == "length",
        "contradictions": contradiction_texts(item),
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
