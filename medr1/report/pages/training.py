"""training.html: one training run as a page that opens offline and has no script.

It is made from what a run of any method writes: metrics.jsonl and, if they exist, alarms.jsonl,
completions.jsonl and training.json (the plan). All text from these files is escaped by the
template.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from medr1.errors import Medr1Error
from medr1.files import parse_json, read_text, write_atomic
from medr1.prompts import PROMPTS, problem_text
from medr1.report.charts.training_curves import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    WIDTH,
    curves,
    number_text,
)
from medr1.report.pages.page import asset, csp_hash, template
from medr1.report.pages.sanitize import count_text, one_line, short_path, visible
from medr1.report.pages.thumbnails import data_uri, sample_thumbnails
from medr1.report.terminal.tables import percent

if TYPE_CHECKING:
    from medr1.data.readers import Questions
    from medr1.records import Sample

MAX_ALARMS = 40
MAX_COMPLETIONS = 8
"""The most completions that are shown of the first step with logged ones, and of the last."""

_PLAN = {
    "model": "checkpoint",
    "method": "method",
    "device": "device",
    "dtype": "precision of computations",
    "weights_dtype": "precision of the weights",
    "prompt": "prompt",
    "rewards": "rewards",
    "freeze_vision": "vision tower frozen",
    "samples": "training questions",
    "steps": "steps",
    "completions_per_step": "completions per step",
    "prompts_per_step": "prompts per step",
    "parameters": "parameters",
    "trained_parameters": "trained parameters",
    "sharding": "sharding",
    "processes": "processes",
    "data_sha256": "data SHA-256",
    "trainer_fields": "settings of the trainer",
    "model_fields": "settings of the model",
    "versions": "versions",
}
"""Key of training.json -> its name on the page, in the page's order."""

Document = Mapping[str, Any]
"""A line of one of the JSONL files, or the plan."""


def write_training_page(
    folder: Path,
    *,
    stopped_by: BaseException | None = None,
    questions: Questions | None = None,
) -> Path | None:
    """Write training.html into a run's folder and return its path; None if nothing was logged.

    Args:
        folder: The output folder of the run.
        stopped_by: What ended the run early. The page says so at the top.
        questions: The training questions, for the images of the completions.

    Raises:
        InputError: If a file of the run cannot be read.
        OutputError: If the page cannot be written.
    """
    metrics = read_lines(folder / "metrics.jsonl")
    if not any("step" in entry for entry in metrics):
        return None
    plan = folder / "training.json"
    completions = read_lines(folder / "completions.jsonl")
    samples: dict[str, Sample] = {}
    thumbnails: Mapping[str, Sequence[bytes | str]] = {}
    burned_in = None
    if questions is not None:
        ids = {entry.get("id") for _, part in _first_and_last(completions) for entry in part}
        samples = {sample.id: sample for sample in questions.samples if sample.id in ids}
        thumbnails, burned_in = sample_thumbnails(samples.values(), questions.image_root.path)
    page = training_html(
        metrics,
        plan=parse_json(read_text(plan), str(plan)) if plan.is_file() else {},
        alarms=read_lines(folder / "alarms.jsonl"),
        completions=completions,
        stopped_by=_reason(stopped_by) if stopped_by is not None else None,
        samples=samples,
        thumbnails=thumbnails,
        burned_in=burned_in,
    )
    path = folder / "training.html"
    write_atomic(path, page)
    return path


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSONL file; an empty list if there is no such file.

    A last line without a line end is left out: the run was killed while it wrote the line.
    """
    if not path.is_file():
        return []
    complete_lines = read_text(path).rpartition("\n")[0]
    lines = enumerate(complete_lines.splitlines(), 1)
    return [parse_json(text, str(path), first_line=n) for n, text in lines if text.strip()]


def training_html(
    metrics: Sequence[Document],
    *,
    plan: Document,
    alarms: Sequence[Document] = (),
    completions: Sequence[Document] = (),
    stopped_by: str | None = None,
    samples: Mapping[str, Sample] = MappingProxyType({}),
    thumbnails: Mapping[str, Sequence[bytes | str]] = MappingProxyType({}),
    burned_in: str | None = None,
) -> str:
    """The page of a run as HTML.

    Args:
        metrics: The lines of metrics.jsonl.
        plan: The content of training.json; it may be empty.
        alarms: The lines of alarms.jsonl.
        completions: The lines of completions.jsonl.
        stopped_by: In words, what ended the run early.
        samples: Training questions by id, to tell the question from the rest of its prompt.
        thumbnails: Images of training questions by id (`thumbnails.sample_thumbnails`).
        burned_in: A warning that there may be text, such as a name, in those images.
    """
    from medr1 import __version__

    style = asset("report.css")
    history = by_step(metrics)
    charts = curves(history)
    steps = plan.get("steps")
    return template("training.html").render(
        title=_title(plan),
        style=style,
        style_hash=csp_hash(style),
        headline=_headline(history),
        done=count_text(history[-1]["step"]),
        planned=count_text(steps) if isinstance(steps, int) else None,
        unfinished=isinstance(steps, int) and history[-1]["step"] < steps,
        stopped_by=visible(stopped_by[:1].upper() + stopped_by[1:], 1000) if stopped_by else None,
        alarms=[(count_text(a.get("step")), visible(a.get("sentence"), 1000)) for a in alarms][
            :MAX_ALARMS
        ],
        likely_cause=_likely_cause(alarms),
        curves=[chart for chart in charts if not chart["is_constant"]],
        constants=[chart for chart in charts if chart["is_constant"]],
        completions=[
            {
                "step": count_text(step),
                "rows": [
                    _completion(entry, samples, thumbnails, plan.get("prompt")) for entry in part
                ],
            }
            for step, part in _first_and_last(completions)
        ],
        burned_in=burned_in,
        plan=_plan(plan),
        first_prompt=visible((plan.get("prompts") or {}).get("first"), 4000),
        version=__version__,
        chart={"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT, "bottom": BOTTOM},
    )


def by_step(metrics: Sequence[Document]) -> list[dict[str, Any]]:
    """One entry for each step, in order.

    A step has several lines if it was validated, or if the run resumed from a checkpoint before it.
    Later values replace earlier ones.
    """
    entries: dict[int, dict[str, Any]] = {}
    for entry in metrics:
        if isinstance(entry.get("step"), int):
            entries.setdefault(entry["step"], {}).update(entry)
    return [entries[step] for step in sorted(entries)]


def _likely_cause(alarms: Sequence[Document]) -> dict[str, Any] | None:
    """The cause that most alarms name first, and how many of them do; None without alarms."""
    causes = Counter(visible(a["cause"], 300) for a in alarms if isinstance(a.get("cause"), str))
    if not causes:
        return None
    cause, n_alarms = causes.most_common(1)[0]
    return {"cause": cause, "n": count_text(n_alarms), "of": count_text(len(alarms))}


def _reason(error: BaseException) -> str:
    """What ended a run, in words: the message of an error, with its type if it is not medr1's."""
    message = " ".join(str(error).split())
    if isinstance(error, Medr1Error):
        return message
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return "It was interrupted, by a signal or from the keyboard."
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _title(plan: Document) -> str:
    model = short_path(plan.get("model")) or "a training run"
    prompt = one_line(plan.get("prompt"), 40)
    return f"{model}, prompt {prompt}" if prompt else model


def _headline(history: Sequence[Document]) -> dict[str, str]:
    """The main number of the page: the last validation accuracy, else the last reward or loss."""
    for entry in reversed(history):
        value, low = entry.get("eval_accuracy"), entry.get("eval_accuracy_low")
        if isinstance(value, int | float):
            caption = f"validation accuracy at step {entry['step']:,}"
            if isinstance(low, int | float):
                interval = f"{percent(low)} to {percent(entry['eval_accuracy_high'])}"
                caption += f", 95 % CI {interval}"
            return {"value": percent(value), "under": caption}
    for key, name in (("reward", "reward"), ("loss", "loss")):
        for entry in reversed(history):
            if isinstance(entry.get(key), int | float):
                step = f"{entry['step']:,}"
                return {"value": number_text(entry[key]), "under": f"{name} at step {step}"}
    return {"value": "-", "under": "nothing was measured"}


def _first_and_last(completions: Sequence[Document]) -> list[tuple[int, list[Document]]]:
    """(step, completions) of the first and of the last step at which some were logged."""
    steps = sorted({c["step"] for c in completions if isinstance(c.get("step"), int)})
    return [
        (step, [c for c in completions if c.get("step") == step][-MAX_COMPLETIONS:])
        for step in dict.fromkeys((*steps[:1], *steps[-1:]))
    ]


def _completion(
    entry: Document,
    samples: Mapping[str, Sample],
    thumbnails: Mapping[str, Sequence[bytes | str]],
    prompt: object,
) -> dict[str, Any]:
    """One completion as the template needs it; `prompt` is the name of the prompt template."""
    rewards = entry.get("rewards") or {}
    text, name = str(entry.get("question") or ""), str(entry.get("id"))
    question, instructions = _question_and_instructions(text, samples.get(name), prompt)
    advantage = entry.get("advantage")
    return {
        "id": one_line(entry.get("id")),
        "images": [
            {"source": data_uri(image), "note": ""}
            if isinstance(image, bytes)
            else {"source": None, "note": one_line(image, 500)}
            for image in thumbnails.get(name, ())
        ],
        "question": visible(question, 2000),
        "instructions": visible(instructions, 2000),
        "ground_truth": visible(entry.get("ground_truth", entry.get("gold")), 300),
        "completion": visible(entry.get("completion"), 4000),
        "rewards": [
            (one_line(name, 60), _number_or_dash(value)) for name, value in rewards.items()
        ],
        "advantage": _number_or_dash(advantage),
        "meaning": _advantage_meaning(advantage) if isinstance(advantage, int | float) else "",
        "is_correct": rewards.get("accuracy") == 1,
    }


def _question_and_instructions(text: str, sample: Sample | None, prompt: object) -> tuple[str, str]:
    """The question with options and earlier turns, and the rest of a prompt: that of each question.

    They are told apart by the training question, or by the name of the prompt template. If neither
    fits the text, all of it is the question.
    """
    if sample is not None and (problem := problem_text(sample)) in text:
        before, _, after = text.partition(problem)
        conversation = replace(sample, question=problem).conversation
        return conversation, " … ".join(filter(None, (before.strip(), after.strip())))
    if isinstance(prompt, str) and prompt in PROMPTS:
        pattern = re.escape(PROMPTS[prompt]).replace(re.escape("{answer}"), ".*?")
        pattern = pattern.replace(re.escape("{problem}"), "(?P<problem>.*)")
        if match := re.fullmatch(pattern, text, re.DOTALL):
            start, end = match.span("problem")
            parts = (text[:start].strip(), text[end:].strip())
            return match["problem"], " … ".join(filter(None, parts))
    return text, ""


def _advantage_meaning(advantage: float) -> str:
    """What an advantage says about its completion, and what training does with it."""
    if advantage == 0:
        return "the same reward as its group on average; training leaves its probability as it is"
    if advantage > 0:
        return "a higher reward than its group on average; training makes it more probable"
    return "a lower reward than its group on average; training makes it less probable"


def _number_or_dash(value: Any) -> str:
    return number_text(value) if isinstance(value, int | float) else "-"


def _plan(plan: Document) -> list[tuple[str, str]]:
    """Name and value of each setting of the run."""
    settings = []
    for key, name in _PLAN.items():
        value = plan.get(key)
        if value in (None, "", {}, []):
            continue
        if key == "model":
            value = short_path(value)
        elif isinstance(value, bool):  # before int, since True is an int in Python
            value = "yes" if value else "no"
        elif isinstance(value, int):
            value = count_text(value)
        elif isinstance(value, Mapping):
            value = ", ".join(f"{field} {_joined_list(inner)}" for field, inner in value.items())
        settings.append((name, visible(_joined_list(value), 1500)))
    return settings


def _joined_list(value: Any) -> Any:
    """A list as one text with commas; any other value as it is."""
    return ", ".join(map(str, value)) if isinstance(value, list) else value
