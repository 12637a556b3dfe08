"""Run a card again, and say what differs."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from medr1.errors import InputError
from medr1.installation import recorded_path
from medr1.workflows.arguments import keep_apart, optional_path, require_writable
from medr1.workflows.card import read_card

if TYPE_CHECKING:
    from medr1.chat.settings import Server
    from medr1.documents.card import Card
    from medr1.documents.reproduction import Reproduction
    from medr1.documents.run_arguments import InferenceArguments

logger = logging.getLogger("medr1")

_OWN_MACHINE = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class ReproductionResult:
    """A card that was run again."""

    output_dir: Path
    """The folder with results.json, card.json, its page and reproduction.json."""
    document: Reproduction
    """The content of reproduction.json."""


def run_reproduction(
    card: str | Path,
    *,
    data: str | Path | None = None,
    model_path: str | Path | None = None,
    image_root: str | Path | None = None,
    base_url: str | None = None,
    output_dir: str | Path | None = None,
    allow_template: bool = False,
    offline: bool = False,
    overwrite: bool = False,
) -> ReproductionResult | None:
    """Answer the questions of a card again, evaluate the answers, and compare both with the card.

    Questions, model, prompt, decoding, protocol and seeds are those of the card. An interrupted run
    resumes.

    Args:
        card: The JSON file of the card, or the page beside it.
        data: File with the questions, or folder with test.json, if they are no longer where the
            card says.
        model_path: Folder of the model, its short name, or its hub id, if it is no longer there;
            for a model on a server, its name.
        image_root: Folder with the images; None: that of the card, or the folder of the questions.
        base_url: Address of the server, for the card of a model on a server. None: that of the
            card, if it is on this machine.
        output_dir: Folder to write; None: a folder NAME.reproduced beside the card.
        allow_template: Whether a chat template that medr1 does not know is accepted.
        offline: Whether the network may not be used.
        overwrite: Whether an existing output is replaced, and kept as NAME.bak.

    Returns:
        The comparison; None under torchrun in all processes but the first.

    Raises:
        InputError: The card cannot be read or does not tell how to run it, or its questions or its
            model are not there.
        OutputError: The output cannot be written.
        Medr1Error: The server fails.
    """
    from medr1.evaluate.cards.reproduction import reproduction
    from medr1.files import to_json, write_atomic
    from medr1.workflows.evaluate import run_evaluation
    from medr1.workflows.infer import run_inference

    path = Path(card)
    old = read_card(path)
    plan = _Plan(path, old, _recorded(path, old))
    questions = plan.questions(data)
    inference = plan.inference(questions, model_path, image_root, base_url, offline)
    if not data:
        plan.require_unchanged(inference)
    output = Path(output_dir) if output_dir else path.with_name(f"{path.stem}.reproduced")
    _prepare(output, [path, data, model_path, image_root, questions], overwrite)
    results = output / "results.json"
    outcome = run_inference(
        **inference,
        output_file=results,
        allow_template=allow_template,
        offline=offline,
    )
    if outcome is None:
        return None
    run_evaluation(
        results,
        **plan.evaluation(questions, data),
        image_root=inference["image_root"],
        card=output / "card.json",
        overwrite=True,
    )
    now = read_card(output / "card.json")
    document = reproduction(old, now, path.name, plan.notes)
    write_atomic(output / "reproduction.json", to_json(document))
    return ReproductionResult(output, document)


def _recorded(path: Path, card: Card) -> InferenceArguments:
    """The arguments of the run; InputError where the card does not have them, or was changed."""
    if card.inference is None:
        raise InputError(
            f"{path} does not tell how its answers were made, so they cannot be made again. Only "
            "cards of results by medr1 infer, with the record beside them, can be reproduced."
        )
    text, sha256 = card.prompt.text, card.prompt.sha256
    if text is not None and hashlib.sha256(text.encode()).hexdigest() != sha256:
        raise InputError(
            f"{path}: the text of the prompt does not have the SHA-256 that the card states, so "
            "one of them was changed. Get the original card."
        )
    return card.inference


class _Plan:
    """What is run for a card, and notes about what cannot be run as it was."""

    def __init__(self, path: Path, card: Card, arguments: InferenceArguments) -> None:
        self.path = path
        self.card = card
        self.arguments = arguments
        self.notes: list[str] = []

    def questions(self, data: str | Path | None) -> Path:
        """The file of the questions; `data` overrides the place on the card."""
        from medr1.data.readers import split_file
        from medr1.data.spreadsheets import file_and_sheet

        recorded = self.arguments.batch_file
        if data:
            split = self.card.data.split or "test"
            if Path(split).name != split or split == "..":  # it would lead out of the folder
                raise InputError(f"{self.path}: its split {split!r} is not the name of a file.")
            return split_file(data, split)
        file = self._place(recorded)
        if not file_and_sheet(file)[0].exists():
            raise InputError(
                f"{self.path}: its questions are not at {recorded}. Name their place with --data "
                "PATH."
            )
        return file

    def inference(
        self,
        questions: Path,
        model_path: str | Path | None,
        image_root: str | Path | None,
        base_url: str | None,
        offline: bool,
    ) -> dict[str, Any]:
        """The arguments of `run_inference`."""
        from msgspec import ValidationError, convert
        from msgspec.structs import asdict

        from medr1.data.scans.options import ScanOptions

        values = asdict(self.arguments)
        server = self._server(base_url)
        try:
            scans = convert(values["scans"], ScanOptions)
        except ValidationError as error:
            raise InputError(f"{self.path}: its scans cannot be shown: {error}.") from None
        root = optional_path(image_root)
        if root is None and values["image_root"]:
            root = self._place(values["image_root"])
        if image_root is None and server is not None and not _is_own_machine(server.base_url):
            root = self._folder_to_send(questions, root)
        edited = values["reasoning_from"]
        return {
            **values,
            "batch_file": questions,
            "image_root": root,
            "model_path": self._model(model_path, offline, is_local=server is None),
            "prompt": self._prompt(),
            "reasoning_from": self._place(edited) if edited else None,
            "server": server,
            "scans": scans,
        }

    def _folder_to_send(self, questions: Path, root: Path | None) -> Path:
        """The folder of the images that a server on another machine gets.

        InputError where the card names one outside the folder of the questions.
        """
        from medr1.data.readers import default_image_root

        folder = default_image_root(questions)
        if root is None or root.resolve().is_relative_to(folder.resolve()):
            # that it is named keeps the server from images elsewhere that the questions name
            return root or folder
        raise InputError(
            f"{self.path}: its images are in {root}, which is not below {folder}, the folder of "
            "its questions. They would be sent to another machine: name it with --image-root DIR."
        )

    def require_unchanged(self, inference: Mapping[str, Any]) -> None:
        """Check, before questions go to another machine, that they are those of the card.

        Somebody else's card may name a file of its reader. It cannot have its hash.

        Args:
            inference: The arguments of `run_inference`; the card named the questions.

        Raises:
            InputError: They are other questions than those of the card.
        """
        from medr1.data.readers import read_questions

        server = inference["server"]
        if server is None or _is_own_machine(server.base_url):
            return
        names = ("batch_file", "image_root")
        options = {name: inference[name] for name in ("limit", "scans")}
        questions = read_questions(*(inference[name] for name in names), **options)
        if questions.sha256 != self.card.data.sha256:
            raise InputError(
                f"{self.path}: {inference['batch_file']} does not have the questions of the card, "
                "and they would be sent to another machine. Name them with --data PATH."
            )

    def evaluation(self, questions: Path, data: str | Path | None) -> dict[str, Any]:
        """The arguments of `run_evaluation`; its files are left out where they are not there."""
        from msgspec.structs import asdict

        values = asdict(self.card.evaluation)
        if values["data"] is not None:
            place = self._place(values["data"])
            values["data"] = data or (place if place.exists() else questions)
        if (train := values["train_data"]) is not None:
            # a folder of questions may have the training questions too
            places = [self._place(train), *([Path(data)] if data and Path(data).is_dir() else [])]
            values["train_data"] = next((place for place in places if place.exists()), None)
            if values["train_data"] is None:
                self.notes.append(
                    f"the training questions are not at {train}, so the predictors without the "
                    "image were not fitted."
                )
        return values

    def _place(self, name: str) -> Path:
        """The path of a recorded name: from the current folder, else from that of the card."""
        path = recorded_path(name)
        beside = self.path.parent / name
        return beside if not path.exists() and beside.exists() else path

    def _model(self, model_path: str | Path | None, offline: bool, *, is_local: bool) -> str:
        """The model; it is looked for before anything else is done."""
        from medr1.checkpoints.finding import find_checkpoint

        recorded = self.arguments.model_path
        if not is_local:
            return str(model_path or recorded)
        if model_path:
            find_checkpoint(str(model_path), offline=offline)
            return str(model_path)
        place = self._place(recorded)
        name = str(place) if place.exists() else recorded
        try:
            find_checkpoint(name, offline=offline)
        except InputError as error:
            raise InputError(
                f"{self.path}: its model is not at {recorded}. Name its place with --model-path "
                f"DIR. ({error})"
            ) from None
        return name

    def _prompt(self) -> str | None:
        """The prompt of the card: by its name if that has the same text here, else its text."""
        from medr1.files import read_text
        from medr1.prompts import ALL_PROMPTS, prompt_sha256

        prompt, recorded = self.card.prompt, self.arguments.prompt
        if prompt.sha256 is None:  # by question
            return None
        if prompt.name in ALL_PROMPTS and prompt_sha256(prompt.name) == prompt.sha256:
            return prompt.name
        if prompt.text is None:
            if recorded is not None and recorded not in ALL_PROMPTS:
                raise InputError(f"{self.path} does not have the text of its prompt, {recorded}.")
            return recorded
        file = recorded_path(recorded) if recorded and "{" not in recorded else None
        if file is not None and file.is_file() and read_text(file).strip() != prompt.text:
            self.notes.append(
                f"the prompt file {recorded} has another text now; the text of the card was used."
            )
        return prompt.text

    def _server(self, base_url: str | None) -> Server | None:
        """The server; None for a model in this process.

        An address from a card is used only if it is on this machine: questions, images and the key
        of the environment are sent there.
        """
        from msgspec import ValidationError, convert

        from medr1.chat.settings import Server

        if self.arguments.server is None:
            if base_url:
                raise InputError(f"--base-url: the model of {self.path} was not on a server.")
            return None
        recorded = str(self.arguments.server.get("base_url"))
        try:
            server = convert({**self.arguments.server, "base_url": base_url or recorded}, Server)
        except ValidationError as error:
            raise InputError(f"{self.path}: its server cannot be used: {error}.") from None
        if base_url is None and not _is_own_machine(server.base_url):
            raise InputError(
                f"{self.path}: its model was on the server {recorded}. Name the server to ask with "
                "--base-url URL; questions and images are sent there."
            )
        return server


def _is_own_machine(base_url: str) -> bool:
    """Whether a server is on this machine, by its address."""
    return urlsplit(base_url).hostname in _OWN_MACHINE


def _prepare(output: Path, inputs: list[str | Path | None], overwrite: bool) -> None:
    """Refuse or set aside an output that is complete; an interrupted one is continued."""
    from medr1.files import needs_overwrite, set_aside

    require_writable(output / "reproduction.json")
    keep_apart(output, inputs, overwrite)
    if overwrite and output.exists():
        set_aside(output)
    if (output / "reproduction.json").exists():
        raise needs_overwrite(output, "has a reproduction already")
