"""Which result file belongs to which train domain and test domain."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medr1.errors import InputError
from medr1.evaluate.results import Results

Files = tuple[Path, ...]
"""One result file, or several seeds of it."""

PARTS = ("base", "cells", "train_data")
_EXAMPLE = "base: {CT: base_ct.json}, cells: {CT: {CT: a.json, MRI: b.json}}"

# Med-R1's checkpoints and OmniMedVQA's modality_type, which differ for one and the same thing
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
    """What a matrix is made of; names are as they are to be printed."""

    cells: Mapping[str, Mapping[str, Files]]
    """Train domain -> test domain -> results."""
    base: Mapping[str, Files] = field(default_factory=dict)
    """Test domain -> results of the base model."""
    train_data: Mapping[str, Files] = field(default_factory=dict)
    """Domain -> what was trained on."""


def layout_from_mapping(document: Mapping[str, Any], where: Path) -> Layout:
    """The layout that a YAML file says; its paths start at the file's folder."""
    if unknown := [key for key in document if key not in PARTS]:
        raise InputError(
            f"{where}: unknown key {unknown[0]!r}; there are {', '.join(PARTS)}. Such as {_EXAMPLE}"
        )
    if not document.get("cells"):
        raise InputError(f"{where}: has no cells. Write them like {_EXAMPLE}")
    cells = {
        train: _files(row, where, f"cells: {train}")
        for train, row in _mapping(document["cells"], where, "cells").items()
    }
    base, data = (_files(document.get(key) or {}, where, key) for key in ("base", "train_data"))
    return Layout(cells, base, data)


def _mapping(value: Any, where: Path, key: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError(f"{where}, {key}: expected `domain: ...` lines. Such as {_EXAMPLE}")
    for name in value:
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"{where}, {key}: {name!r} is no name. Put it into quotes.")
    return value


def _files(value: Any, where: Path, key: str) -> dict[str, Files]:
    found = {}
    for name, files in _mapping(value, where, key).items():
        several = files if isinstance(files, list) else [files]
        if not several or not all(isinstance(file, str) and file for file in several):
            raise InputError(f"{where}, {key}: {name}: expected a file, or a list of seeds' files.")
        found[name] = tuple(where.parent / file for file in several)
    return found


def layout_from_names(folder: Path, pattern: str, base_name: str) -> Layout:
    """The layout that file names in a folder say, by a pattern such as {train}_{test}.json."""
    parts = re.fullmatch(r"(.*)\{(train|test)\}(.+)\{(train|test)\}(.*)", pattern)
    if parts is None or parts[2] == parts[4]:
        raise InputError(
            f"--from-names {pattern!r} does not hold {{train}} and {{test}} once each, apart. "
            "Write it like '{train}_{test}.json'."
        )
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; --from-names reads the names in one.")
    found: dict[tuple[str, str], Files] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_file() or name.endswith(".run.json"):
            continue
        splits = _splits(name, parts[1], parts[3], parts[5])
        if len(splits) > 1:
            raise InputError(
                f"{path}: the name can be read as {' + '.join(splits[0])} and as "
                f"{' + '.join(splits[1])}. Name the files in a YAML file instead."
            )
        for split in splits:
            named = dict(zip((parts[2], parts[4]), split, strict=True))
            found[named["train"], named["test"]] = (path,)
    if not found:
        raise InputError(f"{folder}: no file's name is like {pattern!r}. Check --from-names.")
    return _layout(found, base_name)


def _splits(name: str, before: str, between: str, after: str) -> list[tuple[str, str]]:
    """The ways to read a name as before + x + between + y + after, x and y without a slash."""
    if not (name.startswith(before) and name.endswith(after)):
        return []
    middle = name[len(before) : len(name) - len(after)]
    places = [m.start() for m in re.finditer(f"(?={re.escape(between)})", middle)]
    pairs = [(middle[:place], middle[place + len(between) :]) for place in places]
    return [(x, y) for x, y in pairs if x and y and "/" not in x + y]


def layout_from_metadata(files: Mapping[Path, Results], kind: str, base_name: str) -> Layout:
    """The layout that results say themselves: trained as their model is called, tested on `kind`.

    `kind` is modality or question_type, of which a file's items must have one only. The names of
    Med-R1's checkpoints and of OmniMedVQA's modalities are read as the domains they stand for.
    """
    found: dict[tuple[str, str], Files] = {}
    seeds: dict[tuple[str, str], list[Any]] = {}
    for path, result in files.items():
        model = result.meta.get("model")
        if not isinstance(model, str) or not model:
            raise InputError(
                f"{path} does not say its model (`meta`: `model`), so its train domain is not "
                "known. Name the files in a YAML file instead."
            )
        tested = sorted({str(getattr(p.sample, kind)) for p in result.predictions})
        if len(tested) != 1 or tested == ["None"]:
            said = f"{len(tested)} of them" if len(tested) > 1 else "none"
            raise InputError(
                f"{path}: a test domain is one {kind}, and its items have {said}. Split it, choose "
                "another --by, or name the files in a YAML file."
            )
        train = base_name if model == base_name else domain_name(model)
        key = (train, domain_name(tested[0]))
        seed = result.meta.get("seed")
        if seed in seeds.setdefault(key, []):
            raise InputError(
                f"{path} and {found[key][0]} are both trained on {key[0]}, tested on {key[1]}, "
                "with one seed. Leave one out."
            )
        seeds[key].append(seed)
        found[key] = (*found.get(key, ()), path)
    return _layout(found, base_name)


def domain_name(name: str) -> str:
    """The domain that a checkpoint's or modality's name stands for; any other name as it is."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    for domain, spellings in _DOMAINS.items():
        if plain in (*spellings, re.sub(r"[^a-z0-9]", "", domain.lower())):
            return domain
    return name


def _layout(found: Mapping[tuple[str, str], Files], base_name: str) -> Layout:
    cells: dict[str, dict[str, Files]] = {}
    base: dict[str, Files] = {}
    for (train, test), files in found.items():
        if train == base_name:
            base[test] = files
        else:
            cells.setdefault(train, {})[test] = files
    if not cells:
        raise InputError(
            f"there are results of the base model {base_name!r} only. Add a trained one's, or "
            "check --base-name."
        )
    return Layout(cells, base)


def in_order(cells: Mapping[str, Mapping[str, Any]], base: Sequence[str]) -> list[str]:
    """The test domains: those that are train domains first, so that the diagonal is one."""
    tests = dict.fromkeys([*(test for row in cells.values() for test in row), *base])
    return [name for name in cells if name in tests] + [n for n in tests if n not in cells]
