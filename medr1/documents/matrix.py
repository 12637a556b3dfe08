"""matrix.json, the document of `medr1 matrix`."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from medr1.documents.comparison import SeedSpread
from medr1.documents.metric import Clusters, Metric


class SharedImages(Struct, frozen=True, kw_only=True):
    """Test items with an image that the model was trained on."""

    items: int
    """Number of such test items."""
    images: int
    """Number of such images."""


class MatrixCell(Struct, frozen=True, kw_only=True):
    """The model of one training domain on one test domain."""

    in_domain: bool
    accuracy: Metric
    gain: Metric
    """Accuracy minus that of the base model."""
    p: float | None
    """p of the sign-flip test of the gain; None without results of the base model."""
    p_holm: float | None
    """p with Holm's correction over all cells."""
    mark: str
    """Stars of significance, as in `significance_levels`; empty where it is not significant."""
    seeds: SeedSpread | None
    shared_images: SharedImages | None
    """None where the training data are not known."""


class ReferenceRows(Struct, frozen=True, kw_only=True):
    """Rows to compare a trained model with: test domain -> accuracy.

    A test domain for which the accuracy cannot be computed is left out.
    """

    chance: dict[str, Metric]
    """The accuracy of random guessing."""
    blind: dict[str, Metric]
    """The option prior, fitted on the domain's own training questions."""
    base: dict[str, Metric]
    """The base model, before training."""


class Average(Struct, frozen=True, kw_only=True):
    """The unweighted mean of some cells; n counts cells."""

    accuracy: Metric
    gain: Metric


class Averages(Struct, frozen=True, kw_only=True):
    """Means over the cells in the training domain, and over the other cells."""

    in_domain: Average
    out_of_domain: Average
    rows: dict[str, Average]
    """Training domain -> mean of its cells out of domain."""
    columns: dict[str, Average]
    """Test domain -> mean of its cells out of domain."""


class DomainGap(Struct, frozen=True, kw_only=True):
    """How far models of other domains fall behind the model of a test domain."""

    in_domain: float
    """Accuracy of the model that was trained on the domain."""
    others: Metric
    """Mean accuracy of the models that were trained on other domains; n counts models."""
    gap: Metric
    """The first minus the second."""


class DomainPair(Struct, frozen=True, kw_only=True):
    """A model of one domain, tested on another."""

    train: str
    test: str
    answer_distance: float
    """Total variation between the ground truths of the two domains' items, 0 to 1."""
    image_distance: float | None = None
    """Kernel distance between the embeddings of the two domains' images; None if they were not
    compared, or a domain has a single image."""
    drop: float
    """Accuracy of the test domain's own model, minus that of this one."""


class Generalization(Struct, frozen=True, kw_only=True):
    """What is lost where a model meets a domain that it was not trained on."""

    domains: dict[str, DomainGap]
    """Test domain -> its gap; a domain without a model of its own is left out."""
    mean_gap: Metric
    """The unweighted mean of the gaps; n counts test domains."""
    pairs: list[DomainPair]
    rank_correlation: float | None
    """Spearman's correlation of answer_distance and drop over the pairs; None for fewer than
    four."""
    image_rank_correlation: float | None = None
    """The same of image_distance and drop."""
    image_model: str | None = None
    """The checkpoint whose vision tower gave the embeddings; None if images were not compared."""


class Matrix(Struct, frozen=True, kw_only=True):
    """matrix.json: accuracy by training domain and test domain."""

    schema: Literal["medr1.matrix/2"] = "medr1.matrix/2"
    protocol: str
    train_domains: list[str]
    test_domains: list[str]
    n: dict[str, int]
    """Test domain -> number of items."""
    paired_by: dict[str, str]
    """Test domain -> how the items of its files were paired."""
    clusters: dict[str, Clusters]
    """Test domain -> what its intervals resample."""
    reference_rows: ReferenceRows
    cells: dict[str, dict[str, MatrixCell]]
    """Training domain -> test domain -> cell; a cell without results is left out."""
    averages: Averages
    generalization: Generalization | None = None
    """None in a file that an earlier version wrote."""
    significance_levels: dict[str, float]
    """Stars -> the level that p_holm has to be under."""
    missing: list[tuple[str, str]]
    """(training domain, test domain) without results."""
    warnings: list[str]
