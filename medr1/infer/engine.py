"""Free decoding: questions in, predictions out, in input order.

Shapes: B questions in a batch, P prompt tokens (left padded), T new tokens.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medr1 import answers
from medr1.data.images import load_image, resolve_image
from medr1.errors import ItemError
from medr1.models import LoadedModel, control_tokens
from medr1.prompts import chat_messages
from medr1.records import Failure, Prediction, Sample

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Decoding:
    """How a completion is made: greedy, unless `do_sample`."""

    max_new_tokens: int = 512
    do_sample: bool = False
    temperature: float = 0.7


@dataclass(frozen=True)
class _Question:
    sample: Sample
    text: str
    images: tuple[Image, ...]
    notes: tuple[str, ...]


def predict(
    loaded: LoadedModel, samples: Sequence[Sample], **arguments: Any
) -> Iterator[Prediction]:
    """Answer every sample, in order; the further arguments are those of `predict_batches`."""
    for batch in predict_batches(loaded, samples, **arguments):
        yield from batch.values()


def predict_batches(
    loaded: LoadedModel,
    samples: Sequence[Sample],
    *,
    image_root: Path,
    failures: Mapping[int, Failure] | None = None,
    prompt: str | None = None,
    decoding: Decoding = Decoding(),
    batch_size: int = 1,
    seed: int = 0,
    done: Container[int] = (),
) -> Iterator[dict[int, Prediction]]:
    """Answer the samples batch by batch, by index in order; one that cannot be used has an error.

    `failures` are items already known to be unusable, by index. `prompt` overrides the
    checkpoint's own. A batch is sampled from its own seed, so that it does not depend on the
    others; greedy decoding leaves the random state alone. A batch whose items are all `done` is
    left out; one with some is answered whole, as it would have been.
    """
    from transformers import set_seed

    for start in range(0, len(samples), batch_size):
        indices = range(start, min(start + batch_size, len(samples)))
        if all(index in done for index in indices):
            continue
        made: dict[int, Prediction] = {}
        questions: dict[int, _Question] = {}
        for index in indices:
            sample = samples[index]
            try:
                if failures and index in failures:
                    raise ItemError(failures[index].code, failures[index].message)
                questions[index] = _prepare(loaded, sample, image_root, prompt)
            except ItemError as error:
                made[index] = Prediction(sample, error=Failure(error.code, str(error)))
        if questions:
            if decoding.do_sample:
                set_seed(seed + start)
            completions = _generate(loaded, list(questions.values()), decoding)
            for (index, question), completion in zip(questions.items(), completions, strict=True):
                made[index] = _prediction(question, *completion)
        yield dict(sorted(made.items()))


def prompt_for(sample: Sample, asked: str | None, checkpoint: str | None) -> str:
    """The prompt in use: the one asked for, else the checkpoint's own, else by the question."""
    return asked or checkpoint or ("nothink" if sample.options else "bare")


def _prepare(loaded: LoadedModel, sample: Sample, root: Path, asked: str | None) -> _Question:
    chosen = prompt_for(sample, asked, loaded.info.prompt)
    messages = chat_messages(sample, chosen, loaded.info.answer_style)
    question = messages[0]["content"][-1]["text"]
    for token in control_tokens(loaded.processor):
        if token in question:
            raise ItemError(
                "control_token",
                f"item {sample.id}: the question holds the model's control token {token}; "
                "remove it from the text.",
            )
    pictures = [load_image(resolve_image(name, root)) for name in sample.images]
    text = loaded.processor.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=False
    )
    notes = tuple(note for picture in pictures for note in picture.notes)
    return _Question(sample, text, tuple(picture.image for picture in pictures), notes)


def _generate(
    loaded: LoadedModel, questions: Sequence[_Question], decoding: Decoding
) -> list[tuple[str, int, str]]:
    """(completion, its number of tokens, finish reason) for each question of a batch."""
    import torch

    images = [list(question.images) for question in questions if question.images]
    inputs = loaded.processor(
        text=[question.text for question in questions],
        images=images or None,
        padding=True,
        return_tensors="pt",
    ).to(loaded.device)
    if "pixel_values" in inputs:
        inputs["pixel_values"] = inputs["pixel_values"].to(loaded.dtype)
    sampling: dict[str, Any] = {"do_sample": False, "temperature": None}
    if decoding.do_sample:
        sampling = {"do_sample": True, "temperature": decoding.temperature}
    with torch.inference_mode():
        output_BT = loaded.model.generate(
            **inputs,
            **sampling,
            top_k=None,
            top_p=None,
            max_new_tokens=decoding.max_new_tokens,
        )
    new_BT = output_BT[:, inputs["input_ids"].shape[1] :].tolist()
    ends = loaded.model.generation_config.eos_token_id
    ends = set(ends if isinstance(ends, list) else [ends])
    return [_cut(loaded, row, ends) for row in new_BT]


def _cut(loaded: LoadedModel, row: list[int], ends: set[int]) -> tuple[str, int, str]:
    """One completion up to and without its end token; "length" where none was reached."""
    stop = next((place for place, token in enumerate(row) if token in ends), None)
    kept = row[:stop]
    text = loaded.processor.tokenizer.decode(kept, skip_special_tokens=True)
    return text.strip(), len(kept), "length" if stop is None else "stop"


def _prediction(question: _Question, text: str, num_tokens: int, finish: str) -> Prediction:
    sample = question.sample
    extraction = answers.extract(text, options=sample.options, answer_type=sample.answer_type)
    return Prediction(
        sample,
        model_output=text,
        extracted_answer=extraction.answer,
        extraction=extraction.method,
        reasoning=extraction.reasoning,
        finish_reason=finish,
        num_tokens=num_tokens,
        image_notes=question.notes,
    )
