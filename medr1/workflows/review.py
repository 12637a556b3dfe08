"""Review by clinicians: start the server of a round, and sum up what the readers judged."""

from __future__ import annotations

import logging
from collections.abc import Container, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medr1.answers import PROTOCOLS
from medr1.errors import InputError
from medr1.workflows.arguments import (
    keep_apart,
    require_at_least,
    require_choice,
    require_writable,
)

if TYPE_CHECKING:
    from medr1.data.readers import Questions
    from medr1.data.roots import ImageRoot
    from medr1.documents.review import ReviewSummary
    from medr1.evaluate.judging import Settings
    from medr1.evaluate.reading.results import Results
    from medr1.records import Prediction
    from medr1.review.comparison import SecondAnswers
    from medr1.review.sampling import ReviewCandidate
    from medr1.review.server import Adjudication, ReviewServer
    from medr1.review.store import Judgement, Store, Study

logger = logging.getLogger("medr1")


@dataclass(frozen=True)
class _Content:
    """What a review shows."""

    predictions: Sequence[Prediction]
    title: str = ""
    """Name of the model; "" for none, and where two are compared."""
    second: SecondAnswers | None = None


def start_review(
    results: str | Path,
    *,
    compare: str | Path | None = None,
    store: str | Path | None = None,
    data: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    image_root: str | Path | None = None,
    protocol: str = "default",
    cluster_by: str = "image",
    confident_errors: int = 20,
    reasoning_contradictions: int = 10,
    item_contradictions: int = 10,
    errors: int = 20,
    right_answers: int = 20,
    repeats: int = 4,
    blind: bool = False,
    host: str = "127.0.0.1",
    port: int = 0,
    allow_network: bool = False,
    seed: int = 0,
) -> ReviewServer:
    """Sample cases from results, and make a server on which experts judge them in a browser.

    The server answers while its method `serve` runs. It is reachable from this computer only,
    unless `host` and `allow_network` say otherwise.

    Args:
        results: File with results.
        compare: Results of a second model. Readers see both answers in random order, rate each and
            prefer one; items that only one file has are left out. None: no comparison.
        store: File with the judgements, which is made, or continued if it exists; None: beside
            `results`, as NAME.review.db.
        data: File with the questions, or folder with test.json, if the results lack something.
        columns: Key of medr1 -> column of the results: {"prediction": "reply"}.
        image_root: Folder with the images; None: that of `data`, else of `results`.
        protocol: Rules of the automatic verdict, one of answers.PROTOCOLS.
        cluster_by: Unit that confidence intervals resample: image, or a metadata key.
        confident_errors: Number of wrong answers with a confidence of at least 0.8 to review.
        reasoning_contradictions: Number of other items whose reasoning concludes with another
            answer than is given; 0: they count as errors or right answers.
        item_contradictions: Number of other items whose text claims what is known of the item
            rules out; 0: they count as errors or right answers.
        errors: Number of other wrong answers to review.
        right_answers: Number of right answers to review, as a control.
        repeats: Number of cases that each reader is shown twice.
        blind: Whether the page hides the name of the model, the verdict and the ground truth.
        host: IP address to listen on; 0.0.0.0: all of this computer.
        port: Port to listen on; 0: a free one.
        allow_network: Whether `host` may be an address that other computers can reach.
        seed: Seed of the sample and of the orders.

    Raises:
        InputError: The results cannot be read, the store belongs to another review, a number is
            out of range, or `host` can be reached from a network and `allow_network` is not set.
        OutputError: The store cannot be written, or the port is in use.
    """
    from medr1.evaluate.judging import Settings
    from medr1.files import sha256_of
    from medr1.review.sampling import CONTRADICTIONS, sample_cases
    from medr1.review.store import Study
    from medr1.workflows.evaluate import questions_of

    require_choice("protocol", protocol, PROTOCOLS)
    require_at_least(0, repeats=repeats)
    _require_port(port)
    _require_host(host, allow_network=allow_network)
    path = Path(results)
    images = image_folder(path, data, image_root)
    counts = {
        "confident_error": confident_errors,
        "reasoning_contradiction": reasoning_contradictions,
        "item_contradiction": item_contradictions,
        "error": errors,
        "right": right_answers,
    }
    settings: dict[str, Any] = {"protocol": protocol, "cluster_by": cluster_by}
    settings |= {"counts": counts, "blind": blind}
    content, candidates, comparison = _items_of(
        path,
        compare,
        Settings(protocol, cluster_by),
        columns=columns,
        questions=questions_of(data, image_root),
        contradictions={kind for kind in CONTRADICTIONS if counts[kind]},
    )
    if comparison is not None:
        settings["compare"] = comparison
    cases = sample_cases(candidates, counts, seed)
    study = Study(sha256_of(path), seed, repeats, settings)
    place = Path(store) if store else path.with_name(f"{path.stem}.review.db")
    opened = _open_store(place, study, candidates, cases)
    logger.info("%d cases; the judgements are written to %s", len(cases), place)
    _log_missing_cases(counts, [candidates[case].kind for case in cases])
    return _server(opened, content, images, port, host)


def _log_missing_cases(counts: Mapping[str, int], kinds: Sequence[str]) -> None:
    """Log of which kinds there were fewer cases than wanted; `kinds`: that of each case."""
    missing = [
        f"{kinds.count(kind)} of {count} {kind.replace('_', ' ')}"
        for kind, count in counts.items()
        if kinds.count(kind) < count
    ]
    if missing:
        logger.info("fewer cases than wanted: %s", ", ".join(missing))


def _require_port(port: int) -> None:
    if not 0 <= port <= 65535:
        raise InputError(f"port is {port}. Use 0 to 65535.")


def image_folder(results: Path, data: str | Path | None, image_root: str | Path | None) -> Path:
    """The folder with the images of results.

    Args:
        results: The results file.
        data: File or folder with the questions; None: the results have them.
        image_root: What the user named; None: the folder of `data`, else of `results`.

    Raises:
        InputError: `image_root` is not a folder.
    """
    if image_root and not Path(image_root).is_dir():
        raise InputError(f"the image root {image_root} is not a folder. Check --image-root.")
    data_path = Path(data) if data else results
    return Path(image_root or (data_path if data_path.is_dir() else data_path.parent))


def _content_of(results: Results) -> _Content:
    return _Content(results.predictions, Path(str(results.meta.get("model") or "")).name)


def _server(
    store: Store,
    content: _Content,
    images: Path,
    port: int,
    host: str = "127.0.0.1",
    adjudication: Adjudication | None = None,
) -> ReviewServer:
    """The server of a round; the store is closed if there is none."""
    from medr1.data.roots import ImageRoot
    from medr1.review.server import review_server

    root = ImageRoot(images, closed=True)
    with ExitStack() as if_it_fails:
        if_it_fails.callback(store.close)
        cases = [content.predictions[item.place] for item in store.items() if item.is_case]
        _warn_of_missing_images(cases, root)
        server = review_server(
            store,
            content.predictions,
            root,
            title=content.title,
            blind=bool(store.study.settings["blind"]),
            second=content.second,
            port=port,
            host=host,
            adjudication=adjudication,
        )
        if_it_fails.pop_all()
    return server


def _warn_of_missing_images(cases: Sequence[Prediction], root: ImageRoot) -> None:
    """Say before the readers begin that they would judge cases without their images."""
    from medr1.data.roots import resolve_image
    from medr1.errors import ItemError

    def is_missing(name: str) -> bool:
        try:
            return not all(path.exists() for path in resolve_image(name, root).files)
        except ItemError:
            return True

    if missing := sum(any(map(is_missing, case.sample.images)) for case in cases):
        logger.warning(
            "%d of the %d cases have an image that is not in %s. Give the folder with --image-root "
            "DIR.",
            missing,
            len(cases),
            root,
        )


def _items_of(
    path: Path,
    compare: str | Path | None,
    how: Settings,
    *,
    columns: Mapping[str, str] | None,
    questions: Questions | None,
    contradictions: Container[str],
) -> tuple[_Content, Sequence[ReviewCandidate], Mapping[str, Any] | None]:
    """What a review shows, the candidates, and what the store has of a comparison."""
    from medr1.review.candidates import read_candidates
    from medr1.review.comparison import read_pairs

    if compare is None:
        results, candidates = read_candidates(
            path, how, columns=columns, questions=questions, contradictions=contradictions
        )
        return _content_of(results), candidates, None
    pairs = read_pairs(
        path,
        Path(compare),
        how,
        columns=columns,
        questions=questions,
        contradictions=contradictions,
    )
    for warning in pairs.warnings:
        logger.warning("%s", warning)
    left = pairs.settings["unpaired"]
    if any(left):
        logger.warning("%d and %d items that only one file has are left out", *left)
    return _Content(pairs.predictions, second=pairs.second), pairs.candidates, pairs.settings


def _require_host(host: str, *, allow_network: bool) -> None:
    """Refuse what is no IP address, and one on a network unless that is allowed."""
    try:
        address = ip_address(host)
    except ValueError:
        raise InputError(
            f"host: {host!r} is not an IP address. Use one, such as 127.0.0.1."
        ) from None
    if address.is_loopback:
        return
    if not allow_network:
        raise InputError(
            f"on {host} other computers can reach the review. The connection is not encrypted, and "
            "who has the printed address can see the images and judge in the name of any reader. "
            "Add --allow-network if the network is trusted. For one reader elsewhere, stay on "
            "127.0.0.1 and use an SSH tunnel: ssh -L PORT:127.0.0.1:PORT."
        )
    logger.warning(
        "the review listens on %s, without encryption: who has the printed address can see the "
        "images and judge in the name of any reader, and who can read the network traffic has the "
        "address",
        host,
    )


def adjudicate_review(
    results: str | Path,
    stores: Sequence[str | Path],
    *,
    adjudicator: str,
    questions: Sequence[str] | None = None,
    store: str | Path | None = None,
    data: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    image_root: str | Path | None = None,
    port: int = 0,
) -> ReviewServer:
    """Make a server on which an adjudicator decides the cases on which the readers differ.

    The adjudicator sees the verdicts and comments of the first round, with codes in place of the
    readers' names. The cases are those on which readers differ when the round is first started.

    Args:
        results: File with results.
        stores: Files of the first round, which `start_review` wrote; they are not changed.
        adjudicator: Name or code of the reader who decides, the only one who can judge.
        questions: Questions of the rubric whose disputes are decided; None: all but the readers'
            own confidence.
        store: File with the second round, which is made, or continued if it exists; None: beside
            `results`, as NAME.adjudication.db.
        data: File with the questions, or folder with test.json, if the results lack something.
        columns: Key of medr1 -> column of the results: {"prediction": "reply"}.
        image_root: Folder with the images; None: that of `data`, else of `results`.
        port: Port to listen on; 0: a free one.

    Raises:
        InputError: The results cannot be read or are not those of the review, the review compares
            two models, the adjudicator is a reader of the first round, the readers differ on no
            case, or the store belongs to another round.
        OutputError: The store cannot be written, or the port is in use.
    """
    from medr1.evaluate.reading.results import read_results
    from medr1.files import sha256_of
    from medr1.review.rounds import (
        QUESTIONS,
        earlier_verdicts,
        first_looks,
        opened_rounds,
        require_one_model,
    )
    from medr1.review.server import Adjudication
    from medr1.review.store import reader_name
    from medr1.workflows.evaluate import questions_of

    _require_port(port)
    chosen = tuple(questions or QUESTIONS)
    for question in chosen:
        require_choice("questions", question, QUESTIONS)
    path, name = Path(results), reader_name(adjudicator)
    images = image_folder(path, data, image_root)
    content = read_results(path, columns=columns, questions=questions_of(data, image_root))
    place = Path(store) if store else path.with_name(f"{path.stem}.adjudication.db")
    with opened_rounds([Path(one) for one in stores]) as (first, _):
        require_one_model(first.study)
        if first.study.results_sha256 != sha256_of(path):
            raise InputError(f"{path} is not the file that was reviewed. Name that one.")
        if name in {judgement.reader for judgement in first.judgements()}:
            raise InputError(
                f"{name} judged in the first round, and an adjudicator decides between others. "
                "Name another adjudicator."
            )
        looks = first_looks(first.judgements())
        opened = _open_adjudication(place, first, looks, name, chosen)
    cases = [item.place for item in opened.items() if item.is_case]
    second = Adjudication(name, earlier_verdicts(looks, cases))
    return _server(
        opened,
        _content_of(content),
        images,
        port,
        adjudication=second,
    )


def _open_adjudication(
    path: Path,
    first: Store,
    looks: Mapping[tuple[str, int], Judgement],
    adjudicator: str,
    questions: Sequence[str],
) -> Store:
    """The store of a second round: a new one, or the one that is there if it is of this round."""
    from medr1.review.rounds import adjudication_study, candidate_of, disputed_places
    from medr1.review.store import Store, create_store

    study = adjudication_study(first.study, adjudicator, questions)
    if path.exists():
        store = Store(path)
        if store.study != study:
            store.close()
            raise InputError(
                f"{path} is a round of another review, adjudicator or choice of questions. Use the "
                "settings it was made with, or name another file with --store."
            )
        return store
    cases = disputed_places(looks, questions)
    if not cases:
        raise InputError("the readers differ on no case, so there is nothing to decide.")
    logger.info("%d cases to decide; the judgements are written to %s", len(cases), path)
    return create_store(path, study, [candidate_of(item) for item in first.items()], cases)


def _open_store(
    path: Path, study: Study, candidates: Sequence[ReviewCandidate], cases: Sequence[int]
) -> Store:
    """The store of a study: a new one, or the one that is there if it is of the same study."""
    from medr1.review.store import Store, create_store

    if not path.exists():
        return create_store(path, study, candidates, cases)
    store = Store(path)
    kinds = [(item.item_id, item.kind, item.is_case) for item in store.items()]
    chosen = set(cases)
    expected = [(c.item_id, c.kind, place in chosen) for place, c in enumerate(candidates)]
    if store.study != study or kinds != expected:
        store.close()
        raise InputError(
            f"{path} is a review of other results, or with other settings. Use the settings it was "
            "made with, or name another file with --store."
        )
    return store


def summarize_review(
    stores: Sequence[str | Path],
    *,
    output_dir: str | Path | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> ReviewSummary:
    """Sum up the judgements of a review: agreement, corrected accuracy, and disputed cases.

    Args:
        stores: Files that `start_review` wrote, of the same results with the same settings, and
            one of `adjudicate_review`; they are not changed.
        output_dir: Folder to write: review.json, judgements.csv and disputed.csv; None: no files.
        seed: Seed of the confidence intervals.
        overwrite: Whether an existing output is replaced, and kept as NAME.bak.

    Raises:
        InputError: A file is no store of a review, or of another one.
        OutputError: The output cannot be written.
    """
    from medr1.files import prepare_folder, to_json, write_atomic
    from medr1.report.terminal.review import disputed_csv
    from medr1.review.export import judgements_csv
    from medr1.review.rounds import opened_rounds
    from medr1.review.summary import review_summary

    paths = [Path(store) for store in stores]
    if not paths:
        raise InputError("no store is named. Name the file that `medr1 review start` wrote.")
    if output_dir:
        require_writable(Path(output_dir) / "review.json")
    keep_apart(output_dir, paths, overwrite)
    with opened_rounds(paths) as (store, adjudication):
        document = review_summary(store, adjudication, seed=seed)
        judgements = judgements_csv(store)
    if output_dir:
        output = Path(output_dir)
        prepare_folder(output, overwrite=overwrite)
        names = [reader.name for reader in document.readers]
        write_atomic(output / "review.json", to_json(document))
        write_atomic(output / "judgements.csv", judgements)
        write_atomic(output / "disputed.csv", disputed_csv(document.disputed, names))
    return document
