"""Decide whether an answer is right: the only place that does, for rewards and metrics alike.

`extract` reads the answer in a completion, `judge` also compares it with the ground truth. Both
always have the same result for the same texts, accept nothing that only resembles the right answer,
and take time that is linear in the length of the completion. README.md explains the rules.

blocks: <think> and <answer> tags. options: options and ground truths in published files. readings:
the answer in one text. equality and symbolic: whether two answers are the same. findings and
phrases: what an open answer claims, with negation and side. sides: words that mirroring makes
wrong. protocols: the rules of other projects. prose: answers in sentences and reports.

A module is imported when one of its names is first used: compiling the patterns of all rules takes
longer than all else that `medr1 --help` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from medr1.lazy_imports import lazy_attributes

if TYPE_CHECKING:
    from medr1.answers.blocks import (
        FORMATS,
        format_completion,
        format_of,
        has_format,
        reasoning_of,
    )
    from medr1.answers.extraction import (
        UNDECIDED,
        Extraction,
        Verdict,
        extract,
        ground_truth_answer,
        judge,
        resolve_protocol,
        same_answer,
    )
    from medr1.answers.findings import Claims, Finding, claim_differences, claims
    from medr1.answers.options import answer_type_of, parse_problem, parse_solution
    from medr1.answers.protocols.authors import ScriptChoice, authors_format, authors_reward
    from medr1.answers.protocols.names import (
        ALL_PROTOCOLS,
        PROTOCOLS,
        PUBLISHED,
        SCRIPTS,
        SUMMARY_PROTOCOLS,
    )
    from medr1.answers.readings import MAX_TEXT_CHARACTERS
    from medr1.text.normalization import normalize
    from medr1.text.quantities import parse_number

__getattr__ = lazy_attributes(
    __name__,
    {
        "medr1.answers.protocols.authors": ("ScriptChoice", "authors_format", "authors_reward"),
        "medr1.answers.blocks": (
            *("FORMATS", "format_completion", "format_of", "has_format", "reasoning_of"),
        ),
        "medr1.answers.extraction": (
            *("UNDECIDED", "Extraction", "Verdict", "extract", "ground_truth_answer", "judge"),
            *("resolve_protocol", "same_answer"),
        ),
        "medr1.answers.findings": ("Claims", "Finding", "claim_differences", "claims"),
        "medr1.answers.options": ("answer_type_of", "parse_problem", "parse_solution"),
        "medr1.answers.protocols.names": (
            *("ALL_PROTOCOLS", "PROTOCOLS", "PUBLISHED", "SCRIPTS", "SUMMARY_PROTOCOLS"),
        ),
        "medr1.answers.readings": ("MAX_TEXT_CHARACTERS",),
        "medr1.text.normalization": ("normalize",),
        "medr1.text.quantities": ("parse_number",),
    },
)
"""Module -> its names that this package has; the same as in the imports above."""

__all__ = [
    "ALL_PROTOCOLS",
    "FORMATS",
    "MAX_TEXT_CHARACTERS",
    "PROTOCOLS",
    "PUBLISHED",
    "SCRIPTS",
    "SUMMARY_PROTOCOLS",
    "UNDECIDED",
    "Claims",
    "Extraction",
    "Finding",
    "ScriptChoice",
    "Verdict",
    "answer_type_of",
    "authors_format",
    "authors_reward",
    "claim_differences",
    "claims",
    "extract",
    "format_completion",
    "format_of",
    "ground_truth_answer",
    "has_format",
    "judge",
    "normalize",
    "parse_number",
    "parse_problem",
    "parse_solution",
    "reasoning_of",
    "resolve_protocol",
    "same_answer",
]
