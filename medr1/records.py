"""The types that the commands exchange, and the schema names of the files that hold them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

ResultsSchema = Literal["medr1.results/1"]
"""The name of the form of results.json."""
(RESULTS_SCHEMA,) = get_args(ResultsSchema)

Edit = Literal["cut", "shuffle", "empty", "swap", "none"]
"""What is done to earlier reasoning before a model gets it (`infer --edit`)."""
ANSWER_TYPES = ("multiple_choice", "yes_no", "count", "open")
LETTERS = "ABCDEFGH"


@dataclass(frozen=True)
class Turn:
    """One earlier turn of a conversation."""

    role: str
    """user or assistant; the first may be system."""
    content: str


@dataclass(frozen=True)
class Sample:
    """One question about one or more images, with its ground truth if it is known."""

    id: str
    images: tuple[str, ...]
    """Paths as in the file: relative to the image root, or absolute."""
    question: str
    """The question without its options."""
    options: Mapping[str, str] = field(default_factory=dict)
    """{"A": "CT", "B": "MRI"}; empty if the question has none."""
    ground_truth: str | None = None
    """A letter if there are options, else text; None if it is not known."""
    answer_type: str = "open"
    """One of ANSWER_TYPES."""
    question_type: str | None = None
    """OmniMedVQA's category, such as "Modality Recognition"."""
    modality: str | None = None
    dataset: str | None = None
    metadata: Mapping[str, object] = field(default_factory=dict)
    history: tuple[Turn, ...] = ()
    """The turns before the question, the oldest first; the images belong to the first of the
    user."""

    @property
    def conversation(self) -> str:
        """The earlier turns and the question as one text; without earlier turns, the question."""
        turns = [f"{turn.role.capitalize()}: {turn.content}" for turn in self.history]
        return "\n".join([*turns, f"User: {self.question}"]) if turns else self.question


@dataclass(frozen=True)
class Failure:
    """Why an item has no answer: a stable code for programs, and a message for people."""

    code: str
    message: str


@dataclass(frozen=True)
class Prediction:
    """An item with its completion and answer: one entry of results.json."""

    sample: Sample
    model_output: str | None = None
    samples: tuple[str, ...] = ()
    """Further completions, if several were requested."""
    extracted_answer: str | None = None
    extraction: str | None = None
    """How the answer was found: an `answers.Extraction.method`."""
    reasoning: str | None = None
    reasoning_from: str | None = None
    """The id of the question whose reasoning the model was given, if it is another one."""
    option_probs: Mapping[str, float] | None = None
    """{"A": 0.7, ...}: probability of each option's answer string; they add up to 1."""
    option_bounds: Mapping[str, tuple[float, float]] | None = None
    """{"A": (0.69, 0.7), ...}: lowest and highest probability of each option, in place of
    option_probs, where a server returned too few log-probabilities to know them all."""
    confidence: float | None = None
    """The probability of the extracted answer; with option_bounds, the lowest that it can be."""
    circular_answers: tuple[str, ...] = ()
    """The most probable option for each rotation of the options, if several were requested."""
    dropout_probs: tuple[Mapping[str, float], ...] = ()
    """option_probs of each pass with the model's dropout on, if such passes were requested."""
    finish_reason: str | None = None
    """"stop" or "length" (cut off at the token limit)."""
    num_tokens: int | None = None
    token_logprobs: tuple[float, ...] | None = None
    """The log-probability of each token of the completion, if they were requested."""
    token_logprobs_without_image: tuple[float, ...] | None = None
    """The same of the same tokens behind the same prompt with a grey image; None where the question
    has no image or a server does not tell."""
    image_notes: tuple[str, ...] = ()
    error: Failure | None = None

    @property
    def generated_text(self) -> str | None:
        """The reasoning and the completion; None where the model wrote no text.

        That is so with --mode options, where the completion stands for the most probable option:
        it has probabilities, and neither a length nor a reason why it ended.
        """
        has_probabilities = bool(self.option_probs or self.option_bounds)
        if not self.model_output or (
            has_probabilities and self.num_tokens is None and self.finish_reason is None
        ):
            return None
        reasoning = self.reasoning or ""
        if reasoning in self.model_output:
            return self.model_output
        return f"{reasoning}\n{self.model_output}"


@dataclass(frozen=True)
class Decoding:
    """How a question is answered."""

    mode: str = "both"
    """generate: write a completion. options: choose the most probable option. both: write a
    completion, and compute the options' probabilities for questions with options."""
    max_new_tokens: int = 512
    do_sample: bool = False
    """Sample the answer at `temperature`; otherwise decode greedily."""
    temperature: float = 0.7
    num_samples: int = 0
    """Number of completions to sample besides the answer."""
    permute: int = 1
    """Number of rotations of the options over which the probabilities are averaged."""
    dropout_samples: int = 0
    """Number of passes with the model's dropout on, besides the answer."""
    ablate_image: str = "none"
    """none, blank, noise or shuffle. Shuffle has to be done to the samples (`shuffle_images`)."""
    token_logprobs: bool = False
    """Compute the log-probability of each token of the answer's completion, with the image and with
    a grey one in its place."""


_TO_JSON = json.JSONEncoder(ensure_ascii=False).encode


def sample_id(sample: Sample) -> str:
    """The id of an item that has none: 16 hex digits of a hash.

    It is made from the paths of the images, the question with earlier turns, and the texts of the
    options.
    """
    text = _TO_JSON([sample.images, sample.conversation, list(sample.options.values())])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


_ONLY_IF_KNOWN = (
    *("reasoning_from", "option_bounds", "token_logprobs", "token_logprobs_without_image"),
)
"""Fields of a prediction that an entry of results.json has only where they are known."""


def prediction_to_dict(prediction: Prediction) -> dict[str, object]:
    """The prediction as an entry of results.json: first the item's fields, then the answer's."""
    entry = dataclasses.asdict(prediction)
    for name in _ONLY_IF_KNOWN:
        if entry[name] is None:
            del entry[name]
    sample = entry.pop("sample")
    if not sample["history"]:
        del sample["history"]
    return {**sample, **entry}


_OF_THE_SAMPLE = tuple(f.name for f in dataclasses.fields(Sample))
_OF_THE_ANSWER = tuple(f.name for f in dataclasses.fields(Prediction) if f.name != "sample")
_TUPLES = (
    *("samples", "circular_answers", "dropout_probs", "image_notes"),
    *("token_logprobs", "token_logprobs_without_image"),
)


def prediction_from_dict(entry: Mapping[str, Any]) -> Prediction:
    """Read an entry of results.json.

    Raises:
        KeyError: A required key is missing.
    """
    values = {name: entry[name] for name in _OF_THE_SAMPLE if name in entry}
    values["id"], values["images"] = entry["id"], tuple(entry.get("images") or ())
    for name in ("options", "metadata"):
        if values.get(name, ()) is None:
            values[name] = {}
    values["history"] = tuple(Turn(**turn) for turn in values.get("history") or ())
    sample = Sample(**values)
    answer = {name: entry[name] for name in _OF_THE_ANSWER if entry.get(name) is not None}
    for name in _TUPLES:
        if name in answer:
            answer[name] = tuple(answer[name])
    if "error" in answer:
        answer["error"] = Failure(**answer["error"])
    return Prediction(sample, **answer)
