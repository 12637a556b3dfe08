"""Questions as tasks of lmms-eval, VLMEvalKit and inspect_ai, and the process that judges."""

import ast
import base64
import csv
import importlib.util
import io
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import yaml
from dicom_files import write_dicom
from PIL import Image

from medr1.api import convert_data
from medr1.errors import InputError
from medr1.evaluate.reading.results import read_results

OPTIONS = {"A": "CT", "B": "MRI"}
ITEMS = [
    {"id": "q1", "image": "a.png", "question": "Which modality?", "options": OPTIONS,
     "ground_truth": "B", "modality": "MR"},
    {"id": "q2", "image": "a.png", "question": 'Is "it"\tenlarged?', "ground_truth": "no"},
]  # fmt: skip


@pytest.fixture
def questions(tmp_path):
    """A file of two questions about one image."""
    Image.new("RGB", (40, 30), (200, 10, 10)).save(tmp_path / "a.png")
    path = tmp_path / "test.json"
    path.write_text(json.dumps(ITEMS))
    return path


@pytest.fixture
def utils(questions, tmp_path):
    """The functions of a task for lmms-eval, imported from the file that was written."""
    convert_data(source=questions, output=tmp_path / "task", field_names="lmms-eval")
    spec = importlib.util.spec_from_file_location("utils", tmp_path / "task" / "utils.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    if module._scorer.cache_info().currsize:
        module._scorer().stdin.close()
        assert module._scorer().wait() == 0


def docs(tmp_path):
    lines = (tmp_path / "task" / "test.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_lmms_eval_task(utils, tmp_path):
    loader = type("Loader", (yaml.SafeLoader,), {})
    loader.add_constructor("!function", lambda loader, node: getattr(utils, node.value[6:]))
    task = yaml.load((tmp_path / "task" / "medr1_task.yaml").read_text(), loader)
    assert task["task"] == "medr1_task"
    assert task["dataset_kwargs"]["data_files"] == {"test": str(tmp_path / "task" / "test.jsonl")}
    first, _ = docs(tmp_path)
    assert task["doc_to_target"](first) == "B"
    assert "Which modality? A)CT, B)MRI" in task["doc_to_text"](first)
    (image,) = task["doc_to_visual"](first)
    assert (image.size, image.getpixel((0, 0))) == ((40, 30), (200, 10, 10))


def test_lmms_eval_answers_are_judged_as_by_eval(utils, tmp_path):
    first, second = docs(tmp_path)
    for doc, answer, right in [
        (first, "The image is an MRI.", 1.0),
        (first, "<answer> A </answer>", 0.0),
        (second, "No, it is not.", 1.0),
        (second, "Yes", 0.0),
    ]:
        assert utils.process_results(doc, [answer]) == {"medr1_accuracy": right}


def test_lmms_eval_without_medr1(utils, monkeypatch):
    monkeypatch.setenv("MEDR1_PYTHON", "/nowhere/python")
    with pytest.raises(RuntimeError, match="Set MEDR1_PYTHON to the Python that has medr1"):
        utils.score(ITEMS[0], "B")


def test_lmms_eval_with_a_python_that_has_no_medr1(utils, monkeypatch):
    monkeypatch.setenv("MEDR1_PYTHON", shutil.which("true"))
    for _ in range(2):  # the second request cannot be written any more
        with pytest.raises(RuntimeError, match="Check that MEDR1_PYTHON has medr1"):
            utils.score(ITEMS[0], "B")
    utils._scorer.cache_clear()


def test_scorer_names_a_bad_item():
    request = json.dumps({"item": {"question": "Is it?"}, "completion": "no"})
    command = [sys.executable, "-m", "medr1.bridges.scorer"]
    done = subprocess.run(command, input=request + "\n", capture_output=True, text=True)
    assert json.loads(done.stdout) == {"error": "the item has no ground truth."}


def rows(path):
    limit = csv.field_size_limit(1 << 24)  # for all of this process, so it is set back
    try:
        return list(csv.DictReader(io.StringIO(path.read_text()), delimiter="\t"))
    finally:
        csv.field_size_limit(limit)


def test_vlmevalkit_has_options_in_all_questions_or_none(questions, tmp_path):
    written = convert_data(source=questions, output=tmp_path / "t.tsv", field_names="vlmevalkit")
    (row,) = rows(written.output)
    assert (row["index"], row["A"], row["B"], row["answer"]) == ("q1", "CT", "MRI", "B")
    image = Image.open(io.BytesIO(base64.b64decode(row["image"])))
    assert (image.size, image.getpixel((0, 0))) == ((40, 30), (200, 10, 10))
    (error,) = written.errors
    assert "has no options" in error.message


def test_vlmevalkit_open_questions(questions, tmp_path):
    questions.write_text(json.dumps(ITEMS[1:]))
    written = convert_data(source=questions, output=tmp_path / "t.tsv", field_names="vlmevalkit")
    (row,) = rows(written.output)
    assert (row["question"], row["answer"]) == ('Is "it"\tenlarged?', "no")


def test_vlmevalkit_several_images(questions, tmp_path):
    """VLMEvalKit needs a name for each of several images."""
    Image.new("L", (20, 20), 7).save(tmp_path / "b.png")
    several = {"id": "q3", "images": ["a.png", "b.png"]}
    items = [ITEMS[1], {**ITEMS[1], "image": None, **several}]
    questions.write_text(json.dumps(items))
    written = convert_data(source=questions, output=tmp_path / "t.tsv", field_names="vlmevalkit")
    one, two = rows(written.output)
    images, names = ast.literal_eval(two["image"]), ast.literal_eval(two["image_path"])
    sizes = [Image.open(io.BytesIO(base64.b64decode(image))).size for image in images]
    assert sizes == [(40, 30), (20, 20)]
    assert names[0] == one["image_path"] != names[1] and one["image"] == images[0]


def test_vlmevalkit_reads_each_text(questions, tmp_path):
    """VLMEvalKit leaves out an option that pandas takes for an empty cell."""
    pandas = pytest.importorskip("pandas")
    missing = sorted(pytest.importorskip("pandas._libs.parsers").STR_NA_VALUES - {""})
    items = [{**ITEMS[0], "id": str(n), "options": {"A": text, "B": "CT"}}
             for n, text in enumerate(missing)]  # fmt: skip
    questions.write_text(json.dumps(items))
    written = convert_data(source=questions, output=tmp_path / "t.tsv", field_names="vlmevalkit")
    table = pandas.read_csv(written.output, sep="\t")
    assert [text.strip() for text in table["A"]] == missing


@pytest.mark.parametrize("name", ["2024", "yes", "\N{BRAIN}"])
def test_lmms_eval_names_are_texts(questions, tmp_path, name):
    output = tmp_path / name
    convert_data(source=questions, output=output, field_names="lmms-eval")
    (file,) = output.glob("*.yaml")
    loader = type("Loader", (yaml.SafeLoader,), {})
    loader.add_constructor("!function", lambda loader, node: node.value)
    task = yaml.load(file.read_text(encoding="utf-8"), loader)
    assert task["task"] == file.stem
    assert task["dataset_kwargs"]["data_files"] == {"test": str(output / "test.jsonl")}


def test_inspect_samples(questions, tmp_path):
    written = convert_data(
        source=questions, output=tmp_path / "t.jsonl", field_names="inspect", prompt="think"
    )
    first = json.loads(written.output.read_text().splitlines()[0])
    image, text = first["input"][0]["content"]
    assert image == {"type": "image", "image": str(tmp_path / "a.png")}
    assert text["text"].startswith("Which modality? A)CT, B)MRI Think")
    assert (first["id"], first["target"], first["metadata"]["modality"]) == ("q1", "B", "MR")


def test_scan_is_embedded_as_png(questions, tmp_path):
    write_dicom(tmp_path / "scan.dcm", np.arange(1024, dtype=np.uint16).reshape(32, 32))
    questions.write_text(json.dumps([{**ITEMS[0], "image": "scan.dcm"}]))
    written = convert_data(source=questions, output=tmp_path / "t.jsonl", field_names="inspect")
    sample = json.loads(written.output.read_text())
    assert sample["input"][0]["content"][0]["image"].startswith("data:image/png;base64,")


@pytest.mark.parametrize(
    ("output", "options", "message"),
    [
        ("t.json", {"field_names": "lmms-eval"}, "writes a folder"),
        ("t.json", {"field_names": "vlmevalkit"}, "ends in .tsv"),
        ("t.json", {"prompt": "think"}, "--prompt is for --to lmms-eval or inspect"),
    ],
)
def test_wrong_outputs(questions, tmp_path, output, options, message):
    with pytest.raises(InputError, match=message):
        convert_data(source=questions, output=tmp_path / output, **options)


def test_existing_output(questions, tmp_path):
    convert = {"source": questions, "output": tmp_path / "t.jsonl", "field_names": "inspect"}
    convert_data(**convert)
    with pytest.raises(InputError, match="exists"):
        convert_data(**convert)
    convert_data(**convert, overwrite=True)
    assert (tmp_path / "t.jsonl.bak").exists()


def test_unreadable_images_are_named(questions, tmp_path):
    questions.write_text(json.dumps([ITEMS[0], {**ITEMS[1], "image": "no.png"}]))
    written = convert_data(source=questions, output=tmp_path / "t.jsonl", field_names="inspect")
    assert written.n == 1
    assert "item 2" in written.errors[0].message


def test_log_of_a_written_sample_is_read(questions, tmp_path):
    """The metadata of a sample brings back what the prompt does not hold."""
    written = convert_data(source=questions, output=tmp_path / "t.jsonl", field_names="inspect")
    samples = [json.loads(line) for line in written.output.read_text().splitlines()]
    for sample in samples:
        sample["output"] = {"choices": [{"message": {"content": "B"}, "stop_reason": "stop"}]}
    log = {"version": 2, "status": "success", "eval": {}, "samples": samples}
    (tmp_path / "log.json").write_text(json.dumps(log))
    first, second = read_results(tmp_path / "log.json").predictions
    assert (first.sample.question, dict(first.sample.options)) == ("Which modality?", OPTIONS)
    assert (first.sample.images, second.sample.answer_type) == (("a.png",), "yes_no")
