"""A batch file to results.json: run, write whole, and know an output that is already there."""

from __future__ import annotations

import logging
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medr1.data.readers import Questions
from medr1.errors import InputError
from medr1.files import parse_json, read_text, sha256_of, to_json, write_atomic
from medr1.infer.engine import Decoding, predict
from medr1.models import LoadedModel, library_versions
from medr1.records import RESULTS_SCHEMA, Prediction, prediction_to_dict

logger = logging.getLogger("medr1")


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
        "model_sha256": sha256_of(loaded.path),
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
) -> list[Prediction]:
    """Answer all questions into `output` (and `<output>.run.json`: times, host's share)."""
    if _is_finished(output, meta, overwrite):
        logger.info("%s is complete already; nothing to do.", output)
        return []
    started = time.monotonic()
    total = len(questions.samples)
    predictions: list[Prediction] = []
    stream = predict(
        loaded,
        questions.samples,
        image_root=questions.image_root,
        failures=questions.failures,
        prompt=prompt,
        decoding=decoding,
        batch_size=batch_size,
        seed=meta["seed"],
    )
    said = started
    for prediction in stream:
        predictions.append(prediction)
        if time.monotonic() - said > 10:
            said = time.monotonic()
            logger.info("%d of %d answered", len(predictions), total)
    write_results(output, meta, predictions)
    seconds = round(time.monotonic() - started, 3)
    run = {"argv": sys.argv, "batch_size": batch_size, "seconds": seconds, "pid": os.getpid()}
    write_atomic(output.with_name(output.name + ".run.json"), to_json(run))
    logger.info("%d answers in %.1f s: %s", total, seconds, output)
    return predictions


def write_results(output: Path, meta: dict[str, Any], predictions: list[Prediction]) -> None:
    """Write results.json (schema medr1.results/1) in one piece."""
    entries = [prediction_to_dict(prediction) for prediction in predictions]
    write_atomic(output, to_json({"schema": RESULTS_SCHEMA, "meta": meta, "results": entries}))


def _is_finished(output: Path, meta: dict[str, Any], overwrite: bool) -> bool:
    """True where `output` is this very run's; with overwrite it is moved to .bak instead."""
    if not output.exists():
        return False
    if overwrite:
        os.replace(output, output.with_name(output.name + ".bak"))
        return False
    if output.is_dir():
        raise InputError(f"{output} is a folder; --output-file takes a file.")
    there = parse_json(read_text(output), str(output))
    known = there.get("meta") if isinstance(there, dict) else None
    if known == meta:
        return True
    changed = [key for key in meta if not isinstance(known, dict) or known.get(key) != meta[key]]
    raise InputError(
        f"{output} holds another run ({', '.join(changed)} differ). "
        "Choose another --output-file, or --overwrite, which keeps the old as .bak."
    )
