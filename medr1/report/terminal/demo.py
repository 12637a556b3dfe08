"""What `medr1 demo` prints: the table of demo.json, and some answers before and after training."""

from __future__ import annotations

from collections.abc import Sequence

from medr1.documents.demo import Demo, DemoSample
from medr1.documents.metric import Metric
from medr1.report.terminal.tables import (
    Row,
    best_predictor,
    clean,
    grid,
    percent,
    truncate,
    value_with_interval,
)


def demo_table(document: Demo, *, width: int = 80, color: bool = False) -> str:
    """The results of `medr1 demo`: baselines, base and trained model, shuffled images, and gains.

    Args:
        document: What the demo writes as demo.json.
        width: Columns of the terminal.
        color: Whether the header is bold.
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
            *grid(header, rows, width, color),
            "",
            "default: any clear answer counts. strict: only an answer block counts.",
            f"Best without image: {best_predictor(blind)}, which knows only the texts.",
            f"95 % CI: by resampling the {document.n_images} test images, or the "
            f"{document.n_sources} sources they come from.",
            "It holds for this base model, this training run and this data set only.",
        ]
    )


def demo_samples(samples: Sequence[DemoSample], *, width: int = 80) -> str:
    """A few questions with their ground truth, and the completions before and after training.

    Args:
        samples: Those of demo.json.
        width: Columns of the terminal. Longer lines are shortened with an ellipsis.
    """
    lines = ["some answers, before and after training"]
    for sample in samples:
        letter = sample.ground_truth
        question = f"{clean(sample.question)} {letter}) {clean(sample.options[letter])}"
        lines.append(truncate(question, width))
        for name, completion in (("base", sample.base), ("trained", sample.trained)):
            verdict = "correct" if completion.correct else "wrong"
            lines.append(
                truncate(f"  {name:7}  {verdict:7}  {clean(completion.model_output)}", width)
            )
    return "\n".join(lines)
