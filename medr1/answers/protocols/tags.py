"""The <answer> blocks of a completion, in the spelling that the published protocols look for."""

from __future__ import annotations

_OPEN, _CLOSE = "<answer>", "</answer>"


def answer_blocks(text: str) -> list[str]:
    """The contents of the blocks, from each opening tag to the next closing one."""
    contents = []
    start = text.find(_OPEN)
    while start >= 0 and (end := text.find(_CLOSE, start + len(_OPEN))) >= 0:
        contents.append(text[start + len(_OPEN) : end])
        start = text.find(_OPEN, end)
    return contents
