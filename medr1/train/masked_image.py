"""PAPO, Perception-Aware Policy Optimization (arXiv 2507.06448): completions need the image.

    d_t = log pi(o_t | masked image, question, o_<t) - log pi(o_t | image, question, o_<t)
    k_t = exp(d_t) - d_t - 1       Schulman's estimate of KL(pi with image || pi with masked image)
    H_t = entropy of pi(. | image, question, o_<t) + the same with the masked image
    L   = L_GRPO - papo * (mean of k_t) + papo_entropy * (mean of H_t)

The means are over all tokens of an update. A mask makes each patch of an image black with
probability 0.6, as in the paper. The policy scores the same completions with the masked images in
one more pass. Both passes have a gradient, as the paper's objective is written. (The authors' code
computes the second before the update and takes it as constant. Then its term can fall, because an
update also changes what the policy does with masked images.) The divergence is raised, and has no
upper bound: so k_t is limited to 10 nats, as in the authors' code, and a token at the limit has no
gradient. The term with H_t is the paper's double entropy loss.

A mask depends on the seed of the run, the step of the rollout and the question, and draws nothing
from the run's random numbers. All completions of a question in a rollout have the same mask, also
in a second update, so the pass with masked images shares prompts like any other. Two questions
about one image have different masks, and share nothing in this pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from medr1.errors import InputError
from medr1.models.families.choice import SHARING_TYPES
from medr1.models.loading import LoadedModel
from medr1.records import Sample
from medr1.train.shared_prefix.groups import images_by_prompt

if TYPE_CHECKING:
    from transformers import ProcessorMixin
    from trl import GRPOConfig
    from trl import GRPOTrainer as _Trainer

    from medr1.train.inputs import Batch, Row
else:
    _Trainer = object

MASKED_SHARE = 0.6
"""The probability that a patch is masked."""
MOST_KL = 10.0
"""The limit of the estimate for one token, in nats."""
_MOST_DIFFERENCE = 20.0
"""The limit of the difference of log-probabilities, in nats: its exponential stays finite."""
_PRIME = 1_000_003


class MaskedImageMixin(_Trainer):
    """Mixin for TRL's GRPOTrainer: the loss has the term of PAPO.

    It is the first in the list of base classes.
    """

    args: GRPOConfig
    papo: float = 0.0
    """The coefficient of the divergence; 0: no pass with masked images is made."""
    papo_entropy: float = 0.0
    """The coefficient of the entropies."""
    black_patch: torch.Tensor | None = None
    """A black patch, as the processor makes it (values of a patch)."""
    _masked_pixels: torch.Tensor | None = None
    """While the loss is computed: the images of its batch with masked patches."""
    _kl_BC: torch.Tensor
    """The estimate for each token of the batch."""
    _entropies_BC: torch.Tensor | None
    """The sum of both entropies for each token of the batch; None with a coefficient of 0."""

    def _generate_and_score_completions(self, inputs: list[Row]) -> Batch:
        batch: Batch = super()._generate_and_score_completions(inputs)
        if not self.papo:
            return batch
        step = self.state.global_step
        seeds = [mask_seed(self.args.seed, step, int(row["index"])) for row in inputs]
        # TRL shuffles and splits it like the other tensors: one number for each completion
        rows = batch["prompt_ids"].shape[:-1]
        return {**batch, "mask_seeds": torch.tensor(seeds).view(rows)}

    def _get_per_token_logps_and_entropies(self, *args: Any, **inputs: Any) -> Any:
        outputs = super()._get_per_token_logps_and_entropies(*args, **inputs)
        if self._masked_pixels is not None:
            inputs |= {"pixel_values": self._masked_pixels, "compute_aux_loss": False}
            masked = super()._get_per_token_logps_and_entropies(*args, **inputs)
            self._kl_BC = token_kl(outputs[0], masked[0])
            self._entropies_BC = outputs[1] + masked[1] if self.papo_entropy else None
        return outputs

    def _compute_loss(self, model: torch.nn.Module, inputs: Batch) -> torch.Tensor:
        if not self.papo:
            loss: torch.Tensor = super()._compute_loss(model, inputs)
            return loss
        patches, _ = images_by_prompt(
            inputs["pixel_values"], inputs["image_grid_thw"], inputs["num_images"]
        )
        # one seed for each completion, (P, G) or (B): those of a group are equal
        seeds = inputs["mask_seeds"].reshape(len(patches), -1)[:, 0]
        assert self.black_patch is not None
        self._masked_pixels = torch.cat(
            [
                mask_patches(values, self.black_patch, int(seed))
                for values, seed in zip(patches, seeds, strict=True)
            ]
        )
        try:
            loss = super()._compute_loss(model, inputs)
        finally:
            self._masked_pixels = None
        mask_BC, tokens = inputs["completion_mask"].flatten(0, -2), self._tokens_of_update(inputs)
        total = (self._kl_BC * mask_BC).sum()
        self._log_kl(total, mask_BC)
        loss = loss - self.papo * total / tokens
        if self._entropies_BC is not None:
            loss = loss + self.papo_entropy * (self._entropies_BC * mask_BC).sum() / tokens
        del self._kl_BC, self._entropies_BC  # with the graph behind them
        return loss

    def _tokens_of_update(self, inputs: Batch) -> torch.Tensor:
        """The tokens of an update in each process, on average, as TRL's dapo loss counts them."""
        tokens: torch.Tensor = inputs["num_items_in_batch"].clamp(min=1.0)
        tokens = tokens / self.accelerator.num_processes
        if not self.model.training:  # type: ignore[union-attr]
            return tokens
        passes = self.current_gradient_accumulation_steps
        tokens = tokens * passes / (self.args.steps_per_generation or 1)
        return tokens

    def _log_kl(self, total: torch.Tensor, mask_BC: torch.Tensor) -> None:
        """Log the mean over the tokens of all processes."""
        mode = "train" if self.model.training else "eval"  # type: ignore[union-attr]
        sums = torch.stack([total.detach(), mask_BC.sum().to(total.dtype)])
        sums = self.accelerator.reduce(sums, reduction="sum")
        self._metrics[mode]["perception_kl"].append((sums[0] / sums[1].clamp(min=1.0)).item())


def mask_seed(seed: int, step: int, index: int) -> int:
    """The seed of the mask of a question's images.

    Args:
        seed: The seed of the run.
        step: The step in which the completions were sampled.
        index: The position of the question in the training set.
    """
    return ((seed * _PRIME + step) * _PRIME + index) % 2**63


def mask_patches(patches: torch.Tensor, black_patch: torch.Tensor, seed: int) -> torch.Tensor:
    """Patches, of which a random part is black.

    Args:
        patches: The patches of a question's images, one a row, as the processor makes them.
        black_patch: A black patch, as the processor makes it.
        seed: The seed of the mask (`mask_seed`).
    """
    generator = torch.Generator().manual_seed(seed)
    is_masked = torch.rand(len(patches), generator=generator) < MASKED_SHARE
    return torch.where(is_masked.to(patches.device)[:, None], black_patch.to(patches), patches)


def black_patch(processor: ProcessorMixin) -> torch.Tensor:
    """A row of `pixel_values` for a black patch.

    Args:
        processor: The processor of a Qwen-VL.
    """
    from PIL import Image

    image_processor: Any = processor.image_processor
    image = Image.new("RGB", (224, 224))
    patches: torch.Tensor = image_processor([image], return_tensors="pt")["pixel_values"]
    return patches[0]


def token_kl(logps: torch.Tensor, masked_logps: torch.Tensor) -> torch.Tensor:
    """The estimate of the KL divergence for each token, in nats, at most `MOST_KL`.

    Args:
        logps: Log-probabilities with the image.
        masked_logps: Log-probabilities of the same tokens with the masked image.
    """
    difference = (masked_logps - logps).clamp(-_MOST_DIFFERENCE, _MOST_DIFFERENCE)
    return (difference.exp() - difference - 1).clamp(max=MOST_KL)


def require_maskable(loaded: LoadedModel, samples: Sequence[Sample]) -> None:
    """Check that every question has an image whose patches can be masked.

    Args:
        loaded: The model; an outline without weights is enough.
        samples: The questions to train on.

    Raises:
        InputError: The model is no Qwen-VL, or an item has no image.
    """
    kind = loaded.model.config.model_type
    if kind not in SHARING_TYPES:
        raise InputError(
            f"--papo masks patches of images, which is possible with {', '.join(SHARING_TYPES)}, "
            f"and this model is a {kind}. Leave it out."
        )
    for sample in samples:
        if not sample.images:
            raise InputError(f"item {sample.id} has no image that --papo could mask. Leave it out.")
