"""A batch file to results.json: item by item into a journal, then whole into the output.

    plan the batches from the whole input
    with a journal for each process open, and locked:
        leave out the batches that the journals hold whole; answer this process's share of the rest
        results.json = the entries of all journals, in the order of the input
    remove the journals

A kill at any moment costs the batches that were being answered. The same command goes on from
there, with any number of processes, and ends with the same bytes.
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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medr1.checkpoints.integrity import checkpoint_sha256
from medr1.data.readers import Questions
from medr1.errors import InputError, OutputError
from medr1.files import (
    parse_json,
    read_text,
    remove_unused,
    set_aside,
    temporary,
    to_json,
    write_atomic,
)
from medr1.infer.ablation import shuffle_images
from medr1.infer.engine import Decoding, predict_batches
from medr1.infer.parallel import Team, team
from medr1.infer.plan import plan_batches
from medr1.journal import Journal, finished_items, require_unlocked
from medr1.models import LoadedModel, library_versions
from medr1.prompts import prompt_name, prompt_sha256
from medr1.records import RESULTS_SCHEMA, Prediction, prediction_to_dict

logger = logging.getLogger("medr1")

SECONDS_BETWEEN_LINES = 10


@dataclass(frozen=True)
class Outcome:
    """How a batch ended."""

    n: int
    n_error: int = 0
    first_error: str = ""
    n_circular: int = 0
    """How many items were asked with their options in several orders ..."""
    n_consistent: int = 0
    """... and had the same one most probable in each."""


def manifest(
    loaded: LoadedModel,
    questions: Questions,
    *,
    data: str,
    prompt: str | None,
    decoding: Decoding,
    seed: int,
) -> dict[str, Any]:
    """The `meta` of results.json: what decides an answer, nothing that depends on the host.

    The images are not in it: what lies in their files may change unnoticed.
    """
    used = prompt or loaded.info.prompt
    return {
        "model": _printable(loaded.path.resolve().name),
        "model_sha256": checkpoint_sha256(loaded.path),
        "data": _printable(data),
        "data_sha256": questions.sha256,
        "n": len(questions.samples),
        "prompt": _printable(prompt_name(used)) if used else "by question",
        "prompt_sha256": prompt_sha256(used) if used else None,
        "decoding": asdict(decoding),
        "seed": seed,
        "device": loaded.device.type,
        "dtype": str(loaded.dtype).removeprefix("torch."),
        "versions": library_versions(),
    }


def _printable(name: str) -> str:
    """A name from the file system or the command line as text that every file can hold."""
    return os.fsencode(name).decode("utf-8", "replace")


def require_free(output: Path) -> None:
    """Refuse, before a model is loaded, an output that is no file or another run's at work."""
    if output.exists() and not output.is_file():
        raise OutputError(f"cannot write {output}: it is not a regular file. Choose another.")
    for journal in _journals(output):
        require_unlocked(journal)


def run_batch(
    loaded: LoadedModel,
    questions: Questions,
    output: Path,
    meta: dict[str, Any],
    *,
    decoding: Decoding,
    prompt: str | None = None,
    batch_size: int = 1,
    perturbed: Mapping[int, tuple[str, int]] | None = None,
    overwrite: bool = False,
) -> Outcome | None:
    """Answer all questions into `output` (and `<output>.run.json`: times, host's share).

    `perturbed` as in predict_batches; the meta has to say what it holds.
    Under torchrun the processes share the work; the first returns the outcome, the others None.
    """
    started = time.monotonic()
    if decoding.ablate_image == "shuffle":
        questions = shuffle_images(questions, meta["seed"])
    with team() as processes:
        if overwrite and processes.rank == 0:
            for old in filter(os.path.lexists, (output, *_journals(output))):
                set_aside(old)
        processes.wait()
        if (entries := _finished(output, meta)) is not None:
            processes.wait()
            return _complete(output, entries) if processes.rank == 0 else None
        processes.wait()
        plan = plan_batches(questions.samples, questions.image_root, batch_size)
        arguments = {"decoding": decoding, "prompt": prompt, "perturbed": perturbed}
        _answer(loaded, questions, output, meta, plan, processes, **arguments)
        processes.wait()
        if processes.rank > 0:
            return None
        outcome = _merge(output, meta, len(questions.samples))
    run = {
        "argv": list(map(_printable, sys.argv)),
        "batch_size": batch_size,
        "processes": processes.size,
        "seconds": round(time.monotonic() - started, 3),
        "pid": os.getpid(),
    }
    write_atomic(_record(output), to_json(run))
    logger.info("%d answers in %.1f s: %s", outcome.n, run["seconds"], output)
    return outcome


def _complete(output: Path, entries: list[dict[str, Any]]) -> Outcome:
    """The outcome of a run that had ended; a kill may have left its journals."""
    for journal in _journals(output):
        journal.unlink()
    remove_unused(temporary(_record(output)))
    outcome = _outcome(entries)
    logger.info(
        "%s is complete already, with %d errors; nothing to do. To answer anew: --overwrite.",
        output,
        outcome.n_error,
    )
    return outcome


def _record(output: Path) -> Path:
    """Where is said how the run went: times, the host's share."""
    return output.with_name(output.name + ".run.json")


def _journals(output: Path) -> list[Path]:
    """The journals that lie beside an output, of whatever number of processes."""
    if not output.parent.is_dir():
        return []
    ours = re.compile(re.escape(output.name) + r"\.journal(\.\d+)?\.jsonl")
    return sorted(path for path in output.parent.iterdir() if ours.fullmatch(path.name))


def _journal(output: Path, rank: int) -> Path:
    return output.with_name(f"{output.name}.journal{f'.{rank}' if rank else ''}.jsonl")


def _answer(
    loaded: LoadedModel,
    questions: Questions,
    output: Path,
    meta: dict[str, Any],
    plan: Sequence[Sequence[int]],
    processes: Team,
    **arguments: Any,
) -> None:
    """Answer this process's share of what is left into its journal; arguments: predict_batches'."""
    total = len(questions.samples)
    with Journal(_journal(output, processes.rank), meta, total) as journal:
        processes.wait()
        done = set(journal)
        for path in _journals(output):
            if path != journal.path:
                done |= finished_items(path, meta, total)
        processes.wait()
        if done:
            logger.info("going on: %d of %d are answered already", len(done), total)
        left = [batch for batch in plan if not done.issuperset(batch)]
        share = left[processes.rank :: processes.size]
        said, count, own = time.monotonic(), 0, sum(map(len, share))
        for made in predict_batches(
            loaded,
            questions.samples,
            share,
            image_root=questions.image_root,
            failures=questions.failures,
            seed=meta["seed"],
            **arguments,
        ):
            journal.append({i: prediction_to_dict(p) for i, p in made.items() if i not in done})
            count += len(made)
            if time.monotonic() - said > SECONDS_BETWEEN_LINES:
                said = time.monotonic()
                logger.info("%d of %d answered", count, own)


def _merge(output: Path, meta: dict[str, Any], total: int) -> Outcome:
    """results.json from all journals, which are then removed."""
    with ExitStack() as opened:
        journals = [opened.enter_context(Journal(path, meta, total)) for path in _journals(output)]

        def entries() -> Iterator[dict[str, Any]]:
            items = heapq.merge(*(journal.items() for journal in journals), key=lambda one: one[0])
            return (entry for _, entry in items)

        _write(output, meta, entries())
        outcome = _outcome(entries())
        for journal in journals:
            journal.path.unlink()
    return outcome


def write_results(output: Path, meta: dict[str, Any], predictions: Iterable[Prediction]) -> None:
    """Write results.json (schema medr1.results/1) in one piece."""
    _write(output, meta, (prediction_to_dict(prediction) for prediction in predictions))


def _write(output: Path, meta: dict[str, Any], entries: Iterable[dict[str, Any]]) -> None:
    write_atomic(output, _document(meta, entries))


def _document(meta: dict[str, Any], entries: Iterable[dict[str, Any]]) -> Iterator[str]:
    """results.json in pieces, an entry a line, so that memory does not grow with it."""
    head = json.dumps({"schema": RESULTS_SCHEMA, "meta": meta}, ensure_ascii=False, indent=2)
    yield head.removesuffix("\n}") + ',\n  "results": ['
    for number, entry in enumerate(entries):
        text = json.dumps(entry, ensure_ascii=False, allow_nan=False)
        yield (",\n    " if number else "\n    ") + text
    yield "\n  ]\n}\n"


def _outcome(entries: Iterable[dict[str, Any]]) -> Outcome:
    n = n_error = n_circular = n_consistent = 0
    first = ""
    for entry in entries:
        n += 1
        if error := entry.get("error"):
            n_error += 1
            first = first or error["message"]
        if orders := entry.get("circular_answers"):
            n_circular += 1
            n_consistent += len(set(orders)) == 1
    return Outcome(n, n_error, first, n_circular, n_consistent)


def _finished(output: Path, meta: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The entries where `output` is this very run's; None where there is none."""
    if not output.exists():
        return None
    there = parse_json(read_text(output), str(output))
    known = there.get("meta") if isinstance(there, dict) else None
    if known == meta:
        return there["results"]
    changed = [key for key in meta if not isinstance(known, dict) or known.get(key) != meta[key]]
    raise InputError(
        f"{output} holds another run ({', '.join(changed)} differ). "
        "Choose another place, or --overwrite, which keeps the old as .bak."
    )
