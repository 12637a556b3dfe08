"""`medr1 train --dataset-name` with data sets as the library `datasets` and the hub have them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
from in_process import medr1

pytest.importorskip("trl")

from fault_runs import TINY, flags, same_run

from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder

KEYS = ("id", "image", "problem", "solution")
RUN = {**TINY, "rewards": "accuracy", "max_steps": 2, "save_strategy": "no"}
NEEDED = (
    *("--model_name_or_path", tiny_vl_folder(), "--image-root", tiny_vqa_folder()),
    *("--device", "cpu"),
)


def rows() -> list[dict[str, Any]]:
    """The first questions of the embedded data."""
    items = json.loads((tiny_vqa_folder() / "train.json").read_text())[:12]
    return [{key: item[key] for key in KEYS} for item in items]


def as_json(folder: Path) -> Path:
    """The questions in a JSON file."""
    folder.mkdir()
    (folder / "train.json").write_text(json.dumps(rows()))
    return folder / "train.json"


def one_set(folder: Path) -> Path:
    """A data set as save_to_disk writes it."""
    datasets.Dataset.from_list(rows()).save_to_disk(folder)
    return folder


def several_splits(folder: Path) -> Path:
    """Two splits as save_to_disk writes them."""
    made = datasets.Dataset.from_list(rows())
    datasets.DatasetDict(train=made, test=made.select(range(3))).save_to_disk(folder)
    return folder


def parquet(folder: Path) -> Path:
    """A folder with a Parquet file for the split."""
    folder.mkdir()
    datasets.Dataset.from_list(rows()).to_parquet(folder / "train.parquet")
    return folder


def jsonl(folder: Path) -> Path:
    """A folder with a JSONL file for the split."""
    folder.mkdir()
    datasets.Dataset.from_list(rows()).to_json(folder / "train.jsonl")
    return folder


def of_the_hub(folder: Path) -> Path:
    """A folder with the files of a data set of the hub."""
    (folder / "data").mkdir(parents=True)
    made = datasets.Dataset.from_list(rows())
    made.to_parquet(folder / "data" / "train-00000-of-00001.parquet")
    made.select(range(3)).to_parquet(folder / "data" / "test-00000-of-00001.parquet")
    return folder


FORMS: list[Callable[[Path], Path]] = [one_set, several_splits, parquet, jsonl, of_the_hub]


def plan_of(data: Path, tmp_path: Path) -> dict[str, Any]:
    """The plan of a run on a data set, without the hash of its file."""
    output = ("--output_dir", tmp_path / "out", "--dry-run", "--json")
    done = medr1("train", *NEEDED, "--dataset_name", data, *flags(RUN), *output)
    assert done.returncode == 0, done.stderr
    plan: dict[str, Any] = json.loads(done.stdout)
    del plan["data_sha256"]
    return plan


@pytest.mark.parametrize("form", FORMS)
def test_the_plan_is_that_of_the_same_questions_in_json(
    form: Callable[[Path], Path], tmp_path: Path
) -> None:
    plan = plan_of(form(tmp_path / "data"), tmp_path)
    assert plan["samples"] == 12
    assert plan == plan_of(as_json(tmp_path / "json"), tmp_path)


def test_training_is_that_on_the_same_questions_in_json(tmp_path: Path) -> None:
    folders = []
    for form in (as_json, several_splits):
        data, output = form(tmp_path / form.__name__), tmp_path / f"out-{form.__name__}"
        done = medr1("train", *NEEDED, "--dataset_name", data, *flags(RUN), "--output_dir", output)
        assert done.returncode == 0, done.stderr
        folders.append(output)
    assert same_run(folders[0], folders[1])


def test_a_split_in_several_files_is_refused(tmp_path: Path) -> None:
    data = of_the_hub(tmp_path / "data")
    first = data / "data" / "train-00000-of-00001.parquet"
    (data / "data" / "train-00001-of-00002.parquet").write_bytes(first.read_bytes())
    first.rename(data / "data" / "train-00000-of-00002.parquet")
    done = medr1("train", *NEEDED, "--dataset_name", data, "--output_dir", tmp_path / "out")
    assert done.returncode == 2
    assert "the split train in 2 files such as train-00000-of-00002.parquet" in done.stderr


def test_an_id_of_the_hub_is_to_be_downloaded_first(tmp_path: Path) -> None:
    name = "someone/some-questions"
    done = medr1("train", *NEEDED, "--dataset_name", name, "--output_dir", tmp_path / "out")
    assert done.returncode == 2
    assert f"medr1 fetch {name} --data" in done.stderr
