"""How long prompts are, and that what is counted is what the trainer puts to the model."""

from dataclasses import replace

import pytest
from PIL import Image

from medr1.data.readers import read_questions
from medr1.data.tiny import tiny_vqa_folder
from medr1.errors import InputError
from medr1.prompts import chat_messages
from medr1.train.dry_run.prompt_lengths import (
    pixel_limits,
    prompt_lengths,
    require_room,
    set_pixel_limits,
)


@pytest.fixture
def samples(tmp_path):
    questions = read_questions(tiny_vqa_folder() / "train.json", limit=6).samples
    sizes = [(112, 112), (300, 40), (64, 250), (1000, 800), (28, 28), (56, 84)]
    found = []
    for number, (sample, size) in enumerate(zip(questions, sizes, strict=True)):
        Image.new("RGB", size, (number, 100, 50)).save(tmp_path / f"{number}.png")
        found.append(replace(sample, id=str(number), images=(f"{number}.png",)))
    return found


def processed(model, sample, root):
    text = model.processor.apply_chat_template(
        chat_messages(sample, "nothink", "text"), add_generation_prompt=True, tokenize=False
    )
    images = [Image.open(root / name) for name in sample.images]
    return model.processor(text=text, images=images, return_tensors="pt")


@pytest.mark.parametrize(
    "limits", [(None, None), (None, 4 * 28 * 28), (40 * 28 * 28, 90 * 28 * 28)]
)
def test_the_count_is_the_processors(model, samples, tmp_path, limits):
    set_pixel_limits(model.processor, *limits)
    two = replace(samples[0], images=(samples[1].images[0], samples[3].images[0]))
    for length in prompt_lengths(model, [*samples, two], tmp_path, "nothink"):
        inputs = processed(model, length.sample, tmp_path)
        ids = inputs["input_ids"][0].tolist()
        assert length.total == len(ids)
        assert length.image == ids.count(model.processor.image_token_id)


def test_pixel_limits_take_effect_in_the_grid(model, samples, tmp_path):
    grids = []
    for limits in ((None, None), (None, 4 * 784), (64 * 784, 64 * 784)):
        set_pixel_limits(model.processor, *limits)
        grids.append(int(processed(model, samples[3], tmp_path)["image_grid_thw"].prod() // 4))
    assert grids[0] == 12 and grids[1] <= 4 and 49 <= grids[2] <= 64


def test_limits_that_leave_no_image_are_refused(model):
    before = pixel_limits(model.processor)
    for limits in ((None, 783), (5000, 4000), (0, -1)):
        with pytest.raises(InputError, match="leave no image"):
            set_pixel_limits(model.processor, *limits)
    assert pixel_limits(model.processor) == before


def test_long_prompts_are_refused_with_what_would_fit_them(model, samples, tmp_path):
    set_pixel_limits(model.processor, None, 900 * 784)
    lengths = prompt_lengths(model, samples, tmp_path, "nothink")
    worst = max(lengths, key=lambda length: length.total)
    require_room(model, samples, tmp_path, "nothink", worst.total)
    with pytest.raises(InputError) as refused:
        require_room(model, samples, tmp_path, "nothink", 150)
    said = str(refused.value)
    assert said.startswith("1 of 6 prompts have more than 150 tokens") and "(item 3)" in said
    assert f"has {worst.total}, of which {worst.image} are image tokens" in said
    pixels = int(said.split("--max-pixels ")[1].split(",")[0])
    set_pixel_limits(model.processor, None, pixels)
    require_room(model, samples, tmp_path, "nothink", 150)
    with pytest.raises(InputError, match="Shorten these questions"):
        require_room(model, samples, tmp_path, "nothink", 20)


def test_images_that_cannot_be_read_are_counted_and_refused(model, samples, tmp_path):
    lost = [replace(sample, images=(f"lost{n}.png",)) for n, sample in enumerate(samples[:2])]
    message = "^2 of 2 images cannot be read. The first: image 'lost0.png': no such file"
    with pytest.raises(InputError, match=message):
        prompt_lengths(model, lost, tmp_path, "nothink")
