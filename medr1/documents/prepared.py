"""manifest.json, which `medr1 data prepare` writes into the folder of a data set."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, Struct, UnsetType


class PreparedCounts(Struct, frozen=True, kw_only=True):
    """How many items and images the data set has."""

    items: int
    images: int
    train: int | UnsetType = UNSET
    validation: int | UnsetType = UNSET
    test: int | UnsetType = UNSET
    splits: dict[str, int] | UnsetType = UNSET
    """Split -> number of items; only of a benchmark (--benchmark), which may have other splits."""
    by: dict[str, dict[str, dict[str, int]]]
    """Field, such as modality -> its values -> split -> number of items."""


class PreparedError(Struct, frozen=True, kw_only=True):
    """An item that was left out."""

    image: str | None
    code: str
    message: str


class PreparedManifest(Struct, frozen=True, kw_only=True):
    """manifest.json of a prepared data set."""

    schema: Literal["medr1.prepared/1"] = "medr1.prepared/1"
    meta: dict[str, object]
    """The source with its hashes, and every option that decides what is written; of a benchmark
    also what is known to be wrong in its files."""
    counts: PreparedCounts
    image_notes: dict[str, int]
    """What was changed when images were decoded -> number of images."""
    burned_in: dict[str, int]
    """Why an image may contain text -> number of items."""
    count_differences: list[str] | UnsetType = UNSET
    """A sentence for each published count of a benchmark that is not that of the source."""
    errors: list[PreparedError]
    files: dict[str, str]
    """File in the folder -> SHA-256."""
