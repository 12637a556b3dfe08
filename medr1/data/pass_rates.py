"""Pass rates of questions as a file, and the rates of the questions of another file by it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from msgspec import ValidationError, convert

from medr1.data.readers import Questions
from medr1.data.selection import Selection
from medr1.documents.pass_rates import PassRate, PassRates
from medr1.errors import InputError
from medr1.files import parse_json, read_text
from medr1.records import Sample

_AGAIN = "Make it again from the training questions with medr1 data filter --pass-rates."


def pass_rates_of(questions: Questions, selection: Selection, protocol: str) -> PassRates:
    """The document with the pass rate of each question that has a completion.

    Args:
        questions: The questions.
        selection: What `select_by_pass_rate` counted for them.
        protocol: The rules by which completions were judged.
    """
    columns = questions.samples, selection.pass_rates, selection.num_completions
    return PassRates(
        data=questions.name,
        data_sha256=questions.sha256,
        protocol=protocol,
        questions={
            sample.id: PassRate(
                pass_rate=rate, completions=count, question_sha256=_question_sha256(sample)
            )
            for sample, rate, count in zip(*columns, strict=True)
            if rate is not None
        },
    )


def read_pass_rates(path: Path) -> PassRates:
    """The document of a file of pass rates.

    Raises:
        InputError: The file cannot be read, has no pass rates, or is damaged.
    """
    document: object = parse_json(read_text(path), str(path))
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != "medr1.pass-rates/1":
        raise InputError(
            f"{path} is not a file of pass rates. Make one with medr1 data filter --pass-rates."
        )
    try:
        rates = convert(document, PassRates)
    except ValidationError as error:
        raise InputError(f"{path} is damaged: {error}. {_AGAIN}") from None
    for name, entry in rates.questions.items():
        if not 0 <= entry.pass_rate <= 1:
            raise InputError(
                f"{path} is damaged: the pass rate of {name[:80]!r} is {entry.pass_rate}, which is "
                f"not from 0 to 1. {_AGAIN}"
            )
    return rates


def rates_by_question(
    document: PassRates, samples: Sequence[Sample], path: Path, data: str
) -> list[float | None]:
    """The pass rate of each sample, by its id.

    The file of the samples may be another one than that of the document, such as a part of it. A
    sample has the rate of its id only if the question, the options and the ground truth are equal.

    Args:
        document: The pass rates.
        samples: The questions.
        path: The file of pass rates, for messages.
        data: Name of the file of the questions, for messages.

    Returns:
        A rate for each sample; None for one that the document does not have.

    Raises:
        InputError: A sample is another question than that of its id in the document, or no sample
            has a pass rate.
    """
    entries = [document.questions.get(sample.id) for sample in samples]
    pairs = list(zip(samples, entries, strict=True))
    others = [s.id for s, entry in pairs if entry and entry.question_sha256 != _question_sha256(s)]
    known = sum(entry is not None for entry in entries)
    if others:
        raise InputError(
            f"{path} does not belong to {data}: of {len(samples)} questions, {known} have an id "
            f"that it has too, and {len(others)} of these have another question, other options or "
            f"another ground truth there, the first {others[0][:80]!r}. {_AGAIN}"
        )
    if not known:
        raise InputError(
            f"{path} does not belong to {data}: it has pass rates of {len(document.questions)} "
            f"questions of {document.data}, and none of their ids is that of one of the "
            f"{len(samples)} questions of {data}. {_AGAIN}"
        )
    return [entry.pass_rate if entry else None for entry in entries]


def _question_sha256(sample: Sample) -> str:
    """The hash of what makes a question another one, in hexadecimal digits."""
    parts = [sample.conversation, list(sample.options.values()), sample.ground_truth]
    text = json.dumps(parts, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
