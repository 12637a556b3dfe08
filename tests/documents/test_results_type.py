"""The type of results.json describes the file that is written."""

import dataclasses
import json

import msgspec

from medr1.documents.results import ResultsEntry, ResultsFile, ResultsMeta
from medr1.documents.schemas import json_schema
from medr1.infer.batch import write_results
from medr1.records import RESULTS_SCHEMA, Decoding, Failure, Prediction, Sample

META = ResultsMeta(
    model="tiny-vl",
    model_sha256="0" * 64,
    data="test.json",
    data_sha256="1" * 64,
    n=2,
    prompt="by question",
    prompt_sha256=None,
    decoding=Decoding(max_new_tokens=16),
    seed=0,
    device="cpu",
    dtype="float32",
    versions={"torch": "2.11.0"},
)
SAMPLE = Sample("1", ("a.png",), "Which?", {"A": "CT", "B": "MRI"}, "A", "multiple_choice")


def test_what_is_written_has_the_type(tmp_path):
    predictions = [
        Prediction(SAMPLE, model_output="A", option_probs={"A": 0.75, "B": 0.25}, confidence=0.75),
        Prediction(SAMPLE, error=Failure("image_missing", "no file")),
    ]
    write_results(tmp_path / "r.json", META, predictions)
    content = (tmp_path / "r.json").read_bytes()
    document = msgspec.json.decode(content, type=ResultsFile)
    assert document.schema == RESULTS_SCHEMA
    assert document.meta == META
    assert [entry.error for entry in document.results] == [None, predictions[1].error]
    assert msgspec.to_builtins(document) == json.loads(content)


def test_an_entry_has_the_fields_of_a_sample_and_its_prediction():
    names = [field.name for kind in (Sample, Prediction) for field in dataclasses.fields(kind)]
    names.remove("sample")
    assert list(ResultsEntry.__struct_fields__) == names


def test_meta_has_perturbations_only_where_there_are_some():
    assert "perturbations" not in META.document()
    perturbed = msgspec.structs.replace(META, perturbations={"noise": [1, 3]})
    assert list(perturbed.document())[-1] == "perturbations"


def test_the_json_schema_can_be_made():
    definitions = json_schema("results")["$defs"]
    assert definitions["ResultsFile"]["properties"]["schema"] == {"enum": [RESULTS_SCHEMA]}
    assert definitions["ResultsMeta"]["properties"]["decoding"] == {"$ref": "#/$defs/Decoding"}
