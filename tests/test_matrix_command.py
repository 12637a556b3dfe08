"""`medr1 matrix` from the outside: YAML, names or metadata in; tables and pictures out."""

import json

import msgspec
import pytest
from click.testing import CliRunner

from medr1.cli import cli
from medr1.documents.matrix import Matrix, SharedImages


def write(path, share, modality, **meta):
    results = [
        {
            "id": f"q{i}",
            "images": [f"{modality}/{i}.png"],
            "question": "Which?",
            "options": {"A": "x", "B": "y"},
            "ground_truth": "A",
            "answer_type": "multiple_choice",
            "modality": modality,
            "model_output": "A" if i < 40 * share else "B",
        }
        for i in range(40)
    ]
    document = {"schema": "medr1.results/1", "meta": meta, "results": results}
    path.write_text(json.dumps(document))


@pytest.fixture
def folder(tmp_path):
    for train, model in (("base", "qwen"), ("CT", "VQA_CT"), ("MRI", "VQA_MRI")):
        for place, test in enumerate(("CT", "MRI")):
            share = 0.5 if train == "base" else 0.9 if train == test else 0.4 + place / 10
            write(tmp_path / f"{train}_{test}.json", share, test, model=model, seed=0)
    (tmp_path / "matrix.yaml").write_text(
        "base: {CT: base_CT.json, MRI: base_MRI.json}\n"
        "cells:\n  CT: {CT: CT_CT.json, MRI: CT_MRI.json}\n"
        "  MRI: {CT: MRI_CT.json, MRI: MRI_MRI.json}\n"
        "train_data: {CT: train.json}\n"
    )
    item = {"image": "CT/3.png", "question": "Which? A)x, B)y", "answer": "A"}
    (tmp_path / "train.json").write_text(json.dumps([item]))
    return tmp_path


def medr1(*args, code=0):
    result = CliRunner().invoke(cli, ["matrix", *map(str, args)])
    assert result.exit_code == code, result.output
    return result


def decoded(text):
    return msgspec.json.decode(text, type=Matrix)


def test_yaml_names_and_metadata_say_the_same(folder):
    data = ["--train-data", f"CT={folder / 'train.json'}", "--json"]
    by_yaml = decoded(medr1(folder / "matrix.yaml", "--json").stdout)
    named = decoded(medr1(folder, "--from-names", "{train}_{test}.json", *data).stdout)
    files = sorted(folder.glob("*_*.json"))
    own = decoded(medr1(*files, "--base-name", "qwen", *data).stdout)
    assert by_yaml == named == own
    assert by_yaml.cells["CT"]["CT"].gain.value == pytest.approx(0.4)
    assert by_yaml.cells["CT"]["CT"].shared_images == SharedImages(items=1, images=1)


def test_what_is_written(folder):
    out = folder / "out"
    table = medr1(folder / "matrix.yaml", "--output-dir", out).stdout
    assert "90.0†" in table and "out of domain" in table
    assert {path.name for path in out.iterdir()} == {
        f"matrix.{ending}" for ending in ("json", "html", "csv", "md", "tex", "png", "svg")
    }
    assert decoded((out / "matrix.json").read_text()).schema == "medr1.matrix/2"
    assert "is not empty" in medr1(folder / "matrix.yaml", "--output-dir", out, code=2).stderr


def test_what_is_refused(folder):
    yaml = folder / "matrix.yaml"
    assert "--from-names" in medr1(folder, code=2).stderr
    assert "is not DOMAIN=PATH" in medr1(yaml, "--train-data", "x", code=2).stderr
    assert "only argument" in medr1(yaml, folder / "CT_CT.json", code=2).stderr
    assert "one folder" in medr1(folder, folder, "--from-names", "{train}_{test}", code=2).stderr
    yaml.write_text("cells: {CT: {CT: gone.json}}")
    assert "file not found" in medr1(yaml, code=2).stderr
    yaml.write_text("cells: {CT: {}}")
    assert "cells: CT: has no test domain" in medr1(yaml, code=2).stderr
