"""The card of an evaluated results file, from its summary, its header and the records beside it."""

from __future__ import annotations

import hashlib
import platform
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TypeVar

from msgspec import ValidationError, convert

from medr1.data.audit.images import image_sha256
from medr1.data.roots import ImageRoot, resolve_image
from medr1.data.spreadsheets import file_and_sheet
from medr1.documents.audit import Audit
from medr1.documents.card import (
    Card,
    CardBlind,
    CardCommands,
    CardContamination,
    CardData,
    CardLeakage,
    CardModel,
    CardPrompt,
    CardTrainingFile,
)
from medr1.documents.contamination import Contamination
from medr1.documents.prepared import PreparedManifest
from medr1.documents.results import ServerIdentity
from medr1.documents.run_arguments import EvaluationArguments, InferenceArguments
from medr1.documents.summary import Summary
from medr1.errors import InputError, ItemError
from medr1.evaluate.cards.items import card_items
from medr1.evaluate.judging import Judged
from medr1.evaluate.reading.run_date import record_of
from medr1.files import parse_json, read_text, sha256_of
from medr1.installation import recorded_path
from medr1.records import Decoding

Part = TypeVar("Part")

_PROGRAMS = ("medr1", "medr1.exe", "__main__.py")
"""Names of the program in a recorded command line."""
_MANIFEST_FOLDERS = 3
"""How many folders above a file of questions its manifest.json may be."""


@dataclass(frozen=True)
class CardInputs:
    """What a card tells beside the summary and the results file."""

    evaluation: EvaluationArguments
    argv: Sequence[str] = ()
    """The command line of the evaluation."""
    audit: Path | None = None
    """The audit.json of the questions."""
    contamination: Path | None = None
    """The contamination.json of model and questions."""
    data: Path | None = None
    """The file of the questions."""
    data_sha256: str | None = None
    """Its hash, for results whose header has none."""
    train: Path | None = None
    """The file of the training questions, on which the predictors without the image are fitted."""
    image_root: Path | None = None
    """The folder of the images, if one was given."""


def build_card(
    path: Path, summary: Summary, judged: Judged, images: Sequence[str], inputs: CardInputs
) -> Card:
    """The card of a results file.

    Args:
        path: The results file.
        summary: The content of its summary.json.
        judged: Its items.
        images: The paths of their images, each once.
        inputs: What else is known.

    Raises:
        InputError: The audit is not one of these questions, or the test of contamination is of
            another model or other questions.
    """
    meta = summary.meta
    record = record_of(path, summary.sha256 or "")
    arguments = _part(record.get("arguments"), InferenceArguments)
    python = record.get("python")
    versions = _texts(meta.get("versions"))
    return Card(
        results=path.name,
        results_sha256=summary.sha256 or "",
        date=summary.date or None,
        data=_data(summary, arguments, images, inputs),
        model=CardModel(
            name=_text(meta.get("model")),
            sha256=_text(meta.get("model_sha256")),
            device=_text(meta.get("device")),
            dtype=_text(meta.get("dtype")),
            quantization=_text(meta.get("quantization")),
            server=_part(meta.get("server"), ServerIdentity),
        ),
        prompt=_prompt(meta, record),
        decoding=_part(meta.get("decoding"), Decoding),
        seed=_part(meta.get("seed"), int),
        protocol=summary.protocol,
        accuracy=summary.metrics["accuracy"],
        clusters=summary.clusters,
        intervals=summary.intervals,
        n_error=summary.n_error,
        n_without_answer=summary.n_unparsed + summary.n_refused,
        blind=_blind(summary, inputs.train),
        leakage=_leakage(inputs.audit, _text(meta.get("data_sha256")) or inputs.data_sha256),
        contamination=_contamination(inputs, meta),
        versions={"python": python, **versions} if isinstance(python, str) else versions,
        evaluation_versions=_own_versions(),
        commands=CardCommands(
            infer=command_line(record.get("argv")), evaluate=command_line(inputs.argv)
        ),
        inference=arguments,
        evaluation=inputs.evaluation,
        items=card_items(judged),
        warnings=summary.warnings,
    )


def command_line(argv: object) -> str | None:
    """A command of medr1 as it is typed in a shell; None where the program was another one.

    Args:
        argv: The program and its arguments, as `sys.argv`.
    """
    if not isinstance(argv, list | tuple) or not argv or PurePath(argv[0]).name not in _PROGRAMS:
        return None
    return shlex.join(["medr1", *map(str, argv[1:])])


def images_hash(images: Sequence[str], root: ImageRoot) -> str | None:
    """The hash of the names and contents of images; None if one of them cannot be read.

    Args:
        images: Their paths, as the items have them.
        root: The folder that relative paths start from.
    """
    digest = hashlib.sha256()
    for name in sorted(images):
        try:
            content = image_sha256(resolve_image(name, root))
        except (ItemError, OSError):
            return None
        digest.update(f"{name}\0{content}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _data(
    summary: Summary,
    arguments: InferenceArguments | None,
    images: Sequence[str],
    inputs: CardInputs,
) -> CardData:
    """What is known of the questions."""
    meta = summary.meta
    file = inputs.data
    if file is None and arguments is not None:
        file = recorded_path(arguments.batch_file)
    folder = inputs.image_root
    if folder is None and arguments is not None and arguments.image_root:
        folder = recorded_path(arguments.image_root)
    if folder is None and file is not None:
        folder = file if file.is_dir() else file.parent
    digest = images_hash(images, ImageRoot(folder)) if folder and images else None
    manifest, split = _manifest(file) if file else (None, None)
    benchmark = manifest.meta.get("benchmark") if manifest else None
    return CardData(
        name=_text(meta.get("data")) or (file.name if file else None),
        sha256=_text(meta.get("data_sha256")) or inputs.data_sha256,
        n=summary.n,
        limit=arguments.limit if arguments else None,
        images_sha256=digest,
        n_images=len(images) if digest else None,
        datasets={name: group.n for name, group in summary.groups.get("dataset", {}).items()},
        benchmark=benchmark if isinstance(benchmark, str) else None,
        split=split,
        filters=manifest.meta if manifest else None,
    )


def _manifest(file: Path) -> tuple[PreparedManifest | None, str | None]:
    """The manifest.json that has a file of questions, and the file's split; None where none has."""
    file = file_and_sheet(file)[0].absolute()
    if not file.is_file():
        return None, None
    for folder in file.parents[:_MANIFEST_FOLDERS]:
        path = folder / "manifest.json"
        if not path.is_file():
            continue
        try:
            manifest = _part(parse_json(read_text(path), str(path)), PreparedManifest)
        except InputError:
            continue
        name = file.relative_to(folder).as_posix()
        if manifest is not None and manifest.files.get(name) == sha256_of(file):
            return manifest, file.stem
    return None, None


def _prompt(meta: Mapping[str, object], record: Mapping[str, object]) -> CardPrompt:
    """The prompt; its text only where it has the recorded hash."""
    sha256, text = _text(meta.get("prompt_sha256")), _text(record.get("prompt_text"))
    if text is not None and hashlib.sha256(text.encode()).hexdigest() != sha256:
        text = None
    return CardPrompt(name=_text(meta.get("prompt")), sha256=sha256, text=text)


def _blind(summary: Summary, train: Path | None) -> CardBlind | None:
    if summary.blind is None:
        return None
    return CardBlind(
        chance=summary.blind.chance,
        best_predictor=summary.blind.best_predictor,
        best=summary.blind.best,
        image_gain=summary.blind.image_gain,
        train_name=train.name if train else None,
        train_sha256=sha256_of(file_and_sheet(train)[0]) if train else None,
    )


def _leakage(audit: Path | None, data_sha256: str | None) -> CardLeakage | None:
    """The leakage that an audit of these questions states.

    InputError where the file is no audit, or one of other questions.
    """
    if audit is None:
        return None
    document = _part(parse_json(read_text(audit), str(audit)), Audit)
    if document is None:
        raise InputError(f"{audit} is no audit.json. Make one with medr1 data audit --output-dir.")
    if data_sha256 is not None and document.file.sha256 != data_sha256:
        raise InputError(
            f"{audit} is about another file than the results: {Path(document.file.path).name} has "
            f"the SHA-256 {document.file.sha256[:12]}, the questions have {data_sha256[:12]}. "
            "Audit the questions that were answered."
        )
    if not document.against:
        raise InputError(
            f"{audit} has no training questions. Repeat the audit with --against FILE."
        )
    against = [
        CardTrainingFile(name=Path(file.path).name, sha256=file.sha256, n=file.n)
        for file in document.against
    ]
    return CardLeakage(against=against, kinds=document.leakage, n=document.file.n)


def _contamination(inputs: CardInputs, meta: Mapping[str, object]) -> CardContamination | None:
    """What a test of contamination says about this model and these questions.

    InputError where the file is no such test, or one of another model or other questions.
    """
    file = inputs.contamination
    if file is None:
        return None
    document = _part(parse_json(read_text(file), str(file)), Contamination)
    if document is None:
        raise InputError(f"{file} is no contamination.json. Make one with medr1 contamination.")
    data_sha256 = _text(meta.get("data_sha256")) or inputs.data_sha256
    if data_sha256 is not None and document.data_sha256 != data_sha256:
        raise InputError(
            f"{file} is about other questions than the results: {document.data} has the SHA-256 "
            f"{document.data_sha256[:12]}, the questions have {data_sha256[:12]}."
        )
    model_sha256 = _text(meta.get("model_sha256"))
    if model_sha256 is not None and document.model_sha256 != model_sha256:
        raise InputError(f"{file} is about another model than the results: {document.model}.")
    return CardContamination(n=document.n, preference=document.preference, p_value=document.p_value)


def _own_versions() -> dict[str, str]:
    """The versions that can change the numbers of an evaluation."""
    import numpy
    import scipy

    from medr1 import __version__

    libraries = {"medr1": __version__, "numpy": numpy.__version__, "scipy": scipy.__version__}
    return {"python": platform.python_version(), **libraries}


def _text(value: object) -> str | None:
    """The value, if it is a text with something in it."""
    return value if isinstance(value, str) and value else None


def _texts(value: object) -> dict[str, str]:
    """The texts of an object, by their names."""
    if not isinstance(value, Mapping):
        return {}
    return {str(name): text for name, text in value.items() if isinstance(text, str)}


def _part(value: object, kind: type[Part]) -> Part | None:
    """The value in its type; None where it is absent or another one."""
    try:
        return None if value is None else convert(value, kind)
    except ValidationError:
        return None
