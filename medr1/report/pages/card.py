"""The page of a card in Markdown: what a reader needs to reproduce an accuracy.

Texts that somebody else wrote are put into code spans, in which Markdown and HTML mean nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from medr1.documents.audit import Leak
from medr1.documents.card import Card, CardData
from medr1.documents.metric import Metric
from medr1.report.pages.sanitize import interval_of, visible
from medr1.report.terminal.audit import LEAKS
from medr1.report.terminal.tables import percent

NOT_RECORDED = "not recorded"
MAX_PROMPT = 8000
"""Most characters of a prompt on the page."""


def card_markdown(card: Card) -> str:
    """The page; it names each thing that is not recorded."""
    title = f"# {_code(card.model.name or 'a model')} on {_code(card.data.name or 'questions')}"
    parts = [
        title,
        _headline(card),
        "Research use only. Not for diagnosis, not for clinical use.",
        _section("Data", _data_lines(card.data)),
        _section("Model and inference", _inference_lines(card)),
        _prompt_block(card),
        _section("Evaluation", _evaluation_lines(card)),
        _section("Leakage from training data", _leakage_lines(card)),
        _section("Preference for the published order of options", _contamination_lines(card)),
        "## Commands\n\nFor the answers:\n\n" + _command(card.commands.infer),
        "For the evaluation:\n\n" + _command(card.commands.evaluate),
        "`medr1 reproduce` with the JSON file beside this page runs both again, and says what "
        "differs.",
    ]
    if card.warnings:
        parts.append(_section("Before you quote the number", map(_warning, card.warnings[:40])))
    return "\n\n".join(parts) + "\n"


def _headline(card: Card) -> str:
    """The accuracy with its interval, and under which rules."""
    return (
        f"**Accuracy: {_share(card.accuracy)}**, n = {card.accuracy.n:,}, protocol "
        f"{_code(card.protocol)}."
    )


def _data_lines(data: CardData) -> Iterator[str]:
    yield f"File: {_known(data.name)}"
    yield f"SHA-256: {_known(data.sha256)}"
    first = f", the first {data.limit:,} of the file" if data.limit else ""
    yield f"Items: {data.n:,}{first}"
    if data.datasets:
        names = [f"{_code(name)} ({n:,})" for name, n in list(data.datasets.items())[:20]]
        more = f", and {len(data.datasets) - 20} more" if len(data.datasets) > 20 else ""
        yield f"Data sets: {', '.join(names)}{more}"
    yield f"Benchmark: {_known(data.benchmark)}"
    yield f"Split: {_known(data.split)}"
    if data.filters is None:
        yield f"Filters: {NOT_RECORDED}"
    else:
        options = data.filters.get("options")
        chosen = dict(options) if isinstance(options, Mapping) else {}
        used = [f"{name} {value}" for name, value in chosen.items() if value not in (None, [], {})]
        yield f"Filters: {_code('; '.join(used)) if used else 'none'}"
    images = NOT_RECORDED if data.n_images is None else f"{data.n_images:,}"
    yield f"Images: {images}; SHA-256 of their names and contents: {_known(data.images_sha256)}"


def _inference_lines(card: Card) -> Iterator[str]:
    model, decoding = card.model, card.decoding
    yield f"Model: {_known(model.name)}"
    if card.inference is not None:
        yield f"Model path or id: {_code(card.inference.model_path)}"
    yield f"SHA-256 of its files: {_known(model.sha256)}"
    if server := model.server:
        yield f"Server: {_known(server.software)}, answers as {_code(server.answer_style)}"
    yield f"Device: {_known(model.device)}; data type: {_known(model.dtype)}" + (
        f"; quantization: {_code(model.quantization)}" if model.quantization else ""
    )
    if decoding is None:
        yield f"Decoding: {NOT_RECORDED}"
    else:
        how = f"sampled at temperature {decoding.temperature:g}" if decoding.do_sample else "greedy"
        extra = "".join(
            f", {name} {value}"
            for name, value, default in (
                ("rotations of the options", decoding.permute, 1),
                ("further samples", decoding.num_samples, 0),
                ("passes with dropout", decoding.dropout_samples, 0),
                ("images replaced by", decoding.ablate_image, "none"),
            )
            if value != default
        )
        yield (
            f"Decoding: {how}, at most {decoding.max_new_tokens:,} new tokens, mode "
            f"{_code(decoding.mode)}{_escaped(extra)}"
        )
    yield f"Seed: {NOT_RECORDED if card.seed is None else card.seed}"
    batch_size = str(card.inference.batch_size) if card.inference else NOT_RECORDED
    yield f"Batch size: {batch_size}"
    yield f"Versions: {_versions(card.versions)}"
    yield f"Start of the run: {_known(card.date)}"
    yield f"Prompt: {_known(card.prompt.name)}, SHA-256 {_known(card.prompt.sha256)}"


def _prompt_block(card: Card) -> str:
    if card.prompt.text is None:
        return f"Text of the prompt: {NOT_RECORDED}."
    return "Text of the prompt:\n\n" + _indented(visible(card.prompt.text, MAX_PROMPT))


def _evaluation_lines(card: Card) -> Iterator[str]:
    yield f"Results: {_code(card.results)}, SHA-256 {_known(card.results_sha256)}"
    yield f"Protocol: {_code(card.protocol)}"
    method = f", {_escaped(card.accuracy.method)}" if card.accuracy.method else ""
    yield f"Accuracy: {_share(card.accuracy)}{method}"
    n_clusters = f"{card.clusters.n:,} ({_code(card.clusters.unit)})"
    yield (
        f"Clusters: {n_clusters}; a bootstrap has {card.intervals.num_resamples:,} resamples and "
        f"the seed {card.intervals.seed}"
    )
    yield f"Items that failed: {card.n_error:,}; items without an answer: {card.n_without_answer:,}"
    if (blind := card.blind) is None:
        yield (
            "Best predictor without the image: not recorded, because there were no training "
            "questions (`--train-data`)"
        )
    else:
        yield f"Chance: {percent(blind.chance)}"
        name = _known(blind.best_predictor)
        yield f"Best predictor without the image: {name}, {_share(blind.best)}"
        yield f"Accuracy above it: {_share(blind.image_gain, signed=True)}"
        yield f"It was fitted on {_known(blind.train_name)}, SHA-256 {_known(blind.train_sha256)}"
    yield f"Versions of the evaluation: {_versions(card.evaluation_versions)}"


def _leakage_lines(card: Card) -> Iterator[str]:
    if (leakage := card.leakage) is None:
        yield f"{NOT_RECORDED.capitalize()}: no audit was given (`medr1 eval --audit`)"
        return
    for file in leakage.against:
        name = _code(file.name)
        yield f"Training questions: {name}, n = {file.n:,}, SHA-256 {_code(file.sha256)}"
    for kind, leak in leakage.kinds.items():
        name = LEAKS.get(kind, kind.replace("_", " "))
        yield f"{_escaped(name).capitalize()}: {_leak(leak, leakage.n)}"


def _contamination_lines(card: Card) -> Iterator[str]:
    if (contamination := card.contamination) is None:
        yield f"{NOT_RECORDED.capitalize()}: no test was given (`medr1 eval --contamination`)"
        return
    yield f"Questions: {contamination.n:,}"
    yield f"Other orders less probable than the published one: {_share(contamination.preference)}"
    p_value = contamination.p_value
    yield f"p-value of no preference: {'not known' if p_value is None else f'{p_value:.4f}'}"
    yield "A preference is a sign that the model was trained on these questions"


def _leak(leak: Leak, n: int) -> str:
    if leak.items is None:
        return f"not known ({_escaped(leak.reason or 'no reason given')})"
    share = f" ({percent(leak.share)})" if leak.share is not None else ""
    return f"{leak.items:,} of {n:,} items{share}"


def _share(metric: Metric, signed: bool = False) -> str:
    """A share with its interval, or why there is none."""
    if metric.value is None:
        return f"no value ({_escaped(metric.reason or 'no reason given')})"
    interval = interval_of(metric, signed=signed)
    bounds = f"95 % CI {interval}" if interval else "no interval"
    return f"{percent(metric.value, signed)} ({bounds})"


def _versions(versions: Mapping[str, str]) -> str:
    texts = (_code(f"{name} {version}") for name, version in versions.items())
    return ", ".join(texts) or NOT_RECORDED


def _section(title: str, lines: Iterator[str]) -> str:
    return f"## {title}\n\n" + "\n".join(f"- {line}" for line in lines)


def _command(text: str | None) -> str:
    return _indented(visible(text)) if text else f"{NOT_RECORDED.capitalize()}."


def _indented(text: str) -> str:
    """A code block: every line is indented, so nothing in it ends it."""
    return "\n".join(f"    {line}" for line in text.split("\n"))


def _known(value: str | None) -> str:
    return _code(value) if value else NOT_RECORDED


def _code(value: object) -> str:
    """A code span on one line, whose fence is longer than any run of backticks in it."""
    text = " ".join(visible(value, 300).split()) or " "
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{space}{text}{space}{fence}"


def _warning(text: str) -> str:
    return _escaped(text)


def _escaped(text: str) -> str:
    """A sentence in which no character is Markdown or HTML."""
    return re.sub(r"([\\`*_\[\]<>&#|~])", r"\\\1", " ".join(visible(text, 600).split()))
