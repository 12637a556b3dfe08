"""robustness.json is read as it was written; a file of version 1 gives the same document."""

import json
from dataclasses import replace

import pytest
from test_robustness import BLANK, CLEAN, JPEG_1, JPEG_5, answers

from medr1.documents.metric import Missing
from medr1.errors import InputError
from medr1.evaluate.judging import Settings
from medr1.evaluate.trust.robustness import robustness
from medr1.evaluate.trust.robustness_file import read_robustness
from medr1.files import to_json


@pytest.fixture(scope="module", params=["all parts", "without augmentation and grey image"])
def document(request):
    rows = answers("none", 0, CLEAN, confidence=0.75)
    rows += answers("jpeg", 1, JPEG_1) + answers("jpeg", 5, JPEG_5)
    rows += answers("option_order", 1, CLEAN) + answers("option_order", 2, CLEAN)
    if request.param == "all parts":
        rows += answers("contrast", 1, JPEG_5) + answers("blank", 1, BLANK)
        rows = [replace(row, option_probs={"A": 0.6, "B": 0.3, "C": 0.1}) for row in rows]
    settings, left_out = Settings(num_resamples=50), {"jpeg": {"that ask": 2}}
    return robustness(rows, settings=settings, excluded=left_out, meta={"model": "tiny"})


def version_1(document):
    """The document as version 1 of the file had it."""
    old = json.loads(to_json(document))
    grey, views = old.pop("grey_image"), old.pop("test_time_augmentation")
    nothing = {"value": None, "ci95": None, "n": 0}
    old["schema"], old["left_out"] = "medr1.robustness/1", old.pop("excluded")
    old["blind"] = {**nothing, "reason": grey.get("reason")}
    if cell := grey.get("cell"):
        old["blind"] = {k: v for k, v in cell.items() if k not in ("severity", "parameter")}
    old["views"] = {**nothing, "reason": views.get("reason")}
    if prediction := views.get("prediction"):
        accuracy, single_pass = prediction.pop("accuracy"), prediction.pop("single_pass")
        number = {"num_views": views["num_views"], **accuracy}
        old["views"] = {**number, "one_pass": single_pass, **prediction}
    for entry in old["perturbations"]:
        entry["left_out"] = entry.pop("excluded")
        if consistency := entry["consistency"]:
            entry["consistency"] = {**consistency["metric"], "variants": consistency["variants"]}
    for group in old["groups"]["modality"].values():
        for rows in group["differences"].values():
            rows[:] = [{**row, **row.pop("difference")} for row in rows]
    return old


def test_both_versions_give_the_document_that_was_written(document, tmp_path):
    path = tmp_path / "robustness.json"
    path.write_text(to_json(document))
    assert read_robustness(path) == document
    path.write_text(json.dumps(version_1(document)))
    assert read_robustness(path) == document
    assert document.groups["modality"].keys() == {"CT", "MRI"}
    assert document.perturbations[0].excluded == {"that ask": 2}
    parts = (document.grey_image, document.test_time_augmentation)
    assert len({isinstance(part, Missing) for part in parts}) == 1


@pytest.mark.parametrize("content", ["[]", "{}", '{"schema": "medr1.robustness/3"}', "null"])
def test_another_file_is_refused(content, tmp_path):
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"other\.json is not a robustness\.json"):
        read_robustness(path)


@pytest.mark.parametrize("of_version", [lambda one: json.loads(to_json(one)), version_1])
@pytest.mark.parametrize("key", ["clean", "perturbations", "groups", "warnings"])
def test_a_damaged_file_is_refused_in_a_sentence_that_names_it(document, of_version, key, tmp_path):
    path = tmp_path / "damaged.json"
    whole = of_version(document)
    for broken in ({k: v for k, v in whole.items() if k != key}, {**whole, key: "text"}):
        path.write_text(json.dumps(broken))
        with pytest.raises(InputError, match=rf"damaged\.json is damaged: .*{key}"):
            read_robustness(path)
    path.write_text("{")
    with pytest.raises(InputError, match=r"damaged\.json"):
        read_robustness(path)
