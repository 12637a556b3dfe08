"""Writes questions as a task of another evaluation tool.

- lmms-eval: a folder with the task as YAML, its functions and test.jsonl, for `--include_path`.
- VLMEvalKit: a table (.tsv) with the images in it, for the folder that LMUData names.
- inspect_ai: a JSONL file of samples for its `json_dataset`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path

from medr1.data.images import load_image
from medr1.data.readers import Questions
from medr1.data.roots import resolve_image
from medr1.errors import InputError, ItemError
from medr1.files import needs_overwrite, set_aside, write_atomic
from medr1.infer.server.messages import data_url
from medr1.prompts import user_text
from medr1.records import Failure, Sample

TOOLS = ("lmms-eval", "vlmevalkit", "inspect")
"""The tools for which tasks are written."""
_PLAIN = (".png", ".jpg", ".jpeg")
"""Endings of files that every tool opens; other images are written as PNG into the task."""
_UTILS = "lmms_eval_utils.py"
_PYTHON_LINE = 'PYTHON = "python"\n'
_ONE_KIND = "A data set of VLMEvalKit has options in all questions or in none."
_MISSING = (
    *("#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
    *("<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
)
"""Texts that pandas, with which VLMEvalKit reads tables, takes for an empty cell."""
_MAX_TOKENS = 1024
"""Most tokens of an answer in the task for lmms-eval."""


def write_task(
    questions: Questions, output: Path, tool: str, prompt: str, *, overwrite: bool
) -> tuple[int, list[Failure]]:
    """Write the questions as a task of a tool.

    Args:
        questions: The questions. Those without ground truth or readable image are left out.
        output: The folder for lmms-eval, the .tsv file for VLMEvalKit, the .jsonl for inspect.
        tool: One of TOOLS.
        prompt: Prompt template, as for `medr1 infer`. VLMEvalKit has prompts of its own.
        overwrite: Whether an existing output is replaced, and kept as .bak.

    Returns:
        The number of questions written, and why the others were left out.

    Raises:
        InputError: The output has another ending than the tool needs, exists, or would be empty.
        OutputError: The output cannot be written.
    """
    ending, rows_of, write = _WRITERS[tool]
    if output.suffix != ending:
        what = f"a file that ends in {ending}" if ending else "a folder, without an extension"
        raise InputError(f"{output}: --to {tool} writes {what}.")
    if output.exists() and not overwrite:
        raise needs_overwrite(output, "exists")
    rows: list[dict[str, object]] = []
    failures = dict(questions.failures)
    needs_options = tool == "vlmevalkit" and any(sample.options for sample in questions.samples)
    for index, sample in enumerate(questions.samples):
        if index in failures:
            continue
        try:
            if needs_options and not sample.options:
                raise ItemError("not_carried", "has no options, as others have. " + _ONE_KIND)
            if sample.history:
                raise ItemError("not_carried", "has earlier turns, which a task cannot store.")
            rows.append(rows_of(questions, sample, prompt))
        except ItemError as error:
            message = f"{questions.name}, item {index + 1}: {error}"
            failures[index] = Failure(error.code, message)
    if not rows:
        first = f" The first: {failures[min(failures)].message}" if failures else ""
        raise InputError(f"no item of {questions.name} can be written to {output}.{first}")
    if output.exists():
        set_aside(output)
    write(rows, output)
    return len(rows), [failures[index] for index in sorted(failures)]


def _require_ground_truth(sample: Sample) -> str:
    if sample.ground_truth is None:
        raise ItemError("bad_ground_truth", "has no ground truth; add the key 'ground_truth'.")
    return sample.ground_truth


def _image_names(questions: Questions, sample: Sample) -> list[str]:
    """Each image as the absolute path of a file, or as PNG in a data URL."""
    return [_image_name(questions, name) for name in sample.images]


def _image_name(questions: Questions, name: str) -> str:
    location = resolve_image(name, questions.image_root)
    loaded = load_image(location)
    if location.path.suffix.lower() in _PLAIN and not loaded.notes:
        return str(location.path.absolute())
    return data_url(loaded.image)


def _item(sample: Sample) -> dict[str, object]:
    """The question as medr1 reads it back, without its images."""
    fields = ("question", "ground_truth", "answer_type", "question_type", "modality", "dataset")
    item: dict[str, object] = {"id": sample.id, "options": dict(sample.options)}
    item |= {name: getattr(sample, name) for name in fields}
    return {key: value for key, value in item.items() if value not in (None, {})}


def _lmms_eval_row(questions: Questions, sample: Sample, prompt: str) -> dict[str, object]:
    return {
        "id": sample.id,
        "images": _image_names(questions, sample),
        "question": sample.question,
        "prompt": user_text(sample, prompt),
        "ground_truth": _require_ground_truth(sample),
        "item": json.dumps(_item(sample), ensure_ascii=False),
    }


def _write_lmms_eval(rows: Sequence[dict[str, object]], output: Path) -> None:
    output.mkdir(parents=True)
    _write_jsonl(rows, output / "test.jsonl")
    utils = files("medr1.bridges").joinpath(_UTILS).read_text(encoding="utf-8")
    write_atomic(output / "utils.py", utils.replace(_PYTHON_LINE, f"PYTHON = {sys.executable!r}\n"))
    # not the name of the folder: lmms-eval reads a task with the name of a folder from there, as
    # one for models without chat templates
    task = "medr1_" + re.sub(r"\W+", "_", output.name)
    path = (output / "test.jsonl").absolute()
    functions = ("doc_to_visual", "doc_to_text", "doc_to_target", "doc_to_messages")
    lines = [
        f"task: {json.dumps(task)}",  # in quotes: 2024 and yes are no texts in YAML
        "dataset_path: json",
        "dataset_kwargs:",
        "  data_files:",
        f"    test: {json.dumps(str(path), ensure_ascii=False)}",
        "test_split: test",
        "output_type: generate_until",
        *(f"{name}: !function utils.{name}" for name in functions),
        "process_results: !function utils.process_results",
        "generation_kwargs:",
        f"  max_new_tokens: {_MAX_TOKENS}",
        "  temperature: 0",
        "  do_sample: false",
        "  until: []",
        "metric_list:",
        "  - metric: medr1_accuracy",
        "    aggregation: mean",
        "    higher_is_better: true",
        "metadata:",
        "  version: 1.0",
    ]
    write_atomic(output / f"{task}.yaml", "\n".join(lines) + "\n")


def _vlmevalkit_row(questions: Questions, sample: Sample, prompt: str) -> dict[str, object]:
    images = [_base64_of(questions, name) for name in sample.images]
    # VLMEvalKit writes the images to files of these names, and keeps a file that is there
    names = [f"{hashlib.sha256(image.encode()).hexdigest()[:16]}.png" for image in images]
    answer = _require_ground_truth(sample)
    row: dict[str, object] = {
        "index": sample.id,
        "image": images[0] if len(images) == 1 else str(images),
        "image_path": names[0] if len(names) == 1 else str(names),
        "question": sample.question,
        **sample.options,
        "answer": answer,
        "category": sample.question_type or sample.answer_type,
    }
    return row


def _base64_of(questions: Questions, name: str) -> str:
    image = _image_name(questions, name)
    if image.startswith("data:"):
        return image.partition(",")[2]
    return base64.b64encode(Path(image).read_bytes()).decode()


def _write_vlmevalkit(rows: Sequence[dict[str, object]], output: Path) -> None:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    letters = sorted(key for key in columns if len(key) == 1)
    # VLMEvalKit needs names of images only where a question has several of them
    has_several = any(str(row["image_path"]).startswith("[") for row in rows)
    images = ["image", "image_path"] if has_several else ["image"]
    columns = ["index", *images, "question", *letters, "answer", "category"]
    write_atomic(output, _tsv_lines(columns, rows))


def _tsv_lines(columns: Sequence[str], rows: Sequence[dict[str, object]]) -> Iterator[str]:
    """The lines of a table as pandas reads it.

    A cell with a tab, quote or break has quotes, and one that would be empty for pandas, such as
    the option "None", ends with a space.
    """
    yield "\t".join(columns) + "\n"
    for row in rows:
        yield "\t".join(_tsv_cell(str(row.get(column, ""))) for column in columns) + "\n"


def _tsv_cell(text: str) -> str:
    if text in _MISSING:
        return f"{text} "
    if not re.search(r'["\t\r\n]', text):
        return text
    return '"' + text.replace('"', '""') + '"'


def inspect_row(questions: Questions, sample: Sample, prompt: str) -> dict[str, object]:
    """A question as a sample of inspect_ai.

    Args:
        questions: The questions that it is one of.
        sample: The question.
        prompt: Prompt template, as for `medr1 infer`.

    Raises:
        ItemError: If it has no ground truth, or an image cannot be read.
    """
    images = [{"type": "image", "image": name} for name in _image_names(questions, sample)]
    text = {"type": "text", "text": user_text(sample, prompt)}
    return {
        "id": sample.id,
        "input": [{"role": "user", "content": [*images, text]}],
        "target": _require_ground_truth(sample),
        "metadata": _item(sample) | {"image": list(sample.images)},
    }


def _write_jsonl(rows: Sequence[dict[str, object]], output: Path) -> None:
    write_atomic(output, (json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


_RowWriter = Callable[[Questions, Sample, str], dict[str, object]]
_WRITERS: dict[str, tuple[str, _RowWriter, Callable[[Sequence[dict[str, object]], Path], None]]] = {
    "lmms-eval": ("", _lmms_eval_row, _write_lmms_eval),
    "vlmevalkit": (".tsv", _vlmevalkit_row, _write_vlmevalkit),
    "inspect": (".jsonl", inspect_row, _write_jsonl),
}
"""Tool -> (ending of its file, what makes a row of a question, what writes the rows)."""
