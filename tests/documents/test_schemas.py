"""The documents that commands write have the form that `medr1 schema` prints."""

import json

import jsonschema
import msgspec
import pytest
from in_process import medr1

from medr1.data.tiny import tiny_config_file, tiny_vl_folder, tiny_vqa_folder
from medr1.documents.schemas import DOCUMENTS, document_type, json_schema
from medr1.files import to_json
from medr1.workflows.review import start_review


def command(*words):
    done = medr1(*map(str, words))
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with one document of each kind, made by its command."""
    folder = tmp_path_factory.mktemp("documents")
    data = tiny_vqa_folder()
    model = ("--model-path", tiny_vl_folder(), "--device", "cpu", "--max-new-tokens", 4)
    for name, split, more in (
        ("test", "test", ("--num-samples", 2)),
        ("blank", "test", ("--ablate-image", "blank")),
        ("other", "test", ("--prompt", "think")),
        ("held-out", "validation", ()),
    ):
        batch = ("--batch-file", data / f"{split}.json", "--batch-size", 30, "--limit", 60)
        file = folder / f"{name}.json"
        command("infer", *model, *batch, "--mode", "both", "--output-file", file, *more)
    batch = ("--batch-file", data / "test.json", "--batch-size", 30, "--limit", 30)
    asked = ("--mode", "options", "--perturbations", "jpeg,option_order", "--severities", "1,3")
    command("robustness", *model, *batch, *asked, "--output-dir", folder / "robustness")
    results = folder / "test.json"
    parts = (
        *("--ablated", folder / "blank.json", "--calibrate-on", folder / "held-out.json"),
        *("--ensemble", folder / "other.json", "--data", data),
        *("--robustness", folder / "robustness" / "robustness.json"),
    )
    command("eval", results, *parts, "--output-dir", folder / "summary")
    command("eval", results, "--data", data, "--card", folder / "card" / "card.json")
    again = ("--output-dir", folder / "reproduction")
    command("reproduce", folder / "card" / "card.json", *again)
    test = ("--output-file", folder / "contamination" / "contamination.json", "--limit", 8)
    command("contamination", data, "--model-path", tiny_vl_folder(), *test)
    command("board", folder / "card", "--output-dir", folder / "board")
    command("compare", results, folder / "other.json", "--output-dir", folder / "comparison")
    table = {"cells": {"CT": {"CT": str(results)}}, "base": {"CT": str(folder / "other.json")}}
    (folder / "matrix.yaml").write_text(json.dumps(table))
    command("matrix", folder / "matrix.yaml", "--output-dir", folder / "matrix")
    command("data", "audit", data / "validation.json", "--output-dir", folder / "audit")
    questions = data / "validation.json"
    command("data", "prepare", questions, "--output-dir", folder / "manifest", "--size", 64)
    rates = ("--pass-rates", folder / "pass-rates" / "pass-rates.json")
    command("data", "filter", data / "test.json", "--results", results, *rates)
    start_review(results, image_root=data, confident_errors=0).close()
    command("review", "summary", folder / "test.review.db", "--output-dir", folder / "review")
    config = ("--config", tiny_config_file("tiny"), "--device", "cpu", "--max-steps", 1)
    command("train", *config, "--output-dir", folder / "training")
    return folder


# test_demo.py runs the demo, which takes minutes, and reads its document by its type
@pytest.mark.parametrize("name", [name for name in DOCUMENTS if name != "demo"])
def test_a_document_has_the_form_of_its_schema(folder, name):
    file = folder / "test.json" if name == "results" else folder / name / f"{name}.json"
    text = file.read_text()
    schema = json.loads(command("schema", name).stdout)
    assert schema == json_schema(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    document = json.loads(text)
    jsonschema.validate(document, schema, jsonschema.Draft202012Validator)
    # every key of the document is a field of the type, and comes back as it was
    assert json.loads(to_json(msgspec.convert(document, document_type(name)))) == document
    required = schema["$defs"][document_type(name).__name__]["required"]
    del document[required[0]]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema, jsonschema.Draft202012Validator)


def test_an_unknown_document_is_named():
    done = medr1("schema", "sumary")
    assert done.returncode == 2 and "Did you mean summary" in done.stderr
