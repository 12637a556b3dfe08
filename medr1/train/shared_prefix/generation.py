"""Generation of groups: each prompt is run once, and G copies of its cache are decoded further.

`model.generate` is replaced while TRL calls it. The replacement runs each prompt without its last
token (`prefill`), and a prefix that prompts about one image have in common once (`prefix_tree`). It
repeats the filled cache for the G completions, and calls transformers' own
`generate` with it. That runs the last prompt token of each row first, so it finds what it expects.
Rows whose completion has ended are not run (`models/ended_rows.py`).

With `cache_implementation: static` the cache has a fixed size and keeps all rows. On CUDA,
transformers then compiles the decoding step into CUDA graphs, which saves the time of launching
each kernel. A graph is recorded for the address of its cache, so the cache is kept from one rollout
to the next.

Shapes: P prompts, G completions of each, N prompt tokens.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import torch
from transformers import DynamicCache, GenerationConfig, StaticCache
from transformers.cache_utils import CacheLayerMixin

from medr1.models.ended_rows import end_tokens, leave_out_ended_rows
from medr1.models.kv_cache import grow_in_blocks, repeated_in_static
from medr1.train.shared_prefix.groups import Groups, images_by_prompt
from medr1.train.shared_prefix.packing import AttentionLayout, PackedGroups, prompts_only
from medr1.train.shared_prefix.prefix_tree import PrefixTree, prefix_tree

if TYPE_CHECKING:
    from transformers import PreTrainedConfig
    from transformers.modeling_outputs import CausalLMOutputWithPast

STATIC = "static"
"""The only value of `cache_implementation` that is supported here, apart from None."""


class Backbone(Protocol):
    """What is needed of the model below the output layer, as Qwen's models have it."""

    rope_deltas: torch.Tensor | None

    def get_rope_index(
        self,
        input_ids: torch.Tensor,
        *,
        mm_token_type_ids: torch.Tensor,
        image_grid_thw: torch.Tensor | None,
        attention_mask: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The positions (3, P, N) of prompts, and their rope deltas (P, 1).

        Args:
            input_ids: The prompts' tokens (P, N), padded on the left.
            mm_token_type_ids: 1 for image tokens, 0 for text (P, N).
            image_grid_thw: The patches of each image in time, height and width; None without.
            attention_mask: 0 for padding (P, N).
        """
        ...


class ConditionalModel(Protocol):
    """What is needed of a model with its output layer, and without an adapter around it."""

    model: Backbone
    config: PreTrainedConfig
    generate: Callable[..., object]

    def __call__(
        self,
        *,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        position_ids: torch.Tensor,
        pixel_values: torch.Tensor | None,
        image_grid_thw: torch.Tensor | None,
        use_cache: bool,
        logits_to_keep: int,
        layout: AttentionLayout | None = None,
    ) -> CausalLMOutputWithPast:
        """The output of one pass, with the filled cache."""
        ...


class SharedGeneration:
    """Generates completions of groups, and keeps the static cache between rollouts."""

    def __init__(self) -> None:
        self._static: StaticCache | None = None

    @contextmanager
    def patch_generate(
        self, model: ConditionalModel, num_generations: int, num_images: Sequence[int] = ()
    ) -> Iterator[None]:
        """Within the block, `model.generate` runs each prompt once for its group.

        The patched method takes the token ids of all rows (P * G, N), but `pixel_values`,
        `image_grid_thw` and `mm_token_type_ids` of the P prompts only.

        Args:
            model: The conditional model, without an adapter around it.
            num_generations: G; with 0, `generate` is not patched.
            num_images: The number of images of each prompt; () without images.
        """
        generate = model.generate

        def generate_groups(
            input_ids: torch.Tensor,
            attention_mask: torch.Tensor,
            generation_config: GenerationConfig,
            pixel_values: torch.Tensor | None = None,
            image_grid_thw: torch.Tensor | None = None,
            mm_token_type_ids: torch.Tensor | None = None,
            **kwargs: object,
        ) -> object:
            filled, deltas_P1 = prefill(
                model,
                input_ids[::num_generations],
                attention_mask[::num_generations],
                mm_token_type_ids,
                pixel_values,
                image_grid_thw,
                num_images,
            )
            # The model computes the positions of new tokens from these; `generate` would compute
            # them from the images, which it does not get here.
            model.model.rope_deltas = deltas_P1.repeat_interleave(num_generations, 0)
            cache, generation_config = self._repeat_cache(
                filled, model, num_generations, input_ids.shape[1], generation_config
            )
            assert isinstance(model, torch.nn.Module)
            ends = end_tokens(model, generation_config)
            with leave_out_ended_rows(model, cache, ends):
                return generate(
                    input_ids=input_ids,
                    attention_mask=attention_mask,
                    past_key_values=cache,
                    generation_config=generation_config,
                    **kwargs,
                )

        if num_generations:
            model.generate = generate_groups
        try:
            yield
        finally:
            # The patch is an attribute of the object; without it the method of the class is back.
            model.__dict__.pop("generate", None)

    def _repeat_cache(
        self,
        filled: DynamicCache,
        model: ConditionalModel,
        num_generations: int,
        prompt_length: int,
        config: GenerationConfig,
    ) -> tuple[DynamicCache | StaticCache, GenerationConfig]:
        """The cache with each row repeated G times, and the configuration to generate with it."""
        if config.cache_implementation != STATIC:
            filled.batch_repeat_interleave(num_generations)
            grow_in_blocks(filled)
            return filled, config
        length = prompt_length + int(config.max_new_tokens or 0)
        text = model.config.get_text_config()
        self._static = repeated_in_static(filled, num_generations, length, text, self._static)
        config = copy.deepcopy(config)
        config.cache_implementation = None  # `generate` refuses a cache together with this field
        config.disable_compile = False  # TRL's trainer always sets it to true
        return self._static, config


def prefill(
    model: ConditionalModel,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    mm_token_type_ids: torch.Tensor | None,
    pixel_values: torch.Tensor | None,
    image_grid_thw: torch.Tensor | None,
    num_images: Sequence[int] = (),
) -> tuple[DynamicCache, torch.Tensor]:
    """Run the prompts without their last tokens, which `generate` runs itself.

    It is one pass in any case: with sharded weights, all processes take part in each pass.

    Args:
        model: The conditional model.
        input_ids: The prompts' tokens (P, N), padded on the left.
        attention_mask: 0 for padding (P, N).
        mm_token_type_ids: 1 for image tokens, 0 for text (P, N); None without images.
        pixel_values: The patches of all images; None without images.
        image_grid_thw: The patches of each image in time, height and width; None without images.
        num_images: The number of images of each prompt; () if prefixes are not to be shared.

    Returns:
        The cache with the keys and values of N - 1 tokens, and the rope deltas (P, 1): what is
        added to the number of a new token to get its position.
    """
    if mm_token_type_ids is None:
        mm_token_type_ids = torch.zeros_like(input_ids)
    positions_3PN, deltas_P1 = model.model.get_rope_index(
        input_ids,
        mm_token_type_ids=mm_token_type_ids,
        image_grid_thw=image_grid_thw,
        attention_mask=attention_mask,
    )
    if num_images and pixel_values is not None and image_grid_thw is not None:
        patches, grids = images_by_prompt(pixel_values, image_grid_thw, num_images)
        none = input_ids.new_zeros((len(input_ids), 0, 0))
        prompts = Groups(
            *(input_ids, attention_mask, mm_token_type_ids, none, none), patches, grids
        )
        tree = prefix_tree(prompts)
        if tree is not None:
            return _prefill_tree(model, prompts_only(prompts, positions_3PN, tree), tree), deltas_P1
    outputs = model(
        # mm_token_type_ids are not passed on: the positions are given
        input_ids=input_ids[:, :-1],
        attention_mask=attention_mask[:, :-1],
        position_ids=positions_3PN[..., :-1],
        pixel_values=pixel_values,
        image_grid_thw=image_grid_thw,
        use_cache=True,
        logits_to_keep=1,  # no logits are needed, and 0 would mean all of them
    )
    cache = outputs.past_key_values
    assert isinstance(cache, DynamicCache)  # what a pass without a cache makes
    return cache, deltas_P1


def _prefill_tree(model: ConditionalModel, packed: PackedGroups, tree: PrefixTree) -> DynamicCache:
    """The cache of prompts that are in one row of tokens, with a row for each prompt."""
    outputs = model(
        input_ids=packed.ids_PT,
        attention_mask=packed.ids_PT.new_ones((1, 1, 1, 1), dtype=torch.bool),
        position_ids=packed.positions_3PT,
        pixel_values=torch.cat(list(packed.patches)),
        image_grid_thw=torch.cat(list(packed.grids)),
        use_cache=True,
        logits_to_keep=1,
        layout=packed.layout,
    )
    cache = outputs.past_key_values
    assert isinstance(cache, DynamicCache)
    for layer in cache.layers:
        assert isinstance(layer, CacheLayerMixin)
        assert layer.keys is not None and layer.values is not None
        layer.keys, layer.values = tree.unaligned(layer.keys), tree.unaligned(layer.values)
    return cache
