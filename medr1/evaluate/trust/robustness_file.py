"""Reads robustness.json, of this version (medr1.robustness/2) and of the version before."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct, ValidationError, convert

from medr1.documents.robustness import Robustness
from medr1.errors import InputError
from medr1.files import parse_json, read_text


def read_robustness(path: Path) -> Robustness:
    """The document of a robustness.json.

    Raises:
        InputError: The file cannot be read, is no robustness.json, or is damaged.
    """
    document: object = parse_json(read_text(path), str(path))
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema not in ("medr1.robustness/1", "medr1.robustness/2"):
        raise InputError(f"{path} is not a robustness.json. Make one with medr1 robustness.")
    try:
        if schema == "medr1.robustness/1":
            document = _of_version_1(convert(document, dict[str, object]))
        return convert(document, Robustness)
    except ValidationError as error:
        raise InputError(
            f"{path} is damaged: {error}. Make it again with medr1 robustness."
        ) from None


class _Group(Struct):
    """A group in version 1."""

    n: int
    accuracy: dict[str, object]
    differences: dict[str, list[dict[str, object]]]


class _Version1(Struct):
    """The parts of version 1 whose keys were others."""

    blind: dict[str, object]
    views: dict[str, object]
    left_out: dict[str, dict[str, int]]
    perturbations: list[dict[str, object]]
    groups: dict[str, dict[str, _Group]]


def _of_version_1(document: dict[str, object]) -> dict[str, object]:
    """A document of version 1 with the keys of version 2.

    Where version 2 has a metric in a field of its own, version 1 had its keys beside the others;
    so the other keys are in the metric too here, and the conversion to the type ignores them.
    """
    old = convert(document, _Version1)
    views = {**old.views, "accuracy": old.views, "single_pass": old.views.get("one_pass")}
    return {
        **document,
        "schema": "medr1.robustness/2",
        "grey_image": {"status": "computed", "cell": {**old.blind, "severity": 1}}
        if "accuracy" in old.blind
        else {**old.blind, "status": "missing"},
        "perturbations": [
            {
                **entry,
                "excluded": entry.get("left_out"),
                "consistency": _consistency(entry.get("consistency")),
            }
            for entry in old.perturbations
        ],
        "test_time_augmentation": {**views, "status": "computed", "prediction": views}
        if "num_views" in old.views
        else {**old.views, "status": "missing"},
        "groups": {
            kind: {name: _group(group) for name, group in groups.items()}
            for kind, groups in old.groups.items()
        },
        "excluded": old.left_out,
    }


def _consistency(old: object) -> object:
    """The consistency of a perturbation, which may be None."""
    if not isinstance(old, dict):
        return old
    return {"metric": old, "variants": old.get("variants")}


def _group(old: _Group) -> dict[str, object]:
    differences = {
        name: [{**row, "difference": row} for row in rows] for name, rows in old.differences.items()
    }
    return {"n": old.n, "accuracy": old.accuracy, "differences": differences}
