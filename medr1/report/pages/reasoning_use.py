"""The part of report.html on answers from edited reasoning."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UnsetType

from medr1.documents.metric import Metric
from medr1.documents.reasoning_use import ReasoningUse
from medr1.report.charts.shares import share_cell
from medr1.report.pages.sanitize import count_text, one_line

_EDITS = {
    "cut": "the first half of the sentences",
    "shuffle": "the sentences in another order",
    "empty": "no reasoning",
    "swap": "the reasoning of another question",
    "none": "unchanged, as a control",
}
"""Edit -> what the model was given."""


def reasoning_use_view(parts: Sequence[ReasoningUse] | UnsetType) -> dict[str, object] | None:
    """The part of the page, from the summary's `reasoning_use`; None without one."""
    if isinstance(parts, UnsetType):
        return None
    return {
        "rows": [_row(part) for part in parts],
        "others": [
            {"name": f"{name} of the other question's answer", "cell": share_cell(metric)}
            for part in parts
            for name, metric in (("text", part.other_answer), ("letter", part.other_letter))
            if isinstance(metric, Metric)
        ],
    }


def _row(part: ReasoningUse) -> dict[str, object]:
    return {
        "name": one_line(part.edit, 20),
        "note": _EDITS.get(part.edit, ""),
        "n": count_text(part.n),
        "n_left_out": count_text(part.n_left_out),
        "cells": [
            share_cell(part.same_answer),
            share_cell(part.changed_answer),
            share_cell(part.accuracy),
            share_cell(part.accuracy_edited),
            share_cell(part.difference, signed=True),
        ],
    }
