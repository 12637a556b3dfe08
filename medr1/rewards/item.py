"""One completion with what is needed to score it, read from the columns that TRL passes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from medr1 import answers
from medr1.errors import InputError
from medr1.records import Sample

_COLUMNS = (
    *("options", "problem", "question", "answer_type", "modality", "metadata"),
    *("output_without_image", "conversation"),
)
"""The columns that an item is read from, besides completion and solution."""


@dataclass(frozen=True)
class Item:
    """One completion, and what is needed to score it."""

    content: str
    """The completion."""
    solution: str
    """As in the data set, such as "<answer>B</answer>"."""
    ground_truth: str
    """The answer in `solution`, such as "B"."""
    options: Mapping[str, str]
    answer_type: str
    question: str
    """The question without its options; "" if it is not known."""
    form: str = "bare"
    """The format that the prompt asks for, one of answers.FORMATS; "bare" if the reward does not
    use it (`Reward.uses_prompt`)."""
    num_tokens: int | None = None
    """Tokens of the completion; None if that is not known."""
    output_without_image: str | None = None
    """The completion of the same model for the question without its image; None if not known."""
    modality: str | None = None
    """The modality of the item's images; None if not known."""
    metadata: Mapping[str, object] = field(default_factory=dict)
    """What else is known of the item, as in `records.Sample`."""
    conversation: str = ""
    """The question with the turns before it; without such turns, the question."""

    def verdict(self) -> answers.Verdict:
        return answers.judge(
            self.content,
            ground_truth=self.ground_truth,
            options=self.options,
            answer_type=self.answer_type,
            question=self.question,
        )

    def sample(self) -> Sample:
        """The question as a sample without images."""
        return Sample(
            "",
            (),
            self.question,
            self.options,
            self.ground_truth,
            self.answer_type,
            modality=self.modality,
            metadata=self.metadata,
        )

    def texts(self) -> tuple[str, str] | None:
        """The extracted answer and the ground truth; a letter is replaced by its option's text.

        None if no answer is found.
        """
        answer = self.verdict().extraction.answer
        if answer is None:
            return None
        ground_truth = self.options.get(self.ground_truth, self.ground_truth)
        return self.options.get(answer, answer), ground_truth


def message_text(completion: str | Sequence[Mapping[str, Any]]) -> str:
    """The text of a completion that is a string or a list of chat messages."""
    if isinstance(completion, str):
        return completion
    content = completion[-1]["content"] if completion else ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or "" for part in content or ())


# Cached, because a group of completions shares them.
_parse_problem = lru_cache(maxsize=4096)(answers.parse_problem)
_parse_solution = lru_cache(maxsize=4096)(answers.parse_solution)


def _options(value: object, problem: str | None) -> Mapping[str, str]:
    """The options of a question: a mapping, JSON of a mapping, or a list in the problem's text.

    `datasets` stores different sets of options as one struct, with None for missing letters.
    """
    if isinstance(value, str):
        value = json.loads(value) if value.strip() else None
    if isinstance(value, Mapping):
        options = {str(k): str(v) for k, v in value.items() if v is not None}
        if options:
            return options
    return _parse_problem(problem)[1] if problem else {}


def _item(
    content: str, solution: object, columns: Mapping[str, Any], form: str, num_tokens: int | None
) -> Item:
    if solution is None:
        raise InputError("an item has no solution. Every item that is rewarded needs one.")
    solution_text = str(solution)
    ground_truth = _parse_solution(solution_text)
    options = _options(columns.get("options"), columns.get("problem"))
    answer_type = columns.get("answer_type") or answers.answer_type_of(ground_truth, options)
    question = columns.get("question") or _parse_problem(columns.get("problem") or "")[0]
    return Item(
        content,
        solution_text,
        ground_truth,
        options,
        answer_type,
        question,
        form,
        num_tokens,
        columns.get("output_without_image"),
        columns.get("modality"),
        columns.get("metadata") or {},
        columns.get("conversation") or question,
    )


def items_of(
    completions: Sequence[Any], solution: Sequence[Any], columns: Mapping[str, Any], form: str
) -> list[Item]:
    """The completions of a batch as items.

    Args:
        completions: Texts, or lists of chat messages.
        solution: The right answers, as in the data set.
        columns: Further columns of the data set, each with one value per completion.
        form: The format that the prompt asks for, one of answers.FORMATS.
    """
    filled = {name: columns[name] for name in _COLUMNS if columns.get(name) is not None}
    token_ids = columns.get("completion_ids")
    lengths = [len(ids) for ids in token_ids] if token_ids is not None else None
    lengths = lengths or columns.get("num_tokens") or [None] * len(completions)
    return [
        _item(
            message_text(completion),
            answer,
            {name: values[i] for name, values in filled.items()},
            form,
            num_tokens,
        )
        for i, (completion, answer, num_tokens) in enumerate(
            zip(completions, solution, lengths, strict=True)
        )
    ]
