"""Completions of groups: each prompt is run once, and decoding goes on with G copies of its cache.

With `cache_implementation: static` the cache has a fixed size, and on CUDA transformers compiles
the decoding step into CUDA graphs, which saves the time of launching each kernel. The cache is kept
from one rollout to the next, since a graph is recorded for its address.

Shapes: P prompts, G completions of each, N prompt tokens.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import DynamicCache, GenerationConfig, StaticCache

from medr1.caching import grow_in_blocks, repeated_in_static

STATIC = "static"
"""The value of `cache_implementation` that is supported here, beside none."""


class SharedGeneration:
    """Generation for groups, with the static cache that is used again."""

    def __init__(self) -> None:
        self._static: StaticCache | None = None

    @contextmanager
    def of_groups(self, model: Any, generations: int) -> Iterator[None]:
        """While it lasts, `model.generate` runs each prompt once; 0 generations change nothing.

        It takes the ids of all rows, and the images of the prompts.
        """
        generate = model.generate

        def generate_groups(
            input_ids: torch.Tensor,
            attention_mask: torch.Tensor,
            generation_config: GenerationConfig,
            pixel_values: torch.Tensor | None = None,
            image_grid_thw: torch.Tensor | None = None,
            mm_token_type_ids: torch.Tensor | None = None,
            **kwargs: Any,
        ) -> Any:
            filled, deltas_P1 = prefill(
                model,
                input_ids[::generations],
                attention_mask[::generations],
                mm_token_type_ids,
                pixel_values,
                image_grid_thw,
            )
            model.model.rope_deltas = deltas_P1.repeat_interleave(generations, 0)
            cache, generation_config = self._repeated(
                filled, model, generations, input_ids.shape[1], generation_config
            )
            return generate(
                input_ids=input_ids,
                attention_mask=attention_mask,
                past_key_values=cache,
                generation_config=generation_config,
                **kwargs,
            )

        if generations:
            model.generate = generate_groups
        try:
            yield
        finally:
            model.__dict__.pop("generate", None)

    def _repeated(
        self,
        filled: DynamicCache,
        model: Any,
        generations: int,
        prompt_length: int,
        config: GenerationConfig,
    ) -> tuple[Any, GenerationConfig]:
        """The cache with each row repeated, and the configuration to generate with it."""
        if config.cache_implementation != STATIC:
            filled.batch_repeat_interleave(generations)
            grow_in_blocks(filled)
            return filled, config
        length = prompt_length + int(config.max_new_tokens or 0)
        text = model.config.get_text_config()
        self._static = repeated_in_static(filled, generations, length, text, self._static)
        config = copy.deepcopy(config)
        config.cache_implementation = None  # generate takes a cache, or makes one
        config.disable_compile = False  # TRL's trainer always sets it
        return self._static, config


def prefill(
    model: Any,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    mm_token_type_ids: torch.Tensor | None,
    pixel_values: torch.Tensor | None,
    image_grid_thw: torch.Tensor | None,
) -> tuple[DynamicCache, torch.Tensor]:
    """Keys and values of each prompt but its last token, and what decoding adds to its positions.

    `input_ids` and `attention_mask` are (P, N); what is added is (P, 1).
    """
    if mm_token_type_ids is None:
        mm_token_type_ids = torch.zeros_like(input_ids)
    positions_3PN, deltas_P1 = model.model.get_rope_index(
        input_ids,
        mm_token_type_ids=mm_token_type_ids,
        image_grid_thw=image_grid_thw,
        attention_mask=attention_mask,
    )
    outputs = model(
        input_ids=input_ids[:, :-1],
        attention_mask=attention_mask[:, :-1],
        position_ids=positions_3PN[..., :-1],
        pixel_values=pixel_values,
        image_grid_thw=image_grid_thw,
        use_cache=True,
        logits_to_keep=1,
    )
    return outputs.past_key_values, deltas_P1
