"""The validation answers that EasyR1 writes to generations.log in its checkpoint folder.

Each is four lines or more: [prompt], [output], [ground_truth], [score]. With val_generations_to_log
it holds only a part of the questions, and those of every validation after the other.
"""

from __future__ import annotations

import re
from pathlib import Path

from medr1.errors import InputError
from medr1.evaluate.reading.tools.chat_texts import last_user_turn, question_of

_START = re.compile(r"^\[prompt\] ", re.MULTILINE)
_ENTRY = re.compile(
    r"(?P<prompt>.*?)\n\[output\] (?P<output>.*?)\n\[ground_truth\] (?P<truth>.*?)"
    r"\n\[score\] (?P<score>\S*)\s*",
    re.DOTALL,
)
"""An answer, from behind its [prompt] to that of the next one."""


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
    # one answer at a time, so that the time grows with the length of the file only
    before, *parts = _START.split(text)
    matches = [_ENTRY.fullmatch(part) for part in parts]
    entries = [match for match in matches if match]
    if not entries or len(entries) != len(parts) or before.strip():
        raise InputError(
            f"{path}: {len(entries)} of {len(parts)} answers of an EasyR1 run can be read. "
            "Expected is generations.log, with [prompt], [output], [ground_truth] and [score]."
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
