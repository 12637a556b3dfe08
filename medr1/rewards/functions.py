"""From a user's text, such as `soft-overlong:cache=256`, to a reward function for TRL.

The values of every call are checked: a value that is not a finite number stops the run. So does
None. TRL reads None as "does not apply" and adds nothing to the completion's total, just as for
0.0, so that a completion without any reward could not be told from a bad one.
"""

from __future__ import annotations

import importlib
import inspect
import math
import os
import re
import sys
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

from medr1.errors import InputError, NonFiniteError, did_you_mean
from medr1.prompts import prompt_format
from medr1.rewards.item import Item, items_of
from medr1.rewards.table import REWARDS, Parameter
from medr1.rewards.with_models import MODEL_REWARDS, RewardFunction, split_text_parameters

_LARGEST = 3.4e38
"""About the largest float32; TRL keeps rewards as float32."""


def _split(text: str) -> tuple[str, dict[str, str]]:
    """The name of a reward and the parameters behind it, from `name:parameter=value:...`."""
    name, _, rest = text.partition(":")
    if name in MODEL_REWARDS:
        return name, split_text_parameters(name, rest)
    if "=" not in rest:
        return text, {}
    values: dict[str, str] = {}
    for part in rest.split(":"):
        parameter, equals, value = part.partition("=")
        if not parameter or not equals:
            raise InputError(f"reward {text!r}: {part!r} is not written as parameter=value.")
        if parameter in values:
            raise InputError(f"reward {text!r}: {parameter} is given twice. Give it once.")
        values[parameter] = value
    return name, values


def _value(reward: str, parameter: Parameter, text: str) -> float:
    """A parameter's value from a user's text."""
    try:
        value = parameter.kind(text)
    except ValueError:
        value = -math.inf
    if not parameter.minimum <= value < math.inf:
        kind = "a whole number" if parameter.kind is int else "a number"
        raise InputError(
            f"the reward {reward!r} has {parameter.name}={text}, expected {kind} of at least "
            f"{parameter.minimum}."
        )
    return value


def _parameter_values(
    name: str, texts: Mapping[str, str], run_settings: Mapping[str, float | None]
) -> dict[str, float | None]:
    """The value of each parameter of a reward: the user's, else the run's, else the default."""
    parameters = {parameter.name: parameter for parameter in REWARDS[name].parameters}
    for unknown in texts.keys() - parameters.keys():
        choices = f"Choose from: {', '.join(parameters)}." if parameters else "It has none."
        raise InputError(
            f"the reward {name!r} has no parameter {unknown!r}. "
            f"{did_you_mean(unknown, list(parameters), choices)}"
        )
    values: dict[str, float | None] = {}
    for parameter in parameters.values():
        value = run_settings.get(parameter.training_setting)
        values[parameter.name] = parameter.default if value is None else value
        if parameter.name in texts:
            values[parameter.name] = _value(name, parameter, texts[parameter.name])
        if parameter.is_required and values[parameter.name] is None:
            setting = parameter.training_setting
            raise InputError(
                f"the reward {name!r} needs {parameter.name}. Write {name}:{parameter.name}=N"
                f"{f', or set {setting}' if setting else ''}."
            )
    return values


def _bind(name: str, form: str, values: Mapping[str, float | None]) -> RewardFunction:
    """The reward as TRL calls it.

    `form` is one of answers.FORMATS. Completions that the rules cannot judge get 0, and their share
    of the batch is logged.
    """
    reward = REWARDS[name]
    if reward.require:
        reward.require()
    if reward.uses_prompt or values:
        # an unknown format and values that do not fit together raise here, before the run
        reward.score(Item("", "", "", {}, "open", "", form, 0), **values)

    def scores(completions: Sequence[Any], solution: Sequence[Any], **columns: Any) -> list[float]:
        items = items_of(completions, solution, columns, form)
        scores = [reward.score(item, **values) for item in items]
        if reward.can_be_undecided and (log_metric := columns.get("log_metric")):
            log_metric(f"rewards/{name}/undecided", scores.count(None) / max(1, len(scores)))
        return [value or 0.0 for value in scores]

    return scores


def _custom(name: str) -> RewardFunction:
    """Import `package.module:function`; the working directory is searched last."""
    module, _, path = name.partition(":")
    if not all(re.fullmatch(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*", part) for part in (module, path)):
        raise InputError(
            f"reward {name!r} is not written as package.module:function or name:parameter=value."
        )
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


def reward_functions(
    names: Sequence[str],
    prompt: str,
    *,
    max_completion_length: int | None = None,
    judge_cache: Path | None = None,
    load: bool = True,
) -> list[RewardFunction]:
    """Reward functions for TRL's GRPOTrainer.

    Args:
        names: Names in REWARDS or MODEL_REWARDS, with parameters as
            `name:parameter=value:...`, or `package.module:function`.
        prompt: Name of a prompt, its file or its text, as in `prompts.template`. The reward
            `format` checks the format that it asks for.
        max_completion_length: Tokens at which completions are cut off: the `max_length` of
            "soft-overlong" if it is given without.
        judge_cache: File for the replies of "judge" if it is given without `cache`; None: no file.
        load: Whether reward models are loaded and judges are tried. Without, names and parameters
            are checked, and the rewards of MODEL_REWARDS cannot be called.

    Returns:
        One function per name, in order. TRL logs it by its `__name__`, which is the name without
        parameters. Each raises NonFiniteError for a value that is not a finite number.

    Raises:
        InputError: A name is unknown, cannot be imported or is given twice, or a parameter is
            unknown, wrong or missing, or a reward model or judge cannot be used.
        Medr1Error: A judge cannot be reached.
    """
    run_settings = {"max_completion_length": max_completion_length}
    functions: dict[str, RewardFunction] = {}
    for text in names:
        name, values = _split(text)
        if name in functions:
            raise InputError(f"the reward {name!r} is given twice. Give each reward once.")
        if name in MODEL_REWARDS:
            if name == "judge" and judge_cache is not None:
                values = {"cache": str(judge_cache), **values}
            reward = MODEL_REWARDS[name].make(values, load)
        else:
            reward = _named(name, values, prompt, run_settings)
        functions[name] = _guarded(name, reward)
    return list(functions.values())


def _named(
    name: str, texts: Mapping[str, str], prompt: str, run_settings: Mapping[str, float | None]
) -> RewardFunction:
    """The function of one reward; `texts` has the values of parameters as the user wrote them."""
    if ":" in name:
        return _custom(name)
    if name not in REWARDS:
        known = [*REWARDS, *MODEL_REWARDS]
        choices = f"Choose from: {', '.join(known)}, or give package.module:function."
        raise InputError(f"unknown reward {name!r}. {did_you_mean(name, known, choices)}")
    values = _parameter_values(name, texts, run_settings)
    return _bind(name, prompt_format(prompt) if REWARDS[name].uses_prompt else "bare", values)


def reward_with_column(names: Sequence[str], column: str) -> str | None:
    """The first reward that reads a column which only training makes; None if none does.

    Args:
        names: Rewards as `reward_functions` takes them.
        column: The column, as in `Reward.column`.
    """
    own = (_split(text)[0] for text in names)
    return next((name for name in own if name in REWARDS and REWARDS[name].column == column), None)


def score_completion(
    functions: Sequence[RewardFunction],
    content: str,
    solution: str,
    problem: str | None = None,
    num_tokens: int | None = None,
    output_without_image: str | None = None,
) -> dict[str, float]:
    """Score one completion.

    Args:
        functions: The rewards, made by `reward_functions`.
        content: The completion.
        solution: The right answer, as in the data set: "B" or "<answer>B</answer>".
        problem: The question with its options; they are needed to read a letter.
        num_tokens: Tokens of the completion; needed by "soft-overlong".
        output_without_image: The completion without the image; needed by "image-dependence".

    Returns:
        Name of the reward -> its value, in [0, 1] for the rewards of medr1.

    Raises:
        InputError: A reward needs something that is None.
        NonFiniteError: A user's own reward returned something else than a finite number.
    """
    columns: dict[str, Sequence[object] | None] = {
        "solution": [solution],
        "problem": [problem],
        "num_tokens": [num_tokens],
        "output_without_image": None if output_without_image is None else [output_without_image],
    }
    (scores,) = score_batch(functions, [content], columns)
    return scores


def score_batch(
    functions: Sequence[RewardFunction],
    contents: Sequence[str],
    columns: Mapping[str, Sequence[object] | None],
) -> list[dict[str, float]]:
    """Score completions together; the rewards of MODEL_REWARDS are then quicker.

    Args:
        functions: The rewards, made by `reward_functions`.
        contents: The completions.
        columns: Name -> a value for each completion, as in the rows that TRL trains on; None where
            no completion has one.

    Returns:
        Name of the reward -> its value, for each completion.

    Raises:
        InputError: A reward needs something that a completion lacks.
        NonFiniteError: A user's own reward returned something else than a finite number.
    """
    import asyncio

    completions = [[{"role": "assistant", "content": content}] for content in contents]
    scores: list[dict[str, float]] = [{} for _ in contents]
    for function in functions:
        values = function(completions=completions, **columns)
        if inspect.iscoroutine(values):
            values = asyncio.run(values)
        for row, value in zip(scores, values, strict=True):
            row[function.__name__] = value
    return scores
