"""The definitions of the part `hallucination` of summary.json, for `medr1 eval --explain`."""

from __future__ import annotations

from medr1.metrics.definition import OWN, SHARE, Definition

_SOURCE = "severities: Med-HallMark (arXiv 2406.10185), our reading; medr1/claims/checking.py"

HALLUCINATION = (
    Definition(
        "hallucination",
        "Hallucination rate",
        "items with a claim that contradicts what is known of the item / items with a claim that "
        "can be checked",
        "Reasoning and completion, by rules for English (medr1/claims/README.md). What is known: "
        "modality, metadata (body part, laterality, view), question, options, ground truth, and "
        "the completion's own answer. Kinds: modality, body_part, side, plane, finding, "
        "own_answer. A claim about which nothing is known is unchecked, and never counted as a "
        "contradiction. With --mode options there are no completions.",
        OWN,
        SHARE,
        "A lower bound: what cannot be checked may be wrong too. A wrong answer in words is a "
        "claim; a letter, yes or no is none.",
        _SOURCE,
    ),
    Definition(
        "hallucination_severity",
        "Hallucination rate by severity",
        "items with a contradiction of a kind of this severity / items with a claim of these kinds "
        "that can be checked",
        "Catastrophic: body_part. Critical: finding, own_answer. Attribute: side. Minor: modality, "
        "plane. Own answers are not in the published scale.",
        OWN,
        SHARE,
        "Severities are of kinds, not of single errors. A wrong side can be as harmful as a wrong "
        "organ.",
        _SOURCE,
    ),
)
