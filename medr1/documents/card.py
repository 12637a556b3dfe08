"""A card: what a reader needs to reproduce the accuracy of one results file (`eval --card`).

What is not known is None. The page of the card says "not recorded" there.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from medr1.documents.audit import Leak
from medr1.documents.metric import Clusters, Intervals, Metric
from medr1.documents.results import ServerIdentity
from medr1.documents.run_arguments import EvaluationArguments, InferenceArguments
from medr1.records import Decoding

CardSchema = Literal["medr1.card/1"]
"""The name of the form of a card."""


class CardData(Struct, frozen=True, kw_only=True):
    """The questions that were answered."""

    name: str | None
    """The name of their file."""
    sha256: str | None
    """Hash of the file, and of what is shown of scans."""
    n: int
    """Number of items that were answered."""
    limit: int | None
    """Number of items from the start of the file that were asked; None: all of them, or not
    recorded."""
    images_sha256: str | None
    """Hash of the names and contents of all their images; None if one of them was not found."""
    n_images: int | None
    """Number of different images; None if one of them was not found."""
    datasets: dict[str, int]
    """Data set, as the items name it -> number of items."""
    benchmark: str | None
    """The published benchmark, if `medr1 data prepare --benchmark` wrote the file."""
    split: str | None
    """train, validation, test or another one, if `medr1 data prepare` wrote the file."""
    filters: dict[str, object] | None
    """How `medr1 data prepare` chose and changed the items: its options; None if it did not write
    the file."""


class CardModel(Struct, frozen=True, kw_only=True):
    """The model that answered."""

    name: str | None
    sha256: str | None
    """Hash of its files; None for a model on a server."""
    device: str | None
    dtype: str | None
    quantization: str | None
    """4bit or 8bit; None for weights of the type in `dtype`."""
    server: ServerIdentity | None
    """None for a model in the process."""


class CardPrompt(Struct, frozen=True, kw_only=True):
    """The prompt template."""

    name: str | None
    """"by question" if it depends on the question."""
    sha256: str | None
    text: str | None
    """With {problem} in the place of the question."""


class CardBlind(Struct, frozen=True, kw_only=True):
    """What predictors reach that do not see the image, on the items with options."""

    chance: float | None
    best_predictor: str | None
    best: Metric
    image_gain: Metric
    """The model's accuracy minus that of `best_predictor`."""
    train_name: str | None
    """The file of the training questions on which they were fitted."""
    train_sha256: str | None


class CardTrainingFile(Struct, frozen=True, kw_only=True):
    """A file of training questions that the items were compared with."""

    name: str
    sha256: str
    n: int


class CardLeakage(Struct, frozen=True, kw_only=True):
    """What the questions have in common with training questions, from `medr1 data audit`."""

    against: list[CardTrainingFile]
    kinds: dict[str, Leak]
    """Kind of leak -> how many items leak from any of these files."""
    n: int
    """Number of items that were compared."""


class CardContamination(Struct, frozen=True, kw_only=True):
    """Whether the model prefers the published order of the options, from `medr1 contamination`."""

    n: int
    """Number of questions whose orders were compared."""
    preference: Metric
    """The mean share of the other orders that are less probable; 0.5 without a preference."""
    p_value: float | None


class CardItems(Struct, frozen=True, kw_only=True):
    """The verdict on each item, in the order of `ids`. Each text is base64 of zlib of an array of
    little-endian numbers."""

    n: int
    ids: str
    """The first 8 bytes of the SHA-256 of each id as uint64, in ascending order."""
    answers: str
    """The first 4 bytes of the SHA-256 of each extracted answer as uint32; 0 for no answer."""
    correct: str
    """1 for each right answer, 0 for any other item, as uint8."""
    clusters: str
    """Items about one image, or one patient, have the same number, as uint32."""


class CardCommands(Struct, frozen=True, kw_only=True):
    """The command lines, as they were typed; None for a run that was not started by one."""

    infer: str | None
    evaluate: str | None


class Card(Struct, frozen=True, kw_only=True):
    """A card."""

    schema: CardSchema = "medr1.card/1"
    results: str
    """The name of the results file."""
    results_sha256: str
    date: str | None
    """When the run started, in ISO 8601."""
    data: CardData
    model: CardModel
    prompt: CardPrompt
    decoding: Decoding | None
    seed: int | None
    """Of all sampling."""
    protocol: str
    """The rules that decide whether an answer is right."""
    accuracy: Metric
    clusters: Clusters
    intervals: Intervals
    n_error: int
    """Number of items that failed; they count as wrong."""
    n_without_answer: int
    """Number of items with a completion in which no answer was found."""
    blind: CardBlind | None
    """None without training questions."""
    leakage: CardLeakage | None
    """None if no audit was given."""
    contamination: CardContamination | None = None
    """None if no test of contamination was given."""
    versions: dict[str, str]
    """Library -> version, of the run."""
    evaluation_versions: dict[str, str]
    """The same of the evaluation."""
    commands: CardCommands
    inference: InferenceArguments | None
    """None for results of another program, or without the record beside them."""
    evaluation: EvaluationArguments
    items: CardItems | None
    """None for a card that was written without its results file."""
    warnings: list[str]
    """Sentences that a reader of the number has to know."""
