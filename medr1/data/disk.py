"""A Hugging Face data set on disk, written row by row: what `datasets.load_from_disk` reads.

Written here and not by `datasets`, whose files hold a random fingerprint and would differ at each
writing; and from a stream, so that memory does not grow with the pictures.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medr1.errors import OutputError
from medr1.files import sha256_of, to_json, write_atomic

if TYPE_CHECKING:
    import pyarrow

SHARD_BYTES = 500 * 1024**2
ROWS = 100
"""How many rows are in memory at a time."""


def write_dataset(
    folder: Path, rows: Iterable[Mapping[str, Any]], schema: pyarrow.Schema, split: str | None
) -> dict[str, str]:
    """Write the rows into an empty folder; the name of each file there, with its SHA-256.

    A column that is called `image` and holds {"bytes", "path"} is one of pictures.
    """
    schema = schema.with_metadata(_features(schema))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        parts = _write_shards(folder, iter(rows), schema)
    except OSError as error:
        raise OutputError(
            f"cannot write {folder}: {error.strerror or error}. Make room, or choose another place."
        ) from None
    hashes = {part.name: sha256_of(part) for part in parts}
    state: dict[str, Any] = {
        "_data_files": [{"filename": part.name} for part in parts],
        "_fingerprint": hashlib.sha256(to_json(hashes).encode()).hexdigest()[:16],
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": split,
    }
    info = {"citation": "", "description": "", "homepage": "", "license": ""}
    for name, document in (("dataset_info.json", info), ("state.json", state)):
        write_atomic(folder / name, to_json(document))
        hashes[name] = sha256_of(folder / name)
    return hashes


def _features(schema: pyarrow.Schema) -> dict[str, str] | None:
    """What tells `datasets` that a column holds pictures; None where none does."""
    if "image" not in schema.names or not str(schema.field("image").type).startswith("struct"):
        return None
    kinds = {"int64": "int64", "double": "float64", "bool": "bool", "string": "string"}
    features: dict[str, Any] = {
        field.name: {"dtype": kinds.get(str(field.type)), "_type": "Value"} for field in schema
    }
    features["image"] = {"_type": "Image"}
    return {"huggingface": json.dumps({"info": {"features": features}})}


def _write_shards(
    folder: Path, rows: Iterator[Mapping[str, Any]], schema: pyarrow.Schema
) -> list[Path]:
    """The data files, each of about SHARD_BYTES; at least one, also for no rows."""
    import pyarrow

    parts: list[Path] = []
    batch = list(islice(rows, ROWS))
    while batch or not parts:
        parts.append(folder / f"data-{len(parts):05d}.arrow")
        written = 0
        with (
            pyarrow.OSFile(str(parts[-1]), "wb") as file,
            pyarrow.ipc.new_stream(file, schema) as out,
        ):
            while batch and written < SHARD_BYTES:
                made = pyarrow.RecordBatch.from_pylist(batch, schema=schema)
                out.write_batch(made)
                written += made.nbytes
                batch = list(islice(rows, ROWS))
    final = [part.with_name(f"{part.stem}-of-{len(parts):05d}.arrow") for part in parts]
    for part, name in zip(parts, final, strict=True):
        part.rename(name)
    return final
