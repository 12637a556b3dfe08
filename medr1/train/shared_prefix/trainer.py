"""GRPO that runs the prompt of a group once instead of G times: TRL's trainer, with four parts on
prompts instead of rows.

    prompts      tokenized, and their images processed, once for each group
    generation   the prompt run once, its cache repeated G times (generation.py)
    log-probs    one pass over the prompt with all its completions behind it (packing.py)
    loss         no backward pass for groups whose gradient is exactly 0

The numbers are those of stock TRL: log-probabilities, gradients, sampled tokens, logged values, the
order of random draws. There is one exception: if a generation is split into several passes, TRL
splits it at any row, and this trainer between groups, or between equal parts of groups if they do
not fit. Each pass then has other rows; all of
them together have the same. If sharing is not possible, a batch or the complete run is computed by
TRL's own code (`unsupported_reason`).

Shapes: P prompts, G completions of each, N prompt tokens, C completion tokens, T packed tokens; Q
and R groups with and without a gradient.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from trl import GRPOTrainer

from medr1.train.dry_run.plan import NOT_SHARED
from medr1.train.dry_run.trl_limits import not_shared_reason
from medr1.train.inputs import Batch, Row
from medr1.train.shared_prefix.attention import SHARED_ATTENTIONS, use_shared_attention
from medr1.train.shared_prefix.generation import (
    STATIC,
    Backbone,
    ConditionalModel,
    SharedGeneration,
)
from medr1.train.shared_prefix.groups import (
    GradientSplit,
    Groups,
    groups_from_rows,
    groups_to_rows,
    repeat_images,
    rows_to_groups,
)
from medr1.train.shared_prefix.packing import pack_by_image, unpack

if TYPE_CHECKING:
    from PIL.Image import Image
    from transformers import BatchFeature, PreTrainedModel, ProcessorMixin
    from trl import GRPOConfig

    Images = list[list[Image]]
    Features = tuple[BatchFeature, list[str]]

T = TypeVar("T")
logger = logging.getLogger("medr1")

SUPPORTED_GENERATION_KWARGS = {
    *("temperature", "top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff"),
    *("eta_cutoff", "do_sample", "repetition_penalty", "encoder_repetition_penalty"),
    *("no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids", "suppress_tokens"),
    *("begin_suppress_tokens", "forced_eos_token_id", "sequence_bias", "min_length"),
    *("exponential_decay_length_penalty", "min_new_tokens", "max_new_tokens", "eos_token_id"),
}
"""The keys of generation_kwargs for which tests show stock TRL's tokens on shared prompts. Others
may change the number of rows or the cache."""


def unsupported_reason(trainer: SharedPrefixTrainer) -> str | None:
    """Why the prompts of a run cannot be shared, as a phrase; None if they can."""
    text = trainer.model.config.get_text_config()
    not_shared = not_shared_reason(trainer.model, trainer.args)
    attention = text._attn_implementation
    adapter = getattr(trainer.model, "active_peft_config", None)
    cache_kind = trainer.args.cache_implementation
    tools = (trainer.tools, trainer.environment_factories, trainer.rollout_func)
    untested_kwargs = (
        []
        if trainer.use_vllm
        else sorted({*(trainer.args.generation_kwargs or ())} - SUPPORTED_GENERATION_KWARGS)
    )
    reasons = {
        str(not_shared): not_shared is not None,
        "tools, environments and rollout functions add text to the prompt": any(tools),
        f"attention {attention} is not one of {', '.join(SHARED_ATTENTIONS)}": (
            attention not in (*SHARED_ATTENTIONS, *SHARED_ATTENTIONS.values())
        ),
        "layers with a sliding window see only a part of the prompt": (
            "sliding_attention" in (getattr(text, "layer_types", None) or ())
        ),
        "an adapter with virtual tokens has a prompt of its own": (
            adapter is not None and adapter.is_prompt_learning
        ),
        f"cache_implementation is {cache_kind}, not {STATIC}": cache_kind not in (None, STATIC),
        f"{', '.join(untested_kwargs)} in generation_kwargs may need other rows or another cache": (
            bool(untested_kwargs)
        ),
        "this version of transformers processes images in another way": (
            not hasattr(trainer.processing_class, "_process_images")
        ),
    }
    return next((reason for reason, applies in reasons.items() if applies), None)


class SharedPrefixTrainer(GRPOTrainer):
    """TRL's GRPOTrainer, with each prompt run once for all its completions.

    TRL's methods work on rows, one per completion. Between generation and the loss, a batch has one
    row per prompt (`rows_to_groups`), so that TRL's shuffling and splitting moves complete groups,
    or equal parts of groups if a batch is too small for a group or splits one.
    `_compute_loss` makes rows again and lets TRL compute the loss from them.
    """

    model: PreTrainedModel
    args: GRPOConfig
    processing_class: ProcessorMixin
    num_generations: int
    num_generations_eval: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._group_size = 0
        """G while methods work on groups; 0 while they work on rows, as TRL does."""
        self._gradient_split: GradientSplit | None = None
        """Which groups of the current loss need a gradient; None: all."""
        self._warned_row_fallback = False
        self._generation = SharedGeneration()
        self._image_features: list[Features] = []
        """What the processor made of the images of the prompts that were tokenized last."""
        reason = unsupported_reason(self)
        self._shares = reason is None
        if reason:
            self._warn_not_shared(reason)
            return
        for model in filter(None, (self.model, self.ref_model)):
            use_shared_attention(self.accelerator.unwrap_model(model))

    def _warn_not_shared(self, reason: str) -> None:
        if self.accelerator.is_main_process:
            logger.warning(NOT_SHARED, reason)

    @contextmanager
    def _sharing(self, num_generations: int, split: GradientSplit | None = None) -> Iterator[None]:
        """Within the block, TRL's methods that are called work on groups."""
        self._group_size, self._gradient_split = num_generations, split
        try:
            yield
        finally:
            self._group_size, self._gradient_split = 0, None

    def _generate_and_score_completions(self, inputs: list[Row]) -> Batch:
        model = self.model
        num_generations = self.num_generations if model.training else self.num_generations_eval
        if not self._shares:
            return super()._generate_and_score_completions(inputs)
        if not are_complete_groups(inputs, num_generations):
            if not self._warned_row_fallback:
                self._warn_not_shared(
                    f"a batch of {len(inputs)} rows has no complete groups of {num_generations}"
                )
                self._warned_row_fallback = True
            return super()._generate_and_score_completions(inputs)
        with (
            self._sharing(num_generations),
            process_images_once(self.processing_class, num_generations) as self._image_features,
        ):
            batch = super()._generate_and_score_completions(inputs)
        if not model.training:
            return rows_to_groups(batch, num_generations)
        # A batch that a group does not fit gets parts of groups: each of them is a group there.
        part = math.gcd(num_generations, self.args.per_device_train_batch_size)
        # TRL shuffles a batch with a random permutation of its rows. Of parts instead of rows it
        # draws fewer numbers: draw the others here, so that all later random numbers are those of
        # stock TRL. (randperm(n) draws n - 1 numbers.)
        torch.randperm(len(inputs) - len(inputs) // part + 1)
        return rows_to_groups(repeat_images(batch, num_generations, part), part)

    def _tokenize_prompts(
        self, prompts: list[object]
    ) -> tuple[list[list[int]], Images | None, Batch]:
        num_generations = self._group_size
        if not num_generations:
            return super()._tokenize_prompts(prompts)
        # Dynamic sampling tokenizes several times; the images of the last time are used.
        self._image_features.clear()
        ids, images, fields = super()._tokenize_prompts(prompts[::num_generations])
        images = images and repeat_each(images, num_generations)
        return repeat_each(ids, num_generations), images, fields

    def _generate_single_turn(
        self,
        prompt_ids: list[list[int]],
        images: Images | None,
        multimodal_fields: Batch,
        num_generations: int,
        has_tool_images: bool = False,
    ) -> tuple[list[list[int]], list[list[float]] | None]:
        model = inner_model(self.accelerator.unwrap_model(self.model))
        num_images = [len(row) for row in images[:: self._group_size or 1]] if images else []
        with self._generation.patch_generate(model, self._group_size, num_images):
            return super()._generate_single_turn(
                prompt_ids, images, multimodal_fields, num_generations, has_tool_images
            )

    def _get_per_token_logps_and_entropies(
        self,
        model: torch.nn.Module,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        **inputs: torch.Tensor | list[int] | None,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        num_generations = self._group_size
        if not num_generations:
            return super()._get_per_token_logps_and_entropies(
                *(model, input_ids, attention_mask, logits_to_keep, batch_size),
                *(compute_entropy, compute_aux_loss),
                **inputs,
            )
        # logits_to_keep is the length of the completions, C
        groups = groups_from_rows(
            input_ids, attention_mask, logits_to_keep, num_generations, inputs
        )
        groups_per_pass = max(1, (batch_size or len(input_ids)) // num_generations)
        split = self._gradient_split
        indices = split.with_gradient if split else range(groups.num_prompts)
        logps_PGC, entropies_PGC = self._score_groups(model, groups, indices, groups_per_pass)
        if split:
            # The loss does not need these groups, but TRL logs means over all completions.
            with torch.no_grad():
                logps_RGC, entropies_RGC = self._score_groups(
                    model, groups, split.without_gradient, groups_per_pass
                )
            # only a reference model has no entropies, and the loss does not run it
            assert entropies_PGC is not None and entropies_RGC is not None
            logps_PGC = split.merge(logps_PGC, logps_RGC)
            entropies_PGC = split.merge(entropies_PGC, entropies_RGC)
        if not compute_entropy:
            return logps_PGC.flatten(0, 1), None, None
        assert entropies_PGC is not None
        return logps_PGC.flatten(0, 1), entropies_PGC.flatten(0, 1), None

    def _score_groups(
        self, model: torch.nn.Module, groups: Groups, indices: Sequence[int], groups_per_pass: int
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Log-probabilities and entropies (Q, G, C) of the Q groups at these indices."""
        logps, entropies = [], []
        length = groups.completion_ids_PGC.shape[-1]
        for start in range(0, len(indices), groups_per_pass):
            selected = groups.select(indices[start : start + groups_per_pass])
            logps_PGC, entropy_PGC = self._score(model, selected)
            # `select` removes the columns that are padding in all selected groups: add them again.
            padding = (0, length - logps_PGC.shape[-1])
            logps.append(torch.nn.functional.pad(logps_PGC, padding))
            if entropy_PGC is not None:
                entropies.append(torch.nn.functional.pad(entropy_PGC, padding))
        return torch.cat(logps), torch.cat(entropies) if entropies else None

    def _score(
        self, model: torch.nn.Module, groups: Groups
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Log-probabilities and entropies (P, G, C) of the completions, in one pass.

        The entropies are None if the model does not compute them, as a reference model.
        """
        inner = inner_model(self.accelerator.unwrap_model(model))
        packed = pack_by_image(groups, prompt_positions(inner.model, groups)[0])
        image_inputs = {}
        if packed.patches:
            image_inputs["pixel_values"] = torch.cat(list(packed.patches))
            image_inputs["image_grid_thw"] = torch.cat(list(packed.grids))
        # The layout has the real mask. A mask of four axes is passed on as it is, so the model
        # makes no mask of the size T x T.
        placeholder_mask = packed.ids_PT.new_ones((len(packed.ids_PT), 1, 1, 1), dtype=torch.bool)
        with self.accelerator.autocast():
            outputs = model(
                input_ids=packed.ids_PT,
                position_ids=packed.positions_3PT,
                attention_mask=placeholder_mask,
                layout=packed.layout,
                # TRL's head computes log-probabilities of these labels, without all logits
                shift_labels=packed.labels_PT,
                fused_lm_head=True,
                **image_inputs,
            )
        logps_PGC, entropy_PT = unpack(outputs.log_probs, packed), outputs.entropy
        return logps_PGC, None if entropy_PT is None else unpack(entropy_PT, packed)

    def _compute_loss(self, model: torch.nn.Module, inputs: Batch) -> torch.Tensor:
        if inputs["prompt_ids"].ndim == 2:  # rows: the batch was generated without sharing
            return super()._compute_loss(model, inputs)
        mode = "train" if self.model.training else "eval"
        with self._sharing(inputs["prompt_ids"].shape[1], self._split_by_gradient(inputs, mode)):
            return super()._compute_loss(model, groups_to_rows(inputs))

    def _split_by_gradient(self, inputs: Batch, mode: str) -> GradientSplit | None:
        """Which groups the loss depends on; None if it depends on all of them, in every process.

        If all rewards of a group are equal, its advantages are 0 and so is its gradient. That holds
        only if the loss is the advantage term alone: with a KL term, an entropy bonus, a quantile
        of entropies or the term of PAPO, every token matters.
        """
        needs_gradient_P = (inputs["advantages"] != 0).flatten(1).any(-1)
        has_papo = bool(getattr(self, "papo", 0))  # of masked_image.py
        others = self.beta != 0 or self._entropy_bonus_enabled or self.top_entropy_quantile < 1
        if others or has_papo:
            needs_gradient_P = torch.ones_like(needs_gradient_P)
        # At least one group has a gradient, so that every weight has one, in every process.
        with_gradient = needs_gradient_P.nonzero().flatten().tolist() or [0]
        without_gradient = [
            number for number in range(len(needs_gradient_P)) if number not in with_gradient
        ]
        share = torch.tensor(
            len(without_gradient) / len(needs_gradient_P), device=self.accelerator.device
        )
        shares = self.accelerator.gather(share)
        self._metrics[mode]["frac_groups_left_out"].append(shares.mean().item())
        if not shares.any():
            return None
        # If another process makes a pass without a gradient, this one has to make one too, even if
        # it has no such group: with sharded weights, all processes take part in every pass.
        return GradientSplit(with_gradient, without_gradient or with_gradient[:1])


def inner_model(model: Any) -> ConditionalModel:
    """The conditional model: the one within the adapter, or the model itself without an adapter."""
    inner: ConditionalModel = model.get_base_model() if hasattr(model, "get_base_model") else model
    return inner


def prompt_positions(backbone: Backbone, groups: Groups) -> tuple[torch.Tensor, torch.Tensor]:
    """The prompts' positions (3, P, N) in time, height and width, and the rope deltas (P, 1)."""
    return backbone.get_rope_index(
        groups.prompt_ids_PN,
        mm_token_type_ids=groups.is_image_PN,
        image_grid_thw=torch.cat(list(groups.grids)) if groups.grids else None,
        attention_mask=groups.prompt_mask_PN,
    )


def are_complete_groups(inputs: Sequence[Row], num_generations: int) -> bool:
    """Whether the rows are groups of G rows, each with one prompt and the same images."""
    if len(inputs) % num_generations:
        return False
    prompts = [[row.get(name) for name in ("prompt", "images", "image")] for row in inputs]
    return all(prompts[i] == prompts[i - i % num_generations] for i in range(len(prompts)))


def repeat_each(values: Sequence[T], times: int) -> list[T]:
    """Each value several times, next to each other: [a, b] twice is [a, a, b, b]."""
    return [value for value in values for _ in range(times)]


@contextmanager
def process_images_once(processor: Any, num_generations: int) -> Iterator[list[Features]]:
    """Within the block, the processor makes patches of the prompts' images only once.

    TRL processes the images twice: those of the prompts, to generate, and those of all rows, to
    train. The second call gets the patches of the first, and its image texts (the placeholders of
    an image's tokens) repeated for all rows.

    Args:
        processor: The processor of the model.
        num_generations: Number of rows of a prompt.

    Yields:
        The patches and texts of the first call, in a list: if it is cleared, the next call counts
        as the first.
    """
    process = processor._process_images
    last_features: list[Features] = []

    def process_once(images: Images, **kwargs: object) -> Features:
        if not last_features:
            last_features.append(process(images, **kwargs))
            return last_features[0]
        patches, texts = last_features[0]
        # `texts` is a flat list over the images of all prompts; a prompt may have several images.
        remaining_texts = iter(texts)
        texts_of_prompts = [
            [next(remaining_texts) for _ in row] for row in images[::num_generations]
        ]
        texts_of_rows = repeat_each(texts_of_prompts, num_generations)
        return patches, [text for row_texts in texts_of_rows for text in row_texts]

    processor._process_images = process_once
    try:
        yield last_features
    finally:
        del processor._process_images
