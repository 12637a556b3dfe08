"""The <think> and <answer> blocks of a completion, and the answer formats that consist of them.

The time is linear in the length of the completion. Tags may be in any case and contain blanks. The
final part of a completion is what follows its last </think>, or all of it without a </think>.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice

from medr1.errors import InputError

MAX_TAGS = 1_000
"""A completion with more tags than this is a degenerate repetition; its blocks are not read."""

_TAG = re.compile(r"<\s*+([/\\]?)\s*+(think|answer)\b[^<>]{0,200}+>", re.IGNORECASE)
_UNFINISHED_TAG = re.compile(r"<[/\\].*", re.DOTALL)
_BLOCK_ORDERS = {
    "think": ("think", "answer"),
    "nothink": ("answer",),
    "think-after": ("answer", "think"),
}
FORMATS = (*_BLOCK_ORDERS, "bare")
"""The formats that a prompt can ask for: blocks in an order, or the answer without any tag."""
_WORDS_FOR_NONE = ("", "none", "null", "nan", "n/a")
"""Texts that tables write for a missing value."""


@dataclass(frozen=True)
class Blocks:
    """The parts of a completion."""

    final_answers: tuple[str, ...]
    """The contents of the <answer> blocks in the final part; of nested blocks the innermost."""
    unclosed_answer: str | None
    """The text after an <answer> in the final part that is never closed; None without one."""
    answers_before_think: tuple[str, ...]
    """The contents of the <answer> blocks before <think>, as in the format `think-after`."""
    answers_in_think: tuple[str, ...]
    """The contents of the <answer> blocks inside <think>."""
    final_text: str
    """The final part without its tags: the answer of a completion that has no block."""
    think_is_open: bool
    """Whether the last <think> is never closed."""
    reasoning: str | None
    """The text inside the first <think>; None without one."""
    is_degenerate: bool = False
    """Whether there are more than MAX_TAGS tags; then all other fields are empty."""


def _block_spans(
    tags: list[re.Match[str]], name: str
) -> tuple[list[tuple[int, int]], re.Match[str] | None]:
    """The (start, end) of each innermost block of that name, and an opening tag left without end.

    If there are several openings without end, it is the last.
    """
    spans, open_tag = [], None
    for tag in tags:
        if tag[2].lower() != name:
            continue
        if not tag[1]:
            open_tag = tag
        elif open_tag:
            spans.append((open_tag.end(), tag.start()))
            open_tag = None
    return spans, open_tag


def _think_spans(tags: list[re.Match[str]]) -> list[tuple[int, int]]:
    """The (start, end) of each text inside <think>.

    The text before a </think> without <think> is one: some chat templates write the <think> into
    the prompt.
    """
    spans: list[tuple[int, int]] = []
    start_of_open = None
    for tag in tags:
        if tag[2].lower() != "think":
            continue
        if not tag[1]:
            start_of_open = tag.end() if start_of_open is None else start_of_open
        else:
            start = start_of_open if start_of_open is not None else (spans[-1][1] if spans else 0)
            spans.append((start, tag.start()))
            start_of_open = None
    return spans


def find_blocks(text: str) -> Blocks:
    """The parts of a completion, or of another text with tags; completions are folded before."""
    tags = list(islice(_TAG.finditer(text), MAX_TAGS + 1))
    if len(tags) > MAX_TAGS:
        return Blocks((), None, (), (), "", False, None, is_degenerate=True)
    think_ends = [tag for tag in tags if tag[1] and tag[2].lower() == "think"]
    final_start = think_ends[-1].end() if think_ends else 0
    spans, open_tag = _block_spans(tags, "answer")
    think_spans = _think_spans(tags)
    _, open_think = _block_spans(tags, "think")

    unclosed_answer = None
    if open_tag and open_tag.start() >= final_start:
        unclosed_answer = text[open_tag.end() :]
        if not unclosed_answer.strip():  # <answer>C<answer>: the second should have been </answer>
            earlier_tags = [
                tag for tag in tags if tag.end() <= open_tag.start() and tag.start() >= final_start
            ]
            if earlier_tags and not earlier_tags[-1][1] and earlier_tags[-1][2].lower() == "answer":
                unclosed_answer = text[earlier_tags[-1].end() : open_tag.start()]
        unclosed_answer = _UNFINISHED_TAG.sub("", unclosed_answer)

    answers_before_think: list[str] = []
    answers_in_think: list[str] = []
    i_think = 0
    for start, end in spans:
        if start >= final_start:
            break
        while i_think < len(think_spans) and think_spans[i_think][1] < start:
            i_think += 1
        is_in_think = i_think < len(think_spans) and think_spans[i_think][0] <= start
        (answers_in_think if is_in_think else answers_before_think).append(text[start:end])
    return Blocks(
        final_answers=tuple(text[start:end] for start, end in spans if start >= final_start),
        unclosed_answer=unclosed_answer,
        answers_before_think=tuple(answers_before_think),
        answers_in_think=tuple(answers_in_think),
        final_text=(_TAG.sub(" ", text[final_start:]) if tags else text).strip(),
        think_is_open=open_think is not None and open_think.start() >= final_start,
        reasoning=_reasoning(text, tags, think_spans),
    )


def _reasoning(
    text: str, tags: list[re.Match[str]], think_spans: list[tuple[int, int]]
) -> str | None:
    """The text inside the first <think>; up to the next tag if no <think> is closed."""
    if think_spans:
        start, end = think_spans[0]
        return text[start:end].strip() or None
    for i, tag in enumerate(tags):
        if not tag[1] and tag[2].lower() == "think":
            end = tags[i + 1].start() if i + 1 < len(tags) else len(text)
            return text[tag.end() : end].strip() or None
    return None


def format_of(prompt: str) -> str:
    """The format that a prompt asks for, one of FORMATS, by the order of the first tags in it.

    Raises:
        InputError: The prompt has <think> and no <answer>, so that the place of the answer is not
            known.
    """
    thinks, answers = (prompt.find(f"<{name}>") for name in ("think", "answer"))
    if answers < 0:
        if thinks >= 0:
            raise InputError(
                "the prompt has the tag <think> but not <answer>, so its format is not known. "
                "Write both tags in the order in which the model should use them, or neither."
            )
        return "bare"
    if thinks < 0:
        return "nothink"
    return "think" if thinks < answers else "think-after"


def format_completion(form: str, answer: str, reasoning: str | None = None) -> str:
    """The completion that a prompt of this format asks for.

    Args:
        form: The format, one of FORMATS.
        answer: The text of the answer.
        reasoning: The text inside <think>; needed if the format has one.
    """
    if form == "bare":
        return answer
    contents = {"think": reasoning, "answer": answer}
    return " ".join(f"<{name}> {contents[name]} </{name}>" for name in _BLOCK_ORDERS[form])


def reasoning_of(text: str) -> str | None:
    """The text inside the first <think>, or all of the text if it has no tag.

    None if there is no reasoning, or only a word that a table writes for a missing value ("None").
    """
    reasoning = find_blocks(text).reasoning if _TAG.search(text) else text.strip()
    return None if (reasoning or "").casefold() in _WORDS_FOR_NONE else reasoning


def has_format(completion: str, form: str) -> bool:
    """Whether a completion consists of the format's blocks, in order, each once and not empty.

    Only white space may stand around the blocks. A further tag in any spelling is an error of
    format.

    Args:
        completion: The text as the model wrote it.
        form: The format, one of FORMATS other than `bare`.

    Raises:
        InputError: The format is `bare`, which has no block.
    """
    if form not in _BLOCK_ORDERS:
        raise InputError(
            "a prompt without <answer> asks for no format. "
            f"Choose one of: {', '.join(_BLOCK_ORDERS)}."
        )
    names = _BLOCK_ORDERS[form]
    expected_tags = tuple(tag for name in names for tag in (f"<{name}>", f"</{name}>"))
    tags = list(islice(_TAG.finditer(completion), len(expected_tags) + 1))
    if tuple(tag[0] for tag in tags) != expected_tags:
        return False
    edges = [0, *(edge for tag in tags for edge in tag.span()), len(completion)]
    spans = zip(edges[::2], edges[1::2], strict=True)
    pieces = [completion[start:end].strip() for start, end in spans]
    # pieces alternate: outside of a block (has to be empty), inside of one (may not be empty)
    return all(bool(piece) == bool(i % 2) for i, piece in enumerate(pieces))
