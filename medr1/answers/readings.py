"""Read the answer in one text: a letter, yes or no, a number, a text, or why there is none.

The text is a block's content or a completion without blocks, after `normalization.fold`, without
markup and with single blanks. The same text always has the same reading, and nothing is read as an
answer that only resembles one.
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
from medr1.records import LETTERS
from medr1.text.normalization import fold
from medr1.text.quantities import number_text, parse_number, unwrap_latex

MAX_TEXT_CHARACTERS = 20_000
"""A longer text has no answer; completions are far shorter."""
MAX_CUES = 20
"""More phrases such as "the answer is" than this are a degenerate repetition."""
MAX_MENTION_CHARACTERS = 200
"""In a longer text, the name of an option is not an answer: it may only be mentioned."""


@dataclass(frozen=True)
class Reading:
    """The answer that was read in a text, or why there is none."""

    answer: str | None
    """The answer; None if there is none."""
    failure: str = ""
    """Why there is no answer, as in `Extraction.method`: "empty", "ambiguous", "unparsed" ..."""
    flags: tuple[str, ...] = ()
    """How the answer is written, as in `Extraction.trace`."""
    text: str = ""
    """The text that was read, for answers that may be judged as prose."""


Reader = Callable[[str], Reading]
"""A function that reads the answer in one text."""

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


def strip_markup(text: str) -> str:
    """The text without HTML and special tokens, without empty lines, and with single blanks.

    Without long runs of blanks no pattern can take quadratic time.
    """
    text = _HTML.sub(" ", text)
    return "\n".join(" ".join(line.split()) for line in text.splitlines() if line.strip())


def is_placeholder(text: str) -> bool:
    """Whether a block only repeats the prompt's template: "...", "answer here"."""
    content = text.strip(_MARKUP + "…<>-").lower()
    return not content or content in _PLACEHOLDERS


def _plain(text: str) -> str:
    """The text in the form in which options are compared: lower case, no accents, no markup."""
    plain = " ".join(unwrap_latex(fold(text)).casefold().split()).strip(_MARKUP)
    if not plain.isascii():
        plain = "".join(
            character for character in normalize("NFD", plain) if not combining(character)
        )
    return re.sub(r"^(?:the|an) ", "", plain)


def unwrap_json(text: str) -> str:
    """The answer in a JSON object such as {"answer": "B"}; any other text as it is."""
    json_text = (
        _JSON_FENCE.sub("", text).strip() if text.lstrip().startswith("```") else text.strip()
    )
    if not json_text.startswith("{") or len(json_text) > MAX_MENTION_CHARACTERS * 100:
        return text
    try:
        document = json.loads(json_text)
    except ValueError:
        return text
    values = {str(key).lower(): value for key, value in document.items()}
    answers = [values[key] for key in _JSON_KEYS if isinstance(values.get(key), str | int | float)]
    return str(answers[0]) if answers else text


def _no_answer(text: str, failure: str) -> Reading:
    """The reading of a text without an answer: "refused" if it declines, else the failure."""
    return Reading(None, "refused" if declines(text) else failure)


def _single_answer(answers: Iterable[str], flag: str) -> Reading:
    """The answer if all answers are equal; no answer if they differ or there are none."""
    distinct_answers = sorted(set(answers))
    if len(distinct_answers) == 1:
        return Reading(distinct_answers[0], flags=(flag,))
    return Reading(None, "ambiguous" if distinct_answers else "unparsed")


def _sentence(text: str, start: int) -> str:
    """The rest of the sentence from `start`, at most 300 characters."""
    rest = text[start : start + 300]
    return re.split(r"[.!?](?:\s|$)|\n", rest, maxsplit=1)[0]


def _denied_before(text: str, start: int) -> bool:
    """Whether the same sentence denies what follows: "I don't think the answer is"."""
    before = re.split(r"[.!?\n]", text[max(0, start - 60) : start])[-1]
    return bool(_DENIAL.search(before))


def _cue_starts(text: str) -> list[int]:
    """The positions after "the answer is", "Answer:" and similar cues that are not denied."""
    cues = islice(_CUE.finditer(text), MAX_CUES + 1)
    return [
        match.end()
        for match in cues
        if not _denied_before(text, match.start())
        and not match[0].lower().startswith("alternative:")
    ]


class OptionReader:
    """Reads a letter of one question's options in a text."""

    def __init__(self, options: Mapping[str, str]) -> None:
        self.letters = tuple(options) or tuple(LETTERS)
        self.texts = {letter: text.strip() for letter, text in options.items()}
        self.plain_texts = {letter: _plain(text) for letter, text in options.items()}

    @cached_property
    def _name_pattern(self) -> re.Pattern[str]:
        """Matches the text of any option as whole words, the longest first."""
        texts = self.plain_texts.values()
        names = {text for text in texts if len(text) > 1 or text.isdigit()} - {"yes", "no"}
        longest_first = sorted(map(re.escape, names), key=len, reverse=True)
        return re.compile(
            rf"(?<![\w/-])(?<!\d[.,])(?:{'|'.join(longest_first)})(?![\w/-])(?![.,]\d)"
            if names
            else r"(?!)"
        )

    def read_letter(self, letter: str, flag: str) -> Reading:
        """The letter as the answer, if an option has it.

        Args:
            letter: The letter, in upper or lower case.
            flag: How it is written (`Reading.flags`).
        """
        if letter.upper() in self.letters:
            return Reading(letter.upper(), flags=(flag,))
        return Reading(None, "out_of_options")

    def letters_with_text(self, text: str) -> list[str]:
        """The letters of options with exactly this text, apart from case and punctuation."""
        stripped = text.strip()
        exact = [letter for letter, option in self.texts.items() if option == stripped]
        if exact or not (plain := _plain(text)):
            return exact
        same = [letter for letter, option in self.plain_texts.items() if option == plain]
        if not same and plain.startswith("a "):
            same = [letter for letter, option in self.plain_texts.items() if option == plain[2:]]
        return same

    def letters_with_name(self, text: str) -> list[str]:
        """The letters of options that are another name of the only thing that the text names."""
        from medr1.answers.prose.mentions import named_things  # stems the vocabulary at import

        things = named_things(text)
        if len(things) != 1:
            return []
        return [letter for letter, option in self.texts.items() if named_things(option) == things]

    def named_letters(self, text: str) -> set[str]:
        """The letters of options whose texts are in this text as whole words.

        A longer name hides the shorter ones inside it.
        """
        names = {match[0] for match in self._name_pattern.finditer(_plain(text))}
        return {letter for letter, option in self.plain_texts.items() if option in names}

    def denies_options(self, text: str) -> bool:
        """Whether the text has a word of negation, doubt or choice outside the options' names."""
        return bool(_NEGATION.search(self._name_pattern.sub("_", _plain(text))))

    def read_block(self, text: str) -> Reading:
        """Read a complete block: an option's text, a letter, `X) text`, "the answer is X"."""
        if letters := self.letters_with_text(text):
            return _single_answer(letters, "option_text")
        content = unwrap_latex(text).strip(_MARKUP + "-")
        if not content:
            return Reading(None, "empty")
        if len(content) == 1 and content.isascii() and content.isalpha():
            return self.read_letter(content, "letter" if content == text.strip() else "letter_form")
        if match := _NAMED_LETTER.fullmatch(content):
            return self.read_letter(match[1], "letter_form")
        short_form = re.sub(r"^(?:option|choice) ", "", content, flags=re.IGNORECASE)
        if (form := _FORM.fullmatch(short_form)) and (
            reading := self._read_letter_with_text(form[1], form[2])
        ):
            return reading
        if (form := _TEXT_LETTER.fullmatch(short_form)) and (
            reading := self._read_letter_with_text(form[2], form[1])
        ):
            return reading
        if reading := self._read_letter_with_reason(short_form):
            return reading
        if re.match(r"[A-H] ?[):]", content) and content[0] not in self.letters:
            return Reading(None, "out_of_options")
        if first_word := re.match(r"(yes|no)(?: ?[,.;:!\n])", content, re.IGNORECASE):
            others = {"yes", "no"} - {first_word[1].lower()}
            if not others & set(_plain(content).split()) and (
                letters := self.letters_with_text(first_word[1])
            ):
                return _single_answer(letters, "option_text")
        after_cues = self.read_after_cues(content)
        if after_cues.answer or after_cues.failure != "unparsed":
            return after_cues
        if len(content) <= MAX_MENTION_CHARACTERS and (letters := self.letters_with_name(content)):
            return _single_answer(letters, "option_named")
        is_list = _LETTER_LIST.fullmatch(content) or len(self.named_letters(content)) > 1
        return _no_answer(content, "ambiguous" if is_list else "unparsed")

    def _read_letter_with_reason(self, text: str) -> Reading | None:
        """Read a letter with a reason ("A, because"), or with a correction ("A. No, wait: B").

        None if the text has neither form.
        """
        if not (first := _LETTER_FIRST.match(text)):
            return None
        if corrections := list(islice(CORRECTION.finditer(text, first.end()), MAX_CUES)):
            return self.read_block(text[corrections[-1].end() :])
        head, *reason = _REASON.split(text[:MAX_MENTION_CHARACTERS], maxsplit=1)
        if not reason:
            return None
        text_after_letter = head[1:].strip(_MARKUP)
        return (
            self._read_letter_with_text(first[1], text_after_letter)
            if text_after_letter
            else self.read_letter(first[1], "letter_form")
        )

    def _read_letter_with_text(self, letter: str, text: str) -> Reading | None:
        """Read `X) text`: the letter if the text is its option's; no answer if it is another's.

        None if the text is of no option.
        """
        if not (letters := self.letters_with_text(text)):
            return None
        if letter.upper() in letters:
            return Reading(letter.upper(), flags=("letter_form", "option_text"))
        return Reading(None, "ambiguous", ("contradiction",))

    def read_after_cues(self, text: str) -> Reading:
        """Read the letter or option after "the answer is", "Answer:", "I choose" and the like."""
        answers: list[str] = []
        if len(starts := _cue_starts(text)) > MAX_CUES:
            return Reading(None, "repeated")
        for start in starts:
            reading = self._read_after_cue(text, start)
            if reading.failure in ("ambiguous", "out_of_options"):
                return reading
            if reading.answer:
                answers.append(reading.answer)
        for match in islice(_CHOSEN.finditer(text), MAX_CUES):
            if not _denied_before(text, match.start()):
                answers.append(match[1] or match[2])
        return _single_answer(answers, "cue")

    def _read_after_cue(self, text: str, start: int) -> Reading:
        """Read the letter or option in the sentence that begins at `start`."""
        sentence = _sentence(unwrap_latex(text[start : start + 400]), 0)
        letter = _AFTER_CUE.match(sentence)
        if letter and self._is_letter(sentence, letter):
            if _OTHER_LETTER.match(sentence, letter.end()):
                return Reading(None, "ambiguous")
            if "?" in text[start : start + 8]:
                return Reading(None, "unparsed")
            form = _FORM.fullmatch(sentence.strip(_MARKUP))
            return (form and self._read_letter_with_text(form[1], form[2])) or self.read_letter(
                letter[1], "cue"
            )
        if letters := self.letters_with_text(sentence):
            return _single_answer(letters, "cue")
        candidates = self.named_letters(sentence)
        if len(candidates) == 1 and self.denies_options(sentence):
            return Reading(None, "unparsed")
        return _single_answer(candidates, "cue")

    def _is_letter(self, sentence: str, match: re.Match[str]) -> bool:
        """Whether a letter after a cue is an answer, and not the article in "a scan"."""
        rest = sentence[match.end() :]
        if match[1].upper() != "A" or not rest.startswith(" "):
            return match[1].upper() in LETTERS or not rest
        return match[1] == "A" and not self.named_letters(rest)

    def read_untagged(self, text: str) -> Reading:
        r"""Read a completion without a block.

        It may be as in a block; or the answer is in \boxed{}, in the first or last line, or is the
        name of one option.
        """
        reading = self.read_block(text)
        if reading.answer or reading.failure != "unparsed":
            return reading
        boxed_readings = [
            self.read_block(match[1]) for match in islice(_BOXED.finditer(text), MAX_CUES)
        ]
        if answers := [reading.answer for reading in boxed_readings if reading.answer]:
            return _single_answer(answers, "boxed")
        lines = text.split("\n")
        line_readings = (
            [self.read_block(line) for line in (lines[0], lines[-1])] if len(lines) > 1 else []
        )
        if answers := [reading.answer for reading in line_readings if reading.answer]:
            return _single_answer(answers, "line")
        if len(text) <= MAX_MENTION_CHARACTERS and not self.denies_options(text):
            return _single_answer(self.named_letters(text), "option_named")
        return reading


def read_yes_no(text: str, question: str = "") -> Reading:
    """Read yes or no: the first word, or what the sentence states about the question.

    Args:
        text: The text that may contain the answer.
        question: The question that statements are compared with; without it ("") only the words yes
            and no are read.
    """
    from medr1.answers.prose.polarity import read_polarity  # stems the vocabulary at import

    answer, how = read_polarity(question, text)
    if answer is None:
        return Reading(None, how)
    is_plain = text.strip(_MARKUP).casefold() == answer
    return Reading(
        answer, flags=() if is_plain else ("in_text",) if how == "leading" else ("statement",)
    )


def read_count(text: str) -> Reading:
    """Read the only number in a text, in its canonical form; a ratio stays one ("1:4")."""
    number = parse_number(text)
    if number is not None:
        return Reading(number_text(number))
    if ratio := _RATIO.fullmatch(unwrap_latex(text).strip(_MARKUP)):
        return Reading(f"{ratio[1]}:{ratio[2]}", flags=("ratio",))
    has_several = len(re.findall(r"(?<!\w)\d", text[:MAX_MENTION_CHARACTERS])) > 1
    return _no_answer(text, "ambiguous" if has_several else "unparsed")


def read_open(text: str) -> Reading:
    """Read an open answer: the text as written, without "The answer is" and markup around it."""
    starts = _cue_starts(text[:MAX_MENTION_CHARACTERS])
    opening = re.compile(r"(?:so|thus|therefore|hence)?,? ?(?:the )?(?:\w+ )?", re.IGNORECASE)
    if starts and opening.fullmatch(_CUE.split(text[: starts[0]], maxsplit=1)[0]):
        text = text[starts[0] :]
    content = text.strip(' \t\n*_`"')
    if match := _BOXED.fullmatch(content.strip("$ ")):
        content = match[1]
    if not content:
        return Reading(None, "empty")
    return Reading(None, "refused") if declines(content) else Reading(content)


def read_untagged(read: Reader, text: str) -> Reading:
    r"""Read a completion without a block, for answers without options.

    Args:
        read: Reads the answer in a block.
        text: The completion. The texts after "the answer is" are read first, then those in
            \boxed{}, then all of it.
    """
    if len(starts := _cue_starts(text)) > MAX_CUES:
        return Reading(None, "repeated")
    cues = [read(_sentence(text, start)) for start in starts]
    if answers := [cue.answer for cue in cues if cue.answer]:
        return _single_answer(answers, "cue")
    boxed_readings = [read(match[1]) for match in islice(_BOXED.finditer(text), MAX_CUES)]
    if answers := [reading.answer for reading in boxed_readings if reading.answer]:
        return _single_answer(answers, "boxed")
    return read(text)
