"""Recompute the equations and sums in a reasoning: "3 + 2 = 5", "12 mm x 2 = 24 mm", "20% of 50".

Numbers are exact fractions. A rounded result is right ("10 / 3 = 3.33"). An equation with a
variable, or with units that do not fit, is left out: only what can be computed is called a step.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from medr1.text.normalization import fold
from medr1.text.quantities import parse_number, parse_quantity

MAX_CHARACTERS = 50_000
"""Characters of a reasoning that are read."""
MAX_STEPS = 200
"""A reasoning with more steps than this is a degenerate repetition; the others are not read."""
_LONGEST_NUMBER = 15
_LARGEST_EXPONENT = 6
_ABOUT = Fraction(1, 20)
"""The relative error that "is about" and the sign for it allow."""
_APPROXIMATE = Fraction(1, 200)
"""The relative error of two expressions with decimals that are called equal."""

_SMALL_NUMBERS = (
    "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen"
    "|sixteen|seventeen|eighteen|nineteen|twenty"
)
_UNIT = (
    r"(?:mm\^?[23]|cm\^?[23]|m\^?[23]|mm|cm|km|nm|um|μm|ml|cc|dl|l|mg|kg|mcg|ug|g|ms|min|hours?"
    r"|days?|weeks?|years?|seconds?|m|s)(?![\w^])"
)
_PLAIN_NOUN = (
    r"(?!(?:and|or|is|are|was|equals?|plus|minus|times|divided|multiplied|makes?|gives?|of|to|the"
    r"|about|which|x)\b)[a-z]{3,20}"
)
_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?(?![\d,])|\d+(?:\.\d+)?|\.\d+"
    rf"|(?:{_SMALL_NUMBERS})\b)"
    r"(?:\s?(?P<percent>%|percent\b)"
    rf"|[ -]?(?P<unit>{_UNIT})"
    rf"|\s(?P<noun>{_PLAIN_NOUN}(?:\s{_PLAIN_NOUN})?)"
    r"(?=\s*(?:[-+*/=\u00d7\u00f7,]|plus\b|minus\b|equals?\b|makes?\b)))?"
    r"|(?P<power>\^|\*\*)"
    r"|(?P<operator>[-+*/\u00d7\u00f7·]|(?<=[\s\d])x(?=\s*\d)|plus\b|minus\b|times\b|multiplied\s+by\b"
    r"|divided\s+by\b)"
    r"|(?P<of>of\b)"
    r"|(?P<open>\()|(?P<close>\))"
    r"|(?P<about>≈|~=?|≅|(?:=|is|equals?|which is)\s+"
    r"(?:about|approximately|roughly|around|nearly)\b)"
    r"|(?P<equal>=|,?\s*(?:which\s+)?(?:is\s+equal\s+to|equals?|makes?|gives?(?:\s+us)?|which\s+is"
    r"|is|for\s+a\s+total\s+of)\b))",
    re.IGNORECASE,
)
_SIGNS = ("=", "\u2248", "~", "\u2245")
"""Relations that are not in words begin with one of these."""
_START = re.compile(rf"\d|\.\d|\(|\b(?:{_SMALL_NUMBERS})\b", re.IGNORECASE)
_MORE = re.compile(r"[\w^]|\.\d|:\d")
"""What follows a number that is part of something else."""
_OPERATORS = {
    "+": "+", "plus": "+", "-": "-", "minus": "-", "*": "*", "\u00d7": "*", "·": "*", "x": "*",
    "times": "*", "multiplied by": "*", "/": "/", "\u00f7": "/", "divided by": "/",
}  # fmt: skip
_REWRITTEN = (
    (re.compile(r"\\[dt]?frac\s?\{([^{}]{1,30})\}\s?\{([^{}]{1,30})\}"), r"(\1)/(\2)"),
    (re.compile(r"\\(?:times|cdot)\b"), "*"),
    (re.compile(r"\\div\b"), "/"),
    (re.compile(r"\\approx\b"), "≈"),
    (re.compile(r"\\(?:text|mathrm)\s?\{([^{}]{1,30})\}"), r" \1"),
    (re.compile(r"\\%"), "%"),
    (re.compile(r"\b(\d{1,9}) ?: ?(\d{1,9})(\s?=\s?)(\d{1,9}) ?: ?(\d{1,9})\b"), r"\1/\2\3\4/\5"),
    (re.compile(r"\\[()\[\]]|\$|\\,"), " "),
)
_COUNT = rf"(?:\d{{1,2}}|{_SMALL_NUMBERS}|an?|another)"
_LIST = re.compile(
    rf"\b(?P<total>\d{{1,2}}|{_SMALL_NUMBERS})\s(?P<noun>[a-z]+(?:\s[a-z]+){{0,2}}):\s"
    rf"(?P<items>{_COUNT}\s(?:in|on|at|near|below|above|behind)\s[^.;:\n]{{1,200}})(?=[.;\n]|$)",
    re.IGNORECASE,
)
"""A total and a list of places after it: "three nodules: one in the left lung, two in ..."."""
_ITEM = re.compile(
    rf"(?:^|,\s(?:and\s)?|\sand\s)(?P<count>{_COUNT})(?=\s(?:in|on|at|near|below|above|behind)\b)",
    re.IGNORECASE,
)
_ITEM_START = re.compile(r",\s(?:and\s)?|\sand\s", re.IGNORECASE)


@dataclass(frozen=True)
class Step:
    """An equation or a sum in a reasoning that could be computed."""

    text: str
    is_right: bool


@dataclass(frozen=True)
class _Value:
    """A number with its unit, both in the unit that is written and in the base unit."""

    written: Fraction
    base: Fraction | None
    """In the base unit; None without a unit."""
    dimension: tuple[str, int] | None = None
    """The base unit and its power, such as ("m", 2); ("", 0) for a product without a unit."""


def arithmetic_steps(text: str) -> list[Step]:
    """The equations and counted lists in a text that can be computed, in order.

    Args:
        text: A reasoning.
    """
    text = fold(text[:MAX_CHARACTERS])
    for pattern, replacement in _REWRITTEN:
        text = pattern.sub(replacement, text)
    steps: list[tuple[int, Step]] = []
    position = 0
    while len(steps) < MAX_STEPS and (start := _START.search(text, position)):
        tokens, end = _run(text, start.start())
        if _is_free(text, start.start()):
            steps += [(start.start(), step) for step in _steps_of(tokens)]
        position = max(end, start.end())
    steps += [(match.start(), step) for match in _LIST.finditer(text) if (step := _list(match))]
    return [step for _, step in sorted(steps, key=lambda pair: pair[0])][:MAX_STEPS]


def _run(text: str, start: int) -> tuple[list[re.Match[str]], int]:
    """The tokens of arithmetic from a position on, and where they end."""
    tokens: list[re.Match[str]] = []
    position = start
    while len(tokens) < 60 and (match := _TOKEN.match(text, position)):
        tokens.append(match)
        position = match.end()
    if tokens and tokens[-1]["number"] and _MORE.match(text, position):
        tokens.pop()  # "5x", "3:4": more than a number
    return tokens, position


def _is_free(text: str, start: int) -> bool:
    """Whether nothing before a run belongs to it, such as a variable and an operator."""
    before = text[max(0, start - 12) : start]
    if re.search(r"[\w.,:^_%]$", before) and not re.search(r"[,:]$", before):
        return False
    return not re.search(
        r"[-+*/\u00d7\u00f7·^<>]\s*$|\d[,:]$|\b(?:minus|plus|times|by|over)\s$", before
    )


def _steps_of(tokens: list[re.Match[str]]) -> Iterator[Step]:
    """Each pair of neighbouring sides of a chain of equations, at least one with an operator."""
    sides: list[list[re.Match[str]]] = [[]]
    relations: list[re.Match[str]] = []
    for token in tokens:
        if token["equal"] or token["about"]:
            relations.append(token)
            sides.append([])
        else:
            sides[-1].append(token)
    for left, relation, right in zip(sides, relations, sides[1:], strict=False):
        if not (_has_operator(left) or _has_operator(right)) or not left or not right:
            continue
        if relation["equal"] and not relation["equal"].strip().startswith("="):
            right = right[:1]  # "3 plus 2 is 5 - a small number"
        if not relation[0].strip().startswith(_SIGNS) and _is_range_or_grade(left):
            continue  # "10-15 is 12", "20/40 is 3 lines worse"
        first, second = _evaluate(left), _evaluate(right)
        if first is None or second is None:
            continue
        is_right = _is_equal(first, second, left, right, is_about=bool(relation["about"]))
        if is_right is not None:
            text = "".join(token[0] for token in (*left, relation, *right)).strip()
            yield Step(text, is_right)


def _has_operator(side: list[re.Match[str]]) -> bool:
    return any(token["operator"] or token["of"] or token["power"] for token in side[1:])


def _is_range_or_grade(side: list[re.Match[str]]) -> bool:
    """Whether a side is such as "10-15", "20 - 30" or "4/6", which are often no arithmetic.

    "30 mm - 20 mm" and "12%/50%", with units, are, and so are "20 minus 10" and "10 / 2".
    """
    if any(token["open"] for token in side):
        return False
    operators = {token["operator"] for token in side if token["operator"]}
    has_units = all(token["unit"] or token["percent"] for token in side if token["number"])
    has_blanks = any(token[0].startswith(" ") for token in side[1:])
    if operators == {"-"}:
        return not (has_units and has_blanks)
    return operators == {"/"} and not (has_units or has_blanks)


def _is_equal(
    first: _Value,
    second: _Value,
    left: list[re.Match[str]],
    right: list[re.Match[str]],
    *,
    is_about: bool,
) -> bool | None:
    """Whether two sides are equal, apart from rounding; None if their units do not fit."""
    a, b = first.written, second.written
    factor = Fraction(1)
    if first.dimension and second.dimension:
        if first.base is None or second.base is None or first.dimension != second.dimension:
            return None
        factor = second.base / second.written if second.written else Fraction(1)
        a, b = first.base / factor, second.base / factor
    if is_about:
        return abs(a - b) <= _ABOUT * max(abs(a), abs(b))
    if a == b:
        return True
    if len(right) == 1:
        return _is_rounded(a, right[0], b)
    if len(left) == 1:
        return _is_rounded(b, left[0], a)
    has_decimals = any("." in (token["number"] or "") for token in (*left, *right))
    return has_decimals and abs(a - b) <= _APPROXIMATE * max(abs(a), abs(b))


def _is_rounded(exact: Fraction, token: re.Match[str], stated: Fraction) -> bool:
    """Whether a stated number is the exact one, rounded or cut off at its last digit.

    A whole number has to be the nearest one; at a half, both neighbours are right. A 0 without
    decimals is no rounded number.
    """
    digits = (token["number"] or "").partition(".")[2]
    unit = Fraction(1, 10 ** len(digits)) / (100 if token["percent"] else 1)
    if not digits and (not stated or (exact / unit).denominator == 1):
        return False
    is_cut_off = bool(digits) and 0 <= exact - stated < unit  # a number in the text has no sign
    return is_cut_off or abs(exact - stated) <= unit / 2


def _evaluate(side: list[re.Match[str]]) -> _Value | None:
    """The value of an expression; None if it is not complete or cannot be computed."""
    parser = _Parser(side)
    value = parser.sum()
    return value if parser.is_done else None


class _Parser:
    """Computes an expression of numbers, units, operators and parentheses from left to right."""

    def __init__(self, tokens: list[re.Match[str]]) -> None:
        self.tokens = tokens
        self.position = 0
        self.depth = 0

    @property
    def is_done(self) -> bool:
        """Whether all tokens were used."""
        return self.position == len(self.tokens)

    def _next(self, *kinds: str) -> re.Match[str] | None:
        """The next token if it is of one of these kinds; it is then used."""
        token = None if self.is_done else self.tokens[self.position]
        if token is None or not any(token[kind] for kind in kinds):
            return None
        self.position += 1
        return token

    def _operator(self, signs: str) -> str | None:
        """The sign of the next operator if it is one of these; it is then used."""
        token = self._next("operator", "of")
        if token is None:
            return None
        sign = "*" if token["of"] else _OPERATORS[" ".join(token["operator"].lower().split())]
        if sign in signs:
            return sign
        self.position -= 1
        return None

    def sum(self) -> _Value | None:
        """A sum of products."""
        value = self._product()
        while value is not None and (sign := self._operator("+-")):
            other = self._product()
            value = None if other is None else _added(value, other, 1 if sign == "+" else -1)
        return value

    def _product(self) -> _Value | None:
        value = self._power()
        while value is not None and (sign := self._operator("*/")):
            other = self._power()
            value = None if other is None else _multiplied(value, other, 1 if sign == "*" else -1)
        return value

    def _power(self) -> _Value | None:
        value = self._atom()
        if value is None or not self._next("power"):
            return value
        exponent = self._next("number")
        if exponent is None or not exponent["number"].isdigit() or value.dimension:
            return None
        power = int(exponent["number"][:3])
        return _Value(value.written**power, None) if power <= _LARGEST_EXPONENT else None

    def _atom(self) -> _Value | None:
        if self._operator("-"):
            value = self._atom() if self.position == 1 else None
            return None if value is None else _multiplied(_Value(Fraction(-1), None), value, 1)
        if self._next("open"):
            self.depth += 1
            value = self.sum() if self.depth < 10 else None
            return value if value is not None and self._next("close") else None
        token = self._next("number")
        return None if token is None else _number(token)


def _number(token: re.Match[str]) -> _Value | None:
    if len(token["number"]) > _LONGEST_NUMBER or re.match(r"0\d", token["number"]):
        return None  # "03" is part of a date or a code
    number = parse_number(token["number"])
    if number is None:
        return None
    if token["percent"]:
        number /= 100
    if token["unit"] and (quantity := parse_quantity(f"1 {token['unit'].lower()}")):
        base, _, power = quantity.unit.partition("^")
        factor = Fraction(quantity.value)
        return _Value(Fraction(number), Fraction(number) * factor, (base, int(power or 1)))
    return _Value(Fraction(Decimal(number)), None)


def _added(first: _Value, second: _Value, sign: int) -> _Value | None:
    if first.dimension == second.dimension:
        base = None
        if first.base is not None and second.base is not None:
            base = first.base + sign * second.base
        return _Value(first.written + sign * second.written, base, first.dimension)
    if first.dimension and second.dimension:
        return None
    # "12 mm + 3 = 15 mm": the unit is left out once
    known = first if first.dimension else second
    if known.base is None or not known.written:
        return None
    written = first.written + sign * second.written
    return _Value(written, written * known.base / known.written, known.dimension)


def _multiplied(first: _Value, second: _Value, power: int) -> _Value | None:
    """The product, or with power -1 the quotient; None for a division by zero."""
    if power < 0 and not second.written:
        return None
    written = first.written * second.written**power
    if first.dimension is None and second.dimension is None:
        return _Value(written, None)
    a, b = (value.written if value.base is None else value.base for value in (first, second))
    (unit, exponent), (other, other_exponent) = (
        value.dimension or ("", 0) for value in (first, second)
    )
    if unit and other and unit != other:
        return None
    total = exponent + power * other_exponent
    if not total:
        return _Value(a * b**power, None)
    return _Value(written, a * b**power, (unit or other, total)) if total > 0 else None


def _list(match: re.Match[str]) -> Step | None:
    """Whether a counted list adds up to its total; None if a part of it has no number."""
    items = match["items"]
    counts = [item["count"].lower() for item in _ITEM.finditer(items)]
    if len(counts) < 2 or len(counts) != len(_ITEM_START.findall(items)) + 1:
        return None
    numbers = [1 if count in ("a", "an", "another") else parse_number(count) for count in counts]
    total = parse_number(match["total"])
    if total is None or None in numbers:
        return None
    return Step(match[0], sum(number for number in numbers if number is not None) == total)
