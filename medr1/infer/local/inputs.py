"""From samples to model inputs: prompts as token ids, images as patches.

With a GPU this runs in worker threads, while the model works on the batch before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

from medr1.data.images import LoadedImage, load_image
from medr1.data.perturbations import perturb
from medr1.data.roots import ImageRoot, resolve_image
from medr1.errors import InputError, ItemError
from medr1.infer.ablation import ablate
from medr1.infer.options import answer_strings, reasons_first
from medr1.models.calls import image_token
from medr1.models.loading import LoadedModel, control_tokens
from medr1.processes import map_in_order
from medr1.prompts import as_plain_text, chat_messages
from medr1.records import Failure, Sample

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

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
    original_letters: Mapping[str, str]
    """Letter of an option in this row -> its letter in the sample."""
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
    rows: tuple[Row, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done to the images."""
        return tuple(note for image in self.rows[0].images for note in image.notes)


@dataclass(frozen=True)
class QuestionBuilder:
    """Turns samples into questions for one model; its fields are all that decides the prompts."""

    loaded: LoadedModel
    image_root: ImageRoot
    prompt: str | None
    """The prompt template of --prompt, which overrides the checkpoint's own; None without one."""
    num_orders: int
    """In how many rotations of its options a question is asked."""
    ablation: str
    """How images are replaced: a kind of `ablation`."""
    seed: int
    """Seed of noise and of perturbations."""
    max_new_tokens: int
    """How many tokens may be added to a prompt."""
    perturbations: Mapping[int, tuple[str, int]] = field(default_factory=dict)
    """Position of a sample -> (kind, severity) of the perturbation of its images."""

    def batch(
        self, indices: Sequence[int], samples: Sequence[Sample], failures: Mapping[int, Failure]
    ) -> tuple[list[Question], dict[int, Failure]]:
        """Build the questions of one batch.

        Args:
            indices: Positions of the batch's samples.
            samples: All samples of the input.
            failures: Position -> why a sample is already known to be unusable.

        Returns:
            The questions that can be asked, and for every other position why it cannot.
        """
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
                    decoded[name] = load_image(resolve_image(name, self.image_root))
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
        return [(name, self.perturbations.get(index)) for name in sample.images]

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
        prompt_images = [
            self._prompt_image(name, perturbation, loaded.image)
            for (name, perturbation), loaded in images.items()
        ]
        processed = self.loaded.processor.image_processor(images=prompt_images, return_tensors="pt")
        # The patches of all images come as one tensor, and a grid tells how many each has.
        grids = processed["image_grid_thw"]
        parts = processed["pixel_values"].to(self.loaded.dtype).split(grids.prod(-1).tolist())
        ablated = (f"ablated: {self.ablation}",) if self.ablation in ("blank", "noise") else ()
        return {
            variant: ImagePatches(
                patches, grid[None], image.notes + _perturbation_note(variant) + ablated
            )
            for (variant, image), patches, grid in zip(images.items(), parts, grids, strict=True)
        }

    def _prompt_image(self, name: str, perturbation: tuple[str, int] | None, image: Image) -> Image:
        """The image that the model is shown in place of `image`."""
        if perturbation is not None:
            image = perturb(image, *perturbation, self.seed)
        return ablate(image, self.ablation, f"{self.seed} {name}")

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
        prompt = prompt_for(sample, self.prompt, self.loaded.info.prompt)
        sample_images = tuple(images[variant] for variant in self._variants(index, sample))
        rotations = range(min(self.num_orders, len(sample.options) or 1))
        # A question may contain text such as "<|im_end|>", which would end the prompt.
        plain = as_plain_text(sample, self._control_tokens)
        return Question(
            index,
            sample,
            tuple(self._row(plain, rotation, prompt, sample_images) for rotation in rotations),
        )

    def _row(
        self, sample: Sample, rotation: int, prompt: str, images: tuple[ImagePatches, ...]
    ) -> Row:
        """The prompt with the options moved by `rotation` places.

        Options A: CT, B: MRI, C: US with rotation 1 are A: MRI, B: US, C: CT; the original letter
        of A is then B.
        """
        texts = list(sample.options.values())
        texts = texts[rotation:] + texts[:rotation]
        letters = list(sample.options)
        options = dict(zip(letters, texts, strict=True))
        original_letters = {
            letter: letters[(i + rotation) % len(letters)] for i, letter in enumerate(letters)
        }
        rotated = replace(sample, options=options)
        style = self.loaded.info.answer_style
        messages = chat_messages(rotated, prompt, style)
        text = self._with_image_tokens(
            self.loaded.processor.apply_chat_template(
                messages, add_generation_prompt=True, tokenize=False
            ),
            images,
        )
        token_ids = self.loaded.processor.tokenizer(text)["input_ids"]
        max_positions = self.loaded.model.config.get_text_config().max_position_embeddings
        max_prompt_tokens = max_positions - self.max_new_tokens
        if max_prompt_tokens <= 0:
            raise InputError(
                f"--max-new-tokens {self.max_new_tokens} leaves no room for a prompt: the model "
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
            original_letters,
            answer_strings(rotated, prompt, style),
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


def _perturbation_note(variant: ImageVariant) -> tuple[str, ...]:
    """The perturbation in words; () without one."""
    _, perturbation = variant
    if perturbation:
        return (f"perturbed: {perturbation[0]}, severity {perturbation[1]}",)
    return ()


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


def prompt_for(sample: Sample, requested: str | None, checkpoint_prompt: str | None) -> str:
    """Choose the prompt template of a question.

    Args:
        sample: The question.
        requested: The template of --prompt; None without one.
        checkpoint_prompt: The template that the checkpoint was trained with; None if unknown.

    Returns:
        The requested template, else the checkpoint's, else nothink with options and bare without.
    """
    return requested or checkpoint_prompt or ("nothink" if sample.options else "bare")


def prepare_batches(
    builder: QuestionBuilder,
    plan: Sequence[Sequence[int]],
    samples: Sequence[Sample],
    failures: Mapping[int, Failure],
) -> Iterator[tuple[list[Question], dict[int, Failure]]]:
    """Build the batches of the plan in order, ahead of the model in worker threads.

    On the CPU the model uses all cores already; there each batch is built when it is needed.

    Args:
        builder: What turns samples into questions.
        plan: Batches of positions in `samples`.
        samples: All samples of the input.
        failures: Position -> why a sample is already known to be unusable.

    Returns:
        For each batch its questions, and why the other positions cannot be asked.
    """
    if builder.loaded.device.type == "cpu":
        yield from (builder.batch(indices, samples, failures) for indices in plan)
        return
    with ThreadPoolExecutor(WORKERS, thread_name_prefix="prepare") as pool:
        build = partial(builder.batch, samples=samples, failures=failures)
        for _, batch in map_in_order(pool, build, plan, ahead=WORKERS):
            yield batch
