"""Reward functions for TRL's GRPOTrainer, and the table of the rewards: `REWARDS`.

Each reward takes `completions` and the columns of the data set as lists, and returns one float per
completion. `accuracy` is 1.0 if `answers.judge` calls the completion correct, as in evaluation,
else 0.0. All rewards of medr1 are in [0, 1]. A reward is written as its name, with parameters as
`soft-overlong:cache=256:max_length=1024`; a user's own as `package.module:function`.

The values of every call are checked: a value that is not a finite number stops the run. So does
None. TRL reads None as "does not apply" and adds nothing to the completion's total, just as for
0.0, so that a completion without any reward could not be told from a bad one.
"""

from __future__ import annotations

import importlib
import inspect
import json
import math
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

_LARGEST = 3.4e38
"""About the largest float32; TRL keeps rewards as float32."""


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
    """The problem if the question has no options, else ""."""
    form: str = "bare"
    """The format that the prompt asks for, one of answers.FORMATS; "bare" if the reward does not
    use it (`Reward.uses_prompt`)."""
    num_tokens: int | None = None
    """Tokens of the completion; None if that is not known."""

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


def _item(
    content: str, solution: object, columns: Mapping[str, Any], form: str, num_tokens: int | None
) -> Item:
    if solution is None:
        raise InputError("an item has no solution. Every item that is rewarded needs one.")
    solution_text = str(solution)
    ground_truth = _parse_solution(solution_text)
    options = _options(columns.get("options"), columns.get("problem"))
    answer_type = columns.get("answer_type") or answers.answer_type_of(ground_truth, options)
    question = "" if options else columns.get("problem") or ""
    return Item(
        content, solution_text, ground_truth, options, answer_type, question, form, num_tokens
    )


def _items(
    completions: Sequence[Any], solution: Sequence[Any], columns: Mapping[str, Any], form: str
) -> list[Item]:
    filled = {
        name: columns[name]
        for name in ("options", "problem", "answer_type")
        if columns.get(name) is not None
    }
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


# --- the rewards ---------------------------------------------------------------------------------


def _accuracy(item: Item) -> float | None:
    verdict = item.verdict()
    return None if verdict.undecided else float(verdict.correct)


def _similar(item: Item, measure: Callable[[str, str], float]) -> float:
    texts = item.texts()
    return measure(*texts) if texts else 0.0


def _format(item: Item, form: str) -> float:
    return float(answers.has_format(item.content, form))


def _overlong(item: Item, max_length: int, cache: int | None) -> float:
    if item.num_tokens is None:
        raise InputError("the reward 'soft-overlong' needs num_tokens, the tokens of a completion.")
    if cache is not None and cache > max_length:
        raise InputError(
            f"the reward 'soft-overlong' has cache={cache}, which is more than its "
            f"max_length={max_length}. Lower cache."
        )
    return overlong_score(item.num_tokens, max_length, cache)


def overlong_score(length: int, max_length: int, cache: int | None = None) -> float:
    """1 + DAPO's soft over-length punishment (arXiv 2503.14476, eq. 13).

    The constant 1 does not change the advantages, because the mean of the group is subtracted.

    Args:
        length: Tokens of the completion.
        max_length: Tokens from which the score is 0.
        cache: Tokens below `max_length` over which the score falls; None: a fifth of `max_length`,
            as in the paper.

    Returns:
        1 up to `max_length - cache`, then linear down to 0 at `max_length`.
    """
    return min(1.0, max(0.0, (max_length - length) / (cache or max_length / 5)))


@dataclass(frozen=True)
class Parameter:
    """A parameter of a reward. Users write `:name=value` after the name of the reward."""

    name: str
    kind: type[int] | type[float]
    description: str
    """A noun with what belongs to it, for `medr1 rewards --help`."""
    minimum: float
    default: float | None = None
    """The value if the user gives none."""
    training_setting: str = ""
    """The setting of a training run whose value is the default there; "" for none."""
    is_required: bool = False
    """Whether the reward cannot be computed if this has no value."""


@dataclass(frozen=True)
class Reward:
    """One reward of medr1, as the table `REWARDS` holds it."""

    description: str
    """When it is high, in one line, for `medr1 rewards --help`."""
    score: Callable[..., float | None]
    """Takes an `Item`, and each parameter by its name; returns a value in [0, 1]. None if the rules
    cannot judge the completion, which counts as 0."""
    parameters: tuple[Parameter, ...] = ()
    uses_prompt: bool = False
    """Whether it depends on the format that the prompt asks for, `Item.form`."""
    can_be_undecided: bool = False
    """Whether the share of completions that the rules cannot judge is logged in training."""

    @property
    def needs_parameters(self) -> bool:
        """Whether it can only be computed with parameters, or in training."""
        return any(parameter.is_required for parameter in self.parameters)


REWARDS: dict[str, Reward] = {
    "accuracy": Reward(
        "1 if the answer is right, as in `medr1 eval`", _accuracy, can_be_undecided=True
    ),
    "format": Reward(
        "1 for the format that --prompt asks for",
        lambda item: _format(item, item.form),
        uses_prompt=True,
    ),
    "format-think": Reward("1 for reasoning, then the answer", lambda item: _format(item, "think")),
    "format-nothink": Reward("1 for the answer only", lambda item: _format(item, "nothink")),
    "format-think-after": Reward(
        "1 for the answer, then reasoning", lambda item: _format(item, "think-after")
    ),
    "accuracy-authors": Reward(
        "accuracy by the rules of Med-R1's training",
        lambda item: answers.authors_reward(item.content, item.solution),
        can_be_undecided=True,
    ),
    "format-authors": Reward(
        "format by the rules of Med-R1's training",
        lambda item: answers.authors_format(item.content, nothink=item.form == "nothink"),
        uses_prompt=True,
    ),
    "token-f1": Reward(
        "words that the answer shares with the right one",
        lambda item: _similar(item, similarity.token_f1),
    ),
    "edit-similarity": Reward(
        "similarity of the letters of the two answers",
        lambda item: _similar(item, similarity.edit_similarity),
    ),
    "option-similarity": Reward(
        "the same, and 0 for questions without options",
        lambda item: _similar(item, similarity.edit_similarity) if item.options else 0.0,
    ),
    "numeric-closeness": Reward(
        "closeness of the numbers in the two answers",
        lambda item: _similar(item, similarity.numeric_closeness),
    ),
    "soft-overlong": Reward(
        "1, and lower for long completions",
        _overlong,
        (
            Parameter(
                "max_length",
                int,
                "tokens from which it is 0",
                minimum=1,
                training_setting="max_completion_length",
                is_required=True,
            ),
            Parameter(
                "cache",
                int,
                "tokens below that over which it falls; by default a fifth",
                minimum=1,
            ),
        ),
    ),
}
"""Every reward of medr1 by its name."""

WITHOUT_PARAMETERS = tuple(name for name, reward in REWARDS.items() if not reward.needs_parameters)
"""The names of the rewards that can be computed without parameters."""


# --- from a user's text to a function for TRL ----------------------------------------------------


def _split(text: str) -> tuple[str, dict[str, str]]:
    """The name of a reward and the parameters behind it, from `name:parameter=value:...`."""
    name, _, rest = text.partition(":")
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
    if reward.uses_prompt or values:
        # an unknown format and values that do not fit together raise here, before the run
        reward.score(Item("", "", "", {}, "open", "", form, 0), **values)

    def scores(completions: Sequence[Any], solution: Sequence[Any], **columns: Any) -> list[float]:
        items = _items(completions, solution, columns, form)
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
    names: Sequence[str], prompt: str, *, max_completion_length: int | None = None
) -> list[RewardFunction]:
    """Reward functions for TRL's GRPOTrainer.

    Args:
        names: Names in REWARDS, with parameters as `name:parameter=value:...`, or
            `package.module:function`.
        prompt: Name of a prompt, its file or its text, as in `prompts.template`. The reward
            `format` checks the format that it asks for.
        max_completion_length: Tokens at which completions are cut off: the `max_length` of
            "soft-overlong" if it is given without.

    Returns:
        One function per name, in order. TRL logs it by its `__name__`, which is the name without
        parameters. Each raises NonFiniteError for a value that is not a finite number.

    Raises:
        InputError: A name is unknown, cannot be imported or is given twice, or a parameter is
            unknown, wrong or missing.
    """
    run_settings = {"max_completion_length": max_completion_length}
    functions: dict[str, RewardFunction] = {}
    for text in names:
        name, values = _split(text)
        if name in functions:
            raise InputError(f"the reward {name!r} is given twice. Give each reward once.")
        functions[name] = _guarded(name, _named(name, values, prompt, run_settings))
    return list(functions.values())


def _named(
    name: str, texts: Mapping[str, str], prompt: str, run_settings: Mapping[str, float | None]
) -> RewardFunction:
    """The function of one reward; `texts` has the values of parameters as the user wrote them."""
    if ":" in name:
        return _custom(name)
    if name not in REWARDS:
        choices = f"Choose from: {', '.join(REWARDS)}, or give package.module:function."
        raise InputError(f"unknown reward {name!r}. {did_you_mean(name, list(REWARDS), choices)}")
    values = _parameter_values(name, texts, run_settings)
    return _bind(name, prompt_format(prompt) if REWARDS[name].uses_prompt else "bare", values)


def score_completion(
    functions: Sequence[RewardFunction],
    content: str,
    solution: str,
    problem: str | None = None,
    num_tokens: int | None = None,
) -> dict[str, float]:
    """Score one completion.

    Args:
        functions: The rewards, made by `reward_functions`.
        content: The completion.
        solution: The right answer, as in the data set: "B" or "<answer>B</answer>".
        problem: The question with its options; they are needed to read a letter.
        num_tokens: Tokens of the completion; needed by "soft-overlong".

    Returns:
        Name of the reward -> its value, in [0, 1] for the rewards of medr1.

    Raises:
        InputError: A reward needs something that is None.
        NonFiniteError: A user's own reward returned something else than a finite number.
    """
    import asyncio

    completions = [[{"role": "assistant", "content": content}]]
    columns = {"solution": [solution], "problem": [problem], "num_tokens": [num_tokens]}
    scores: dict[str, float] = {}
    for function in functions:
        values = function(completions=completions, **columns)
        if inspect.iscoroutine(values):
            values = asyncio.run(values)
        (scores[function.__name__],) = values
    return scores


accuracy = reward_functions(["accuracy"], "bare")[0]
