"""The same short run by stock TRL's trainer and by ours, and where the two come apart.

Every run trains the embedded model on four questions, with plain gradient descent, so that a
difference of gradients is one of weights and no optimizer makes more of it.
"""

import copy
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import PeftConfig
from PIL import Image
from trl import GRPOConfig
from trl.trainer import grpo_trainer

from medr1.rewards import message_text

FIELDS = {
    **{"use_cpu": True, "bf16": False, "report_to": [], "disable_tqdm": True},
    **{"save_strategy": "no", "logging_steps": 1, "max_steps": 2, "optim": "sgd"},
    **{"learning_rate": 0.1, "per_device_train_batch_size": 8, "per_device_eval_batch_size": 8},
    **{"num_generations": 4, "max_completion_length": 8, "gradient_checkpointing": False},
}
"""Of each run, unless it says otherwise: two prompts a step, four completions each."""
CLOSE = 5e-5
"""How far apart weights may end, as a share of the largest change of any, and logged numbers, as a
share of them. One step is closer than 1e-5; each goes on from the last digits of the one before."""


# --- questions and rewards ---------------------------------------------------------------------


def picture(number: int) -> Image.Image:
    """Stripes, of a size and a colour of their own."""
    size = [(56, 84), (112, 56), (84, 84), (60, 70)][number % 4]
    image = Image.new("RGB", size, (40 * number % 256, 90, 200))
    image.paste((250, 240, 10 * number), (0, 0, size[0] // 2, 14 * (1 + number % 3)))
    return image


QUESTIONS = [
    "What is this?",
    "Which organ is shown in this image?",
    "Is it a CT?",
    "How many cells?",
]


def rows(
    count: int = 4, images: Sequence[int] = (1,), as_text: bool = False, **columns: Any
) -> Any:
    """Questions as TRL's columns; `images`: how many pictures each has, in turn."""
    prompts = [f"{QUESTIONS[i % 4]} {i}" for i in range(count)]
    given: dict[str, list[Any]] = {
        "prompt": prompts if as_text else [[{"role": "user", "content": p}] for p in prompts],
        "id": [str(i) for i in range(count)],
        "solution": ["Liver"] * count,
        **{name: [value(i) for i in range(count)] for name, value in columns.items()},
    }
    if any(images):
        numbers = [images[i % len(images)] for i in range(count)]
        given["images"] = [[picture(i + k) for k in range(n)] for i, n in enumerate(numbers)]
    return Dataset.from_dict(given)


def length(completions, **columns):
    """More for more characters."""
    return [len(message_text(completion)) / 10 for completion in completions]


def letters(completions, **columns):
    """More for more different characters."""
    return [len(set(message_text(completion))) / 10 for completion in completions]


# --- runs --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    """What a run is given besides the model, and how it differs from the plain one."""

    fields: Mapping[str, Any] = field(default_factory=dict)
    """Of GRPOConfig."""
    data: Callable[[], Any] = rows
    evaluated: Callable[[], Any] | None = None
    rewards: Sequence[Any] = (length,)
    peft: PeftConfig | None = None
    prepared: Callable[[Any], Any] = lambda model: model
    """What is done to the model before a trainer gets it."""
    others: Mapping[str, Any] = field(default_factory=dict)
    """Other arguments of the trainer."""


def no_promise(run: Any) -> None:
    """Nothing more than to come to an end."""


@dataclass(frozen=True)
class Behaviour(Setting):
    """A run, and what TRL promises of it."""

    holds: Callable[[Any], None] = no_promise
    """Asserts the promise of a run."""
    like: str = ""
    """A behaviour whose run ends in the same weights."""
    unlike: str = ""
    """One whose run does not: the setting has an effect."""
    warns: str = ""
    """What each trainer says."""
    falls_back: str | None = ""
    """Why ours does not share prompts, as it says; None: it may."""
    is_compared: bool = True


@dataclass
class Run:
    """What a run began with, ended with, and logged on the way."""

    trainer: Any
    before: dict[str, torch.Tensor]
    after: dict[str, torch.Tensor] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return self.trainer.state.log_history

    @property
    def moved(self) -> set[str]:
        """The weights that are not what they were."""
        return {n for n, weight in self.after.items() if not torch.equal(weight, self.before[n])}

    @property
    def completions(self) -> list[str]:
        """The last batch."""
        return [message_text(said) for said in self.trainer._logs["completion"]]


def trainer_of(kind: Any, loaded: Any, setting: Setting, folder: Any) -> Any:
    """A trainer, ready to run."""
    torch.manual_seed(1)  # what an adapter begins with is drawn
    return kind(
        **{
            "model": setting.prepared(copy.deepcopy(loaded.model)),
            "reward_funcs": list(setting.rewards),
            "args": GRPOConfig(output_dir=str(folder), **{**FIELDS, **setting.fields}),
            "train_dataset": setting.data(),
            "eval_dataset": setting.evaluated and setting.evaluated(),
            "processing_class": copy.deepcopy(loaded.processor),
            "peft_config": copy.deepcopy(setting.peft),
            **setting.others,
        }
    )


def train(kind: Any, loaded: Any, setting: Setting, folder: Any, caplog: Any) -> Run:
    """A run of one of the trainers, to its end."""
    caplog.clear()
    with caplog.at_level(logging.WARNING), pytest.MonkeyPatch.context() as patch:
        trainer = trainer_of(kind, loaded, setting, folder)
        if trainer.args.steps_per_generation > 1:
            patch.setattr(grpo_trainer, "shuffle_sequence_dict", unshuffled)
        run = Run(trainer, weights(trainer))
        trainer.train()
    run.after, run.warnings = weights(trainer), [r.getMessage() for r in caplog.records]
    return run


def unshuffled(batch: dict[str, Any]) -> dict[str, Any]:
    """A batch in the order it has, after the draw that TRL mixes it with.

    TRL mixes the rows of a generation before it splits them into passes, ours mixes groups. The sum
    over all passes is the same, one pass is not: in order, the passes are the same too.
    """
    torch.randperm(next(len(value) for value in batch.values() if value is not None))
    return batch


def weights(trainer: Any) -> dict[str, torch.Tensor]:
    """A copy of each weight by name."""
    return {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}


# --- comparison --------------------------------------------------------------------------------


def apart(one: Run, other: Run) -> float:
    """How far apart the runs' weights end, as a share of the largest change of any."""
    assert one.after.keys() == other.after.keys()
    change = max(float((w - other.before[n]).abs().max()) for n, w in other.after.items())
    distance = max(float((w - other.after[n]).abs().max()) for n, w in one.after.items())
    return distance / change if change else float(distance > 0)


def differences(ours: Run, stock: Run) -> list[str]:
    """In which of its results our run is not stock TRL's, in words."""
    found = []
    if ours.completions != stock.completions:
        found.append(f"completions {ours.completions} for {stock.completions}")
    if not apart(ours, stock) <= CLOSE:
        found.append(f"weights end {apart(ours, stock):.1e} apart")
    if len(ours.lines) != len(stock.lines):
        found.append(f"{len(ours.lines)} logged lines for {len(stock.lines)}")
    for number, (line, expected) in enumerate(zip(ours.lines, stock.lines, strict=False)):
        found += [
            f"line {number}: {name} is {line.get(name)} for {value}"
            for name, value in expected.items()
            if is_compared(name) and not is_close(line.get(name), value)
        ]
    return found


def is_compared(name: str) -> bool:
    """Whether a logged number must be the same by both trainers."""
    is_time = name.endswith(("_time", "_runtime", "_per_second"))
    return not is_time


def is_close(one: Any, other: Any) -> bool:
    """Whether two logged values are the same up to the last digits of float32."""
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=CLOSE, abs_tol=CLOSE / 10)
