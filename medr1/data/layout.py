"""The files of a folder that `medr1 data prepare` writes: paths of the images, and the splits.

    Images/...            the images, with the paths that the items have
    train.json test.json  items with image, problem and solution, like the published split files
    train/ test/          the same items with images and all other fields, for `datasets`

With --by, each domain, such as a modality, has a folder with all of these.
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

from medr1.data.disk import write_dataset
from medr1.data.scans.private_names import is_alias
from medr1.data.scans.view import split_view
from medr1.data.spellings import has_own_id, sample_to_item
from medr1.errors import OutputError, StateError
from medr1.files import sha256_of, write_atomic
from medr1.records import Sample

_KINDS = {str: "string", int: "int64", float: "float64", bool: "bool"}
"""Type of a metadata value -> type of its column."""
_RESERVED = {"image", "images", "image_path", "id", "question_id", "question", "problem"}
_RESERVED |= {"solution", "ground_truth", "gt_answer", "options", "answer_type", "question_type"}
_RESERVED |= {"modality", "modality_type", "dataset", "metadata"}
"""Keys with a meaning of their own when items are read, so no metadata column has such a name."""


_SCAN_ENDINGS = (".nii", ".nii.gz", ".dcm")
"""Endings of files that become a PNG, whatever their name; a slide with tiles has a view."""


@dataclass(frozen=True)
class PlacedImage:
    """An image of the source, and its path in the prepared folder."""

    name: str
    """The path that the items of the source have."""
    path: str
    """The path that the prepared items have, below the folder of their domain."""
    target: str
    """The path below the output folder."""


def place_images(names: Sequence[tuple[str, str]]) -> tuple[list[PlacedImage], list[int]]:
    """Choose a path in the prepared folder for each different image.

    A path that begins with Images/ stays as it is; others are put below Images/. A path that an
    earlier image already has, also if only upper and lower case differ, is replaced by a hash.

    Args:
        names: (folder of the domain, image path) of each item.

    Returns:
        (the different images, the position of each item's image among them).
    """
    images: list[PlacedImage] = []
    positions: dict[tuple[str, str], int] = {}
    used_paths: set[str] = set()
    for domain, name in names:
        if (domain, name) in positions:
            continue
        path = _path_below_images(name)
        if posixpath.join(domain, path).casefold() in used_paths:
            path = _hashed_path(name)
        used_paths.add(posixpath.join(domain, path).casefold())
        positions[domain, name] = len(images)
        images.append(PlacedImage(name, path, posixpath.join(domain, path)))
    return images, [positions[key] for key in names]


def _path_below_images(name: str) -> str:
    """The path below Images/; a hash of it if it is absolute or leads out of its folder."""
    path = posixpath.normpath(_picture_name(name).replace("\\", "/"))
    if path.startswith(("/", "..")) or path[1:2] == ":" or "\0" in path:
        return _hashed_path(name)
    return path if path.startswith("Images/") else f"Images/{path}"


def _hashed_path(name: str) -> str:
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"Images/{digest}{Path(_picture_name(name)).suffix[:10]}"


def _picture_name(name: str) -> str:
    """The name of the PNG that is made of a scan; the name itself for an ordinary picture."""
    file_name, view = split_view(name)
    if str(view) or is_alias(file_name) or file_name.lower().endswith(_SCAN_ENDINGS):
        return f"{file_name}{re.sub('[^0-9a-z]+', '-', str(view))}.png"
    return name


def domain_folders(samples: Sequence[Sample], by: str | None) -> list[str]:
    """The folder of each sample's domain.

    Args:
        samples: The samples.
        by: The field that is the domain, "modality" or "question_type"; None for no domains.

    Returns:
        One folder name per sample, "" without domains: the domain without the characters that file
        names must not have. Different domains have different folders.
    """
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
    rows: Sequence[tuple[Sample, PlacedImage]],
    hashes: Mapping[str, str],
) -> dict[str, str]:
    """Write the JSON file and the data set on disk of one split.

    Args:
        output: The output folder, which already has the images.
        domain: The folder of the split's domain below it; "" without domains.
        split: The split's name, such as "train".
        rows: The items of the split with their images.
        hashes: Path of each image below `output` -> SHA-256 of its file.

    Returns:
        Path of each new file below `output` -> its SHA-256.

    Raises:
        StateError: An image cannot be read, or has changed since it was written.
        OutputError: A file cannot be written.
    """
    import pyarrow

    samples = [replace(sample, images=(image.path,)) for sample, image in rows]
    name = posixpath.join(domain, f"{split}.json")
    write_atomic(output / name, _json(samples))
    folder, part = output / domain / split, output / domain / f".{split}.part"
    kinds = _metadata_kinds(samples)
    image_type = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    text_fields = ("id", "question_type", "modality", "dataset")
    columns = [("image", image_type), ("problem", pyarrow.string())]
    columns += [("solution", pyarrow.string())]
    columns += [(key, pyarrow.string()) for key in text_fields]
    columns += [(key, pyarrow.type_for_alias(kind)) for key, kind in kinds.items()]

    def values() -> Iterator[dict[str, object]]:
        for sample, (_, image) in zip(samples, rows, strict=True):
            content = _content(output / image.target, hashes[image.target])
            item = sample_to_item(sample, "published")
            yield {
                **item,
                "image": {"bytes": content, "path": image.path},
                **{key: getattr(sample, key) for key in text_fields},
                "id": sample.id if has_own_id(sample) else None,
                **{key: sample.metadata.get(key) for key in kinds},
            }

    try:
        for old in (folder, part):  # left by a run that was killed here
            if old.exists():
                shutil.rmtree(old)
        file_hashes = write_dataset(part, values(), pyarrow.schema(columns), split)
        os.replace(part, folder)
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"cannot write {folder}: {error.strerror}. Free disk space.") from None
    paths = {posixpath.join(domain, split, file): digest for file, digest in file_hashes.items()}
    return {name: sha256_of(output / name), **paths}


def _json(samples: Sequence[Sample]) -> Iterator[str]:
    """The text of the JSON file in pieces, indented by four spaces like the published splits."""
    for number, sample in enumerate(samples):
        text = json.dumps([sample_to_item(sample, "published")], indent=4, ensure_ascii=False)
        yield ("[" if number == 0 else ",") + text[1:-2]
    yield "\n]\n"


def _content(path: Path, digest: str) -> bytes:
    """The content of an image file; StateError if its SHA-256 is not `digest`."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StateError(f"{path} was written and cannot be read: {error.strerror}.") from None
    if hashlib.sha256(content).hexdigest() != digest:
        raise StateError(f"{path} has changed since it was written. Start again with --overwrite.")
    return content


def _metadata_kinds(samples: Sequence[Sample]) -> dict[str, str]:
    """Metadata key -> type of its column, for keys whose values all have the same plain type."""
    kinds: dict[str, set[str | None]] = {}
    for sample in samples:
        for key, value in sample.metadata.items():
            too_large = type(value) is int and abs(value) >= 2**63
            kinds.setdefault(key, set()).add(None if too_large else _KINDS.get(type(value)))
    uniform = {key: kind.copy().pop() for key, kind in kinds.items() if len(kind) == 1}
    return {
        key: kind
        for key, kind in uniform.items()
        if kind and key.casefold() not in _RESERVED and not key.casefold().startswith("option_")
    }
