"""Dynamic sampling (DAPO, arXiv 2503.14476): questions without a learning signal are replaced.

If all completions of a group have the same reward, their advantages are 0 and the policy learns
nothing from them. Such a group is replaced by the group of another question, which is sampled anew,
until all groups have different rewards or `dynamic_sampling` further draws were made.

    first draw    the questions of the batch, in the order of the data
    next draws    as many questions in each process as the process with the most groups to
                  replace needs; a group with different rewards takes the place of one without

The questions of the next draws come from an order of their own: a permutation of all questions for
each pass, seeded by the run. The position in it is one number, which checkpoints have. Every
process decides from the rewards of all processes, so all make the same number of draws.

Only sampling and rewards are done for a group that is not used. Log-probabilities, the reference
model and the loss see the groups of the final batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch

from medr1.errors import InputError

if TYPE_CHECKING:
    from trl import GRPOConfig
    from trl import GRPOTrainer as _Trainer

    from medr1.train.inputs import Batch, Row
else:
    _Trainer = object

_EQUAL = 1e-6
"""Rewards of a group that differ by less count as equal, as float32 rounds their sum."""

_COMPLETION_IDS, _COMPLETIONS, _FIELDS, _IMAGES = 1, 3, 5, 6
"""Positions in what TRL's `_generate` returns."""


@dataclass
class _Draw:
    """The completions of some questions. Lists have an entry for each row of this process."""

    rows: list[Row]
    prompts: list[Any]
    outputs: list[Any]
    """What TRL's `_generate` returned."""
    logs: dict[str, list[Any]]
    """The columns that reward functions logged."""
    rewards: torch.Tensor
    """Rewards (rows of all processes, functions)."""

    def lists(self) -> dict[str, list[Any]]:
        """All lists by name, to change them in place."""
        columns = {f"output {i}": values for i, values in enumerate(self.outputs)}
        columns |= {f"field {name}": values for name, values in self.outputs[_FIELDS].items()}
        columns |= {f"log {name}": values for name, values in self.logs.items()}
        columns |= {"row": self.rows, "prompt": self.prompts}
        return {name: values for name, values in columns.items() if isinstance(values, list)}


class DynamicSamplingMixin(_Trainer):
    """Mixin for TRL's GRPOTrainer: groups with equal rewards are replaced.

    It stands before the mixins that check or change rewards, and behind the one that logs
    completions, which then sees the final batch only.
    """

    num_generations: int
    train_dataset: Any
    dynamic_sampling: int = 0
    """The most further draws for a batch; 0: no group is replaced."""
    drawn_questions: int = 0
    """Position in the order of the questions of further draws, the same in all processes."""
    sampled_completions: int = 0
    """Number of completions sampled since the run began, in all processes."""
    _rows: list[Row]
    """The rows of the batch that is generated; replaced rows are exchanged in it."""
    _final_rewards: torch.Tensor | None = None
    """Rewards (rows of all processes, functions) of the final batch, until TRL asks for them."""

    def _generate_and_score_completions(self, inputs: list[Row]) -> Batch:
        self._rows = inputs
        batch: Batch = super()._generate_and_score_completions(inputs)
        self._rows = []
        return batch

    def _calculate_rewards(
        self,
        inputs: list[Row],
        prompts: list[object],
        completions: list[str | list[dict[str, str]]],
        completion_ids_list: list[list[int]],
    ) -> torch.Tensor:
        rewards, self._final_rewards = self._final_rewards, None
        if rewards is None:
            rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        return rewards

    def _generate(self, prompts: list[Any]) -> tuple[Any, ...]:
        if not self.dynamic_sampling or not self.model.training:  # type: ignore[union-attr]
            outputs: tuple[Any, ...] = super()._generate(prompts)
            return outputs
        batch = self._draw(self._rows, prompts)
        # lengths and other numbers of sampling are logged for the first draw, which shows what the
        # policy does on the data as it is; num_tokens counts all draws
        metrics = self._metrics["train"]
        first_metrics = {k: list(values) for k, values in metrics.items() if k != "num_tokens"}
        first_reward = self._sums(batch.rewards).nanmean().item()
        to_replace = self._groups_without_signal(batch.rewards)
        num_completions, num_draws, num_equal = len(batch.rewards), 0, int(to_replace.sum())
        while to_replace.any() and num_draws < self.dynamic_sampling:
            rows = self._next_rows(int(to_replace.sum(1).max()))
            draw = self._draw(rows, [_prompt_of(row) for row in rows])
            num_draws += 1
            num_completions += len(draw.rewards)
            self._replace_groups(batch, draw, to_replace)
        if num_draws:
            metrics.update(first_metrics)
            # TRL and shared_prefix/trainer.py go on with the images that were tokenized last
            batch.outputs[_IMAGES] = self._tokenize_prompts(prompts)[1]
        self._pending_extra_logs.update(batch.logs)
        self._final_rewards = batch.rewards
        self.sampled_completions += num_completions
        metrics["num_completions"] = [self.sampled_completions]
        for name, value in {
            "draws": num_draws,
            "frac_groups_replaced": (num_equal - int(to_replace.sum())) / to_replace.numel(),
            "sampled_per_used": num_completions / len(batch.rewards),
            "first_draw_reward": first_reward,
        }.items():
            metrics[f"dynamic_sampling/{name}"].append(float(value))
        return tuple(batch.outputs)

    def _draw(self, rows: list[Row], prompts: list[Any]) -> _Draw:
        """Sample the completions of rows, and their rewards."""
        outputs = list(super()._generate(prompts))
        rewards = super()._calculate_rewards(
            rows, prompts, outputs[_COMPLETIONS], outputs[_COMPLETION_IDS]
        )
        logs = dict(self._pending_extra_logs)
        self._pending_extra_logs.clear()
        return _Draw(rows, prompts, outputs, logs, rewards)

    def _sums(self, rewards: torch.Tensor) -> torch.Tensor:
        """The weighted sum of each row's rewards; NaN for a row that no function scored."""
        sums = (rewards * self.reward_weights.to(rewards.device)).nansum(1)
        return sums.masked_fill(rewards.isnan().all(1), torch.nan)

    def _groups_without_signal(self, rewards: torch.Tensor) -> torch.Tensor:
        """For each process and each of its groups, whether all rewards are equal."""
        values = self._sums(rewards)[:, None]
        if self.multi_objective_aggregation == "normalize_then_sum":
            values = rewards[:, self.reward_weights.to(rewards.device) != 0]
        equal = have_equal_rewards(values, self.num_generations)
        return equal.view(self.accelerator.num_processes, -1)

    def _next_rows(self, num_questions: int) -> list[Row]:
        """This process's rows of the next draw, `num_questions` in each process."""
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        start = self.drawn_questions + self.accelerator.process_index * num_questions
        self.drawn_questions += self.accelerator.num_processes * num_questions
        indices = [
            question_at(position, len(self.train_dataset), seed)
            for position in range(start, start + num_questions)
        ]
        columns = self.train_dataset[indices]
        rows = [{name: values[i] for name, values in columns.items()} for i in range(num_questions)]
        return [dict(row) for row in rows for _ in range(self.num_generations)]

    def _replace_groups(self, batch: _Draw, draw: _Draw, to_replace: torch.Tensor) -> None:
        """Put groups with different rewards in the places of those to replace, in each process."""
        size, num_processes = self.num_generations, self.accelerator.num_processes
        rewards = batch.rewards.unflatten(0, (num_processes, -1, size))
        new_rewards = draw.rewards.unflatten(0, (num_processes, -1, size))
        usable = ~self._groups_without_signal(draw.rewards)
        for process in range(num_processes):
            places = to_replace[process].nonzero().flatten().tolist()
            sources = usable[process].nonzero().flatten().tolist()
            for place, source in zip(places, sources, strict=False):
                rewards[process, place] = new_rewards[process, source]
                to_replace[process, place] = False
                if process == self.accelerator.process_index:
                    replace_rows(batch.lists(), draw.lists(), place * size, source * size, size)


def replace_rows(
    columns: Mapping[str, list[Any]],
    new_columns: Mapping[str, list[Any]],
    place: int,
    source: int,
    count: int,
) -> None:
    """Replace rows of columns in place; None where the other columns do not have a column.

    Args:
        columns: Column -> its values for each row; an empty column stays empty.
        new_columns: The same for the other rows.
        place: The first row to replace.
        source: The first row of `new_columns` to put there.
        count: Number of rows.
    """
    for name, values in columns.items():
        if values:
            new_values = new_columns.get(name) or [None] * (source + count)
            values[place : place + count] = new_values[source : source + count]


def have_equal_rewards(rewards: torch.Tensor, num_generations: int) -> torch.Tensor:
    """For each group, whether its completions have equal rewards, so that nothing is learned.

    Args:
        rewards: Rewards (rows, functions); NaN where a function gave none.
        num_generations: Number of rows in a group.
    """
    groups = rewards.view(-1, num_generations, rewards.shape[1])
    highest = groups.nan_to_num(nan=-torch.inf).amax(1)
    lowest = groups.nan_to_num(nan=torch.inf).amin(1)
    return ((highest - lowest) < _EQUAL).all(1)  # -inf if a group has no reward at all


@lru_cache(maxsize=4)
def _order(count: int, seed: int, number: int) -> tuple[int, ...]:
    generator = torch.Generator().manual_seed(seed + 1_000_003 * (number + 1))
    return tuple(torch.randperm(count, generator=generator).tolist())


def question_at(position: int, count: int, seed: int) -> int:
    """The index of a question in the order of further draws, a permutation for each pass.

    Args:
        position: Position in the order, from 0 on without an end.
        count: Number of questions.
        seed: Seed of the order.
    """
    number, offset = divmod(position, count)
    return _order(count, seed, number)[offset]


def _prompt_of(row: Row) -> Any:
    """The prompt of a row with its images in it, as TRL passes it on to generation."""
    from trl.data_utils import prepare_multimodal_messages

    images = row.get("images")
    return prepare_multimodal_messages(row["prompt"], images=images) if images else row["prompt"]


def require_complete_groups(config: GRPOConfig) -> None:
    """Raise InputError if a process's completions are no complete groups.

    Args:
        config: The configuration of the run, with dynamic sampling.
    """
    completions = config.per_device_train_batch_size * (config.steps_per_generation or 1)
    if completions % (config.num_generations or 1):
        raise InputError(
            f"dynamic sampling replaces complete groups, and each process samples {completions} "
            f"completions, which is no multiple of --num-generations {config.num_generations}. "
            "Change --batch-size."
        )
