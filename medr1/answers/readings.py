"""What one piece of text answers: a letter, yes or no, a number, a text, or nothing and why.

No reading is fuzzy and none is random. The texts are folded and their white space is squeezed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from unicodedata import combining, normalize

from medr1.answers.prose.cues import CORRECTION
from medr1.answers.prose.reading import declines
from medr1.normalization import fold
from medr1.quantities import number_text, parse_number, unwrap_latex
from medr1.records import LETTERS

LONG = 20_000
"""A text of more characters answers nothing; completions are far shorter."""
MAX_CUES = 20
"""More "the answer is" than this are a degenerate repetition."""
SHORT = 200
"""A text of more characters is not read for what it merely mentions."""


@dataclass(frozen=True)
class Reading:
    """An answer, or None with the reason (`why`); the flags say how it is written."""

    answer: str | None
    why: str = ""
    flags: tuple[str, ...] = ()
    text: str = ""
    """What was read, where it is to be read as prose."""


Reader = Callable[[str], Reading]

_MARKUP = " \t\n$*_`\"'.,;:!()[]{}。"
_HTML = re.compile(r"</?(?:[a-z]{1,12}|[A-Za-z]{2,12}) ?/?>|<\|\w{1,30}\|>|\[/?answer\]")
_BOXED = re.compile(r"\\boxed ?\{([^{}]*)\}")
_CUE = re.compile(
    r"(?:\b(?:answer|ans|option|choice|letter|alternative|antwort|réponse|reponse|respuesta|opción"
    r"|opcion)\b(?:\s(?:correcte|correcta))?(?:\s(?:to|for)\b[^.:\n]{0,80}?)??"
    r"(?:\s?[:=]|\s(?:is|would be|should be|must be|seems to be|ist|lautet|est|es(?: la)?)\b)+"
    r"|答案\s?[:是为])\s?"
    r"(?:(?:option|choice|letter|answer)\b\s?:?\s?)?",
    re.IGNORECASE,
)
_NAMED_LETTER = re.compile(
    r"(?:answer|option|choice|letter)\s[(\[*]*([A-Za-z])[)\]*.]*", re.IGNORECASE
)
_CHOSEN = re.compile(
    r"\b(?:[Ii](?:'d| would)? (?:choose|pick|select|go with))\s(?:option |choice )?[(*]*([A-H])"
    r"(?![\w'/-])|(?:^|[.:\n]\s?)[(*]*(?:[Oo]ption )?([A-H])[)*]* is (?:the )?(?:most )?"
    r"(?:correct|right|best|likely)\b"
)
_AFTER_CUE = re.compile(r"[\s\"'(\[*$`{]*([A-Za-z])(?![\w'/])")
_OTHER_LETTER = re.compile(r"[)\]*.$}]*\s?(?:or|and|,|/|&)\s?[(\[*]*([A-H])(?![\w'-])")
_FORM = re.compile(r"[(\[]?([A-Za-z])\s?(?:[)\].:,=-]+|(?=\())\s?(.+)", re.DOTALL)
_TEXT_LETTER = re.compile(r"(.+?) ?[(\[]([A-H])[)\]]?")
_LETTER_LIST = re.compile(r"(?:[A-H]|[\s,/&+]|\bor\b|\band\b)+")
_NEGATION = re.compile(
    r"\b(?:not|no|non|never|without|neither|nor|cannot|except|unlikely|wrong|incorrect|false"
    r"|exclud\w+|rather|instead|absen\w+|rule[sd]? out|or|versus|vs)\b|n't\b|\?",
    re.IGNORECASE,
)
_DENIAL = re.compile(r"\b(?:not|never|wrong|incorrect|unlikely|false)\b|n't\b", re.IGNORECASE)
_REASON = re.compile(r"[,.;]?\s(?:because|since|as the|due to|given that)\b", re.IGNORECASE)
_LETTER_FIRST = re.compile(r"([A-H])(?:[).:,;]| (?=[A-Z]\w*:|because|since))")
_JSON_FENCE = re.compile(r"```(?:json)?|```")
_JSON_KEYS = ("answer", "final_answer", "choice", "option", "letter", "prediction")
_RATIO = re.compile(r"(\d{1,30}) ?: ?(\d{1,30})")
_PLACEHOLDERS = frozenset(
    ("answer", "answer here", "your answer", "your answer here", "final answer", "letter")
)


def tidy(text: str) -> str:
    """The text without other tags and empty lines, and with single blanks, so that no pattern meets
    long runs."""
    text = _HTML.sub(" ", text)
    return "\n".join(" ".join(line.split()) for line in text.splitlines() if line.strip())


def is_placeholder(text: str) -> bool:
    """Whether a block only quotes the prompt's template: "...", "answer here"."""
    inner = text.strip(_MARKUP + "…<>-").lower()
    return not inner or inner in _PLACEHOLDERS


def _plain(text: str) -> str:
    """The text for comparing options: folded, lower case, no accents, no markup around it."""
    plain = " ".join(unwrap_latex(fold(text)).casefold().split()).strip(_MARKUP)
    if not plain.isascii():
        plain = "".join(c for c in normalize("NFD", plain) if not combining(c))
    return re.sub(r"^(?:the|an) ", "", plain)


def unwrap_json(text: str) -> str:
    """What a JSON object has as its answer: {"answer": "B"}; any other text as it is."""
    inner = _JSON_FENCE.sub("", text).strip() if text.lstrip().startswith("```") else text.strip()
    if not inner.startswith("{") or len(inner) > SHORT * 100:
        return text
    try:
        loaded = json.loads(inner)
    except ValueError:
        return text
    named = {str(key).lower(): value for key, value in loaded.items()}
    answers = [named[key] for key in _JSON_KEYS if isinstance(named.get(key), str | int | float)]
    return str(answers[0]) if answers else text


def _refused_or(text: str, why: str) -> Reading:
    return Reading(None, "refused" if declines(text) else why)


def _one_of(answers: Iterable[str], flag: str) -> Reading:
    """The one distinct answer among several; none where they disagree or there are none."""
    distinct = sorted(set(answers))
    if len(distinct) == 1:
        return Reading(distinct[0], flags=(flag,))
    return Reading(None, "ambiguous" if distinct else "unparsed")


def _sentence(text: str, start: int) -> str:
    """The rest of the sentence from `start`, at most 300 characters."""
    rest = text[start : start + 300]
    return re.split(r"[.!?](?:\s|$)|\n", rest, maxsplit=1)[0]


def _denied_before(text: str, start: int) -> bool:
    """Whether the same sentence denies what follows: "I don't think the answer is"."""
    before = re.split(r"[.!?\n]", text[max(0, start - 60) : start])[-1]
    return bool(_DENIAL.search(before))


def _cue_starts(text: str) -> list[int]:
    """Where what follows "the answer is", "Answer:" and the like begins."""
    cues = islice(_CUE.finditer(text), MAX_CUES + 1)
    return [
        m.end()
        for m in cues
        if not _denied_before(text, m.start()) and not m[0].lower().startswith("alternative:")
    ]


class Choices:
    """The options of one question, and how a text names one of them."""

    def __init__(self, options: Mapping[str, str]) -> None:
        self.letters = tuple(options) or tuple(LETTERS)
        self.raw = {letter: text.strip() for letter, text in options.items()}
        self.plain = {letter: _plain(text) for letter, text in options.items()}

    @cached_property
    def _names(self) -> re.Pattern[str]:
        """Any of the options as whole words, longest first."""
        nameable = {t for t in self.plain.values() if len(t) > 1 or t.isdigit()} - {"yes", "no"}
        longest_first = sorted(map(re.escape, nameable), key=len, reverse=True)
        return re.compile(
            rf"(?<![\w/-])(?<!\d[.,])(?:{'|'.join(longest_first)})(?![\w/-])(?![.,]\d)"
            if nameable
            else r"(?!)"
        )

    def letter(self, letter: str, flag: str) -> Reading:
        """The letter, if it is one of the options'."""
        if letter.upper() in self.letters:
            return Reading(letter.upper(), flags=(flag,))
        return Reading(None, "out_of_options")

    def with_text(self, text: str) -> list[str]:
        """The letters whose option is exactly this text, up to case and punctuation around it."""
        written = text.strip()
        exact = [letter for letter, option in self.raw.items() if option == written]
        if exact or not (plain := _plain(text)):
            return exact
        same = [letter for letter, option in self.plain.items() if option == plain]
        if not same and plain.startswith("a "):
            same = [letter for letter, option in self.plain.items() if option == plain[2:]]
        return same

    def by_name(self, text: str) -> list[str]:
        """The letters whose option is another name of the one thing that the text names."""
        from medr1.answers.prose.mentions import named_things  # stems the vocabulary at import

        names = named_things(text)
        if len(names) != 1:
            return []
        return [letter for letter, option in self.raw.items() if named_things(option) == names]

    def named(self, text: str) -> set[str]:
        """The letters of the options named as whole words; a longer name hides those inside it."""
        found = {match[0] for match in self._names.finditer(_plain(text))}
        return {letter for letter, option in self.plain.items() if option in found}

    def denies(self, text: str) -> bool:
        """Whether a text negates, doubts or sets against each other the options that it names."""
        return bool(_NEGATION.search(self._names.sub("_", _plain(text))))

    def block(self, text: str) -> Reading:
        """What a whole block says: an option's text, a letter, `X) text`, "the answer is X"."""
        if letters := self.with_text(text):
            return _one_of(letters, "option_text")
        inner = unwrap_latex(text).strip(_MARKUP + "-")
        if not inner:
            return Reading(None, "empty")
        if len(inner) == 1 and inner.isascii() and inner.isalpha():
            return self.letter(inner, "letter" if inner == text.strip() else "letter_form")
        if match := _NAMED_LETTER.fullmatch(inner):
            return self.letter(match[1], "letter_form")
        bare = re.sub(r"^(?:option|choice) ", "", inner, flags=re.IGNORECASE)
        if (form := _FORM.fullmatch(bare)) and (reading := self._form(form[1], form[2])):
            return reading
        if (form := _TEXT_LETTER.fullmatch(bare)) and (reading := self._form(form[2], form[1])):
            return reading
        if reading := self._reasoned(bare):
            return reading
        if re.match(r"[A-H] ?[):]", inner) and inner[0] not in self.letters:
            return Reading(None, "out_of_options")
        if leading := re.match(r"(yes|no)(?: ?[,.;:!\n])", inner, re.IGNORECASE):
            others = {"yes", "no"} - {leading[1].lower()}
            if not others & set(_plain(inner).split()) and (found := self.with_text(leading[1])):
                return _one_of(found, "option_text")
        cued = self.cued(inner)
        if cued.answer or cued.why != "unparsed":
            return cued
        if len(inner) <= SHORT and (letters := self.by_name(inner)):
            return _one_of(letters, "option_named")
        listed = _LETTER_LIST.fullmatch(inner) or len(self.named(inner)) > 1
        return _refused_or(inner, "ambiguous" if listed else "unparsed")

    def _reasoned(self, text: str) -> Reading | None:
        """A letter with what follows: its reason, or its withdrawal ("A. No, wait: B")."""
        if not (first := _LETTER_FIRST.match(text)):
            return None
        if withdrawn := list(islice(CORRECTION.finditer(text, first.end()), MAX_CUES)):
            return self.block(text[withdrawn[-1].end() :])
        head, *reason = _REASON.split(text[:SHORT], maxsplit=1)
        if not reason:
            return None
        rest = head[1:].strip(_MARKUP)
        return self._form(first[1], rest) if rest else self.letter(first[1], "letter_form")

    def _form(self, letter: str, text: str) -> Reading | None:
        """What `X) text` says: the letter where the text is its option's; a contradiction where
        it is another's; None where it is neither."""
        if not (named := self.with_text(text)):
            return None
        if letter.upper() in named:
            return Reading(letter.upper(), flags=("letter_form", "option_text"))
        return Reading(None, "ambiguous", ("contradiction",))

    def cued(self, text: str) -> Reading:
        """The one letter or option that follows "the answer is", "Answer:" and the like."""
        found: list[str] = []
        if len(starts := _cue_starts(text)) > MAX_CUES:
            return Reading(None, "repeated")
        for start in starts:
            reading = self._after_cue(text, start)
            if reading.why in ("ambiguous", "out_of_options"):
                return reading
            if reading.answer:
                found.append(reading.answer)
        for match in islice(_CHOSEN.finditer(text), MAX_CUES):
            if not _denied_before(text, match.start()):
                found.append(match[1] or match[2])
        return _one_of(found, "cue")

    def _after_cue(self, text: str, start: int) -> Reading:
        sentence = _sentence(unwrap_latex(text[start : start + 400]), 0)
        letter = _AFTER_CUE.match(sentence)
        if letter and self._is_letter(sentence, letter):
            if _OTHER_LETTER.match(sentence, letter.end()):
                return Reading(None, "ambiguous")
            if "?" in text[start : start + 8]:
                return Reading(None, "unparsed")
            form = _FORM.fullmatch(sentence.strip(_MARKUP))
            return (form and self._form(form[1], form[2])) or self.letter(letter[1], "cue")
        if letters := self.with_text(sentence):
            return _one_of(letters, "cue")
        named = self.named(sentence)
        if len(named) == 1 and self.denies(sentence):
            return Reading(None, "unparsed")
        return _one_of(named, "cue")

    def _is_letter(self, sentence: str, match: re.Match[str]) -> bool:
        """Whether a letter after a cue is a choice, and not the article of "a scan"."""
        rest = sentence[match.end() :]
        if match[1].upper() != "A" or not rest.startswith(" "):
            return match[1].upper() in LETTERS or not rest
        return match[1] == "A" and not self.named(rest)

    def untagged(self, text: str) -> Reading:
        """What an output without a block says: as a block, boxed, a line of it, or by name."""
        whole = self.block(text)
        if whole.answer or whole.why != "unparsed":
            return whole
        boxed = [self.block(match[1]) for match in islice(_BOXED.finditer(text), MAX_CUES)]
        if answers := [r.answer for r in boxed if r.answer]:
            return _one_of(answers, "boxed")
        lines = text.split("\n")
        ends = [self.block(line) for line in (lines[0], lines[-1])] if len(lines) > 1 else []
        if answers := [r.answer for r in ends if r.answer]:
            return _one_of(answers, "line")
        if len(text) <= SHORT and not self.denies(text):
            return _one_of(self.named(text), "option_named")
        return whole


def read_yes_no(text: str, question: str = "") -> Reading:
    """Yes or no: the word that leads, or what the sentence says of the thing that is asked."""
    from medr1.answers.prose.polarity import read_polarity  # stems the vocabulary at import

    answer, how = read_polarity(question, text)
    if answer is None:
        return Reading(None, how)
    plain = text.strip(_MARKUP).casefold() == answer
    return Reading(
        answer, flags=() if plain else ("in_text",) if how == "leading" else ("statement",)
    )


def read_count(text: str) -> Reading:
    """The one number that the text states, as canonical text; a ratio stays one ("1:4")."""
    number = parse_number(text)
    if number is not None:
        return Reading(number_text(number))
    if ratio := _RATIO.fullmatch(unwrap_latex(text).strip(_MARKUP)):
        return Reading(f"{ratio[1]}:{ratio[2]}", flags=("ratio",))
    several = len(re.findall(r"(?<!\w)\d", text[:SHORT])) > 1
    return _refused_or(text, "ambiguous" if several else "unparsed")


def read_open(text: str) -> Reading:
    """The text as it is written, without "The answer is" and markup around it."""
    starts = _cue_starts(text[:SHORT])
    opening = re.compile(r"(?:so|thus|therefore|hence)?,? ?(?:the )?(?:\w+ )?", re.IGNORECASE)
    if starts and opening.fullmatch(_CUE.split(text[: starts[0]], maxsplit=1)[0]):
        text = text[starts[0] :]
    inner = text.strip(' \t\n*_`"')
    if match := _BOXED.fullmatch(inner.strip("$ ")):
        inner = match[1]
    if not inner:
        return Reading(None, "empty")
    return Reading(None, "refused") if declines(inner) else Reading(inner)


def untagged(read: Reader, text: str) -> Reading:
    """What an output without a block says to a reader of blocks: whole if short, else its cues."""
    if len(starts := _cue_starts(text)) > MAX_CUES:
        return Reading(None, "repeated")
    cues = [read(_sentence(text, start)) for start in starts]
    if answers := [cue.answer for cue in cues if cue.answer]:
        return _one_of(answers, "cue")
    boxed = [read(match[1]) for match in islice(_BOXED.finditer(text), MAX_CUES)]
    if answers := [r.answer for r in boxed if r.answer]:
        return _one_of(answers, "boxed")
    return read(text)
