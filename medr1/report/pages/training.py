"""training.html: one training run as a page that opens offline and has no script.

It is made from what a run of any method writes: metrics.jsonl and, if they exist, alarms.jsonl,
completions.jsonl and training.json (the plan). All text from these files is escaped by the
template.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medr1.errors import Medr1Error
from medr1.files import parse_json, read_text, write_atomic
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
from medr1.report.terminal.tables import percent

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


def write_training_page(folder: Path, *, stopped_by: BaseException | None = None) -> Path | None:
    """Write training.html into a run's folder and return its path; None if nothing was logged.

    Args:
        folder: The output folder of the run.
        stopped_by: What ended the run early. The page says so at the top.

    Raises:
        InputError: If a file of the run cannot be read.
        OutputError: If the page cannot be written.
    """
    metrics = read_lines(folder / "metrics.jsonl")
    if not any("step" in entry for entry in metrics):
        return None
    plan = folder / "training.json"
    page = training_html(
        metrics,
        plan=parse_json(read_text(plan), str(plan)) if plan.is_file() else {},
        alarms=read_lines(folder / "alarms.jsonl"),
        completions=read_lines(folder / "completions.jsonl"),
        stopped_by=_reason(stopped_by) if stopped_by is not None else None,
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
) -> str:
    """The page of a run as HTML.

    Args:
        metrics: The lines of metrics.jsonl.
        plan: The content of training.json; it may be empty.
        alarms: The lines of alarms.jsonl.
        completions: The lines of completions.jsonl.
        stopped_by: In words, what ended the run early.
    """
    from medr1 import __version__

    style = asset("report.css")
    history = by_step(metrics)
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
        curves=curves(history),
        completions=_logged_completions(completions),
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


def _logged_completions(completions: Sequence[Document]) -> list[dict[str, Any]]:
    """The completions of the first and of the last step at which some were logged."""
    steps = sorted({c["step"] for c in completions if isinstance(c.get("step"), int)})
    first_and_last = dict.fromkeys((*steps[:1], *steps[-1:]))
    parts = []
    for step in first_and_last:
        rows = [_completion(c) for c in completions if c.get("step") == step]
        parts.append({"step": count_text(step), "rows": rows[-MAX_COMPLETIONS:]})
    return parts


def _completion(entry: Document) -> dict[str, Any]:
    rewards = entry.get("rewards") or {}
    return {
        "id": one_line(entry.get("id")),
        "question": visible(entry.get("question"), 2000),
        "ground_truth": visible(entry.get("ground_truth", entry.get("gold")), 300),
        "completion": visible(entry.get("completion"), 4000),
        "rewards": [
            (one_line(name, 60), _number_or_dash(value)) for name, value in rewards.items()
        ],
        "advantage": _number_or_dash(entry.get("advantage")),
        "is_correct": rewards.get("accuracy") == 1,
    }


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
