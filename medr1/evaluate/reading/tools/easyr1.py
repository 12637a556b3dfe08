"""The validation answers that EasyR1 writes to generations.log in its checkpoint folder.

Each is four lines or more: [prompt], [output], [ground_truth], [score]. With val_generations_to_log
it holds only a part of the questions, and those of every validation after the other.
"""

from __future__ import annotations

import re
from pathlib import Path

from medr1.errors import InputError
from medr1.evaluate.reading.tools.chat_texts import last_user_turn, question_of

_ENTRY = re.compile(
    r"^\[prompt\] (?P<prompt>.*?)\n\[output\] (?P<output>.*?)\n\[ground_truth\] (?P<truth>.*?)"
    r"\n\[score\] (?P<score>\S*)[ \t]*(?:\n|\Z)",
    re.DOTALL | re.MULTILINE,
)


def is_generations_log(path: Path) -> bool:
    """Whether this is such a file, by its name."""
    return path.suffix.lower() == ".log"


def items_of(text: str, path: Path) -> list[object]:
    """The answers as items of a data set, with the model's output beside them.

    Args:
        text: The content of the file.
        path: The file, for error messages.

    Raises:
        InputError: If the file has no such answers, or a part of it is none.
    """
    entries = list(_ENTRY.finditer(text))
    starts = len(re.findall(r"^\[prompt\] ", text, re.MULTILINE))
    if not entries or len(entries) != starts:
        raise InputError(
            f"{path}: {len(entries)} of {starts} answers of an EasyR1 run can be read. Expected is "
            "generations.log, with [prompt], [output], [ground_truth] and [score]."
        )
    return [
        {
            "question": question_of(last_user_turn(entry["prompt"])),
            "model_output": entry["output"],
            "ground_truth": entry["truth"],
            "score": entry["score"],
        }
        for entry in entries
    ]
