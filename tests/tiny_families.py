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
    GotOcr2ImageProcessor,
    GPT2Tokenizer,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessor,
    Idefics3Processor,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVideoProcessor,
    InternVLVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    LlavaProcessor,
    Qwen2Config,
    Qwen2Tokenizer,
    SiglipImageProcessor,
    SiglipVisionConfig,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMImageProcessor,
    SmolVLMProcessor,
    SmolVLMVideoProcessor,
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
# These are shorter than the published ones. They give the same prompts for messages with text and
# images; none knows videos.

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

# The form is that of `chat_template` in convert_internvl_weights_to_hf.py, with the image token of
# the present InternVLProcessor. There is no default system message.
INTERNVL_TEMPLATE = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' -}}
{%- if message['content'] is string -%}
{{- message['content'] -}}
{%- else -%}
{%- for part in message['content'] -%}
{{- '<IMG_CONTEXT>\\n' if part['type'] == 'image' else part['text'] -}}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""

# The form is that of transformers' test_processing_llava_onevision.py: a space after the role, all
# images before all texts, and no new line after a message.
LLAVA_ONEVISION_TEMPLATE = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + ' ' -}}
{%- if message['content'] is string -%}
{{- '\\n' + message['content'] -}}
{%- else -%}
{%- for part in message['content'] if part['type'] == 'image' -%}
{{- '<image>' -}}
{%- endfor -%}
{%- for part in message['content'] if part['type'] == 'text' -%}
{{- '\\n' + part['text'] -}}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""

# The form is that of DEFAULT_CHAT_TEMPLATE in processing_smolvlm.py: one token at the start of the
# conversation, and no space before an image.
SMOLVLM_TEMPLATE = """\
{{- '<|im_start|>' -}}
{%- for message in messages -%}
{{- message['role'] | capitalize + ':' -}}
{%- if message['content'] is string -%}
{{- ' ' + message['content'] -}}
{%- else -%}
{{- '' if message['content'][0]['type'] == 'image' else ' ' -}}
{%- for part in message['content'] -%}
{{- '<image>' if part['type'] == 'image' else part['text'] -}}
{%- endfor -%}
{%- endif -%}
{{- '<end_of_utterance>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- 'Assistant:' -}}
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


@cache
def _byte_level_vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """All bytes and some frequent words, for a byte-level BPE."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    trained.train_from_iterator(CORPUS, trainer)
    return _merges(trained)


def qwen_tokenizer(special: list[str], kind: type = Qwen2Tokenizer, **named: str) -> Any:
    """Qwen's tokenizer class with a small vocabulary.

    Args:
        special: More special tokens.
        kind: The class of the tokenizer.
        **named: Special tokens which are attributes of the tokenizer.
    """
    vocab, merges = _byte_level_vocabulary()
    tokenizer = kind(
        vocab=dict(vocab), merges=merges, eos_token="<|im_end|>", extra_special_tokens=named
    )
    tokenizer.add_special_tokens({"extra_special_tokens": ["<|im_start|>", *special]})
    return tokenizer


def smollm_tokenizer() -> GPT2Tokenizer:
    """The tokenizer class of SmolVLM with its special tokens and a small vocabulary."""
    vocab, merges = _byte_level_vocabulary()
    tokenizer = GPT2Tokenizer(
        vocab=dict(vocab),
        merges=merges,
        unk_token="<|endoftext|>",
        bos_token="<|im_start|>",
        eos_token="<end_of_utterance>",
        pad_token="<|im_end|>",
        extra_special_tokens={
            "fake_image_token": "<fake_token_around_image>",
            "image_token": "<image>",
            "end_of_utterance_token": "<end_of_utterance>",
            "global_image_token": "<global-img>",
        },
    )
    places = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    tokenizer.add_special_tokens({"extra_special_tokens": places})
    return tokenizer


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


def write(folder: Path, model_class: Any, config: Any, processor: Any, ends: list[str]) -> None:
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
            weights.add_(torch.randn_like(weights) * 0.15)
            if name.endswith(("o_proj.weight", "down_proj.weight", "linear_attn.out_proj.weight")):
                weights[0] = 0  # so the first number of a text token's state is its embedding's
            if name.endswith("experts.down_proj"):
                weights[:, 0] = 0
            if config.tie_word_embeddings and name.endswith("language_model.norm.weight"):
                weights.add_(2)  # and smaller embeddings, or the last token is always repeated
                model.get_input_embeddings().weight.div_(3)
        model.get_input_embeddings().weight[:, 0] = 0.05
        model.get_output_embeddings().weight[config.image_token_id, 0] = -100
    tokenizer = processor.tokenizer
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.convert_tokens_to_ids(ends),
        pad_token_id=tokenizer.pad_token_id,
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


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


def gemma3(folder: Path) -> None:
    """Write a Gemma 3: five layers with a sliding window and a full one, four tokens an image."""
    tokenizer = gemma_tokenizer()
    config = Gemma3Config(
        text_config=Gemma3TextConfig(
            vocab_size=len(tokenizer),
            hidden_size=HIDDEN_SIZE,
            intermediate_size=96,
            num_hidden_layers=6,  # the last one has full attention
            sliding_window=8,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=32,  # not hidden_size / num_attention_heads; so it is in the published ones
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
    write(folder, Gemma3ForConditionalGeneration, config, processor, ends)


def text_settings(tokenizer: Any, **more: Any) -> dict[str, Any]:
    """The settings of a language model that Qwen2's and Llama's configurations share."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": HIDDEN_SIZE,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": POSITIONS,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        **more,
    }


def internvl(folder: Path) -> None:
    """Write an InternVL3: a Qwen2; four tokens for an image, or for each tile of a wide one."""
    tokenizer = qwen_tokenizer(
        [],
        start_image_token="<img>",
        end_image_token="</img>",
        context_image_token="<IMG_CONTEXT>",
        video_token="<video>",
    )
    size = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    config = InternVLConfig(
        text_config=Qwen2Config(**text_settings(tokenizer, tie_word_embeddings=False)),
        vision_config=InternVLVisionConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            attention_bias=True,
            image_size=IMAGE_SIZE,
            patch_size=PATCH_SIZE,
        ),
        image_token_id=tokenizer.context_image_token_id,
        image_seq_length=4,
        tie_word_embeddings=False,
    )
    processor = InternVLProcessor(
        GotOcr2ImageProcessor(size=size, max_patches=2),
        tokenizer,
        InternVLVideoProcessor(size=size),
        image_seq_length=4,
        chat_template=INTERNVL_TEMPLATE,
    )
    write(folder, InternVLForConditionalGeneration, config, processor, ["<|im_end|>"])


def llava_onevision(folder: Path) -> None:
    """Write a LLaVA-OneVision: a SigLIP and a Qwen2; the number of tokens depends on the image."""
    tokenizer = qwen_tokenizer(["<image>", "<video>"])
    side = 2 * PATCH_SIZE
    size = {"height": side, "width": side}
    grids = [[side, side], [side, 2 * side], [2 * side, side]]
    config = LlavaOnevisionConfig(
        text_config=Qwen2Config(**text_settings(tokenizer, tie_word_embeddings=True)),
        vision_config=siglip(side),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=grids,
        tie_word_embeddings=True,
    )
    processor = LlavaOnevisionProcessor(
        LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=grids),
        tokenizer,
        LlavaOnevisionVideoProcessor(size=size),
        num_image_tokens=4,
        vision_feature_select_strategy="full",
        chat_template=LLAVA_ONEVISION_TEMPLATE,
    )
    write(folder, LlavaOnevisionForConditionalGeneration, config, processor, ["<|im_end|>"])


def _smol(folder: Path, config_class: Any, model_class: Any, make_processor: Any) -> None:
    """Write a SmolVLM or an Idefics 3: tiles of one token each, and a row and column for each."""
    tokenizer = smollm_tokenizer()
    side = 2 * PATCH_SIZE
    config = config_class(
        text_config=LlamaConfig(**text_settings(tokenizer, tie_word_embeddings=False)),
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": side,
            "patch_size": PATCH_SIZE,
        },
        image_token_id=tokenizer.image_token_id,
        scale_factor=2,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )
    sizes = {"size": {"longest_edge": 2 * side}, "max_image_size": {"longest_edge": side}}
    write(folder, model_class, config, make_processor(tokenizer, sizes), ["<end_of_utterance>"])


def smolvlm(folder: Path) -> None:
    """Write a SmolVLM 2. Its processor needs the package num2words."""

    def processor(tokenizer: GPT2Tokenizer, sizes: dict[str, Any]) -> SmolVLMProcessor:
        return SmolVLMProcessor(
            SmolVLMImageProcessor(**sizes),
            tokenizer,
            SmolVLMVideoProcessor(**sizes),
            image_seq_len=1,
            chat_template=SMOLVLM_TEMPLATE,
        )

    _smol(folder, SmolVLMConfig, SmolVLMForConditionalGeneration, processor)


def idefics3(folder: Path) -> None:
    """Write an Idefics 3 with the tokens and the template of the first SmolVLM, which is one."""

    def processor(tokenizer: GPT2Tokenizer, sizes: dict[str, Any]) -> Idefics3Processor:
        return Idefics3Processor(
            Idefics3ImageProcessor(**sizes),
            tokenizer,
            image_seq_len=1,
            chat_template=SMOLVLM_TEMPLATE,
        )

    _smol(folder, Idefics3Config, Idefics3ForConditionalGeneration, processor)


def llava(folder: Path) -> None:
    """Write a LLaVA 1.5 with a SigLIP: one image is always four tokens."""
    tokenizer = qwen_tokenizer(["<image>"], image_token="<image>")
    side = 2 * PATCH_SIZE
    config = LlavaConfig(
        text_config=Qwen2Config(**text_settings(tokenizer, tie_word_embeddings=True)),
        vision_config=siglip(side),
        image_token_index=tokenizer.image_token_id,
        image_seq_length=4,
        vision_feature_select_strategy="full",
        tie_word_embeddings=True,
    )
    processor = LlavaProcessor(
        SiglipImageProcessor(size={"height": side, "width": side}),
        tokenizer,
        patch_size=PATCH_SIZE,
        vision_feature_select_strategy="full",
        chat_template=LLAVA_ONEVISION_TEMPLATE,
    )
    write(folder, LlavaForConditionalGeneration, config, processor, ["<|im_end|>"])


FAMILIES: dict[str, Callable[[Path], None]] = {
    "gemma3": gemma3,
    "internvl": internvl,
    "llava_onevision": llava_onevision,
    "smolvlm": smolvlm,
    "idefics3": idefics3,
}
"""Model type -> what writes a checkpoint of it into a folder. medr1 has a file for each."""
OTHERS: dict[str, Callable[[Path], None]] = {"llava": llava}
"""The same for types that medr1 has no file for."""
