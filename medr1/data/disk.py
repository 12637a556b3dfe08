"""Write a Hugging Face data set on disk, which `datasets.load_from_disk` reads.

`datasets` itself is not used, because it writes a random fingerprint, so that the same rows would
not always be the same bytes. Rows come from an iterator, so that memory does not grow with the
number of images.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from medr1.errors import OutputError
from medr1.files import sha256_of, to_json, write_atomic

if TYPE_CHECKING:
    import pyarrow

SHARD_BYTES = 500 * 1024**2
"""Bytes after which a new file begins."""
ROWS = 100
"""Number of rows in memory at a time."""


def write_dataset(
    folder: Path, rows: Iterable[Mapping[str, object]], schema: pyarrow.Schema, split: str | None
) -> dict[str, str]:
    """Write rows as one split of a data set.

    Args:
        folder: An empty or missing folder.
        rows: The rows: column -> value.
        schema: The columns and their types. A column `image` of {"bytes", "path"} has images.
        split: The split's name, such as "train"; None for a data set without splits.

    Returns:
        Name of each file in the folder -> its SHA-256 in hex.

    Raises:
        OutputError: The folder cannot be written.
    """
    schema = schema.with_metadata(_features(schema))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        parts = _write_shards(folder, iter(rows), schema)
    except OSError as error:
        raise OutputError(
            f"cannot write {folder}: {error.strerror or error}. Free disk space, or choose another "
            "folder."
        ) from None
    hashes = {part.name: sha256_of(part) for part in parts}
    state: dict[str, object] = {
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
    """The metadata that tells `datasets` that the column `image` has images; None without it."""
    if "image" not in schema.names or not str(schema.field("image").type).startswith("struct"):
        return None
    kinds = {"int64": "int64", "double": "float64", "bool": "bool", "string": "string"}
    features: dict[str, object] = {
        field.name: {"dtype": kinds.get(str(field.type)), "_type": "Value"} for field in schema
    }
    features["image"] = {"_type": "Image"}
    return {"huggingface": json.dumps({"info": {"features": features}})}


def _write_shards(
    folder: Path, rows: Iterator[Mapping[str, object]], schema: pyarrow.Schema
) -> list[Path]:
    """Write the data files, each of about SHARD_BYTES; at least one, even if there are no rows."""
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
                record_batch = pyarrow.RecordBatch.from_pylist(batch, schema=schema)
                out.write_batch(record_batch)
                written += record_batch.nbytes
                batch = list(islice(rows, ROWS))
    paths = [part.with_name(f"{part.stem}-of-{len(parts):05d}.arrow") for part in parts]
    for part, name in zip(parts, paths, strict=True):
        part.rename(name)
    return paths
