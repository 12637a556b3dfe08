"""Dynamic sampling (DAPO, arXiv 2503.14476): questions without a learning signal are replaced.

If all completions of a group have the same reward, their advantages are 0 and the policy learns
nothing from them. Such a group is replaced by the group of another question, which is sampled anew,
until all groups have different rewards or `dynamic_sampling` further draws were made.

    first draw    the questions of the batch, in the order of the data
    next draws    as many questions in each process as the process with the most missing groups
                  needs; a group with different rewards takes the place of one without

The questions of the next draws come from an order of their own: a permutation of all questions for
each pass, seeded by the run. The position in it is one number, which checkpoints have. Every
process decides from the rewards of all processes, so all make the same number of draws.

Only sampling and rewards are done for a group that is not used. Log-probabilities, the reference
model and the loss see the groups of the final batch.
"""

from __future__ import annotations

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

_COMPLETION_IDS, _COMPLETIONS, _IMAGES = 1, 3, 6
"""Positions in what TRL's `_generate` returns."""


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
        outputs: tuple[Any, ...] = super()._generate(prompts)
        if not self.dynamic_sampling or not self.model.training:  # type: ignore[union-attr]
            return outputs
        columns = list(outputs)
        metrics, extra = self._metrics["train"], self._pending_extra_logs
        logged = {name: list(values) for name, values in metrics.items() if name != "num_tokens"}
        rewards = self._rewards_of(self._rows, prompts, columns)
        first_reward = self._sums(rewards).nanmean().item()
        missing = self._groups_without_signal(rewards)
        sampled, num_groups, num_draws = len(rewards), missing.numel(), 0
        num_missing = int(missing.sum())
        while missing.any() and num_draws < self.dynamic_sampling:
            num_draws += 1
            first_extra = {name: list(values) for name, values in extra.items()}
            extra.clear()
            rows = self._next_rows(int(missing.sum(1).max()))
            row_prompts = [_prompt_of(row) for row in rows]
            drawn = list(super()._generate(row_prompts))
            drawn_rewards = self._rewards_of(rows, row_prompts, drawn)
            sampled += len(drawn_rewards)
            drawn_extra = dict(extra)
            extra.clear()
            extra.update(first_extra)
            pairs = self._replacements(missing, self._groups_without_signal(drawn_rewards))
            for process, slot, source in pairs:
                self._replace(rewards, drawn_rewards, process, slot, source, is_gathered=True)
                missing[process, slot] = False
                if process != self.accelerator.process_index:
                    continue
                for kept, new in [
                    *((self._rows, rows), (prompts, row_prompts)),
                    *zip(columns, drawn, strict=True),
                    *((values, drawn_extra.get(name)) for name, values in extra.items()),
                ]:
                    self._replace(kept, new, process, slot, source)
        if num_draws:
            # the first draw shows what the policy does on the data as it is
            for name, values in logged.items():
                metrics[name][:] = values
            # TRL and shared_prefix/trainer.py go on with the images of the last call
            columns[_IMAGES] = self._tokenize_prompts(prompts)[1]
        self._final_rewards = rewards
        self.sampled_completions += sampled
        metrics["num_completions"] = [self.sampled_completions]
        for name, value in {
            "draws": num_draws,
            "frac_groups_replaced": (num_missing - int(missing.sum())) / num_groups,
            "sampled_per_used": sampled / len(rewards),
            "first_draw_reward": first_reward,
        }.items():
            metrics[f"dynamic_sampling/{name}"].append(float(value))
        return tuple(columns)

    def _rewards_of(self, rows: list[Row], prompts: list[Any], columns: list[Any]) -> torch.Tensor:
        """The rewards of generated rows, of all processes."""
        rewards: torch.Tensor = super()._calculate_rewards(
            rows, prompts, columns[_COMPLETIONS], columns[_COMPLETION_IDS]
        )
        return rewards

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

    def _replacements(
        self, missing: torch.Tensor, drawn_without_signal: torch.Tensor
    ) -> list[tuple[int, int, int]]:
        """Process, position in its batch, and position among its drawn groups, of each change."""
        return [
            (process, slot, source)
            for process in range(len(missing))
            for slot, source in zip(
                missing[process].nonzero().flatten().tolist(),
                (~drawn_without_signal[process]).nonzero().flatten().tolist(),
                strict=False,
            )
        ]

    def _replace(
        self,
        kept: Any,
        new: Any,
        process: int,
        slot: int,
        source: int,
        is_gathered: bool = False,
    ) -> None:
        """Put the rows of a drawn group in the place of those of another; nothing if empty."""
        if isinstance(kept, dict):
            for name, values in kept.items():
                self._replace(values, new[name], process, slot, source)
            return
        if not isinstance(kept, list | torch.Tensor) or not len(kept) or new is None:
            return
        size, num_processes = self.num_generations, self.accelerator.num_processes
        to, of = slot * size, source * size
        if is_gathered:
            to += process * len(kept) // num_processes
            of += process * len(new) // num_processes
        kept[to : to + size] = new[of : of + size]


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
