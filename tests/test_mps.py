"""What is set for a Mac, as far as it can be tried without one."""

import logging

import pytest
import torch
from PIL import Image
from transformers import AutoProcessor

from medr1.data.tiny import tiny_vl_folder
from medr1.models.mps import HIGH, LOW, MAX_PIXELS, limit_pixels, mps_environment, unlimited_memory

PICTURE = Image.new("RGB", (3000, 2000))


@pytest.fixture
def processor():
    return AutoProcessor.from_pretrained(
        tiny_vl_folder(), trust_remote_code=False, local_files_only=True
    )


def patches(processor):
    """Rows and columns of the grid that a big picture becomes."""
    _, rows, columns = processor.image_processor(images=[PICTURE], return_tensors="pt")[
        "image_grid_thw"
    ][0].tolist()
    return rows * columns


def test_a_big_picture_is_shrunk_on_mps_alone(processor, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("medr1"), "propagate", True)
    caplog.set_level("INFO", "medr1")
    processor.image_processor.size["longest_edge"] = 16384 * 28 * 28
    whole = patches(processor)
    limit_pixels(processor, torch.device("cpu"))
    assert patches(processor) == whole and not caplog.records
    limit_pixels(processor, torch.device("mps"))
    assert 0.9 * 4 * 512 < patches(processor) <= 4 * 512 < whole
    assert "max_pixels is 401408" in caplog.text and "12845056" in caplog.text


def test_a_checkpoint_that_asks_for_less_keeps_its_own(processor):
    own = processor.image_processor.size["longest_edge"]
    assert own < MAX_PIXELS
    limit_pixels(processor, torch.device("mps"))
    assert processor.image_processor.size["longest_edge"] == own


def test_the_memory_ratios_go_together_and_only_on_a_mac():
    fallback = {"PYTORCH_ENABLE_MPS_FALLBACK": "1"}
    assert mps_environment("linux", {}) == fallback
    assert mps_environment("darwin", {}) == {**fallback, HIGH: "1.0", LOW: "0.9"}
    assert mps_environment("darwin", {HIGH: "0.7"}) == fallback
    assert mps_environment("darwin", {LOW: "0.7"}) == fallback


@pytest.mark.parametrize("value", ["0", "0.0", "0.00"])
def test_a_lifted_limit_is_named(value):
    assert HIGH in (unlimited_memory({HIGH: value}) or "")


@pytest.mark.parametrize("given", [{}, {HIGH: "1.0"}, {HIGH: "what"}])
def test_a_limit_that_stands_is_not(given):
    assert unlimited_memory(given) is None
