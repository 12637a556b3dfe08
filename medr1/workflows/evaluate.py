"""Evaluate results files: every metric with its confidence interval, and a report."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medr1.answers import ALL_PROTOCOLS, PROTOCOLS, SUMMARY_PROTOCOLS
from medr1.errors import InputError
from medr1.workflows.arguments import (
    keep_apart,
    optional_path,
    require_choice,
    require_writable,
)
from medr1.workflows.card import card_writer
from medr1.workflows.review_of_results import reviews_of

if TYPE_CHECKING:
    from medr1.data.readers import Questions
    from medr1.documents.items import GalleryItem
    from medr1.documents.review import ExpertReview
    from medr1.documents.summary import Summary
    from medr1.evaluate.evaluation import Evaluation
    from medr1.evaluate.gates import Gates
    from medr1.evaluate.judging import Judged, Settings
    from medr1.judge.asking import Judge
    from medr1.records import Sample
    from medr1.workflows.card import CardWriter

logger = logging.getLogger("medr1")


@dataclass(frozen=True)
class EvaluationResult:
    """The summaries of results files, and the required values that were not reached."""

    summaries: Sequence[Summary]
    """The content of summary.json for each results file."""
    failures: Sequence[str]
    """A sentence for each check of `fail_under` and `baseline` that was not passed."""
    cards: Sequence[Path] = ()
    """The JSON files of the cards that were written."""


def run_evaluation(
    results: str | Path | Sequence[str | Path],
    *,
    protocol: str = "default",
    data: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    metrics: Sequence[str] | None = None,
    group_by: Sequence[str] = (),
    cluster_by: str = "image",
    train_data: str | Path | None = None,
    ablated: Sequence[str | Path] = (),
    edited: Sequence[str | Path] = (),
    review: Sequence[str | Path] = (),
    calibrate_on: str | Path | None = None,
    target_risk: float = 0.1,
    alpha: float = 0.1,
    robustness: str | Path | None = None,
    ensemble: Sequence[str | Path] = (),
    bertscore: str | None = None,
    judge: Judge | None = None,
    fail_under: Sequence[str] = (),
    baseline: str | Path | None = None,
    output_dir: str | Path | None = None,
    card: str | Path | None = None,
    audit: str | Path | None = None,
    contamination: str | Path | None = None,
    image_root: str | Path | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> EvaluationResult:
    """Evaluate results files, and write a report of them if there is an output folder.

    Args:
        results: File with results, folder with such files, or several of them.
        protocol: Rules that decide whether an answer is right, one of answers.PROTOCOLS; or "all":
            the rules of default, and a table of what every protocol gives.
        data: File with the questions, or folder with test.json, if the results lack something.
        columns: Key of medr1 -> column of the results: {"prediction": "reply"}.
        metrics: Metrics to compute, without other protocols and hallucinated claims; None: all.
        group_by: Metadata keys; each of their values gets its own results.
        cluster_by: Unit that confidence intervals resample: image, or a metadata key.
        train_data: File with the training questions, or folder with train.json, to fit predictors
            that see no image; None: train.json in `data`, if that is a folder with one.
        ablated: Files with results of the same questions without the image, one for each ablation.
        edited: Files with results of the same questions from edited reasoning, one for each edit.
        review: Files of `start_review` and `adjudicate_review` about these results: what experts
            found is added to the summary.
        calibrate_on: File with results of other questions by the same model, on which temperature,
            threshold and conformal sets are fitted.
        target_risk: Highest accepted share of wrong answers among the items that are not deferred.
            Needs `calibrate_on`.
        alpha: Highest accepted share of items whose conformal set lacks the right option. Needs
            `calibrate_on`.
        robustness: File robustness.json of the same model, for the report.
        ensemble: Files with results of the same questions by other checkpoints.
        bertscore: Model for BERTScore, as a folder or a hub id; None: no BERTScore.
        judge: Model that judges open answers beside the rules; its own number in the summary. Its
            replies are kept in its cache, else beside `output_dir`; None: no judge.
        fail_under: Worst accepted values of metrics, such as "accuracy=0.8".
        baseline: File with earlier results of the same items, or their summary.json.
        output_dir: Folder to write: report.html, summary.json, items.jsonl and more; None: no
            files.
        card: Folder, or file that ends in .json or .md, to write a card into: all that a reader
            needs to reproduce the accuracy. None: no card.
        audit: File audit.json of these questions, whose leakage the card states. Needs `card`.
        contamination: File contamination.json of this model and these questions, from
            `run_contamination`, for the card. Needs `card`.
        image_root: Folder with the images of report.html; None: that of `data`, else of a results
            file.
        seed: Seed of the confidence intervals.
        overwrite: Whether an existing output is replaced, and kept as NAME.bak.

    Raises:
        InputError: A file cannot be read, files do not fit together, or an argument is wrong.
        OutputError: The output cannot be written.
    """
    arguments = dict(locals())  # here, where there are no other names yet
    from medr1.evaluate.evaluation import Evaluation
    from medr1.evaluate.gates import Gates
    from medr1.evaluate.metrics.summary import require_metric
    from medr1.evaluate.reading.results import result_files
    from medr1.evaluate.trust.selective import SelectiveConfig
    from medr1.metrics.registry import NAMES

    require_choice("protocol", protocol, (*PROTOCOLS, "all"))
    _require_inside(target_risk=target_risk, alpha=alpha)
    gates = Gates.from_options(fail_under, str(baseline) if baseline else None)
    settings = _settings(protocol, cluster_by, group_by, seed, is_complete=metrics is None)
    evaluation = Evaluation(
        settings,
        tuple(require_metric(name, "--metrics") for name in metrics or NAMES),
        columns or {},
        questions_of(data, image_root),
        _training(train_data, data),
        tuple(map(Path, ablated)),
        bertscore,
        optional_path(calibrate_on),
        SelectiveConfig(target_risk, alpha),
        optional_path(robustness),
        tuple(map(Path, ensemble)),
        _with_cache(judge, optional_path(output_dir), overwrite) if judge else None,
        tuple(map(Path, edited)),
    )
    files = result_files([results] if isinstance(results, str | Path) else results)
    cards, reviews = _check_outputs(arguments, files), reviews_of(files, review, seed)
    image_roots = _image_roots(files, optional_path(image_root), optional_path(data))
    return _evaluate(evaluation, gates, files, reviews, image_roots, output_dir, cards, overwrite)


def _settings(
    protocol: str, cluster_by: str, group_by: Sequence[str], seed: int, *, is_complete: bool
) -> Settings:
    """How answers are judged; `is_complete` is False where --metrics selects some metrics.

    --metrics is for speed, so it also skips the accuracy under the other protocols, and the checks
    of claims and reasoning. The protocol "all" stands for default with all others beside it.
    """
    from medr1.evaluate.judging import Settings

    others: tuple[str, ...] = SUMMARY_PROTOCOLS if is_complete else ()
    protocol, others = ("default", ALL_PROTOCOLS) if protocol == "all" else (protocol, others)
    return Settings(
        protocol,
        cluster_by,
        tuple(group_by),
        others,
        seed,
        claims=is_complete,
        reasoning=is_complete,
    )


def questions_of(data: str | Path | None, image_root: str | Path | None = None) -> Questions | None:
    """The questions of a file, or of the test split if it is a folder; None for None.

    Args:
        data: The file or folder.
        image_root: The folder of the images; None: that of the questions.
    """
    from medr1.data.readers import read_questions, split_file

    if not data:
        return None
    return read_questions(split_file(Path(data), "test"), optional_path(image_root))


def _require_inside(**shares: float) -> None:
    """InputError for a share that is not between 0 and 1; the keyword is the argument's name."""
    for name, share in shares.items():
        if not 0 < share < 1:
            raise InputError(f"{name}: {share} is not between 0 and 1.")


def _with_cache(judge: Judge, output: Path | None, overwrite: bool) -> Judge:
    """The judge with a file for its replies, beside the output folder if none was named.

    An output folder that will be refused is refused here, before requests are paid for.
    """
    from medr1.files import needs_overwrite

    if output is None:
        return judge
    folder = output.resolve()  # which has a name, also if the output is "."
    cache = judge.cache or folder.with_name(f"{folder.name}.judge.jsonl")
    if cache.resolve().is_relative_to(folder):
        raise InputError(f"--judge-cache {cache} is in the output folder. Choose another place.")
    if not overwrite and output.is_dir() and any(output.iterdir()):
        raise needs_overwrite(output, "is not empty")
    return replace(judge, cache=cache)


def _own_training(data: str | Path | None) -> str | Path | None:
    """The folder `data`, if it has training questions too; else None."""
    from medr1.data.readers import has_split

    return data if data and has_split(data, "train") else None


def _training(train_data: str | Path | None, data: str | Path | None) -> list[Sample] | None:
    """The training questions, else those of the train split in the folder `data`, else None."""
    from medr1.data.readers import read_questions, split_file

    folder = train_data or _own_training(data)
    return read_questions(split_file(folder, "train")).require_complete() if folder else None


def _check_outputs(arguments: Mapping[str, Any], files: Sequence[Path]) -> CardWriter | None:
    """Refuse outputs that cannot be written, before the work; the writer of the cards, if any.

    Args:
        arguments: The arguments of `run_evaluation` by name.
        files: The results files.
    """
    output, overwrite = arguments["output_dir"], arguments["overwrite"]
    names = (
        *("image_root", "data", "train_data", "calibrate_on", "robustness"),
        *("audit", "contamination"),
    )
    several = (arguments[name] for name in ("ensemble", "ablated", "edited", "review"))
    inputs = [*files, *map(arguments.get, names), *(file for part in several for file in part)]
    if output:
        require_writable(Path(output) / "summary.json")
    keep_apart(output, inputs, overwrite)
    train = arguments["train_data"] or _own_training(arguments["data"])
    return card_writer({**arguments, "train_data": train}, files, inputs)


def _image_roots(
    files: Sequence[Path], image_root: Path | None, data: Path | None
) -> dict[str, Path]:
    """Results file -> folder of its images: the image root, else that of the data, else its own."""
    data_folder = data if data is None or data.is_dir() else data.parent
    return {str(file): image_root or data_folder or file.parent for file in files}


def _evaluate(
    evaluation: Evaluation,
    gates: Gates,
    files: Sequence[Path],
    reviews: Mapping[Path, ExpertReview],
    image_roots: Mapping[str, Path],
    output_dir: str | Path | None,
    cards: CardWriter | None,
    overwrite: bool,
) -> EvaluationResult:
    """Evaluate the results files, and write the output and the cards."""
    from msgspec import structs

    from medr1.files import prepare_folder
    from medr1.report.pages.gallery import MAX_ITEMS

    summaries: list[Summary] = []
    gallery: list[GalleryItem] = []
    failures: list[str] = []
    output = optional_path(output_dir)
    # The lines of items.jsonl wait in a temporary file, not in memory: there may be millions. The
    # output folder is made last, so that a bad input leaves an old one as it is.
    with tempfile.TemporaryFile("w+", encoding="utf-8") as lines:
        for path in files:
            summary, judged = evaluation.run(path, lines.write if output else None)
            if path in reviews:
                summary = structs.replace(summary, review=reviews[path])
            summaries.append(summary)
            failures += gates.failures(path, summary, evaluation)
            if cards:
                cards.add(path, summary, judged, evaluation)
            if output:
                gallery += _gallery(evaluation, path, judged, MAX_ITEMS // len(files))
        if output:
            prepare_folder(output, overwrite=overwrite)
            lines.seek(0)
            _write(output, summaries, gallery, lines, image_roots)
        written = cards.write() if cards else []
    return EvaluationResult(summaries, failures, written)


def _gallery(evaluation: Evaluation, path: Path, judged: Judged, limit: int) -> list[GalleryItem]:
    """The items of a results file that report.html shows, with image, question and completion.

    `limit` is the most items.
    """
    from medr1.evaluate.evaluation import gallery_candidates
    from medr1.report.pages.gallery import gallery_choice

    candidates = gallery_candidates(judged, str(path))
    chosen = gallery_choice(candidates, limit=limit, seed=evaluation.settings.seed)
    return evaluation.gallery_items(path, chosen, judged)


def _write(
    folder: Path,
    summaries: Sequence[Summary],
    gallery: Sequence[GalleryItem],
    lines: Iterable[str],
    image_roots: Mapping[str, Path],
) -> None:
    """Write the files of --output-dir; warn of images that are missing or may contain text."""
    from medr1.files import to_json, write_atomic
    from medr1.report.csv_tables import summary_csv
    from medr1.report.pages.confusion import confusion_csv
    from medr1.report.pages.page import report_html
    from medr1.report.pages.thumbnails import (
        NOT_FOUND,
        OUTSIDE,
        burned_in_warning,
        larger_copies,
        make_thumbnails,
    )

    document = summaries[0] if len(summaries) == 1 else list(summaries)
    write_atomic(folder / "items.jsonl", lines)
    write_atomic(folder / "summary.csv", summary_csv(summaries))
    write_atomic(folder / "confusion.csv", confusion_csv(summaries))
    thumbnails = make_thumbnails(gallery, image_roots)
    problems = [image for image in thumbnails.values() if isinstance(image, str)]
    if missing := sum(problem == NOT_FOUND for problem in problems):
        logger.warning(
            "%d of the %d images for report.html were not found. Give their folder with "
            "--image-root DIR.",
            missing,
            len(thumbnails),
        )
    if outside := [problem for problem in problems if problem.startswith(OUTSIDE)]:
        logger.warning(
            "%d of the %d images for report.html are not shown. The first: %s.",
            *(len(outside), len(thumbnails), outside[0]),
        )
    if text := burned_in_warning(gallery, image_roots, thumbnails):
        logger.warning("report.html: %s", text)
    n = sum(summary.n for summary in summaries)
    larger = larger_copies(gallery, image_roots, thumbnails)
    page = report_html(
        *(summaries, gallery), thumbnails=thumbnails, larger=larger, burned_in=text, n_items=n
    )
    write_atomic(folder / "report.html", page)
    write_atomic(folder / "summary.json", to_json(document))
