"""From samples to model inputs: prompts as token ids, images as the vision tower takes them.

With a GPU this runs in worker threads, while the model works on the batch before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial

from medr1.data.images import LoadedImage, load_image
from medr1.data.roots import resolve_image
from medr1.errors import InputError, ItemError
from medr1.infer.ablation import ablate, change_notes, shown_image
from medr1.infer.engine import InferencePlan
from medr1.infer.local.texts import prefill_tokens
from medr1.infer.options import answer_strings, reasons_first
from medr1.infer.predictions import Rotation, prefill_text, prompt_for, rotations
from medr1.models.calls import image_token, token_ids
from medr1.models.families.batched import EncodedImages
from medr1.models.loading import LoadedModel, batched_family, control_tokens
from medr1.processes import map_in_order
from medr1.prompts import as_plain_text, chat_messages
from medr1.records import Failure, Sample

ImageSet = tuple[tuple[str, ...], tuple[str, int] | None]
"""The images of a question as it shows them: (paths, (kind, severity) of their perturbation or
None)."""

WORKERS = 4
"""Threads that prepare batches; they wait for files and for libraries that release the lock."""

MAX_PIXELS_AT_ONCE = 36_000_000
"""Limits the decoded images of a batch in memory: once they have so many pixels, they are turned
into model inputs before the next image is opened."""


@dataclass(frozen=True, eq=False)
class PromptImages:
    """The images of one prompt, ready for the vision tower. Compared by identity."""

    encoded: EncodedImages
    notes: tuple[str, ...]
    """What was done to the images, such as "windowed 0..4095 (I;16)"."""
    blank: PromptImages | None = None
    """Grey images of the same sizes, if --token-logprobs asks for them."""


@dataclass(frozen=True, eq=False)
class Row:
    """One prompt, a row of the batch: a question with its options in one order."""

    token_ids: list[int]
    """Token ids of the prompt, and of `prefill`."""
    images: PromptImages | None
    """None without images."""
    answer_strings: Mapping[str, str]
    """Possible answer, by the letters of this row -> its answer string (`options`)."""
    reasons_first: bool
    """Whether the prompt asks for reasoning before the answer."""
    prefill: str = ""
    """The beginning of the completion, which the model continues; "" without one."""


@dataclass(frozen=True, eq=False)
class Question:
    """A sample that is ready to be asked: one row for each order of its options."""

    index: int
    """Position of the sample in the input."""
    sample: Sample
    rotations: tuple[Rotation, ...]
    rows: tuple[Row, ...]
    """The row of each rotation."""
    reasoning_from: str | None = None
    """The id of another question whose reasoning the rows begin with."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done to the images."""
        images = self.rows[0].images
        return images.notes if images else ()


@dataclass(frozen=True)
class QuestionBuilder:
    """Turns samples into questions for one model; its fields are all that decides the prompts."""

    loaded: LoadedModel
    plan: InferencePlan

    def batch(
        self, indices: Sequence[int], samples: Sequence[Sample]
    ) -> tuple[list[Question], dict[int, Failure]]:
        """Build the questions of one batch.

        Args:
            indices: Positions of the batch's samples.
            samples: All samples of the input.

        Returns:
            The questions that can be asked, and for every other position why it cannot.
        """
        failures = self.plan.failures
        questions, failed = [], {index: failures[index] for index in indices if index in failures}
        usable = [index for index in indices if index not in failed and samples[index].images]
        # The images of the whole batch first: an image processor may take them in one call.
        sets = {index: self._image_set(index, samples[index]) for index in usable}
        images, errors = self._load_images(sets.values())
        for index in indices:
            if index in failed:
                continue
            image_set = sets.get(index)
            if image_set in errors:
                failed[index] = errors[image_set]
            elif image_set is not None and image_set not in images:
                failed[index] = _too_large_failure(samples[index])
            else:
                try:
                    prompt_images = images[image_set] if image_set else None
                    questions.append(self._question(index, samples[index], prompt_images))
                except ItemError as error:
                    failed[index] = Failure(error.code, str(error))
        return questions, failed

    def _image_set(self, index: int, sample: Sample) -> ImageSet:
        return tuple(sample.images), self.plan.perturbations.get(index)

    def _load_images(
        self, sets: Iterable[ImageSet]
    ) -> tuple[dict[ImageSet, PromptImages], dict[ImageSet | None, Failure]]:
        """The model inputs of each set of images, and why files cannot be opened.

        A set that is in neither needs too much memory. Sets with an image in common share the
        decoded file, unless MAX_PIXELS_AT_ONCE was reached between them.
        """
        encoded: dict[ImageSet, PromptImages] = {}
        errors: dict[ImageSet | None, Failure] = {}
        decoded: dict[str, LoadedImage] = {}
        pending: dict[ImageSet, list[LoadedImage]] = {}
        for image_set in dict.fromkeys(sets):
            try:
                for name in image_set[0]:
                    if name not in decoded:
                        decoded[name] = load_image(resolve_image(name, self.plan.image_root))
            except ItemError as error:
                errors[image_set] = Failure(error.code, str(error))
                continue
            except MemoryError:  # left out, which the caller reports as too large
                continue
            pending[image_set] = [decoded[name] for name in image_set[0]]
            pixels = sum(image.image.width * image.image.height for image in decoded.values())
            if pixels >= MAX_PIXELS_AT_ONCE:
                encoded |= self._encode_what_fits(pending)
                decoded, pending = {}, {}
        return encoded | self._encode_what_fits(pending), errors

    def _encode_what_fits(
        self, sets: Mapping[ImageSet, Sequence[LoadedImage]]
    ) -> dict[ImageSet, PromptImages]:
        """The model inputs of the sets together; if memory is too small, of each one alone.

        A set that needs too much memory even alone is left out.
        """
        try:
            return self._encode(sets)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        if len(sets) == 1:
            return {}
        alone = [self._encode_what_fits({image_set: images}) for image_set, images in sets.items()]
        return {image_set: images for part in alone for image_set, images in part.items()}

    def _encode(
        self, sets: Mapping[ImageSet, Sequence[LoadedImage]]
    ) -> dict[ImageSet, PromptImages]:
        """The images, perturbed and ablated, as the model's processor encodes them."""
        if not sets:
            return {}
        ablation = self.plan.decoding.ablate_image
        rows = [
            [
                shown_image(name, image.image, perturbation, ablation, self.plan.seed)
                for name, image in zip(names, images, strict=True)
            ]
            for (names, perturbation), images in sets.items()
        ]
        family, processor = batched_family(self.loaded), self.loaded.processor
        blanks: list[PromptImages | None] = [None] * len(rows)
        if self.plan.decoding.token_logprobs:
            grey = [[ablate(image, "blank", "") for image in images] for images in rows]
            blanks = [
                PromptImages(images.with_dtype(self.loaded.dtype), ())
                for images in family.encode_images(processor, grey)
            ]
        return {
            image_set: PromptImages(
                images.with_dtype(self.loaded.dtype),
                tuple(
                    note
                    for image in loaded
                    for note in image.notes + change_notes(image_set[1], ablation)
                ),
                blank,
            )
            for (image_set, loaded), images, blank in zip(
                sets.items(), family.encode_images(processor, rows), blanks, strict=True
            )
        }

    def _question(self, index: int, sample: Sample, images: PromptImages | None) -> Question:
        """The question of one sample.

        ItemError if the prompt is longer than the model allows; InputError if no prompt can fit, or
        the chat template has no place for the images.
        """
        prompt = prompt_for(sample, self.plan.prompt, self.loaded.info.prompt)
        # A question may contain text such as "<|im_end|>", which would end the prompt.
        plain = as_plain_text(sample, self._control_tokens)
        orders = rotations(plain, self.plan.decoding.permute)
        start = self.plan.prefills.get(index)
        prefill = prefill_text(start, self._control_tokens)
        rows = tuple(self._row(order.sample, prompt, images, prefill) for order in orders)
        return Question(index, sample, tuple(orders), rows, start.source_id if start else None)

    def _row(self, sample: Sample, prompt: str, images: PromptImages | None, prefill: str) -> Row:
        """The prompt of one rotation."""
        style = self.loaded.info.answer_style
        messages = chat_messages(sample, prompt, style)
        processor = self.loaded.processor
        text = self._with_image_texts(
            processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False),
            images.encoded.texts if images else (),
        )
        (ids,) = token_ids(processor, [text])
        ids = [*ids, *prefill_tokens(self.loaded, prefill)]
        max_positions = self.loaded.model.config.get_text_config().max_position_embeddings
        max_new_tokens = self.plan.decoding.max_new_tokens
        max_prompt_tokens = max_positions - max_new_tokens
        if max_prompt_tokens <= 0:
            raise InputError(
                f"--max-new-tokens {max_new_tokens} leaves no room for a prompt: the model "
                f"takes {max_positions} tokens in all. Give a smaller number."
            )
        if len(ids) > max_prompt_tokens:
            raise ItemError(
                "prompt_too_long",
                f"item {sample.id}: the prompt has {len(ids)} tokens, and the model takes at "
                f"most {max_prompt_tokens} besides its answer. Shorten the question, or use "
                "smaller or fewer images (of a scan: --slices).",
            )
        strings = answer_strings(sample, prompt, style)
        return Row(ids, images, strings, reasons_first(prompt), prefill)

    @cached_property
    def _control_tokens(self) -> list[str]:
        return control_tokens(self.loaded.processor)

    def _with_image_texts(self, text: str, image_texts: Sequence[str]) -> str:
        """The prompt, with the text of each image where the chat template has its image token."""
        pieces = text.split(image_token(self.loaded.processor))
        if len(pieces) != len(image_texts) + 1:
            raise InputError(
                f"the chat template of {self.loaded.path} has {len(pieces) - 1} places for "
                f"{len(image_texts)} images. Use the checkpoint's own template."
            )
        return "".join(
            piece + image_text for piece, image_text in zip(pieces, [*image_texts, ""], strict=True)
        )


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error of torch or Python says that CUDA, MPS or the CPU has no memory left."""
    import torch

    message = str(error).lower()
    signs = ("out of memory", "can't allocate memory", "cublas_status_alloc_failed")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        sign in message for sign in signs
    )


def _too_large_failure(sample: Sample) -> Failure:
    message = f"item {sample.id}: its image needs too much memory. Use a smaller image."
    return Failure("out_of_memory", message)


def prepare_batches(
    builder: QuestionBuilder, samples: Sequence[Sample]
) -> Iterator[tuple[list[Question], dict[int, Failure]]]:
    """Build the batches of the plan in order, ahead of the model in worker threads.

    On the CPU the model uses all cores already; there each batch is built when it is needed.

    Args:
        builder: What turns samples into questions.
        samples: All samples of the input.

    Returns:
        For each batch its questions, and why the other positions cannot be asked.
    """
    batches = builder.plan.batches
    if builder.loaded.device.type == "cpu":
        yield from (builder.batch(indices, samples) for indices in batches)
        return
    with ThreadPoolExecutor(WORKERS, thread_name_prefix="prepare") as pool:
        build = partial(builder.batch, samples=samples)
        for _, batch in map_in_order(pool, build, batches, ahead=WORKERS):
            yield batch
