"""The only place that knows <think>, <answer>, options, letters and numbers, and what is right.

`extract` finds the answer of an output, `judge` holds it against the gold. Rewards and metrics ask
both here, so that training and evaluation cannot drift apart. Never fuzzy, never random, and linear
in the length of the output.

blocks: tags. options: how questions are published. readings: what a text answers. equality and
symbolic: when two answers are the same. findings and phrases: what an open answer claims, with
negation and side. authors: Med-R1's own rules.
"""

from medr1.answers.authors import SCRIPTS, Choice, authors_format, authors_reward
from medr1.answers.blocks import FORMATS, format_of, has_format, in_format, rationale_of
from medr1.answers.extraction import (
    PROTOCOLS,
    SHOWN_PROTOCOLS,
    UNDECIDED,
    Extraction,
    Verdict,
    extract,
    gold_answer,
    judge,
    resolve_protocol,
    same_answer,
)
from medr1.answers.findings import Claims, Finding, claims, difference
from medr1.answers.options import answer_type_of, parse_problem, parse_solution
from medr1.answers.readings import LONG
from medr1.normalization import normalize
from medr1.quantities import parse_number

__all__ = [
    "FORMATS",
    "LONG",
    "PROTOCOLS",
    "SCRIPTS",
    "SHOWN_PROTOCOLS",
    "UNDECIDED",
    "Choice",
    "Claims",
    "Extraction",
    "Finding",
    "Verdict",
    "answer_type_of",
    "authors_format",
    "authors_reward",
    "claims",
    "difference",
    "extract",
    "format_of",
    "gold_answer",
    "has_format",
    "in_format",
    "judge",
    "normalize",
    "parse_number",
    "parse_problem",
    "parse_solution",
    "rationale_of",
    "resolve_protocol",
    "same_answer",
]
