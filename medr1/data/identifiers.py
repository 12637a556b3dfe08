"""Find the metadata keys that identify a person or a study, and replace their values.

Pages and tables are passed on to others, so a patient's identifier must not be in them. A running
number such as "patient 07" tells a reader as much. Whether a key is an identifier is decided by the
words of its name, including DICOM's names such as PatientID.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

_OWNERS = {
    *("patient", "patients", "subject", "participant", "person", "donor", "pid", "mrn", "ssn"),
    *("case", "study", "series", "exam", "examination", "scan", "volume", "accession"),
    *("visit", "encounter", "admission", "instance", "specimen", "slide", "file", "image"),
}
"""What an identifier can belong to."""
_PEOPLE = {
    *("patient", "subject", "participant", "person", "physician", "doctor", "operator", "reader"),
    *("radiologist", "technologist", "staff", "institution", "hospital"),
}
"""People and institutions, whose names are private; the name of a manufacturer is not."""
_NUMBERS = {"id", "ids", "uid", "identifier", "number", "no", "nr", "mrn", "ssn", "pid"}
"""Last words of a key that make it an identifier."""
_PRIVATE = {
    *("name", "names", "initials", "surname", "birthdate", "birthday", "dob", "date", "datetime"),
    *("birth", "address", "phone", "telephone", "email"),
}
"""Last words of a key whose values are private."""
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


def is_identifier(key: str) -> bool:
    """Whether the values of a metadata key identify a person or a study, or are dates or addresses.

    `PatientID`, `accession`, `dob` do; descriptions such as `patient_age` and `scanner` do not.
    """
    words = [word.lower() for word in _WORD.findall(key)]
    if not words:
        return False
    if words[-1] in _NUMBERS or all(word in _OWNERS | _NUMBERS for word in words):
        return True
    return words[-1] in _PRIVATE and (
        len(words) == 1 or words[-1] not in ("name", "names") or bool(_PEOPLE & {*words})
    )


def identifiers(metadata: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """(key, value as text) of each identifier in the metadata, including nested objects."""
    for key, value in metadata.items():
        if isinstance(value, Mapping):
            yield from identifiers(value)
        elif is_identifier(key) and isinstance(value, str | int) and str(value).strip():
            yield key, str(value)


def running_numbers(key: str, values: Iterable[str | None]) -> dict[str, str]:
    """Number the different values of a key in the order of their first occurrence.

    Args:
        key: The metadata key, such as "patient".
        values: The value of each item; None if the item does not have the key.

    Returns:
        Value -> its replacement, such as "patient 07". All numbers have the same number of digits,
        so that they sort as text.
    """
    distinct = list(dict.fromkeys(value for value in values if value is not None))
    width = len(str(len(distinct)))
    return {value: f"{key} {number:0{width}d}" for number, value in enumerate(distinct, start=1)}


def replace_identifiers(text: str, replacements: Mapping[str, str]) -> str:
    """Replace every identifier in a text, such as a file name or an error message.

    Upper and lower case are the same. A value of three characters is replaced only if no letter or
    digit is next to it. A value of one or two characters stays: it does not identify anybody, and
    it may occur in any text by chance.

    Args:
        text: The text to clean.
        replacements: Identifier -> the text that replaces it (`running_numbers`). Longer ones are
            replaced first, because a short one may be a part of them.
    """
    for value, replacement in sorted(replacements.items(), key=lambda pair: -len(pair[0])):
        if len(value) < 3:
            continue
        pattern = re.escape(value)
        if len(value) < 4:
            pattern = rf"(?<![^\W_]){pattern}(?![^\W_])"
        text = re.sub(pattern, replacement.replace("\\", r"\\"), text, flags=re.IGNORECASE)
    return text
