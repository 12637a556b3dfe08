"""The <think> and <answer> blocks of an output, found in one pass: linear in its length."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice

from medr1.errors import InputError

MAX_TAGS = 1_000
"""An output with more tags than this is a degenerate repetition; they are not looked at."""

_TAG = re.compile(r"<\s*+([/\\]?)\s*+(think|answer)\b[^<>]{0,200}+>", re.IGNORECASE)
_STRAY = re.compile(r"<[/\\].*", re.DOTALL)
_ORDERS = {
    "think": ("think", "answer"),
    "nothink": ("answer",),
    "think-after": ("answer", "think"),
}
FORMATS = (*_ORDERS, "bare")
"""What a prompt can ask for: blocks in an order, or the answer without any tag."""
_NOTHING = ("", "none", "null", "nan", "n/a")


@dataclass(frozen=True)
class Blocks:
    """What an output consists of. The tail is what follows the last </think>."""

    tail: tuple[str, ...]
    """The contents of the <answer> blocks in the tail, innermost where they are nested."""
    unclosed: str | None
    """What follows a last <answer> in the tail that nothing closes."""
    before: tuple[str, ...]
    """The answer blocks before the tail, outside of <think>: the answer of think-after."""
    inside: tuple[str, ...]
    """The answer blocks inside <think>."""
    rest: str
    """The tail's text: the answer of an output that has no block."""
    thinking: bool
    """Whether a <think> was opened last and never closed."""
    reasoning: str | None
    """The text inside the first <think>."""
    repeated: bool = False
    """Whether there are more than MAX_TAGS tags: then nothing else is filled in."""


def _pair(
    tags: list[re.Match[str]], name: str
) -> tuple[list[tuple[int, int]], re.Match[str] | None]:
    """The (start, end) of each innermost block of that name, and the last opening without end."""
    spans, opened = [], None
    for tag in tags:
        if tag[2].lower() != name:
            continue
        if not tag[1]:
            opened = tag
        elif opened:
            spans.append((opened.end(), tag.start()))
            opened = None
    return spans, opened


def _thought_spans(tags: list[re.Match[str]]) -> list[tuple[int, int]]:
    """What lies inside <think>. Text before a first </think> does too: some chat templates put
    the <think> into the prompt."""
    spans: list[tuple[int, int]] = []
    opened = None
    for tag in tags:
        if tag[2].lower() != "think":
            continue
        if not tag[1]:
            opened = tag.end() if opened is None else opened
        else:
            start = opened if opened is not None else (spans[-1][1] if spans else 0)
            spans.append((start, tag.start()))
            opened = None
    return spans


def find_blocks(text: str) -> Blocks:
    """Take the folded text of an output apart."""
    tags = list(islice(_TAG.finditer(text), MAX_TAGS + 1))
    if len(tags) > MAX_TAGS:
        return Blocks((), None, (), (), "", False, None, repeated=True)
    closings = [tag for tag in tags if tag[1] and tag[2].lower() == "think"]
    tail_start = closings[-1].end() if closings else 0
    spans, opened = _pair(tags, "answer")
    thoughts = _thought_spans(tags)
    _, thinking = _pair(tags, "think")

    unclosed = None
    if opened and opened.start() >= tail_start:
        unclosed = text[opened.end() :]
        if not unclosed.strip():  # <answer>C<answer>: the second was meant to close
            earlier = [t for t in tags if t.end() <= opened.start() and t.start() >= tail_start]
            if earlier and not earlier[-1][1] and earlier[-1][2].lower() == "answer":
                unclosed = text[earlier[-1].end() : opened.start()]
        unclosed = _STRAY.sub("", unclosed)

    before: list[str] = []
    inside: list[str] = []
    thought = 0
    for start, end in spans:
        if start >= tail_start:
            break
        while thought < len(thoughts) and thoughts[thought][1] < start:
            thought += 1
        within = thought < len(thoughts) and thoughts[thought][0] <= start
        (inside if within else before).append(text[start:end])
    return Blocks(
        tail=tuple(text[start:end] for start, end in spans if start >= tail_start),
        unclosed=unclosed,
        before=tuple(before),
        inside=tuple(inside),
        rest=(_TAG.sub(" ", text[tail_start:]) if tags else text).strip(),
        thinking=thinking is not None and thinking.start() >= tail_start,
        reasoning=_reasoning(text, tags, thoughts),
    )


def _reasoning(text: str, tags: list[re.Match[str]], thoughts: list[tuple[int, int]]) -> str | None:
    """The text inside the first <think>; where nothing closes it, up to the next tag."""
    if thoughts:
        start, end = thoughts[0]
        return text[start:end].strip() or None
    for i, tag in enumerate(tags):
        if not tag[1] and tag[2].lower() == "think":
            end = tags[i + 1].start() if i + 1 < len(tags) else len(text)
            return text[tag.end() : end].strip() or None
    return None


def format_of(instruction: str) -> str:
    """think | nothink | think-after | bare: the format that a prompt's text asks for.

    Its tags say so, in the order in which they first stand there. InputError for <think> alone:
    where the answer stands is not said then.
    """
    thinks, answers = (instruction.find(f"<{name}>") for name in ("think", "answer"))
    if answers < 0:
        if thinks >= 0:
            raise InputError(
                "the prompt names <think> and not <answer>, so that its format is not known. "
                "Name both tags in the order wanted, or neither."
            )
        return "bare"
    if thinks < 0:
        return "nothink"
    return "think" if thinks < answers else "think-after"


def in_format(form: str, answer: str, rationale: str | None = None) -> str:
    """The completion that gives an answer in a format; a rationale where the format has one."""
    if form == "bare":
        return answer
    contents = {"think": rationale, "answer": answer}
    return " ".join(f"<{name}> {contents[name]} </{name}>" for name in _ORDERS[form])


def rationale_of(text: str) -> str | None:
    """The reasoning that a text holds: inside its first <think>, or all of it where it has no tag.

    None where there is none, or a word such as "None" that a table wrote for it.
    """
    reasoning = find_blocks(text).reasoning if _TAG.search(text) else text.strip()
    return None if (reasoning or "").casefold() in _NOTHING else reasoning


def has_format(output: str, form: str) -> bool:
    """Whether the whole output is one non-empty block of each kind, in the format's order.

    White space may stand around the blocks and nothing else; a further tag in any spelling fails.
    InputError for `bare`, which is no format.
    """
    if form not in _ORDERS:
        raise InputError(
            f"a prompt without <answer> asks for no format. Choose one of: {', '.join(_ORDERS)}."
        )
    shape = tuple(tag for name in _ORDERS[form] for tag in (f"<{name}>", f"</{name}>"))
    tags = list(islice(_TAG.finditer(output), len(shape) + 1))
    if tuple(tag[0] for tag in tags) != shape:
        return False
    edges = [0, *(edge for tag in tags for edge in tag.span()), len(output)]
    pieces = [output[a:b].strip() for a, b in zip(edges[::2], edges[1::2], strict=True)]
    return all(bool(piece) == bool(i % 2) for i, piece in enumerate(pieces))
