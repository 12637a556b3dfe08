"""Which parts of a model keep their weights when it is loaded in 4 or 8 bits."""

import pytest
import torch
from tiny_families import FAMILIES
from transformers import AutoConfig, IdeficsConfig

from medr1.data.tiny import tiny_vl_folder
from medr1.errors import InputError
from medr1.models.loading import outline
from medr1.models.parts import language_model, not_quantized

BESIDE_THE_LANGUAGE_MODEL = {
    "gemma3": ["model.vision_tower", "model.multi_modal_projector"],
    "internvl": ["model.vision_tower", "model.multi_modal_projector"],
    "llava_onevision": ["model.vision_tower", "model.multi_modal_projector"],
    "smolvlm": ["model.vision_model", "model.connector"],
    "idefics3": ["model.vision_model", "model.connector"],
}


@pytest.mark.parametrize("model_type", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_of_qwen_the_vision_tower_and_the_output_layer(model_type):
    model = outline(AutoConfig.for_model(model_type), torch.bfloat16)
    assert not_quantized(model) == ["model.visual", "lm_head"]
    assert language_model(model) is model.model.language_model


def test_of_the_embedded_model_too():
    config = AutoConfig.from_pretrained(tiny_vl_folder())
    assert not_quantized(outline(config, torch.float32)) == ["model.visual", "lm_head"]


@pytest.mark.parametrize("family", FAMILIES)
def test_of_other_families_all_that_is_beside_the_language_model(family, tmp_path):
    FAMILIES[family](tmp_path)
    model = outline(AutoConfig.from_pretrained(tmp_path), torch.float32)
    assert sorted(not_quantized(model)) == sorted([*BESIDE_THE_LANGUAGE_MODEL[family], "lm_head"])


def test_a_language_model_that_is_no_part_of_its_own_is_refused():
    small = {"num_hidden_layers": 1, "hidden_size": 64, "num_attention_heads": 2}
    model = outline(IdeficsConfig(**small), torch.float32)
    assert language_model(model) is model.model
    with pytest.raises(InputError, match="a idefics cannot be loaded in 4 or 8 bits"):
        not_quantized(model)
