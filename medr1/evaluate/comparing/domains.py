"""Which result file belongs to which train domain and test domain of a matrix.

A domain is an image modality (CT, MRI) or a type of question. The layout comes from a YAML file,
from file names, or from what the result files say about their model and items.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medr1.documents.results import RUN_RECORD
from medr1.errors import InputError
from medr1.evaluate.reading.results import Results

Files = tuple[Path, ...]
"""The result file of one cell, or several: the same training with different seeds."""

_LAYOUT_KEYS = ("base", "cells", "train_data")
_EXAMPLE = "base: {CT: base_ct.json}, cells: {CT: {CT: a.json, MRI: b.json}}"

# Domain -> its other spellings, in lower case without punctuation. Med-R1 calls its checkpoints
# "VQA_CT", OmniMedVQA's modality_type says "CT(Computed Tomography)" for the same domain.
_DOMAINS = {
    "CT": ("vqact", "ctcomputedtomography", "computedtomography"),
    "MRI": ("vqamri", "mrmagneticresonanceimaging", "magneticresonanceimaging"),
    "X-Ray": ("vqaxray",),
    "Dermoscopy": ("vqader",),
    "Fundus Photography": ("vqafp",),
    "Microscopy": ("vqamicro", "microscopyimages"),
    "OCT": ("vqaoct", "octopticalcoherencetomography", "opticalcoherencetomography"),
    "Ultrasound": ("vqaus",),
    "Anatomy Identification": ("vqaai",),
    "Disease Diagnosis": ("vqadd",),
    "Lesion Grading": ("vqalg",),
    "Modality Recognition": ("vqamr",),
    "Other Biological Attributes": ("vqaoba",),
}


@dataclass(frozen=True)
class Layout:
    """The files of a matrix of train domains by test domains; names are printed as they are."""

    cells: Mapping[str, Mapping[str, Files]]
    """Train domain -> test domain -> result files."""
    base: Mapping[str, Files] = field(default_factory=dict)
    """Test domain -> result files of the base model, before training."""
    train_data: Mapping[str, Files] = field(default_factory=dict)
    """Domain -> files of the questions that were trained on, to find shared images."""


def layout_from_mapping(document: Mapping[str, object], path: Path) -> Layout:
    """The layout that a YAML file lists.

    Args:
        document: The parsed file, with `cells` and perhaps `base` and `train_data`.
        path: The YAML file. Relative paths in it start at its folder.

    Raises:
        InputError: A key is unknown, cells are missing, or an entry is no path.
    """
    if unknown := [key for key in document if key not in _LAYOUT_KEYS]:
        raise InputError(
            f"{path}: unknown key {unknown[0]!r}; known keys are {', '.join(_LAYOUT_KEYS)}. "
            f"Example: {_EXAMPLE}"
        )
    if not document.get("cells"):
        raise InputError(f"{path}: cells are missing. Write them like {_EXAMPLE}")
    cells = {
        train: _files(row, path, f"cells: {train}")
        for train, row in _mapping(document["cells"], path, "cells").items()
    }
    if empty := [train for train, row in cells.items() if not row]:
        raise InputError(f"{path}, cells: {empty[0]}: has no test domain. Write it like {_EXAMPLE}")
    base, data = (_files(document.get(key) or {}, path, key) for key in ("base", "train_data"))
    return Layout(cells, base, data)


def _mapping(value: object, path: Path, key: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise InputError(f"{path}, {key}: expected `domain: ...` lines. Example: {_EXAMPLE}")
    for name in value:
        # YAML reads an unquoted 1 as a number and an unquoted yes as true
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"{path}, {key}: {name!r} is not a name. Put it into quotes.")
    return value


def _files(value: object, path: Path, key: str) -> dict[str, Files]:
    """Domain -> files, from a mapping of names or lists of names relative to the YAML file."""
    files_of = {}
    for domain, files in _mapping(value, path, key).items():
        seeds: list[object] = files if isinstance(files, list) else [files]
        names = [file for file in seeds if isinstance(file, str) and file]
        if not names or len(names) < len(seeds):
            raise InputError(
                f"{path}, {key}: {domain}: expected a file, or a list of files, one for each seed."
            )
        files_of[domain] = tuple(path.parent / name for name in names)
    return files_of


def layout_from_names(folder: Path, pattern: str, base_name: str) -> Layout:
    """The layout that the names of the files in a folder give.

    Args:
        folder: Searched with all its subfolders; names are relative to it.
        pattern: A name with {train} and {test}, such as "{train}_{test}.json". Both are read as
            domains, as in `layout_from_metadata`.
        base_name: The train part of the base model's files.

    Raises:
        InputError: The pattern lacks {train} or {test}, no file fits it, or a name fits in two
            ways.
    """
    parts = re.fullmatch(r"(.*)\{(train|test)\}(.+)\{(train|test)\}(.*)", pattern)
    if parts is None or parts[2] == parts[4]:
        raise InputError(
            f"--from-names {pattern!r} does not hold {{train}} and {{test}} once each, apart. "
            "Write it like '{train}_{test}.json'."
        )
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; --from-names reads the names in one.")
    files_of: dict[tuple[str, str], Files] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_file() or name.endswith(RUN_RECORD):
            continue
        splits = _splits(name, parts[1], parts[3], parts[5])
        if len(splits) > 1:
            raise InputError(
                f"{path}: the name can be read as {' + '.join(splits[0])} and as "
                f"{' + '.join(splits[1])}. Name the files in a YAML file instead."
            )
        for split in splits:
            domains = dict(zip((parts[2], parts[4]), split, strict=True))
            files_of[domains["train"], domains["test"]] = (path,)
    if not files_of:
        raise InputError(f"{folder}: no file name fits {pattern!r}. Check --from-names.")
    return _layout(_by_domain(files_of, base_name), base_name)


def _by_domain(
    files_of: Mapping[tuple[str, str], Files], base_name: str
) -> Mapping[tuple[str, str], Files]:
    """The files by the domains that their names stand for (`domain_name`).

    If two names stand for one cell, all names stay as they are.
    """
    by_domain = {
        (train if train == base_name else domain_name(train), domain_name(test)): files
        for (train, test), files in files_of.items()
    }
    return by_domain if len(by_domain) == len(files_of) else files_of


def _splits(name: str, before: str, between: str, after: str) -> list[tuple[str, str]]:
    """All ways to read a name as before + x + between + y + after, x and y without a slash.

    "a_b_c.json" by "{train}_{test}.json" has two: ("a", "b_c") and ("a_b", "c").
    """
    if not (name.startswith(before) and name.endswith(after)):
        return []
    middle = name[len(before) : len(name) - len(after)]
    # the lookahead also finds occurrences of `between` that overlap
    starts = [match.start() for match in re.finditer(f"(?={re.escape(between)})", middle)]
    pairs = [(middle[:start], middle[start + len(between) :]) for start in starts]
    return [(x, y) for x, y in pairs if x and y and "/" not in x + y]


def layout_from_metadata(files: Mapping[Path, Results], kind: str, base_name: str) -> Layout:
    """The layout that the results give themselves: model name as train domain, items' test domain.

    Names of Med-R1's checkpoints and of OmniMedVQA's modalities are read as the domains they
    stand for (`domain_name`). Files of one cell must come from different seeds.

    Args:
        files: The result files and what they hold.
        kind: The field of the items that is the test domain: "modality" or "question_type".
        base_name: The model name of the base model's files.

    Raises:
        InputError: A file names no model or has items of several test domains, or two files have
            the same domains and seed.
    """
    files_of: dict[tuple[str, str], Files] = {}
    seeds: dict[tuple[str, str], list[object]] = {}
    for path, result in files.items():
        model = result.meta.get("model")
        if not isinstance(model, str) or not model:
            raise InputError(
                f"{path} does not name its model (`meta`: `model`), so its train domain is not "
                "known. Name the files in a YAML file instead."
            )
        tests = sorted({str(getattr(item.sample, kind)) for item in result.predictions})
        if len(tests) != 1 or tests == ["None"]:
            count = f"{len(tests)} of them" if len(tests) > 1 else "none"
            command = f"medr1 data split {' '.join(shlex.quote(str(file)) for file in files)}"
            split = f"Split the files: `{command} --by {kind} --output-dir DIR`. "
            split = split if len(tests) > 1 else ""
            raise InputError(
                f"{path}: a test domain is one {kind}, and its items have {count}. {split}Choose "
                "another --by, or name the files in a YAML file."
            )
        train = base_name if model == base_name else domain_name(model)
        key = (train, domain_name(tests[0]))
        seed = result.meta.get("seed")
        if seed in seeds.setdefault(key, []):
            raise InputError(
                f"{path} and {files_of[key][0]} are both trained on {key[0]} and tested on "
                f"{key[1]}, with the same seed. Leave one out."
            )
        seeds[key].append(seed)
        files_of[key] = (*files_of.get(key, ()), path)
    return _layout(files_of, base_name)


def domain_name(name: str) -> str:
    """The domain that a checkpoint's or modality's name stands for; any other name as it is."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    for domain, spellings in _DOMAINS.items():
        if plain in (*spellings, re.sub(r"[^a-z0-9]", "", domain.lower())):
            return domain
    return name


def _layout(files_of: Mapping[tuple[str, str], Files], base_name: str) -> Layout:
    """The layout of files by (train domain, test domain); `base_name` is the base's train part."""
    cells: dict[str, dict[str, Files]] = {}
    base: dict[str, Files] = {}
    for (train, test), files in files_of.items():
        if train == base_name:
            base[test] = files
        else:
            cells.setdefault(train, {})[test] = files
    if not cells:
        raise InputError(
            f"there are only results of the base model {base_name!r}. Add results of a trained "
            "model, or check --base-name."
        )
    return Layout(cells, base)


def order_test_domains(cells: Mapping[str, Mapping[str, object]], base: Sequence[str]) -> list[str]:
    """The test domains in the order of a matrix's columns.

    Those that are train domains come first, in the order of the rows, so that the in-domain cells
    lie on the diagonal.

    Args:
        cells: Train domain -> test domain -> anything.
        base: The test domains of the base model's results.
    """
    tests = dict.fromkeys([*(test for row in cells.values() for test in row), *base])
    return [name for name in cells if name in tests] + [n for n in tests if n not in cells]
