"""The part of report.html on claims that contradict what is known of their items."""

from __future__ import annotations

from collections.abc import Sequence

from medr1.data.identifiers import replace_identifiers
from medr1.documents.items import GalleryItem
from medr1.documents.summary import Summary
from medr1.report.charts.shares import share_cell
from medr1.report.pages.sanitize import count_text, one_line
from medr1.report.terminal.hallucination import KIND_NAMES, claims_note

MAX_EXAMPLES = 12
"""The most sentences that are shown as examples."""


def hallucination_view(summary: Summary, items: Sequence[GalleryItem]) -> dict[str, object] | None:
    """What the page shows: a sentence, the rows of two tables, and examples.

    None where claims were not checked, or no completion has any.

    Args:
        summary: The content of summary.json.
        items: The items of the gallery, of all files.
    """
    part = summary.hallucination
    if not part or not part.n_claims:
        return None
    kinds = [
        {
            "name": KIND_NAMES[name],
            "severity": kind.severity,
            "items": count_text(kind.n_items),
            "claims": count_text(kind.n_claims_checked),
            "n": count_text(kind.rate.n),
            **share_cell(kind.rate),
        }
        for name, kind in part.kinds.items()
    ]
    severities = [
        {"name": name, "n": count_text(metric.n), **share_cell(metric)}
        for name, metric in part.severities.items()
    ]
    return {
        "sentence": claims_note(part),
        "rate": {**share_cell(part.rate), "n": count_text(part.rate.n)},
        "kinds": kinds,
        "severities": severities,
        "examples": [
            example
            for item in items
            if item.row.results == summary.results
            for example in contradiction_texts(item)
        ][:MAX_EXAMPLES],
    }


def contradiction_texts(item: GalleryItem) -> list[tuple[str, str]]:
    """The kind and the sentence of each contradiction of an item, without identifiers."""
    return [
        (
            KIND_NAMES[row.kind],
            one_line(replace_identifiers(row.sentence, item.hidden), 300),
        )
        for row in item.row.contradictions or ()
    ]
