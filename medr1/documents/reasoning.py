"""The parts of summary.json and items.jsonl on the reasoning before an answer."""

from __future__ import annotations

from msgspec import Struct

from medr1.documents.metric import Metric


class ReasoningChecks(Struct, frozen=True, kw_only=True):
    """The part `reasoning` of summary.json: checks of the items that have a reasoning."""

    n: int
    """Number of items with a reasoning."""
    outcomes: dict[str, int]
    """What the reasoning concludes with, compared with the answer -> number of items."""
    names_option: Metric
    """The share of the reasonings that name an option, or say something of the answer."""
    consistent: Metric
    """The share of the reasonings that conclude with the answer."""
    contradicts: Metric
    """The share of the reasonings that conclude with another answer."""
    unclear: Metric
    """The share of the reasonings that name options and conclude with none or several."""
    accuracy_consistent: Metric
    """The accuracy of the items with a consistent reasoning."""
    accuracy_contradicts: Metric
    """The accuracy of the items whose reasoning concludes with another answer."""
    n_steps: int
    """Number of arithmetic steps that could be computed."""
    n_wrong_steps: int
    arithmetic_errors: Metric
    """The share of the items with a wrong step among those with a step."""
    words: Metric
    """The mean number of words."""
    repetition: Metric
    """The mean share of repeated 4-grams."""
    loops: Metric
    """The share of the reasonings that repeat the same words at least four times in a row."""
    language_switches: Metric
    """The share of the reasonings in more than one language or script."""


class ReasoningRow(Struct, frozen=True, kw_only=True):
    """The part `reasoning` of a line of items.jsonl; all its fields are about one reasoning."""

    outcome: str
    names_option: bool
    concluded: str | None
    """What the reasoning concludes with, in the form of an extracted answer."""
    n_steps: int
    n_wrong_steps: int
    has_loop: bool
    switches_language: bool
    characters: int
    words: int
    repetition: float
