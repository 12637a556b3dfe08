"""Recognises an entry that another tool wrote, and turns it into ones that `entries` reads."""

from __future__ import annotations

from collections.abc import Iterator

from medr1.evaluate.reading.tools import lmms, ms_swift


def is_tool_entry(entry: object) -> bool:
    """Whether the entry has the fixed keys of a tool, so that no names are looked up for it."""
    return lmms.is_sample_log(entry) or ms_swift.is_result(entry) or ms_swift.is_rollouts(entry)


def converted(entry: object, where: str, task: str | None) -> Iterator[object]:
    """The entry as items of a data set with the model's output; others are unchanged.

    Args:
        entry: As it stands in the file. A line of ms-swift's rollouts holds many items.
        where: Its place, for error messages.
        task: The name of the task of a sample log of lmms-eval.

    Raises:
        InputError: If the entry has no text that a model wrote.
    """
    if lmms.is_sample_log(entry):
        yield lmms.item_of(entry, where, task)
    elif ms_swift.is_result(entry):
        yield ms_swift.item_of(entry)
    elif ms_swift.is_rollouts(entry):
        yield from ms_swift.items_of_rollouts(entry, where)
    else:
        yield entry
