"""results.json: the file of `medr1 infer`, with one entry for each question."""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import UNSET, UnsetType

from medr1.records import Decoding, Edit, Failure, ResultsSchema, Turn

RUN_RECORD = ".run.json"
"""The end of the name of the file on how a run went."""


def run_record(results: Path) -> Path:
    """The file on how a run went: command line, start, number of processes, seconds."""
    return results.with_name(results.name + RUN_RECORD)


class ServerIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """A model behind an OpenAI-compatible server, as far as the server tells."""

    software: str | None
    """The server and its version, such as "vllm 0.32.0"; null if it does not tell."""
    answer_style: str
    """letter or text: how the prompt asks for an option."""
    option_probabilities: str
    """exact, letter or none: how the options' probabilities were computed."""
    extra_body_sha256: str | None
    """SHA-256 of the additional parameters of each request; null without any."""


class ReasoningSource(msgspec.Struct, frozen=True, kw_only=True):
    """The earlier results whose reasoning the model was given, and what was done to it."""

    edit: Edit
    results: str
    """The name of the file with the earlier results."""
    results_sha256: str


class ResultsMeta(msgspec.Struct, frozen=True, kw_only=True):
    """All that decides the answers, and nothing about the machine beside its kind of device."""

    model: str
    """The name of the checkpoint's folder, or of the model on a server."""
    model_sha256: str | None
    """null for a model on a server."""
    data: str
    """The name of the file of questions."""
    data_sha256: str
    n: int
    """Number of questions."""
    prompt: str
    """The name of the prompt; "by question" if it depends on the question."""
    prompt_sha256: str | None
    """SHA-256 of the prompt template; null if the prompt depends on the question."""
    decoding: Decoding
    seed: int
    device: str
    """cpu, cuda, mps, or server."""
    dtype: str | None
    """The type of the weights, such as "bfloat16"; with quantization, the type of the others and of
    the computation; null for a model on a server."""
    versions: dict[str, str]
    """Library -> version."""
    quantization: str | UnsetType = UNSET
    """4bit or 8bit; only if the language model's weights were loaded with so few."""
    perturbations: dict[str, list[int]] | UnsetType = UNSET
    """Perturbation -> its severities; only in the file of `medr1 robustness`."""
    server: ServerIdentity | UnsetType = UNSET
    """Only if a server answered."""

    edited_reasoning: ReasoningSource | UnsetType = UNSET
    """Only with --reasoning-from."""

    def document(self) -> dict[str, object]:
        """The meta as JSON holds it."""
        document: dict[str, object] = msgspec.to_builtins(self)
        decoding = document["decoding"]
        # Left out, so that runs which were started before it existed can be resumed.
        if isinstance(decoding, dict) and not decoding["token_logprobs"]:
            del decoding["token_logprobs"]
        return document


class ResultsEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One question with its answer: the fields of `records.Sample` and `records.Prediction`."""

    id: str
    images: list[str]
    question: str
    options: dict[str, str]
    ground_truth: str | None
    answer_type: str
    question_type: str | None
    modality: str | None
    dataset: str | None
    metadata: dict[str, object]
    history: list[Turn] | UnsetType = UNSET
    """Only if the question has earlier turns."""
    model_output: str | None
    samples: list[str]
    extracted_answer: str | None
    extraction: str | None
    reasoning: str | None
    reasoning_from: str | UnsetType = UNSET
    """Only with --edit swap."""
    option_probs: dict[str, float] | None
    option_bounds: dict[str, tuple[float, float]] | UnsetType = UNSET
    """Only where a server returned too few log-probabilities for option_probs."""
    confidence: float | None
    circular_answers: list[str]
    dropout_probs: list[dict[str, float]]
    finish_reason: str | None
    num_tokens: int | None
    token_logprobs: list[float] | UnsetType = UNSET
    """Only with --token-logprobs."""
    token_logprobs_without_image: list[float] | UnsetType = UNSET
    """Only with --token-logprobs, for a question with an image."""
    image_notes: list[str]
    error: Failure | None


class ResultsFile(msgspec.Struct, frozen=True, kw_only=True):
    """The complete file."""

    schema: ResultsSchema
    meta: ResultsMeta
    results: list[ResultsEntry]
