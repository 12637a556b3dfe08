"""What medr1 0.1.0 left behind when it was killed is resumed by this version.

The files in old-version/ were written by that version, with the embedded model and data: two
journals, a training run with a checkpoint, and two documents.
"""

import gzip
import json
import tarfile
import zlib
from pathlib import Path

import pytest
from in_process import medr1

from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder
from medr1.evaluate.trust.robustness_file import read_robustness
from medr1.models.loading import library_versions

OLD = Path(__file__).parent / "old-version"
BATCH = [
    *("--model-path", tiny_vl_folder(), "--batch-file", tiny_vqa_folder() / "validation.json"),
    *("--batch-size", 2, "--device", "cpu"),
]
INFER = [
    *("infer", *BATCH, "--output-file", "results.json"),
    *("--limit", 8, "--max-new-tokens", 8),
]
ROBUSTNESS = [
    *("robustness", *BATCH, "--output-dir", ".", "--limit", 2, "--mode", "options"),
    *("--perturbations", "gaussian_noise,option_order", "--severities", 1),
]
TRAIN = [
    *("train", "--model-path", tiny_vl_folder(), "--data", tiny_vqa_folder(), "--device", "cpu"),
    *("--answer-types", "multiple_choice", "--num-generations", 2, "--batch-size", 4),
    *("--max-completion-length", 4, "--max-steps", 6, "--logging-steps", 1, "--save-steps", 2),
    *("--save-total-limit", 1, "--use-peft", "--lora-r", 1),
    *("--lora-target-modules", ".*language_model.*layers.0.*q_proj", "--output-dir", "train"),
]


def with_present_versions(journal):
    """The journal as if it had been written with the libraries that are installed now.

    A journal of other versions is refused, so the old one is resumed only with its own libraries.
    """
    first, *others = journal.read_bytes().splitlines(keepends=True)
    header = json.loads(first)
    del header["crc32"]
    header["meta"]["versions"] = library_versions()
    body = json.dumps(header, ensure_ascii=False).encode()
    return body[:-1] + b', "crc32": "%08x"}\n' % zlib.crc32(body) + b"".join(others)


@pytest.mark.parametrize(
    ("name", "command"), [("infer", INFER), ("robustness", ROBUSTNESS)], ids=["infer", "robustness"]
)
def test_a_journal_of_the_old_version_is_resumed(name, command, tmp_path):
    old = OLD / f"{name}.journal.jsonl"
    (tmp_path / "results.json.journal.jsonl").write_bytes(with_present_versions(old))
    done = medr1(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "resuming: 4 of 8" in done.stderr
    entries = json.loads((tmp_path / "results.json").read_text())["results"]
    finished = [json.loads(line) for line in old.read_text().splitlines()[1:]]
    assert len(entries) == 8 and len(finished) == 4
    assert all(entries[record["index"]] == record["entry"] for record in finished)
    assert all(entry.keys() == finished[0]["entry"].keys() for entry in entries)
    assert not (tmp_path / "results.json.journal.jsonl").exists()


def test_a_training_run_of_the_old_version_is_resumed(tmp_path):
    pytest.importorskip("trl")
    with tarfile.open(OLD / "train.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    log = tmp_path / "train" / "metrics.jsonl"
    before = [json.loads(line) for line in log.read_text().splitlines()]
    done = medr1(*TRAIN, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "resuming from train/checkpoint-4" in done.stderr
    after = [json.loads(line) for line in log.read_text().splitlines()]
    assert after[:4] == before[:4]
    assert [line["step"] for line in after if "loss" in line] == [1, 2, 3, 4, 5, 6]
    assert (tmp_path / "train" / "adapter_model.safetensors").is_file()


def test_documents_of_the_old_version_are_read(tmp_path):
    for name in ("summary", "robustness"):
        content = gzip.decompress((OLD / f"{name}.json.gz").read_bytes())
        (tmp_path / f"{name}.json").write_bytes(content)
    old = json.loads((tmp_path / "robustness.json").read_text())
    new = read_robustness(tmp_path / "robustness.json")
    assert new.mean_corruption_accuracy.value == old["mean_corruption_accuracy"]["value"]
    assert [cell.difference.value for p in new.perturbations for cell in p.cells] == [
        cell["difference"]["value"] for p in old["perturbations"] for cell in p["cells"]
    ]
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["schema"] == "medr1.summary/1"
    entries = [
        {
            "id": str(i),
            "question": f"Is it {i}?",
            "ground_truth": "yes",
            "model_output": "<answer> no </answer>",
        }
        for i in range(40)
    ]
    (tmp_path / "results.json").write_text(json.dumps(entries))
    done = medr1("eval", "results.json", "--baseline", "summary.json", cwd=tmp_path)
    low = summary["metrics"]["accuracy"]["ci95"][0]
    assert done.returncode == 1 and f"below the baseline's interval {low:.4f}" in done.stderr
