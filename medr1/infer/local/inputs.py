"""From samples to model inputs: prompts as token ids, images as patches.

With a GPU this runs in worker threads, while the model works on the batch before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

from medr1.data.images import LoadedImage, load_image
from medr1.data.roots import resolve_image
from medr1.errors import InputError, ItemError
from medr1.infer.ablation import change_notes, shown_image
from medr1.infer.engine import InferencePlan
from medr1.infer.options import answer_strings, reasons_first
from medr1.infer.predictions import Rotation, prompt_for, rotations
from medr1.models.calls import image_token
from medr1.models.loading import LoadedModel, control_tokens
from medr1.processes import map_in_order
from medr1.prompts import as_plain_text, chat_messages
from medr1.records import Failure, Sample

if TYPE_CHECKING:
    import torch

ImageVariant = tuple[str, tuple[str, int] | None]
"""An image as one question shows it: (path, (kind, severity) of its perturbation or None)."""

WORKERS = 4
"""Threads that prepare batches; they wait for files and for libraries that release the lock."""

MAX_PIXELS_AT_ONCE = 36_000_000
"""Limits the decoded images of a batch in memory: once they have so many pixels, they are turned
into patches before the next image is opened."""


@dataclass(frozen=True, eq=False)
class ImagePatches:
    """One image in the form that the vision tower takes. Compared by identity."""

    patches: torch.Tensor
    """(patches, values of a patch)"""
    grid: torch.Tensor
    """(1, 3): number of frames, of rows and of columns of patches."""
    notes: tuple[str, ...]
    """What was done to the image, such as "windowed 0..4095 (I;16)"."""


@dataclass(frozen=True, eq=False)
class Row:
    """One prompt, a row of the batch: a question with its options in one order."""

    token_ids: list[int]
    """Token ids of the prompt."""
    images: tuple[ImagePatches, ...]
    answer_strings: Mapping[str, str]
    """Possible answer, by the letters of this row -> its answer string (`options`)."""
    reasons_first: bool
    """Whether the prompt asks for reasoning before the answer."""


@dataclass(frozen=True, eq=False)
class Question:
    """A sample that is ready to be asked: one row for each order of its options."""

    index: int
    """Position of the sample in the input."""
    sample: Sample
    rotations: tuple[Rotation, ...]
    rows: tuple[Row, ...]
    """The row of each rotation."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done to the images."""
        return tuple(note for image in self.rows[0].images for note in image.notes)


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
        usable = [index for index in indices if index not in failed]
        # The images of the whole batch first: the image processor takes them in one call.
        images, errors = self._load_images(
            variant for index in usable for variant in self._variants(index, samples[index])
        )
        for index in usable:
            variants = self._variants(index, samples[index])
            if failure := next((errors[name] for name, _ in variants if name in errors), None):
                failed[index] = failure
            elif not all(variant in images for variant in variants):
                failed[index] = _too_large_failure(samples[index])
            else:
                try:
                    questions.append(self.question(index, samples[index], images))
                except ItemError as error:
                    failed[index] = Failure(error.code, str(error))
        return questions, failed

    def _load_images(
        self, variants: Iterable[ImageVariant]
    ) -> tuple[dict[ImageVariant, ImagePatches], dict[str, Failure]]:
        """The patches of each variant, and why files cannot be opened.

        A variant that is in neither needs too much memory. Variants of one image share the decoded
        file, unless MAX_PIXELS_AT_ONCE was reached between them.
        """
        patches: dict[ImageVariant, ImagePatches] = {}
        errors: dict[str, Failure] = {}
        decoded: dict[str, LoadedImage] = {}
        pending: dict[ImageVariant, LoadedImage] = {}
        pixels = 0
        for name, perturbation in dict.fromkeys(variants):
            try:
                if name not in decoded and name not in errors:
                    decoded[name] = load_image(resolve_image(name, self.plan.image_root))
            except ItemError as error:
                errors[name] = Failure(error.code, str(error))
            except MemoryError:  # left out, which the caller reports as too large
                continue
            if name in decoded:
                pending[name, perturbation] = decoded[name]
                pixels += decoded[name].image.width * decoded[name].image.height
            if pixels >= MAX_PIXELS_AT_ONCE:
                patches |= self._patches_that_fit(pending)
                decoded, pending, pixels = {}, {}, 0
        return patches | self._patches_that_fit(pending), errors

    def _variants(self, index: int, sample: Sample) -> list[ImageVariant]:
        return [(name, self.plan.perturbations.get(index)) for name in sample.images]

    def _patches_that_fit(
        self, images: Mapping[ImageVariant, LoadedImage]
    ) -> dict[ImageVariant, ImagePatches]:
        """The patches of the images together; if memory is too small, of each one alone.

        An image that needs too much memory even alone is left out.
        """
        try:
            return self.patches(images)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        if len(images) == 1:
            return {}
        alone = [self._patches_that_fit({variant: image}) for variant, image in images.items()]
        return {variant: patches for part in alone for variant, patches in part.items()}

    def patches(
        self, images: Mapping[ImageVariant, LoadedImage]
    ) -> dict[ImageVariant, ImagePatches]:
        """The images, perturbed and ablated, as patches by the model's image processor."""
        if not images:
            return {}
        ablation = self.plan.decoding.ablate_image
        prompt_images = [
            shown_image(name, loaded.image, perturbation, ablation, self.plan.seed)
            for (name, perturbation), loaded in images.items()
        ]
        processed = self.loaded.processor.image_processor(images=prompt_images, return_tensors="pt")
        # The patches of all images come as one tensor, and a grid tells how many each has.
        grids = processed["image_grid_thw"]
        parts = processed["pixel_values"].to(self.loaded.dtype).split(grids.prod(-1).tolist())
        return {
            variant: ImagePatches(
                patches, grid[None], image.notes + change_notes(variant[1], ablation)
            )
            for (variant, image), patches, grid in zip(images.items(), parts, grids, strict=True)
        }

    def question(
        self, index: int, sample: Sample, images: Mapping[ImageVariant, ImagePatches]
    ) -> Question:
        """Build the question of one sample.

        Args:
            index: Position of the sample in the input.
            sample: The sample.
            images: At least the variants that this sample shows.

        Raises:
            ItemError: The prompt is longer than the model allows.
            InputError: No prompt can fit, or the chat template has no place for the images.
        """
        prompt = prompt_for(sample, self.plan.prompt, self.loaded.info.prompt)
        sample_images = tuple(images[variant] for variant in self._variants(index, sample))
        # A question may contain text such as "<|im_end|>", which would end the prompt.
        plain = as_plain_text(sample, self._control_tokens)
        orders = rotations(plain, self.plan.decoding.permute)
        rows = tuple(self._row(order.sample, prompt, sample_images) for order in orders)
        return Question(index, sample, tuple(orders), rows)

    def _row(self, sample: Sample, prompt: str, images: tuple[ImagePatches, ...]) -> Row:
        """The prompt of one rotation."""
        style = self.loaded.info.answer_style
        messages = chat_messages(sample, prompt, style)
        text = self._with_image_tokens(
            self.loaded.processor.apply_chat_template(
                messages, add_generation_prompt=True, tokenize=False
            ),
            images,
        )
        token_ids = self.loaded.processor.tokenizer(text)["input_ids"]
        max_positions = self.loaded.model.config.get_text_config().max_position_embeddings
        max_new_tokens = self.plan.decoding.max_new_tokens
        max_prompt_tokens = max_positions - max_new_tokens
        if max_prompt_tokens <= 0:
            raise InputError(
                f"--max-new-tokens {max_new_tokens} leaves no room for a prompt: the model "
                f"takes {max_positions} tokens in all. Give a smaller number."
            )
        if len(token_ids) > max_prompt_tokens:
            raise ItemError(
                "prompt_too_long",
                f"item {sample.id}: the prompt has {len(token_ids)} tokens, and the model takes at "
                f"most {max_prompt_tokens} besides its answer. Shorten the question or use a "
                "smaller image.",
            )
        return Row(
            token_ids,
            images,
            answer_strings(sample, prompt, style),
            reasons_first(prompt),
        )

    @cached_property
    def _control_tokens(self) -> list[str]:
        return control_tokens(self.loaded.processor)

    def _with_image_tokens(self, text: str, images: Sequence[ImagePatches]) -> str:
        """The prompt, with each image token repeated once for each vector of the image.

        The chat template writes one image token for an image. The vision tower merges
        merge_size x merge_size patches into one vector, and each vector needs a token.
        """
        token = image_token(self.loaded.processor)
        patches_per_token = self.loaded.processor.image_processor.merge_size**2
        pieces = text.split(token)
        if len(pieces) != len(images) + 1:
            raise InputError(
                f"the chat template of {self.loaded.path} has {len(pieces) - 1} places for "
                f"{len(images)} images. Use the checkpoint's own template."
            )
        for position, image in enumerate(images):
            pieces[position] += token * (int(image.grid.prod()) // patches_per_token)
        return "".join(pieces)


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
