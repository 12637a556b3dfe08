"""One result file evaluated as `medr1 eval` was asked: read, judged, summed up."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medr1.answers import SCRIPTS
from medr1.data.audit import BlindPanel, blind_panel
from medr1.data.burned_in import suspected
from medr1.data.identifiers import identifiers
from medr1.errors import InputError
from medr1.evaluate.groups import shown_metadata
from medr1.evaluate.image_ablation import ablation_of, image_ablation
from medr1.evaluate.judging import Judged, Settings, Values, judge_all, verdict
from medr1.evaluate.metrics import METRICS, item_row, summary_of
from medr1.evaluate.pairing import pair_items, pairing_warnings
from medr1.evaluate.results import ResultFile, Results, UniqueIds, open_results, read_results
from medr1.evaluate.scanning import scan
from medr1.evaluate.texts import TEXT_METRICS
from medr1.evaluate.trust.ensemble import ensemble
from medr1.evaluate.trust.selective import DEFAULT_SELECTIVE, SelectiveConfig
from medr1.files import parse_json, read_text, sha256_of
from medr1.records import ROBUSTNESS_SCHEMA, Prediction, Sample, prediction_to_dict

if TYPE_CHECKING:
    from medr1.data.readers import Questions

SAME_ACCURACY = 1e-9
"""Shares that differ by less are the same, but for rounding."""


@dataclass(frozen=True)
class Evaluation:
    """How result files are read and what is computed of them."""

    settings: Settings
    metrics: tuple[str, ...] = METRICS
    columns: Mapping[str, str] = field(default_factory=dict)
    """Our name of a key -> the file's."""
    questions: Questions | None = None
    """Where the ground truth and more comes from, if not from the results."""
    train: list[Sample] | None = None
    """Training questions, for the blind baseline."""
    ablated: Path | None = None
    """Results of the same questions without their pictures."""
    bertscore: str | None = None
    """The model of BERTScore, a folder or a hub id."""
    calibrate_on: Path | None = None
    """Results of other questions, which temperature, threshold and conformal sets are fitted on."""
    selective_config: SelectiveConfig = DEFAULT_SELECTIVE
    robustness: Path | None = None
    """The robustness.json of the same model."""
    ensemble: tuple[Path, ...] = ()
    """Results of the same questions by other checkpoints or adapters."""

    def open(self, path: Path) -> ResultFile:
        return open_results(path, columns=self.columns, questions=self.questions)

    def run(
        self, path: Path, write: Callable[[str], Any] | None = None
    ) -> tuple[dict[str, Any], Judged]:
        """The summary of a file and its judged items; `write` gets the lines of items.jsonl."""
        results = self.open(path)
        settings = replace(self._resolved(path), texts=self._needs_texts)
        judged = scan(results.chunks, settings, name=str(path), write=write)
        semantic = partial(_bertscore, model=self.bertscore) if self.bertscore else None
        held_out = self._held_out(path, results.meta, judged)
        blind, seen = self._blind(path)
        summary = summary_of(
            judged,
            blind=blind,
            metrics=self.metrics,
            semantic=semantic,
            held_out=held_out,
            selective_config=self.selective_config,
        )
        summary["stated_accuracy"] = _stated_accuracy(results.meta, summary)
        summary["warnings"] += [*results.notes, *self._missing(judged), *seen]
        summary["warnings"] += _differs_from_stated(summary["stated_accuracy"])
        if held_out is not None:
            summary["calibrate_on"] = str(self.calibrate_on)
            summary["warnings"] += _not_fitted(summary)
            shared = set(held_out.columns.clusters.values) & set(judged.columns.clusters.values)
            if shared:
                said = f"{len(shared)} {judged.unit}s are in the items of --calibrate-on too"
                summary["warnings"].append(f"{said}: what was fitted there looks better here.")
        if self.bertscore:
            from medr1.evaluate.semantic import NOT_ABSOLUTE

            summary["warnings"].append(NOT_ABSOLUTE)
        if self.ablated is not None:
            ablated, predictions = self.read(self.ablated), self.read(path).predictions
            _require_same_model(f"--ablated {self.ablated}", ablated.meta, results.meta)
            found = image_ablation(
                predictions, str(path), ablated, str(self.ablated), self.settings
            )
            summary["image_ablation"] = found
            summary["warnings"] += _not_by_id("--ablated", found)
        if self.robustness is not None:
            summary["robustness"] = _robustness(self.robustness, results.meta)
        if self.ensemble:
            summary["ensemble"] = self._together(path)
            summary["warnings"] += _not_by_id("--ensemble", summary["ensemble"])
        if kind := ablation_of(results.meta):
            summary["warnings"].insert(0, f"the pictures were taken away ({kind}).")
        about = {"results": str(path), "sha256": sha256_of(path), "meta": results.meta}
        return {**about, **summary}, judged

    @property
    def _needs_texts(self) -> bool:
        """Whether a metric of texts is computed."""
        return self.bertscore is not None or not set(TEXT_METRICS).isdisjoint(self.metrics)

    def _resolved(self, path: Path) -> Settings:
        """The settings with the original's script that the file asks for, if `authors` is asked
        for: its golds are read first."""
        if "authors" not in (self.settings.protocol, *self.settings.protocols):
            return self.settings
        golds = (p.sample.ground_truth or "" for p in self._predictions(path))
        return self.settings.resolved(dict.fromkeys(golds))

    def read(self, path: Path) -> Results:
        """A whole file at once."""
        return read_results(path, columns=self.columns, questions=self.questions)

    @cached_property
    def _calibrating(self) -> tuple[Judged, Mapping[str, Any]] | None:
        """The items of --calibrate-on, judged once for all results, and their run's manifest."""
        if self.calibrate_on is None:
            return None
        found = read_results(self.calibrate_on, columns=self.columns)
        return judge_all(found.predictions, self.settings), found.meta

    def _held_out(self, path: Path, meta: Mapping[str, Any], judged: Judged) -> Judged | None:
        """The items of --calibrate-on; InputError for another model's, or items judged as well."""
        if self._calibrating is None:
            return None
        held_out, its_meta = self._calibrating
        _require_same_model(f"--calibrate-on {self.calibrate_on}", its_meta, meta)
        if shared := len(set(held_out.ids) & set(judged.ids)):
            raise InputError(
                f"--calibrate-on {self.calibrate_on}: {shared} of its items are in {path} too. "
                "What is fitted on an item cannot be judged on it; give other questions' results."
            )
        return held_out

    def _together(self, path: Path) -> dict[str, Any]:
        """What this file and those of --ensemble say as one."""
        files = {str(file): self.read(file).predictions for file in (path, *self.ensemble)}
        if len(files) <= len(self.ensemble):
            raise InputError(f"--ensemble names a file twice, or {path} itself. Give others.")
        paired = pair_items(files)
        judged = {name: judge_all(rows, self.settings) for name, rows in paired.predictions.items()}
        return {**ensemble(judged), "paired_by": paired.paired_by}

    def _missing(self, judged: Judged) -> list[str]:
        """What to say of questions that no result answers."""
        if self.questions is None or len(judged) >= len(self.questions.samples):
            return []
        missing = len(self.questions.samples) - len(judged)
        return [f"{missing} items of {self.questions.name} have no result here."]

    def _blind(self, path: Path) -> tuple[BlindPanel | None, list[str]]:
        """What blind predictors say, and of how many items they may have seen the answer."""
        if self.train is None:
            return None, []
        samples = [prediction.sample for prediction in self._predictions(path)]
        panel = blind_panel(self.train, samples, seed=self.settings.seed)
        known = {(one.id, one.images, one.question) for one in self.train}
        seen = sum((one.id, one.images, one.question) in known for one in samples)
        said = (
            f"{seen} items have the id, images and question of a training question: where they are "
            "the same, the blind predictors have seen the answer."
        )
        return panel, [said] if seen else []

    def _predictions(self, path: Path) -> Iterator[Prediction]:
        results, unique = self.open(path), UniqueIds()
        for chunk in results.chunks:
            yield from unique.of(chunk.predictions())

    def entries(
        self, path: Path, positions: Collection[int], judged: Judged
    ) -> list[dict[str, Any]]:
        """The items at these positions as in results.json, with the verdict and its trace.

        `judged` are all of the file's. Of the metadata there are only the keys asked for;
        `hidden` are the identifiers of the item, with what is to stand in their place, and
        `burned_in` says why its pictures may have text in them.
        """
        wanted, shown = set(positions), shown_metadata(judged)
        return [
            self._entry(
                path,
                prediction,
                judged.settings.protocol,
                {key: found for key, column in shown.items() if (found := column[position])},
            )
            for position, prediction in enumerate(self._predictions(path))
            if position in wanted
        ]

    def _entry(
        self, path: Path, prediction: Prediction, protocol: str, shown: Mapping[str, str]
    ) -> dict[str, Any]:
        found = verdict(prediction, protocol)
        said, metadata = prediction_to_dict(prediction), prediction.sample.metadata
        row = {**item_row(prediction, found), "error": said["error"]}
        entry = {"results": str(path), **said, **row, "metadata": shown}
        hidden = {value: shown.get(key, "…") for key, value in identifiers(metadata)}
        reasoning = found.extraction.reasoning if found else prediction.reasoning
        text = suspected(prediction.sample, prediction.image_notes)
        return {**entry, "hidden": hidden, "burned_in": text, "reasoning": reasoning}


def _stated_accuracy(meta: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, Any] | None:
    """The accuracy that the original's script wrote into a file, and what its rule gives here.

    None where the file has none, or no rule of theirs was asked for.
    """
    stated, asked = meta.get("accuracy"), {summary["protocol"]: summary["metrics"]["accuracy"]}
    rules = [name for name in {**asked, **summary["protocols"]} if name in SCRIPTS]
    if not rules or isinstance(stated, bool) or not isinstance(stated, int | float):
        return None
    metric = asked.get(rules[0]) or summary["protocols"][rules[0]]
    return {"value": stated / 100, "protocol": rules[0], "here": metric["value"]}


def _differs_from_stated(stated: Mapping[str, Any] | None) -> list[str]:
    if stated is None or abs(stated["value"] - stated["here"]) < SAME_ACCURACY:
        return []
    return [
        f"the file states an accuracy of {stated['value']:.4%}; {stated['protocol']} gives "
        f"{stated['here']:.4%} here."
    ]


def _robustness(path: Path, meta: Mapping[str, Any]) -> dict[str, Any]:
    """A robustness.json; InputError where it is none, or of another model than the run's."""
    document = parse_json(read_text(path), str(path))
    if not isinstance(document, dict) or document.get("schema") != ROBUSTNESS_SCHEMA:
        raise InputError(f"{path} is no robustness.json. Make one with medr1 robustness.")
    _require_same_model(str(path), document["meta"], meta)
    return document


def _not_by_id(option: str, part: Mapping[str, Any]) -> list[str]:
    """What to say of results that an option names and that were not paired by id."""
    return [f"{option}: {said}" for said in pairing_warnings(part["paired_by"])]


def _not_fitted(summary: Mapping[str, Any]) -> Iterator[str]:
    """Why what --calibrate-on was given for is not there."""
    calibration, selective = summary["calibration"], summary["selective"]
    parts = {
        "temperature": calibration.get("temperature", calibration),
        "referral threshold": selective.get("referral", selective),
        "conformal sets": selective.get("conformal", selective),
    }
    for name, part in parts.items():
        if reason := part.get("reason"):
            yield f"no {name}: {reason}."


def _require_same_model(name: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """InputError where two manifests name different models; a file without one may be of any."""
    models = [about.get("model_sha256") for about in (one, other)]
    if None not in models and models[0] != models[1]:
        raise InputError(f"{name} is of another model than the results. Give that of the same one.")


def verdict_rows(judged: Judged, name: str) -> Iterator[dict[str, Any]]:
    """For each item, in order, what its verdict is and the group it is of."""
    outcomes = judged.outcomes
    rows = [
        {
            "results": name,
            "correct": outcome.correct,
            "extracted_answer": outcome.answer,
            "extraction": outcome.method,
            "undecided": outcome.undecided,
            "finish_reason": "length" if outcome.truncated else None,
            "error": outcome.failed,
        }
        for outcome in outcomes.values
    ]
    modalities = judged.columns.groups["modality"]
    for code, modality in zip(outcomes.codes, modalities, strict=True):
        yield {**rows[code], "modality": modality}


def _bertscore(
    predicted: Sequence[str], references: Sequence[str], model: str
) -> tuple[Values, str]:
    from medr1.evaluate.semantic import bertscore

    values, signature = bertscore(predicted, references, model)
    return values[:, 2], signature
