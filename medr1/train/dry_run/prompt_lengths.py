"""Count the tokens of the prompts before a run, and refuse prompts that are too long.

No prompt is shortened: without its end, or without some of its image tokens, it would be another
question.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from medr1.data.images import image_size
from medr1.data.roots import ImageRoot, resolve_image
from medr1.errors import InputError, ItemError
from medr1.models.calls import token_ids
from medr1.models.families.family import Family
from medr1.models.loading import LoadedModel
from medr1.prompts import chat_messages
from medr1.records import Sample
from medr1.terminal import counted

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor
    from transformers import ProcessorMixin

_BATCH = 512
"""Number of prompts that are tokenized at once."""


class ImageProcessor(Protocol):
    """What is needed of an image processor, as Qwen's models have it."""

    size: dict[str, int]
    """The lowest and the highest number of pixels, as `shortest_edge` and `longest_edge`."""
    patch_size: int
    merge_size: int

    def __call__(
        self, images: Sequence[Image], *, do_rescale: bool, do_normalize: bool, return_tensors: str
    ) -> Mapping[str, Tensor]:
        """The patches of images, and the number of patches of each in time, height and width."""
        ...


class Processor(Protocol):
    """What is needed of a model's processor to count and shrink images."""

    image_processor: ImageProcessor


@dataclass(frozen=True)
class PromptLength:
    """The numbers of tokens of one sample's prompt."""

    sample: Sample
    text: int
    """Tokens of the text and of the chat template."""
    image: int
    """Image tokens."""
    target: int = 0
    """Tokens of the completion that SFT learns after the prompt; 0 for GRPO."""

    @property
    def prompt(self) -> int:
        """All tokens of the prompt, image tokens included."""
        return self.text + self.image

    @property
    def total(self) -> int:
        """All tokens, those of the target included."""
        return self.prompt + self.target


def pixel_limits(processor: Processor) -> tuple[int, int]:
    """min_pixels and max_pixels: the lowest and the highest number of pixels of a resized image."""
    size = processor.image_processor.size
    return int(size["shortest_edge"]), int(size["longest_edge"])


def set_pixel_limits(processor: Processor, min_pixels: int | None, max_pixels: int | None) -> None:
    """Set the number of pixels to which the processor enlarges or shrinks images.

    They are set in the image processor's `size`, which is saved with the checkpoint. Its attribute
    `max_pixels`, which the original project sets, has no effect in this version of transformers.

    Args:
        processor: The model's processor, which is changed.
        min_pixels: The lowest number of pixels of an image; None leaves it as it is.
        max_pixels: The highest number of pixels of an image; None leaves it as it is.

    Raises:
        InputError: The highest number is below the lowest, or too low for one image token.
    """
    limits = zip((min_pixels, max_pixels), pixel_limits(processor), strict=True)
    least, most = (default if limit is None else limit for limit, default in limits)
    token_pixels = pixels_of_a_token(processor)
    if not token_pixels <= most or not 0 < least <= most:
        raise InputError(
            f"--min-pixels {least} and --max-pixels {most} leave no image. --max-pixels has to be "
            f"at least {token_pixels}, which is one image token, and --min-pixels between 1 and "
            "--max-pixels."
        )
    size = processor.image_processor.size
    size["shortest_edge"], size["longest_edge"] = least, most


def require_no_pixel_limits(
    loaded: LoadedModel, min_pixels: int | None, max_pixels: int | None
) -> None:
    """Refuse limits of pixels for a processor that has none.

    Args:
        loaded: The model and its processor.
        min_pixels: As in `set_pixel_limits`.
        max_pixels: As in `set_pixel_limits`.

    Raises:
        InputError: One of them is set.
    """
    options = {"--min-pixels": min_pixels, "--max-pixels": max_pixels}
    if names := [name for name, value in options.items() if value is not None]:
        raise InputError(
            f"{' and '.join(names)} cannot be set for a {loaded.model.config.model_type}, whose "
            f"images are resized as {loaded.path}/preprocessor_config.json says. Leave "
            f"{'it' if len(names) == 1 else 'them'} out."
        )


def pixels_of_a_token(processor: Processor) -> int:
    """The number of pixels in one image token: the square of patch size times merge size."""
    images = processor.image_processor
    return int(images.patch_size * images.merge_size) ** 2


def text_tokens(loaded: LoadedModel, samples: Sequence[Sample], prompt: str) -> list[int]:
    """The number of tokens of each prompt, with the chat template and without image tokens.

    Args:
        loaded: The model and its processor.
        samples: The samples.
        prompt: The prompt template, as in `prompts.template`.
    """
    processor, lengths = loaded.processor, []
    for start in range(0, len(samples), _BATCH):
        batch = samples[start : start + _BATCH]
        texts = [render_prompt(loaded, sample, prompt) for sample in batch]
        rows = token_ids(processor, texts)
        lengths += [len(row) - len(s.images) for row, s in zip(rows, batch, strict=True)]
    return lengths


def render_prompt(loaded: LoadedModel, sample: Sample, prompt: str) -> str:
    """The prompt of a sample in the checkpoint's chat template, with one token for each image.

    Args:
        loaded: The model and its processor.
        sample: The sample.
        prompt: The prompt template, as in `prompts.template`.
    """
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
    """The lengths of all prompts. Of each image file, only the header is read, once.

    Args:
        loaded: The model and its processor.
        samples: The samples.
        image_root: Where relative image paths start.
        prompt: The prompt template, as in `prompts.template`.
        targets: For SFT, the number of tokens of each sample's completion; None for GRPO.

    Returns:
        One length for each sample, in order.

    Raises:
        InputError: An image cannot be read. The message has the number of such images.
    """
    size_of = _image_sizes(samples, image_root)
    has_limits = loaded.family.has_pixel_limits

    def tokens(sample: Sample) -> int:
        sizes = tuple(size_of[name] for name in sample.images)
        if not has_limits:
            return _encoded_tokens(loaded.family, loaded.processor, sizes)
        return loaded.family.image_tokens(loaded.processor, sizes)

    return [
        PromptLength(sample, text, tokens(sample), target)
        for sample, text, target in zip(
            samples,
            text_tokens(loaded, samples, prompt),
            targets or [0] * len(samples),
            strict=True,
        )
    ]


def _image_sizes(samples: Sequence[Sample], image_root: ImageRoot) -> dict[str, tuple[int, int]]:
    """Name of an image -> its width and height in pixels; InputError if one cannot be read."""

    def size(name: str) -> tuple[int, int] | str:
        try:
            return image_size(resolve_image(name, image_root))
        except (ItemError, ValueError) as error:
            return str(error)

    names = list(dict.fromkeys(name for sample in samples for name in sample.images))
    with ThreadPoolExecutor(16) as pool:
        sizes = dict(zip(names, pool.map(size, names), strict=True))
    messages = [result for result in sizes.values() if isinstance(result, str)]
    if messages:
        raise InputError(
            f"{len(messages):,} of {counted(len(names), 'image')} cannot be read. The first: "
            f"{messages[0]}"
        )
    return {name: result for name, result in sizes.items() if not isinstance(result, str)}


@lru_cache(maxsize=1 << 16)
def _encoded_tokens(
    family: Family, processor: ProcessorMixin, sizes: tuple[tuple[int, int], ...]
) -> int:
    """`Family.image_tokens` of a processor whose settings do not change, once for equal sizes."""
    return family.image_tokens(processor, sizes)


def largest_image(loaded: LoadedModel) -> int | None:
    """The most tokens that an image can have; None if the processor has no limits of pixels."""
    if not loaded.family.has_pixel_limits:
        return None
    return pixel_limits(loaded.processor)[1] // pixels_of_a_token(loaded.processor)


def require_room(
    loaded: LoadedModel,
    samples: Sequence[Sample],
    image_root: ImageRoot,
    prompt: str,
    room: int,
    targets: Sequence[int] | None = None,
) -> None:
    """Check that all prompts fit into `room` tokens.

    If the processor has limits of pixels, image headers are read only for samples that would not
    fit with the largest possible images.

    Args:
        loaded: The model and its processor.
        samples: The samples.
        image_root: Where relative image paths start.
        prompt: The prompt template, as in `prompts.template`.
        room: The most tokens of a prompt; for SFT, of a prompt and its completion.
        targets: For SFT, the number of tokens of each sample's completion; None for GRPO.

    Raises:
        InputError: A prompt is too long. The message has the number of such prompts, the longest
            one, and the --max-pixels with which all would fit, if there is one.
    """
    most = largest_image(loaded)
    target_lengths = targets or [0] * len(samples)
    candidates = list(range(len(samples)))
    if most is not None:
        texts = text_tokens(loaded, samples, prompt)
        largest = [most * len(sample.images) for sample in samples]
        candidates = [i for i in candidates if texts[i] + target_lengths[i] + largest[i] > room]
    chosen, chosen_targets = (
        [samples[i] for i in candidates],
        [target_lengths[i] for i in candidates],
    )
    lengths = prompt_lengths(loaded, chosen, image_root, prompt, chosen_targets)
    if too_long := [length for length in lengths if length.total > room]:
        longest = max(too_long, key=lambda length: length.total)
        raise InputError(
            f"{len(too_long)} of {len(samples)} prompts{' with their answers' if targets else ''} "
            f"have more than {room} tokens. The longest (item {longest.sample.id}) has "
            f"{longest.total}, of which {longest.image} are image tokens. "
            f"{_remedy(loaded, too_long, room)}"
        )


def _remedy(loaded: LoadedModel, too_long: Sequence[PromptLength], room: int) -> str:
    """What the user can do: the highest --max-pixels with which all prompts fit, if any."""
    if not loaded.family.has_pixel_limits:
        return "Shorten these questions, or leave these items out."
    token_pixels = pixels_of_a_token(loaded.processor)
    fits = min((room - p.text - p.target) // max(len(p.sample.images), 1) for p in too_long)
    if fits * token_pixels >= pixel_limits(loaded.processor)[0]:
        return f"Shrink images with --max-pixels {fits * token_pixels}, or leave these items out."
    return "Shorten these questions, or leave these items out."
