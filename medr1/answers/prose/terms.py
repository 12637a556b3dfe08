"""Words and medical terms of a text: spelling, stems, and names from the vocabulary.

`vocabulary.tsv` has a row for each thing that has several names, with its kind; VOCABULARY.md says
where each row comes from. Words are compared by their Snowball stem, so that "infarction" equals
"infarct". The tables are built at the first call and then cached.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Protocol


def word_set(text: str) -> frozenset[str]:
    """The words of a text, which are separated by blanks."""
    return frozenset(text.split())


def phrases(text: str) -> tuple[str, ...]:
    """The phrases of a text, which are separated by `|`."""
    return tuple(phrase.strip() for phrase in text.split("|"))


LONGEST_PHRASE = 6
"""Number of words of the longest name that is searched for."""

_WORD = re.compile(
    r"\d+(?:st|nd|rd|th)\b|\d+\s?\+\s?\d+|(?<![\w.)])-\d+(?:[.,]\d+)*|(?<!\w)[^\W\d_]{1,2}\d{1,2}(?!\w)"
    r"|[^\W\d_]+(?:'[a-z]+)?|\d+(?:[.,]\d+)*|[^\w\s]|_"
)
"""One word, number or sign. T1, L4 and a Gleason score such as 3+4 are one word each."""
_HYPHEN = re.compile(r"(?<=[^\W\d_])-(?=[^\W\d_])")
"""A hyphen between two letters."""
_BRITISH = (
    (re.compile(r"^(o|a)e(?=dem|soph|stro|tiolog|stiv)"), "e"),
    (re.compile(r"ae(?=m|st|c[auo]|r[ueo]?s|ol|di|th)"), "e"),
    (re.compile(r"oe(?=dem|soph|li|rul|tus|tal|stro|a$|ic$)"), "e"),
    (re.compile(r"(?<=[mlnv])our(?=s?$|ed$|ing$|less$)"), "or"),
    (re.compile(r"(?<=[tb])re(?=s?$)"), "er"),
    (re.compile(r"is(?=ed$|ing$|es?$|ation)"), "iz"),
    (re.compile(r"(?<=leu)c(?=o)"), "k"),
)
"""(ending or part of a word in British spelling, the same in American spelling)."""
_NOT_BRITISH = word_set("four hour pour tour your our raised rise rises noise disease diseased")
_ROMAN = dict(zip("i ii iii iv v vi vii viii ix x".split(), range(1, 11), strict=True))  # noqa: SIM905
_NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve".split()  # noqa: SIM905
_ORDINALS = "third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth".split()  # noqa: SIM905
_DIGITS = {word: str(number) for number, word in enumerate(_NUMBERS)} | {
    word: str(number) for number, word in enumerate(_ORDINALS, 3)
}
_GRADE_WORD = re.compile(
    r"grade|stage|type|class|segment|category|fazekas|level|factor|zone|birads|rads|score|lawrence|^kl$"
)
"""A word before a Roman numeral that makes it a number: "stage II"."""
_UNSTEMMED = word_set("several testes malignancy hepatization")
"""Words that are not stemmed, because another word has the same stem.

These are severe, test, malignant and hepatic. The same holds for words in -itis.
"""
_ENGLISH_WORDS = word_set(
    "us it ten all ms pe as ra or so cc is pa ap ad an at be by do go he if in me my no of on"
    " to up we pet cat mass tia can sad pid aid care map ret era via tap mean sob"
)
"""Abbreviations that are also English words, and so are read in capitals only."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word, number or sign of a text."""

    raw: str
    """As it is written in the text, after `spell_out`."""
    stem: str
    """What it is compared by: in lower case, American spelling and stemmed; digits for a number."""
    start: int
    """Index of its first character in the text, after `spell_out`."""


@dataclass(frozen=True, slots=True)
class Term:
    """A name of the vocabulary in a text, in words[start:end]."""

    kind: str
    """The kind in vocabulary.tsv: organ, place, side, finding ..."""
    name: str
    """The preferred name, whichever name the text has."""
    start: int
    """Index of its first word."""
    end: int
    """Index of the first word after it."""


@dataclass(frozen=True, slots=True)
class _VocabularyEntry:
    """One thing of the vocabulary, with all its names."""

    kind: str
    name: str
    """The preferred name."""
    forms: tuple[tuple[str, ...], ...]
    """Every name, each as the stems of its words."""
    broader: tuple[str, ...]
    """Preferred names of things that this one is a part or a kind of, such as "stomach"."""


@lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """The stem by which a word is compared; digits for a number in words: "3" for "third"."""
    word = american_spelling(word.lower().removesuffix("'s"))
    if word in _DIGITS:
        return _DIGITS[word]
    if is_ordinal(word):
        return word[:-2]
    if "+" in word:
        return word.replace(" ", "")
    if len(word) < 4 or not word.isalpha() or word.endswith("itis") or word in _UNSTEMMED:
        return word
    stemmed = _stemmer().stemWord(word)
    # Snowball stems calcified to "calcifi" and calcification to "calcif"
    return stemmed[:-1] if stemmed.endswith("ifi") else stemmed


def is_ordinal(word: str) -> bool:
    """Whether a lower-case word is an ordinal number: "fourth", "4th"."""
    return word in _ORDINALS or (word[0].isdigit() and word[-2:] in ("st", "nd", "rd", "th"))


def stems(text: str) -> frozenset[str]:
    """The stems of the words of a text, which are separated by blanks."""
    return frozenset(map(stem, text.split()))


class _Stemmer(Protocol):
    """A stemmer of the library snowballstemmer, which has no types."""

    def stemWord(self, word: str) -> str: ...


@cache
def _stemmer() -> _Stemmer:
    import snowballstemmer

    stemmer: _Stemmer = snowballstemmer.stemmer("english")
    return stemmer


@lru_cache(maxsize=65_536)
def american_spelling(word: str) -> str:
    """Change a lower-case word to American spelling."""
    word = _american_spellings().get(word, word)
    if word not in _NOT_BRITISH and len(word) > 4:
        for british, american in _BRITISH:
            word = british.sub(american, word)
    return word


def spell_out(text: str) -> str:
    """Spell out short names with a side, and replace hyphens between words by blanks.

    "RUL" becomes "right upper lobe", so that its side is read. A second call changes nothing.
    """
    text = _HYPHEN.sub(" ", text)
    return _short_names().sub(lambda match: _full_name(match[0]), text)


def words_of(text: str) -> list[Word]:
    """The words, numbers and signs of a text after `spell_out`; `start` refers to that text."""
    text = spell_out(text)
    words = [Word(match[0], stem(match[0]), match.start()) for match in _WORD.finditer(text)]
    for i, word in enumerate(words):
        lower = word.raw.lower()
        if lower in _ROMAN and (len(lower) > 1 or word.raw.isupper()) and _is_grade(words, i):
            words[i] = Word(word.raw, str(_ROMAN[lower]), word.start)
    return words


def _is_grade(words: list[Word], i: int) -> bool:
    """Whether the Roman numeral words[i] is a number: after a word such as grade, or alone.

    Otherwise "V" and "X" may be letters or parts of names.
    """
    return len(words) == 1 or any(
        _GRADE_WORD.search(word.raw.lower()) for word in words[max(0, i - 3) : i]
    )


def terms_of(words: list[Word], longest: int = LONGEST_PHRASE) -> list[Term]:
    """The vocabulary's names in a text, from left to right, the longest one at each place.

    Args:
        words: The words of the text.
        longest: The most words that a name may have.
    """
    name_table, longest_names, terms, i = _names_by_stems(), _longest_names(), [], 0
    text_is_lower_case = not any(word.raw[:1].isupper() for word in words)
    while i < len(words):
        longest_here = longest_names.get(words[i].stem, 0)
        for n_words in range(min(longest, longest_here, len(words) - i), 0, -1):
            entry = name_table.get(tuple(word.stem for word in words[i : i + n_words]))
            # "ms" may be milliseconds, and "MS" multiple sclerosis
            if entry and (n_words > 1 or _may_be_name(words[i].raw, entry[1], text_is_lower_case)):
                terms.append(Term(entry[0].kind, entry[0].name, i, i + n_words))
                i += n_words - 1
                break
        i += 1
    return terms


def _may_be_name(word: str, vocabulary_form: str, text_is_lower_case: bool) -> bool:
    """Whether a single word may be a name of the vocabulary, given how it is written.

    A word always may, unless the vocabulary has it as an abbreviation in at most 5 capitals. Then
    it must be in capitals too; a text that is all in lower case may have it in lower case.
    """
    if not vocabulary_form.isupper() or len(vocabulary_form) > 5:
        return True
    if word.isupper() or word[1:].isupper():
        return True
    return word.lower() not in _ENGLISH_WORDS and (len(word) > 3 or text_is_lower_case)


def forms_of(kind: str, name: str) -> tuple[tuple[str, ...], ...]:
    """Every name of a thing in the vocabulary, each as the stems of its words.

    Args:
        kind: The thing's kind.
        name: Its preferred name.
    """
    return _entries()[kind, name].forms


@lru_cache(maxsize=4096)
def pieces_of(form: tuple[str, ...]) -> tuple[Term | str, ...]:
    """Split the stems of a name into shorter names, and stems that are no names.

    "rib fracture" has the names rib and fracture.
    """
    terms = terms_of([Word(word_stem, word_stem, 0) for word_stem in form], len(form) - 1)
    term_at = {term.start: term for term in terms}
    inside = {i for term in terms for i in range(term.start + 1, term.end)}
    return tuple(term_at.get(i, word_stem) for i, word_stem in enumerate(form) if i not in inside)


@lru_cache(maxsize=4096)
def broader_of(kind: str, name: str) -> frozenset[str]:
    """The preferred names of all broader things: for "femoral neck" the femur, and so on.

    Args:
        kind: The thing's kind.
        name: Its preferred name.
    """
    broader: set[str] = set()
    to_visit = list(_entries()[kind, name].broader)
    while to_visit:
        term = to_visit.pop()
        if term not in broader:
            broader.add(term)
            to_visit += _broader().get(term, ())
    return frozenset(broader)


@cache
def _broader() -> dict[str, tuple[str, ...]]:
    """Preferred name -> the names of the directly broader things."""
    return {name: entry.broader for (_, name), entry in _entries().items() if entry.broader}


@cache
def _vocabulary_rows() -> list[tuple[str, str, list[str], tuple[str, ...]]]:
    """The rows of vocabulary.tsv as (kind, preferred name, every name, broader names)."""
    text = files("medr1.answers").joinpath("vocabulary.tsv").read_text("utf-8")
    rows = csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    return [
        (
            row["kind"],
            row["term"],
            [row["term"], *filter(None, row["synonyms"].split(" | "))],
            tuple(filter(None, row["broader"].split(" | "))),
        )
        for row in rows
    ]


def _has_side(kind: str, term: str) -> bool:
    """Whether a row of the vocabulary is a place with a side.

    It serves only to spell out its short names (`spell_out`): a side and a place are read as two
    names, so that "the left lung" names the side left and the organ lung.
    """
    return kind == "place" and term.startswith(("left ", "right "))


@cache
def _short_side_names() -> dict[str, str]:
    """Short name of a place with a side, in lower case -> its full name: rul, right upper lobe."""
    return {
        name.lower(): term
        for kind, term, names, _ in _vocabulary_rows()
        if _has_side(kind, term)
        for name in names
        if " " not in name
    }


@cache
def _short_names() -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(sorted(_short_side_names()))})\b", re.IGNORECASE)


def _full_name(name: str) -> str:
    """The full name of a short one; two letters in lower case stay, as they may be a word."""
    return _short_side_names()[name.lower()] if name.isupper() or len(name) > 2 else name


@cache
def _american_spellings() -> dict[str, str]:
    """Spelling of a word -> its American spelling, from the vocabulary."""
    return {
        name: term
        for kind, term, names, _ in _vocabulary_rows()
        if kind == "spelling" and "-" not in term
        for name in names
        if " " not in name and "-" not in name
    }


@cache
def _entries() -> dict[tuple[str, str], _VocabularyEntry]:
    """(kind, preferred name) -> its entry."""
    entries = {}
    for kind, term, names, broader in _vocabulary_rows():
        if kind != "spelling" and not _has_side(kind, term):
            forms = dict.fromkeys(tuple(word.stem for word in words_of(name)) for name in names)
            entries[kind, term] = _VocabularyEntry(kind, term, tuple(forms), broader)
    return entries


@cache
def _names_by_stems() -> dict[tuple[str, ...], tuple[_VocabularyEntry, str]]:
    """Stems of a name -> its entry, and the name as written; the first row with a name counts."""
    table: dict[tuple[str, ...], tuple[_VocabularyEntry, str]] = {}
    for kind, term, names, _ in _vocabulary_rows():
        if kind == "spelling" or _has_side(kind, term):
            continue
        entry = _entries()[kind, term]
        for name in names:
            key = tuple(word.stem for word in words_of(name))
            if len(key) <= LONGEST_PHRASE:
                table.setdefault(key, (entry, name))
    return table


@cache
def _longest_names() -> dict[str, int]:
    """Stem of a first word -> number of words of the longest name that begins with it."""
    lengths: dict[str, int] = {}
    for first, *rest in _names_by_stems():
        lengths[first] = max(lengths.get(first, 0), 1 + len(rest))
    return lengths
