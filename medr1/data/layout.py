"""A prepared folder: where each picture lies in it, and the files of a split beside them.

    Images/...            the pictures, under the names that the items have
    train.json test.json  image, problem, solution: as the splits were published
    train/ test/          the same with pictures and what else is known, for `datasets`

With --by each domain has a folder with all of these.
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medr1.data.disk import write_dataset
from medr1.data.spellings import has_own_id, sample_to_item
from medr1.errors import OutputError, StateError
from medr1.files import sha256_of, write_atomic
from medr1.records import Sample

if TYPE_CHECKING:
    pass

_KINDS = {str: "string", int: "int64", float: "float64", bool: "bool"}
_RESERVED = {"image", "images", "image_path", "id", "question_id", "question", "problem"}
_RESERVED |= {"solution", "ground_truth", "gt_answer", "options", "answer_type", "question_type"}
_RESERVED |= {"modality", "modality_type", "dataset", "metadata"}


@dataclass(frozen=True)
class Picture:
    """An image of the source and its place in the folder."""

    name: str
    """As the items have it."""
    image: str
    """As the prepared items have it."""
    target: str
    """The same below the output folder."""


def place_pictures(wanted: Sequence[tuple[str, str]]) -> tuple[list[Picture], list[int]]:
    """The distinct pictures of (domain, image name), and which of them each is.

    A name stays as it is where it lies below Images/, and goes there otherwise; two that would
    come to lie at the same place, upper and lower case told apart or not, are told apart.
    """
    pictures: list[Picture] = []
    known: dict[tuple[str, str], int] = {}
    taken: set[str] = set()
    for domain, name in wanted:
        if (domain, name) in known:
            continue
        image = _image(name)
        if posixpath.join(domain, image).casefold() in taken:
            image = _apart(name)
        taken.add(posixpath.join(domain, image).casefold())
        known[domain, name] = len(pictures)
        pictures.append(Picture(name, image, posixpath.join(domain, image)))
    return pictures, [known[one] for one in wanted]


def _image(name: str) -> str:
    """The name below Images/; one that is absolute or leads out of its folder goes by a hash."""
    path = posixpath.normpath(name.replace("\\", "/"))
    if path.startswith(("/", "..")) or path[1:2] == ":" or "\0" in path:
        return _apart(name)
    return path if path.startswith("Images/") else f"Images/{path}"


def _apart(name: str) -> str:
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"Images/{digest}{Path(name).suffix[:10]}"


def domain_folders(samples: Sequence[Sample], by: str | None) -> list[str]:
    """The folder of each sample's domain: its name without what a file name may not hold."""
    if by is None:
        return [""] * len(samples)
    folders: dict[str, str] = {}
    for name in sorted({getattr(sample, by) or "unknown" for sample in samples}):
        folder = re.sub(r'[\x00-\x1f/\\:*?"<>|]', "-", name).strip(" .")[:100] or "unknown"
        while folder.casefold() in {other.casefold() for other in folders.values()}:
            folder += "-2"
        folders[name] = folder
    return [folders[getattr(sample, by) or "unknown"] for sample in samples]


def write_split(
    output: Path,
    domain: str,
    split: str,
    rows: Sequence[tuple[Sample, Picture]],
    hashes: Mapping[str, str],
) -> dict[str, str]:
    """Write the JSON file and the data set of one split; each file with its SHA-256.

    `hashes` are those of the pictures; one that is no longer what was made is a StateError.
    """
    import pyarrow

    samples = [replace(sample, images=(picture.image,)) for sample, picture in rows]
    name = posixpath.join(domain, f"{split}.json")
    write_atomic(output / name, _json(samples))
    folder, part = output / domain / split, output / domain / f".{split}.part"
    kinds = _metadata_kinds(samples)
    picture_type = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    described = ("id", "question_type", "modality", "dataset")
    columns = [("image", picture_type), ("problem", pyarrow.string())]
    columns += [("solution", pyarrow.string())]
    columns += [(key, pyarrow.string()) for key in described]
    columns += [(key, pyarrow.type_for_alias(kind)) for key, kind in kinds.items()]

    def values() -> Iterator[dict[str, Any]]:
        for sample, (_, picture) in zip(samples, rows, strict=True):
            content = _content(output / picture.target, hashes[picture.target])
            item = sample_to_item(sample, "published")
            yield {
                **item,
                "image": {"bytes": content, "path": picture.image},
                **{key: getattr(sample, key) for key in described},
                "id": sample.id if has_own_id(sample) else None,
                **{key: sample.metadata.get(key) for key in kinds},
            }

    try:
        for left in (folder, part):  # of a run that was killed here
            if left.exists():
                shutil.rmtree(left)
        written = write_dataset(part, values(), pyarrow.schema(columns), split)
        os.replace(part, folder)
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"cannot write {folder}: {error.strerror}. Make room.") from None
    found = {posixpath.join(domain, split, file): digest for file, digest in written.items()}
    return {name: sha256_of(output / name), **found}


def _json(samples: Sequence[Sample]) -> Iterator[str]:
    """The published splits' JSON, four spaces deep as they are, in pieces."""
    for number, sample in enumerate(samples):
        text = json.dumps([sample_to_item(sample, "published")], indent=4, ensure_ascii=False)
        yield ("[" if number == 0 else ",") + text[1:-2]
    yield "\n]\n"


def _content(path: Path, digest: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StateError(f"{path} was made and cannot be read: {error.strerror}.") from None
    if hashlib.sha256(content).hexdigest() != digest:
        raise StateError(f"{path} is not what was made there. Begin again with --overwrite.")
    return content


def _metadata_kinds(samples: Sequence[Sample]) -> dict[str, str]:
    """Key -> type of its column, of the metadata whose values are all of one plain type."""
    kinds: dict[str, set[str | None]] = {}
    for sample in samples:
        for key, value in sample.metadata.items():
            large = type(value) is int and abs(value) >= 2**63
            kinds.setdefault(key, set()).add(None if large else _KINDS.get(type(value)))
    found = {key: kind.copy().pop() for key, kind in kinds.items() if len(kind) == 1}
    return {
        key: kind
        for key, kind in found.items()
        if kind and key.casefold() not in _RESERVED and not key.casefold().startswith("option_")
    }
