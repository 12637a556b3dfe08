"""Chat messages with images, as an OpenAI-compatible server takes them."""

from __future__ import annotations

import asyncio
import base64
import io
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medr1.chat.responses import ChatResponse
from medr1.data.images import load_image
from medr1.data.roots import resolve_image
from medr1.errors import ItemError
from medr1.infer.ablation import ablate, change_notes, shown_image
from medr1.infer.engine import InferencePlan
from medr1.prompts import chat_messages, with_images
from medr1.records import Sample

if TYPE_CHECKING:
    from PIL.Image import Image

CONTROL_TOKENS = (
    # Qwen
    *("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|vision_start|>", "<|vision_end|>"),
    *("<|vision_pad|>", "<|image_pad|>", "<|video_pad|>", "<|object_ref_start|>"),
    *("<|object_ref_end|>", "<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>"),
    # Gemma
    *("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>", "<start_of_image>"),
    *("<end_of_image>", "<image_soft_token>"),
    # Llama
    *("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|start_header_id|>"),
    *("<|end_header_id|>", "<|image|>"),
    # InternVL, LLaVA, Idefics, SmolVLM
    *("<IMG_CONTEXT>", "<img>", "</img>", "<image>", "<video>", "<fake_token_around_image>"),
    *("<global-img>", "<end_of_utterance>"),
    # Mistral, Phi
    *("<s>", "</s>", "[INST]", "[/INST]", "[IMG]", "[IMG_BREAK]", "[IMG_END]"),
    *("<|user|>", "<|assistant|>", "<|system|>", "<|end|>"),
)
"""Control tokens of the usual model families. The tokenizer of a server is not known; if one of
these stands in a question, the server may read it as the end of the turn or as an image."""

_CACHE_BYTES = 200_000_000
"""Most characters of encoded images in memory."""
_THREADS = 4
"""Threads that read and encode images."""


@dataclass(frozen=True)
class EncodedImage:
    """An image as a request contains it."""

    url: str
    """The pixels as PNG, in a data URL."""
    notes: tuple[str, ...]
    """What was done to the image."""
    blank_url: str | None = None
    """A grey image of the same size, if --token-logprobs asks for it."""


class ImageEncoder:
    """Encodes the images of a plan, each once: questions about one image come together.

    The images are those that the local engine shows its model: read by the same loader with the
    same limits, perturbed and ablated.

    Args:
        plan: The plan.
    """

    def __init__(self, plan: InferencePlan) -> None:
        self._plan = plan
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="encode")
        self._tasks: OrderedDict[object, asyncio.Task[EncodedImage]] = OrderedDict()
        self._size = 0

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(cancel_futures=True)

    async def encode(self, name: str, perturbation: tuple[str, int] | None) -> EncodedImage:
        """Encode one image; ItemError if it cannot be used.

        Args:
            name: Its path as in the file of questions.
            perturbation: (kind, severity) of its perturbation; None for none.
        """
        key = (name, perturbation)
        if key not in self._tasks:
            self._tasks[key] = asyncio.create_task(self._encode_in_thread(name, perturbation))
        self._tasks.move_to_end(key)
        # Shielded, because other questions may wait for the same image.
        return await asyncio.shield(self._tasks[key])

    async def _encode_in_thread(
        self, name: str, perturbation: tuple[str, int] | None
    ) -> EncodedImage:
        loop = asyncio.get_running_loop()
        image = await loop.run_in_executor(self._threads, self._encode, name, perturbation)
        if (name, perturbation) in self._tasks:
            self._size += len(image.url)
        while self._size > _CACHE_BYTES and len(self._tasks) > 1:
            _, oldest = self._tasks.popitem(last=False)
            # What is still being encoded, or failed, is not counted.
            if oldest.done() and not oldest.exception():
                self._size -= len(oldest.result().url)
        return image

    def _encode(self, name: str, perturbation: tuple[str, int] | None) -> EncodedImage:
        plan = self._plan
        ablation = plan.decoding.ablate_image
        try:
            loaded = load_image(resolve_image(name, plan.image_root))
            image = shown_image(name, loaded.image, perturbation, ablation, plan.seed)
            url = data_url(image)
            grey = data_url(ablate(image, "blank", "")) if plan.decoding.token_logprobs else None
        except MemoryError:
            raise ItemError(
                "out_of_memory", f"{name}: needs too much memory. Use a smaller image."
            ) from None
        return EncodedImage(url, loaded.notes + change_notes(perturbation, ablation), grey)


def data_url(image: Image) -> str:
    """An image as PNG in a data URL. PNG keeps every pixel."""
    buffer = io.BytesIO()
    # Level 1 is several times as fast as Pillow's 6, and the file a tenth larger.
    image.save(buffer, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(buffer.getbuffer()).decode('ascii')}"


def request_messages(
    sample: Sample, prompt: str, answer_style: str, images: Sequence[EncodedImage]
) -> list[dict[str, object]]:
    """The messages of one question: earlier turns, the images and the text.

    Args:
        sample: The question, with its options in the order of the prompt.
        prompt: The prompt template.
        answer_style: letter or text.
        images: The images of the question.
    """
    parts = [{"type": "image_url", "image_url": {"url": image.url}} for image in images]
    return with_images(chat_messages(sample, prompt, answer_style), parts)


def whole_text(prefill: str, response: ChatResponse) -> str:
    """A completion with the beginning that it continues.

    Args:
        prefill: The beginning of the completion; "" without one.
        response: The server's answer.
    """
    if not prefill:
        return response.text
    message = response.choices[0].message
    rest = message.content or message.reasoning_content or message.reasoning or ""
    return (prefill + rest).strip()
