"""Each rule for prose, taken away, changes a labelled verdict: none is there for nothing."""

from __future__ import annotations

import gc
import re
from functools import _lru_cache_wrapper
from pathlib import Path

import pytest
from test_prose import CASES, CHINESE, NEAR_MISSES, OPEN, POLARITY

from medr1.answers import answer_type_of, judge
from medr1.answers.prose import (
    assertion,
    competing,
    golds,
    languages,
    measures,
    mentions,
    opposites,
    polarity,
    propositions,
    reading,
    sentences,
    terms,
)

NEVER = re.compile("(?!)" + "()" * 7)
NONE: frozenset[str] = frozenset()


def is_never(*args: object, **more: object) -> bool:
    return False


def is_always(*args: object, **more: object) -> bool:
    return True


def nothing(*args: object, **more: object) -> None:
    return None


MUTATIONS = [
    *(
        (sentences, name, ())
        for name in ("PRE_NEGATION", "POST_NEGATION", "HEDGE", "GENERIC", "RELATION", "NORMAL_CUES")
    ),
    *(
        (sentences, name, NONE)
        for name in ("CLAUSE_ENDS", "VERBS", "DETECTION_VERBS", "SUBORDINATE")
    ),
    *((sentences, name, NEVER) for name in ("FAVORED", "CONCLUDING", "NOT_FAVORED", "IMAGE_SIDE")),
    (sentences, "DOUBLE_NEGATION", ()),
    (sentences, "_start_of_participle", lambda *given: 0),
    (sentences, "FREE_SUFFIX", NEVER),
    *(
        (reading, name, NEVER)
        for name in (
            "CORRECTION",
            "FINAL",
            "LESS_LIKELY",
            "BODY",
            "FIRST_GUESS",
            "REFUSAL",
            "PIVOT",
        )
    ),
    (reading, "BULLET", re.compile("")),
    (reading, "ENUMERATION_LENGTH", 10**9),
    (reading, "_join_fragments", lambda given: given),
    *((golds, name, NONE) for name in ("OMITTABLE", "_RELATIONS")),
    (golds, "_NEGATIVE", NEVER),
    *((mentions, name, NONE) for name in ("_LOCATING", "_NEGATING")),
    (mentions, "_is_in_range", is_never),
    (mentions, "_segments_of_other_side", lambda *given: NONE),
    (mentions, "_in_order", is_always),
    (mentions, "_mentions_in_pieces", lambda *given: []),
    (mentions, "broader_of", lambda *given: NONE),
    (mentions, "_implies", is_never),
    (assertion, "EXCLUSIVE", NONE),
    *(
        (assertion, name, is_never)
        for name in (
            "has_further_thing",
            "has_other_answer",
            "_contradicts_itself",
            "_offers_two_answers",
            "_is_long",
        )
    ),
    (assertion, "_is_fully_denied", is_always),
    (assertion, "is_only_measure", is_never),
    (assertion, "_COUNT", NEVER),
    (competing, "_is_joined", is_never),
    (competing, "_is_alternative", is_never),
    (measures, "_bound", lambda *given: ""),
    (measures, "is_ordinal", is_never),
    (polarity, "read_comparison", nothing),
    (polarity, "_mismatch", lambda *given: 0),
    (polarity, "_vote_by_other_words", nothing),
    (polarity, "_says_normal", is_never),
    (polarity, "_vote_on_both_sides", nothing),
    (polarity, "_is_about", is_always),
    (polarity, "_inner_answer", nothing),
    (polarity, "_leading_answer", nothing),
    (polarity, "_omits_place", lambda *given: 0),
    (polarity, "_denies_any", is_never),
    (polarity, "_vote_on_normality", nothing),
    (opposites, "_ANTONYMS", ()),
    (opposites, "_SYNONYMS", ()),
    (propositions, "_PRESENCE", NEVER),
    (propositions, "_SPATIAL", NEVER),
    (propositions, "_is_statement", is_never),
    (languages, "_DENIED", NEVER),
    (terms, "_ROMAN", {}),
    (terms, "_UNSTEMMED", NONE),
    (terms, "is_ordinal", is_never),
]
FINDINGS = [
    [part.strip() for part in line.split("|")][:2]
    for line in (Path(__file__).parent / "finding-cases.txt").read_text("utf-8").splitlines()
    if line and not line.startswith("#")
]
ITEMS = [
    *((case["question"], case["gold"], case["output"]) for case in CASES),
    *OPEN,
    *POLARITY,
    *NEAR_MISSES,
    *((question, gold, output) for question, gold, output, _ in CHINESE),
    *(("", gold, answer) for answer, gold in FINDINGS),
]


def clear_caches() -> None:
    """Forget what the rules computed before one was taken away."""
    for cached in [one for one in gc.get_objects() if isinstance(one, _lru_cache_wrapper)]:
        if cached.__module__.startswith("medr1.answers"):
            cached.cache_clear()


def verdicts() -> list[tuple[bool, str | None]]:
    clear_caches()
    found = [
        judge(
            output,
            ground_truth=gold,
            options={},
            answer_type=answer_type_of(gold, {}),
            question=question,
        )
        for question, gold, output in ITEMS
    ]
    return [(one.correct, one.undecided) for one in found]


@pytest.fixture(scope="module")
def as_they_are():
    yield verdicts()
    clear_caches()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "name", "instead"),
    MUTATIONS,
    ids=[f"{module.__name__[20:]}.{name}" for module, name, _ in MUTATIONS],
)
def test_each_rule_changes_a_verdict(module, name, instead, as_they_are, monkeypatch) -> None:
    assert hasattr(module, name)
    monkeypatch.setattr(module, name, instead)
    assert verdicts() != as_they_are


def test_a_mention_costs_the_same_in_a_sentence_of_any_length():
    """Counts lines of Python, so that a busy machine changes nothing."""
    import sys

    from medr1.answers.prose.mentions import Part, is_asserted
    from medr1.answers.prose.sentences import read_sentence

    def lines(times: int) -> int:
        sentence = read_sentence("grade 3 " * times)
        count = 0

        def trace(frame, event, argument):
            nonlocal count
            count += event == "line"
            return trace

        sys.settrace(trace)
        try:
            assert is_asserted((1,), Part("", "3"), sentence)
        finally:
            sys.settrace(None)
        return count

    assert lines(400) == lines(40)
