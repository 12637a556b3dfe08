"""The JSON Schema of each document, made from its type."""

from __future__ import annotations

from pkgutil import resolve_name
from typing import TYPE_CHECKING

from medr1.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from msgspec import Struct

DOCUMENTS = {
    "results": "medr1.documents.results:ResultsFile",
    "summary": "medr1.documents.summary:Summary",
    "card": "medr1.documents.card:Card",
    "board": "medr1.documents.board:Board",
    "contamination": "medr1.documents.contamination:Contamination",
    "reproduction": "medr1.documents.reproduction:Reproduction",
    "comparison": "medr1.documents.comparison:Comparison",
    "matrix": "medr1.documents.matrix:Matrix",
    "audit": "medr1.documents.audit:Audit",
    "robustness": "medr1.documents.robustness:Robustness",
    "review": "medr1.documents.review:ReviewSummary",
    "training": "medr1.documents.training:TrainingRecord",
    "demo": "medr1.documents.demo:Demo",
    "manifest": "medr1.documents.prepared:PreparedManifest",
    "pass-rates": "medr1.documents.pass_rates:PassRates",
}
"""Name for `medr1 schema` -> type of the document; it is imported when it is needed."""


def document_type(name: str) -> type[Struct]:
    """The type of a document.

    Raises:
        InputError: There is no document of this name.
    """
    if name not in DOCUMENTS:
        hint = did_you_mean(name, DOCUMENTS, f"There are: {', '.join(DOCUMENTS)}.")
        raise InputError(f"{name!r} is not a document of medr1. {hint}")
    kind: type[Struct] = resolve_name(DOCUMENTS[name])
    return kind


def json_schema(name: str) -> dict[str, object]:
    """The JSON Schema (2020-12) of a document.

    Raises:
        InputError: There is no document of this name.
    """
    from msgspec import json

    kind = document_type(name)
    schema = json.schema(kind, schema_hook=_any_value)
    own = schema["$defs"][kind.__name__]
    if "schema" in own["properties"]:
        # each file has it, although the type has a default
        own["required"] = list(dict.fromkeys(["schema", *own["required"]]))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _any_value(kind: type) -> dict[str, object]:
    """The schema of `object`, which stands for any JSON value."""
    if kind is not object:
        raise NotImplementedError(kind)
    return {"description": "any JSON value"}
