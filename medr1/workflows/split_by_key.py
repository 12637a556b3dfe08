"""Split results or questions into a file for each value of a key, such as each modality."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medr1.errors import InputError, did_you_mean
from medr1.terminal import counted
from medr1.workflows.arguments import keep_apart, require_writable

if TYPE_CHECKING:
    from medr1.data.readers import Questions
    from medr1.data.roots import ImageRoot
    from medr1.records import Sample

logger = logging.getLogger("medr1")

FIELDS = ("modality", "question_type", "dataset", "option_count", "answer_type")
"""The keys that every item has; any other one is looked up in the items' metadata."""


@dataclass(frozen=True)
class SplitFile:
    """One file that was written."""

    path: Path
    source: Path
    """The file that its items are from."""
    value: str | None
    """The value of the key that its items have; None if they have none."""
    n: int
    """Number of items."""


@dataclass(frozen=True)
class SplitFiles:
    """The files that were written, by source and in the order of the values."""

    output_dir: Path
    files: Sequence[SplitFile]
    matrix: str | None = None
    """The command that makes a matrix of them; None unless they are results of several models."""


def split_by_key(
    sources: Sequence[str | Path],
    *,
    by: str,
    output_dir: str | Path,
    data: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> SplitFiles:
    """Write a file for each value of a key, in the layout of the source, with its items unchanged.

    Items without the key go into the file `none`. The parts of several sources are in a folder for
    each source, or have the split in their names (CT_train.json) if the sources are question files
    whose names end in a split.

    Args:
        sources: Files with results, or files with questions.
        by: modality, question_type, dataset, option_count, answer_type, or a metadata key.
        output_dir: Folder to write.
        data: File with the questions, or folder with test.json, if results lack the key.
        columns: Key of medr1 -> key or column of the sources: {"modality": "scan"}.
        overwrite: Whether an existing output is replaced, and kept as NAME.bak.

    Raises:
        InputError: A source cannot be read, or no item has the key.
        OutputError: The output cannot be written.
    """
    from medr1.data.file_parts import part_names, write_parts
    from medr1.files import prepare_folder
    from medr1.workflows.evaluate import questions_of

    paths, output = [Path(source) for source in sources], Path(output_dir)
    require_writable(output / "part.json")
    keep_apart(output, [*paths, data], overwrite)
    questions = questions_of(data)
    files = [_read(path, by, columns or {}, questions) for path in paths]
    groups = _groups_of(files, by)
    names = part_names(group for column in groups for group in column)
    starts, ends = _names_around(files)
    prepare_folder(output, overwrite=overwrite)
    written: list[SplitFile] = []
    for file, column, start, end in zip(files, groups, starts, ends, strict=True):
        part_of = {
            group: output / start / f"{names[group]}{end}" for group in dict.fromkeys(column)
        }
        write_parts(
            file.path,
            [part_of[group] for group in column],
            list_keys=("results", "logs") if file.is_results else ("questions",),
            mapped=(columns or {}).values(),
        )
        counts = Counter(column)
        written += [
            SplitFile(part_of[group], file.path, group, counts[group])
            for group in sorted(part_of, key=lambda group: (group is None, group or ""))
        ]
    _log(files, groups, by, len(written))
    is_several = len(files) > 1 and all(file.is_results for file in files) and len(set(ends)) == 1
    command = _matrix_command(output, starts, ends[0]) if is_several else None
    return SplitFiles(output, written, command)


@dataclass(frozen=True)
class _Source:
    """A file that is split."""

    path: Path
    is_results: bool
    """Whether it has results; otherwise it has questions."""
    values: list[str | None]
    """The value of the key for each item."""
    keys: set[str]
    """The keys that its items have, to correct a wrong one."""
    relative_root: ImageRoot | None = None
    """The folder that the image paths of questions start from; None if no path is relative."""


def _read(path: Path, by: str, columns: Mapping[str, str], questions: Questions | None) -> _Source:
    """Read the values of the key; a file is one of questions if it cannot be read as results."""
    from medr1.data.readers import read_questions
    from medr1.files import open_file

    if path.is_dir():
        raise InputError(
            f"{path} is a folder. Name a file in it; medr1 data convert writes a data set on disk "
            "as a file."
        )
    try:
        return _read_results(path, by, columns, questions)
    except InputError as error:
        if questions is not None:
            raise
        refusal = str(error)
    open_file(_file_of(path)).close()
    try:
        items = read_questions(path, columns=columns)
    except InputError as error:
        if str(error) == refusal:
            raise
        raise InputError(f"{path} is neither results nor questions: {refusal} {error}") from None
    if len(items.failures) == len(items.samples):
        raise InputError(refusal)
    is_relative = any(not Path(name).is_absolute() for s in items.samples for name in s.images)
    root = items.image_root if is_relative else None
    return _Source(path, False, *_values(items.samples, by), root)


def _file_of(path: Path) -> Path:
    """The file of a path, which may also name a sheet of it."""
    from medr1.data.spreadsheets import file_and_sheet

    return file_and_sheet(path)[0]


def _read_results(
    path: Path, by: str, columns: Mapping[str, str], questions: Questions | None
) -> _Source:
    """Read the values of the key from results."""
    from medr1.evaluate.reading.results import open_results

    file = open_results(path, columns=columns, questions=questions)
    if questions is not None and file.notes:
        raise InputError(
            f"{file.notes[0]} The parts would have another order. Add the ids of the data to "
            f"{path}."
        )
    file.log_reading()
    samples = (
        prediction.sample
        for chunk in file.chunks
        for prediction in (
            chunk.predictions()
            if questions is not None
            else (prediction for _, prediction in chunk.parse(complete=False))
        )
    )
    return _Source(path, True, *_values(samples, by))


def _values(samples: Iterable[Sample], by: str) -> tuple[list[str | None], set[str]]:
    """The value of the key for each item, and all keys that items have."""
    from medr1.evaluate.judging import group_of

    field = by.replace("-", "_")
    name = field if field in FIELDS else by
    values: list[str | None] = []
    keys: set[str] = set()
    for sample in samples:
        values.append(group_of(sample, name))
        keys.update(sample.metadata)
        keys.update(key for key in FIELDS if key not in keys and group_of(sample, key))
    return values, keys


def _groups_of(files: Sequence[_Source], by: str) -> list[list[str | None]]:
    """For each file the group of each item: its value, or what `eval --group-by` shows of it.

    InputError if a file has no item with the key.
    """
    from medr1.evaluate.coded import CodedColumn
    from medr1.evaluate.groups import named_groups

    for file in files:
        if not any(value is not None for value in file.values):
            known = ", ".join(sorted(file.keys))[:200] or "none"
            hint = did_you_mean(by, file.keys, "Choose one of them.")
            raise InputError(
                f"--by {by}: no item of {file.path} has this key. There are: {known}. {hint}"
            )
    column = CodedColumn.from_items(value for file in files for value in file.values)
    if by.replace("-", "_") not in FIELDS:
        column, note = named_groups(by, column)
        if note:
            logger.info("%s", note)
    groups = iter(column)
    return [[next(groups) for _ in file.values] for file in files]


def _names_around(files: Sequence[_Source]) -> tuple[list[str], list[str]]:
    """For each file the folder of its parts ("" for none), and how their names end.

    Questions of several splits have the split at the end: "_train.json".
    """
    from medr1.data.file_parts import part_suffix
    from medr1.data.splits import split_of_name

    suffixes = [part_suffix(_file_of(file.path)) for file in files]
    splits = [None if file.is_results else split_of_name(file.path) for file in files]
    ends = [
        f"_{split}{suffix}" if split else suffix
        for split, suffix in zip(splits, suffixes, strict=True)
    ]
    if len(files) == 1 or (all(splits) and len(set(splits)) == len(files)):
        return [""] * len(files), ends
    return _folder_names([file.path for file in files]), suffixes


def _folder_names(paths: Sequence[Path]) -> list[str]:
    """A folder name for each path: its name without ending, or that of its folder."""
    stems = [_file_of(path).stem for path in paths]
    folders = [path.absolute().parent.name for path in paths]
    for names in (stems, folders):
        if len({name.casefold() for name in names}) == len(names) and all(names):
            return names
    return [f"{stem}-{number}" for number, stem in enumerate(stems, start=1)]


def _matrix_command(output: Path, names: Sequence[str], suffix: str) -> str:
    """The command that compares the results of several models on the parts.

    The base model is the one of the name "base", else the first one.
    """
    import shlex

    base = next((name for name in names if name.casefold() == "base"), names[0])
    pattern = f"{{train}}/{{test}}{suffix}"
    return shlex.join(
        ["medr1", "matrix", str(output), "--from-names", pattern, "--base-name", base]
    )


def _log(
    files: Sequence[_Source], groups: Sequence[Sequence[str | None]], by: str, n_written: int
) -> None:
    """Log the number of files; warn of items without the key, and of relative image paths."""
    from medr1.data.file_parts import WITHOUT_VALUE

    n = sum(map(len, groups))
    logger.info("%s in %s by %s", counted(n, "item"), counted(n_written, "file"), by)
    if missing := sum(group is None for column in groups for group in column):
        logger.warning(
            "%d of %d items have no %s: they are in the files named %s.",
            *(missing, n, by, WITHOUT_VALUE),
        )
    if roots := {str(file.relative_root) for file in files if file.relative_root is not None}:
        logger.warning(
            "image paths are relative to %s: use it as --image-root with the parts.",
            " and ".join(sorted(roots)),
        )
