"""What `medr1 demo` prints: the table of demo.json, and some answers before and after training."""

from __future__ import annotations

from collections.abc import Sequence

from medr1.documents.demo import Demo, DemoProtocol, DemoSample
from medr1.documents.metric import Metric, value_of
from medr1.report.terminal.layout import WIDTH, Row, aligned, clean, filled, grid, truncated
from medr1.report.terminal.tables import best_predictor, percent, value_with_interval


def demo_table(document: Demo, *, width: int = WIDTH) -> str:
    """The results of `medr1 demo`: baselines, base and trained model, shuffled images, and gains.

    Args:
        document: What the demo writes as demo.json.
        width: Columns of the terminal.
    """
    default, strict, blind = document.default, document.strict, document.blind
    shuffled = document.shuffled_images

    def row(label: str, *cells: str) -> Row:
        return (label, *cells, *[""] * (2 - len(cells)))

    def differences(label: str, *protocols: Metric) -> Row:
        return row(label, *(value_with_interval(metric, True) for metric in protocols))

    def accuracies(label: str, *protocols: Metric) -> Row:
        return row(label, *map(value_with_interval, protocols))

    rows = [
        row("chance", percent(blind.chance)),
        accuracies("best without image", blind.best),
        accuracies("base model", default.base, strict.base),
        accuracies("trained with GRPO", default.trained, strict.trained),
        accuracies("trained, image-needed items", blind.image_needed),
        accuracies("base, images shuffled", shuffled.base),
        accuracies("trained, images shuffled", shuffled.trained),
        row(""),
        row("gain in points (95 % CI)"),
        differences("from training", default.difference, strict.difference),
        differences(
            "  the same, CI over sources", default.difference_by_source, strict.difference_by_source
        ),
        differences("over best without image", blind.image_gain),
    ]
    header = ("accuracy (95 % CI)", "default", "strict")
    return "\n".join(
        [
            f"{document.n} held-out questions, prompt {document.prompt}, "
            f"seed {document.seed}, {document.seconds:.0f} s\n",
            *grid(header, rows, width),
            "",
            "default: any clear answer counts. strict: only an answer block counts.",
            f"Best without image: {best_predictor(blind)}, which knows only the texts.",
            "Image-needed items: those that no such predictor above chance answers right.",
            f"95 % CI: by resampling the {document.n_images} test images, or the "
            f"{document.n_sources} sources they come from.",
            "It holds for this base model, this training run and this data set only.",
            "",
            filled(" ".join(conclusions(document)), width),
        ]
    )


def conclusions(document: Demo) -> list[str]:
    """What the numbers show, in sentences; each is true only by its 95 % interval.

    Args:
        document: As for `demo_table`.
    """
    default, strict, shuffled = document.default, document.strict, document.shuffled_images
    sentences = [_change("Training", "the share of right answers", default)]
    if _direction(default.difference) and not _direction(default.difference_by_source):
        sentences.append("With other sources of images this may be different.")
    sentences.append(_change("It", "the share that is also in the required format", strict))
    before, after = _per_100(value_of(default.trained), value_of(shuffled.trained))
    uses_images = _interval(shuffled.trained)[1] < _interval(default.trained)[0]
    if uses_images:
        sentences.append(
            f"With the images shuffled, {after} instead of {before} of 100 are right: the trained "
            "model uses the images."
        )
    else:
        sentences.append(
            f"With the images shuffled, {after} instead of {before} of 100 are right: this does "
            "not show that the trained model uses the images."
        )
    if _interval(document.blind.image_gain)[0] <= 0:
        beginning = "It is not" if uses_images else "Nor is it"
        sentences.append(f"{beginning} shown to be better than the best guess without the image.")
    return sentences


def _change(subject: str, share: str, accuracies: DemoProtocol) -> str:
    """A sentence on the accuracy before and after the training, by the interval of the change."""
    before, after = _per_100(value_of(accuracies.base), value_of(accuracies.trained))
    direction = _direction(accuracies.difference)
    if direction:
        verb = "raised" if direction > 0 else "lowered"
        return f"{subject} {verb} {share} from {before} to {after} of 100."
    return f"{subject} did not clearly change {share}: {before} of 100 before, {after} after."


def _direction(difference: Metric) -> int:
    """1 or -1 if the interval of a difference is above or below 0; 0 if it contains 0."""
    low, high = _interval(difference)
    return (low > 0) - (high < 0)


def _interval(metric: Metric) -> tuple[float, float]:
    """The 95 % interval of a metric of the demo; ValueError for one that has none."""
    if metric.ci95 is None:
        raise ValueError(f"the metric has no interval: {metric.reason}")
    return metric.ci95


def _per_100(*shares: float) -> tuple[str, ...]:
    """Shares as whole numbers of 100; with a decimal if different ones would look the same."""
    digits = 0 if len({f"{100 * s:.0f}" for s in shares}) == len(set(shares)) else 1
    return tuple(f"{100 * share:.{digits}f}" for share in shares)


def demo_samples(samples: Sequence[DemoSample], *, width: int = WIDTH) -> str:
    """A few questions with their ground truth, and the completions before and after training.

    Args:
        samples: Those of demo.json.
        width: Columns of the terminal. Longer lines are shortened with an ellipsis.
    """
    rows: list[Row] = [
        (name, "correct" if one.correct else "wrong", one.model_output or "")
        for sample in samples
        for name, one in (("  base", sample.base), ("  trained", sample.trained))
    ]
    answers = iter(aligned(rows, width, justify="lll", gives_way=2))
    lines = ["some answers, before and after training"]
    for sample in samples:
        letter = sample.ground_truth
        question = f"{clean(sample.question)} {letter}) {clean(sample.options[letter])}"
        lines += [truncated(question, width), next(answers), next(answers)]
    return "\n".join(lines)
