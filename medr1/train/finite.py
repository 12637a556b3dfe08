"""A trainer that stops at the first loss, gradient or weight that is not a finite number.

transformers' Trainer puts the average of the losses before it in the place of one that is NaN, and
so a run whose weights are lost goes on to its end and reports a fine loss. Here the loss of every
batch and the norm of every gradient are looked at before the optimizer steps, so that weights stay
what they were; and the weights before each generation and before they are saved, since an update
that is finite can still carry them out of range.

The device is waited for once a batch, where Trainer's own check, which is off here, waits twice,
once an update, and twice a generation, which waits for every token. Several processes end together,
with the same sentence: a loss is gathered from all of them before it is judged, and so are the
verdicts on the weights that each one holds and on its rewards.
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
else:
    _Trainer = object

_NAMED = 5
"""Items named in the sentence; the others are counted."""
_LEAST_SCALE = 1.0
"""Of the loss, in float16: below it the gradients overflow by themselves, and not by the scale."""


class NonFiniteGuardMixin(_Trainer):
    """Before one of TRL's trainers: NonFiniteError with step and items, before the update."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.args.logging_nan_inf_filter = False
        self.items: list[str] = []
        self.items_of_update: list[str] = []

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self.require_finite_weights()
        try:
            batch = super()._generate_and_score_completions(inputs)
        except RuntimeError as error:
            if "probability tensor contains" not in str(error):
                raise
            raise self._stopped(
                "a probability of the next token", "no number", _ids(inputs)
            ) from None
        return {**batch, "items": _ids(inputs)}  # TRL shuffles and splits lists as it does tensors

    def _calculate_rewards(
        self, inputs: Any, prompts: list[Any], completions: Any, completion_ids_list: Any
    ) -> Any:
        said = []
        try:
            rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        except NonFiniteError as error:  # the other processes wait where TRL gathers
            said = [str(error)]
            shape = (len(prompts), len(self.reward_funcs))
            rewards = gather(torch.full(shape, math.nan, device=self.accelerator.device))
        if rewards.isnan().any() and (sentences := gather_object(said)):
            raise NonFiniteError(sentences[0])
        return rewards

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        batch = super()._prepare_inputs(generation_batch)
        self.items = list(batch.get("items", ()))
        return {k: v for k, v in batch.items() if k != "items"} if self.items else batch

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.items_of_update += self.items
        losses = self.accelerator.gather(loss.detach().reshape(1))
        if not math.isfinite(losses.sum()):
            bad = not math.isfinite(loss)
            items = gather_object(self.items if bad else [])
            value = next(float(one) for one in losses if not math.isfinite(one))
            raise self._stopped("the loss", value, items)
        return loss

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        items, self.items_of_update = self.items_of_update, []
        if norm is None or math.isfinite(norm):
            return norm
        if self._will_be_scaled_down():
            return None
        raise self._stopped("the gradient norm", float(norm), gather_object(items))

    def _will_be_scaled_down(self) -> bool:
        """Whether the scaler of a float16 run, which leaves out such updates, can still help."""
        scaler = self.accelerator.scaler
        if scaler is not None:
            return bool(scaler.get_scale() > _LEAST_SCALE)
        return bool(self.args.fp16)  # DeepSpeed scales, and stops, by itself

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        self.require_finite_weights()
        super().save_model(output_dir, _internal_call)

    def require_finite_weights(self) -> None:
        """Raise NonFiniteError, in all processes, where a weight of one is not finite."""
        held = _held_weights(self.accelerator.unwrap_model(self.model))
        largest = get_total_norm(held.values(), math.inf).to(self.accelerator.device)
        if self.accelerator.gather(largest.float().isfinite().reshape(1)).all():
            return
        bad = gather_object([name for name, weight in held.items() if not weight.isfinite().all()])
        step = self.state.global_step
        cause = (
            f"after step {step}; the update was too large: lower learning_rate, or max_grad_norm"
            if step
            else "in the checkpoint; train from another"
        )
        raise NonFiniteError(f"the weight {bad[0]} holds what is no finite number {cause}.")

    def _stopped(self, what: str, value: object, items: Sequence[str]) -> NonFiniteError:
        return NonFiniteError(
            f"{what} is {value} in step {self.state.global_step + 1}{_named(items)}; stopped "
            "before the update. Look at these items, lower learning_rate, or try --dtype float32."
        )


def _held_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Name -> what this process holds of a weight, where FSDP or ZeRO splits it over all."""
    found = {}
    for name, weight in model.named_parameters():
        if hasattr(weight, "ds_tensor"):
            weight = weight.ds_tensor
        elif hasattr(weight, "to_local"):
            weight = weight.to_local()
        if weight.numel() and weight.is_floating_point() and weight.element_size() > 1:
            found[name] = weight.detach()
    return found


def _ids(rows: Sequence[dict[str, Any]]) -> list[str]:
    return [str(row.get("id")) for row in rows]


def _named(items: Sequence[str]) -> str:
    """Such as " (items 'a', 'b' and 3 more)"; empty where none is known."""
    once = list(dict.fromkeys(items))
    if not once:
        return ""
    more = f" and {len(once) - _NAMED} more" if len(once) > _NAMED else ""
    return f" (items {', '.join(map(repr, once[:_NAMED]))}{more})"
