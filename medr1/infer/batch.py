"""A batch file to results.json: item by item into a journal, then whole into the output.

    with the journal of this output open, and locked:
        skip the batches that it holds whole; answer the others; append each as it ends
        results.json = the journal's entries, in the order of the input
    remove the journal

A kill at any moment costs the batch that was being answered. The same command goes on from there
and ends with the same bytes.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medr1.checkpoints.integrity import checkpoint_sha256
from medr1.data.readers import Questions
from medr1.errors import InputError
from medr1.files import parse_json, read_text, to_json, write_atomic
from medr1.infer.engine import Decoding, predict_batches
from medr1.infer.journal import Journal
from medr1.models import LoadedModel, library_versions
from medr1.records import RESULTS_SCHEMA, Prediction, prediction_to_dict

logger = logging.getLogger("medr1")

SECONDS_BETWEEN_LINES = 10


@dataclass(frozen=True)
class Outcome:
    """How a batch ended."""

    n: int
    n_error: int
    first_error: str = ""


def manifest(
    loaded: LoadedModel,
    questions: Questions,
    *,
    data: str,
    prompt: str | None,
    decoding: Decoding,
    seed: int,
) -> dict[str, Any]:
    """The `meta` of results.json: all that decides an answer, nothing that depends on the host."""
    return {
        "model": loaded.path.resolve().name,
        "model_sha256": checkpoint_sha256(loaded.path),
        "data": data,
        "data_sha256": questions.sha256,
        "prompt": prompt or loaded.info.prompt or "by question",
        "decoding": asdict(decoding),
        "seed": seed,
        "device": loaded.device.type,
        "dtype": str(loaded.dtype).removeprefix("torch."),
        "versions": library_versions(),
    }


def run_batch(
    loaded: LoadedModel,
    questions: Questions,
    output: Path,
    meta: dict[str, Any],
    *,
    decoding: Decoding,
    prompt: str | None = None,
    batch_size: int = 1,
    overwrite: bool = False,
) -> Outcome:
    """Answer all questions into `output` (and `<output>.run.json`: times, host's share)."""
    place = output.with_name(output.name + ".journal.jsonl")
    if overwrite:
        for old in (output, place):
            if old.exists():
                os.replace(old, old.with_name(old.name + ".bak"))
    started, total = time.monotonic(), len(questions.samples)
    if not place.exists() and (entries := _finished(output, meta)) is not None:
        logger.info("%s is complete already; nothing to do.", output)
        return _outcome(entries)
    with Journal(place, meta, total) as journal:
        said = started
        if journal:
            logger.info("going on: %d of %d are answered already", len(journal), total)
        for batch in predict_batches(
            loaded,
            questions.samples,
            image_root=questions.image_root,
            failures=questions.failures,
            prompt=prompt,
            decoding=decoding,
            batch_size=batch_size,
            seed=meta["seed"],
            done=journal,
        ):
            journal.append({i: prediction_to_dict(p) for i, p in batch.items() if i not in journal})
            if time.monotonic() - said > SECONDS_BETWEEN_LINES:
                said = time.monotonic()
                logger.info("%d of %d answered", len(journal), total)
        _write(output, meta, journal.entries())
        outcome = _outcome(journal.entries())
        place.unlink()
    run = {
        "argv": sys.argv,
        "batch_size": batch_size,
        "seconds": round(time.monotonic() - started, 3),
        "pid": os.getpid(),
    }
    write_atomic(output.with_name(output.name + ".run.json"), to_json(run))
    logger.info("%d answers in %.1f s: %s", total, run["seconds"], output)
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
    n = n_error = 0
    first = ""
    for entry in entries:
        n += 1
        if error := entry.get("error"):
            n_error += 1
            first = first or error["message"]
    return Outcome(n, n_error, first)


def _finished(output: Path, meta: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The entries where `output` is this very run's; None where there is none."""
    if not output.exists():
        return None
    if output.is_dir():
        raise InputError(f"{output} is a folder; --output-file takes a file.")
    there = parse_json(read_text(output), str(output))
    known = there.get("meta") if isinstance(there, dict) else None
    if known == meta:
        return there["results"]
    changed = [key for key in meta if not isinstance(known, dict) or known.get(key) != meta[key]]
    raise InputError(
        f"{output} holds another run ({', '.join(changed)} differ). "
        "Choose another --output-file, or --overwrite, which keeps the old as .bak."
    )
