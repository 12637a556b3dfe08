"""Reward functions for TRL's GRPOTrainer, and the table of their names.

Each takes `completions` and the data set's columns as lists and returns a float for each
completion. `accuracy` is 1.0 exactly when `answers.judge` finds the completion correct, as
evaluation does. All of medr1's own lie in [0, 1]. A reward of the user's is given as
`package.module:function`.

Every reward is checked after every call: what is not a finite number for each completion stops the
run. None does too: TRL reads it as "does not apply" and adds nothing for it to the completion's
sum, which is what 0.0 does, and a completion without any reward cannot be told from a bad one.
"""

from __future__ import annotations

import difflib
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

from medr1 import answers, similarity
from medr1.errors import InputError, NonFiniteError
from medr1.prompts import prompt_format

RewardFunction = Callable[..., Any]
"""Returns a list of floats; one of the user's may be asynchronous."""

OVERLONG = "soft-overlong"
OF_THE_PROMPT = ("format", "format-authors")
"""The rewards that depend on the format that the prompt asks for."""
CAN_BE_UNDECIDED = ("accuracy", "accuracy-authors")
"""The rewards that log for what share of completions the rules cannot say what is right."""
_LARGEST = 3.4e38
"""What TRL's float32 holds."""


@dataclass(frozen=True)
class _Item:
    """One completion with what it is judged by."""

    content: str
    solution: str
    gold: str
    options: Mapping[str, str]
    answer_type: str
    question: str
    """Of a row without options its problem, else ""."""

    def verdict(self) -> answers.Verdict:
        return answers.judge(
            self.content,
            ground_truth=self.gold,
            options=self.options,
            answer_type=self.answer_type,
            question=self.question,
        )

    def texts(self) -> tuple[str, str] | None:
        """The extracted answer and the gold as texts, a letter as its option's; None without."""
        answer = self.verdict().extraction.answer
        if answer is None:
            return None
        return self.options.get(answer, answer), self.options.get(self.gold, self.gold)


def message_text(completion: str | Sequence[Mapping[str, Any]]) -> str:
    """The text of a completion, plain or in chat messages."""
    if isinstance(completion, str):
        return completion
    content = completion[-1]["content"] if completion else ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or "" for part in content or ())


@lru_cache(maxsize=4096)
def _inlined_options(problem: str) -> Mapping[str, str]:
    """The options in a problem's text; a group of completions has the same one."""
    return answers.parse_problem(problem)[1]


_parse_solution = lru_cache(maxsize=4096)(answers.parse_solution)


def _options(value: object, problem: str | None) -> Mapping[str, str]:
    """The options of a row: a mapping or JSON of one, else those inlined in the problem.

    A data set stores rows of different options as one struct, with None where there is none.
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
        raise InputError("a row has no solution. Every row that is rewarded needs one.")
    written = str(solution)
    gold = _parse_solution(written)
    options = _options(columns.get("options"), columns.get("problem"))
    answer_type = columns.get("answer_type") or answers.answer_type_of(gold, options)
    question = "" if options else columns.get("problem") or ""
    return _Item(content, written, gold, options, answer_type, question)


def _items(
    completions: Sequence[Any], solution: Sequence[Any], columns: Mapping[str, Any]
) -> list[_Item]:
    known = {
        name: columns[name]
        for name in ("options", "problem", "answer_type")
        if columns.get(name) is not None
    }
    return [
        _item(message_text(completion), gold, {name: values[i] for name, values in known.items()})
        for i, (completion, gold) in enumerate(zip(completions, solution, strict=True))
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
    """The reward as TRL calls it, named as in the table, since TRL logs it by that.

    `form` is one of answers.FORMATS. It also logs the share of a batch's completions that the rules
    leave undecided; they get 0.
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
    """1 + DAPO's soft over-length punishment (arXiv 2503.14476, eq. 13), and so in [0, 1].

    1 up to four fifths of the length allowed, as in the paper, then in a line down to 0 at all of
    it. The constant 1 leaves every advantage as it is, since a group's mean is taken off.
    """
    cache = max_length / 5
    return min(1.0, max(0.0, (max_length - length) / cache))


def _overlong(max_length: int) -> RewardFunction:
    def reward(completion_ids: Sequence[Sequence[int]], **columns: Any) -> list[float]:
        return [overlong_score(len(ids), max_length) for ids in completion_ids]

    return reward


def _custom(name: str) -> RewardFunction:
    """The function that `package.module:function` names; the working directory is searched last."""
    module, _, path = name.partition(":")
    if not all(re.fullmatch(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*", part) for part in (module, path)):
        raise InputError(f"reward {name!r} is not written as package.module:function.")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # last, so that a folder there hides no library
    importlib.invalidate_caches()
    try:
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
        parameters = inspect.signature(found).parameters.values()
    except (ImportError, SyntaxError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"reward {name!r} cannot be imported: {reason}. Give package.module:function, from an "
            "installed package or the working directory."
        ) from None
    except (TypeError, ValueError):
        raise InputError(f"reward {name!r} is not a function.") from None
    if isinstance(found, type) or not any(p.kind == p.VAR_KEYWORD for p in parameters):
        raise InputError(
            f"reward {name!r} is not called as TRL calls it: write it as a function "
            "(completions, **columns) that returns a list of numbers."
        )
    return found  # type: ignore[no-any-return]


def _checked(name: str, values: Any, count: int, columns: Mapping[str, Any]) -> list[float]:
    """The rewards as floats; NonFiniteError for the first that is none, with item and step."""
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
"""Every reward of a text by its name; `format` and `format-authors` are here those of `think`."""

accuracy = REWARDS["accuracy"]


def reward_functions(
    names: Sequence[str], prompt: str, *, max_completion_length: int | None = None
) -> list[RewardFunction]:
    """The named rewards for TRL, in order; `format` is the format that the prompt asks for.

    Each raises NonFiniteError for a value that is no finite number. `soft-overlong` needs the
    length that completions are cut at, in tokens.
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
        known = (*_SCORES, OVERLONG)
        close = difflib.get_close_matches(name, known, n=1)
        hint = (
            f"Did you mean {close[0]!r}?"
            if close
            else f"Choose from: {', '.join(known)}, or give package.module:function."
        )
        raise InputError(f"unknown reward {name!r}. {hint}")
    form = prompt_format(prompt) if name in OF_THE_PROMPT else "bare"
    if name == "format":
        answers.has_format("", form)  # refused before the run
    return _bind(name, form)


def score_completion(
    content: str, solution: str, problem: str | None = None, prompt: str = "think"
) -> dict[str, float]:
    """Every reward of one completion, by name, but `soft-overlong`, which needs its tokens."""
    item, form = _item(content, solution, {"problem": problem}), prompt_format(prompt)
    return {name: score(item, form) or 0.0 for name, score in _SCORES.items()}
