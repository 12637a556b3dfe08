"""Reward functions for TRL's GRPOTrainer, and the table of their names.

Each reward takes `completions` and the columns of the data set as lists, and returns one float per
completion. `accuracy` is 1.0 if `answers.judge` calls the completion correct, as in evaluation,
else 0.0. All rewards of medr1 are in [0, 1]. Users name their own rewards as
`package.module:function`.

The values of every call are checked: a value that is not a finite number stops the run. So does
None. TRL reads None as "does not apply" and adds nothing to the completion's total, just as for
0.0, so that a completion without any reward could not be told from a bad one.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from numbers import Real
from typing import Any

from medr1 import answers
from medr1.errors import InputError, NonFiniteError, did_you_mean
from medr1.prompts import prompt_format
from medr1.text import similarity

RewardFunction = Callable[..., Any]
"""Returns a list of floats. A user's function may be asynchronous."""

OVERLONG = "soft-overlong"
OF_THE_PROMPT = ("format", "format-authors")
"""The rewards that depend on the format that the prompt asks for."""
CAN_BE_UNDECIDED = ("accuracy", "accuracy-authors")
"""The rewards that also log the share of completions that the rules cannot judge."""
_LARGEST = 3.4e38
"""About the largest float32; TRL keeps rewards as float32."""


@dataclass(frozen=True)
class _Item:
    """One completion, and what is needed to judge it."""

    content: str
    solution: str
    """As in the data set, such as "<answer>B</answer>"."""
    ground_truth: str
    """The answer in `solution`, such as "B"."""
    options: Mapping[str, str]
    answer_type: str
    question: str
    """The problem if the question has no options, else ""."""

    def verdict(self) -> answers.Verdict:
        return answers.judge(
            self.content,
            ground_truth=self.ground_truth,
            options=self.options,
            answer_type=self.answer_type,
            question=self.question,
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


@lru_cache(maxsize=4096)
def _inlined_options(problem: str) -> Mapping[str, str]:
    """The options in a problem's text; cached, because a group of completions shares it."""
    return answers.parse_problem(problem)[1]


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
    return _inlined_options(problem) if problem else {}


def _item(content: str, solution: object, columns: Mapping[str, Any]) -> _Item:
    if solution is None:
        raise InputError("an item has no solution. Every item that is rewarded needs one.")
    solution_text = str(solution)
    ground_truth = _parse_solution(solution_text)
    options = _options(columns.get("options"), columns.get("problem"))
    answer_type = columns.get("answer_type") or answers.answer_type_of(ground_truth, options)
    question = "" if options else columns.get("problem") or ""
    return _Item(content, solution_text, ground_truth, options, answer_type, question)


def _items(
    completions: Sequence[Any], solution: Sequence[Any], columns: Mapping[str, Any]
) -> list[_Item]:
    filled = {
        name: columns[name]
        for name in ("options", "problem", "answer_type")
        if columns.get(name) is not None
    }
    return [
        _item(
            message_text(completion), answer, {name: values[i] for name, values in filled.items()}
        )
        for i, (completion, answer) in enumerate(zip(completions, solution, strict=True))
    ]


def _accuracy(item: _Item, form: str) -> float | None:
    verdict = item.verdict()
    return None if verdict.undecided else float(verdict.correct)


def _similar(item: _Item, measure: Callable[[str, str], float]) -> float:
    texts = item.texts()
    return measure(*texts) if texts else 0.0


def _format(item: _Item, form: str) -> float:
    return float(answers.has_format(item.content, form))


_SCORES: dict[str, Callable[[_Item, str], float | None]] = {
    "accuracy": _accuracy,
    "format": _format,
    "format-think": lambda item, form: _format(item, "think"),
    "format-nothink": lambda item, form: _format(item, "nothink"),
    "format-think-after": lambda item, form: _format(item, "think-after"),
    "accuracy-authors": lambda item, form: answers.authors_reward(item.content, item.solution),
    "format-authors": lambda item, form: answers.authors_format(
        item.content, nothink=form == "nothink"
    ),
    "token-f1": lambda item, form: _similar(item, similarity.token_f1),
    "edit-similarity": lambda item, form: _similar(item, similarity.edit_similarity),
    "option-similarity": lambda item, form: (
        _similar(item, similarity.edit_similarity) if item.options else 0.0
    ),
    "numeric-closeness": lambda item, form: _similar(item, similarity.numeric_closeness),
}


def _bind(name: str, form: str) -> RewardFunction:
    """The reward as TRL calls it. TRL logs it by its __name__, so that is the name in the table.

    `form` is one of answers.FORMATS. Completions that the rules cannot judge get 0, and their share
    of the batch is logged.
    """
    score = _SCORES[name]

    def reward(completions: Sequence[Any], solution: Sequence[Any], **columns: Any) -> list[float]:
        scores = [score(item, form) for item in _items(completions, solution, columns)]
        if name in CAN_BE_UNDECIDED and (log_metric := columns.get("log_metric")):
            log_metric(f"rewards/{name}/undecided", scores.count(None) / max(1, len(scores)))
        return [value or 0.0 for value in scores]

    reward.__name__ = reward.__qualname__ = name
    return reward


def overlong_score(length: int, max_length: int) -> float:
    """1 + DAPO's soft over-length punishment (arXiv 2503.14476, eq. 13).

    The constant 1 does not change the advantages, because the mean of the group is subtracted.

    Args:
        length: Tokens of the completion.
        max_length: Tokens at which completions are cut off.

    Returns:
        1 up to four fifths of `max_length`, as in the paper, then linear down to 0 at `max_length`.
    """
    cache = max_length / 5
    return min(1.0, max(0.0, (max_length - length) / cache))


def _overlong(max_length: int) -> RewardFunction:
    def reward(completion_ids: Sequence[Sequence[int]], **columns: Any) -> list[float]:
        return [overlong_score(len(ids), max_length) for ids in completion_ids]

    return reward


def _custom(name: str) -> RewardFunction:
    """Import `package.module:function`; the working directory is searched last."""
    module, _, path = name.partition(":")
    if not all(re.fullmatch(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*", part) for part in (module, path)):
        raise InputError(f"reward {name!r} is not written as package.module:function.")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # last, so that a folder there hides no library
    importlib.invalidate_caches()
    try:
        reward: Any = importlib.import_module(module)
        for part in path.split("."):
            reward = getattr(reward, part)
        parameters = inspect.signature(reward).parameters.values()
    except (ImportError, SyntaxError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"reward {name!r} cannot be imported: {reason}. Give package.module:function, from an "
            "installed package or the working directory."
        ) from None
    except (TypeError, ValueError):
        raise InputError(f"reward {name!r} is not a function.") from None
    if isinstance(reward, type) or not any(p.kind == p.VAR_KEYWORD for p in parameters):
        raise InputError(
            f"TRL cannot call the reward {name!r}. Write it as a function "
            "(completions, **columns) that returns a list of numbers."
        )
    return reward  # type: ignore[no-any-return]


def _checked(name: str, values: Any, count: int, columns: Mapping[str, Any]) -> list[float]:
    """The rewards as floats; NonFiniteError names item and step of the first bad value."""
    state = columns.get("trainer_state")
    step = f" in step {state.global_step + 1}" if state is not None else ""
    if hasattr(values, "tolist"):  # an array or a tensor
        values = values.tolist()
    if not isinstance(values, list | tuple):
        raise NonFiniteError(
            f"the reward {name!r} returned {_short(values)}{step}, not a list of numbers; "
            "return one number for each completion."
        )
    ids = columns.get("id")
    if len(values) != count:
        first = f" (the first is item {str(ids[0])!r})" if ids else ""
        raise NonFiniteError(
            f"the reward {name!r} returned {len(values)} numbers for {count} completions{step}"
            f"{first}; return one for each."
        )
    numbers = [value.item() if hasattr(value, "item") else value for value in values]
    for i, value in enumerate(numbers):
        if not isinstance(value, Real) or not abs(float(value)) <= _LARGEST:
            item = f"item {str(ids[i])!r}" if ids else f"completion {i + 1} of the batch"
            raise NonFiniteError(
                f"the reward {name!r} gave {_short(value)} for {item}{step}; return a finite "
                "number for each completion, 0.0 where the reward does not apply."
            )
    return [float(value) for value in numbers]


def _short(value: object) -> str:
    return repr(value)[:60]


def _guarded(name: str, reward: RewardFunction) -> RewardFunction:
    """The reward under its name, with every value checked."""

    def checked(completions: Sequence[Any], **columns: Any) -> list[float]:
        values = reward(completions=completions, **columns)
        return _checked(name, values, len(completions), columns)

    async def checked_later(completions: Sequence[Any], **columns: Any) -> list[float]:
        values = await reward(completions=completions, **columns)
        return _checked(name, values, len(completions), columns)

    later = inspect.iscoroutinefunction(reward) or inspect.iscoroutinefunction(
        getattr(reward, "__call__", None)  # noqa: B004
    )
    function: RewardFunction = checked_later if later else checked
    function.__name__ = function.__qualname__ = name
    return function


REWARDS: dict[str, RewardFunction] = {name: _bind(name, "think") for name in _SCORES}
"""Every reward of a text by its name; `format` and `format-authors` are those of prompt `think`."""

accuracy = REWARDS["accuracy"]


def reward_functions(
    names: Sequence[str], prompt: str, *, max_completion_length: int | None = None
) -> list[RewardFunction]:
    """Reward functions for TRL's GRPOTrainer.

    Args:
        names: Names in REWARDS, "soft-overlong", or `package.module:function`.
        prompt: Name of a prompt, its file or its text, as in `prompts.template`. The reward
            `format` checks the format that it asks for.
        max_completion_length: Tokens at which completions are cut off; needed by "soft-overlong".

    Returns:
        One function per name, in order. Each raises NonFiniteError for a value that is not a finite
        number.

    Raises:
        InputError: A name is unknown or cannot be imported, or "soft-overlong" has no length.
    """
    return [_guarded(name, _named(name, prompt, max_completion_length)) for name in names]


def _named(name: str, prompt: str, max_length: int | None) -> RewardFunction:
    if ":" in name:
        return _custom(name)
    if name == OVERLONG:
        if not max_length or max_length < 1:
            raise InputError(f"the reward {name!r} needs max_completion_length above 0; set it.")
        return _overlong(max_length)
    if name not in _SCORES:
        choices = (*_SCORES, OVERLONG)
        all_names = f"Choose from: {', '.join(choices)}, or give package.module:function."
        hint = did_you_mean(name, choices, all_names)
        raise InputError(f"unknown reward {name!r}. {hint}")
    form = prompt_format(prompt) if name in OF_THE_PROMPT else "bare"
    if name == "format":
        answers.has_format("", form)  # an unknown format raises here, before the run
    return _bind(name, form)


def score_completion(
    content: str, solution: str, problem: str | None = None, prompt: str = "think"
) -> dict[str, float]:
    """Score one completion with every reward except `soft-overlong`, which needs token ids.

    Args:
        content: The completion.
        solution: The right answer, as in the data set: "B" or "<answer>B</answer>".
        problem: The question with its options; they are needed to read a letter.
        prompt: The prompt that the completion answers, as in `prompts.template`.

    Returns:
        Name of the reward -> value in [0, 1].

    Raises:
        InputError: The prompt is unknown.
    """
    item, form = _item(content, solution, {"problem": problem}), prompt_format(prompt)
    return {name: score(item, form) or 0.0 for name, score in _SCORES.items()}
