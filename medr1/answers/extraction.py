"""Extract the answer from a completion (`extract`), and judge whether it is right (`judge`).

Both follow a protocol: `default` reads an answer in any clear form, `strict` only the form that the
prompt asked for, and the others repeat the scripts of Med-R1 (`authors`) and of other projects
(`protocols.published`). README.md has the rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial

from medr1.answers.blocks import Blocks, find_blocks
from medr1.answers.equality import has_latex, same_number, same_text
from medr1.answers.findings import claim_differences
from medr1.answers.prose.reading import takes_back
from medr1.answers.protocols import authors
from medr1.answers.protocols.marks import ProtocolMark, ProtocolQuestion
from medr1.answers.protocols.names import PROTOCOLS, PUBLISHED, SCRIPTS
from medr1.answers.protocols.published import MARKS
from medr1.answers.readings import (
    MAX_TEXT_CHARACTERS,
    OptionReader,
    Reader,
    Reading,
    is_placeholder,
    read_count,
    read_open,
    read_untagged,
    read_yes_no,
    strip_markup,
    unwrap_json,
)
from medr1.errors import InputError
from medr1.records import ANSWER_TYPES, LETTERS
from medr1.text.normalization import fold

UNDECIDED = ("formula_limit", "polarity", "unreadable", "no_rule")
FORMULA_LIMIT, POLARITY, UNREADABLE, NO_RULE = UNDECIDED
"""Why a verdict is undecided: a formula is too large to compare; a text mentions what the question
asks for, and does not say clearly whether it is there; a text names the ground truth in a way
that the rules cannot read; or a published protocol has no rule for this type of question. An
undecided answer is wrong for the accuracy, and counted apart."""
_UNDECIDED_METHODS = {"too_long": UNREADABLE, "polarity": POLARITY}
"""`Extraction.method` of an answer that cannot be judged -> why the verdict is undecided."""
MAX_COUNT_WORDS = 8
"""Most words of an answer to a count question that is read as one number. A longer text is read as
prose, which may contain several numbers."""
MAX_BLOCKS = 8
"""More <answer> blocks than this are a degenerate repetition and no answer, even if they agree."""

_STRICT_BLOCK = re.compile(r"<answer>([^<]*)</answer>")
_PLAIN_NUMBER = re.compile(r"[+-]?[0-9]{1,60}(?:\.[0-9]{1,60})?")


@dataclass(frozen=True)
class Extraction:
    """The answer in a completion, how it was extracted, and the reasoning beside it."""

    answer: str | None
    """A letter if there are options, a number as canonical text, or the text as written; None if
    there is no answer."""
    method: str
    """Where the answer was: tag, unclosed_tag, untagged, think_tag, authors. Or why there is none:
    empty, ambiguous, repeated, out_of_options, refused, unparsed, unclosed_think, no_tag,
    several_tags, too_long, polarity. The published protocols have `ProtocolMark.method`."""
    reasoning: str | None
    """The text inside <think>; None without one."""
    trace: tuple[str, ...]
    """Flags that tell how the answer is written: tagged, unclosed, multiple, letter_form,
    option_text, option_named, cue ... A verdict may add same_claims (an open answer says the same
    in other words) or asserted (prose asserts the ground truth)."""
    text: str = ""
    """The text that the answer was read from: the answer block, or the text after the reasoning.
    Filled in for open answers and counts under `default` only."""


@dataclass(frozen=True)
class Verdict:
    """Whether the extracted answer is right."""

    correct: bool
    """Whether the answer is right; False also for an undecided verdict."""
    extraction: Extraction
    undecided: str | None = None
    """Why the rules cannot decide, one of UNDECIDED; None if they can."""
    score: float | None = None
    """The mark from 0 to 1 of a published protocol, which is right from 1 on; None for others."""


def extract(
    completion: str,
    *,
    options: Mapping[str, str],
    answer_type: str,
    question: str = "",
    protocol: str = "default",
    closed: bool = False,
) -> Extraction:
    """Extract the answer from a completion.

    Args:
        completion: The text as the model wrote it.
        options: Letter -> text of the option; empty for a question without options. With options
            the answer is a letter, whatever the answer type is.
        answer_type: One of `records.ANSWER_TYPES`.
        question: The question without its options. A yes/no answer in a sentence is read by it.
        protocol: One of PROTOCOLS. `authors` chooses a script by the answer type.
        closed: Whether the file calls the question closed; only published protocols read it.

    Returns:
        The answer and how it was extracted, or why there is none.

    Raises:
        InputError: The protocol or the answer type does not exist.
    """
    if protocol not in PROTOCOLS:
        raise InputError(f"unknown protocol {protocol!r}. Choose from: {', '.join(PROTOCOLS)}.")
    if answer_type not in ANSWER_TYPES:
        answer_types = ", ".join(ANSWER_TYPES)
        raise InputError(f"unknown answer type {answer_type!r}. Choose from: {answer_types}.")
    kind = "multiple_choice" if options else answer_type
    blocks = find_blocks(fold(completion))
    if protocol == "default":
        return _extract_default(blocks, options, kind, question)
    if protocol == "strict":
        return _extract_strict(completion, options, kind, blocks.reasoning)
    if protocol in PUBLISHED:
        mark = MARKS[protocol](completion, ProtocolQuestion(kind, options, closed=closed))
        return _extraction_of(mark, blocks)
    if protocol == "authors":
        scripts = {"multiple_choice": "authors-vqa", "count": "authors-counting"}
        protocol = scripts.get(kind, "authors-geometry")
    answer = authors.extract_answer(completion, protocol)
    method = "authors" if answer is not None else "no_tag"
    return Extraction(answer, method, blocks.reasoning, ())


def _extraction_of(mark: ProtocolMark, blocks: Blocks) -> Extraction:
    return Extraction(mark.answer, mark.method, blocks.reasoning, ())


def resolve_protocol(protocol: str, ground_truths: Iterable[str]) -> authors.ScriptChoice:
    """The protocol that judges a file: for `authors` one of its scripts, else the protocol itself.

    Args:
        protocol: One of PROTOCOLS.
        ground_truths: The ground truths of all items of the file; read only for `authors`.

    Returns:
        The protocol and the reason for it.
    """
    return (
        authors.choose_script(ground_truths)
        if protocol == "authors"
        else authors.ScriptChoice(protocol, "it was requested")
    )


def judge(
    completion: str,
    *,
    ground_truth: str,
    options: Mapping[str, str],
    answer_type: str,
    question: str = "",
    protocol: str = "default",
    closed: bool = False,
) -> Verdict:
    """Extract the answer from a completion, and judge whether it equals the ground truth.

    Args:
        completion: The text as the model wrote it.
        ground_truth: The right answer, such as "C", "C) CT", "yes", "4" or "no effusion".
        options: Letter -> text of the option; empty for a question without options.
        answer_type: One of `records.ANSWER_TYPES`.
        question: The question without its options. `default` needs it to read sentences.
        protocol: One of PROTOCOLS. `authors` chooses a script by this ground truth alone; to judge
            the items of a file, call `resolve_protocol` once and pass its protocol.
        closed: Whether the file calls the question closed; only published protocols read it.

    Returns:
        The verdict, with the extraction that it is about.

    Raises:
        InputError: The protocol or the answer type does not exist.
    """
    ground_truth = ground_truth.strip()
    kind = "multiple_choice" if options else answer_type
    protocol = resolve_protocol(protocol, [ground_truth]).protocol
    if protocol in PUBLISHED:
        if kind == "multiple_choice":
            truth = ground_truth_answer(ground_truth, options=options, answer_type=kind)
            ground_truth = truth or ground_truth
        mark = MARKS[protocol](completion, ProtocolQuestion(kind, options, ground_truth, closed))
        undecided = NO_RULE if mark.score is None else None
        extraction = _extraction_of(mark, find_blocks(fold(completion)))
        return Verdict(mark.score == 1, extraction, undecided, mark.score)
    extraction = extract(
        completion, options=options, answer_type=answer_type, question=question, protocol=protocol
    )
    if protocol in SCRIPTS:
        equal = authors.is_correct(extraction.answer, ground_truth, protocol)
        return Verdict(bool(equal), extraction, FORMULA_LIMIT if equal is None else None)
    if (
        kind == "count"
        and extraction.answer is None
        and protocol == "default"
        and has_latex(ground_truth)
    ):
        kind = "open"  # the completion has no plain number, but may have a formula of that value
        extraction = extract(completion, options={}, answer_type=kind)
    answer = extraction.answer
    if protocol == "default" and ground_truth:
        if kind == "open":
            return _judge_open(question, ground_truth, extraction)
        is_short = len(extraction.text.split()) <= MAX_COUNT_WORDS
        if kind == "count" and question and (answer is None or not is_short):
            return _judge_prose(question, ground_truth, extraction)
    if answer is None or not ground_truth:
        return Verdict(False, extraction, _UNDECIDED_METHODS.get(extraction.method))
    if kind in ("multiple_choice", "yes_no"):
        correct = answer == ground_truth_answer(ground_truth, options=options, answer_type=kind)
    elif kind == "count":
        correct = _same_count(answer, ground_truth)
    else:
        correct = answer == ground_truth.casefold()
    return Verdict(correct, extraction)


def _judge_open(question: str, ground_truth: str, extraction: Extraction) -> Verdict:
    """The verdict on an open answer under `default`: by its text, its claims, then as prose."""
    answer = extraction.answer
    if answer is not None:
        equal = same_text(answer, ground_truth)
        if equal and takes_back(extraction.text) and not has_latex(ground_truth):
            return _judge_prose(question, ground_truth, extraction)
        if equal is None:
            return Verdict(False, extraction, FORMULA_LIMIT)
        if equal or has_latex(ground_truth):
            return Verdict(equal, extraction)
        differences = claim_differences(answer, ground_truth)
        if not differences:
            return Verdict(True, _with_flag(extraction, "same_claims"))
        if "unclear" in differences:
            return Verdict(False, extraction, UNREADABLE)
        if not {"polarity", "side"}.isdisjoint(differences):
            return Verdict(False, extraction)
    if has_latex(ground_truth) or not extraction.text:
        return Verdict(False, extraction, _UNDECIDED_METHODS.get(extraction.method))
    return _judge_prose(question, ground_truth, extraction)


def _judge_prose(question: str, ground_truth: str, extraction: Extraction) -> Verdict:
    """The verdict on an answer in sentences."""
    # Imported here, because the import stems the vocabulary, which would make `--help` slow.
    from medr1.answers.prose.assertion import judge_prose
    from medr1.answers.prose.outcomes import ProseOutcome

    outcome = judge_prose(question, ground_truth, extraction.text)
    if outcome is ProseOutcome.RIGHT:
        stated = extraction.answer if extraction.answer is not None else extraction.text
        return Verdict(True, _with_flag(replace(extraction, answer=stated), "asserted"))
    if outcome is ProseOutcome.REFUSED:
        return Verdict(False, replace(extraction, answer=None, method="refused"))
    return Verdict(False, extraction, UNREADABLE if outcome is ProseOutcome.UNDECIDED else None)


def _with_flag(extraction: Extraction, flag: str) -> Extraction:
    return replace(extraction, trace=(*extraction.trace, flag))


def same_answer(
    answer: str,
    reference: str,
    *,
    options: Mapping[str, str],
    answer_type: str,
    protocol: str = "default",
) -> bool:
    """Whether two extracted answers to the same question are equal, compared as `judge` does.

    Open answers are also equal if they claim the same in other words. The protocols of other
    projects compare the characters.

    Args:
        answer: The first answer, as extracted.
        reference: The second answer, which takes the place of the ground truth in `judge`.
        options: Letter -> text of the option; empty for a question without options.
        answer_type: One of `records.ANSWER_TYPES`.
        protocol: One of PROTOCOLS.
    """
    kind = "multiple_choice" if options else answer_type
    if (
        answer == reference
        or kind in ("multiple_choice", "yes_no")
        or protocol.startswith("authors")
        or protocol in PUBLISHED
    ):
        return answer == reference
    if kind == "count":
        return _same_count(answer, reference)
    if protocol == "strict":
        return answer.casefold() == reference.casefold()
    return bool(same_text(answer, reference)) or (
        not has_latex(reference) and not claim_differences(answer, reference)
    )


def _same_count(answer: str, ground_truth: str) -> bool:
    may_be_text = ":" in answer or has_latex(ground_truth)
    return same_number(answer, ground_truth) or (
        may_be_text and bool(same_text(answer, ground_truth))
    )


def ground_truth_answer(
    ground_truth: str, *, options: Mapping[str, str], answer_type: str
) -> str | None:
    """The ground truth in the form in which `extract` returns a right answer.

    Args:
        ground_truth: The right answer as a file writes it.
        options: Letter -> text of the option; empty for a question without options.
        answer_type: One of `records.ANSWER_TYPES`.

    Returns:
        "C" for "(C)", "C) CT" or the text of option C; "yes" for "Yes."; else the text. None if it
        names no option or is empty.
    """
    ground_truth = ground_truth.strip()
    if options or answer_type == "multiple_choice":
        if ground_truth.upper() in (options or LETTERS):
            return ground_truth.upper()
        return _option_reader(tuple(options.items())).read_block(ground_truth).answer
    return ground_truth.casefold().rstrip(".") if answer_type == "yes_no" else ground_truth or None


@lru_cache(maxsize=4096)
def _option_reader(options: tuple[tuple[str, str], ...]) -> OptionReader:
    """The reader for these options; cached, because many questions have the same ones."""
    return OptionReader(dict(options))


def _readers(options: Mapping[str, str], answer_type: str, question: str) -> tuple[Reader, Reader]:
    """The functions that read the answer in a block, and in a completion without a block."""
    if answer_type == "multiple_choice":
        option_reader = _option_reader(tuple(options.items()))
        readers: tuple[Reader, Reader] = (option_reader.read_block, option_reader.read_untagged)
    elif answer_type == "yes_no":
        readers = (partial(read_yes_no, question=question),) * 2
    else:
        read = {"count": read_count, "open": read_open}[answer_type]
        readers = (read, partial(read_untagged, read))
    if answer_type in ("open", "count") and not options:
        readers = (partial(_reading_with_text, readers[0]), partial(_reading_with_text, readers[1]))
    return partial(_read_stripped, readers[0]), partial(_read_stripped, readers[1])


def _reading_with_text(read: Reader, text: str) -> Reading:
    """The reading together with the text, which an open answer is judged by."""
    return replace(read(text), text=text)


def _read_stripped(read: Reader, text: str) -> Reading:
    """The reading of a text without markup; no answer if it is too long, repeated or empty."""
    if len(text) > MAX_TEXT_CHARACTERS:
        return Reading(None, "too_long")
    text = strip_markup(unwrap_json(text))
    if len(words := text.split()) > 3 and len(set(words)) == 1:
        return Reading(None, "repeated")  # "4 4 4 4"
    return read(text) if text else Reading(None, "empty")


def _extract_default(
    blocks: Blocks, options: Mapping[str, str], answer_type: str, question: str
) -> Extraction:
    """The answer under `default`, read from the first of these that exists.

    Blocks after </think>, an unclosed block there, blocks before <think>, the text after </think>,
    the last block inside <think>.
    """
    read_block, read_text = _readers(options, answer_type, question)

    def extraction_from(reading: Reading, method: str, *flags: str) -> Extraction:
        method = reading.failure if reading.answer is None else method
        trace = (*flags, *reading.flags)
        return Extraction(reading.answer, method, blocks.reasoning, trace, reading.text)

    if (
        blocks.is_degenerate
        or len(blocks.answers_before_think) + len(blocks.final_answers) > MAX_BLOCKS
    ):
        return extraction_from(Reading(None, "repeated"), "tag")
    for texts, flags in (
        (blocks.final_answers, ()),
        (blocks.answers_before_think, ("before_think",)),
    ):
        contents = [text for text in texts if not is_placeholder(text)]
        if contents:
            more_flags = ("multiple",) if len(contents) > 1 else ()
            return extraction_from(
                _agreed_reading(contents, read_block), "tag", "tagged", *more_flags, *flags
            )
        if texts is blocks.final_answers and blocks.unclosed_answer is not None:
            return extraction_from(read_block(blocks.unclosed_answer), "unclosed_tag", "unclosed")
    if blocks.final_answers or blocks.answers_before_think:
        return extraction_from(Reading(None, "empty"), "tag", "tagged")
    if blocks.think_is_open:
        return extraction_from(Reading(None, "unclosed_think"), "untagged", "untagged")
    reading = read_text(blocks.final_text)
    if reading.failure in ("empty", "unparsed") and blocks.answers_in_think:
        return extraction_from(
            read_block(blocks.answers_in_think[-1]), "think_tag", "in_think", "tagged"
        )
    return extraction_from(reading, "untagged", "untagged")


def _agreed_reading(texts: list[str], read: Reader) -> Reading:
    """The reading of the first block if all blocks have the same answer; else no answer."""
    readings = [read(text) for text in texts]
    if len({reading.answer for reading in readings}) > 1:
        return Reading(None, "ambiguous")
    return readings[0]


def _extract_strict(
    completion: str, options: Mapping[str, str], answer_type: str, reasoning: str | None
) -> Extraction:
    """The answer under `strict`: the content of the only <answer> block, if its form is right.

    That is a letter or an option's text, yes or no, a number in digits, or any text. Upper or lower
    case and white space around it do not matter.
    """
    if completion.count("<answer>") != 1 or completion.count("</answer>") != 1:
        has_both = "<answer>" in completion and "</answer>" in completion
        method = "several_tags" if has_both else "no_tag"
        return Extraction(None, method, reasoning, ())
    match = _STRICT_BLOCK.search(completion)
    text = match[1].strip() if match else ""
    answer: str | None = text.casefold()
    if not text:
        answer = None
    elif answer_type == "multiple_choice":
        matching_letters = [
            letter for letter, option in options.items() if option.strip().casefold() == answer
        ]
        letter = text.upper()
        answer = letter if letter in (options or tuple(LETTERS)) else None
        if answer is None and len(matching_letters) == 1:
            answer = matching_letters[0]
        elif answer is None and len(text) == 1 and letter.isalpha():
            return Extraction(None, "out_of_options", reasoning, ("tagged",))
    elif (answer_type == "yes_no" and answer not in ("yes", "no")) or (
        answer_type == "count" and not _PLAIN_NUMBER.fullmatch(text)
    ):
        answer = None
    method = "tag" if answer else "unparsed" if text else "empty"
    return Extraction(answer, method, reasoning, ("tagged",))
