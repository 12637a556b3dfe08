"""What VLMEvalKit writes differently into its tables <model>_<dataset>.xlsx (or .tsv).

Their columns have usual names: index, question, A, B, ..., answer, prediction. Besides:

- A request that failed has "Failed to obtain answer via API." or "Failed to obtain answer: ..." as
  its prediction.
- With SPLIT_THINK, the reasoning stands in the column `thinking`, without its tags.
- Several images are the text of a Python list in `image_path`.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping

_FAILED = "Failed to obtain answer"
THINKING = "thinking"
"""Name of the column with the reasoning."""


def is_failure(output: object) -> bool:
    """Whether a prediction is VLMEvalKit's message that there is none."""
    return isinstance(output, str) and output.startswith(_FAILED)


def with_thinking(entry: Mapping[str, object], output: str | None) -> str | None:
    """The model's output with its reasoning in a <think> block, if the entry has it apart.

    Args:
        entry: A row.
        output: Its prediction.
    """
    thinking = entry.get(THINKING)
    if not isinstance(thinking, str) or not thinking or output is None or "</think>" in output:
        return output
    return f"<think>{thinking}</think>\n{output}"


def image_list(cell: str) -> list[str] | str:
    """The names of the images in a cell that is a Python list of texts; else the cell itself."""
    try:
        names = ast.literal_eval(cell)
    except (ValueError, SyntaxError):
        return cell
    return names if isinstance(names, list) and all(isinstance(n, str) for n in names) else cell
