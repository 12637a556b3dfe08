"""The images of a split: held in memory as pixels, returned as patches for the vision tower."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tiny_vl_model import IMAGE_SIZE, MERGE_SIZE, PATCH_SIZE, TEMPORAL_PATCH_SIZE
from torch.nn import functional


class TinyImages:
    """All images of a split, resized as the processor does, with 8 bits per channel.

    `names` has the images' paths, `pixels` (N, 3, H, W) the images in that order, `number` the
    index of each path, and `tokens` the number of image tokens that the model reads per image.
    """

    def __init__(self, processor: Any, root: Path, names: Iterable[str]) -> None:
        self.processor = processor.image_processor
        self.names = sorted(set(names))
        self.number = {name: index for index, name in enumerate(self.names)}
        side = math.isqrt(IMAGE_SIZE["longest_edge"])
        pixels = []
        for name in self.names:
            with Image.open(root / name) as image:
                rgb = image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
            pixels.append(np.asarray(rgb))
        self.pixels = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
        self.tokens = (side // PATCH_SIZE // MERGE_SIZE) ** 2

    def patches(
        self, names: Sequence[str], generator: torch.Generator | None = None
    ) -> dict[str, torch.Tensor]:
        """The images' patches, as the processor returns them.

        Args:
            names: Paths of the images.
            generator: Augments each image with a random crop, a small rotation, gain, offset and
                noise; None for the images as they are.

        Returns:
            `pixel_values` and `image_grid_thw`.
        """
        images = self.pixels[[self.number[name] for name in names]].float() / 255
        if generator is not None:
            images = crop_and_turn(images, generator)
        mean, std = (
            torch.tensor(values).view(3, 1, 1)
            for values in (self.processor.image_mean, self.processor.image_std)
        )
        images = (images - mean) / std
        if generator is not None:
            images = change_intensity(images, generator)
        patches, height, width = self.processor.patchify(
            images, PATCH_SIZE, MERGE_SIZE, TEMPORAL_PATCH_SIZE
        )
        grid = torch.tensor([[1, height, width]] * len(names))
        return {"pixel_values": patches.flatten(0, 1), "image_grid_thw": grid}


def crop_and_turn(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Crop each image (N, 3, H, W) at random to 80-100 % of its side, and turn it by up to 9°."""
    scale, across, down, angle = torch.rand(4, len(images), generator=generator)
    scale = 0.8 + 0.2 * scale
    angle = 0.3 * (angle - 0.5)
    rows = (
        torch.stack([scale * angle.cos(), -scale * angle.sin(), (2 * across - 1) * (1 - scale)], 1),
        torch.stack([scale * angle.sin(), scale * angle.cos(), (2 * down - 1) * (1 - scale)], 1),
    )
    grid = functional.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def change_intensity(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Change each normalized image (N, 3, H, W) by a random gain and offset, and add noise."""
    gain, offset = torch.randn(2, len(images), 1, 1, 1, generator=generator)
    noise = torch.randn(images.shape, generator=generator)
    return images * (1 + 0.25 * gain) + 0.25 * offset + 0.1 * noise
