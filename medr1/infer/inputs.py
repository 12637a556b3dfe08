"""From samples to what the model takes: prompts as token ids, pictures as patches.

Beside a GPU this runs in worker threads, while the model is busy with the batch before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from medr1.data.images import LoadedImage, load_image
from medr1.data.perturbations import perturb
from medr1.data.roots import ImageRoot, resolve_image
from medr1.errors import InputError, ItemError
from medr1.infer.ablation import ablate
from medr1.infer.options import answer_strings, reasons_first
from medr1.models import LoadedModel, control_tokens
from medr1.prompts import as_plain_text, chat_messages
from medr1.records import Failure, Sample

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

Shown = tuple[str, tuple[str, int] | None]
"""An image's name, and the kind and severity by which it is perturbed."""

WORKERS = 4
"""Threads that prepare batches; they wait on files and on libraries that release the lock."""

MAX_PIXELS_AT_ONCE = 36_000_000
"""Of the decoded images of a batch: from there on they become patches before the next is opened."""


@dataclass(frozen=True, eq=False)
class Picture:
    """One decoded image as the vision tower takes it."""

    patches: torch.Tensor
    """(patches, values of a patch)"""
    grid: torch.Tensor
    """(1, 3): frames, rows and columns of patches."""
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Row:
    """One prompt: a question with its options in one order."""

    ids: list[int]
    pictures: tuple[Picture, ...]
    original: Mapping[str, str]
    """The letter here -> the letter in the sample."""
    answers: Mapping[str, str]
    """What can be answered here -> the string that says so (options.answer_strings)."""
    reasons_first: bool
    """Whether the prompt asks for reasoning before the answer."""


@dataclass(frozen=True, eq=False)
class Question:
    """A sample that can be asked: a row for each order of its options."""

    index: int
    sample: Sample
    rows: tuple[Row, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done to the pictures."""
        return tuple(note for picture in self.rows[0].pictures for note in picture.notes)


@dataclass(frozen=True)
class Preparation:
    """Everything that decides how a sample is put to a model."""

    loaded: LoadedModel
    image_root: ImageRoot
    prompt: str | None
    """The one asked for, over the checkpoint's own."""
    orders: int
    """How many rotations of the options are asked."""
    ablation: str
    seed: int
    longest: int
    """How many tokens may be added to a prompt."""
    perturbed: Mapping[int, tuple[str, int]] = field(default_factory=dict)
    """Index of a sample -> the kind and severity by which its pictures are perturbed."""

    def batch(
        self, indices: Sequence[int], samples: Sequence[Sample], failures: Mapping[int, Failure]
    ) -> tuple[list[Question], dict[int, Failure]]:
        """The questions of a batch that can be asked, and why the others cannot."""
        ready, failed = [], {index: failures[index] for index in indices if index in failures}
        usable = [index for index in indices if index not in failed]
        pictures, errors = self._opened(
            shown for index in usable for shown in self._shown(index, samples[index])
        )
        for index in usable:
            shown = self._shown(index, samples[index])
            if why := next((errors[name] for name, _ in shown if name in errors), None):
                failed[index] = why
            elif not all(one in pictures for one in shown):
                failed[index] = _too_large(samples[index])
            else:
                try:
                    ready.append(self.question(index, samples[index], pictures))
                except ItemError as error:
                    failed[index] = Failure(error.code, str(error))
        return ready, failed

    def _opened(self, shown: Iterable[Shown]) -> tuple[dict[Shown, Picture], dict[str, Failure]]:
        """The pictures, and why images cannot be opened; few large images are held at a time."""
        pictures: dict[Shown, Picture] = {}
        errors: dict[str, Failure] = {}
        decoded: dict[str, LoadedImage] = {}
        images: dict[Shown, LoadedImage] = {}
        pixels = 0
        for name, how in dict.fromkeys(shown):
            try:
                if name not in decoded and name not in errors:
                    decoded[name] = load_image(resolve_image(name, self.image_root))
            except ItemError as error:
                errors[name] = Failure(error.code, str(error))
            except MemoryError:
                continue
            if name in decoded:
                images[name, how] = decoded[name]
                pixels += decoded[name].image.width * decoded[name].image.height
            if pixels >= MAX_PIXELS_AT_ONCE:
                pictures |= self._pictures_that_fit(images)
                decoded, images, pixels = {}, {}, 0
        return pictures | self._pictures_that_fit(images), errors

    def _shown(self, index: int, sample: Sample) -> list[Shown]:
        return [(name, self.perturbed.get(index)) for name in sample.images]

    def _pictures_that_fit(self, images: Mapping[Shown, LoadedImage]) -> dict[Shown, Picture]:
        """The pictures of a batch; each by itself where all together need too much memory."""
        try:
            return self.pictures(images)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        if len(images) == 1:
            return {}
        apart = [self._pictures_that_fit({shown: image}) for shown, image in images.items()]
        return {shown: picture for one in apart for shown, picture in one.items()}

    def pictures(self, images: Mapping[Shown, LoadedImage]) -> dict[Shown, Picture]:
        """The images as they are shown, as the vision tower takes them."""
        if not images:
            return {}
        shown = [self._picture(name, how, one.image) for (name, how), one in images.items()]
        made = self.loaded.processor.image_processor(images=shown, return_tensors="pt")
        grids = made["image_grid_thw"]
        parts = made["pixel_values"].to(self.loaded.dtype).split(grids.prod(-1).tolist())
        done = (f"ablated: {self.ablation}",) if self.ablation in ("blank", "noise") else ()
        return {
            one: Picture(patches, grid[None], image.notes + _perturbed(one) + done)
            for (one, image), patches, grid in zip(images.items(), parts, grids, strict=True)
        }

    def _picture(self, name: str, how: tuple[str, int] | None, image: Image) -> Image:
        """The picture that is shown for an image."""
        if how is not None:
            image = perturb(image, *how, self.seed)
        return ablate(image, self.ablation, f"{self.seed} {name}")

    def question(self, index: int, sample: Sample, pictures: Mapping[Shown, Picture]) -> Question:
        """One sample as its rows, with its pictures as they are shown."""
        prompt = prompt_for(sample, self.prompt, self.loaded.info.prompt)
        shown = tuple(pictures[one] for one in self._shown(index, sample))
        turns = range(min(self.orders, len(sample.options) or 1))
        plain = as_plain_text(sample, self._control_tokens)
        return Question(
            index, sample, tuple(self._row(plain, turn, prompt, shown) for turn in turns)
        )

    def _row(self, sample: Sample, turn: int, prompt: str, pictures: tuple[Picture, ...]) -> Row:
        texts = list(sample.options.values())
        texts = texts[turn:] + texts[:turn]
        letters = list(sample.options)
        options = dict(zip(letters, texts, strict=True))
        original = {a: letters[(i + turn) % len(letters)] for i, a in enumerate(letters)}
        turned = replace(sample, options=options)
        style = self.loaded.info.answer_style
        messages = chat_messages(turned, prompt, style)
        text = self._with_image_tokens(
            self.loaded.processor.apply_chat_template(
                messages, add_generation_prompt=True, tokenize=False
            ),
            pictures,
        )
        ids = self.loaded.processor.tokenizer(text)["input_ids"]
        room = self.loaded.model.config.get_text_config().max_position_embeddings - self.longest
        if room <= 0:
            raise InputError(
                f"--max-new-tokens {self.longest} leaves no room for a prompt: the model takes "
                f"{room + self.longest} tokens in all. Give less."
            )
        if len(ids) > room:
            raise ItemError(
                "prompt_too_long",
                f"item {sample.id}: the prompt has {len(ids)} tokens, and the model takes {room} "
                "beside its answer; shorten the question or use a smaller image.",
            )
        return Row(
            ids,
            pictures,
            original,
            answer_strings(turned, prompt, style),
            reasons_first(prompt),
        )

    @cached_property
    def _control_tokens(self) -> list[str]:
        return control_tokens(self.loaded.processor)

    def _with_image_tokens(self, text: str, pictures: Sequence[Picture]) -> str:
        """The prompt with as many image tokens as the vision tower gives vectors."""
        token = self.loaded.processor.image_token
        merged = self.loaded.processor.image_processor.merge_size**2
        pieces = text.split(token)
        if len(pieces) != len(pictures) + 1:
            raise InputError(
                f"the chat template of {self.loaded.path} has {len(pieces) - 1} places for "
                f"{len(pictures)} images. Use the checkpoint's own template."
            )
        for place, picture in enumerate(pictures):
            pieces[place] += token * (int(picture.grid.prod()) // merged)
        return "".join(pieces)


def _perturbed(shown: Shown) -> tuple[str, ...]:
    """What was done to the picture, in words."""
    _, how = shown
    return (f"perturbed: {how[0]}, severity {how[1]}",) if how else ()


def is_out_of_memory(error: Exception) -> bool:
    """Whether CUDA, MPS or the CPU had no memory left."""
    import torch

    said = str(error).lower()
    signs = ("out of memory", "can't allocate memory", "cublas_status_alloc_failed")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(s in said for s in signs)


def _too_large(sample: Sample) -> Failure:
    message = f"item {sample.id}: its picture needs too much memory; use a smaller one."
    return Failure("out_of_memory", message)


def prompt_for(sample: Sample, asked: str | None, checkpoint: str | None) -> str:
    """The prompt in use: the one asked for, else the checkpoint's own, else by the question."""
    return asked or checkpoint or ("nothink" if sample.options else "bare")


def prepared(
    preparation: Preparation,
    plan: Sequence[Sequence[int]],
    samples: Sequence[Sample],
    failures: Mapping[int, Failure],
) -> Iterator[tuple[list[Question], dict[int, Failure]]]:
    """The batches of the plan in order, each made ready while those before it are answered.

    On the CPU the model has all cores already: there each is made ready when its turn comes.
    """
    if preparation.loaded.device.type == "cpu":
        yield from (preparation.batch(indices, samples, failures) for indices in plan)
        return
    with ThreadPoolExecutor(WORKERS, thread_name_prefix="prepare") as pool:
        waiting: deque[Future[Any]] = deque()
        try:
            for indices in plan:
                waiting.append(pool.submit(preparation.batch, indices, samples, failures))
                if len(waiting) > WORKERS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
