"""Reward functions for TRL's GRPOTrainer, and the table of their names.

Each takes `completions` and the data set's columns as lists and returns a float for each
completion. `accuracy` is 1.0 exactly when `answers.judge` finds the completion correct, as
evaluation does.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medr1 import answers, similarity
from medr1.errors import InputError

RewardFunction = Callable[..., list[float]]


@dataclass(frozen=True)
class _Item:
    """One completion with what it is judged by."""

    content: str
    solution: str
    gold: str
    options: Mapping[str, str]
    answer_type: str

    def verdict(self) -> answers.Verdict:
        return answers.judge(
            self.content,
            ground_truth=self.gold,
            options=self.options,
            answer_type=self.answer_type,
        )

    def texts(self) -> tuple[str, str] | None:
        """The extracted answer and the gold as texts, a letter as its option's; None without."""
        answer = self.verdict().extraction.answer
        if answer is None:
            return None
        return self.options.get(answer, answer), self.options.get(self.gold, self.gold)


def _text(completion: str | Sequence[Mapping[str, Any]]) -> str:
    """The text of a completion, plain or in chat messages."""
    if isinstance(completion, str):
        return completion
    content = completion[-1]["content"] if completion else ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or "" for part in content or ())


def _options(value: object, problem: str | None) -> dict[str, str]:
    """The options of a row: a mapping or JSON of one, else those inlined in the problem.

    A data set stores rows of different options as one struct, with None where there is none.
    """
    if isinstance(value, str):
        value = json.loads(value) if value.strip() else None
    if isinstance(value, Mapping):
        options = {str(k): str(v) for k, v in value.items() if v is not None}
        if options:
            return options
    return answers.parse_problem(problem)[1] if problem else {}


def _item(content: str, solution: object, columns: Mapping[str, Any]) -> _Item:
    if solution is None:
        raise InputError("a row has no solution. Every row that is rewarded needs one.")
    written = str(solution)
    gold = answers.parse_solution(written)
    options = _options(columns.get("options"), columns.get("problem"))
    answer_type = columns.get("answer_type") or answers.answer_type_of(gold, options)
    return _Item(content, written, gold, options, answer_type)


def _items(
    completions: Sequence[Any], solution: Sequence[Any], columns: Mapping[str, Any]
) -> list[_Item]:
    known = {
        name: columns[name]
        for name in ("options", "problem", "answer_type")
        if columns.get(name) is not None
    }
    return [
        _item(_text(completion), gold, {name: values[i] for name, values in known.items()})
        for i, (completion, gold) in enumerate(zip(completions, solution, strict=True))
    ]


def _similar(item: _Item, measure: Callable[[str, str], float]) -> float:
    texts = item.texts()
    return measure(*texts) if texts else 0.0


def _format(item: _Item, prompt: str) -> float:
    return float(answers.has_format(item.content, prompt))


_SCORES: dict[str, Callable[[_Item, str], float]] = {
    "accuracy": lambda item, prompt: float(item.verdict().correct),
    "format": _format,
    "format-think": lambda item, prompt: _format(item, "think"),
    "format-nothink": lambda item, prompt: _format(item, "nothink"),
    "format-think-after": lambda item, prompt: _format(item, "think-after"),
    "accuracy-authors": lambda item, prompt: answers.authors_reward(item.content, item.solution),
    "format-authors": lambda item, prompt: answers.authors_format(
        item.content, nothink=prompt.endswith("nothink")
    ),
    "token-f1": lambda item, prompt: _similar(item, similarity.token_f1),
    "edit-similarity": lambda item, prompt: _similar(item, similarity.edit_similarity),
    "option-similarity": lambda item, prompt: (
        _similar(item, similarity.edit_similarity) if item.options else 0.0
    ),
    "numeric-closeness": lambda item, prompt: _similar(item, similarity.numeric_closeness),
}


def _bind(name: str, prompt: str) -> RewardFunction:
    """The reward as TRL calls it, named as in the table, since TRL logs it by that."""
    score = _SCORES[name]

    def reward(completions: Sequence[Any], solution: Sequence[Any], **columns: Any) -> list[float]:
        return [score(item, prompt) for item in _items(completions, solution, columns)]

    reward.__name__ = reward.__qualname__ = name
    return reward


REWARDS: dict[str, RewardFunction] = {name: _bind(name, "think") for name in _SCORES}
"""Every reward by its name; `format` and `format-authors` here are those of the prompt `think`."""

accuracy = REWARDS["accuracy"]


def reward_functions(names: Sequence[str], prompt: str) -> list[RewardFunction]:
    """The named rewards for TRL, in order; `format` is the format that the prompt asks for."""
    for name in names:
        if name not in _SCORES:
            close = difflib.get_close_matches(name, _SCORES, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"Choose from: {', '.join(_SCORES)}."
            raise InputError(f"unknown reward {name!r}. {hint}")
        if name == "format":
            answers.format_of(prompt)
    return [_bind(name, prompt) for name in names]


def score_completion(
    content: str, solution: str, problem: str | None = None, prompt: str = "think"
) -> dict[str, float]:
    """Every reward of one completion, by name."""
    item = _item(content, solution, {"problem": problem})
    return {name: float(score(item, prompt)) for name, score in _SCORES.items()}
