"""Write the cards of evaluated results files, and read them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medr1.errors import InputError
from medr1.installation import embedded_name, recorded_path
from medr1.workflows.arguments import keep_apart, optional_path, require_writable

if TYPE_CHECKING:
    from medr1.documents.card import Card
    from medr1.documents.run_arguments import EvaluationArguments
    from medr1.documents.summary import Summary
    from medr1.evaluate.evaluation import Evaluation
    from medr1.evaluate.judging import Judged

_SUFFIXES = (".json", ".md")
MAX_CARD = 1 << 28
"""Most bytes of a card that is read."""


class CardWriter:
    """Makes the cards of one evaluation, and writes them at its end."""

    def __init__(
        self,
        target: Path,
        files: Sequence[Path],
        arguments: EvaluationArguments,
        *,
        audit: Path | None = None,
        contamination: Path | None = None,
        image_root: Path | None = None,
        inputs: Sequence[str | Path | None] = (),
        overwrite: bool = False,
    ) -> None:
        """Refuse, before the work, a target that cannot be written.

        Args:
            target: A file that ends in .json or .md, for one results file; else a folder.
            files: The results files.
            arguments: What the evaluation was asked to do.
            audit: The audit.json of the questions.
            contamination: The contamination.json of model and questions.
            image_root: The folder of the images, if one was given.
            inputs: What is read, which the card may not replace.
            overwrite: Whether an existing card is replaced, and kept as NAME.bak.

        Raises:
            InputError: There is such a file already, or two results files would have one.
            OutputError: The card cannot be written.
        """
        self.stems = _stems(target, files)
        self.arguments = arguments
        self.audit = audit
        self.contamination = contamination
        self.image_root = image_root
        self.cards: dict[Path, Card] = {}
        for path in (path for stem in self.stems.values() for path in _paths(stem)):
            require_writable(path)
            keep_apart(path, inputs, overwrite)
            if path.exists() and not overwrite:
                raise InputError(
                    f"{path} exists. Choose another --card, or --overwrite, which keeps the old "
                    "one as .bak."
                )

    def add(self, path: Path, summary: Summary, judged: Judged, evaluation: Evaluation) -> None:
        """Make the card of a results file.

        Args:
            path: The results file.
            summary: The content of its summary.json.
            judged: Its items.
            evaluation: The options of the evaluation.
        """
        from medr1.data.readers import split_file
        from medr1.evaluate.cards.building import CardInputs, build_card

        chunks = evaluation.open(path).chunks
        names = (
            name
            for chunk in chunks
            for prediction in chunk.predictions()
            for name in prediction.sample.images
        )
        data, train = (
            recorded_path(name) if name else None
            for name in (self.arguments.data, self.arguments.train_data)
        )
        inputs = CardInputs(
            evaluation=self.arguments,
            argv=sys.argv,
            audit=self.audit,
            contamination=self.contamination,
            data=split_file(data, "test") if data else None,
            data_sha256=evaluation.questions.sha256 if evaluation.questions else None,
            train=split_file(train, "train") if train else None,
            image_root=self.image_root,
        )
        self.cards[path] = build_card(path, summary, judged, list(dict.fromkeys(names)), inputs)

    def write(self) -> list[Path]:
        """Write each card as JSON and, for people, as Markdown; returns the JSON files."""
        from medr1.files import set_aside, to_json, write_atomic
        from medr1.report.pages.card import card_markdown

        for path, card in self.cards.items():
            as_json, as_markdown = _paths(self.stems[path])
            for file in (as_json, as_markdown):
                if file.exists():
                    set_aside(file)
            write_atomic(as_json, to_json(card))
            write_atomic(as_markdown, card_markdown(card))
        return [_paths(self.stems[path])[0] for path in self.cards]


def card_writer(
    arguments: Mapping[str, Any], files: Sequence[Path], inputs: Sequence[str | Path | None]
) -> CardWriter | None:
    """The writer of the cards that `run_evaluation` was asked for; None without `card`.

    Args:
        arguments: The arguments of `run_evaluation` by name.
        files: The results files.
        inputs: What is read, which no card may replace.

    Raises:
        InputError: As in `CardWriter`, or there is an audit and no card.
        OutputError: The card cannot be written.
    """
    if not arguments["card"]:
        for name in ("audit", "contamination"):
            if arguments[name]:
                raise InputError(f"--{name} needs --card, which states what is in it.")
        return None
    return CardWriter(
        Path(arguments["card"]),
        files,
        _evaluation_arguments(arguments),
        audit=optional_path(arguments["audit"]),
        contamination=optional_path(arguments["contamination"]),
        image_root=optional_path(arguments["image_root"]),
        inputs=inputs,
        overwrite=arguments["overwrite"],
    )


def _evaluation_arguments(arguments: Mapping[str, Any]) -> EvaluationArguments:
    """The arguments that a card records."""
    from medr1.documents.run_arguments import EvaluationArguments
    from medr1.files import printable

    def path(name: str) -> str | None:
        return printable(embedded_name(arguments[name])) if arguments[name] else None

    metrics = arguments["metrics"]
    return EvaluationArguments(
        protocol=arguments["protocol"],
        data=path("data"),
        train_data=path("train_data"),
        columns=dict(arguments["columns"] or {}),
        metrics=None if metrics is None else list(metrics),
        group_by=list(arguments["group_by"]),
        cluster_by=arguments["cluster_by"],
        seed=arguments["seed"],
    )


def read_card(path: Path) -> Card:
    """Read a card.

    Args:
        path: Its JSON file, or the page beside it.

    Raises:
        InputError: There is no such file, or it is no card.
    """
    from msgspec import ValidationError, convert

    from medr1.documents.card import Card
    from medr1.files import parse_json, read_text

    if path.suffix == ".md":
        path = path.with_suffix(".json")
    if path.is_file() and path.stat().st_size > MAX_CARD:
        raise InputError(f"{path} is too large for a card.")
    document = parse_json(read_text(path), str(path))
    if not isinstance(document, Mapping) or not is_card(document):
        raise InputError(f"{path} is no card. Make one with medr1 eval RESULTS --card FOLDER.")
    try:
        return convert(document, Card)
    except ValidationError as error:
        raise InputError(f"{path} is damaged: {error}. Write the card again.") from None


def is_card(document: Mapping[str, object]) -> bool:
    """Whether a JSON document says that it is a card."""
    return document.get("schema") == "medr1.card/1"


def _stems(target: Path, files: Sequence[Path]) -> dict[Path, Path]:
    """Results file -> path of its card without the extension.

    InputError for one file name and several results, another ending, or two results with one
    name.
    """
    if target.suffix in _SUFFIXES and not target.is_dir():
        if len(files) > 1:
            raise InputError(
                f"--card {target} is one file, and there are {len(files)} results files. Name a "
                "folder."
            )
        return {files[0]: target.with_suffix("")}
    if target.suffix[1:].isalpha() and not target.is_dir():
        raise InputError(
            f"--card {target}: a card ends in .json or .md, not {target.suffix}. Name such a file, "
            "or a folder."
        )
    stems = {file: target / file.stem for file in files}
    if len(set(stems.values())) < len(files):
        raise InputError(
            "--card: two results files have the same name, so their cards would too. Evaluate "
            "them one by one, with --card FILE."
        )
    return stems


def _paths(stem: Path) -> tuple[Path, Path]:
    """The JSON file and the page of a card."""
    return stem.with_name(f"{stem.name}.json"), stem.with_name(f"{stem.name}.md")
