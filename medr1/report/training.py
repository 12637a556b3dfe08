"""training.html: one training run as a page that opens offline and runs nothing.

It reads what the run wrote, whatever the method: metrics.jsonl, and where they are there
alarms.jsonl, completions.jsonl and training.json. Every text in it was written by someone else. It
enters the template as text and is escaped there; the page has no script at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medr1.errors import Medr1Error
from medr1.files import parse_json, read_text, write_atomic
from medr1.report.curves import BOTTOM, HEIGHT, LEFT, RIGHT, WIDTH, curves, number
from medr1.report.page import asset, csp_hash, template
from medr1.report.sanitize import count, line, short_path, visible
from medr1.report.tables import percent

MAX_ALARMS = 40
MAX_COMPLETIONS = 8
"""Shown of the first step that was looked at, and of the last."""

_PLAN = {
    "model": "checkpoint",
    "method": "method",
    "device": "device",
    "dtype": "computed in",
    "weights_dtype": "weights kept in",
    "prompt": "prompt",
    "rewards": "rewards",
    "freeze_vision": "vision tower frozen",
    "samples": "training questions",
    "steps": "steps",
    "completions_per_step": "completions a step",
    "prompts_per_step": "prompts a step",
    "parameters": "parameters",
    "trained_parameters": "of these trained",
    "sharding": "sharding",
    "processes": "processes",
    "data_sha256": "data SHA-256",
    "trainer_fields": "settings of the trainer",
    "model_fields": "settings of the model",
    "versions": "versions",
}

Document = Mapping[str, Any]


def write_training_page(folder: Path, *, stopped_by: BaseException | None = None) -> Path | None:
    """Write training.html into a run's folder and return its path; None where nothing was logged.

    `stopped_by` is what ended the run early, and stands at the head of the page.
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
    """The objects of a JSONL file, without a last line that was cut off; none without the file."""
    if not path.is_file():
        return []
    whole = read_text(path).rpartition("\n")[0]
    lines = enumerate(whole.splitlines(), 1)
    return [parse_json(text, str(path), first_line=at) for at, text in lines if text.strip()]


def training_html(
    metrics: Sequence[Document],
    *,
    plan: Document,
    alarms: Sequence[Document] = (),
    completions: Sequence[Document] = (),
    stopped_by: str | None = None,
) -> str:
    """The page of a run, from the documents that it wrote."""
    from medr1 import __version__

    style = asset("report.css")
    history = by_step(metrics)
    steps = plan.get("steps")
    return template("training.html").render(
        title=_title(plan),
        style=style,
        style_hash=csp_hash(style),
        headline=_headline(history),
        done=count(history[-1]["step"]),
        planned=count(steps) if isinstance(steps, int) else None,
        unfinished=isinstance(steps, int) and history[-1]["step"] < steps,
        stopped_by=visible(stopped_by[:1].upper() + stopped_by[1:], 1000) if stopped_by else None,
        alarms=[(count(a.get("step")), visible(a.get("sentence"), 1000)) for a in alarms][
            :MAX_ALARMS
        ],
        likeliest=_likeliest(alarms),
        curves=curves(history),
        looks=_looks(completions),
        plan=_plan(plan),
        first_prompt=visible((plan.get("prompts") or {}).get("first"), 4000),
        version=__version__,
        chart={"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT, "bottom": BOTTOM},
    )


def by_step(metrics: Sequence[Document]) -> list[dict[str, Any]]:
    """One entry a step, in order: a run that went on from a checkpoint says some steps again."""
    found: dict[int, dict[str, Any]] = {}
    for entry in metrics:
        if isinstance(entry.get("step"), int):
            found.setdefault(entry["step"], {}).update(entry)
    return [found[step] for step in sorted(found)]


def _likeliest(alarms: Sequence[Document]) -> dict[str, Any] | None:
    """The cause that most alarms name first, and how many of them do."""
    causes = Counter(visible(a["cause"], 300) for a in alarms if isinstance(a.get("cause"), str))
    if not causes:
        return None
    cause, times = causes.most_common(1)[0]
    return {"cause": cause, "times": count(times), "of": count(len(alarms))}


def _reason(error: BaseException) -> str:
    """The sentence of one of medr1's errors; of any other the kind as well."""
    said = " ".join(str(error).split())
    if isinstance(error, Medr1Error):
        return said
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return "A signal, or somebody at the keyboard."
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _title(plan: Document) -> str:
    model = short_path(plan.get("model")) or "a training run"
    prompt = line(plan.get("prompt"), 40)
    return f"{model}, prompt {prompt}" if prompt else model


def _headline(history: Sequence[Document]) -> dict[str, str]:
    """The number that a reader asks for first: the last validation accuracy, or what there is."""
    for entry in reversed(history):
        value, low = entry.get("eval_accuracy"), entry.get("eval_accuracy_low")
        if isinstance(value, int | float):
            under = f"validation accuracy at step {entry['step']:,}"
            if isinstance(low, int | float):
                around = f"{percent(low)} to {percent(entry['eval_accuracy_high'])}"
                under += f", 95 % interval {around}"
            return {"value": percent(value), "under": under}
    for key, name in (("reward", "reward"), ("loss", "loss")):
        for entry in reversed(history):
            if isinstance(entry.get(key), int | float):
                step = f"{entry['step']:,}"
                return {"value": number(entry[key]), "under": f"{name} at step {step}"}
    return {"value": "-", "under": "nothing was measured"}


def _looks(completions: Sequence[Document]) -> list[dict[str, Any]]:
    """The completions of the first and of the last step that was looked at."""
    steps = sorted({c["step"] for c in completions if isinstance(c.get("step"), int)})
    found = []
    for step in dict.fromkeys((*steps[:1], *steps[-1:])):
        rows = [_completion(c) for c in completions if c.get("step") == step]
        found.append({"step": count(step), "rows": rows[-MAX_COMPLETIONS:]})
    return found


def _completion(entry: Document) -> dict[str, Any]:
    rewards = entry.get("rewards") or {}
    return {
        "id": line(entry.get("id")),
        "question": visible(entry.get("question"), 2000),
        "gold": visible(entry.get("gold"), 300),
        "completion": visible(entry.get("completion"), 4000),
        "rewards": [(line(name, 60), _said(value)) for name, value in rewards.items()],
        "advantage": _said(entry.get("advantage")),
        "right": rewards.get("accuracy") == 1,
    }


def _said(value: Any) -> str:
    return number(value) if isinstance(value, int | float) else "-"


def _plan(plan: Document) -> list[tuple[str, str]]:
    """What the run was asked for, a name and a value each."""
    found = []
    for key, name in _PLAN.items():
        value = plan.get(key)
        if value in (None, "", {}, []):
            continue
        if key == "model":
            value = short_path(value)
        elif isinstance(value, bool):
            value = "yes" if value else "no"
        elif isinstance(value, int):
            value = count(value)
        elif isinstance(value, Mapping):
            value = ", ".join(f"{name} {_listed(inner)}" for name, inner in value.items())
        found.append((name, visible(_listed(value), 1500)))
    return found


def _listed(value: Any) -> Any:
    return ", ".join(map(str, value)) if isinstance(value, list) else value
