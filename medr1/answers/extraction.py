"""extract: the answer of an output, by protocol. judge: whether that answer is the gold."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial

from medr1.answers import authors
from medr1.answers.blocks import Blocks, find_blocks
from medr1.answers.equality import is_latex, same_number, same_text
from medr1.answers.findings import difference
from medr1.answers.prose.reading import takes_back
from medr1.answers.readings import (
    LONG,
    Choices,
    Reader,
    Reading,
    is_placeholder,
    read_count,
    read_open,
    read_yes_no,
    tidy,
    untagged,
    unwrap_json,
)
from medr1.errors import InputError
from medr1.normalization import fold
from medr1.records import ANSWER_TYPES, LETTERS

PROTOCOLS = ("default", "strict", "authors", *authors.SCRIPTS)
"""`authors` is one of authors.SCRIPTS, chosen by a file's golds: see resolve_protocol."""
SHOWN_PROTOCOLS = ("default", "strict", "authors", "authors-nothink")
"""Those that a summary shows the accuracy of beside each other."""
FORMULA_LIMIT, POLARITY, UNREADABLE = UNDECIDED = ("formula_limit", "polarity", "unreadable")
"""Why a verdict is undecided: a formula too large to compare; a text that holds the asked finding
and does not say clearly whether it is there; a text that names the gold in a way that rules cannot
read. Undecided is wrong for accuracy, and counted apart."""
_WHY_UNDECIDED = {"too_long": UNREADABLE, "polarity": POLARITY}
"""Methods of an extraction that leave the verdict undecided."""
FEW_WORDS = 8
"""A text of more words about a count is read as prose, where several numbers may stand."""
MAX_BLOCKS = 8
"""More agreeing blocks than this are a degenerate repetition, and no answer."""

_STRICT_BLOCK = re.compile(r"<answer>([^<]*)</answer>")
_PLAIN_NUMBER = re.compile(r"[+-]?[0-9]{1,60}(?:\.[0-9]{1,60})?")


@dataclass(frozen=True)
class Extraction:
    """The answer that an output gives, how it was found, and the reasoning beside it."""

    answer: str | None
    """A letter where there are options, a number as canonical text, or the text as written."""
    method: str
    """tag, unclosed_tag, untagged, think_tag, authors; or why there is no answer: empty, ambiguous,
    repeated, out_of_options, refused, unparsed, unclosed_think, no_tag, several_tags."""
    reasoning: str | None
    """The text inside <think>, if any."""
    trace: tuple[str, ...]
    """Flags: tagged, unclosed, multiple, letter_form, option_text, option_named, cue ...; of a
    verdict also same_claims: an open answer that says the same in other words."""
    text: str = ""
    """What the answer was read from: the answer block, or the output behind the reasoning."""


@dataclass(frozen=True)
class Verdict:
    """Whether the extracted answer is the gold one."""

    correct: bool
    """False also where it is undecided."""
    extraction: Extraction
    undecided: str | None = None
    """Why rules cannot say, one of UNDECIDED; None where they can."""


def extract(
    output: str,
    *,
    options: Mapping[str, str],
    answer_type: str,
    question: str = "",
    protocol: str = "default",
) -> Extraction:
    """The answer of an output under a protocol, one of PROTOCOLS.

    Where there are options, the answer is a letter, whatever the answer type says.
    """
    if protocol not in PROTOCOLS:
        raise InputError(f"unknown protocol {protocol!r}. Choose from: {', '.join(PROTOCOLS)}.")
    if answer_type not in ANSWER_TYPES:
        known = ", ".join(ANSWER_TYPES)
        raise InputError(f"unknown answer type {answer_type!r}. Choose from: {known}.")
    kind = "multiple_choice" if options else answer_type
    blocks = find_blocks(fold(output))
    if protocol == "default":
        return _extract_default(blocks, options, kind, question)
    if protocol == "strict":
        return _extract_strict(output, options, kind, blocks.reasoning)
    if protocol == "authors":
        scripts = {"multiple_choice": "authors-vqa", "count": "authors-counting"}
        protocol = scripts.get(kind, "authors-geometry")
    answer = authors.extracted(output, protocol)
    method = "authors" if answer is not None else "no_tag"
    return Extraction(answer, method, blocks.reasoning, ())


def resolve_protocol(protocol: str, golds: Iterable[str]) -> authors.Choice:
    """The protocol that judges a file of these golds, and why: itself, but for `authors`."""
    return authors.choose(golds) if protocol == "authors" else authors.Choice(protocol, "asked for")


def judge(
    output: str,
    *,
    ground_truth: str,
    options: Mapping[str, str],
    answer_type: str,
    question: str = "",
    protocol: str = "default",
) -> Verdict:
    """Whether the output's answer is the ground truth, under a protocol.

    The question's stem is what `default` holds a sentence against, where that is the answer.

    `authors` chooses its script by this one gold; for a file, ask `resolve_protocol` first.
    """
    gold = ground_truth.strip()
    kind = "multiple_choice" if options else answer_type
    protocol = resolve_protocol(protocol, [gold]).protocol
    extraction = extract(
        output, options=options, answer_type=answer_type, question=question, protocol=protocol
    )
    if protocol in authors.SCRIPTS:
        equal = authors.is_correct(extraction.answer, gold, protocol)
        return Verdict(bool(equal), extraction, FORMULA_LIMIT if equal is None else None)
    if kind == "count" and extraction.answer is None and protocol == "default" and is_latex(gold):
        kind = "open"  # not a number as it stands, but perhaps a formula of that value
        extraction = extract(output, options={}, answer_type=kind)
    answer = extraction.answer
    if protocol == "default" and gold:
        if kind == "open":
            return _judge_open(question, gold, extraction)
        few = len(extraction.text.split()) <= FEW_WORDS
        if kind == "count" and question and (answer is None or not few):
            return _judge_prose(question, gold, extraction)
    if answer is None or not gold:
        return Verdict(False, extraction, _WHY_UNDECIDED.get(extraction.method))
    if kind in ("multiple_choice", "yes_no"):
        correct = answer == gold_answer(gold, options=options, answer_type=kind)
    elif kind == "count":
        correct = _same_count(answer, gold)
    else:
        correct = answer == gold.casefold()
    return Verdict(correct, extraction)


def _judge_open(question: str, gold: str, extraction: Extraction) -> Verdict:
    """The verdict on an open answer under `default`: equal, the same claims, or asserted."""
    answer = extraction.answer
    if answer is not None:
        equal = same_text(answer, gold)
        if equal and takes_back(extraction.text) and not is_latex(gold):
            return _judge_prose(question, gold, extraction)
        if equal is None:
            return Verdict(False, extraction, FORMULA_LIMIT)
        if equal or is_latex(gold):
            return Verdict(equal, extraction)
        differs = difference(answer, gold)
        if not differs:
            return Verdict(True, _traced(extraction, "same_claims"))
        if "unclear" in differs:
            return Verdict(False, extraction, UNREADABLE)
        if not {"polarity", "side"}.isdisjoint(differs):
            return Verdict(False, extraction)
    if is_latex(gold) or not extraction.text:
        return Verdict(False, extraction, _WHY_UNDECIDED.get(extraction.method))
    return _judge_prose(question, gold, extraction)


def _judge_prose(question: str, gold: str, extraction: Extraction) -> Verdict:
    """The verdict on sentences."""
    # Imported here: the vocabulary is stemmed at import, which `--help` need not wait for.
    from medr1.answers.prose.assertion import judge_prose
    from medr1.answers.prose.outcomes import Outcome

    outcome = judge_prose(question, gold, extraction.text)
    if outcome is Outcome.RIGHT:
        stated = extraction.answer if extraction.answer is not None else extraction.text
        return Verdict(True, _traced(replace(extraction, answer=stated), "asserted"))
    if outcome is Outcome.REFUSED:
        return Verdict(False, replace(extraction, answer=None, method="refused"))
    return Verdict(False, extraction, UNREADABLE if outcome is Outcome.UNDECIDED else None)


def _traced(extraction: Extraction, flag: str) -> Extraction:
    return replace(extraction, trace=(*extraction.trace, flag))


def same_answer(
    answer: str,
    other: str,
    *,
    options: Mapping[str, str],
    answer_type: str,
    protocol: str = "default",
) -> bool:
    """Whether two extracted answers of one question are one, compared as `judge` does.

    An open one also where it claims the same in other words; `authors` compares what is written.
    """
    kind = "multiple_choice" if options else answer_type
    if answer == other or kind in ("multiple_choice", "yes_no") or protocol.startswith("authors"):
        return answer == other
    if kind == "count":
        return _same_count(answer, other)
    if protocol == "strict":
        return answer.casefold() == other.casefold()
    return bool(same_text(answer, other)) or (not is_latex(other) and not difference(answer, other))


def _same_count(answer: str, gold: str) -> bool:
    as_text = ":" in answer or is_latex(gold)
    return same_number(answer, gold) or (as_text and bool(same_text(answer, gold)))


def gold_answer(ground_truth: str, *, options: Mapping[str, str], answer_type: str) -> str | None:
    """The ground truth as `extract` gives an answer; None where it is no answer of that type.

    A letter, also where a file gives "(C)", "C) CT" or the right option's text; "yes" for "Yes.";
    else the text.
    """
    gold = ground_truth.strip()
    if options or answer_type == "multiple_choice":
        if gold.upper() in (options or LETTERS):
            return gold.upper()
        return _choices(tuple(options.items())).block(gold).answer
    return gold.casefold().rstrip(".") if answer_type == "yes_no" else gold or None


@lru_cache(maxsize=4096)
def _choices(options: tuple[tuple[str, str], ...]) -> Choices:
    """The options of a question; the same ones stand in many questions."""
    return Choices(dict(options))


def _readers(options: Mapping[str, str], answer_type: str, question: str) -> tuple[Reader, Reader]:
    """How to read a block, and an output without one; both as the model wrote them."""
    if answer_type == "multiple_choice":
        choices = _choices(tuple(options.items()))
        readers: tuple[Reader, Reader] = (choices.block, choices.untagged)
    elif answer_type == "yes_no":
        readers = (partial(read_yes_no, question=question),) * 2
    else:
        read = {"count": read_count, "open": read_open}[answer_type]
        readers = (read, partial(untagged, read))
    if answer_type in ("open", "count") and not options:
        readers = (partial(_with_text, readers[0]), partial(_with_text, readers[1]))
    return partial(_read_tidy, readers[0]), partial(_read_tidy, readers[1])


def _with_text(read: Reader, text: str) -> Reading:
    """The reading with the text itself, which an open answer is judged by."""
    return replace(read(text), text=text)


def _read_tidy(read: Reader, text: str) -> Reading:
    if len(text) > LONG:
        return Reading(None, "too_long")
    text = tidy(unwrap_json(text))
    if len(words := text.split()) > 3 and len(set(words)) == 1:
        return Reading(None, "repeated")  # "4 4 4 4"
    return read(text) if text else Reading(None, "empty")


def _extract_default(
    blocks: Blocks, options: Mapping[str, str], answer_type: str, question: str
) -> Extraction:
    """The first of these that there is: blocks after </think>, an unclosed one there, blocks before
    <think>, the text after </think>, the last block inside <think>."""
    read_block, read_tail = _readers(options, answer_type, question)

    def found(reading: Reading, method: str, *flags: str) -> Extraction:
        method = reading.why if reading.answer is None else method
        trace = (*flags, *reading.flags)
        return Extraction(reading.answer, method, blocks.reasoning, trace, reading.text)

    if blocks.repeated or len(blocks.before) + len(blocks.tail) > MAX_BLOCKS:
        return found(Reading(None, "repeated"), "tag")
    for texts, flags in ((blocks.tail, ()), (blocks.before, ("before_think",))):
        kept = [text for text in texts if not is_placeholder(text)]
        if kept:
            several = ("multiple",) if len(kept) > 1 else ()
            return found(_agreeing(kept, read_block), "tag", "tagged", *several, *flags)
        if texts is blocks.tail and blocks.unclosed is not None:
            return found(read_block(blocks.unclosed), "unclosed_tag", "unclosed")
    if blocks.tail or blocks.before:
        return found(Reading(None, "empty"), "tag", "tagged")
    if blocks.thinking:
        return found(Reading(None, "unclosed_think"), "untagged", "untagged")
    reading = read_tail(blocks.rest)
    if reading.why in ("empty", "unparsed") and blocks.inside:
        return found(read_block(blocks.inside[-1]), "think_tag", "in_think", "tagged")
    return found(reading, "untagged", "untagged")


def _agreeing(texts: list[str], read: Reader) -> Reading:
    """The answer on which all blocks agree."""
    readings = [read(text) for text in texts]
    if len({reading.answer for reading in readings}) > 1:
        return Reading(None, "ambiguous")
    return readings[0]


def _extract_strict(
    output: str, options: Mapping[str, str], answer_type: str, reasoning: str | None
) -> Extraction:
    """The content of the one <answer> block, if it is just a letter, an option, a number, a text.

    Case and white space around it do not count, anything else does.
    """
    if output.count("<answer>") != 1 or output.count("</answer>") != 1:
        why = "several_tags" if "<answer>" in output and "</answer>" in output else "no_tag"
        return Extraction(None, why, reasoning, ())
    match = _STRICT_BLOCK.search(output)
    text = match[1].strip() if match else ""
    answer: str | None = text.casefold()
    if not text:
        answer = None
    elif answer_type == "multiple_choice":
        same = [x for x, option in options.items() if option.strip().casefold() == answer]
        letter = text.upper()
        answer = letter if letter in (options or tuple(LETTERS)) else None
        if answer is None and len(same) == 1:
            answer = same[0]
        elif answer is None and len(text) == 1 and letter.isalpha():
            return Extraction(None, "out_of_options", reasoning, ("tagged",))
    elif (answer_type == "yes_no" and answer not in ("yes", "no")) or (
        answer_type == "count" and not _PLAIN_NUMBER.fullmatch(text)
    ):
        answer = None
    method = "tag" if answer else "unparsed" if text else "empty"
    return Extraction(answer, method, reasoning, ("tagged",))
