"""GRPO that pays for the image and the question once, not G times: TRL's trainer, four parts of it
on prompts instead of rows.

    prompts      tokenized, and their images processed, once for each group
    generation   the prompt run once, its keys and values repeated, then transformers' `generate`
    log-probs    one pass over the prompt with all its completions behind it (packing.py)
    loss         groups without advantage get no backward pass where that is exact

The numbers are those of stock TRL: log-probabilities, gradients, sampled tokens, logged values, the
order of random draws. Where a generation is split into several passes, it is split between groups,
where TRL splits it anywhere: each pass has other rows, and all of them together the same. Where
sharing does not apply, a group or a whole run goes the stock way (`unsupported_reason`).

Shapes: P prompts, G completions of each, N prompt tokens, C completion tokens.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from trl import GRPOTrainer

from medr1.train.packing import GradientSplit, Groups, groups_of, in_groups, in_rows, pack, unpack
from medr1.train.shared_attention import NAMES, use_shared_attention
from medr1.train.shared_generation import STATIC, SharedGeneration

logger = logging.getLogger("medr1")

OVERRIDDEN = {
    "_generate_and_score_completions": ("inputs",),
    "_tokenize_prompts": ("prompts",),
    "_generate_single_turn": (
        *("prompt_ids", "images", "multimodal_fields", "num_generations", "has_tool_images"),
    ),
    "_get_per_token_logps_and_entropies": (
        *("model", "input_ids", "attention_mask", "logits_to_keep", "batch_size"),
        *("compute_entropy", "compute_aux_loss", "pixel_values", "image_grid_thw", "num_images"),
        *("pixel_attention_mask", "spatial_shapes", "num_tiles", "image_sizes", "token_type_ids"),
        *("mm_token_type_ids", "image_position_ids"),
    ),
    "_compute_loss": ("model", "inputs"),
}
"""The methods of TRL's GRPOTrainer that are overridden here, with their arguments."""

GENERATION = {
    *("temperature", "top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff"),
    *("eta_cutoff", "do_sample", "repetition_penalty", "encoder_repetition_penalty"),
    *("no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids", "suppress_tokens"),
    *("begin_suppress_tokens", "forced_eos_token_id", "sequence_bias", "min_length"),
    *("exponential_decay_length_penalty", "min_new_tokens", "max_new_tokens", "eos_token_id"),
}
"""The generation_kwargs that are tested to give stock TRL's tokens on shared prompts. Others may
change the number of rows or the cache."""

FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")


def unsupported_reason(trainer: Any) -> str | None:
    """Why a run cannot share its prompts; None where it can."""
    kind, text = trainer.model.config.model_type, trainer.model.config.get_text_config()
    size, generations = trainer.args.per_device_train_batch_size, trainer.num_generations
    attention = text._attn_implementation
    adapter = getattr(trainer.model, "active_peft_config", None)
    cache_kind = trainer.args.cache_implementation
    tools = (trainer.tools, trainer.environment_factories, trainer.rollout_func)
    untried = (
        [] if trainer.use_vllm else sorted({*(trainer.args.generation_kwargs or ())} - GENERATION)
    )
    reasons = {
        f"{kind} is not one of {', '.join(FAMILIES)}": kind not in FAMILIES,
        f"batches of {size} split groups of {generations}; make --batch-size a multiple of it": (
            size % generations != 0
        ),
        "tools and environments go on with the prompt": any(tools),
        f"attention {attention} is not one of {', '.join(NAMES)}": (
            attention not in (*NAMES, *NAMES.values())
        ),
        "layers with a sliding window see a part of the prompt only": (
            "sliding_attention" in (getattr(text, "layer_types", None) or ())
        ),
        "an adapter of virtual tokens has a prompt of its own": (
            adapter is not None and adapter.is_prompt_learning
        ),
        f"cache_implementation is {cache_kind}, not {STATIC}": cache_kind not in (None, STATIC),
        f"{', '.join(untried)} in generation_kwargs may ask for other rows or another cache": (
            bool(untried)
        ),
        "this version of transformers processes images in another way": (
            not hasattr(trainer.processing_class, "_process_images")
        ),
    }
    return next((reason for reason, applies in reasons.items() if applies), None)


class SharedPrefixTrainer(GRPOTrainer):
    """TRL's GRPOTrainer, each prompt run once for all its completions."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._generations_shared = 0
        """G within the methods that work on groups; 0: on rows, as TRL does."""
        self._gradient_split: GradientSplit | None = None
        self._warned_row_fallback = False
        self._generation = SharedGeneration()
        reason = unsupported_reason(self)
        self._shares = reason is None
        if reason:
            self._say(reason)
            return
        for model in filter(None, (self.model, self.ref_model)):
            use_shared_attention(self.accelerator.unwrap_model(model))

    def _say(self, reason: str) -> None:
        if self.accelerator.is_main_process:
            logger.warning("shared prefix is off, prompts run once a completion: %s.", reason)

    @contextmanager
    def _sharing(self, generations: int, split: GradientSplit | None = None) -> Iterator[None]:
        self._generations_shared, self._gradient_split = generations, split
        try:
            yield
        finally:
            self._generations_shared, self._gradient_split = 0, None

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        model: Any = self.model
        generations: Any = self.num_generations if model.training else self.num_generations_eval
        if not self._shares:
            return super()._generate_and_score_completions(inputs)
        if not in_whole_groups(inputs, generations):
            if not self._warned_row_fallback:
                self._say(f"a batch of {len(inputs)} rows is not whole groups of {generations}")
                self._warned_row_fallback = True
            return super()._generate_and_score_completions(inputs)
        with self._sharing(generations), processed_once(self.processing_class, generations):
            batch = super()._generate_and_score_completions(inputs)
        if model.training:  # TRL shuffles groups now instead of rows: draw what it does not draw
            torch.randperm(len(inputs) - len(inputs) // generations + 1)
        return in_groups(batch, generations)

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[Any, Any, dict[str, Any]]:
        generations = self._generations_shared
        if not generations:
            return super()._tokenize_prompts(prompts)
        ids, images, fields = super()._tokenize_prompts(prompts[::generations])
        return repeated(ids, generations), images and repeated(images, generations), fields

    def _generate_single_turn(
        self,
        prompt_ids: list[list[int]],
        images: Any,
        multimodal_fields: dict[str, Any],
        num_generations: int,
        has_tool_images: bool = False,
    ) -> tuple[list[list[int]], Any]:
        model = inner_model(self.accelerator.unwrap_model(self.model))
        with self._generation.of_groups(model, self._generations_shared):
            return super()._generate_single_turn(
                prompt_ids, images, multimodal_fields, num_generations, has_tool_images
            )

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        **inputs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        generations = self._generations_shared
        if not generations:
            return super()._get_per_token_logps_and_entropies(
                *(model, input_ids, attention_mask, logits_to_keep, batch_size),
                *(compute_entropy, compute_aux_loss),
                **inputs,
            )
        groups = groups_of(input_ids, attention_mask, logits_to_keep, generations, inputs)
        step = max(1, (batch_size or len(input_ids)) // generations)
        split = self._gradient_split
        chosen = split.with_gradient if split else range(groups.number)
        logps_PGC, entropies_PGC = self._score_in_steps(model, groups, chosen, step)
        if split:
            with torch.no_grad():  # TRL's logged values are those of all completions
                others = self._score_in_steps(model, groups, split.without_gradient, step)
            logps_PGC = split.merged(logps_PGC, others[0])
            entropies_PGC = split.merged(entropies_PGC, others[1])
        entropies = entropies_PGC.flatten(0, 1) if compute_entropy else None
        return logps_PGC.flatten(0, 1), entropies, None

    def _score_in_steps(
        self, model: Any, groups: Groups, chosen: Sequence[int], step: int
    ) -> tuple[torch.Tensor, Any]:
        """Log-probabilities and entropies (P, G, C) of the chosen groups, `step` in one pass."""
        logps, entropies = [], []
        length = groups.completion_ids_PGC.shape[-1]
        for start in range(0, len(chosen), step):
            logps_PGC, entropy_PGC = self._score(model, groups.chosen(chosen[start : start + step]))
            padding = (0, length - logps_PGC.shape[-1])
            logps.append(torch.nn.functional.pad(logps_PGC, padding))
            if entropy_PGC is not None:
                entropies.append(torch.nn.functional.pad(entropy_PGC, padding))
        return torch.cat(logps), torch.cat(entropies) if entropies else None

    def _score(self, model: Any, groups: Groups) -> tuple[torch.Tensor, Any]:
        """The log-probabilities and entropies of the completions (P, G, C), in one pass."""
        inner = inner_model(self.accelerator.unwrap_model(model))
        packed = pack(groups, prompt_positions(inner.model, groups)[0])
        pictures = {}
        if groups.patches:
            pictures["pixel_values"] = torch.cat(list(groups.patches))
            pictures["image_grid_thw"] = torch.cat(list(groups.grids))
        with self.accelerator.autocast():
            outputs = model(
                input_ids=packed.ids_PT,
                position_ids=packed.positions_3PT,
                # what is visible stands in the layout: this keeps the model from making a mask
                attention_mask=packed.ids_PT.new_ones((groups.number, 1, 1, 1), dtype=torch.bool),
                layout=packed.layout,
                shift_labels=packed.labels_PT,
                fused_lm_head=True,
                **pictures,
            )
        logps_PGC, entropy_PT = unpack(outputs.log_probs, groups), outputs.entropy
        # the reference model is not asked for entropies
        return logps_PGC, None if entropy_PT is None else unpack(entropy_PT, groups)

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        if inputs["prompt_ids"].ndim == 2:
            return super()._compute_loss(model, inputs)
        policy: Any = self.model
        mode = "train" if policy.training else "eval"
        with self._sharing(inputs["prompt_ids"].shape[1], self._split_by_gradient(inputs, mode)):
            return super()._compute_loss(model, in_rows(inputs))

    def _split_by_gradient(self, inputs: dict[str, Any], mode: str) -> GradientSplit | None:
        """Which groups the loss depends on; None where it is all of them, in every process.

        With a KL term, an entropy bonus or a quantile of entropies each token matters. In every
        process one group always has a gradient, so that every weight has one, and a process without
        groups of the other kind runs one as well: all processes make the same passes.
        """
        matters_P = (inputs["advantages"] != 0).flatten(1).any(-1)
        if self.beta != 0 or self._entropy_bonus_enabled or self.top_entropy_quantile < 1:
            matters_P = torch.ones_like(matters_P)
        needed = matters_P.nonzero().flatten().tolist() or [0]
        others = [number for number in range(len(matters_P)) if number not in needed]
        share = torch.tensor(len(others) / len(matters_P), device=self.accelerator.device)
        shares = self.accelerator.gather(share)
        self._metrics[mode]["frac_groups_left_out"].append(shares.mean().item())
        if not shares.any():
            return None
        return GradientSplit(needed, others or needed[:1])


def inner_model(model: Any) -> Any:
    """The conditional model, within an adapter where there is one."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def prompt_positions(backbone: Any, groups: Groups) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions of the prompts' tokens (3, P, N), and what decoding adds to its count (P, 1)."""
    positions: tuple[torch.Tensor, torch.Tensor] = backbone.get_rope_index(
        groups.prompt_ids_PN,
        mm_token_type_ids=groups.is_image_PN,
        image_grid_thw=torch.cat(list(groups.grids)) if groups.grids else None,
        attention_mask=groups.prompt_mask_PN,
    )
    return positions


def in_whole_groups(inputs: Sequence[dict[str, Any]], generations: int) -> bool:
    """Whether rows come in groups of the same prompt and the same pictures."""
    if len(inputs) % generations:
        return False
    prompts = [[row.get(name) for name in ("prompt", "images", "image")] for row in inputs]
    return all(prompts[i] == prompts[i - i % generations] for i in range(len(prompts)))


def repeated(values: Sequence[Any], times: int) -> list[Any]:
    """Each value so many times, next to each other."""
    return [value for value in values for _ in range(times)]


@contextmanager
def processed_once(processor: Any, generations: int) -> Iterator[None]:
    """While it lasts, the processor makes patches of the prompts' images once.

    TRL asks twice: for the prompts, to generate from, and for all rows, to train on. The second
    time it gets the text of all rows and the patches of the prompts.
    """
    process, features = processor._process_images, None

    def once(images: Any, **kwargs: Any) -> tuple[Any, list[str]]:
        nonlocal features
        if features is None:
            features = process(images, **kwargs)
            return features
        patches, texts = features
        parts = iter(texts)
        texts_of = [[next(parts) for _ in row] for row in images[::generations]]
        return patches, [text for row in repeated(texts_of, generations) for text in row]

    processor._process_images = once
    try:
        yield
    finally:
        del processor._process_images
