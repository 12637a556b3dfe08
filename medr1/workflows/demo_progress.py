"""What a demo has done so far, so that the same command continues an interrupted one.

`progress.json` in the demo's folder is there from its first step to its last; demo.json is written
last. Predictions are in base/ and trained/, the training in checkpoint/.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec import Struct, ValidationError, convert

from medr1.data.readers import Questions
from medr1.documents.demo import CurvePoint
from medr1.documents.results import ResultsMeta
from medr1.errors import InputError
from medr1.files import parse_json, read_text, to_json, write_atomic
from medr1.records import Prediction, prediction_from_dict

logger = logging.getLogger("medr1")

PROGRESS = "progress.json"
"""The file in the folder of an unfinished demo."""
RESULT = "demo.json"
"""The file in the folder of a finished demo."""


class _ProgressRecord(Struct, frozen=True, kw_only=True):
    """The content of progress.json."""

    inputs: dict[str, object]
    curve: list[CurvePoint]
    seconds: float


class DemoProgress:
    """The inputs of a demo, the points of its curve that are measured, and its time so far."""

    def __init__(
        self,
        folder: Path,
        inputs: Mapping[str, object],
        curve: list[CurvePoint] | None = None,
        seconds: float = 0.0,
    ) -> None:
        """Begin, or continue what `unfinished` returns.

        Args:
            folder: The demo's folder.
            inputs: All that decides the numbers; an interrupted demo is continued only with the
                same ones.
            curve: The points that are measured already.
            seconds: The time that was spent before the interruption.
        """
        self.folder = folder
        self.inputs = inputs
        self._points = {point.step: point for point in curve or []}
        self._started = time.monotonic() - seconds

    @property
    def seconds(self) -> float:
        """The time since the start, without what an interruption lost."""
        return round(time.monotonic() - self._started, 1)

    @property
    def curve(self) -> list[CurvePoint]:
        """The points that are measured, by step."""
        return [self._points[step] for step in sorted(self._points)]

    def measure(self, step: int, measurement: Callable[[], CurvePoint]) -> CurvePoint:
        """The point of a step: the one that was measured before, else a new one, which is saved.

        Args:
            step: The training step.
            measurement: Measures the point.
        """
        if step not in self._points:
            self._points[step] = measurement()
            self.save()
        return self._points[step]

    def save(self) -> None:
        """Write progress.json."""
        record = _ProgressRecord(inputs=dict(self.inputs), curve=self.curve, seconds=self.seconds)
        write_atomic(self.folder / PROGRESS, to_json(record))

    def finish(self, document: str) -> None:
        """Write demo.json, which is `document`, and remove progress.json."""
        write_atomic(self.folder / RESULT, document)
        (self.folder / PROGRESS).unlink(missing_ok=True)


def unfinished(folder: Path, inputs: Mapping[str, object]) -> DemoProgress | None:
    """The progress of an interrupted demo with the same inputs in a folder; None without one.

    Args:
        folder: The demo's folder, which may not exist.
        inputs: Those of the demo that begins now.
    """
    path = folder / PROGRESS
    if (folder / RESULT).exists() or not path.is_file():
        return None
    try:
        record = convert(parse_json(read_text(path), str(path)), _ProgressRecord)
    except (InputError, ValidationError) as error:
        logger.warning("%s cannot be read (%s), so the demo starts again.", path, error)
        return None
    if record.inputs != dict(inputs):
        return None
    return DemoProgress(folder, inputs, record.curve, record.seconds)


def earlier_predictions(path: Path, meta: ResultsMeta) -> list[Prediction] | None:
    """The predictions of a results file that the same run wrote; None without such a file.

    Args:
        path: The results file.
        meta: What the run would write as its `meta`.
    """
    if not path.is_file():
        return None
    document = parse_json(read_text(path), str(path))
    if document.get("meta") != meta.document():
        return None
    return [prediction_from_dict(entry) for entry in document["results"]]


def demo_inputs(
    config: Mapping[str, object], model_sha256: str, splits: Mapping[str, Questions]
) -> dict[str, object]:
    """All that decides the numbers of a demo, for progress.json.

    Args:
        config: The configuration of the training, with seed and steps.
        model_sha256: Hash of the base model.
        splits: Name of a split -> its questions.
    """
    from medr1.models.loading import library_versions

    settings = {name: value for name, value in config.items() if name not in ("model_path", "data")}
    inputs = {
        "configuration": settings,
        "model_sha256": model_sha256,
        "data_sha256": {name: questions.sha256 for name, questions in splits.items()},
        "versions": library_versions(),
    }
    as_in_the_file: dict[str, object] = parse_json(to_json(inputs), PROGRESS)
    return as_in_the_file
