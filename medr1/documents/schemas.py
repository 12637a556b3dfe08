"""The JSON Schema of each document, made from its type."""

from __future__ import annotations

from msgspec import Struct
from msgspec import json as msgspec_json

from medr1.documents.audit import Audit
from medr1.documents.comparison import Comparison
from medr1.documents.matrix import Matrix
from medr1.documents.prepared import PreparedManifest
from medr1.documents.results import ResultsFile
from medr1.documents.robustness import Robustness
from medr1.documents.summary import Summary
from medr1.documents.training import TrainingRecord
from medr1.errors import InputError, did_you_mean

DOCUMENTS: dict[str, type[Struct]] = {
    "results": ResultsFile,
    "summary": Summary,
    "comparison": Comparison,
    "matrix": Matrix,
    "audit": Audit,
    "robustness": Robustness,
    "training": TrainingRecord,
    "manifest": PreparedManifest,
}
"""Name for `medr1 schema` -> type of the document."""


def json_schema(name: str) -> dict[str, object]:
    """The JSON Schema (2020-12) of a document.

    Raises:
        InputError: There is no document of this name.
    """
    if name not in DOCUMENTS:
        hint = did_you_mean(name, DOCUMENTS, f"There are: {', '.join(DOCUMENTS)}.")
        raise InputError(f"{name!r} is not a document of medr1. {hint}")
    schema = msgspec_json.schema(DOCUMENTS[name], schema_hook=_any_value)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _any_value(kind: type) -> dict[str, object]:
    """The schema of `object`, which stands for any JSON value."""
    if kind is not object:
        raise NotImplementedError(kind)
    return {"description": "any JSON value"}
