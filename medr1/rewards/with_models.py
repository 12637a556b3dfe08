"""The rewards that ask another model, `model` and `judge`: `MODEL_REWARDS`.

They score all completions of a batch together. Their parameters are texts:

    model:path=FOLDER
    judge:url=http://127.0.0.1:8000/v1:model=NAME
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medr1.errors import InputError, did_you_mean
from medr1.processes import rank
from medr1.rewards.item import Item, items_of

if TYPE_CHECKING:
    from medr1.judge.prompt import JudgeTexts

RewardFunction = Callable[..., Any]
"""Returns a list of floats. A user's function may be asynchronous."""

_NEXT_PARAMETER = re.compile(r":(?=[^\W\d]\w*=)")
"""The colon before a parameter; those of an address and of `qwen2:7b` are no such colons."""


@dataclass(frozen=True)
class TextParameter:
    """A parameter whose value is a text. Users write `:name=value` after the name of the reward."""

    name: str
    placeholder: str
    """What stands for the value in help texts, such as "FOLDER"."""
    description: str
    """A noun with what belongs to it, for `medr1 rewards --help`."""
    is_required: bool = True


@dataclass(frozen=True)
class ModelReward:
    """A reward that asks another model, as the table `MODEL_REWARDS` holds it."""

    description: str
    """When it is high, in one line, for `medr1 rewards --help`."""
    make: Callable[[Mapping[str, str], bool], RewardFunction]
    """From the values of the parameters to the function that TRL calls. The second argument is
    whether the model is loaded or tried, too."""
    parameters: tuple[TextParameter, ...]

    def example(self, name: str) -> str:
        """How the reward is written with all that it needs."""
        needed = (f":{p.name}={p.placeholder}" for p in self.parameters if p.is_required)
        return name + "".join(needed)


@dataclass(frozen=True)
class _Answer:
    """An answer that the judge is asked about."""

    id: str
    texts: JudgeTexts


def _by_reward_model(values: Mapping[str, str], load: bool) -> RewardFunction:
    """The reward `model`."""
    from medr1.rewards.reward_model import RewardModel, conversations_of, read_reward_model

    folder = Path(values["path"])
    if not load:
        read_reward_model(folder)
    reward_model = RewardModel(folder) if load else None

    def scores(completions: Sequence[Any], **columns: Any) -> list[float]:
        assert reward_model is not None, "made for a check only"
        problems = columns.get("problem") or ()
        return reward_model.scores(conversations_of(completions, columns.get("prompts"), problems))

    return scores


def _by_judge(values: Mapping[str, str], load: bool) -> RewardFunction:
    """The reward `judge`."""
    from medr1.chat.settings import Server
    from medr1.judge.asking import Judge, ask, require_reachable
    from medr1.judge.prompt import JudgeTexts, stated_text

    try:
        server = Server(base_url=values["url"])
    except InputError as error:
        message = str(error).replace("--base-url", "the reward 'judge' has url")
        raise InputError(message) from None
    judge = Judge(server=server, model=values["model"], cache=_cache_file(values.get("cache")))
    if load:
        require_reachable(judge)

    def texts(item: Item) -> JudgeTexts | None:
        """What the judge gets to read; None for an item that it is not asked about."""
        if item.answer_type != "open" or item.options:
            return None
        text = stated_text(item.content, item.question)
        return JudgeTexts(item.conversation, item.ground_truth, text) if text else None

    def scores(completions: Sequence[Any], solution: Sequence[Any], **columns: Any) -> list[float]:
        items = items_of(completions, solution, columns, "bare")
        ids = columns.get("id") or [str(place) for place in range(1, len(items) + 1)]
        values = [float(item.verdict().correct) for item in items]
        answers = {
            place: _Answer(str(ids[place]), own)
            for place, item in enumerate(items)
            if not values[place] and (own := texts(item)) is not None
        }
        verdicts = ask(judge, list(answers.values()), require_all=True)
        for place, verdict in zip(answers, verdicts, strict=True):
            values[place] = float(verdict == "correct")
        if log_metric := columns.get("log_metric"):
            for name, count in (
                ("asked", len(verdicts)),
                ("unclear", verdicts.count("unclear")),
            ):
                log_metric(f"rewards/judge/{name}", count / max(1, len(items)))
        return values

    return scores


def _cache_file(path: str | None) -> Path | None:
    """The file of this process for the judge's replies: two processes cannot write to one."""
    if path is None:
        return None
    file = Path(path)
    return file if rank() == 0 else file.with_name(f"{file.stem}-{rank()}{file.suffix}")


MODEL_REWARDS: dict[str, ModelReward] = {
    "model": ModelReward(
        "the number that a reward model gives, of any size",
        _by_reward_model,
        (
            TextParameter(
                "path",
                "FOLDER",
                "text classifier (transformers) with one output",
            ),
        ),
    ),
    "judge": ModelReward(
        "accuracy, and 1 if a judge calls an open answer right",
        _by_judge,
        (
            TextParameter("url", "URL", "address of an OpenAI-compatible server"),
            TextParameter("model", "NAME", "name of the judge there"),
            TextParameter(
                "cache",
                "FILE",
                "file with its replies; in training OUTPUT/judge.jsonl",
                is_required=False,
            ),
        ),
    ),
}
"""Every reward that asks another model, by its name."""


def split_text_parameters(reward: str, text: str) -> dict[str, str]:
    """The parameters of a reward of MODEL_REWARDS from a user's text.

    Args:
        reward: The name of the reward.
        text: What is behind the name, such as "url=http://127.0.0.1:8000/v1:model=NAME".

    Raises:
        InputError: A parameter is unknown, empty, missing or given twice.
    """
    entry = MODEL_REWARDS[reward]
    names = [parameter.name for parameter in entry.parameters]
    advice = f"Write {entry.example(reward)}."
    values: dict[str, str] = {}
    for part in _NEXT_PARAMETER.split(text) if text else ():
        name, equals, value = part.partition("=")
        if not (name.isidentifier() and equals and value):
            raise InputError(
                f"the reward {reward!r}: {part!r} is not written as parameter=value. {advice}"
            )
        if name not in names:
            choices = f"Choose from: {', '.join(names)}."
            raise InputError(
                f"the reward {reward!r} has no parameter {name!r}. "
                f"{did_you_mean(name, names, choices)}"
            )
        if name in values:
            raise InputError(f"the reward {reward!r}: {name} is given twice. Give it once.")
        values[name] = value
    for parameter in entry.parameters:
        if parameter.is_required and parameter.name not in values:
            raise InputError(f"the reward {reward!r} needs {parameter.name}. {advice}")
    return values
