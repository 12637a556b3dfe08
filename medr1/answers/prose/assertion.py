"""Whether an open answer asserts the gold: what it names, does not deny, and does not contradict.

A gold is a finding, organ, place, side, number, grade or a list of such. An answer is right where
every part of the gold is asserted in what the text gives as its answer, and no competing value of
the same kind stands in its place.
"""

from __future__ import annotations

import re

from medr1.answers.prose.competing import (
    OR_WORDS,
    has_further_thing,
    has_other_answer,
    is_only_value,
)
from medr1.answers.prose.golds import (
    LONGEST_GROUND_TRUTH,
    STOP_WORDS,
    GroundTruth,
    parse_ground_truth,
)
from medr1.answers.prose.languages import CHINESE, OTHER, judge_chinese, language_of
from medr1.answers.prose.measures import (
    is_only_measure,
    judge_count,
    judge_measure,
    measures_in,
    single_number,
)
from medr1.answers.prose.mentions import EXCLUSIVE, asserts_member, mentions_of
from medr1.answers.prose.outcomes import Outcome
from medr1.answers.prose.reading import Prose, asserting_sentences, is_enumeration, read_prose
from medr1.answers.prose.sentences import Sentence, read_sentence, speaks_in_general
from medr1.answers.prose.terms import stems, terms_of, words_of
from medr1.normalization import fold

_NAMED_ONLY = EXCLUSIVE | {"organ", "place"}
"""Kinds that "no effusion in the left lung" does not deny."""
_MOVED = re.compile(r"\b(?:deviat|shift|displac|push|direction)", re.IGNORECASE)
"""What asks for the side that something moved to."""
_COUNT = re.compile(r"\bhow many\b|\bnumber of\b|\bcount\b", re.IGNORECASE)


def judge_prose(question: str, gold: str, answer: str) -> Outcome:
    """What an answer in prose comes to, held against the gold of an open question."""
    language = language_of(answer)
    is_report = len(gold) > LONGEST_GROUND_TRUTH
    if language == CHINESE:
        return Outcome.UNDECIDED if is_report else judge_chinese(fold(gold), answer)
    prose = read_prose(answer)
    if prose.refused:
        return Outcome.REFUSED
    if language == OTHER or is_report:
        return Outcome.UNDECIDED
    if is_enumeration("; ".join(sentence.text for sentence in prose.sentences)):
        return Outcome.UNDECIDED
    gold, question = fold(gold), fold(question)
    if _MOVED.search(question):
        for sentence in prose.sentences:
            for term in sentence.terms:
                sentence.landmark[term.start] &= term.kind != "side"
    if speaks_in_general(question):
        for sentence in prose.sentences:
            sentence.generic = [False] * len(sentence.words)
    outcome = _outcome(question, gold, prose)
    if outcome is Outcome.RIGHT and _is_one_of_two(question, gold, prose):
        return Outcome.WRONG
    return outcome


def _outcome(question: str, gold: str, prose: Prose) -> Outcome:
    """The verdict of the rules for the gold's kind."""
    parsed = parse_ground_truth(gold, question)
    if not parsed.parts:
        return Outcome.WRONG
    if _COUNT.search(question) and (number := single_number(gold)) is not None:
        return judge_count(number, prose)
    if (measure := measures_in(gold)) and is_only_measure(gold):
        return judge_measure(measure[0], prose, question)
    if parsed.is_negative:
        return _judge_denied(parsed, prose, question)
    if all(part.kind == "state" and part.name == "normal" for part in parsed.parts):
        return _judge_normal(question, prose)
    return _judge_asserted(parsed, prose, question)


def _is_one_of_two(question: str, gold: str, prose: Prose) -> bool:
    """Whether one sentence offers two answers, of which one alone would be right: "X or Y"."""
    if len(prose.sentences) != 1 or (sentence := prose.sentences[0]).favored:
        return False
    low = [word.raw.lower() for word in sentence.words]
    denied = parse_ground_truth(gold, question).is_negative  # whose list may go on: "no X, Y or Z"
    joints = [
        i for i, w in enumerate(low) if w in OR_WORDS and not (denied and sentence.negated[i])
    ]
    if not joints or OR_WORDS & set(gold.lower().split()):
        return False
    place = sentence.words[joints[0]].start
    halves = (sentence.text[:place], sentence.text[place + len(low[joints[0]]) :])
    outcomes = {
        _outcome(question, gold, Prose([read_sentence(half)])) is Outcome.RIGHT for half in halves
    }
    return len(outcomes) == 2


def _judge_asserted(gold: GroundTruth, prose: Prose, question: str) -> Outcome:
    sentences = asserting_sentences(prose)
    for member in gold.members:
        if not any(asserts_member(member, sentence, gold) for sentence in sentences):
            named = all(any(mentions_of(p, s) for s in prose.sentences) for p in member if p.needed)
            return Outcome.UNDECIDED if named and _is_long(prose) else Outcome.WRONG
    for part in gold.parts:
        if (
            part.kind in EXCLUSIVE
            and part.needed
            and not is_only_value(part, gold, sentences, question)
        ):
            return Outcome.WRONG
    if has_further_thing(gold, sentences) or has_other_answer(gold, sentences, question):
        return Outcome.WRONG
    if _contradicts_itself(gold, prose):
        return Outcome.UNDECIDED
    return Outcome.RIGHT


def _contradicts_itself(gold: GroundTruth, prose: Prose) -> bool:
    """Whether a sentence asserts and denies the same: "effusion, no effusion"."""
    for sentence in prose.sentences:
        for part in gold.parts:
            if not part.needed or part.kind in _NAMED_ONLY or sentence.concluding:
                continue
            spots = mentions_of(part, sentence)
            denied = [spot for spot in spots if any(sentence.negated[i] for i in spot)]
            for one in denied:
                for other in spots:
                    if other not in denied and not _differ_in_side(one, other, sentence):
                        return True
    return False


def _differ_in_side(one: tuple[int, ...], other: tuple[int, ...], sentence: Sentence) -> bool:
    """Whether two mentions are of different sides, each named in its own segment."""
    sides = [
        {
            term.name
            for term in sentence.terms
            if term.kind == "side" and sentence.segment[term.start] == sentence.segment[spot[0]]
        }
        for spot in (one, other)
    ]
    return bool(sides[0] and sides[1]) and sides[0].isdisjoint(sides[1])


def _is_long(prose: Prose) -> bool:
    return sum(len(s.words) for s in prose.sentences) > 25


def _judge_denied(gold: GroundTruth, prose: Prose, question: str) -> Outcome:
    """A gold such as "no fracture": denied somewhere, asserted nowhere.

    "No new fracture" denies less than that.
    """
    denied = asserted = False
    known = {form_stem for p in gold.parts for form in p.forms for form_stem in form}
    known |= {word.stem for word in words_of(question)} | STOP_WORDS | _DENYING
    for sentence in prose.sentences:
        spots = [mentions_of(part, sentence) for part in gold.parts if part.needed]
        if not spots or not all(spots):
            continue
        head = spots[-1]
        for spot in head:
            if all(sentence.negated[i] for i in spot):
                denied |= _is_denied_whole(spot, sentence, known)
            elif not any(sentence.generic[i] for i in spot):
                asserted = True
    if not gold.parts:
        return Outcome.UNDECIDED
    return Outcome.RIGHT if denied and not asserted else Outcome.WRONG


_DENYING = stems(
    "no not without evidence sign definite obvious focal any is are of for other abnormal"
    " significant visible image show radiograph x ray scan demonstrate identify appreciate see"
)


def _is_denied_whole(
    spot: tuple[int, ...], sentence: Sentence, known: set[str] | frozenset[str]
) -> bool:
    """Whether nothing between the negation and the thing restricts it: "no new effusion" does."""
    first = spot[0]
    for i in range(first - 1, -1, -1):
        if not sentence.negated[i]:
            return True
        word = sentence.words[i]
        if word.raw in (",", "or", "nor", "and", "any"):
            return True
        if word.stem not in known:
            return False
    return True


def _judge_normal(question: str, prose: Prose) -> Outcome:
    """A gold that says normal: called so, and nothing abnormal asserted."""
    normal, finding = False, False
    about = [t for t in terms_of(words_of(question)) if t.kind in ("organ", "place")]
    for sentence in asserting_sentences(prose):
        for term in sentence.terms:
            negated = sentence.negated[term.start] or sentence.generic[term.start]
            if term.kind == "state" and term.name == "normal":
                normal |= not negated
                finding |= negated
            elif (term.kind in ("finding", "diagnosis") and not negated and not about) or (
                term.kind == "state"
                and term.name in ("abnormal", "enlarged", "dilated")
                and not negated
            ):
                finding = True
    return Outcome.RIGHT if normal and not finding else Outcome.WRONG
