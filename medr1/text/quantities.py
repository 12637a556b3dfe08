"""Reading the single number, with or without a unit, that a short text states."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from medr1.text.normalization import fold

LONGEST = 2_000
"""Characters; a longer text is not read."""

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?:\.\d*)?|\d+(?:\.\d*)?|\.\d+)"
_NUMBER = rf"[+-]?{_DIGITS}(?:[eE][+-]?\d{{1,3}})?"
# base unit -> factor -> names of the unit
_UNIT_NAMES = {
    "m": {
        "1e-9": "nm",
        "1e-6": "um μm micrometer micrometers micrometre micrometres",
        "1e-3": "mm millimeter millimeters millimetre millimetres",
        "1e-2": "cm centimeter centimeters centimetre centimetres",
        "1e-1": "dm",
        "1": "m meter meters metre metres",
        "1e3": "km",
        "0.0254": "inch inches",
    },
    "m^2": {"1e-6": "mm2 mm^2", "1e-4": "cm2 cm^2", "1": "m2 m^2"},
    "m^3": {
        "1e-9": "mm3 mm^3 ul μl",
        "1e-6": "cm3 cm^3 cc ml milliliter milliliters millilitre millilitres",
        "1e-5": "cl",
        "1e-4": "dl",
        "1e-3": "l liter liters litre litres",
        "1": "m3 m^3",
    },
    "g": {
        "1e-6": "ug μg mcg",
        "1e-3": "mg milligram milligrams",
        "1": "g gram grams",
        "1e3": "kg kilogram kilograms",
    },
    "s": {
        "1e-3": "ms",
        "1": "s sec second seconds",
        "60": "min minute minutes",
        "3600": "h hr hour hours",
        "86400": "day days",
        "604800": "week weeks",
    },
    "year": {"1": "year years yr yrs"},
    "degree": {"1": "° deg degree degrees"},
    "": {"0.01": "% percent"},
}
_UNITS = {
    name: (unit, Decimal(factor))
    for unit, factors in _UNIT_NAMES.items()
    for factor, names in factors.items()
    for name in names.split()
}
_QUANTITY = re.compile(rf"({_NUMBER})(?:[ -]?([a-zμ°%]+(?:\^?[23])?))?\.?")
_SMALL = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7,
    "eight": 8, "nine": 9, "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14,
    "fifteen": 15, "sixteen": 16, "seventeen": 17, "eighteen": 18, "nineteen": 19,
}  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_WORDS = _SMALL | {word: 10 * n for n, word in enumerate(_TENS, start=2)}
_WORDS |= {"hundred": 100, "thousand": 1000}
# With one of these words the number is negated, a bound, or part of something else.
_DENIED = re.compile(
    r"\b(?:not|no|never|neither|nor|cannot|without|except|or|versus|than|half|halves|quarters?"
    r"|thirds?|dozens?|twice|pi|sqrt|squared|cubed|power|factorial|million|billion|point"
    r"|at (?:least|most))\b|n't\b|[<>≤≥√π^\u00d7\u00f7\\]|\d ?[+!]|- \d"
)
_BOUND = re.compile(
    r"\b(?:over|under|above|below|beyond|almost|nearly|exceed\w*|up to|minimum(?: of)?"
    r"|maximum(?: of)?) (?:[-+.]?\d|(?:" + "|".join(_WORDS) + r")\b)"
)
_WRAPPED = re.compile(r"\\(?:boxed|text|textbf|mathrm|mathbf) ?\{([^{}]*)\}")
_RATIO = re.compile(r"([+-]?\d+)/(\d+)")
_FRACTION = re.compile(r"\\[dt]?frac ?\{ ?(-?\d{1,30}) ?\} ?\{ ?(\d{1,30}) ?\}")
_EDGES = "\"'`()[]{}*_,;:?$~≈="


@dataclass(frozen=True)
class Quantity:
    """A value in its base unit: m, m^2, m^3, g, s, year or degree; "" without a unit."""

    value: Decimal
    unit: str


def unwrap_latex(text: str) -> str:
    r"""The text without $...$, \(...\), \boxed{}, \text{} and similar commands around it."""
    for _ in range(3):
        if "\\" not in text:
            break
        text = _WRAPPED.sub(r"\1", text)
    if "\\" in text:
        text = re.sub(r"\\[()\[\]]", " ", text).replace("\\%", "%")
    return text.replace("$", " ")


def _prepare(text: str) -> str:
    """One lower-case line with plain fractions: "$1\\frac{1}{2}$" -> "1 1/2"."""
    text = unwrap_latex(fold(text))
    if "\\" in text:
        text = _FRACTION.sub(r" \1/\2", text)
    text = " ".join(text.lower().split())
    return re.sub(r"(?<=\d) ?/ ?(?=\d)", "/", text)


def _decimal(text: str) -> Decimal:
    return Decimal(text.replace(",", ""))


def _value_of_token(token: str) -> Decimal | None:
    """The value of "4", "1,234.5", "1e3", "3/4", "50%", "4mm"; None for any other token."""
    if len(token) > 60:
        return None
    if match := _RATIO.fullmatch(token):
        divisor = Decimal(match[2])
        return Decimal(match[1]) / divisor if divisor else None
    if match := re.fullmatch(rf"({_NUMBER})(?:-?([a-zμ°%]+))?", token):
        value, unit = _decimal(match[1]), match[2]
        if unit is None or unit in _UNITS:
            return value / 100 if unit in ("%", "percent") else value
    return None


def _value_of_words(words: list[str]) -> Decimal | None:
    """The value of ["twenty", "one"]; None if the words are several numbers."""
    total = current = 0
    for word in words:
        n = _WORDS[word]
        if n == 1000:
            total, current = total + (current or 1) * 1000, 0
        elif n == 100:
            current = (current or 1) * 100
        else:
            if current % 100 and (n >= 10 or current % 10 or current % 100 < 20):
                return None
            current += n
    return Decimal(total + current)


def _tokens(text: str) -> list[str]:
    """Words without the punctuation around them; "twenty-one" is two."""
    tokens = []
    for raw in text.split():
        token = raw.strip(_EDGES)
        token = token.rstrip("." + _EDGES)
        token = re.sub(r"^[a-z]=(?=[-+.\d])", "", token)
        parts = token.split("-")
        tokens += parts if len(parts) > 1 and all(part in _WORDS for part in parts) else [token]
    return [token for token in tokens if token]


def _read_words(tokens: list[str], start: int) -> tuple[Decimal | None, int]:
    """The number whose first word is at `start`, and the index after its last word."""
    words, i = [], start
    while i < len(tokens):
        if tokens[i] in _WORDS:
            words.append(tokens[i])
        elif not (
            tokens[i] == "and"
            and words[-1] == "hundred"
            and tokens[i + 1 : i + 2]
            and tokens[i + 1] in _WORDS
        ):
            break
        i += 1
    return _value_of_words(words), i


def _numbers(tokens: list[str]) -> list[tuple[Decimal, str]] | None:
    """Every number with how it is written (digits | words); None if one is malformed."""
    numbers: list[tuple[Decimal, str]] = []
    i = 0
    while i < len(tokens):
        token, negative = tokens[i], i > 0 and tokens[i - 1] in ("minus", "negative")
        if token in _WORDS:
            value, i = _read_words(tokens, i)
            kind = "words"
        elif token[0].isalpha() or not any(map(str.isdigit, token)):
            i += 1
            continue
        else:
            value, kind, i = _value_of_token(token), "digits", i + 1
            if value is not None and re.fullmatch(r"[+-]?\d+", token) and i < len(tokens):
                part = re.fullmatch(r"(\d{1,9})/(\d{1,9})", tokens[i])
                if part and int(part[1]) < int(part[2]):
                    fraction = Decimal(part[1]) / Decimal(part[2])
                    value, i = value + fraction.copy_sign(value), i + 1
        if value is None:
            return None
        if i < len(tokens) and tokens[i] in ("%", "percent"):
            value, i = value / 100, i + 1
        numbers.append((-value if negative else value, kind))
    return numbers


def parse_number(text: str) -> Decimal | None:
    """The single number in a text: "4 objects", "four", "½", "1 1/2", "1,234", "B. 9", "50%".

    None if the text has no number, several ("3 or 4", "4 4 4"), a bound ("more than 4"), a negation
    ("not 4") or something else with digits (a date, a ratio, "T2", "2√3"). "50%" is 0.5. Units are
    ignored; see parse_quantity.
    """
    if len(text) > LONGEST:
        return None
    line = _prepare(text)
    if line.strip(" .") in ("none", "nil"):
        return Decimal(0)
    if _DENIED.search(line) or _BOUND.search(line):
        return None
    numbers = _numbers(_tokens(line))
    if not numbers:
        return None
    values, kinds = {value for value, _ in numbers}, [kind for _, kind in numbers]
    is_repeated = len(values) == 1 and sorted(kinds) == ["digits", "words"]  # "four (4)"
    return numbers[0][0] if len(numbers) == 1 or is_repeated else None


def parse_quantity(text: str) -> Quantity | None:
    """The number and unit of a text that has nothing else: "0.5 cm" -> (0.005, "m"); else None."""
    if len(text) > LONGEST:
        return None
    match = _QUANTITY.fullmatch(_prepare(text).strip())
    if not match:
        return None
    if match[2] is not None and match[2] not in _UNITS:
        return None
    unit, factor = _UNITS[match[2]] if match[2] else ("", Decimal(1))
    return Quantity(_decimal(match[1]) * factor, unit)


def is_number(text: str) -> bool:
    """Whether the whole text is one number without a unit, in digits or words."""
    tokens = _tokens(_prepare(text)) if len(text) <= 100 else []
    plain = re.compile(rf"{_NUMBER}|[+-]?\d+/\d+|and|minus|" + "|".join(_WORDS))
    return all(map(plain.fullmatch, tokens)) and parse_number(text) is not None


def number_text(number: Decimal) -> str:
    """The number as canonical text: "4", "1.5", "-0.25"."""
    return format(number.normalize() + 0, "f")
