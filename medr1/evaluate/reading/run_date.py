"""When the run of a results file started: as its record beside it says, else as the file says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from msgspec import UNSET, UnsetType

from medr1.documents.results import run_record
from medr1.errors import InputError
from medr1.files import parse_json, read_text

_ISO = re.compile(r"\d{4}-\d{2}-\d{2}([T ][0-9:.]+(Z|[+-]\d{2}:?\d{2})?)?")
_MAX_RECORD = 1 << 20
"""Most bytes of a record."""


def run_date(path: Path, sha256: str, meta: Mapping[str, object]) -> str | UnsetType:
    """The date of a run, in ISO 8601; UNSET where nothing states it.

    Args:
        path: The results file. `medr1 infer` writes the record of the run beside it.
        sha256: Hash of the file. A record of other results does not count.
        meta: What the file says about its run; it may have a `date`.
    """
    for date in (record_of(path, sha256).get("started"), meta.get("date")):
        if isinstance(date, str) and (match := _ISO.fullmatch(date)):
            try:
                datetime.fromisoformat(match[0])
            except ValueError:
                continue
            return match[0]
    return UNSET


def record_of(results: Path, sha256: str) -> Mapping[str, object]:
    """The record that `medr1 infer` wrote beside a results file; empty if there is none.

    Args:
        results: The results file.
        sha256: Hash of the file. A record of other results does not count.
    """
    record = _record(run_record(results))
    return record if record.get("results_sha256") == sha256 else {}


def _record(path: Path) -> Mapping[str, object]:
    """The record of a run; empty if there is none that can be read."""
    try:
        if not path.is_file() or path.stat().st_size > _MAX_RECORD:
            return {}
        record = parse_json(read_text(path), str(path))
    except (InputError, OSError):  # a name that is too long is an OSError
        return {}
    return record if isinstance(record, dict) else {}
