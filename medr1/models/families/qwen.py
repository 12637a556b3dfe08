"""Qwen2-VL, Qwen2.5-VL, Qwen3-VL and Qwen3.5, also with experts."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medr1.models.calls import image_token
from medr1.models.families.batched import (
    BatchedFamily,
    EncodedImages,
    ImageFeatures,
    Positions,
    Prompts,
)
from medr1.models.families.family import Family

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from transformers import BatchFeature, PreTrainedConfig, PreTrainedModel, ProcessorMixin


@dataclass(frozen=True)
class _VisionOutput:
    """What the vision tower of a Qwen-VL returns for several images."""

    pooler_output: tuple[torch.Tensor, ...]
    """The vectors of each image, (vectors, W)."""
    deepstack_features: list[tuple[torch.Tensor, ...]]
    """The same for several layers of the vision tower, as Qwen3-VL has them; [] for others."""


class QwenFamily(BatchedFamily):
    """Positions have three axes: time, height and width of each patch of an image."""

    name = "Qwen-VL"
    processors = ("Qwen2VLProcessor", "Qwen2_5_VLProcessor", "Qwen3VLProcessor")
    has_pixel_limits = True
    shares_prompts = True

    def require_valid(self, config: PreTrainedConfig) -> None:
        """Raise ValueError where attention heads do not divide the width, or experts are too few.

        Args:
            config: As in `Family`.
        """
        text, vision = config.text_config, config.vision_config
        kv_heads = text.num_key_value_heads or text.num_attention_heads
        vision_width = getattr(vision, "embed_dim", None) or vision.hidden_size
        ratios = (
            (text.hidden_size, text.num_attention_heads),
            (text.num_attention_heads, kv_heads),
            (vision_width, vision.num_heads),
        )
        for whole, part in ratios:
            if whole % part:
                raise ValueError(f"{part} heads cannot share {whole}")
        if (num_experts := getattr(text, "num_experts", None)) is None:
            return
        per_token = text.num_experts_per_tok
        if not 0 < per_token <= num_experts:
            raise ValueError(f"a token cannot have {per_token} of {num_experts} experts")
        for name in ("moe_intermediate_size", "decoder_sparse_step"):
            if getattr(text, name) < 1:
                raise ValueError(f"{name} is {getattr(text, name)}, expected 1 or more")

    def count_parameters(self, config: PreTrainedConfig) -> int:
        """As in `Family`, without building the model.

        Args:
            config: As in `Family`.
        """
        return count_parameters(config)

    def trial_inputs(self, processor: ProcessorMixin) -> BatchFeature:
        """As in `Family`, without a chat template.

        Args:
            processor: Of the checkpoint.
        """
        from PIL import Image

        text = f"<|vision_start|>{image_token(processor)}<|vision_end|>?"
        image = Image.new("RGB", (56, 56))
        inputs: BatchFeature = processor(text=[text], images=[image], return_tensors="pt")
        return inputs

    def image_tokens(self, processor: ProcessorMixin, sizes: Sequence[tuple[int, int]]) -> int:
        """As in `Family`, computed from the sizes.

        Args:
            processor: Of the checkpoint.
            sizes: As in `Family`.
        """
        return _image_tokens(processor, sizes)

    def encode_images(
        self, processor: ProcessorMixin, rows: Sequence[Sequence[Image]]
    ) -> list[EncodedImages]:
        """Prepare the images of all prompts in one call of the image processor.

        Args:
            processor: Of the checkpoint.
            rows: As in `BatchedFamily`.
        """
        images = [image for row in rows for image in row]
        processed = processor.image_processor(images=images, return_tensors="pt")
        # The patches of all images come as one tensor, and a grid tells how many each has: frames,
        # rows and columns.
        grids = processed["image_grid_thw"]
        lengths = [len(row) for row in rows]
        grids_of_rows = grids.split(lengths)
        patches = processed["pixel_values"].split([int(g.prod(-1).sum()) for g in grids_of_rows])
        # The vision tower merges merge_size x merge_size patches into one vector.
        merged = processor.image_processor.merge_size**2
        token = image_token(processor)
        return [
            EncodedImages(
                tuple(token * (int(grid.prod()) // merged) for grid in row_grids),
                {"pixel_values": row_patches, "image_grid_thw": row_grids},
            )
            for row_grids, row_patches in zip(grids_of_rows, patches, strict=True)
        ]

    def image_features(
        self, model: PreTrainedModel, images: Sequence[EncodedImages]
    ) -> list[ImageFeatures]:
        """Run the vision tower on the images of all prompts at once.

        Args:
            model: As in `BatchedFamily`.
            images: As in `BatchedFamily`.
        """
        import torch

        if not _takes_features(model):
            return [ImageFeatures(torch.empty(0)) for _ in images]
        grids = [row.inputs["image_grid_thw"] for row in images]
        patches = torch.cat([row.inputs["pixel_values"] for row in images])
        # The attribute is a method; torch says that it may be a tensor, which is not called.
        output: Any = model.get_image_features(patches, torch.cat(grids), return_dict=True)  # type: ignore[operator]
        layers = getattr(output, "deepstack_features", None) or ()
        features, start = [], 0
        for grid in grids:
            end = start + len(grid)
            tokens, *row_layers = (
                torch.cat(list(values[start:end])) for values in (output.pooler_output, *layers)
            )
            features.append(ImageFeatures(tokens, tuple(row_layers)))
            start = end
        return features

    def positions(self, model: PreTrainedModel, prompts: Prompts) -> Positions:
        """The positions in time, height and width.

        Without images they count the tokens, the same on all three axes. An image takes fewer
        positions than it has tokens.

        Args:
            model: As in `BatchedFamily`.
            prompts: As in `BatchedFamily`.
        """
        import torch

        if not prompts.images:
            ids_BP = super().positions(model, prompts).ids
            return Positions(self.position_ids(ids_BP), ids_BP.new_zeros((len(ids_BP), 1)))
        inner: Any = model.model
        ids_3BP, deltas_B1 = inner.get_rope_index(
            prompts.ids_BP,
            image_grid_thw=torch.cat([row.inputs["image_grid_thw"] for row in prompts.images]),
            attention_mask=prompts.mask_BP,
            mm_token_type_ids=self.is_image(model, prompts).int(),
        )
        return Positions(ids_3BP, deltas_B1)

    def position_ids(self, positions_BQ: torch.Tensor) -> torch.Tensor:
        """The same position on all three axes, (3, B, Q).

        Args:
            positions_BQ: As in `BatchedFamily`.
        """
        return positions_BQ.expand(3, -1, -1)

    def prompt_arguments(self, model: PreTrainedModel, prompts: Prompts) -> dict[str, object]:
        """The arguments of the inner model: token ids, and the features or pixels of the images.

        Args:
            model: As in `BatchedFamily`.
            prompts: As in `BatchedFamily`.
        """
        import torch

        arguments: dict[str, object] = {"input_ids": prompts.ids_BP}
        if prompts.images and _takes_features(model):
            features = prompts.features
            output = _VisionOutput(
                tuple(row.tokens for row in features),
                list(zip(*(row.layers for row in features), strict=True)),
            )
            arguments["mm_encoder_outputs"] = {"image": output}
        elif prompts.images:
            for name in ("pixel_values", "image_grid_thw"):
                arguments[name] = torch.cat([row.inputs[name] for row in prompts.images])
        return arguments

    def continue_from(self, model: PreTrainedModel, positions: Positions) -> None:
        """Give the model the offset of the positions of new tokens.

        Args:
            model: As in `BatchedFamily`.
            positions: As in `BatchedFamily`.
        """
        inner: Any = model.model
        inner.rope_deltas = positions.deltas_B1


class Qwen35Family(Family):
    """Qwen3.5, whose layers with linear attention keep a state instead of keys and values.

    The state cannot be cut back to the prompt, so prompts are not run in batches and not shared.
    """

    name = "Qwen3.5"
    processors = ("Qwen3VLProcessor",)
    has_pixel_limits = True

    def image_tokens(self, processor: ProcessorMixin, sizes: Sequence[tuple[int, int]]) -> int:
        """As in `Family`, computed from the sizes.

        Args:
            processor: Of the checkpoint.
            sizes: As in `Family`.
        """
        return _image_tokens(processor, sizes)


def _image_tokens(processor: ProcessorMixin, sizes: Sequence[tuple[int, int]]) -> int:
    """The image tokens of a prompt: the vision tower merges several patches into one."""
    images = processor.image_processor
    patches = [images.get_number_of_image_patches(height, width) for width, height in sizes]
    return sum(int(count // images.merge_size**2) for count in patches)


def _takes_features(model: PreTrainedModel) -> bool:
    """Whether the model accepts features instead of pixels, as transformers does from 5.23 on."""
    return "mm_encoder_outputs" in inspect.signature(model.forward).parameters


def _mlp_parameters(text: PreTrainedConfig) -> int:
    """The parameters in the MLPs of all layers: three matrices for each, or for each expert."""
    dense = 3 * text.hidden_size * text.intermediate_size
    num_experts = getattr(text, "num_experts", None)
    if num_experts is None:
        return int(text.num_hidden_layers * dense)
    # the router has a vector for each expert
    sparse = num_experts * (3 * text.hidden_size * text.moe_intermediate_size + text.hidden_size)
    num_sparse = sum(
        number not in text.mlp_only_layers and (number + 1) % text.decoder_sparse_step == 0
        for number in range(text.num_hidden_layers)
    )
    return int(num_sparse * sparse + (text.num_hidden_layers - num_sparse) * dense)


def count_parameters(config: PreTrainedConfig) -> int:
    """About how many parameters a Qwen-VL of this configuration has, within a few per cent.

    Counted are the matrices of the language model, its embeddings, and the vision tower. Norms and
    biases are left out: they are small.
    """
    text, vision = config.text_config, config.vision_config
    width, heads = text.hidden_size, text.num_attention_heads
    kv_heads = text.num_key_value_heads or heads
    head_size = getattr(text, "head_dim", None) or width // heads
    # a layer: queries and output, keys and values
    attention = 2 * width * head_size * (heads + kv_heads)
    tied = getattr(config, "tie_word_embeddings", False)
    embeddings = text.vocab_size * width * (1 if tied else 2)

    # Qwen2-VL, Qwen2.5-VL and Qwen3-VL name the sizes of the vision tower differently
    vision_width = getattr(vision, "embed_dim", None) or vision.hidden_size
    out_width = getattr(vision, "out_hidden_size", None) or vision.hidden_size
    mlp_width = getattr(vision, "intermediate_size", None) or int(vision_width * vision.mlp_ratio)
    mlp_matrices = 3 if config.model_type == "qwen2_5_vl" else 2
    block = 4 * vision_width * vision_width + mlp_matrices * vision_width * mlp_width
    # a merger joins neighbouring patches into one token of the language model
    merged_width = vision_width * vision.spatial_merge_size**2
    mergers = 1 + len(getattr(vision, "deepstack_visual_indexes", None) or ())
    patches = vision_width * vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    positions = (getattr(vision, "num_position_embeddings", None) or 0) * vision_width
    tower = (
        vision.depth * block
        + mergers * merged_width * (merged_width + out_width)
        + patches
        + positions
    )
    layers = text.num_hidden_layers * attention + _mlp_parameters(text)
    return int(layers + embeddings + tower)
