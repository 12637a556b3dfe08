"""Answer a batch file: each answer goes into a journal at once, and all of them to results.json.

    plan the batches from the whole input
    with a journal for each process, open and locked:
        leave out the batches that are complete in the journals; answer this process's share
        results.json = the entries of all journals, in the order of the input
    remove the journals

A kill at any moment loses only the batches that were being answered. The same command then resumes,
with any number of processes, and ends with the same bytes.
"""

from __future__ import annotations

import heapq
import json
import logging
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from msgspec import UNSET

from medr1.data.readers import Questions
from medr1.documents.results import ReasoningSource, ResultsMeta, run_record
from medr1.errors import OutputError
from medr1.files import (
    needs_overwrite,
    parse_json,
    printable,
    read_text,
    remove_unused,
    set_aside,
    sha256_of,
    temporary,
    to_json,
    write_atomic,
)
from medr1.infer.ablation import shuffle_images
from medr1.infer.engine import Engine, EngineIdentity, InferencePlan, Prefill
from medr1.infer.parallel import ProcessGroup, process_group
from medr1.infer.plan import plan_batches
from medr1.infer.sentences import failure_sentences, note_sentences
from medr1.journal import Journal, differences, finished_items, require_unlocked
from medr1.processes import is_first_process
from medr1.prompts import prompt_name, prompt_sha256
from medr1.records import RESULTS_SCHEMA, Decoding, Prediction, Sample, prediction_to_dict

logger = logging.getLogger("medr1")

SECONDS_BETWEEN_LINES = 10
"""Of the progress in the log."""


@dataclass(frozen=True)
class BatchOutcome:
    """Counts over the results of a batch; `medr1 infer --json` prints them under these names."""

    n: int
    """Items."""
    n_error: int = 0
    """Items with an error."""
    failures: Sequence[str] = ()
    """A sentence for each reason of errors, the most frequent first."""
    n_circular: int = 0
    """Items that were asked with their options in several orders."""
    n_consistent: int = 0
    """Of these, items with the same option most probable in every order."""
    image_notes: Sequence[str] = ()
    """A sentence for each kind of change that was made to images."""


def manifest(
    identity: EngineIdentity,
    questions: Questions,
    *,
    data: str,
    prompt: str | None,
    decoding: Decoding,
    seed: int,
    perturbations: Mapping[str, Sequence[int]] | None = None,
    edited_reasoning: ReasoningSource | None = None,
) -> ResultsMeta:
    """Make the `meta` of results.json: all that decides the answers, nothing of the host.

    The content of the images is not in it: a changed image file goes unnoticed.

    Args:
        identity: Of the engine that answers.
        questions: The questions of the batch file.
        data: Name of the batch file, without its folder.
        prompt: The prompt template of --prompt; None without one.
        decoding: How questions are answered.
        seed: Seed of all sampling.
        perturbations: Perturbation of the images -> its severities; None without.
        edited_reasoning: Where the reasoning comes from that the model is given; None without.
    """
    used_prompt = prompt or identity.prompt
    severities = {kind: list(numbers) for kind, numbers in (perturbations or {}).items()}
    return ResultsMeta(
        model=identity.model,
        model_sha256=identity.model_sha256,
        data=printable(data),
        data_sha256=questions.sha256,
        n=len(questions.samples),
        prompt=printable(prompt_name(used_prompt)) if used_prompt else "by question",
        prompt_sha256=prompt_sha256(used_prompt) if used_prompt else None,
        decoding=decoding,
        seed=seed,
        device=identity.device,
        dtype=identity.dtype,
        versions=dict(identity.versions),
        quantization=identity.quantization or UNSET,
        perturbations=UNSET if perturbations is None else severities,
        server=UNSET if identity.server is None else identity.server,
        edited_reasoning=edited_reasoning or UNSET,
    )


def require_free(output: Path) -> None:
    """Refuse an output that cannot be written, before a model is loaded.

    Raises OutputError for what is not a regular file, LockedError while another run writes it.
    """
    if output.exists() and not output.is_file():
        raise OutputError(f"cannot write {output}: it is not a regular file. Choose another.")
    if is_first_process():
        for journal_path in _journal_paths(output):
            require_unlocked(journal_path)


def run_batch(
    engine: Engine,
    questions: Questions,
    output: Path,
    meta: ResultsMeta,
    *,
    decoding: Decoding,
    prompt: str | None = None,
    batch_size: int = 1,
    perturbations: Mapping[int, tuple[str, int]] | None = None,
    prefills: Mapping[int, Prefill] | None = None,
    record: Mapping[str, object] | None = None,
    overwrite: bool = False,
) -> BatchOutcome | None:
    """Answer all questions into `output`; how the run went goes to `<output>.run.json`.

    Resumes where journals of the same run are beside the output. Does nothing where the output is
    complete. Under torchrun the processes share the work.

    Args:
        engine: What answers.
        questions: The questions of the batch file.
        output: The path of results.json.
        meta: From `manifest`. Results with another `meta` belong to another run.
        decoding: How questions are answered.
        prompt: A prompt template that overrides the checkpoint's own.
        batch_size: Most questions in a batch.
        perturbations: As in `InferencePlan`; the caller also records them in `meta`.
        prefills: As in `InferencePlan`; the caller also records their source in `meta`.
        record: More keys of `<output>.run.json`; None: no more.
        overwrite: Rename an old output and old journals to .bak, and start anew.

    Returns:
        The counts, in the process with rank 0; None in the others.

    Raises:
        InputError: The output or a journal belongs to another run.
        LockedError: Another process is writing this output.
        StateError: A journal is damaged.
        OutputError: The output cannot be written.
    """
    started, start = time.monotonic(), datetime.now().astimezone()
    if decoding.ablate_image == "shuffle":
        questions = shuffle_images(questions, meta.seed)
    with process_group() as processes:
        if overwrite and processes.rank == 0:
            for old in filter(os.path.lexists, (output, *_journal_paths(output))):
                set_aside(old)
        # The waits keep the processes together: none changes a file that another has yet to read.
        processes.wait()
        if (entries := _complete_entries(output, meta)) is not None:
            processes.wait()
            return _finish_complete(output, entries) if processes.rank == 0 else None
        processes.wait()
        plan = InferencePlan(
            batches=plan_batches(questions.samples, questions.image_root, batch_size),
            image_root=questions.image_root,
            prompt=prompt,
            decoding=decoding,
            seed=meta.seed,
            failures=questions.failures,
            perturbations=perturbations or {},
            prefills=prefills or {},
        )
        _answer_share(engine, questions.samples, plan, output, meta, processes)
        processes.wait()
        if processes.rank > 0:
            return None
        outcome = _merge_journals(output, meta, len(questions.samples))
    run = {
        "argv": list(map(printable, sys.argv)),
        "started": start.isoformat(timespec="seconds"),
        "results_sha256": sha256_of(output),
        "batch_size": batch_size,
        "processes": processes.size,
        "seconds": round(time.monotonic() - started, 3),
        "pid": os.getpid(),
        **engine.statistics(),
        **(record or {}),
    }
    write_atomic(run_record(output), to_json(run))
    logger.info("%d answers in %.1f s: %s", outcome.n, run["seconds"], output)
    return outcome


def _finish_complete(output: Path, entries: list[dict[str, object]]) -> BatchOutcome:
    """The counts of a run whose output is complete; removes what a kill may have left."""
    for journal_path in _journal_paths(output):
        journal_path.unlink()
    remove_unused(temporary(run_record(output)))
    outcome = _outcome(entries)
    logger.info(
        "%s is complete, with %d errors; nothing to do. --overwrite answers all items again.",
        output,
        outcome.n_error,
    )
    return outcome


def _journal_paths(output: Path) -> list[Path]:
    """The journals beside an output, of any earlier number of processes."""
    if not output.parent.is_dir():
        return []
    pattern = re.compile(re.escape(output.name) + r"\.journal(\.\d+)?\.jsonl")
    return sorted(path for path in output.parent.iterdir() if pattern.fullmatch(path.name))


def _journal_path(output: Path, rank: int) -> Path:
    """results.json.journal.jsonl for rank 0, results.json.journal.1.jsonl for rank 1."""
    return output.with_name(f"{output.name}.journal{f'.{rank}' if rank else ''}.jsonl")


def _answer_share(
    engine: Engine,
    samples: Sequence[Sample],
    plan: InferencePlan,
    output: Path,
    meta: ResultsMeta,
    processes: ProcessGroup,
) -> None:
    """Answer this process's share of the missing items into its journal."""
    num_items = len(samples)
    with Journal(_journal_path(output, processes.rank), meta.document(), num_items) as journal:
        # All journals exist from here on, and none has a new item before all are read: every
        # process computes the same missing batches.
        processes.wait()
        finished_indices = set(journal)
        for path in _journal_paths(output):
            if path != journal.path:
                finished_indices |= finished_items(path, meta.document(), num_items)
        processes.wait()
        if finished_indices:
            logger.info("resuming: %d of %d are answered already", len(finished_indices), num_items)
        # A batch with a missing item is answered as a whole: a batch of other items could give
        # other numbers in the last digits.
        missing_batches = [
            batch for batch in plan.batches if not finished_indices.issuperset(batch)
        ]
        own_batches = missing_batches[processes.rank :: processes.size]
        last_line, num_answered, num_own_items = time.monotonic(), 0, sum(map(len, own_batches))
        for predictions in engine.predict(samples, replace(plan, batches=own_batches)):
            journal.append(
                {
                    i: prediction_to_dict(p)
                    for i, p in predictions.items()
                    if i not in finished_indices
                }
            )
            num_answered += len(predictions)
            if time.monotonic() - last_line > SECONDS_BETWEEN_LINES:
                last_line = time.monotonic()
                note = ", ".join(filter(None, [f"{num_own_items} answered", engine.progress()]))
                logger.info("%d of %s", num_answered, note)


def _merge_journals(output: Path, meta: ResultsMeta, num_items: int) -> BatchOutcome:
    """Write results.json from all journals, then remove them."""
    with ExitStack() as stack:
        journals = [
            stack.enter_context(Journal(path, meta.document(), num_items))
            for path in _journal_paths(output)
        ]

        def entries() -> Iterator[dict[str, object]]:
            """The entries in the order of the input; each journal is in that order already."""
            items = heapq.merge(
                *(journal.items() for journal in journals), key=lambda item: item[0]
            )
            return (entry for _, entry in items)

        # The entries are read twice, so that memory does not grow with their number.
        _write(output, meta, entries())
        outcome = _outcome(entries())
        # Only now: a kill before this line leaves all journals, and nothing is lost.
        for journal in journals:
            journal.remove()
    return outcome


def write_results(output: Path, meta: ResultsMeta, predictions: Iterable[Prediction]) -> None:
    """Write results.json (schema medr1.results/1), whole or not at all.

    Args:
        output: The path of the file.
        meta: From `manifest`.
        predictions: The predictions, in the order of the questions.
    """
    _write(output, meta, (prediction_to_dict(prediction) for prediction in predictions))


def _write(output: Path, meta: ResultsMeta, entries: Iterable[Mapping[str, object]]) -> None:
    write_atomic(output, _document(meta, entries))


def _document(meta: ResultsMeta, entries: Iterable[Mapping[str, object]]) -> Iterator[str]:
    """The text of results.json in pieces, one line for each entry, so that memory stays small."""
    first_keys = {"schema": RESULTS_SCHEMA, "meta": meta.document()}
    head = json.dumps(first_keys, ensure_ascii=False, indent=2)
    # The head is the start of an object; its closing brace comes after the entries.
    yield head.removesuffix("\n}") + ',\n  "results": ['
    for number, entry in enumerate(entries):
        text = json.dumps(entry, ensure_ascii=False, allow_nan=False)
        yield (",\n    " if number else "\n    ") + text
    yield "\n  ]\n}\n"


def _outcome(entries: Iterable[Mapping[str, object]]) -> BatchOutcome:
    """The counts over the entries of results.json."""
    n = n_circular = n_consistent = 0
    errors: list[Mapping[str, object]] = []
    noted: list[Mapping[str, object]] = []
    for entry in entries:
        n += 1
        if isinstance(error := entry.get("error"), dict):
            errors.append(error)
        if entry.get("image_notes"):
            noted.append({name: entry.get(name) for name in ("images", "image_notes")})
        if isinstance(orders := entry.get("circular_answers"), list | tuple) and orders:
            n_circular += 1
            n_consistent += len(set(orders)) == 1
    return BatchOutcome(
        n,
        len(errors),
        tuple(failure_sentences(errors)),
        n_circular,
        n_consistent,
        tuple(note_sentences(noted)),
    )


def _complete_entries(output: Path, meta: ResultsMeta) -> list[dict[str, object]] | None:
    """The entries of `output` where it is the result of this very run; None where it is missing.

    Raises InputError where it is the result of another run.
    """
    if not output.exists():
        return None
    document = parse_json(read_text(output), str(output))
    old_meta = document.get("meta") if isinstance(document, dict) else None
    if old_meta == meta.document():
        entries: list[dict[str, object]] = document["results"]
        return entries
    changed = differences(old_meta, meta.document())
    raise needs_overwrite(output, f"has the results of another run (different: {changed})")
