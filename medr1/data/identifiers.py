"""Which keys of an item's metadata name a person or a study; what stands in the place of a value.

A patient's number in a page or a table that is sent around is a disclosure, and it says nothing to
the reader that a running number does not. Keys are judged by their names, also DICOM's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_WHOSE = {
    *("patient", "patients", "subject", "participant", "person", "donor", "pid", "mrn", "ssn"),
    *("case", "study", "series", "exam", "examination", "scan", "volume", "accession"),
    *("visit", "encounter", "admission", "instance", "specimen", "slide", "file", "image"),
}
_PEOPLE = {
    *("patient", "subject", "participant", "person", "physician", "doctor", "operator", "reader"),
    *("radiologist", "technologist", "staff", "institution", "hospital"),
}
_NUMBERS = {"id", "ids", "uid", "identifier", "number", "no", "nr", "mrn", "ssn", "pid"}
_PRIVATE = {
    *("name", "names", "initials", "surname", "birthdate", "birthday", "dob", "date", "datetime"),
    *("birth", "address", "phone", "telephone", "email"),
}
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


def is_identifier(key: str) -> bool:
    """Whether a metadata key names a person, a study or a date: `patient`, `PatientID`, `dob`.

    What only describes them does not: `patient_age`, `scanner`, `study_type`.
    """
    words = [word.lower() for word in _WORD.findall(key)]
    if not words:
        return False
    if words[-1] in _NUMBERS or all(word in _WHOSE | _NUMBERS for word in words):
        return True
    return words[-1] in _PRIVATE and (
        len(words) == 1 or words[-1] not in ("name", "names") or bool(_PEOPLE & {*words})
    )


def identifiers(metadata: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The keys that are identifiers with their values as text, also those of objects within."""
    for key, value in metadata.items():
        if isinstance(value, Mapping):
            yield from identifiers(value)
        elif is_identifier(key) and isinstance(value, str | int) and str(value).strip():
            yield key, str(value)


def running_numbers(key: str, values: Iterable[str | None]) -> dict[str, str]:
    """Value -> "patient 07", counted in the order in which the values come, so that they sort."""
    known = list(dict.fromkeys(value for value in values if value is not None))
    width = len(str(len(known)))
    return {value: f"{key} {place:0{width}d}" for place, value in enumerate(known, start=1)}


def without(text: str, hidden: Mapping[str, str]) -> str:
    """The text with every hidden value replaced; a short one only where it stands by itself.

    One or two characters are no one's identifier, and would be found in any name.
    """
    for value, instead in sorted(hidden.items(), key=lambda pair: -len(pair[0])):
        if len(value) < 3:
            continue
        pattern = re.escape(value)
        if len(value) < 4:
            pattern = rf"(?<![^\W_]){pattern}(?![^\W_])"
        text = re.sub(pattern, instead.replace("\\", r"\\"), text, flags=re.IGNORECASE)
    return text
