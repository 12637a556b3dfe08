"""Tiny checkpoints with random weights of five families of vision-language models.

Each builder writes a complete checkpoint folder without any download: weights, configurations,
processor, tokenizer and chat template. The classes, special tokens and kinds of layers are those
of the published checkpoints; only the sizes are smaller.
"""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from tokenizers.trainers import BpeTrainer
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3ImageProcessor,
    Gemma3Processor,
    Gemma3TextConfig,
    GemmaTokenizer,
    GenerationConfig,
    SiglipVisionConfig,
)

HIDDEN_SIZE = 64
POSITIONS = 2048
IMAGE_SIZE = 56
PATCH_SIZE = 14
CORPUS = [
    "What is shown in this image? Answer with the letter of the option. A) CT, B) MRI, C) X-ray",
    "The question is about the image. Think about it first, and then answer: yes or no.",
    "You are a helpful assistant. user model system User: Assistant: Is there a fracture?",
    "<think> the image shows the chest </think> <answer> pneumonia </answer>",
]

# ------------------------------------------------------------------------------- chat templates
# Our own, shorter templates. For messages with images and text, they give the same prompt as the
# published ones.

# The form is that of _CHAT_TEMPLATE in transformers' convert_gemma3_weights.py: the system message
# is part of the first user message, and all texts are trimmed.
GEMMA3_TEMPLATE = """\
{%- macro parts(content) -%}
{%- if content is string -%}
{{- content | trim -}}
{%- else -%}
{%- for part in content -%}
{{- '<start_of_image>' if part['type'] == 'image' else part['text'] | trim -}}
{%- endfor -%}
{%- endif -%}
{%- endmacro -%}
{{- bos_token -}}
{%- set system = '' -%}
{%- if messages[0]['role'] == 'system' -%}
{%- set first = messages[0]['content'] -%}
{%- set system = (first if first is string else first[0]['text']) + '\\n\\n' -%}
{%- set messages = messages[1:] -%}
{%- endif -%}
{%- for message in messages -%}
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
{{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') -}}
{%- endif -%}
{{- '<start_of_turn>' + ('model' if message['role'] == 'assistant' else message['role']) -}}
{{- '\\n' + (system if loop.first else '') + parts(message['content']) + '<end_of_turn>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<start_of_turn>model\\n' -}}
{%- endif -%}
"""

# ----------------------------------------------------------------------------------- tokenizers


def _merges(trained: Tokenizer) -> tuple[dict[str, int], list[tuple[str, str]]]:
    model = json.loads(trained.to_str())["model"]
    return model["vocab"], [tuple(pair) for pair in model["merges"]]


@cache
def _gemma_vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Characters, frequent words with the space as "▁", and one token for each other byte."""
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Replace(" ", "▁")
    trained.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    trainer = BpeTrainer(
        vocab_size=250,
        initial_alphabet=["▁", "\n", *map(chr, range(33, 127))],
        show_progress=False,
    )
    trained.train_from_iterator(CORPUS, trainer)
    pieces, merges = _merges(trained)
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    names = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), *pieces, "\n\n"]
    return {name: place for place, name in enumerate(names)}, [*merges, ("\n", "\n")]


def gemma_tokenizer() -> GemmaTokenizer:
    """Gemma's tokenizer class with its special tokens and a small vocabulary."""
    vocab, merges = _gemma_vocabulary()
    tokenizer = GemmaTokenizer(
        vocab=vocab,
        merges=merges,
        extra_special_tokens={
            "boi_token": "<start_of_image>",
            "eoi_token": "<end_of_image>",
            "image_token": "<image_soft_token>",
        },
    )
    tokenizer.add_special_tokens({"extra_special_tokens": ["<start_of_turn>", "<end_of_turn>"]})
    return tokenizer


# --------------------------------------------------------------------------------------- folders


def _write(folder: Path, model_class: Any, config: Any, processor: Any, ends: list[str]) -> None:
    """Write a checkpoint with random weights.

    The weights are not those of the class's own initialization, which has zeros (Gemma 3's
    projection of the image), ones (norms), and values so small that no image changes the logits.
    No answer contains the token that stands for a part of an image: the model could not read it.

    Args:
        folder: The folder to write.
        model_class: The class of the model.
        config: The configuration of the model.
        processor: The processor, with the chat template.
        ends: The tokens at which an answer ends.
    """
    torch.manual_seed(0)
    model = model_class(config).eval()
    with torch.no_grad():
        for name, weights in model.named_parameters():
            weights.add_(torch.randn_like(weights) * 0.2)
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                weights[0] = 0  # so the first number of a text token's state is its embedding's
        model.get_input_embeddings().weight[:, 0] = 0.2
        model.get_output_embeddings().weight[config.image_token_id, 0] = -100
    tokenizer = processor.tokenizer
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.convert_tokens_to_ids(ends),
        pad_token_id=tokenizer.pad_token_id,
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def gemma3(folder: Path) -> None:
    """Write a Gemma 3: layers with a sliding window and a full layer, four tokens for an image."""
    tokenizer = gemma_tokenizer()
    config = Gemma3Config(
        text_config=Gemma3TextConfig(
            vocab_size=len(tokenizer),
            hidden_size=HIDDEN_SIZE,
            intermediate_size=128,
            num_hidden_layers=3,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
            sliding_window=8,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=32,  # not hidden_size / num_attention_heads, as in the published ones
            query_pre_attn_scalar=32,
            max_position_embeddings=POSITIONS,
            rope_parameters={
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            },
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        ),
        vision_config=siglip(),
        mm_tokens_per_image=4,
        image_token_index=tokenizer.image_token_id,
        boi_token_index=tokenizer.boi_token_id,
        eoi_token_index=tokenizer.eoi_token_id,
        eos_token_id=tokenizer.convert_tokens_to_ids(["<eos>", "<end_of_turn>"]),
    )
    processor = Gemma3Processor(
        Gemma3ImageProcessor(
            size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
            image_mean=[0.5] * 3,
            image_std=[0.5] * 3,
        ),
        tokenizer,
        chat_template=GEMMA3_TEMPLATE,
        image_seq_length=4,
    )
    ends = ["<eos>", "<end_of_turn>"]
    _write(folder, Gemma3ForConditionalGeneration, config, processor, ends)


def siglip(image_size: int = IMAGE_SIZE) -> SiglipVisionConfig:
    """The vision tower of Gemma 3 and of LLaVA-OneVision: SigLIP without its pooling head."""
    return SiglipVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=image_size,
        patch_size=PATCH_SIZE,
        vision_use_head=False,
    )


FAMILIES: dict[str, Callable[[Path], None]] = {"gemma3": gemma3}
