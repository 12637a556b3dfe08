"""How many tokens the prompts have, and a refusal of those that do not fit, before the run.

Nothing cuts a prompt: what is left of one without its end, or without some of its image tokens,
is another question.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from medr1.data.images import image_size
from medr1.data.roots import ImageRoot, resolve_image
from medr1.errors import InputError, ItemError
from medr1.models import LoadedModel
from medr1.prompts import chat_messages
from medr1.records import Sample

_BATCH = 512


@dataclass(frozen=True)
class PromptLength:
    """The tokens of one sample's prompt."""

    sample: Sample
    text: int
    image: int
    target: int = 0
    """Tokens of the completion that is learned after it, by SFT."""

    @property
    def prompt(self) -> int:
        """All tokens of the prompt, image tokens included."""
        return self.text + self.image

    @property
    def total(self) -> int:
        """All tokens, those of the target included."""
        return self.prompt + self.target


def pixel_limits(processor: Any) -> tuple[int, int]:
    """min_pixels and max_pixels: the least and the most pixels of an image after resizing."""
    size = processor.image_processor.size
    return int(size["shortest_edge"]), int(size["longest_edge"])


def set_pixel_limits(processor: Any, min_pixels: int | None, max_pixels: int | None) -> None:
    """Make the processor enlarge and shrink images to these many pixels; InputError for nonsense.

    `size` is what it reads, and what is saved with the checkpoint; its attribute `max_pixels`,
    which the original set, is not read any more.
    """
    limits = zip((min_pixels, max_pixels), pixel_limits(processor), strict=True)
    least, most = (own if given is None else given for given, own in limits)
    token = pixels_of_a_token(processor)
    if not token <= most or not 0 < least <= most:
        raise InputError(
            f"--min-pixels {least} and --max-pixels {most} leave no image: one token shows "
            f"{token} pixels, and the least may not be above the most."
        )
    size = processor.image_processor.size
    size["shortest_edge"], size["longest_edge"] = least, most


def pixels_of_a_token(processor: Any) -> int:
    """How many pixels one image token shows: the square of patch size times merge size."""
    images = processor.image_processor
    return int(images.patch_size * images.merge_size) ** 2


def image_tokens(processor: Any, width: int, height: int) -> int:
    """The tokens of one image of these many pixels."""
    images = processor.image_processor
    return int(images.get_number_of_image_patches(height, width) // images.merge_size**2)


def text_tokens(loaded: LoadedModel, samples: Sequence[Sample], prompt: str) -> list[int]:
    """The tokens of each prompt, of its text and of the chat template, without the images'."""
    processor, lengths = loaded.processor, []
    for start in range(0, len(samples), _BATCH):
        batch = samples[start : start + _BATCH]
        texts = [rendered(loaded, sample, prompt) for sample in batch]
        rows = processor.tokenizer(texts)["input_ids"]
        lengths += [len(row) - len(s.images) for row, s in zip(rows, batch, strict=True)]
    return lengths


def rendered(loaded: LoadedModel, sample: Sample, prompt: str) -> str:
    """The prompt in the checkpoint's chat template, one image token where each image goes."""
    messages = chat_messages(sample, prompt, loaded.info.answer_style)
    return str(
        loaded.processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    )


def prompt_lengths(
    loaded: LoadedModel,
    samples: Sequence[Sample],
    image_root: ImageRoot,
    prompt: str,
    targets: Sequence[int] | None = None,
) -> list[PromptLength]:
    """The lengths of all prompts; each image file's header is read once.

    `targets` are the tokens that are learned after each. An image that cannot be read counts as
    the largest that there can be: reading it says why.
    """
    most = pixel_limits(loaded.processor)[1] // pixels_of_a_token(loaded.processor)

    def tokens(name: str) -> int:
        try:
            return image_tokens(loaded.processor, *image_size(resolve_image(name, image_root)))
        except (ItemError, ValueError):
            return most

    names = list({name for sample in samples for name in sample.images})
    with ThreadPoolExecutor(16) as pool:
        tokens_of = dict(zip(names, pool.map(tokens, names), strict=True))
    return [
        PromptLength(sample, text, sum(tokens_of[name] for name in sample.images), target)
        for sample, text, target in zip(
            samples,
            text_tokens(loaded, samples, prompt),
            targets or [0] * len(samples),
            strict=True,
        )
    ]


def require_room(
    loaded: LoadedModel,
    samples: Sequence[Sample],
    image_root: ImageRoot,
    prompt: str,
    room: int,
    targets: Sequence[int] | None = None,
) -> None:
    """InputError where a prompt has more than `room` tokens: how many, and what would fit them.

    With `targets`, the tokens that are learned after each, both together have to fit.

    Image headers are read only of samples that might be too long at the most pixels.
    """
    most = pixel_limits(loaded.processor)[1] // pixels_of_a_token(loaded.processor)
    texts = text_tokens(loaded, samples, prompt)
    learned = targets or [0] * len(samples)
    doubtful = [
        index
        for index, sample in enumerate(samples)
        if texts[index] + learned[index] + most * len(sample.images) > room
    ]
    chosen, after = [samples[i] for i in doubtful], [learned[i] for i in doubtful]
    found = prompt_lengths(loaded, chosen, image_root, prompt, after)
    if too_long := [length for length in found if length.total > room]:
        worst = max(too_long, key=lambda length: length.total)
        raise InputError(
            f"{len(too_long)} of {len(samples)} prompts{' with their answers' if targets else ''} "
            f"have more than {room} tokens, the longest (item {worst.sample.id}) {worst.total}, "
            f"of which {worst.image} show its image. "
            f"{_remedy(loaded, too_long, room)}"
        )


def _remedy(loaded: LoadedModel, too_long: Sequence[PromptLength], room: int) -> str:
    """What to do: the most pixels with which all fit, where there are such."""
    token = pixels_of_a_token(loaded.processor)
    fits = min((room - p.text - p.target) // max(len(p.sample.images), 1) for p in too_long)
    if fits * token >= pixel_limits(loaded.processor)[0]:
        return f"Shrink images with --max-pixels {fits * token}, or leave these items out."
    return "Shorten these questions or leave them out."
