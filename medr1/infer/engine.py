"""The interface of an engine, which answers questions with a model.

There are two: `local.engine.LocalEngine` runs a checkpoint in this process, and
`server.engine.ServerEngine` asks an OpenAI-compatible server.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from medr1.data.roots import ImageRoot
from medr1.documents.results import ServerIdentity
from medr1.errors import InputError
from medr1.models.families.choice import BATCHED_TYPES
from medr1.records import Decoding, Failure, Prediction, Sample

logger = logging.getLogger("medr1")

OptionProbabilities = Literal["exact", "letter", "none"]
"""How an engine computes the probability of each option.

exact: from the log-probability of each option's whole answer string. letter: from the most
probable tokens in the place of the answer's letter. none: not at all."""
TokenLogprobsKind = Literal["both", "with image", "none"]
"""Which log-probabilities of a completion's tokens an engine can compute.

both: with the image and without it. with image: only with it. none: not at all."""


@dataclass(frozen=True)
class Prefill:
    """The beginning of a completion, which the model continues."""

    text: str
    """Such as "<think> The lungs are dark. </think>"."""
    source_id: str | None = None
    """The id of the question whose reasoning it has, if it is another one."""


@dataclass(frozen=True)
class InferencePlan:
    """Which questions are answered together, and how."""

    batches: Sequence[Sequence[int]]
    """Positions of the samples of each batch (`plan.plan_batches`)."""
    image_root: ImageRoot
    """Where relative image paths start."""
    prompt: str | None = None
    """A prompt template that overrides the checkpoint's own."""
    decoding: Decoding = field(default_factory=Decoding)
    seed: int = 0
    """Seed of all sampling, which depends on it and the item's id only."""
    failures: Mapping[int, Failure] = field(default_factory=dict)
    """Position -> why an item is already known to be unusable."""
    perturbations: Mapping[int, tuple[str, int]] = field(default_factory=dict)
    """Position -> (kind, severity) of the perturbation of the item's images."""
    prefills: Mapping[int, Prefill] = field(default_factory=dict)
    """Position -> the beginning of the item's completion."""


@dataclass(frozen=True, kw_only=True)
class EngineIdentity:
    """What decides an engine's answers; `batch.manifest` records it in results.json."""

    model: str
    """Name of the checkpoint's folder, or of the model on the server."""
    model_sha256: str | None
    """None for a model on a server, whose files are not known."""
    prompt: str | None
    """The prompt template that the checkpoint was trained with; None if it is not known."""
    device: str
    """cpu, cuda, mps, or server."""
    dtype: str | None
    """The type of the weights, or with `quantization` the type of the others and of the
    computation; None if it is not known."""
    versions: Mapping[str, str]
    """Library -> version."""
    quantization: str | None = None
    """4bit or 8bit; None for weights of the type in `dtype`."""
    server: ServerIdentity | None = None
    """None for a model in this process."""


@dataclass(frozen=True)
class Capabilities:
    """What an engine can do besides completions."""

    option_probabilities: OptionProbabilities
    dropout: bool
    """Whether it can pass a question through the model with dropout on."""
    token_logprobs: TokenLogprobsKind
    continues: bool
    """Whether it can continue the beginning of a completion (`Prefill`)."""


class Engine(Protocol):
    """Answers questions with one model."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""

    def identity(self) -> EngineIdentity:
        """What decides its answers."""

    def predict(
        self, samples: Sequence[Sample], plan: InferencePlan
    ) -> Iterator[dict[int, Prediction]]:
        """Answer the batches of a plan.

        An item that cannot be answered has an error in its prediction.

        Args:
            samples: All questions of the input.
            plan: Which of them are answered, and how.

        Returns:
            Position -> prediction, for some items at a time: those of one batch, or those that a
            server has just answered.

        Raises:
            InputError: The model cannot be asked at all, such as without room for a prompt.
            Medr1Error: The engine failed; the items that it has not returned are not answered.
        """

    def progress(self) -> str:
        """What a progress line says about the engine, such as the tokens used; "" for nothing."""
        return ""

    def statistics(self) -> Mapping[str, object]:
        """What is recorded about the engine beside the results, such as the tokens used."""
        return {}


def all_predictions(
    engine: Engine, samples: Sequence[Sample], plan: InferencePlan
) -> list[Prediction]:
    """The predictions for all samples, in their order.

    Args:
        engine: What answers.
        samples: The questions.
        plan: Its batches contain every sample.
    """
    predictions: dict[int, Prediction] = {}
    for answered in engine.predict(samples, plan):
        predictions.update(answered)
    return [predictions[index] for index in range(len(samples))]


def require_capable(engine: Engine, decoding: Decoding) -> None:
    """Raise InputError if the engine cannot answer in this way.

    Args:
        engine: What answers.
        decoding: How questions are answered.
    """
    method = engine.capabilities.option_probabilities
    if decoding.dropout_samples and not engine.capabilities.dropout:
        raise InputError(
            f"--dropout-samples needs --engine local with a model of {', '.join(BATCHED_TYPES)}."
        )
    if decoding.mode == "options" and method != "exact":
        raise InputError(
            "--mode options needs the log-probabilities of the prompt, which this server does not "
            "return (vLLM does). Use --mode both or --mode generate."
        )
    _require_token_logprobs(engine, decoding)
    if decoding.permute > 1 and method == "none":
        raise InputError(
            "--permute needs the options' probabilities, and this server returns no "
            "log-probabilities. Remove --permute."
        )


def _require_token_logprobs(engine: Engine, decoding: Decoding) -> None:
    """InputError where log-probabilities of tokens are requested and the engine has none.

    A warning where it has only those with the image.
    """
    if not decoding.token_logprobs:
        return
    if engine.capabilities.token_logprobs == "none":
        raise InputError(
            "--token-logprobs needs a server that returns the log-probabilities of tokens, and "
            "this one does not. Remove --token-logprobs."
        )
    if engine.capabilities.token_logprobs == "with image":
        logger.warning(
            "token_logprobs_without_image is left out: this server does not return the "
            "log-probabilities of the prompt (vLLM does)."
        )
