"""Which pictures may have text in their pixels: a name, a date of birth, a number.

Ultrasound machines write the patient's name beside the picture, and a secondary capture is a copy
of a screen or a film with all that stood on it. No metadata is left in what medr1 writes, but it
does not look at pixels: only a person can say whether there is text. Here is who should look.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from medr1.records import Sample

_NOTE = "header_says_"
_KEYS = re.compile(r"modality|conversion|sop.?class|burned.?in|image.?type|capture", re.IGNORECASE)
_STATED = re.compile(r"burned.?in.?annotation\W+(yes|true|1|no|false|0)\b", re.IGNORECASE)
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
"""Words, DICOM's codes, and the classes of DICOM objects."""


def reason(texts: Iterable[str]) -> str | None:
    """Why these texts, such as "Modality: US", suggest text in the pixels; None where they do not.

    What a header states as BurnedInAnnotation counts before all else.
    """
    known = [text[:2000] for text in texts]
    for text in known:
        if stated := _STATED.search(text):
            yes = stated[1].lower() in ("yes", "true", "1")
            return "burned-in annotation" if yes else None
    return next((name for name, said in _REASONS.items() if any(map(said.search, known))), None)


def header_notes(texts: Iterable[str]) -> list[str]:
    """Of a file header's texts, such as ["header_says_ultrasound"]: what they suggest."""
    found = reason(texts)
    return [_NOTE + found.replace(" ", "_")] if found else []


def suspected(sample: Sample, image_notes: Iterable[str] = ()) -> str | None:
    """Why an item's pictures may have text in them, by modality, metadata or their headers."""
    texts = [f"{key}: {value}" for key, value in sample.metadata.items() if _KEYS.search(str(key))]
    if sample.modality:
        texts.insert(0, f"modality: {sample.modality}")
    if found := reason(texts):
        return found
    return noted(image_notes)


def noted(image_notes: Iterable[str]) -> str | None:
    """What `header_notes` put among an image's notes."""
    notes = (note for note in image_notes if note.startswith(_NOTE))
    return next((note.removeprefix(_NOTE).replace("_", " ") for note in notes), None)


def warning(reasons: Iterable[str | None], what: str) -> str | None:
    """A sentence on how many of these (`what`: "items") are suspected, and why; None for none."""
    counts = Counter(reasons)
    n, total = sum(k for name, k in counts.items() if name), sum(counts.values())
    if not n:
        return None
    why = ", ".join(f"{k} {name}" for name, k in sorted(counts.items(), key=str) if name)
    return (
        f"{n} of {total} {what} may have text in the picture itself, such as a name or a date "
        f"({why}). medr1 does not look for it or remove it: look at the pictures before you pass "
        "them on."
    )
