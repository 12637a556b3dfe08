"""Evaluate result files as the options of `medr1 eval` ask: read, judge, compute the summary."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET, UnsetType

from medr1.answers import SCRIPTS
from medr1.data.audit import BlindPanel, blind_panel
from medr1.data.burned_in import burned_in_reason
from medr1.data.identifiers import identifiers
from medr1.data.spreadsheets import file_and_sheet
from medr1.documents.items import ConfusionPair, GalleryCandidate, GalleryItem, verdict_kind
from medr1.documents.judge import JudgeResult
from medr1.documents.metric import Missing
from medr1.documents.reasoning_use import ReasoningUse
from medr1.documents.robustness import Robustness
from medr1.documents.summary import ImageAblation, StatedAccuracy, Summary
from medr1.documents.trust import Ensemble
from medr1.errors import InputError
from medr1.evaluate.coded import Values
from medr1.evaluate.comparing.pairing import pair_items, pairing_warnings
from medr1.evaluate.groups import displayable_metadata, group_columns
from medr1.evaluate.item_claims import checked_text
from medr1.evaluate.judge.result import judge_result
from medr1.evaluate.judge.selection import select
from medr1.evaluate.judging import Judged, Settings, judge_all, judge_prediction
from medr1.evaluate.metrics.counts import confusion_pair
from medr1.evaluate.metrics.image_ablation import ablation_of, image_ablation
from medr1.evaluate.metrics.reasoning_use import edit_of, reasoning_use
from medr1.evaluate.metrics.summary import Semantic, item_row, summary_of
from medr1.evaluate.reading.results import (
    ResultFile,
    Results,
    UniqueIds,
    open_results,
    read_results,
)
from medr1.evaluate.reading.run_date import run_date
from medr1.evaluate.scanning import judge_chunks
from medr1.evaluate.trust.ensemble import ensemble
from medr1.evaluate.trust.robustness_file import read_robustness
from medr1.evaluate.trust.selective import DEFAULT_SELECTIVE, SelectiveConfig
from medr1.files import sha256_of
from medr1.judge.asking import Judge, ask
from medr1.metrics.registry import NAMES, SIMILARITY, TEXT_METRICS
from medr1.records import Prediction, Sample

if TYPE_CHECKING:
    from medr1.data.readers import Questions

SAME_ACCURACY = 1e-9
"""Two accuracies that differ by less are equal, up to rounding."""


@dataclass(frozen=True)
class Evaluation:
    """The options of an evaluation; `run` applies them to one result file.

    An option that is None or empty leaves its part of the summary out.
    """

    settings: Settings
    metrics: tuple[str, ...] = NAMES
    """Which of registry.SELECTABLE to compute."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Our name of a key -> the key or column of that meaning in the result files."""
    questions: Questions | None = None
    """The questions that were answered: ground truths and whatever else the results lack."""
    train: list[Sample] | None = None
    """Training questions, to fit the blind baselines on."""
    ablated: tuple[Path, ...] = ()
    """Results of the same model on the same questions without their images."""
    bertscore: str | None = None
    """The model of BERTScore: a folder or a hub id."""
    calibrate_on: Path | None = None
    """Results of the same model on other questions, on which temperature, deferral threshold and
    conformal sets are fitted."""
    selective_config: SelectiveConfig = DEFAULT_SELECTIVE
    """The target error and the conformal alpha of the part `selective`."""
    robustness: Path | None = None
    """The robustness.json of the same model."""
    ensemble: tuple[Path, ...] = ()
    """Results of the same questions by other checkpoints or adapters."""
    judge: Judge | None = None
    """A model that judges open answers, beside the rules."""
    edited: tuple[Path, ...] = ()
    """Results of the same model on the same questions, from edited reasoning."""

    def open(self, path: Path) -> ResultFile:
        """Open a result file as a stream, with these options' columns and questions."""
        return open_results(path, columns=self.columns, questions=self.questions)

    def run(
        self, path: Path, write: Callable[[str], object] | None = None
    ) -> tuple[Summary, Judged]:
        """Evaluate one result file.

        Args:
            path: The file.
            write: Called with a line of items.jsonl for each item; by default none is written.

        Returns:
            The summary.json document, and the judged items.

        Raises:
            InputError: A file cannot be read, or the files of two options do not fit together.
        """
        results = self.open(path)
        results.log_reading()
        ablations = self._image_ablations(path, results.meta)
        settings = replace(self._resolve_authors(path), texts=self._needs_texts)
        judged = judge_chunks(results.chunks, settings, name=str(path), write=write)
        held_out = self._held_out(path, results.meta, judged)
        blind, blind_warnings = self._blind(path)
        summary = summary_of(
            judged,
            blind=blind,
            metrics=self.metrics,
            semantic=self._semantic_scores(),
            held_out=held_out,
            selective_config=self.selective_config,
        )
        sha256 = sha256_of(file_and_sheet(path)[0])
        summary = msgspec.structs.replace(
            summary,
            results=str(path),
            sha256=sha256,
            meta=dict(results.meta),
            date=run_date(path, sha256, results.meta),
            stated_accuracy=_stated_accuracy(results.meta, summary),
            calibrate_on=str(self.calibrate_on) if held_out is not None else None,
            image_ablation=ablations[0] if ablations else None,
            further_ablations=ablations[1:],
            robustness=self._robustness(results.meta),
            ensemble=self._ensemble(path) if self.ensemble else None,
            judge=self._judge(path, judged),
            reasoning_use=self._reasoning_uses(path, results.meta, sha256),
        )
        warnings = [
            *_ablation_warning(results.meta),  # first, since it is about every number here
            *_edit_warning(results.meta),
            *summary.warnings,
            *results.notes,
            *self._missing(judged),
            *blind_warnings,
            *_differs_from_stated(summary.stated_accuracy),
            *self._held_out_warnings(summary, judged, held_out),
            *self._part_warnings(summary),
        ]
        return msgspec.structs.replace(summary, warnings=warnings), judged

    def _image_ablations(self, path: Path, meta: Mapping[str, object]) -> list[ImageAblation]:
        """The results of each --ablated compared with those at `path`."""
        if not self.ablated:
            return []
        # `judge_chunks` keeps no predictions, so the file is read once more to pair its items
        predictions = self.read(path).predictions
        parts: dict[str, ImageAblation] = {}
        for file in self.ablated:
            ablated = self.read(file)
            _require_same_model(f"--ablated {file}", ablated.meta, meta)
            part = image_ablation(predictions, str(path), ablated, str(file), self.settings)
            if part.ablation in parts:
                raise InputError(
                    f"--ablated {file}: {parts[part.ablation].results} has the same ablation "
                    f"({part.ablation}). Give one file for each."
                )
            parts[part.ablation] = part
        return list(parts.values())

    def _reasoning_uses(
        self, path: Path, meta: Mapping[str, object], sha256: str
    ) -> list[ReasoningUse] | UnsetType:
        """The results of each --edited compared with those at `path`."""
        if not self.edited:
            return msgspec.UNSET
        predictions = self.read(path).predictions
        parts: dict[str, ReasoningUse] = {}
        for file in self.edited:
            edited = self.read(file)
            _require_same_model(f"--edited {file}", edited.meta, meta)
            part = reasoning_use(predictions, str(path), sha256, edited, str(file), self.settings)
            if part.edit in parts:
                raise InputError(
                    f"--edited {file}: {parts[part.edit].results} has the same edit ({part.edit}). "
                    "Give one file for each."
                )
            parts[part.edit] = part
        return list(parts.values())

    def _robustness(self, meta: Mapping[str, object]) -> Robustness | None:
        """The document of --robustness; InputError where it is of another model."""
        if self.robustness is None:
            return None
        document = read_robustness(self.robustness)
        _require_same_model(str(self.robustness), document.meta, meta)
        return document

    def _judge(self, path: Path, judged: Judged) -> JudgeResult | UnsetType:
        """The part `judge`: what the judge says about the open answers of the file."""
        if self.judge is None:
            return msgspec.UNSET
        selection = select(self._predictions(path), judged, self.judge.labels)
        verdicts = ask(self.judge, selection.candidates)
        return judge_result(self.judge.model, self.judge.labels, selection, verdicts, judged)

    def _held_out_warnings(
        self, summary: Summary, judged: Judged, held_out: Judged | None
    ) -> Iterator[str]:
        """What could not be fitted on --calibrate-on, and images that both files have."""
        if held_out is None:
            return
        yield from _not_fitted(summary)
        # No item is in both files, or _held_out had refused them, but images may be.
        shared = set(held_out.columns.clusters.values) & set(judged.columns.clusters.values)
        if shared:
            yield (
                f"{len(shared)} {judged.unit}s are in the items of --calibrate-on too: what was "
                "fitted there looks too good here."
            )

    def _part_warnings(self, summary: Summary) -> Iterator[str]:
        """Warnings about scores by a model, the judge, and results that were not paired by id."""
        if self.bertscore:
            from medr1.evaluate.metrics.bertscore import NOT_ABSOLUTE

            yield NOT_ABSOLUTE
        if SIMILARITY in self.metrics:
            from medr1.metrics.sentence_similarity import NOT_A_VERDICT

            yield NOT_A_VERDICT
        if summary.judge and summary.judge.n_failed:
            yield (
                f"the judge's server could not answer for {summary.judge.n_failed} answers, which "
                "count as by the rules. The same command asks for them again."
            )
        for paired_by in dict.fromkeys(ablation.paired_by for ablation in summary.ablations):
            yield from _not_by_id("--ablated", paired_by)
        for paired_by in dict.fromkeys(part.paired_by for part in summary.reasoning_use or ()):
            yield from _not_by_id("--edited", paired_by)
        if summary.ensemble is not None and summary.ensemble.paired_by is not None:
            yield from _not_by_id("--ensemble", summary.ensemble.paired_by)

    @property
    def _needs_texts(self) -> bool:
        """Whether a metric of texts is computed."""
        names = (*TEXT_METRICS, SIMILARITY)
        return self.bertscore is not None or not set(names).isdisjoint(self.metrics)

    def _semantic_scores(self) -> dict[str, Semantic]:
        """The metrics that are asked for and need a model, and what computes them."""
        scores: dict[str, Semantic] = {}
        if self.bertscore:
            scores["bertscore"] = partial(_bertscore, model=self.bertscore)
        if SIMILARITY in self.metrics:
            from medr1.metrics.sentence_similarity import semantic_similarity

            scores[SIMILARITY] = semantic_similarity
        return scores

    def _resolve_authors(self, path: Path) -> Settings:
        """The settings, with `authors` replaced by the script that fits the file's ground truths.

        Only for `authors` is the file read once more, since the script depends on all of them.
        """
        if "authors" not in (self.settings.protocol, *self.settings.protocols):
            return self.settings
        ground_truths = (
            prediction.sample.ground_truth or "" for prediction in self._predictions(path)
        )
        return self.settings.resolve_authors(dict.fromkeys(ground_truths))

    def read(self, path: Path) -> Results:
        """Read a whole result file at once, with these options' columns and questions."""
        return read_results(path, columns=self.columns, questions=self.questions)

    @cached_property
    def _calibration_results(self) -> tuple[Judged, Mapping[str, object]] | None:
        """The judged items of --calibrate-on and the file's meta, read once for all results."""
        if self.calibrate_on is None:
            return None
        results = read_results(self.calibrate_on, columns=self.columns)
        return judge_all(results.predictions, self.settings), results.meta

    def _held_out(self, path: Path, meta: Mapping[str, object], judged: Judged) -> Judged | None:
        """The judged items of --calibrate-on, for the results at `path`.

        InputError where they are of another model, or some of them are among the results: what is
        fitted on an item would look too good on it.
        """
        if self._calibration_results is None:
            return None
        held_out, held_out_meta = self._calibration_results
        _require_same_model(f"--calibrate-on {self.calibrate_on}", held_out_meta, meta)
        if shared := len(set(held_out.ids) & set(judged.ids)):
            raise InputError(
                f"--calibrate-on {self.calibrate_on}: {shared} of its items are in {path} too. "
                "The same items cannot be used for fitting and for evaluation. Give results of "
                "other questions."
            )
        return held_out

    def _ensemble(self, path: Path) -> Ensemble:
        """The part `ensemble`: this file and those of --ensemble as one model that votes."""
        files = {str(file): self.read(file).predictions for file in (path, *self.ensemble)}
        if len(files) <= len(self.ensemble):
            raise InputError(f"--ensemble names a file twice, or {path} itself. Give others.")
        paired = pair_items(files)
        judged = {name: judge_all(rows, self.settings) for name, rows in paired.predictions.items()}
        return msgspec.structs.replace(ensemble(judged), paired_by=paired.paired_by)

    def _missing(self, judged: Judged) -> list[str]:
        """A warning where some of the questions have no result."""
        if self.questions is None or len(judged) >= len(self.questions.samples):
            return []
        missing = len(self.questions.samples) - len(judged)
        return [f"{missing} items of {self.questions.name} have no result here."]

    def _blind(self, path: Path) -> tuple[BlindPanel | None, list[str]]:
        """The blind predictors' answers, and a warning where they were fitted on test questions."""
        if self.train is None:
            return None, []
        samples = [prediction.sample for prediction in self._predictions(path)]
        panel = blind_panel(self.train, samples, seed=self.settings.seed)
        train_keys = {(sample.id, sample.images, sample.conversation) for sample in self.train}
        shared = sum(
            (sample.id, sample.images, sample.conversation) in train_keys for sample in samples
        )
        warning = (
            f"{shared} items have the id, images and question of a training question: where they "
            "are the same question, the blind predictors have seen its answer."
        )
        return panel, [warning] if shared else []

    def _predictions(self, path: Path) -> Iterator[Prediction]:
        """The predictions of a file as a stream, with unique ids."""
        results, unique_ids = self.open(path), UniqueIds()
        for chunk in results.chunks:
            yield from unique_ids.apply(chunk.predictions())

    def gallery_items(
        self, path: Path, positions: Collection[int], judged: Judged
    ) -> list[GalleryItem]:
        """Some items of a result file in full, as the gallery of report.html shows them.

        Args:
            path: The result file.
            positions: Which of its items, counted from 0.
            judged: All of its items, judged.

        Returns:
            The items in the order of the file.
        """
        selected, metadata_columns = set(positions), displayable_metadata(judged)
        columns, _ = group_columns(judged)
        items = []
        for position, prediction in enumerate(self._predictions(path)):
            if position in selected:
                outcome = judged.outcomes[position]
                known = {key: column[position] for key, column in metadata_columns.items()}
                item = _gallery_item(
                    path,
                    prediction,
                    judged.settings,
                    metadata={key: value for key, value in known.items() if value},
                    groups={kind: column[position] for kind, column in columns.items()},
                    by_letter=confusion_pair(outcome),
                    by_text=confusion_pair(outcome, as_text=True),
                )
                items.append(item)
        return items


def _gallery_item(
    path: Path,
    prediction: Prediction,
    settings: Settings,
    *,
    metadata: Mapping[str, str],
    groups: Mapping[str, str | None],
    by_letter: ConfusionPair | None,
    by_text: ConfusionPair | None,
) -> GalleryItem:
    """One item of the gallery; `metadata` holds the values that may be shown."""
    verdict = judge_prediction(prediction, settings.protocol)
    checked = checked_text(prediction, verdict) if settings.claims else UNSET
    own_metadata = prediction.sample.metadata
    return GalleryItem(
        prediction=prediction,
        row=item_row(prediction, verdict, str(path), checked),
        metadata=metadata,
        hidden={value: metadata.get(key, "…") for key, value in identifiers(own_metadata)},
        burned_in=burned_in_reason(prediction.sample, prediction.image_notes),
        reasoning=verdict.extraction.reasoning if verdict else prediction.reasoning,
        groups=groups,
        by_letter=by_letter,
        by_text=by_text,
    )


def _stated_accuracy(meta: Mapping[str, object], summary: Summary) -> StatedAccuracy | None:
    """The accuracy that the original project's script wrote into the file, beside ours.

    None where the file states no accuracy, in percent, or no protocol of the original was computed.
    """
    percentage = meta.get("accuracy")
    accuracies = {summary.protocol: summary.metrics["accuracy"]}
    accuracies = {**summary.protocols, **accuracies}
    scripts = [name for name in (summary.protocol, *summary.protocols) if name in SCRIPTS]
    if not scripts or isinstance(percentage, bool) or not isinstance(percentage, int | float):
        return None
    computed = accuracies[scripts[0]].value
    return StatedAccuracy(value=percentage / 100, protocol=scripts[0], computed=computed)


def _differs_from_stated(accuracy: StatedAccuracy | None) -> list[str]:
    """A warning where the accuracy of `_stated_accuracy` is not ours."""
    if accuracy is None or accuracy.computed is None:
        return []
    if abs(accuracy.value - accuracy.computed) < SAME_ACCURACY:
        return []
    return [
        f"the file states an accuracy of {accuracy.value:.4%}; {accuracy.protocol} gives "
        f"{accuracy.computed:.4%} here."
    ]


def _ablation_warning(meta: Mapping[str, object]) -> list[str]:
    """A warning where the results were made without their images."""
    kind = ablation_of(meta)
    return [f"the images were replaced for an ablation ({kind})."] if kind else []


def _edit_warning(meta: Mapping[str, object]) -> list[str]:
    """A warning where the answers were made from edited reasoning."""
    edit = edit_of(meta)
    return [f"the answers are from earlier reasoning (edit: {edit})."] if edit else []


def _not_by_id(option: str, paired_by: str) -> list[str]:
    """A warning where the results that an option names were not paired by id."""
    return [f"{option}: {warning}" for warning in pairing_warnings(paired_by)]


def _not_fitted(summary: Summary) -> Iterator[str]:
    """A warning for each thing that could not be fitted on --calibrate-on, with the reason."""
    calibration, selective = summary.calibration, summary.selective
    temperature = calibration if isinstance(calibration, Missing) else calibration.temperature
    deferral = selective if isinstance(selective, Missing) else selective.deferral
    conformal = selective if isinstance(selective, Missing) else selective.conformal
    parts = {
        "temperature": temperature,
        "deferral threshold": deferral,
        "conformal sets": conformal,
    }
    for name, part in parts.items():
        if isinstance(part, Missing):
            yield f"no {name}: {part.reason}."


def _require_same_model(
    name: str, meta: Mapping[str, object], results: Mapping[str, object]
) -> None:
    """InputError where two files' meta name different models; a file need not name its model."""
    models = [manifest.get("model_sha256") for manifest in (meta, results)]
    if None not in models and models[0] != models[1]:
        raise InputError(
            f"{name} is of another model than the results. Give a file of the same model."
        )


def gallery_candidates(judged: Judged, name: str) -> Iterator[GalleryCandidate]:
    """For each item, in order, what the choice of the gallery's items needs to know of it.

    Args:
        judged: The items.
        name: Their result file.
    """
    outcomes = judged.outcomes
    kinds = [
        verdict_kind(
            correct=outcome.correct,
            failed=outcome.failed,
            undecided=outcome.undecided is not None,
            answered=outcome.answer is not None,
            extraction=outcome.method,
            truncated=outcome.truncated,
        )
        for outcome in outcomes.values
    ]
    modalities = judged.columns.groups["modality"]
    for code, modality in zip(outcomes.codes, modalities, strict=True):
        yield GalleryCandidate(name, kinds[code], modality)


def _bertscore(
    predicted: Sequence[str], references: Sequence[str], model: str
) -> tuple[Values, str]:
    """The F of BERTScore for each pair, and how it was computed."""
    from medr1.evaluate.metrics.bertscore import bertscore

    values, signature = bertscore(predicted, references, model)
    return values[:, 2], signature
