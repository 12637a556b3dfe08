"""The embedded checkpoints: they load whole, are what they say they are, and answer."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from medr1.data.readers import read_questions
from medr1.prompts import chat_messages, prompt_sha256

ROOT = Path(__file__).resolve().parent.parent
CHECKPOINTS = ("tiny-vl", "tiny-vl-letters")
DATA = ROOT / "data" / "tiny_vqa_ds"
TAGS = ("<think>", "</think>", "<answer>", "</answer>")


@pytest.fixture(scope="module", params=CHECKPOINTS)
def checkpoint(request):
    return ROOT / "checkpoints" / request.param


@pytest.fixture(scope="module")
def notes(checkpoint):
    """What medr1.json says."""
    return json.loads((checkpoint / "medr1.json").read_text())


@pytest.fixture(scope="module")
def processor(checkpoint):
    return AutoProcessor.from_pretrained(checkpoint, trust_remote_code=False)


@pytest.fixture(scope="module")
def loaded(checkpoint):
    """The model and the report of its loading."""
    return AutoModelForImageTextToText.from_pretrained(
        checkpoint, trust_remote_code=False, use_safetensors=True, output_loading_info=True
    )


@pytest.fixture(scope="module")
def samples():
    """Four validation questions of different types, all with options."""
    closed = [s for s in read_questions(DATA / "validation.json").samples if s.options]
    by_type = {s.question_type: s for s in closed}
    assert len(by_type) == 4
    return list(by_type.values())


@pytest.fixture(scope="module")
def prompts(processor, samples, notes):
    """The samples' prompts as model inputs, made by the processor from text and images."""
    texts = [
        processor.apply_chat_template(
            chat_messages(s, notes["prompt"], notes["answer_style"]),
            add_generation_prompt=True,
            tokenize=False,
        )
        for s in samples
    ]
    images = [[Image.open(DATA / s.images[0]).convert("RGB")] for s in samples]
    return processor(
        text=texts, images=images, return_tensors="pt", padding=True, padding_side="left"
    )


def test_loads_completely(loaded):
    _, report = loaded
    for fault in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not report[fault], fault


def test_is_a_small_qwen2_5_vl(loaded, checkpoint):
    model, _ = loaded
    assert model.config.architectures == ["Qwen2_5_VLForConditionalGeneration"]
    assert model.dtype == torch.float32
    assert sum(f.stat().st_size for f in checkpoint.iterdir()) < 5_000_000
    text = model.config.text_config
    head_dim = text.hidden_size // text.num_attention_heads
    assert sum(text.rope_parameters["mrope_section"]) == head_dim // 2
    assert model.lm_head.weight is model.get_input_embeddings().weight


def test_generation_stops_at_the_end_of_a_turn(loaded, processor):
    generation = loaded[0].generation_config
    ends = processor.tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    assert generation.eos_token_id == ends
    assert generation.pad_token_id == ends[1]


def test_chat_template_renders_qwens_turns(processor, samples):
    messages = chat_messages(samples[0], "nothink", "text")
    text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert text == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>"
        f"{messages[0]['content'][1]['text']}<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_chat_template_keeps_a_system_turn_and_several_turns(processor):
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "CT or MRI?"},
        {"role": "assistant", "content": [{"type": "text", "text": "CT"}]},
    ]
    assert processor.apply_chat_template(turns, tokenize=False) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nCT or MRI?<|im_end|>\n"
        "<|im_start|>assistant\nCT<|im_end|>\n"
    )


def test_tags_are_single_tokens_that_decoding_keeps(processor):
    tokenizer = processor.tokenizer
    for tag in TAGS:
        assert len(tokenizer.encode(tag)) == 1
        assert tag not in tokenizer.all_special_tokens
    text = "<think> a </think> <answer> CT </answer>"
    assert tokenizer.decode(tokenizer.encode(text), skip_special_tokens=True) == text


@pytest.mark.parametrize("text", ["Füße, 脑部, \U0001fa7b!", "\x00\x7f\t\r\n", "A) 3.5 µm ‰"])
def test_every_byte_has_a_token(processor, text):
    assert processor.tokenizer.decode(processor.tokenizer.encode(text)) == text


def test_image_tokens_are_a_quarter_of_the_patches(processor, prompts):
    image_tokens = (prompts["input_ids"] == processor.image_token_id).sum(dim=1)
    assert image_tokens.tolist() == (prompts["image_grid_thw"].prod(dim=1) // 4).tolist()
    assert prompts["input_ids"].shape[1] < 100


def test_answers_are_short_text(loaded, processor, prompts):
    model, _ = loaded
    output = model.generate(**prompts, max_new_tokens=24, do_sample=False)
    new = output[:, prompts["input_ids"].shape[1] :]
    assert all(processor.tokenizer.eos_token_id in row for row in new.tolist())
    for text in processor.batch_decode(new, skip_special_tokens=True):
        assert text.strip() and text.isprintable() and len(text) < 80


def test_letters_follow_the_option_they_stand_before(loaded, processor, samples, notes, prompts):
    if notes["answer_style"] != "letter":
        pytest.skip("this one answers in words")
    output = loaded[0].generate(**prompts, max_new_tokens=24, do_sample=False)
    said = processor.batch_decode(
        output[:, prompts["input_ids"].shape[1] :], skip_special_tokens=True
    )
    for sample, text in zip(samples, said, strict=True):
        caption, letter = re.findall(r"(\w[\w& -]*?) ([A-D])\b", text)[0]
        assert sample.options[letter] == caption, text


def test_notes_name_the_prompt_and_the_data_it_was_made_with(checkpoint, notes):
    styles = {"tiny-vl": ("nothink", "text"), "tiny-vl-letters": ("think", "letter")}
    assert notes["schema"] == "medr1.checkpoint/1"
    assert (notes["prompt"], notes["answer_style"]) == styles[checkpoint.name]
    assert notes["prompt_sha256"] == prompt_sha256(notes["prompt"])
    assert notes["base"] is None
    assert notes["validation"]["default"] - notes["validation"]["default_shuffled_images"] > 0.1
