"""Find where a reasoning names an option: by letter, by its text, or by another name of the thing.

A mention is the words that name one option in one sentence, with what the sentence does with it:
asserts it, rules it out, or only weighs it.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from medr1.answers.prose.golds import OMITTABLE, STOP_WORDS
from medr1.answers.prose.mentions import named_things
from medr1.answers.prose.sentences import Sentence
from medr1.answers.prose.terms import forms_of, spell_out, stems, terms_of, words_of

Form = tuple[str, ...]
"""A name as the stems of its words."""

ASSERTED, RULED_OUT, WEIGHED = "asserted", "ruled_out", "weighed"

_NEGATIVE = re.compile(r"^(?:no|not|without|absence of|absent)\b\s*", re.IGNORECASE)
_LETTER = re.compile(
    r"\b(?:options?|choices?|answers?|letters?)\s*(?:choice|option)?\s*(?:is|:)?\s*\(?([A-H])\b"
    r"|\(([A-H])(?:[),]|\s*:)"
    r"|(?:^|(?<=[\s,;:>*]))([A-H])\)"
    r"|(?:^|(?<=[\s>*]))([A-H])(?=[.,;:!*]|\s*$)"
    r"|\b([B-H])\b"
    r"|\b(A)(?=\s(?:is|are|fits|would|and|or|can|has|best|seems|must|because|since|cannot|does)\b)"
)
"""A letter that stands for an option; a single A may be an article."""
_NO_LETTER = re.compile(
    r"(?:hepatitis|vitamin|type|grade|class|stage|factor|phase|group|lines?|figure|panel|image)\s$",
    re.IGNORECASE,
)
"""The text before a letter that is part of a name, such as "hepatitis B"."""
_NO_LETTER_AFTER = re.compile(r"[A-H]\s(?:lines?|arm|scan|mode|cells?|wave|sign)\b")
_REACH = 160
"""Characters before and after a mention that decide what the sentence does with it."""
_COMMON = stems("normal both none other all type image picture abnormal positive negative present")
"""Words that are in many sentences, and so do not name an option by themselves."""
_WOULD = re.compile(r"\b(?:would|were|might|could)\b|n't be\b", re.IGNORECASE)
_CONCESSION = re.compile(
    r"\b(?:although|though|while|whereas|even if|despite|in spite of|compared (?:with|to)"
    r"|comparing|as opposed to|unlike|if it (?:is|was|were)|considered|suspected|not of"
    r"|first thought|first guess)\b[^,;:]*$",
    re.IGNORECASE,
)
"""The text before a mention that is only conceded or compared: "Although melanoma"."""
_OVER = re.compile(
    r"\b(?:over|than|versus|vs\.?|instead of|excludes?|eliminates?)\s+(?:an?\s+|the\s+)?$",
    re.IGNORECASE,
)
"""The text before a mention that loses a comparison: "bacterial over viral"."""
_WRONG = re.compile(
    r"^\s?[-:] (?:no|not|cannot|unlikely|wrong|incorrect)\b"
    r"|^[^,;.]{0,40}?\b(?:(?:is|are|was|can be|could be|seems?) (?:also |clearly |therefore )?"
    r"(?:wrong|incorrect|out|ruled out|excluded|eliminated|unlikely|false|less likely|implausible"
    r"|not)\b|(?:do|does|did|can|could)(?: not|n't|not)\b)",
    re.IGNORECASE,
)
"""The text after a mention that is ruled out: "is wrong", "does not fit"."""
_CANNOT_BE = re.compile(
    r"(?:\bcannot be|\bcan't be|\bcan not be|\bisn't|\bis not|\bnot|\bnever|don't think (?:that )?"
    r"(?:the answer|it|this) is|\brules? out|\bexcludes?)\s+(?:an?\s+|the\s+|option\s+)*$",
    re.IGNORECASE,
)
_NOT_EXCLUDED = re.compile(
    r"\b(?:cannot|can't|can not|could not) be (?:\w+ )?(?:excluded|ruled out)", re.IGNORECASE
)


@dataclass(frozen=True)
class OptionNames:
    """How the options of one question may be named."""

    letters: tuple[str, ...]
    forms: tuple[tuple[Form, str], ...]
    """(stems of a name, letter); the names with the most words first."""
    negative_forms: tuple[tuple[Form, str], ...]
    """(stems of what an option denies, letter): for "No pneumonia" those of pneumonia."""
    parts: frozenset[str]
    """The stems that are one word of an option, and of no other one."""
    first_stems: frozenset[str]
    """The stems that a name begins with."""
    common: frozenset[str]
    """The letters of options such as "Normal", whose text is a common word of any description."""


@dataclass(frozen=True)
class Mention:
    """One place where a sentence names an option."""

    letter: str
    status: str
    """ASSERTED, RULED_OUT or WEIGHED."""
    start: int
    """Index of its first character in `Sentence.text`."""
    is_part: bool = False
    """Whether it is only one word of the option, which may have another meaning here."""


@lru_cache(maxsize=4096)
def option_names(options: tuple[tuple[str, str], ...], question: str) -> OptionNames:
    """How the options of a question may be named.

    Args:
        options: (letter, text) of each option.
        question: The question; its words alone name no option.
    """
    content = {letter: _content_stems(text) for letter, text in options}
    frequency = Counter(word for words in content.values() for word in set(words))
    in_question = {word.stem for word in words_of(question)}
    forms: dict[Form, set[str]] = {}
    negative: dict[Form, set[str]] = {}
    parts: set[str] = set()
    for letter, text in options:
        if is_yes_or_no(text):
            continue  # "there is no mass" does not name the option "No"
        words = content[letter]
        all_stems = tuple(word.stem for word in words_of(text))
        names = {all_stems, words}
        if match := _NEGATIVE.match(text):
            names = {all_stems}
            negative.setdefault(_content_stems(text[match.end() :]), set()).add(letter)
        else:
            names |= _other_names(text)
            if len(words) > 1:
                single = {
                    word
                    for word in words
                    if frequency[word] == 1 and word not in in_question | _COMMON and len(word) > 3
                }
                parts |= single
                names |= {(word,) for word in single}
        for name in names:
            if name and (len(name) > 1 or len(name[0]) > 1):
                forms.setdefault(name, set()).add(letter)
    letters = tuple(letter for letter, _ in options)
    common = frozenset(letter for letter in letters if set(content[letter]) <= _COMMON)
    pairs = _unique(forms), _unique(negative)
    first_stems = frozenset(form[0] for some in pairs for form, _ in some)
    return OptionNames(letters, *pairs, frozenset(parts), first_stems, common)


def may_name(text: str, names: OptionNames) -> bool:
    """Whether a sentence may name an option: a fast test, after which most need not be read.

    Args:
        text: The sentence.
        names: The names of the options.
    """
    return bool(_LETTER.search(spell_out(text))) or not names.first_stems.isdisjoint(
        word.stem for word in words_of(text)
    )


def is_yes_or_no(text: str) -> bool:
    """Whether the text of an option is yes or no."""
    return text.strip(" .").casefold() in ("yes", "no")


def _unique(forms: Mapping[Form, set[str]]) -> tuple[tuple[Form, str], ...]:
    """The names of exactly one option, those with the most words first."""
    pairs = [(form, min(letters)) for form, letters in forms.items() if len(letters) == 1 and form]
    return tuple(sorted(pairs, key=lambda pair: (-len(pair[0]), pair)))


def _content_stems(text: str) -> Form:
    """The stems of the words of an option, without words such as "the", "scan" or "side"."""
    words = tuple(word.stem for word in words_of(text) if word.stem not in STOP_WORDS)
    return tuple(word for word in words if word not in OMITTABLE) or words


def _other_names(text: str) -> set[Form]:
    """All names in the vocabulary of the one thing that an option is, such as "CT" and so on."""
    if len(named_things(text)) != 1:
        return set()
    return {form for term in terms_of(words_of(text)) for form in forms_of(term.kind, term.name)}


def mentions_in(sentence: Sentence, names: OptionNames) -> list[Mention]:
    """The mentions of options in one sentence, from left to right.

    A longer name hides the shorter ones inside it.

    Args:
        sentence: The sentence.
        names: The names of the options.
    """
    used: set[int] = set()
    mentions = []
    for form, letter in names.forms:
        for start in _positions(sentence, form):
            indices = range(start, start + len(form))
            if used.isdisjoint(indices):
                used |= set(indices)
                mention = _mention(sentence, letter, indices)
                is_part = len(form) == 1 and form[0] in names.parts
                mentions.append(replace(mention, is_part=is_part))
    for form, letter in names.negative_forms:
        for start in _positions(sentence, form):
            indices = range(start, start + len(form))
            if used.isdisjoint(indices) and all(sentence.negated[i] for i in indices):
                used |= set(indices)
                mentions.append(Mention(letter, ASSERTED, _span(sentence, indices)[0]))
    starts = {(mention.letter, mention.start) for mention in mentions}
    for mention in _letter_mentions(sentence, names):
        # of "D) X-ray" only the name counts: the words after it belong to both
        own_name = range(mention.start + 1, mention.start + 5)
        if not any((mention.letter, start) in starts for start in own_name):
            mentions.append(mention)
    return sorted(mentions, key=lambda mention: mention.start)


def _positions(sentence: Sentence, form: Form) -> Iterator[int]:
    """The index of the first word at each place where a sentence has a name."""
    for start in sentence.indices_by_stem.get(form[0], ()):
        words = sentence.words[start : start + len(form)]
        if tuple(word.stem for word in words) == form:
            yield start


def _span(sentence: Sentence, indices: range) -> tuple[int, int]:
    last = sentence.words[indices[-1]]
    return sentence.words[indices[0]].start, last.start + len(last.raw)


def _letter_mentions(sentence: Sentence, names: OptionNames) -> Iterator[Mention]:
    for match in _LETTER.finditer(sentence.text):
        group = next(i for i in range(1, 7) if match[i])
        letter, start = match[group], match.start(group)
        before, after = sentence.text[max(0, start - 20) : start], sentence.text[start : start + 20]
        if letter not in names.letters or _NO_LETTER.search(before):
            continue
        if _NO_LETTER_AFTER.match(after):
            continue
        status = _status_by_text(sentence, start, start + 1)
        index = bisect_left(sentence.words, start, key=lambda word: word.start)
        if status == ASSERTED and index < len(sentence.words) and sentence.negated[index]:
            status = RULED_OUT
        yield Mention(letter, status, start)


def _mention(sentence: Sentence, letter: str, indices: range) -> Mention:
    start, end = _span(sentence, indices)
    status = _status_by_text(sentence, start, end)
    own_negation = sentence.words[indices[0]].raw.lower() in ("no", "not", "without")
    if status == ASSERTED and not own_negation:
        if any(sentence.negated[i] for i in indices):
            status = RULED_OUT
        elif any(sentence.generic[i] or sentence.landmark[i] for i in indices) or (
            any(sentence.hedged[i] for i in indices)
            and sentence.clause[indices[0]] not in sentence.favored_clauses
        ):
            status = WEIGHED
    return Mention(letter, status, start)


def _status_by_text(sentence: Sentence, start: int, end: int) -> str:
    """The status of a mention by the words right before and after it."""
    before = sentence.text[max(0, start - _REACH) : start]
    after = sentence.text[end : end + _REACH]
    if sentence.text.rstrip().endswith("?"):
        return WEIGHED
    clause_after = re.split(r"[,;:.]", after, maxsplit=1)[0]
    if _NOT_EXCLUDED.search(clause_after):
        return WEIGHED
    if _OVER.search(before) or _CANNOT_BE.search(before) or _WRONG.match(after):
        return RULED_OUT
    if _CONCESSION.search(before) or _WOULD.search(clause_after):
        return WEIGHED
    return ASSERTED
