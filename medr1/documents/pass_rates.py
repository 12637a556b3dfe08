"""The pass rates of questions, which `medr1 data filter --pass-rates` writes for a curriculum."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class PassRate(Struct, frozen=True, kw_only=True):
    """How often a question was answered right."""

    pass_rate: float
    """Share of right completions, from 0 to 1."""
    completions: int
    """Number of completions, at least 1."""
    question_sha256: str
    """Hash of the question, the texts of its options and its ground truth."""


class PassRates(Struct, frozen=True, kw_only=True):
    """The pass rates of the questions of a file."""

    schema: Literal["medr1.pass-rates/1"] = "medr1.pass-rates/1"
    data: str
    """Name of the file with the questions, without its folder."""
    data_sha256: str
    """Hash of that file."""
    protocol: str
    """The rules that decided whether a completion is right."""
    questions: dict[str, PassRate]
    """Id of a question -> its pass rate; questions without a completion are absent."""
