"""The further commands of `medr1 demo --full`, as a user would type them."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from medr1.terminal import echo
from medr1.workflows.demo import CONFIGS, DemoPrompt

if TYPE_CHECKING:
    from medr1.review.simulated_panel import SimulatedTruth

logger = logging.getLogger("medr1")

Step = tuple[click.Command, tuple[object, ...]]
"""A command and its arguments."""
EDITS = ("none", "empty", "cut", "shuffle", "swap")
"""The edits of the reasoning that are tried."""
FORMATS = ("nothink", "think-after")
"""The prompts that are compared with think."""
LEARNING_RATES: dict[DemoPrompt, float] = {"nothink": 0.005, "think": 0.001}
"""Prompt -> the learning rate of the adapters; letters fail to train at the higher one."""
COMPLETIONS = ("--mode", "generate")
"""Where the options' probabilities are not used, only completions are computed."""
MODALITIES = ("CT", "MRI", "Microscopy")
"""The training domains of the matrix."""


def run_full_demo(folder: Path, prompt: DemoPrompt, seed: int, max_steps: int | None) -> int:
    """Run the commands on the trained model, in this process, and log each of them.

    LoRA adapters are trained as well: one with dropout for dropout sampling and the ensemble, and
    one for each of three modalities for the matrix. At the end, simulated readers review the
    trained model's answers.

    Args:
        folder: The folder of the demo, with its checkpoint.
        prompt: The prompt of the demo. With "think", the reasoning is checked too.
        seed: Of sampling, training and intervals.
        max_steps: Training steps of the adapters; None for a number that suits the demo.

    Returns:
        The exit code: that of the first command that fails, or 0.
    """
    from medr1.data.tiny import tiny_config, tiny_vqa_folder

    base = Path(tiny_config(CONFIGS[prompt])["model_path"])
    plan = _FullDemo(folder, folder / "trust", tiny_vqa_folder(), base, prompt, seed, max_steps)
    for command, arguments in plan.steps():
        words = [str(argument) for argument in arguments]
        logger.info("medr1 %s %s", _name(command), shlex.join(words))
        code = command.main(words, prog_name=f"medr1 {_name(command)}", standalone_mode=False)
        if isinstance(code, int) and code:
            return code
    return 0


def _name(command: click.Command) -> str:
    """The command as it is typed after `medr1`."""
    from medr1.cli.review import summary
    from medr1.cli.split import split

    group = "data " if command is split else "review " if command is summary else ""
    return f"{group}{command.name}"


@dataclass(frozen=True)
class _FullDemo:
    """Where everything is, and the steps in order."""

    folder: Path
    out: Path
    data: Path
    base: Path
    """The checkpoint before training."""
    prompt: DemoPrompt
    seed: int
    max_steps: int | None

    def steps(self) -> Iterator[Step]:
        """All steps; each needs files of those before it."""
        yield from self._answers()
        if self.prompt == "think":
            yield from self._reasoning()
        yield from self._ensemble()
        yield from self._robustness()
        yield from self._report()
        yield from self._matrix()
        yield from self._panel()

    @property
    def _model(self) -> tuple[object, ...]:
        return "--model-path", self.folder / "checkpoint"

    def _on(self, split: str) -> tuple[object, ...]:
        batch = ("--batch-file", self.data / f"{split}.json", "--batch-size", 32)
        # an item without options or without reasoning fails in some of the ways to ask
        return (*batch, "--seed", self.seed, "--max-errors", 1000)

    def _file(self, name: str) -> Path:
        return self.out / f"{name}.json"

    def _edited(self, edit: str) -> Path:
        return self._file(f"reasoning-{edit}")

    def _answers(self) -> Iterator[Step]:
        """Answers of the base and the trained model, with and without the image."""
        from medr1.cli.compare import compare
        from medr1.cli.infer import infer

        test, base = self._file("test"), self._file("base")
        samples = ("--num-samples", 8, "--token-logprobs")
        on_test = self._on("test")
        validation = ("--output-file", self._file("validation"))
        yield infer, (*self._model, *self._on("validation"), *validation)
        yield infer, (*self._model, *on_test, "--output-file", test, *samples)
        yield infer, ("--model-path", self.base, *on_test, "--output-file", base)
        yield compare, (base, test, "--seed", self.seed, "--output-dir", self.out / "compare")
        for kind in ("blank", "shuffle"):
            output = ("--ablate-image", kind, "--output-file", self._file(kind))
            yield infer, (*self._model, *on_test, *COMPLETIONS, *output)

    def _reasoning(self) -> Iterator[Step]:
        """Answers after edited reasoning, and answers in other formats on the same items."""
        from medr1.cli.compare import compare
        from medr1.cli.infer import infer

        test, on_test = self._file("test"), self._on("test")
        for edit in EDITS:
            source: tuple[object, ...] = ("--reasoning-from", test, "--edit", edit)
            source = (*source, *COMPLETIONS, "--output-file", self._edited(edit))
            yield infer, (*self._model, *on_test, *source)
        for name in FORMATS:
            output = ("--prompt", name, *COMPLETIONS, "--output-file", self._file(name))
            yield infer, (*self._model, *on_test, *output)
        files = [test, *map(self._file, FORMATS)]
        formats = self.out / "compare-formats"
        yield compare, (*files, "--seed", self.seed, "--output-dir", formats)

    def _ensemble(self) -> Iterator[Step]:
        """A second model, with dropout, and its passes with dropout on."""
        from medr1.cli.infer import infer

        adapter = self.out / "adapter"
        yield self._adapter(adapter, self.data, ("--lora-dropout", 0.1))
        passes = ("--mode", "options", "--dropout-samples", 8)
        output = ("--output-file", self._file("dropout"))
        yield infer, ("--model-path", adapter, *self._on("test"), *passes, *output)

    def _adapter(self, folder: Path, data: Path, more: tuple[object, ...] = ()) -> Step:
        """The training of a LoRA adapter on the data."""
        from medr1.cli.train import train
        from medr1.data.tiny import tiny_config_file

        config = ("--config", tiny_config_file(CONFIGS[self.prompt]), "--model-path", self.base)
        lora = ("--use-peft", "--lora-r", 16, "--lora-alpha", 32, *more)
        rate = LEARNING_RATES[self.prompt]
        schedule = ("--learning-rate", rate, "--max-steps", self.max_steps or 60)
        images = ("--data", data, "--image-root", self.data)
        return train, (
            *(*config, *images, *lora, *schedule),
            *("--seed", self.seed, "--output-dir", folder),
        )

    def _robustness(self) -> Iterator[Step]:
        """Answers to perturbed images and questions."""
        from medr1.cli.robustness import robustness

        perturbations = ("--perturbations", "all", "--limit", 240)
        output = ("--output-dir", self.out / "robustness")
        yield robustness, (*self._model, *self._on("test"), *output, *perturbations)

    def _report(self) -> Iterator[Step]:
        """The reports of the trained model, and of the passes with dropout."""
        from medr1.cli.eval import evaluate

        data = ("--train-data", self.data, "--image-root", self.data, "--seed", self.seed)
        parts = (
            *("--calibrate-on", self._file("validation"), "--target-risk", 0.15),
            *("--ablated", self._file("blank"), "--ablated", self._file("shuffle")),
            *("--robustness", self.out / "robustness" / "robustness.json"),
            *("--ensemble", self._file("base"), "--ensemble", self._file("dropout")),
        )
        edited = EDITS if self.prompt == "think" else ()
        edits = [word for edit in edited for word in ("--edited", self._edited(edit))]
        report = ("--output-dir", self.out / "report")
        yield evaluate, (self._file("test"), *parts, *edits, *data, *report)
        yield evaluate, (self._file("dropout"), *data, "--output-dir", self.out / "report-dropout")

    def _matrix(self) -> Iterator[Step]:
        """Models of three modalities, each on the questions of all."""
        from medr1.cli.infer import infer
        from medr1.cli.matrix import matrix
        from medr1.cli.split import split

        questions, parts = self.out / "questions", self.out / "parts"
        yield split, (self.data / "train.json", "--by", "modality", "--output-dir", questions)
        results = [self._file("base")]
        for modality in MODALITIES:
            adapter = self.out / f"adapter-{modality}"
            yield self._adapter(adapter, questions / f"{modality}_train.json")
            results.append(self._file(modality.lower()))
            output = (*COMPLETIONS, "--output-file", results[-1])
            yield infer, ("--model-path", adapter, *self._on("test"), *output)
        yield split, (*results, "--by", "modality", "--output-dir", parts)
        names = ("--from-names", "{train}/{test}.json", "--base-name", "base")
        images = ("--image-model", self.base, "--image-root", self.data)
        yield matrix, (parts, *names, *images, "--output-dir", self.out / "matrix")

    def _panel(self) -> Iterator[Step]:
        """A review of the trained model's answers by simulated readers, beside the truth."""
        from medr1.cli.review import summary
        from medr1.evaluate.judging import Settings
        from medr1.files import sha256_of
        from medr1.review.candidates import read_candidates
        from medr1.review.simulated_panel import simulated_review

        results, store = self._file("test"), self.out / "simulated.review.db"
        output = self.out / "review"
        _, candidates = read_candidates(results, Settings("default", "image"))
        echo("\nA review by simulated readers: no clinician has seen these answers.")
        truth = simulated_review(store, candidates, sha256_of(results), self.seed)
        yield summary, (store, "--seed", self.seed, "--output-dir", output)
        echo(_panel_text(truth, output / "review.json"))


def _panel_text(truth: SimulatedTruth, path: Path) -> str:
    """What the simulation planted in a review, and what its summary says."""
    import msgspec

    from medr1.documents.review import ReviewSummary
    from medr1.report.terminal.layout import filled
    from medr1.report.terminal.tables import interval_text, percent

    document = msgspec.json.decode(path.read_bytes(), type=ReviewSummary)
    accuracy, kappa = document.corrected_accuracy, document.questions["correct"].fleiss_kappa
    rates = ", ".join(f"{rate:.2f}" for rate in truth.error_rates)
    lines = [
        f"The readers are simulated. They judge wrongly with probabilities of {rates}, and "
        f"{percent(truth.true_accuracy)} of the answers are truly right, by labels drawn at "
        "random.",
        f"Accuracy that such readers find on all items: planted {percent(truth.accuracy)}, by "
        f"the summary {percent(accuracy.value)} ({interval_text(accuracy.ci95)}).",
    ]
    if kappa.value is not None and kappa.ci95:
        low, high = kappa.ci95
        lines.append(
            f"Fleiss' kappa: planted {truth.kappa:.2f}, by the summary {kappa.value:.2f} "
            f"({low:.2f} to {high:.2f})."
        )
    return "\n" + "\n".join(filled(line) for line in lines) + "\n"
