"""Which results are whose: by YAML, by file names, by metadata."""

from pathlib import Path

import pytest

from medr1.checkpoints.finding import MED_R1_NAMES
from medr1.errors import InputError
from medr1.evaluate.comparing.domains import (
    domain_name,
    layout_from_mapping,
    layout_from_metadata,
    layout_from_names,
    order_test_domains,
)
from medr1.evaluate.reading.results import Results
from medr1.records import Prediction, Sample

WHERE = Path("runs/matrix.yaml")


def test_a_mapping():
    layout = layout_from_mapping(
        {
            "base": {"CT": "b.json"},
            "cells": {"CT": {"CT": "a.json", "MRI": ["c.json", "d.json"]}},
            "train_data": {"CT": "../train.json"},
        },
        WHERE,
    )
    assert layout.cells == {
        "CT": {"CT": (Path("runs/a.json"),), "MRI": (Path("runs/c.json"), Path("runs/d.json"))}
    }
    assert layout.base == {"CT": (Path("runs/b.json"),)}
    assert layout.train_data == {"CT": (Path("runs/../train.json"),)}


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({}, "cells are missing"),
        ({"cell": {}}, "unknown key 'cell'"),
        ({"cells": [1]}, "cells: expected `domain: ...` lines"),
        ({"cells": {"CT": "a.json"}}, "cells: CT: expected `domain: ...` lines"),
        ({"cells": {False: {"CT": "a"}}}, "False is not a name"),
        ({"cells": {"CT": {"CT": 3}}}, "cells: CT: CT: expected a file"),
        ({"cells": {"CT": {"CT": []}}}, "expected a file"),
    ],
)
def test_a_mapping_that_is_wrong(document, says):
    with pytest.raises(InputError, match=r"matrix\.yaml") as raised:
        layout_from_mapping(document, WHERE)
    assert says in str(raised.value)


def write(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")


def test_names_of_files(tmp_path):
    write(tmp_path, "CT_on_MRI.json", "CT_on_CT.json", "base_on_CT.json", "CT_on_CT.run.json", "x")
    layout = layout_from_names(tmp_path, "{train}_on_{test}.json", "base")
    assert {t: list(row) for t, row in layout.cells.items()} == {"CT": ["CT", "MRI"]}
    assert layout.base == {"CT": (tmp_path / "base_on_CT.json",)}
    write(tmp_path, "deep/MRI/VQA_CT/results.json")
    layout = layout_from_names(tmp_path, "deep/{test}/{train}/results.json", "base")
    assert list(layout.cells["CT"]) == ["MRI"]


def test_names_of_files_are_read_as_domains_unless_two_are_the_same(tmp_path):
    write(
        tmp_path, "VQA_CT/MR-Mag-netic-Resonance-Imaging.json", "VQA_CT/CT-Computed-Tomography.json"
    )
    pattern = "{train}/{test}.json"
    layout = layout_from_names(tmp_path, pattern, "base")
    assert {train: {*row} for train, row in layout.cells.items()} == {"CT": {"CT", "MRI"}}
    write(tmp_path, "ct/CT.json")
    layout = layout_from_names(tmp_path, pattern, "base")
    assert {*layout.cells} == {"VQA_CT", "ct"}


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("{train}_{test}.json", "can be read as VQA + CT_MRI and as VQA_CT + MRI"),
        ("{train}-{test}.json", "no file name fits"),
        ("{train}{test}.json", "does not hold {train} and {test} once each"),
        ("{train}_{train}.json", "does not hold"),
        ("VQA_{test}_{train}.json", "base model 'MRI'"),
    ],
)
def test_names_that_do_not_say(pattern, says, tmp_path):
    write(tmp_path, "VQA_CT_MRI.json")
    with pytest.raises(InputError) as raised:
        layout_from_names(tmp_path, pattern, "MRI")
    assert says in str(raised.value)


def results(model, modalities, seed=0):
    samples = [Sample(str(i), (), "q", modality=name) for i, name in enumerate(modalities)]
    return Results({"model": model, "seed": seed}, [Prediction(sample) for sample in samples])


def test_metadata():
    files = {
        Path("1"): results("VQA_CT", ["CT(Computed Tomography)"] * 2),
        Path("2"): results("VQA_CT", ["MR (Mag-netic Resonance Imaging)"]),
        Path("3"): results("VQA_CT", ["MR (Mag-netic Resonance Imaging)"], seed=1),
        Path("4"): results("qwen", ["CT(Computed Tomography)"]),
    }
    layout = layout_from_metadata(files, "modality", "qwen")
    assert layout.cells == {"CT": {"CT": (Path("1"),), "MRI": (Path("2"), Path("3"))}}
    assert layout.base == {"CT": (Path("4"),)}


@pytest.mark.parametrize(
    ("file", "says"),
    [
        (results("m", ["CT", "MRI"]), "its items have 2 of them"),
        (results("m", [None]), "its items have none"),
        (Results({}, []), "`model`"),
        (results("VQA_CT", ["CT"]), "same seed"),
    ],
)
def test_metadata_that_does_not_say(file, says):
    files = {Path("1"): results("VQA_CT", ["CT"]), Path("2"): file}
    with pytest.raises(InputError) as raised:
        layout_from_metadata(files, "modality", "base")
    assert says in str(raised.value)


def test_names_of_domains():
    found = {domain_name(name) for name in MED_R1_NAMES}
    assert len(found) == 13 and not any(name.startswith("VQA") for name in found)
    assert domain_name("VQA_MR") == "Modality Recognition" and domain_name("VQA_MRI") == "MRI"
    assert domain_name("X-Ray") == "X-Ray" and domain_name("ultrasound") == "Ultrasound"
    assert domain_name("my-own") == "my-own"


def test_the_diagonal_is_one():
    cells = {"MRI": {"CT": 1, "MRI": 1}, "CT": {"CT": 1, "extra": 1}}
    assert order_test_domains(cells, ["CT", "other"]) == ["MRI", "CT", "extra", "other"]
