"""Whether an answer names something else beside the ground truth, or in its place.

The parts of the ground truth may all be asserted, and the answer still be wrong: "CT or MRI",
"liver and spleen", or a conclusion that names another diagnosis.
"""

from __future__ import annotations

from medr1.answers.prose.golds import OMITTABLE, STOP_WORDS, GroundTruth, Part
from medr1.answers.prose.mentions import (
    ADDITIVE,
    asserted_values,
    asserts_member,
    is_asserted,
    is_special_case,
    mentions_of,
    names_part,
    word_indices,
)
from medr1.answers.prose.sentences import Sentence
from medr1.answers.prose.terms import Term, forms_of, word_set, words_of

FINDING_KINDS = frozenset(("finding", "diagnosis"))
"""Either of these competes with the other: a diagnosis may answer what a finding answers."""
MIN_SHARED_WORDS = 2
"""Words that a sentence has to share with the question to count as repeating it."""
OR_WORDS = frozenset(("or", "vs", "versus"))
_JOINERS = frozenset((",", "and", "or", "/", "&", "plus", "versus", "vs"))
_SKIPPED = word_set(
    "a an the both also possible probable likely small large mild moderate severe acute chronic"
    " left right with"
)
"""Words between two things that do not keep them from being joined: "lungs and the left kidney"."""


def has_other_answer(ground_truth: GroundTruth, sentences: list[Sentence], question: str) -> bool:
    """Whether a sentence that answers names another thing, and not the ground truth.

    A sentence answers if it concludes, or if it repeats the words of the question, at least as
    many as any sentence with the ground truth. The thing must be of the ground truth's kind.

    Args:
        ground_truth: The ground truth.
        sentences: The sentences of the answer that can assert something.
        question: The question.
    """
    kinds = _competing_kinds(ground_truth)
    if not kinds or any(
        sentence.concluding or sentence.favored
        for sentence in sentences
        if _asserts_any_member(ground_truth, sentence)
    ):
        return False
    question_stems = {word.stem for word in words_of(question)} - STOP_WORDS - OMITTABLE
    n_shared_words = [
        len(question_stems & {word.stem for word in sentence.words}) for sentence in sentences
    ]
    assertions = [_asserts_any_member(ground_truth, sentence) for sentence in sentences]
    min_shared = max(
        [
            MIN_SHARED_WORDS,
            *(
                n_shared
                for n_shared, asserts in zip(n_shared_words, assertions, strict=True)
                if asserts
            ),
        ]
    )
    for sentence, n_shared, asserts in zip(sentences, n_shared_words, assertions, strict=True):
        if asserts or not (sentence.concluding or sentence.favored or n_shared >= min_shared):
            continue
        for term in sentence.terms:
            if term.kind not in kinds or names_part(term, ground_truth):
                continue
            # a description may name many findings; only a conclusion answers with one
            if term.kind in ("finding", "diagnosis") and not (
                sentence.concluding or sentence.favored
            ):
                continue
            if question_stems & set(forms_of(term.kind, term.name)[0]):
                continue  # the question names it, so it does not answer
            if is_asserted(word_indices(term), Part(term.kind, term.name), sentence):
                return True
    return False


def _competing_kinds(ground_truth: GroundTruth) -> set[str]:
    """The kinds of which another thing would be another answer."""
    kinds = {part.kind for part in ground_truth.parts if part.needed} & ADDITIVE
    return kinds | FINDING_KINDS if kinds & FINDING_KINDS else kinds


def _asserts_any_member(ground_truth: GroundTruth, sentence: Sentence) -> bool:
    """Whether the sentence asserts a member of the ground truth."""
    return any(asserts_member(member, sentence, ground_truth) for member in ground_truth.members)


def has_further_thing(ground_truth: GroundTruth, sentences: list[Sentence]) -> bool:
    """Whether the answer joins a further thing to the ground truth: "lungs and heart", "X or Y".

    Args:
        ground_truth: The ground truth.
        sentences: The sentences of the answer that can assert something.
    """
    kinds = _competing_kinds(ground_truth)
    asserting_sentences = [
        sentence for sentence in sentences if _asserts_any_member(ground_truth, sentence)
    ]
    concluding_sentences = [
        sentence for sentence in asserting_sentences if sentence.favored or sentence.concluding
    ]
    if (
        not concluding_sentences
        and "organ" in kinds
        and any(sentence.bullet for sentence in asserting_sentences)
    ):
        # the organs that begin the lines of a list are all part of the answer
        first_terms = [
            sentence.terms[0]
            for sentence in sentences
            if sentence.bullet
            and sentence.terms
            and not sentence.negated[0]
            and not sentence.normal
        ]
        if any(term.kind == "organ" and not names_part(term, ground_truth) for term in first_terms):
            return True
    for sentence in concluding_sentences or asserting_sentences:
        indices = sorted(
            {
                i
                for part in ground_truth.parts
                for mention in mentions_of(part, sentence)
                if is_asserted(mention, part, sentence, allow_landmark=ground_truth.has_landmark)
                for i in mention
            }
        )
        if not indices:
            continue  # it names only what the question names already
        lower_words = [word.raw.lower() for word in sentence.words]
        # an "or" between two words of the ground truth itself: "left or right pneumothorax"
        if not ground_truth.has_alternatives and any(
            lower_words[i] in OR_WORDS and sentence.clause[i] == sentence.clause[indices[0]]
            for i in range(indices[0], indices[-1])
        ):
            return True
        if not ground_truth.has_alternatives and _is_alternative(indices, ground_truth, sentence):
            return True
        for term in sentence.terms:
            if (
                term.kind not in kinds
                or set(indices) & set(word_indices(term))
                or names_part(term, ground_truth)
            ):
                continue
            if not sentence.negated[term.start] and _is_joined(
                term, indices, sentence, lower_words
            ):
                return True
    return False


def _is_alternative(indices: list[int], ground_truth: GroundTruth, sentence: Sentence) -> bool:
    """Whether an "or" beside the ground truth offers something else.

    "CT or MRI" does; "CT or computed tomography" offers only another name. `indices` are the words
    that name the ground truth.
    """
    lower_words = [word.raw.lower() for word in sentence.words]
    for i, step in ((indices[-1] + 1, 1), (indices[0] - 1, -1)):
        while 0 <= i < len(lower_words) and (lower_words[i] in _SKIPPED or lower_words[i] == ","):
            i += step
        if 0 <= i < len(lower_words) and lower_words[i] in OR_WORDS and not sentence.negated[i]:
            other_terms = [
                term
                for term in sentence.terms
                if abs(term.start - i) < 5 and (term.start - i) * step > 0
            ]
            comma_before_or = lower_words[max(0, i - 1) : i] == [","]
            comma_after_name = lower_words[indices[-1] + 1 : indices[-1] + 2] == [","]
            # "the slippage, or spondylolisthesis," gives a second name between commas
            if not other_terms and comma_before_or and comma_after_name:
                continue
            if not other_terms or not all(names_part(term, ground_truth) for term in other_terms):
                return True
    return False


def _is_joined(term: Term, indices: list[int], sentence: Sentence, lower_words: list[str]) -> bool:
    """Whether only a comma, "and", "or" and the like stand between a term and the ground truth.

    `indices` are the words that name the ground truth.
    """
    last_before = [i for i in indices if i < term.start][-1:]
    if last_before and "of" in lower_words[max(last_before[0], term.start - 2) : term.start]:
        return False  # "the vitreous of the eye and ...": the eye is joined to nothing
    first_behind = [i for i in indices if i >= term.end][:1]
    for end, start in ((last_before, [term.start]), ([term.end - 1], first_behind)):
        if end and start and sentence.clause[end[0]] == sentence.clause[start[0]]:
            between = lower_words[end[0] + 1 : start[0]]
            list_continues = {"and", "or", ","} & set(lower_words[term.end : term.end + 1])
            is_apposition = between[:2] in ([",", "a"], [",", "an"])
            if start == [term.start] and is_apposition and not list_continues:
                continue  # "lichen planus, an inflammatory disease" is one thing
            if not _JOINERS.isdisjoint(between) and set(between) <= _JOINERS | _SKIPPED:
                return True
    return False


def is_only_value(
    part: Part, ground_truth: GroundTruth, sentences: list[Sentence], question: str
) -> bool:
    """Whether the answer's value of a kind is that of the ground truth, and no other.

    Args:
        part: A part of the ground truth, of one of the kinds `mentions.EXCLUSIVE`.
        ground_truth: The ground truth.
        sentences: The sentences of the answer that can assert something.
        question: The question.
    """
    right_values = {other.name for other in ground_truth.parts if other.kind == part.kind}
    if len(ground_truth.parts) == 1 or part.kind != "side":
        sentence = _sentence_with_value(part, sentences, question)
        if sentence is None:
            return True
    else:  # a side belongs to a thing: the sentence must assert both
        members = [member for member in ground_truth.members if part in member]
        asserting_sentences = (
            sentence
            for sentence in sentences
            if all(asserts_member(member, sentence, ground_truth) for member in members)
        )
        sentence = next(asserting_sentences, sentences[0])
    values = asserted_values(part.kind, sentence)
    mentions = [
        mention for mention in mentions_of(part, sentence) if is_asserted(mention, part, sentence)
    ]
    if not mentions:
        return False
    # the clause that counts is that of the first value, in a conclusion that of the last mention
    first = min([mention[0] for mention in mentions] + [value.start for value in values])
    if sentence.concluding or sentence.favored:
        first = mentions[-1][0]
    clause = (
        sentence.clause[first] if len(ground_truth.parts) == 1 else sentence.clause[mentions[0][0]]
    )
    clause_values = {value.name for value in values if sentence.clause[value.start] == clause}
    if right_values == {"bilateral"} and clause_values <= {"left", "right", "bilateral"}:
        return "bilateral" in clause_values or clause_values == {"left", "right"}
    if right_values == {"left", "right"}:
        clause_values -= {"bilateral"}  # "both the right and the left"
    other_values = {
        name
        for name in clause_values
        if name not in right_values and not is_special_case(part.kind, name, right_values)
    }
    is_in_clause = any(sentence.clause[mention[0]] == clause for mention in mentions)
    return is_in_clause and not other_values


def _sentence_with_value(part: Part, sentences: list[Sentence], question: str) -> Sentence | None:
    """The sentence that answers with a value of the part's kind; None if no sentence has one.

    It is the first one that concludes. Without any it is the first with a value, or for a side the
    one that repeats most words of the question.
    """
    question_stems = (
        {word.stem for word in words_of(question) if len(word.stem) > 3} - STOP_WORDS - OMITTABLE
    )
    candidates = [
        sentence
        for sentence in sentences
        if asserted_values(part.kind, sentence) or mentions_of(part, sentence)
    ]
    if not candidates:
        return None
    chosen = next(
        (sentence for sentence in candidates if sentence.concluding or sentence.favored), None
    )
    if chosen is None and part.kind == "side":
        chosen = max(
            candidates,
            key=lambda sentence: len(question_stems & {word.stem for word in sentence.words}),
        )
    return chosen or candidates[0]
