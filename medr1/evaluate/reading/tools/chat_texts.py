"""The question of an item whose file holds only the chat that the model was given."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath

from medr1.prompts import problem_of

_OPTION_LINE = re.compile(r"^[ \t]*\(?([A-H])[.):][ \t]?", re.MULTILINE)
_IMAGE_MARKS = re.compile(
    r"<image>|<\|vision_start\|>|<\|vision_end\|>|(<\|image_pad\|>)+|<image_soft_token>"
)
"""What stands for an image in the text: ms-swift's own mark, and the tokens of the families."""
_USER_TURNS = (
    re.compile(r"<\|im_start\|>user\n(.*?)(?:<\|im_end\|>|\Z)", re.DOTALL),
    re.compile(r"(?:\A|\n)user\n(.*?)(?:\nassistant(?:\n|\Z)|\Z)", re.DOTALL),
)
"""A turn of the user in a chat as one text: with Qwen's tokens, and as it reads without them."""


def without_instruction(text: str) -> str:
    """The question without the instruction on how to answer.

    The instructions of medr1's own templates are known. Else, where the text lists options, one a
    line, what follows the last option is cut off.

    Args:
        text: What the model was asked.
    """
    text = problem_of(text.rstrip())
    options = list(_OPTION_LINE.finditer(text))
    if len(options) < 2:
        return text
    end = text.find("\n", options[-1].end())
    return text if end < 0 else text[:end]


def question_of(text: str) -> str:
    """The question in the text of a user's turn, without image marks and instruction."""
    return without_instruction(_IMAGE_MARKS.sub("", text).strip())


def last_user_turn(chat: str) -> str:
    """The last turn of the user in a chat that is one text; the text itself if it has no turns."""
    for pattern in _USER_TURNS:
        if turns := pattern.findall(chat):
            return str(turns[-1])
    return chat


def text_of(content: object) -> str:
    """The text of a message: its content is a text, or a list of parts of which some are texts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = (part.get("text") for part in parts if isinstance(part, Mapping))
    return "\n".join(text for text in texts if isinstance(text, str))


def last_question(messages: Iterable[object]) -> str | None:
    """The text of the user's last message; None if there is none."""
    texts = [
        text_of(message.get("content"))
        for message in messages
        if isinstance(message, Mapping) and message.get("role") == "user"
    ]
    return texts[-1] if texts else None


def image_paths(images: object) -> list[str]:
    """The images that are files, from a list of paths or of {"path": ...}; others are left out."""
    names: Sequence[object] = images if isinstance(images, list) else [images]
    paths = [name.get("path") if isinstance(name, Mapping) else name for name in names]
    return [path for path in paths if isinstance(path, str) and _is_path(path)]


def _is_path(name: str) -> bool:
    """Whether the name is a file's, and no address, embedded image or reference within the file."""
    return (
        bool(name)
        and "://" not in name
        and not name.startswith("data:")
        and bool(PurePath(name).suffix)
    )
