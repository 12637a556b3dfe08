"""Score a file of completions with every reward."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from medr1.errors import InputError
from medr1.files import parse_json, read_text
from medr1.rewards import score_completion


def score_completions(file: str | Path, *, prompt: str = "think") -> Iterator[dict[str, float]]:
    """Score the completions of a JSONL file one after the other.

    Args:
        file: Each line has `content` (the completion), `solution` (the right answer) and
            optionally `problem` (the question with its options).
        prompt: Prompt template whose format the format reward expects: a name or a text file.

    Yields:
        Name of a reward -> score in [0, 1], for each line.

    Raises:
        InputError: The prompt is unknown, or the file or a line of it cannot be read.
    """
    text = read_text(Path(file))
    if not text.strip():
        raise InputError(f"{file} is empty. Put at least one completion into it.")
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        case: object = parse_json(line, str(file), first_line=number)
        texts = case if isinstance(case, dict) else {}
        for key in ("content", "solution"):
            if not isinstance(texts.get(key), str):
                raise InputError(f"{file}, line {number}: expected an object with a text {key!r}.")
        yield score_completion(texts["content"], texts["solution"], texts.get("problem"), prompt)
