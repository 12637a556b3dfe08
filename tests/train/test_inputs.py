"""The images of a batch: small before the next is opened, and to the model what they were."""

import copy
from dataclasses import replace

import pytest
import torch
from PIL import Image
from transformers.models.qwen2_vl import Qwen2VLImageProcessorPil

from medr1.data.roots import ImageRoot
from medr1.records import Sample
from medr1.train.dry_run.prompt_lengths import pixel_limits, set_pixel_limits
from medr1.train.inputs import shrink

pytest.importorskip("trl")

from medr1.train import grpo, sft

SIZES = [
    (3000, 2000),
    (113, 112),
    (112, 112),
    (300, 41),
    (64, 250),
    (28, 28),
    (5600, 29),
    (9, 1500),
]


@pytest.mark.parametrize("least", [None, 12544])
@pytest.mark.parametrize("backend", ["torchvision", "Pillow"])
def test_what_is_made_small_is_the_same_to_the_model(tiny_model, backend, least):
    processor = copy.deepcopy(tiny_model.processor)
    if backend == "Pillow":
        settings = processor.image_processor.to_dict()
        processor.image_processor = Qwen2VLImageProcessorPil.from_dict(settings)
    set_pixel_limits(processor, least, None)
    whole = [Image.effect_noise(size, 90).convert("RGB") for size in [*SIZES, SIZES[0]]]
    small = [shrink(image, processor, tiny_model.family) for image in whole]
    made = [processor.image_processor(images, return_tensors="pt") for images in (whole, small)]
    assert torch.equal(made[0]["pixel_values"], made[1]["pixel_values"])
    assert torch.equal(made[0]["image_grid_thw"], made[1]["image_grid_thw"])
    made_small = [one for one, image in zip(small, whole, strict=True) if one is not image]
    assert len(made_small) >= (4 if least is None else 1)
    assert all(one.width * one.height <= pixel_limits(processor)[1] for one in made_small)


@pytest.fixture
def large(tmp_path):
    """Eight questions, each with a radiograph of nine megapixels."""
    picture = Image.radial_gradient("L").resize((3000, 3000))
    samples = []
    for number in range(8):
        picture.save(tmp_path / f"{number}.png", compress_level=1)
        options = {"A": "CT", "B": "MRI"}
        images = (f"{number}.png",)
        samples.append(Sample(str(number), images, "Which?", options, "A", "multiple_choice"))
    return samples, ImageRoot(tmp_path)


@pytest.mark.parametrize("method", ["grpo", "sft"])
def test_a_batch_of_large_images_is_held_small(tiny_model, large, method):
    samples, root = large
    if method == "grpo":
        data = grpo.training_set(tiny_model, samples, root, "nothink", "text")
    else:
        data = sft.training_set(tiny_model, samples, ["A"] * len(samples), root, "nothink")
    held = [image for images in data[:]["images"] for image in images]
    most = pixel_limits(tiny_model.processor)[1]
    assert len(held) == 8 and sum(image.width * image.height for image in held) <= 8 * most


def test_the_model_is_not_pickled_with_the_data(tiny_model, large):
    """`datasets` takes a hash of all that makes its rows: of weights, too, where they are seen."""
    seen = []

    class Weights:
        config = tiny_model.model.config

        def __reduce__(self):
            seen.append(True)
            return Weights, ()

    loaded = replace(tiny_model, model=Weights())
    sft.training_set(loaded, large[0], ["A"] * 8, large[1], "nothink")
    grpo.training_set(loaded, *large, "nothink", "text")
    assert not seen
