"""Whether an answer in prose asserts the ground truth of an open question.

A ground truth is a finding, organ, place, side, number, grade or a list of these. An answer is
right if the sentences that answer assert every part of it, deny none, and name no competing value
of the same kind.
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
from medr1.answers.prose.outcomes import ProseOutcome
from medr1.answers.prose.reading import Prose, asserting_sentences, is_enumeration, read_prose
from medr1.answers.prose.sentences import Sentence, read_sentence, speaks_in_general
from medr1.answers.prose.terms import stems, terms_of, words_of
from medr1.text.normalization import fold

_LOCATING_KINDS = EXCLUSIVE | {"organ", "place"}
"""Kinds that say where a thing is or how it is seen: "no effusion in the left lung" denies only
the effusion."""
_MOVED = re.compile(r"\b(?:deviat|shift|displac|push|direction)", re.IGNORECASE)
"""Words of a question that asks for the side to which something moved."""
_COUNT = re.compile(r"\bhow many\b|\bnumber of\b|\bcount\b", re.IGNORECASE)


def judge_prose(question: str, ground_truth: str, answer: str) -> ProseOutcome:
    """Judge an answer in prose to an open question.

    Args:
        question: The question; "" if there is none.
        ground_truth: The right answer.
        answer: The text that answers, without tags and "The answer is".
    """
    language = language_of(answer)
    is_report = len(ground_truth) > LONGEST_GROUND_TRUTH
    if language == CHINESE:
        return ProseOutcome.UNDECIDED if is_report else judge_chinese(fold(ground_truth), answer)
    prose = read_prose(answer)
    if prose.refused:
        return ProseOutcome.REFUSED
    if language == OTHER or is_report:
        return ProseOutcome.UNDECIDED
    if is_enumeration("; ".join(sentence.text for sentence in prose.sentences)):
        return ProseOutcome.UNDECIDED
    ground_truth, question = fold(ground_truth), fold(question)
    if _MOVED.search(question):
        # "displaced by a mass on the left": here a side is the answer, not a landmark
        for sentence in prose.sentences:
            for term in sentence.terms:
                sentence.landmark[term.start] &= term.kind != "side"
    if speaks_in_general(question):
        # to "What usually causes this?" a statement in general is the answer
        for sentence in prose.sentences:
            sentence.generic = [False] * len(sentence.words)
    outcome = _outcome(question, ground_truth, prose)
    if outcome is ProseOutcome.RIGHT and _offers_two_answers(question, ground_truth, prose):
        return ProseOutcome.WRONG
    return outcome


def _outcome(question: str, ground_truth: str, prose: Prose) -> ProseOutcome:
    """The verdict by the rules for the kind of ground truth: count, measure, negative and so on."""
    parsed = parse_ground_truth(ground_truth, question)
    if not parsed.parts:
        return ProseOutcome.WRONG
    if _COUNT.search(question) and (number := single_number(ground_truth)) is not None:
        return judge_count(number, prose)
    if (measures := measures_in(ground_truth)) and is_only_measure(ground_truth):
        return judge_measure(measures[0], prose, question)
    if parsed.is_negative:
        return _judge_negative(parsed, prose, question)
    if all(part.kind == "state" and part.name == "normal" for part in parsed.parts):
        return _judge_normal(question, prose)
    return _judge_asserted(parsed, prose, question)


def _offers_two_answers(question: str, ground_truth: str, prose: Prose) -> bool:
    """Whether the only sentence offers two answers, of which one alone would be right: "X or Y"."""
    if len(prose.sentences) != 1 or (sentence := prose.sentences[0]).favored:
        return False
    lower_words = [word.raw.lower() for word in sentence.words]
    # the list of a negative ground truth may go on: "no X, Y or Z"
    is_negative = parse_ground_truth(ground_truth, question).is_negative
    or_indices = [
        i
        for i, word in enumerate(lower_words)
        if word in OR_WORDS and not (is_negative and sentence.negated[i])
    ]
    if not or_indices or OR_WORDS & set(ground_truth.lower().split()):
        return False
    start = sentence.words[or_indices[0]].start
    halves = (sentence.text[:start], sentence.text[start + len(lower_words[or_indices[0]]) :])
    verdicts = {
        _outcome(question, ground_truth, Prose([read_sentence(half)])) is ProseOutcome.RIGHT
        for half in halves
    }
    return len(verdicts) == 2


def _judge_asserted(ground_truth: GroundTruth, prose: Prose, question: str) -> ProseOutcome:
    """Judge an answer to a ground truth that names things: all asserted, and nothing else."""
    sentences = asserting_sentences(prose)
    for member in ground_truth.members:
        if not any(asserts_member(member, sentence, ground_truth) for sentence in sentences):
            # in a long text the rules may have misread a sentence that names all of it
            names_all = all(
                any(mentions_of(part, sentence) for sentence in prose.sentences)
                for part in member
                if part.needed
            )
            return ProseOutcome.UNDECIDED if names_all and _is_long(prose) else ProseOutcome.WRONG
    for part in ground_truth.parts:
        if (
            part.kind in EXCLUSIVE
            and part.needed
            and not is_only_value(part, ground_truth, sentences, question)
        ):
            return ProseOutcome.WRONG
    if has_further_thing(ground_truth, sentences) or has_other_answer(
        ground_truth, sentences, question
    ):
        return ProseOutcome.WRONG
    if _contradicts_itself(ground_truth, prose):
        return ProseOutcome.UNDECIDED
    return ProseOutcome.RIGHT


def _contradicts_itself(ground_truth: GroundTruth, prose: Prose) -> bool:
    """Whether a sentence asserts and denies the same thing: "effusion, no effusion"."""
    for sentence in prose.sentences:
        for part in ground_truth.parts:
            if not part.needed or part.kind in _LOCATING_KINDS or sentence.concluding:
                continue
            mentions = mentions_of(part, sentence)
            denied_mentions = [
                mention for mention in mentions if any(sentence.negated[i] for i in mention)
            ]
            for denied_mention in denied_mentions:
                for mention in mentions:
                    if mention not in denied_mentions and not _differ_in_side(
                        denied_mention, mention, sentence
                    ):
                        return True
    return False


def _differ_in_side(first: tuple[int, ...], second: tuple[int, ...], sentence: Sentence) -> bool:
    """Whether the segments of two mentions name different sides: "left effusion, none right"."""
    sides = [
        {
            term.name
            for term in sentence.terms
            if term.kind == "side" and sentence.segment[term.start] == sentence.segment[mention[0]]
        }
        for mention in (first, second)
    ]
    return bool(sides[0] and sides[1]) and sides[0].isdisjoint(sides[1])


def _is_long(prose: Prose) -> bool:
    return sum(len(sentence.words) for sentence in prose.sentences) > 25


def _judge_negative(ground_truth: GroundTruth, prose: Prose, question: str) -> ProseOutcome:
    """Judge an answer to a ground truth such as "no fracture": denied, and asserted nowhere.

    "No new fracture" denies less than "no fracture", so it is wrong.
    """
    denied = asserted = False
    expected_stems = {
        form_stem for part in ground_truth.parts for form in part.forms for form_stem in form
    }
    expected_stems |= {word.stem for word in words_of(question)} | STOP_WORDS | _DENYING
    for sentence in prose.sentences:
        mentions_by_part = [
            mentions_of(part, sentence) for part in ground_truth.parts if part.needed
        ]
        if not mentions_by_part or not all(mentions_by_part):
            continue
        for mention in mentions_by_part[-1]:  # the last part is the thing: "new rib fracture"
            if all(sentence.negated[i] for i in mention):
                denied |= _is_fully_denied(mention, sentence, expected_stems)
            elif not any(sentence.generic[i] for i in mention):
                asserted = True
    if not ground_truth.parts:
        return ProseOutcome.UNDECIDED
    return ProseOutcome.RIGHT if denied and not asserted else ProseOutcome.WRONG


_DENYING = stems(
    "no not without evidence sign definite obvious focal any is are of for other abnormal"
    " significant visible image show radiograph x ray scan demonstrate identify appreciate see"
)
"""Words of a denial that do not restrict it: "no definite fracture"."""


def _is_fully_denied(
    mention: tuple[int, ...], sentence: Sentence, expected_stems: set[str] | frozenset[str]
) -> bool:
    """Whether no word before the thing restricts its negation, as in "no new effusion"."""
    first = mention[0]
    for i in range(first - 1, -1, -1):
        if not sentence.negated[i]:
            return True
        word = sentence.words[i]
        if word.raw in (",", "or", "nor", "and", "any"):
            return True
        if word.stem not in expected_stems:
            return False
    return True


def _judge_normal(question: str, prose: Prose) -> ProseOutcome:
    """Judge an answer to a ground truth such as "normal": called so, and nothing abnormal."""
    is_normal, is_abnormal = False, False
    # a finding elsewhere does not matter if the question is about one organ
    organs = [term for term in terms_of(words_of(question)) if term.kind in ("organ", "place")]
    for sentence in asserting_sentences(prose):
        for term in sentence.terms:
            negated = sentence.negated[term.start] or sentence.generic[term.start]
            if term.kind == "state" and term.name == "normal":
                is_normal |= not negated
                is_abnormal |= negated
            elif (term.kind in ("finding", "diagnosis") and not negated and not organs) or (
                term.kind == "state"
                and term.name in ("abnormal", "enlarged", "dilated")
                and not negated
            ):
                is_abnormal = True
    return ProseOutcome.RIGHT if is_normal and not is_abnormal else ProseOutcome.WRONG
