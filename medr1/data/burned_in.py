"""Find images that may have text in their pixels, such as a name, a date of birth or a number.

Ultrasound machines write the patient's name into the image. A secondary capture is a copy of a
screen or of a film, with all text on it. medr1 removes the metadata of image files, but it does not
search pixels for text: a person has to look at the image. This module says at which images, and
why: by the item's modality and metadata, and by the header of the image file.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from medr1.records import Sample

_NOTE = "header_says_"
"""How the notes of `header_notes` begin."""
_KEYS = re.compile(r"modality|conversion|sop.?class|burned.?in|image.?type|capture", re.IGNORECASE)
"""Metadata keys whose values are searched."""
_STATED = re.compile(r"burned.?in.?annotation\W+(yes|true|1|no|false|0)\b", re.IGNORECASE)
"""DICOM's attribute BurnedInAnnotation, which states whether there is text."""
_REASONS = {
    "ultrasound": re.compile(
        r"ultraso(?:und|nic)|ultrasonogra|sonogra|doppler|echocardiogra|modality\W+us\b"
        r"|1\.2\.840\.10008\.5\.1\.4\.1\.1\.[36](?:\.\d)?(?![\d.])",
        re.IGNORECASE,
    ),
    "secondary capture": re.compile(
        r"secondary.?capture|screen.?(?:shot|capture|grab)|digiti[sz]ed.?film|scanned.?(?:film|doc)"
        r"|modality\W+sc\b|conversion.?type\W+(?:wsd|sd|si|dv|df|di|drw|syn)\b"
        r"|1\.2\.840\.10008\.5\.1\.4\.1\.1\.7(?:\.\d)?(?![\d.])",
        re.IGNORECASE,
    ),
}
"""Reason -> words, DICOM codes and DICOM object classes that suggest it."""


def reason_in_texts(texts: Iterable[str]) -> str | None:
    """Why texts such as "Modality: US" suggest text in the pixels; None if they do not.

    If one of them states BurnedInAnnotation, only that counts. Of each text the first 2,000
    characters are searched.
    """
    beginnings = [text[:2000] for text in texts]
    for text in beginnings:
        if stated := _STATED.search(text):
            yes = stated[1].lower() in ("yes", "true", "1")
            return "burned-in annotation" if yes else None
    return next(
        (name for name, words in _REASONS.items() if any(map(words.search, beginnings))), None
    )


def header_notes(texts: Iterable[str]) -> list[str]:
    """A note on the texts of an image's header, such as ["header_says_ultrasound"]; [] if none."""
    reason = reason_in_texts(texts)
    return [_NOTE + reason.replace(" ", "_")] if reason else []


def burned_in_reason(sample: Sample, image_notes: Iterable[str] = ()) -> str | None:
    """Why the images of an item may have text in their pixels, such as "ultrasound".

    Args:
        sample: The item; its modality and metadata are searched first.
        image_notes: The notes of its loaded images (`images.LoadedImage.notes`).

    Returns:
        "ultrasound", "secondary capture" or "burned-in annotation"; None if nothing suggests text.
    """
    texts = [f"{key}: {value}" for key, value in sample.metadata.items() if _KEYS.search(str(key))]
    if sample.modality:
        texts.insert(0, f"modality: {sample.modality}")
    if reason := reason_in_texts(texts):
        return reason
    return reason_in_notes(image_notes)


def reason_in_notes(image_notes: Iterable[str]) -> str | None:
    """The reason that `header_notes` has put among the notes of an image; None if there is none."""
    notes = (note for note in image_notes if note.startswith(_NOTE))
    return next((note.removeprefix(_NOTE).replace("_", " ") for note in notes), None)


def warning(reasons: Iterable[str | None], what: str) -> str | None:
    """A warning that says how many items may have text in their images, and why.

    Args:
        reasons: For each item, the result of `burned_in_reason`.
        what: A plural noun for the items in the sentence, such as "items".

    Returns:
        The sentence; None if no item has a reason.
    """
    counts = Counter(reasons)
    n, total = sum(k for name, k in counts.items() if name), sum(counts.values())
    if not n:
        return None
    why = ", ".join(f"{k} {name}" for name, k in sorted(counts.items(), key=str) if name)
    return (
        f"{n} of {total} {what} may have text burned into the image, such as a name or a date "
        f"({why}). medr1 does not search for such text or remove it: look at the images before you "
        "pass them on."
    )
