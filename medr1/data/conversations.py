"""Reads the earlier turns of a conversation from an item.

An item has its earlier turns under `history`, and its question apart:

    {"image": "ct.png", "question": "Is it in the liver?", "solution": "yes",
     "history": [{"role": "user", "content": "Is there a lesion?"},
                 {"role": "assistant", "content": "Yes."}]}

Or its question is the list of all turns, as TRL's data sets have them under `prompt`:

    {"image": "ct.png", "solution": "yes",
     "prompt": [{"role": "user", "content": "Is there a lesion?"},
                {"role": "assistant", "content": "Yes."},
                {"role": "user", "content": "Is it in the liver?"}]}

Roles are `user` and `assistant` in turn, after at most one `system`. The last turn is a user's: it
is the question. A content is a text, or a list of parts as in chat requests. The images of an item
belong to the first turn of the user. In a cell of a table, a list is its JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TypeGuard

from medr1.errors import ItemError
from medr1.records import Turn

HISTORY_KEY = "history"
MAX_TURNS = 200
"""Largest number of turns in a conversation."""
_CODE = "bad_turns"
_WRITTEN_TURNS = re.compile(r"""\s*\[\s*\{\s*["'](role|content)["']\s*:""")
"""How a text begins that is a list of turns, as JSON or as Python writes it."""


def is_conversation(value: object) -> TypeGuard[Sequence[Mapping[str, object]]]:
    """Whether the value of a question is a list of turns, and not a text."""
    if not isinstance(value, list | tuple):
        return False
    return len(value) > 0 and all(isinstance(turn, Mapping) for turn in value)


def written_turns(value: object) -> object:
    """The list of turns that a text is, as in a cell of a table; any other value as it is.

    Args:
        value: The value of a question.

    Raises:
        ItemError: `bad_turns`, if the text begins as a list of turns and is no JSON.
    """
    if not isinstance(value, str) or not _WRITTEN_TURNS.match(value):
        return value
    return _from_json(value, "question")


def read_history(value: object) -> tuple[Turn, ...]:
    """The turns before a question.

    Args:
        value: The value of the key `history`: a list of turns, or its JSON, as in a cell of a
            table; None or an empty list for a question without earlier turns.

    Raises:
        ItemError: `bad_turns`, if it is anything else, or the roles are not in order.
    """
    if isinstance(value, str):
        value = _from_json(value, "history") if value.strip() else None
    if value is None or (isinstance(value, list | tuple) and not value):
        return ()
    if not is_conversation(value):
        raise _error('the history is no list of {"role": ..., "content": ...}.')
    turns = _turns(value)
    if turns[-1].role == "user":
        raise _error(
            "the history ends with a turn of the user; the question follows it, so it has to end "
            "with the assistant."
        )
    return turns


def read_conversation(value: Sequence[Mapping[str, object]]) -> tuple[tuple[Turn, ...], str]:
    """The turns before a question, and the question, from the list of all turns.

    Args:
        value: A value for which `is_conversation` holds.

    Raises:
        ItemError: `bad_turns`, if the last turn is not the user's, or the roles are not in order.
    """
    turns = _turns(value)
    if turns[-1].role != "user":
        raise _error(
            f"the last turn is the {turns[-1].role}'s, and has to be the question, a turn of the "
            "user. Write the right answer under 'ground_truth'."
        )
    return turns[:-1], turns[-1].content


def _error(message: str) -> ItemError:
    return ItemError(_CODE, message)


def _from_json(text: str, name: str) -> object:
    """The value of a JSON text; `name`: what it is, for the message of an error."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise _error(f"the {name} is no JSON; write a list of turns.") from None


def _turns(values: Sequence[Mapping[str, object]]) -> tuple[Turn, ...]:
    """The turns of a list: an optional system, then user and assistant in turn."""
    if len(values) > MAX_TURNS:
        raise _error(f"has {len(values):,} turns, and {MAX_TURNS} is the most.")
    turns: list[Turn] = []
    for number, value in enumerate(values, 1):
        role = value.get("role")
        if role is None:
            raise _error(f"turn {number} has no role; write it under 'role'.")
        allowed = _next_roles(turns)
        if role not in allowed:
            raise _error(
                f"turn {number} has the role {str(role)[:40]!r} where {' or '.join(allowed)} is "
                "expected."
            )
        is_first_of_user = role == "user" and all(turn.role != "user" for turn in turns)
        text = _content(value.get("content"), number, takes_images=is_first_of_user)
        turns.append(Turn(str(role), text))
    return tuple(turns)


def _next_roles(turns: Sequence[Turn]) -> tuple[str, ...]:
    """The roles that the turn after these may have."""
    if not turns:
        return ("system", "user")
    return ("assistant",) if turns[-1].role == "user" else ("user",)


def _content(content: object, number: int, *, takes_images: bool) -> str:
    """The text of a turn. Parts that stand for images are left out where images are put anyway."""
    if isinstance(content, str):
        text = content
    elif is_conversation(content):
        kinds = [str(part.get("type")) for part in content]
        texts = [part.get("text") for part in content if part.get("type") == "text"]
        if set(kinds) - {"text", "image"} or not all(isinstance(part, str) for part in texts):
            raise _error(f"turn {number} has parts other than text and image.")
        if "image" in kinds and (not takes_images or kinds != sorted(kinds)):
            raise _error(
                f"turn {number} has an image behind a text; images come before the text of the "
                "first user turn."
            )
        text = "".join(map(str, texts))
    else:
        raise _error(f"turn {number} has no content; write its text.")
    if not text.strip():
        raise _error(f"turn {number} is empty; write its text.")
    return text.strip()
