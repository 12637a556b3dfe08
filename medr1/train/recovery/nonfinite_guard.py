"""A mixin for trainers that ends a run at the first loss, gradient or weight that is not finite.

transformers' Trainer replaces a loss that is NaN by the average of the losses before it. So a run
whose weights are lost continues to its end and reports a normal loss. Here the loss of each batch
and the norm of each gradient are checked before the optimizer steps, so the weights stay as they
were. The weights are checked before each generation and before they are saved, because a finite
update can still make them too large for their dtype.

Each check waits for the device. That is once per batch (Trainer's own check, which is off here,
waits twice), once per update, and twice per generation, which waits for each token anyway.

Several processes end together, with the same message: each gathers the losses of all processes
before it checks them, and also the findings on their weights and rewards.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import gather, gather_object
from torch.nn.utils import get_total_norm

from medr1.errors import NonFiniteError

if TYPE_CHECKING:
    from trl import GRPOTrainer as _Trainer

    from medr1.train.inputs import Batch, Row
else:
    _Trainer = object

_MOST_NAMES = 5
"""Number of items that a message names; it counts the others."""
_LEAST_SCALE = 1.0
"""The lowest scale of the loss in float16. At it, gradients that overflow are too large themselves:
it is not the scale that makes them overflow."""


class NonFiniteGuardMixin(_Trainer):
    """A mixin before one of TRL's trainers, which raises NonFiniteError before a bad update.

    The message has the step and the items. `items` are the ids of the items of the current batch,
    `items_of_update` those of all batches since the last update.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.args.logging_nan_inf_filter = False
        self.items: list[str] = []
        self.items_of_update: list[str] = []

    def _generate_and_score_completions(self, inputs: list[Row]) -> Batch:
        self.require_finite_weights()
        try:
            batch = super()._generate_and_score_completions(inputs)
        except RuntimeError as error:
            if "probability tensor contains" not in str(error):
                raise
            raise self._stop_error(
                "a probability of the next token", "not finite", _ids(inputs)
            ) from None
        return {**batch, "items": _ids(inputs)}  # TRL shuffles and splits lists like tensors

    def _calculate_rewards(
        self,
        inputs: list[Row],
        prompts: list[object],
        completions: Sequence[object],
        completion_ids_list: list[list[int]],
    ) -> torch.Tensor:
        messages = []
        try:
            rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        except NonFiniteError as error:
            # the other processes wait in TRL's gather for this one, so it takes part, with NaN
            messages = [str(error)]
            shape = (len(prompts), len(self.reward_funcs))
            rewards = gather(torch.full(shape, math.nan, device=self.accelerator.device))
        if rewards.isnan().any() and (all_messages := gather_object(messages)):
            raise NonFiniteError(all_messages[0])
        return rewards

    def _prepare_inputs(self, generation_batch: list[Row] | Batch) -> Batch:
        batch = super()._prepare_inputs(generation_batch)
        self.items = list(batch.get("items", ()))
        return {k: v for k, v in batch.items() if k != "items"} if self.items else batch

    def training_step(
        self,
        model: torch.nn.Module,
        inputs: list[Row] | Batch,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """The loss of a batch, after its backward pass; NonFiniteError if it is not finite."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.items_of_update += self.items
        losses = self.accelerator.gather(loss.detach().reshape(1))
        if not math.isfinite(losses.sum()):
            is_bad = not math.isfinite(loss)
            items = gather_object(self.items if is_bad else [])
            value = next(float(other) for other in losses if not math.isfinite(other))
            raise self._stop_error("the loss", value, items)
        return loss

    def _get_grad_norm(
        self, model: torch.nn.Module, grad_norm: torch.Tensor | float | None = None
    ) -> torch.Tensor | float | None:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        items, self.items_of_update = self.items_of_update, []
        if norm is None or math.isfinite(norm):
            return norm
        if self._will_be_scaled_down():
            return None
        raise self._stop_error("the gradient norm", float(norm), gather_object(items))

    def _will_be_scaled_down(self) -> bool:
        """Whether a float16 run leaves out this update and lowers the scale of its loss."""
        scaler = self.accelerator.scaler
        if scaler is not None:
            return bool(scaler.get_scale() > _LEAST_SCALE)
        return bool(self.args.fp16)  # DeepSpeed has its own scaler, which also ends hopeless runs

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save as Trainer does, if all weights are finite.

        Args:
            output_dir: The folder to save to; None for the trainer's own.
            _internal_call: Whether Trainer itself calls this.

        Raises:
            NonFiniteError: A weight is not finite.
        """
        self.require_finite_weights()
        super().save_model(output_dir, _internal_call)

    def require_finite_weights(self) -> None:
        """Raise NonFiniteError, on all processes, if a weight of any process is not finite."""
        weights = _local_weights(self.accelerator.unwrap_model(self.model))
        largest = get_total_norm(weights.values(), math.inf).to(self.accelerator.device)
        if self.accelerator.gather(largest.float().isfinite().reshape(1)).all():
            return
        bad_names = gather_object(
            [name for name, weight in weights.items() if not weight.isfinite().all()]
        )
        step = self.state.global_step
        cause = (
            f"after step {step}. The update was too large: lower learning_rate or max_grad_norm"
            if step
            else "in the checkpoint. Train from another one"
        )
        raise NonFiniteError(f"the weight {bad_names[0]} has a value that is not finite {cause}.")

    def _stop_error(self, what: str, value: object, items: Sequence[str]) -> NonFiniteError:
        return NonFiniteError(
            f"{what} is {value} in step {self.state.global_step + 1}{_item_list(items)}; stopped "
            "before the update. Check these items, lower learning_rate, or try --dtype float32."
        )


def _local_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Name -> the part of a weight that is on this process: all of it without FSDP and ZeRO."""
    parts = {}
    for name, weight in model.named_parameters():
        if hasattr(weight, "ds_tensor"):
            weight = weight.ds_tensor
        elif hasattr(weight, "to_local"):
            weight = weight.to_local()
        if weight.numel() and weight.is_floating_point() and weight.element_size() > 1:
            parts[name] = weight.detach()
    return parts


def _ids(rows: Sequence[Row]) -> list[str]:
    return [str(row.get("id")) for row in rows]


def _item_list(items: Sequence[str]) -> str:
    """Items for a message, such as " (items 'a', 'b' and 3 more)"; "" without any."""
    names = list(dict.fromkeys(items))
    if not names:
        return ""
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f" (items {', '.join(map(repr, names[:_MOST_NAMES]))}{more})"
