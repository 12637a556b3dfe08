"""Words and medical terms of a text: spelling, stems, and the vocabulary of names for one thing.

`vocabulary.tsv` holds what is called by several names, with its kind; VOCABULARY.md says where each
row comes from. Words are compared by their Snowball stem, so that "infarction" is "infarct".
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any


def word_set(listed: str) -> frozenset[str]:
    """The words of a text that lists them."""
    return frozenset(listed.split())


def phrases(listed: str) -> tuple[str, ...]:
    """The phrases of a text that lists them between bars."""
    return tuple(phrase.strip() for phrase in listed.split("|"))


LONGEST_PHRASE = 6
"""Words of the longest name that is looked for."""

_WORD = re.compile(
    r"\d+(?:st|nd|rd|th)\b|\d+\s?\+\s?\d+|(?<![\w.)])-\d+(?:[.,]\d+)*|(?<!\w)[^\W\d_]{1,2}\d{1,2}(?!\w)"
    r"|[^\W\d_]+(?:'[a-z]+)?|\d+(?:[.,]\d+)*|[^\w\s]|_"
)
"""T1, L4 and a Gleason score of 3+4 are a word each."""
_HYPHEN = re.compile(r"(?<=[^\W\d_])-(?=[^\W\d_])")
_BRITISH = (
    (re.compile(r"^(o|a)e(?=dem|soph|stro|tiolog|stiv)"), "e"),
    (re.compile(r"ae(?=m|st|c[auo]|r[ueo]?s|ol|di|th)"), "e"),
    (re.compile(r"oe(?=dem|soph|li|rul|tus|tal|stro|a$|ic$)"), "e"),
    (re.compile(r"(?<=[mlnv])our(?=s?$|ed$|ing$|less$)"), "or"),
    (re.compile(r"(?<=[tb])re(?=s?$)"), "er"),
    (re.compile(r"is(?=ed$|ing$|es?$|ation)"), "iz"),
    (re.compile(r"(?<=leu)c(?=o)"), "k"),
)
_NOT_BRITISH = word_set("four hour pour tour your our raised rise rises noise disease diseased")
_ROMAN = dict(zip("i ii iii iv v vi vii viii ix x".split(), range(1, 11), strict=True))  # noqa: SIM905
_NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve".split()  # noqa: SIM905
_ORDINALS = "third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth".split()  # noqa: SIM905
_DIGITS = {word: str(number) for number, word in enumerate(_NUMBERS)} | {
    word: str(number) for number, word in enumerate(_ORDINALS, 3)
}
_GRADED = re.compile(
    r"grade|stage|type|class|segment|category|fazekas|level|factor|zone|birads|rads|score|lawrence|^kl$"
)
_UNSTEMMED = word_set("several testes malignancy hepatization")
"""Words, with those in -itis, whose stem is that of another: severe, test, malignant, hepatic."""
_ENGLISH = word_set(
    "us it ten all ms pe as ra or so cc is pa ap ad an at be by do go he if in me my no of on"
    " to up we pet cat mass tia can sad pid aid care map ret era via tap mean sob"
)
"""Abbreviations that are words too: read in capitals only."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word, number or sign of a text."""

    raw: str
    stem: str
    """What it is compared by: in lower case, American spelling and stemmed; digits for a number."""
    start: int
    """Where it begins in the text."""


@dataclass(frozen=True, slots=True)
class Term:
    """A name of the vocabulary in a text: words[start:end]."""

    kind: str
    """As in vocabulary.tsv: organ, place, side, finding ..."""
    name: str
    """The preferred name."""
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Entry:
    kind: str
    name: str
    forms: tuple[tuple[str, ...], ...]
    """Stems of every name."""
    broader: tuple[str, ...]
    """Terms that hold of whatever this one holds of: "stomach" of "gastric antrum"."""


@lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """The stem that a word is compared by."""
    word = spelled(word.lower().removesuffix("'s"))
    if word in _DIGITS:
        return _DIGITS[word]
    if is_ordinal(word):
        return word[:-2]
    if "+" in word:
        return word.replace(" ", "")
    if len(word) < 4 or not word.isalpha() or word.endswith("itis") or word in _UNSTEMMED:
        return word
    stemmed = str(_stemmer().stemWord(word))
    return stemmed[:-1] if stemmed.endswith("ifi") else stemmed  # calcified, calcification


def is_ordinal(word: str) -> bool:
    """Whether a lower-case word counts in order: "fourth", "4th"."""
    return word in _ORDINALS or (word[0].isdigit() and word[-2:] in ("st", "nd", "rd", "th"))


def stems(listed: str) -> frozenset[str]:
    """The stems of the words of a text that lists them."""
    return frozenset(map(stem, listed.split()))


@cache
def _stemmer() -> Any:
    import snowballstemmer

    return snowballstemmer.stemmer("english")


@lru_cache(maxsize=65_536)
def spelled(word: str) -> str:
    """A lower-case word in American spelling."""
    word = _spelling().get(word, word)
    if word not in _NOT_BRITISH and len(word) > 4:
        for british, american in _BRITISH:
            word = british.sub(american, word)
    return word


def spell_out(text: str) -> str:
    """The text with "RUL" as "right upper lobe", so that its side is read, and no hyphen between
    words; again the same for a text that is spelled out."""
    text = _HYPHEN.sub(" ", text)
    return _short_names().sub(lambda name: _spelled_out(name[0]), text)


def words_of(text: str) -> list[Word]:
    """The words, numbers and signs of a text, spelled out; places are those in that text."""
    text = spell_out(text)
    words = [Word(m[0], stem(m[0]), m.start()) for m in _WORD.finditer(text)]
    for i, word in enumerate(words):
        low = word.raw.lower()
        if low in _ROMAN and (len(low) > 1 or word.raw.isupper()) and _is_grade(words, i):
            words[i] = Word(word.raw, str(_ROMAN[low]), word.start)
    return words


def _is_grade(words: list[Word], i: int) -> bool:
    """Whether a Roman numeral stands behind a word such as grade, or alone."""
    return len(words) == 1 or any(
        _GRADED.search(word.raw.lower()) for word in words[max(0, i - 3) : i]
    )


def terms_of(words: list[Word], longest: int = LONGEST_PHRASE) -> list[Term]:
    """The vocabulary's names in a text, the longest at each place; none of more words."""
    table, lengths, found, i = _table(), _lengths(), [], 0
    lower_case = not any(word.raw[:1].isupper() for word in words)
    while i < len(words):
        most = lengths.get(words[i].stem, 0)
        for n in range(min(longest, most, len(words) - i), 0, -1):
            entry = table.get(tuple(word.stem for word in words[i : i + n]))
            if entry and (n > 1 or _may_be_name(words[i].raw, entry[1], lower_case)):
                found.append(Term(entry[0].kind, entry[0].name, i, i + n))
                i += n - 1
                break
        i += 1
    return found


def _may_be_name(raw: str, written: str, lower_case: bool) -> bool:
    """Whether a single word may be a name that the table writes so."""
    if not written.isupper() or len(written) > 5:
        return True
    if raw.isupper() or raw[1:].isupper():
        return True
    return raw.lower() not in _ENGLISH and (len(raw) > 3 or lower_case)


def forms_of(kind: str, name: str) -> tuple[tuple[str, ...], ...]:
    """The stems of every name of a thing."""
    return _entries()[kind, name].forms


@lru_cache(maxsize=4096)
def pieces_of(form: tuple[str, ...]) -> tuple[Term | str, ...]:
    """The shorter names, and the other words' stems, of which a name is made: fracture and rib of
    "rib fracture"."""
    terms = terms_of([Word(one, one, 0) for one in form], len(form) - 1)
    named = {term.start: term for term in terms}
    inside = {i for term in terms for i in range(term.start + 1, term.end)}
    return tuple(named.get(i, one) for i, one in enumerate(form) if i not in inside)


@lru_cache(maxsize=4096)
def broader_of(kind: str, name: str) -> frozenset[str]:
    """The names of every broader thing: of "femoral neck" the femur and what a femur is."""
    broader: set[str] = set()
    ahead = list(_entries()[kind, name].broader)
    while ahead:
        term = ahead.pop()
        if term not in broader:
            broader.add(term)
            ahead += _broader().get(term, ())
    return frozenset(broader)


@cache
def _broader() -> dict[str, tuple[str, ...]]:
    return {name: entry.broader for (_, name), entry in _entries().items() if entry.broader}


@cache
def _rows() -> list[tuple[str, str, list[str], tuple[str, ...]]]:
    """(kind, term, every name, broader terms) of the vocabulary."""
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
    return kind == "place" and term.startswith(("left ", "right "))


@cache
def _side_names() -> dict[str, str]:
    """Short names of places with a side, in lower case -> the full name."""
    return {
        name.lower(): term
        for kind, term, names, _ in _rows()
        if _has_side(kind, term)
        for name in names
        if " " not in name
    }


@cache
def _short_names() -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(sorted(_side_names()))})\b", re.IGNORECASE)


def _spelled_out(name: str) -> str:
    return _side_names()[name.lower()] if name.isupper() or len(name) > 2 else name


@cache
def _spelling() -> dict[str, str]:
    return {
        name: term
        for kind, term, names, _ in _rows()
        if kind == "spelling" and "-" not in term
        for name in names
        if " " not in name and "-" not in name
    }


@cache
def _entries() -> dict[tuple[str, str], _Entry]:
    found = {}
    for kind, term, names, broader in _rows():
        if kind != "spelling" and not _has_side(kind, term):
            forms = dict.fromkeys(tuple(w.stem for w in words_of(name)) for name in names)
            found[kind, term] = _Entry(kind, term, tuple(forms), broader)
    return found


@cache
def _table() -> dict[tuple[str, ...], tuple[_Entry, str]]:
    """Stems of a name -> its entry and how the vocabulary writes it; the first row wins."""
    table: dict[tuple[str, ...], tuple[_Entry, str]] = {}
    for kind, term, names, _ in _rows():
        if kind == "spelling" or _has_side(kind, term):
            continue
        entry = _entries()[kind, term]
        for name in names:
            key = tuple(word.stem for word in words_of(name))
            if len(key) <= LONGEST_PHRASE:
                table.setdefault(key, (entry, name))
    return table


@cache
def _lengths() -> dict[str, int]:
    """The first word's stem -> the words of the longest name that begins so."""
    lengths: dict[str, int] = {}
    for first, *rest in _table():
        lengths[first] = max(lengths.get(first, 0), 1 + len(rest))
    return lengths
