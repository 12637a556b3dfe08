"""Prompts as a server takes them, and checks that it has read what the trainer scores."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medr1.errors import InputError
from medr1.train.rollouts.server import RolloutAnswer

if TYPE_CHECKING:
    from PIL.Image import Image
    from transformers import PreTrainedTokenizerBase

_PREFIX = "data:image/png;base64,"


def pixels_sha256(image: Image) -> str:
    """SHA-256 of the size and the pixels of an image."""
    content = repr((image.mode, image.size)).encode() + image.tobytes()
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class SentImage:
    """An image as a request contains it."""

    url: str
    """The pixels as PNG, in a data URL."""
    sha256: str
    """`pixels_sha256` of the image that this PNG is decoded to."""


class PngEncoder:
    """Encodes images as PNG, each once: many prompts of a rollout may have the same image."""

    def __init__(self) -> None:
        self._encoded: dict[int, tuple[Image, SentImage]] = {}

    def encode(self, image: Image) -> SentImage:
        """The image as it is sent."""
        if id(image) not in self._encoded:  # with the image, or its id could be that of another
            self._encoded[id(image)] = image, _encode(image)
        return self._encoded[id(image)][1]


def _encode(image: Image) -> SentImage:
    from PIL import Image as Images

    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    with Images.open(io.BytesIO(buffer.getvalue())) as decoded:
        sha256 = pixels_sha256(decoded)
    return SentImage(_PREFIX + base64.b64encode(buffer.getvalue()).decode("ascii"), sha256)


def chat_request(
    prompt: Sequence[Mapping[str, Any]], encoder: PngEncoder
) -> tuple[list[dict[str, object]], list[str]]:
    """The messages of a prompt for a request.

    Args:
        prompt: The messages as TRL has them: content is a text, or a list of parts with the types
            text and image.
        encoder: Encodes the images.

    Returns:
        The messages with images as data URLs, and the hash of each image that is sent.
    """
    messages: list[dict[str, object]] = []
    hashes: list[str] = []
    for message in prompt:
        content: object = message["content"]
        if isinstance(content, list):
            parts: list[object] = []
            for part in content:
                if part["type"] == "image":
                    image = encoder.encode(part["image"])
                    hashes.append(image.sha256)
                    parts.append({"type": "image_url", "image_url": {"url": image.url}})
                else:
                    parts.append({"type": "text", "text": part["text"]})
            content = parts
        messages.append({"role": message["role"], "content": content})
    return messages, hashes


def require_same_images(item: str, sent: Sequence[str], images: Sequence[Image] | None) -> None:
    """Check that the images of a request have the pixels that the trainer scores.

    Args:
        item: Id of the item.
        sent: The hash of each image of the request.
        images: The images that the trainer's processor gets; None for none.

    Raises:
        InputError: They differ.
    """
    scored = [pixels_sha256(image) for image in images or ()]
    if list(sent) != scored:
        raise InputError(
            f"item {item!r}: the server was sent images with the SHA-256 {_short(sent)}, and the "
            f"trainer scores {_short(scored)}. This is a fault of medr1: report it."
        )


def _short(hashes: Sequence[str]) -> str:
    return ", ".join(sha256[:12] for sha256 in hashes) or "of no image"


def require_same_prompt(
    item: str, answer: RolloutAnswer, prompt_ids: Sequence[int], tokenizer: PreTrainedTokenizerBase
) -> None:
    """Check that the server has read the tokens that the trainer scores.

    Args:
        item: Id of the item.
        answer: The answer of the server.
        prompt_ids: The prompt's token ids in the trainer, those of images included.
        tokenizer: Makes the tokens readable.

    Raises:
        InputError: They differ.
    """
    server, own = list(answer.prompt_ids), list(prompt_ids)
    if server == own:
        return
    longest = max(len(server), len(own))
    place = next(i for i in range(longest) if server[i : i + 1] != own[i : i + 1])
    tokens = [
        f"{ids[place]} {tokenizer.decode(ids[place : place + 1])!r}" if place < len(ids) else "none"
        for ids in (server, own)
    ]
    raise InputError(
        f"item {item!r}: the server has read a prompt of {len(server)} tokens, and the trainer "
        f"scores one of {len(own)}; token {place + 1} is {tokens[0]} on the server and {tokens[1]} "
        "in the trainer. Serve the checkpoint that is trained, with its own chat template and the "
        "same limits of pixels (min_pixels, max_pixels)."
    )


def require_allowed_tokens(item: str, answer: RolloutAnswer, suppressed: Sequence[int]) -> None:
    """Check that no completion has a token that may not be sampled.

    Args:
        item: Id of the item.
        answer: The answer of the server.
        suppressed: Ids of the tokens, such as the placeholder of images.

    Raises:
        InputError: A completion has one.
    """
    for number, token_ids in enumerate(answer.token_ids, 1):
        if wrong := set(token_ids) & set(suppressed):
            raise InputError(
                f"item {item!r}: completion {number} of the server has the token {min(wrong)}, "
                "which stands for an image and may not be sampled. Use a server that obeys "
                "logit_bias, such as vLLM."
            )
