"""The options --reasoning-from and --edit of `medr1 infer`: answers from edited reasoning."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from medr1.errors import InputError
from medr1.records import Edit
from medr1.workflows.arguments import require_choice

if TYPE_CHECKING:
    from collections.abc import Mapping

    from medr1.data.readers import Questions
    from medr1.documents.results import ReasoningSource
    from medr1.infer.engine import Engine, Prefill
    from medr1.records import Decoding, Prediction

logger = logging.getLogger("medr1")


@dataclass(frozen=True)
class EditedRun:
    """What a run with edited reasoning needs."""

    prefills: Mapping[int, Prefill]
    source: ReasoningSource
    meta: Mapping[str, object]
    """What the earlier results say about their run."""

    def require_fitting(self, engine: Engine, prompt: str | None) -> None:
        """Check that an engine and a prompt fit the earlier results.

        Args:
            engine: What answers.
            prompt: The prompt template of --prompt; None without one.

        Raises:
            InputError: The engine cannot continue a completion, or the prompt does not ask for
                reasoning first, or is not that of the earlier results.
        """
        from medr1.infer.options import reasons_first
        from medr1.prompts import prompt_sha256

        identity, name = engine.identity(), self.source.results
        if not engine.capabilities.continues:
            raise InputError(
                "--reasoning-from needs a server that continues the beginning of a completion "
                "(vLLM does), and this one is not known to. Use --engine local or vLLM."
            )
        used = prompt or identity.prompt
        if not used or not reasons_first(used):
            raise InputError(
                "--reasoning-from needs a prompt that asks for reasoning before the answer, such "
                f"as --prompt think; {name} has to be made with the same one."
            )
        earlier = self.meta.get("prompt_sha256")
        if earlier is not None and earlier != prompt_sha256(used):
            raise InputError(
                f"{name} was made with another prompt ({self.meta.get('prompt')}). Give the same "
                "one with --prompt. If that asks for no reasoning, make the results again with "
                "one that does."
            )
        hashes = (self.meta.get("model_sha256"), identity.model_sha256)
        if None not in hashes and len(set(hashes)) > 1:
            logger.warning(
                "The reasoning in %s was written by another model, so `medr1 eval --edited` will "
                "not compare these answers with those results.",
                name,
            )


def edited_run(
    questions: Questions,
    reasoning_from: str | Path | None,
    edit: Edit | None,
    decoding: Decoding,
    seed: int,
) -> tuple[Questions, EditedRun | None]:
    """Read earlier results, and edit their reasoning.

    Args:
        questions: The questions of the batch file.
        reasoning_from: File with the earlier results; None without one.
        edit: What is done to the reasoning; None without --reasoning-from.
        decoding: How questions are answered.
        seed: Seed of the edits.

    Returns:
        The questions, with a failure for those that have no edited reasoning; and the edited
        reasoning, None without --reasoning-from.

    Raises:
        InputError: The options do not fit together, or the file has no reasoning for any question.
    """
    if reasoning_from is None and edit is None:
        return questions, None
    if reasoning_from is None or edit is None:
        raise InputError("--reasoning-from and --edit need each other. Give both.")
    require_choice("edit", edit, get_args(Edit))
    if decoding.mode == "options" or decoding.permute > 1:
        raise InputError(
            "--reasoning-from is about a generated answer to the options in their own order, so "
            "--mode options and --permute cannot be used with it."
        )
    from medr1.data.spreadsheets import file_and_sheet
    from medr1.documents.results import ReasoningSource
    from medr1.evaluate.reading.results import read_results
    from medr1.files import printable, sha256_of
    from medr1.infer.edited_reasoning import edit_reasoning

    results = read_results(reasoning_from)
    path = file_and_sheet(Path(reasoning_from))[0]
    _require_same_questions(questions, results.predictions, path)
    edited = edit_reasoning(questions.samples, results.predictions, edit, seed)
    if not edited.prefills:
        reason = next(iter(edited.failures.values())).message if edited.failures else ""
        raise InputError(
            f"{path} has no reasoning in <think> tags that --edit {edit} can use for these "
            f"questions. {reason} Give the results of the same questions with --prompt think."
        )
    source = ReasoningSource(
        edit=edit, results=printable(path.name), results_sha256=sha256_of(path)
    )
    failures = {**edited.failures, **questions.failures}
    return replace(questions, failures=failures), EditedRun(edited.prefills, source, results.meta)


def _require_same_questions(questions: Questions, earlier: list[Prediction], path: Path) -> None:
    """InputError where an id stands for another question, or other options, in the results."""
    by_id = {prediction.sample.id: prediction.sample for prediction in earlier}
    for sample in questions.samples:
        other = by_id.get(sample.id)
        if other and (other.conversation, other.options) != (sample.conversation, sample.options):
            raise InputError(
                f"item {sample.id} has another question or other options in {path}. Give results "
                "of the same questions."
            )
