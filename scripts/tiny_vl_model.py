"""The embedded models before training: tokenizer, processor, configuration, initial weights."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from tiny_vl_recipe import Recipe
from tokenizers import AddedToken, pre_tokenizers
from tokenizers.trainers import BpeTrainer
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

from medr1.prompts import ANSWER_STYLES, chat_messages, user_text
from medr1.records import Sample

CONTROL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
TAGS = ("<think>", "</think>", "<answer>", "</answer>")
IMAGE_SIZE = {"shortest_edge": 56 * 56, "longest_edge": 112 * 112}
PATCH_SIZE, MERGE_SIZE, TEMPORAL_PATCH_SIZE = 14, 2, 2

# Has the same results as Qwen2.5-VL's template: a default system message, and vision tokens for an
# image or video.
CHAT_TEMPLATE = """\
{%- set seen = namespace(images=0, videos=0) -%}
{%- for message in messages -%}
{%- if loop.first and message['role'] != 'system' -%}
{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' -}}
{%- endif -%}
{{- '<|im_start|>' + message['role'] + '\\n' -}}
{%- if message['content'] is string -%}
{{- message['content'] -}}
{%- else -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'image' or 'image' in part or 'image_url' in part -%}
{%- set seen.images = seen.images + 1 -%}
{%- if add_vision_id -%}{{- 'Picture ' ~ seen.images ~ ': ' -}}{%- endif -%}
{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}
{%- elif part['type'] == 'video' or 'video' in part -%}
{%- set seen.videos = seen.videos + 1 -%}
{%- if add_vision_id -%}{{- 'Video ' ~ seen.videos ~ ': ' -}}{%- endif -%}
{{- '<|vision_start|><|video_pad|><|vision_end|>' -}}
{%- elif 'text' in part -%}
{{- part['text'] -}}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""


def right_answer(sample: Sample) -> str:
    """The right answer in words: the option's text, or the ground truth if there are no options."""
    assert sample.ground_truth is not None
    return sample.options.get(sample.ground_truth, sample.ground_truth)


def render(processor: Any, sample: Sample, recipe: Recipe) -> str:
    """The prompt as text, in the chat format, with one `<|image_pad|>` for each image.

    Args:
        processor: The processor with the chat template.
        sample: The question.
        recipe: Gives the prompt and the answer style.
    """
    messages = chat_messages(sample, recipe.prompt, recipe.answer_style)
    text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert isinstance(text, str)
    return text


# ---------------------------------------------------------------------------------- tokenizer


def corpus(samples: Iterable[Sample]) -> Iterator[str]:
    """The texts for training the tokenizer: all prompts, and each answer in several contexts."""
    yield from ("system\nYou are a helpful assistant.", "user\n", "assistant\n", "Yes No Unknown")
    for sample in samples:
        for prompt in ("think", "nothink", "think-after"):
            for style in ANSWER_STYLES:
                text = user_text(sample, prompt, style)
                for tag in TAGS:
                    text = text.replace(tag, "\n")
                yield text
        answer = right_answer(sample)
        yield from (answer, f" {answer} ", f"The answer is {answer}.")


def train_tokenizer(samples: Sequence[Sample], vocab_size: int) -> Qwen2Tokenizer:
    """Train a byte-level BPE with Qwen's pre-tokenizer: all 256 bytes, then frequent words."""
    blank = Qwen2Tokenizer()
    trainer = BpeTrainer(
        vocab_size=vocab_size - len(CONTROL_TOKENS) - len(TAGS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained = blank._tokenizer
    trained.train_from_iterator(corpus(samples), trainer)
    state = json.loads(trained.to_str())["model"]
    words = sorted(set(state["vocab"]) - set(CONTROL_TOKENS), key=state["vocab"].get)
    tokenizer = Qwen2Tokenizer(
        vocab={word: number for number, word in enumerate(words)},
        merges=[tuple(pair) for pair in state["merges"]],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
    )
    tokenizer.add_tokens([AddedToken(t, special=True, normalized=False) for t in CONTROL_TOKENS])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in TAGS])
    return tokenizer


def build_processor(samples: Sequence[Sample], recipe: Recipe) -> Qwen2_5_VLProcessor:
    """A processor of Qwen2.5-VL with a small tokenizer and at most 16 tokens per image.

    Args:
        samples: The training split, from which the tokenizer is trained.
        recipe: Has the size of the vocabulary.
    """
    grid: dict[str, Any] = {
        "size": IMAGE_SIZE,
        "patch_size": PATCH_SIZE,
        "merge_size": MERGE_SIZE,
        "temporal_patch_size": TEMPORAL_PATCH_SIZE,
    }
    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(**grid),
        tokenizer=train_tokenizer(samples, recipe.vocab_size),
        video_processor=Qwen2VLVideoProcessor(**grid),
        chat_template=CHAT_TEMPLATE,
    )


# -------------------------------------------------------------------------------------- model


def model_config(tokenizer: Qwen2Tokenizer, recipe: Recipe) -> Qwen2_5_VLConfig:
    """A small configuration of Qwen2.5-VL, with the token ids of the tokenizer."""
    token_id = tokenizer.convert_tokens_to_ids
    half_head = recipe.hidden_size // recipe.heads // 2
    spatial = 3 * half_head // 8  # height and width; time takes the rest, as in Qwen2.5-VL
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": recipe.hidden_size,
        "intermediate_size": 3 * recipe.hidden_size,
        "num_hidden_layers": recipe.layers,
        "num_attention_heads": recipe.heads,
        "num_key_value_heads": recipe.heads,
        "max_position_embeddings": 2048,
        "initializer_range": recipe.initializer_range,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1_000_000.0,
            "mrope_section": [half_head - 2 * spatial, spatial, spatial],
        },
        "bos_token_id": token_id("<|endoftext|>"),
        "eos_token_id": token_id("<|im_end|>"),
        "pad_token_id": token_id("<|endoftext|>"),
        "tie_word_embeddings": True,
    }
    vision = {
        "depth": recipe.vision_depth,
        "hidden_size": recipe.vision_hidden_size,
        "intermediate_size": 3 * recipe.vision_hidden_size,
        "num_heads": 4,
        "out_hidden_size": recipe.hidden_size,
        "patch_size": PATCH_SIZE,
        "spatial_merge_size": MERGE_SIZE,
        "temporal_patch_size": TEMPORAL_PATCH_SIZE,
        "window_size": 112,
        "fullatt_block_indexes": [recipe.vision_depth - 1],
        "initializer_range": recipe.initializer_range,
    }
    return Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        initializer_range=recipe.initializer_range,
        image_token_id=token_id("<|image_pad|>"),
        video_token_id=token_id("<|video_pad|>"),
        vision_start_token_id=token_id("<|vision_start|>"),
        vision_end_token_id=token_id("<|vision_end|>"),
        tie_word_embeddings=True,
    )


def build_model(tokenizer: Qwen2Tokenizer, recipe: Recipe) -> Qwen2_5_VLForConditionalGeneration:
    """A model with initial weights, whose attention first looks at tokens like the current one.

    Args:
        tokenizer: The tokenizer of `build_processor`.
        recipe: Has the sizes and the seed.
    """
    torch.manual_seed(recipe.seed)
    model = Qwen2_5_VLForConditionalGeneration(model_config(tokenizer, recipe))
    with torch.no_grad():
        start_as_lookup(model)
        share_spellings(model.get_input_embeddings().weight, tokenizer, recipe.shared_spelling)
    generation = model.generation_config
    generation.bos_token_id = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    generation.pad_token_id = tokenizer.pad_token_id
    generation.eos_token_id = [tokenizer.eos_token_id, tokenizer.pad_token_id]
    generation.do_sample = False
    return model


def start_as_lookup(model: Qwen2_5_VLForConditionalGeneration) -> None:
    """Mimetic initialization: key and query projections are equal, and the output projection is
    the inverse of the value projection, up to a factor."""
    for layer in model.model.language_model.layers:
        attention = layer.self_attn
        lookup = torch.nn.init.orthogonal_(torch.empty_like(attention.q_proj.weight))
        attention.q_proj.weight.copy_(lookup)
        attention.k_proj.weight.copy_(lookup)
        carry = torch.nn.init.orthogonal_(torch.empty_like(attention.v_proj.weight))
        attention.v_proj.weight.copy_(carry / 4)
        attention.o_proj.weight.copy_(carry.T / 4)


def share_spellings(embeddings: torch.Tensor, tokenizer: Qwen2Tokenizer, share: float) -> None:
    """Make the first embeddings of `CT`, ` CT` (in answers) and `)CT` (in options) similar."""
    ids_of_word: dict[str, list[int]] = defaultdict(list)
    for token, token_id in sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1]):
        word = token.lstrip("Ġ)")
        if word.isalpha():
            ids_of_word[word].append(token_id)
    for token_ids in ids_of_word.values():
        common = embeddings[token_ids[0]].clone()
        for token_id in token_ids[1:]:
            own = embeddings[token_id]
            embeddings[token_id] = math.sqrt(share) * common + math.sqrt(1 - share) * own
