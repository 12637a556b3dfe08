"""One sentence, with flags for each of its words: denied, in doubt, normal, in general, a landmark.

The rules follow the idea of NegEx (Chapman et al., 2001): a phrase such as "no" or "may" applies to
the words of its clause, before it or after it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from medr1.answers.prose.cues import (
    CLAUSE_ENDS,
    CONCLUDING,
    DETECTION_VERBS,
    DOUBLE_NEGATION,
    FAVORED,
    FREE_SUFFIX,
    GENERIC,
    HEDGE,
    IMAGE_SIDE,
    MODALS,
    MOST_LIKELY,
    NAMING_VERBS,
    NORMAL_CUES,
    NOT_FAVORED,
    POST_NEGATION,
    PRE_NEGATION,
    PREDICATES,
    RELATION,
    RELATION_REACH,
    SUBORDINATE,
    UP_TO_COMMA,
    VERBS,
)
from medr1.answers.prose.terms import Term, Word, spell_out, terms_of, words_of


@dataclass
class Sentence:
    """One sentence, or one line of a list, with flags for each of its words."""

    text: str
    """Its text after `terms.spell_out`."""
    words: list[Word]
    terms: list[Term]
    """The names of the vocabulary in it."""
    negated: list[bool]
    """Per word: whether it is denied: "effusion" of "no effusion"."""
    hedged: list[bool]
    """Per word: whether it is in doubt: "cyst" of "may be a cyst"."""
    spared: list[bool]
    """Per word: whether its clause calls the thing normal, or denies something of it: "fibula" of
    "the fibula is not fractured"."""
    landmark: list[bool]
    """Per word: whether it only says where another thing lies: "gallbladder" of "below the
    gallbladder"."""
    clause: list[int]
    """Per word: the number of its clause, from 0."""
    segment: list[int]
    """Per word: the number of its segment, from 0: a clause cut at commas, "and" and the like."""
    final: bool = False
    """Whether it stands under a heading such as IMPRESSION."""
    less_likely: bool = False
    """Whether it stands under a heading such as "Less likely"."""
    bullet: bool = False
    """Whether it is a line of a list."""
    normal: bool = False
    """Whether it calls something normal, intact, clear or the like."""
    generic: list[bool] = field(default_factory=list)
    """Per word: whether it is part of a statement in general: "cysts are usually round"."""

    @cached_property
    def indices_by_stem(self) -> dict[str, list[int]]:
        """Stem -> the indices of the words that have it."""
        indices: dict[str, list[int]] = {}
        for i, word in enumerate(self.words):
            indices.setdefault(word.stem, []).append(i)
        return indices

    @cached_property
    def favored(self) -> bool:
        """Whether it chooses one of several possibilities: "most likely"."""
        return bool(FAVORED.search(self.text)) and not NOT_FAVORED.search(self.text)

    @cached_property
    def favored_clauses(self) -> set[int]:
        """The numbers of the clauses that choose one of several possibilities."""
        if not self.favored:
            return set()
        starts = [match.start() for match in FAVORED.finditer(self.text)]
        return {
            self.clause[i]
            for i, word in enumerate(self.words)
            if any(word.start <= start < word.start + len(word.raw) for start in starts)
        }

    @cached_property
    def concluding(self) -> bool:
        """Whether it draws a conclusion: "Therefore", "the answer is"."""
        return bool(CONCLUDING.search(self.text))


def read_sentence(text: str, section: str = "") -> Sentence:
    """Read one sentence: its words, names and clauses, and the flags of each word.

    Args:
        text: The sentence.
        section: The kind of heading it stands under: "final", "lower" (less likely), "body", or ""
            without one.
    """
    text = spell_out(FREE_SUFFIX.sub(r"\1 absent", text))  # `start` of a word refers to this text
    words = words_of(text)
    lower_words = [word.raw.lower() for word in words]
    n_words = len(words)
    sentence = Sentence(
        text, words, terms_of(words),
        [False] * n_words, [False] * n_words, [False] * n_words, [False] * n_words,
        _clauses(lower_words), [],
        final=section == "final", less_likely=section == "lower",
    )  # fmt: skip
    sentence.segment = _segments(lower_words, sentence.clause)
    sentence.generic = [False] * n_words
    _mark_generic(sentence, lower_words)
    _mark_negation(sentence, lower_words)
    for term in sentence.terms:
        if lower_words[term.start] in PRE_NEGATION:  # "no abnormality" is a name for normal
            sentence.negated[term.start : term.end] = [False] * (term.end - term.start)
    for match in IMAGE_SIDE.finditer(text):
        for i, word in enumerate(words):
            sentence.hedged[i] |= match.start() <= word.start < match.end()
    _mark_hedges(sentence, lower_words)
    for start, _ in _positions(lower_words, NORMAL_CUES):
        if not sentence.negated[start]:
            sentence.normal = True
            for index in _with_antecedent(sentence.clause, lower_words, start):
                _mark_clause(sentence.spared, sentence.clause, index)
    _mark_subjects_of_not(sentence, lower_words)
    _mark_landmarks(sentence, lower_words)
    return sentence


def speaks_in_general(text: str) -> bool:
    """Whether a text has a word such as usually or commonly."""
    return any(_positions([word.raw.lower() for word in words_of(text)], GENERIC))


def _mark_generic(sentence: Sentence, lower_words: list[str]) -> None:
    """Set `generic` for the words of statements in general: "cysts are usually round"."""
    for start, end in _positions(lower_words, GENERIC):
        preceding = set(lower_words[max(0, start - 1) : start])
        # "which means that there is a leak" concludes, "edema means swelling" defines
        concludes = preceding & {"this", "that", "which", "it"} or lower_words[end : end + 1] == [
            "that"
        ]
        if lower_words[start] == "means" and concludes:
            continue
        # "a generally enlarged heart" and "commonly called ..." are about this thing
        if not {"a", "an"} & preceding and not NAMING_VERBS & set(lower_words[end : end + 1]):
            _mark_generic_from(sentence, lower_words, start)
    if lower_words[:1] == ["most"] and not MOST_LIKELY & set(lower_words[1:2]):
        _mark_generic_from(sentence, lower_words, 0)
    for start, end in _positions(lower_words, ("can be",)):
        if lower_words[end:] and lower_words[end] not in DETECTION_VERBS:
            _mark_generic_from(sentence, lower_words, start)


def _mark_generic_from(sentence: Sentence, lower_words: list[str], index: int) -> None:
    """Set `generic` from the beginning of the clause of a word to the end of the sentence.

    In a relative clause it is set for that clause alone: "a cyst, which is usually harmless".
    """
    clause_start = sentence.clause.index(sentence.clause[index])
    is_relative = lower_words[clause_start] in ("which", "who", "where")
    for i in range(clause_start, len(lower_words)):
        if not is_relative or sentence.clause[i] == sentence.clause[index]:
            sentence.generic[i] = True


def _mark_hedges(sentence: Sentence, lower_words: list[str]) -> None:
    """Set `hedged` for what a hedge, a "would" or a question mark leaves open."""
    for start, _ in _positions(lower_words, HEDGE):
        if lower_words[start] in MODALS and lower_words[start - 1 : start] == ["that"]:
            for i in range(start, len(lower_words)):
                # "a disease that may recur": the disease, before the hedge, is not in doubt
                sentence.hedged[i] |= sentence.clause[i] == sentence.clause[start]
        elif lower_words[start] != "either" or "or" in lower_words[start : start + 8]:
            _mark_clause(sentence.hedged, sentence.clause, start)
            # what a colon introduces is hedged as well: "Possibilities: a cyst, an abscess"
            next_clause = sentence.clause[start] + 1
            if (
                next_clause in sentence.clause
                and lower_words[sentence.clause.index(next_clause)] == ":"
            ):
                _mark_clause(sentence.hedged, sentence.clause, sentence.clause.index(next_clause))
    for start, end in _positions(lower_words, ("would",)):
        # "I would say" and "would suggest" commit to an answer
        commits = lower_words[end : end + 1] == ["suggest"] or {"i", "we"} & set(
            lower_words[start - 1 : start]
        )
        if not commits:
            _mark_clause(sentence.hedged, sentence.clause, start)
    if "?" in lower_words:
        sentence.hedged = [True] * len(lower_words)


def _mark_landmarks(sentence: Sentence, lower_words: list[str]) -> None:
    """Set `landmark` for the words after a relation: "below the gallbladder"."""
    for start, end in _positions(lower_words, RELATION):
        if lower_words[start] in ("toward", "towards") and {"left", "right"} & set(
            lower_words[end : end + 2]
        ):
            continue  # "displaced towards the left" says where the thing itself is
        for i in range(end, min(len(lower_words), end + RELATION_REACH)):
            word = lower_words[i]
            # "above the heart in the left lung": the lung is no landmark
            if word in CLAUSE_ENDS or word in (",", "in", "within") or word in VERBS:
                break
            sentence.landmark[i] = True


def _positions(lower_words: list[str], phrases: Iterable[str]) -> Iterable[tuple[int, int]]:
    """Each occurrence of each phrase as (index of its first word, index after its last word)."""
    padded_text = " " + " ".join(lower_words) + " "
    for phrase in phrases:
        offset = padded_text.find(f" {phrase} ")
        while offset >= 0:
            start = padded_text.count(" ", 0, offset)
            yield start, start + phrase.count(" ") + 1
            offset = padded_text.find(f" {phrase} ", offset + 1)


def _clauses(lower_words: list[str]) -> list[int]:
    """The number of the clause of each word.

    A clause ends before a word of `CLAUSE_ENDS`, before a dash, and before a comma, "and" or "with"
    that is followed by a further group of words with a verb.
    """
    clauses, number, has_verb = [], 0, False
    main_comma = -1
    if SUBORDINATE & set(lower_words[:1]) and "," in lower_words:
        main_comma = lower_words.index(",")
    for i, word in enumerate(lower_words):
        # the dash of a range or a level, as in "3-4", follows a number
        if word == "-" and not (i and lower_words[i - 1][-1:].isdigit() and lower_words[i + 1 :]):
            number, has_verb = number + 1, False
        following = lower_words[i + 1 : i + 2]
        begins = word in (",", "and", "with") and has_verb and _has_own_verb(lower_words, i + 1)
        # "lies lower and is not seen": the verb continues the clause with the same subject
        begins &= PREDICATES.isdisjoint(following)
        begins |= word == "and" and has_verb and bool(MODALS & set(following))
        if word in CLAUSE_ENDS or begins or i == main_comma:
            number, has_verb = number + 1, False
        has_verb |= word in VERBS
        clauses.append(number)
    return clauses


def _segments(lower_words: list[str], clause: list[int]) -> list[int]:
    """The number of the segment of each word: clauses cut at commas, "and", "with" and the like."""
    segments, number = [], 0
    for i, word in enumerate(lower_words):
        number += word in (",", "and", "with", "or", "plus", "&", "/", "than") or (
            i > 0 and clause[i] != clause[i - 1]
        )
        segments.append(number)
    return segments


def _has_own_verb(lower_words: list[str], start: int) -> bool:
    """Whether a verb follows within 9 words, before the next separator."""
    for word in lower_words[start : start + 9]:
        if word in (",", "and", "or") or word in CLAUSE_ENDS:
            return False
        if word in VERBS:
            return True
    return False


def _mark_clause(flags: list[bool], clause: list[int], index: int) -> None:
    """Set the flags of all words in the clause of a word."""
    for i, number in enumerate(clause):
        if number == clause[index]:
            flags[i] = True


def _with_antecedent(clause: list[int], lower_words: list[str], index: int) -> list[int]:
    """The index, and that of the word before a relative clause: "the duct, which ..., is normal".

    The second one is there only if the word at `index` follows a relative clause and its comma.
    """
    clause_start = clause.index(clause[index])
    is_relative = clause_start and lower_words[clause_start] in ("which", "who", "where")
    if is_relative and "," in lower_words[clause_start:index]:
        return [index, clause_start - 1]
    return [index]


def _mark_subjects_of_not(sentence: Sentence, lower_words: list[str]) -> None:
    """Set `spared` for a subject before "is not": the fibula of "the fibula is not fractured"."""
    for i, word in enumerate(lower_words):
        if (word == "not" and VERBS & set(lower_words[max(0, i - 1) : i])) or word.endswith("n't"):
            for j in range(i):
                sentence.spared[j] |= sentence.clause[j] == sentence.clause[i]


_CANNOT = frozenset(("cannot", "can't", "not", "couldn't"))
"""Words before "be ruled out" that turn the denial into a doubt."""


def _mark_negation(sentence: Sentence, lower_words: list[str]) -> None:
    """Set `negated` for the words before or after a phrase that denies, within its clause."""
    n_words, clause, negated = len(lower_words), sentence.clause, sentence.negated
    post_end_by_start = {}
    for start, end in _positions(lower_words, POST_NEGATION):
        preceding = lower_words[start - 2 : start - 1]
        if lower_words[start - 1 : start] == ["be"] and _CANNOT & set(preceding):
            _mark_clause(sentence.hedged, clause, start)
        else:
            post_end_by_start[start] = end
    for start in post_end_by_start:
        denied_clauses = {clause[index] for index in _with_antecedent(clause, lower_words, start)}
        if lower_words[max(0, start - 1) : start] == ["-"]:  # "pneumonia - less likely"
            denied_clauses.add(clause[start] - 1)
        first_denied = _start_of_participle(lower_words, start)
        for i in range(first_denied, start):
            negated[i] |= clause[i] in denied_clauses
    for i, word in enumerate(lower_words):
        if word.endswith("n't"):
            _negate_after(negated, clause, lower_words, i, i + 1)
        elif word == "non" and i + 1 < n_words:
            negated[i + 1] = True
    double_starts = {start for start, _ in _positions(lower_words, DOUBLE_NEGATION)}
    for start, end in _positions(lower_words, PRE_NEGATION):
        # the "not" of "is not seen" denies the words before it, not those after
        in_post_negation = start in post_end_by_start or any(
            post_start < start < post_end for post_start, post_end in post_end_by_start.items()
        )
        if start in double_starts or in_post_negation:
            continue
        _negate_after(negated, clause, lower_words, start, end)


def _start_of_participle(lower_words: list[str], end: int) -> int:
    """Index of the comma of ", the others being" before the word `end`; 0 without one.

    "A cyst is likely, an abscess being less likely" denies only what follows the comma.
    """
    commas = [i for i in range(end) if lower_words[i] == ","]
    return commas[-1] if commas and "being" in lower_words[commas[-1] : end] else 0


def _negate_after(
    negated: list[bool], clause: list[int], lower_words: list[str], start: int, end: int
) -> None:
    """Set `negated` from a phrase in words[start:end] to the end of its clause.

    After "no" and the like it is set up to the next verb: "no effusion is seen in the left lung".
    """
    stops_at_verb = lower_words[start] in (
        "no", "lack", "absence", "without", "free", "negative", "history",
    )  # fmt: skip
    for i in range(end, len(lower_words)):
        if clause[i] != clause[end - 1] or lower_words[i] in CLAUSE_ENDS:
            break
        if lower_words[i] == "," and lower_words[start] in UP_TO_COMMA:
            break
        # "no mass that is large": the verb of a relative clause ends nothing
        if (
            stops_at_verb
            and i > end
            and lower_words[i] in VERBS
            and lower_words[i - 1] not in ("that", "which", "to")
        ):
            break
        negated[i] = True
