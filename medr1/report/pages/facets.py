"""What the gallery of report.html can be filtered by, and links that set its filters."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence

from medr1.documents.items import GalleryItem
from medr1.report.pages.sanitize import one_line, short_path

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
LETTERS, TEXTS = "letters", "texts"
"""Facets of (ground truth, model's answer), as in the two confusion matrices. They have no menu."""
MAX_VALUES = 200
"""A facet with more values than this has no menu."""
_LABELS = {
    "results": "file",
    "kind": "verdict",
    "question_type": "question type",
    "dataset": "data set",
    "option_count": "number of options",
    "answer_type": "answer type",
}


class Facets:
    """The values of each facet among the items of a gallery, each value with a number (its code).

    An item carries the codes of its values, one for each facet, for the page's script. A link
    carries the codes that an item needs to be shown: "0=1 6=3,8" is value 1 of facet 0 (the facets
    are counted from 0), and one of the values 3 and 8 of facet 6.
    """

    def __init__(self, items: Sequence[GalleryItem]) -> None:
        kinds = dict.fromkeys(kind for item in items for kind in item.groups)
        self._names = ["results", "kind", *(f"group {kind}" for kind in kinds)]
        self._names += ["answer_type", LETTERS, TEXTS]
        self._codes: dict[str, dict[Hashable, int]] = {name: {} for name in self._names}
        present = {item.row.kind for item in items}
        in_order = [kind for kind in KINDS if kind in present]
        self._codes["kind"] = {kind: code for code, kind in enumerate(in_order)}
        self._item_codes = {id(item): self._add(item) for item in items}

    def _add(self, item: GalleryItem) -> str:
        """The codes of an item's values, in the order of the facets, separated by blanks."""
        values: dict[str, Hashable] = {
            "results": item.row.results,
            "kind": item.row.kind,
            "answer_type": item.row.answer_type,
            LETTERS: item.by_letter,
            TEXTS: item.by_text,
        }
        values |= {f"group {kind}": value for kind, value in item.groups.items()}
        codes = []
        for name in self._names:
            known = self._codes[name]
            codes.append(known.setdefault(values.get(name), len(known)))
        return " ".join(map(str, codes))

    def codes_of(self, item: GalleryItem) -> str:
        """The codes of one of the items."""
        return self._item_codes[id(item)]

    def kinds(self) -> list[str]:
        """The kinds of verdicts in the gallery, in the order of KINDS."""
        return [str(kind) for kind in self._codes["kind"]]

    def menus(self) -> list[dict[str, object]]:
        """The facets with a menu: their place, label, and (value's name, code), sorted by name."""
        return [
            {
                "place": place,
                "name": name,
                "label": self._label(name),
                "values": self._named_values(name),
            }
            for place, name in enumerate(self._names)
            # a menu with one value would not filter
            if name not in (LETTERS, TEXTS) and 1 < len(self._codes[name]) <= MAX_VALUES
        ]

    def _label(self, name: str) -> str:
        key = name.removeprefix("group ")
        return _LABELS.get(key) or one_line(key.replace("_", " "), 60)

    def _named_values(self, name: str) -> list[tuple[str, int]]:
        values = [(_value_name(name, value), code) for value, code in self._codes[name].items()]
        return values if name == "kind" else sorted(values)

    def link(self, results: str | None, name: str, values: Iterable[Hashable]) -> str | None:
        """The codes that show the items of a file with one of some values of a facet.

        Args:
            results: The results file.
            name: The facet: "group KIND", "kind", LETTERS or TEXTS.
            values: The values; (ground truth, model's answer) for LETTERS and TEXTS.

        Returns:
            The codes as text; None if no item of the gallery has one of the values.
        """
        known: Mapping[Hashable, int] = self._codes.get(name, {})
        codes = sorted(known[value] for value in values if value in known)
        file = self._codes["results"].get(results)
        if not codes or file is None:
            return None
        codes_text = f"{self._names.index(name)}={','.join(map(str, codes))}"
        return f"0={file} {codes_text}" if len(self._codes["results"]) > 1 else codes_text


def _value_name(name: str, value: Hashable) -> str:
    """A value of a facet as the page shows it."""
    if value is None:
        return "(not given)"
    if name == "kind":
        return KINDS[str(value)]
    return short_path(value) if name == "results" else one_line(value, 60) or "(empty)"
