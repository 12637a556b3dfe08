"""medr1 data prepare --benchmark: the published files of eleven benchmarks."""

import json

import pytest
from in_process import medr1
from published_files import WRITERS, parquet, png, write_source

from medr1.data.benchmarks import BENCHMARK_NAMES
from medr1.data.benchmarks.names import BENCHMARKS


def prepared(name, folder, *options):
    source = write_source(name, folder / "source")
    output = folder / "out"
    run = medr1(
        *("data", "prepare", source, "--benchmark", name, "--output-dir", output),
        *("--max-errors", "5", *options),
    )
    return run, output


def items_of(output, split="test"):
    return json.loads((output / f"{split}.json").read_text(encoding="utf-8"))


@pytest.fixture
def benchmark(tmp_path):
    def prepare(name, split="test"):
        run, output = prepared(name, tmp_path)
        assert run.returncode == 0, run.stderr
        return items_of(output, split), json.loads((output / "manifest.json").read_text()), output

    return prepare


def test_every_name_has_a_reader_and_a_test():
    assert tuple(BENCHMARKS) == BENCHMARK_NAMES == tuple(WRITERS)


def test_vqa_rad_is_closed_by_its_answer_and_shares_its_images(benchmark):
    items, manifest, output = benchmark("vqa-rad")
    assert [item["metadata"]["answer_class"] for item in items] == ["closed", "open", "closed"]
    assert [item["answer_type"] for item in items] == ["yes_no", "open", "yes_no"]
    assert items[0]["images"] == items[1]["images"] != items[2]["images"]
    assert (output / items[0]["images"][0]).read_bytes() == png(10)
    assert manifest["counts"]["splits"] == {"test": 3, "train": 1}
    assert manifest["counts"]["images"] == 2


def test_vqa_rad_as_the_authors_publish_it(tmp_path):
    source = tmp_path / "source"
    (source / "VQA_RAD Image Folder").mkdir(parents=True)
    (source / "VQA_RAD Image Folder" / "synpic1.jpg").write_bytes(png(5))
    record = {"qid": 3, "image_name": "synpic1.jpg", "question": "Is it normal?", "answer": "Yes"}
    record |= {"answer_type": "CLOSED ", "question_type": "ABN", "image_organ": "CHEST"}
    records = [{**record, "phrase_type": kind, "qid": kind} for kind in ("test_para", "freeform")]
    (source / "VQA_RAD Dataset Public.json").write_text(json.dumps(records))
    output = tmp_path / "out"
    run = medr1("data", "prepare", source, "--benchmark", "vqa-rad", "--output-dir", output)
    assert run.returncode == 0, run.stderr
    assert [item["id"] for item in items_of(output)] == ["test_para"]
    assert [item["id"] for item in items_of(output, "train")] == ["freeform"]
    assert items_of(output)[0]["ground_truth"] == "yes"


def test_slake_keeps_the_language_the_class_and_the_case_of_yes_and_no(benchmark):
    items, manifest, output = benchmark("slake")
    assert [item["metadata"]["language"] for item in items] == ["en", "en", "en", "zh"]
    assert [item["ground_truth"] for item in items] == ["No", "Lung", "Left", "不健康"]
    assert [item["metadata"]["answer_class"] for item in items] == [
        "closed", "open", "closed", "closed",
    ]  # fmt: skip
    assert (output / items[0]["images"][0]).read_bytes() == png(30)  # from imgs.zip
    assert [error["code"] for error in manifest["errors"]] == ["no_ground_truth"]  # qid 1622
    assert manifest["counts"]["by"]["language"] == {"en": {"test": 3}, "zh": {"test": 1}}


def test_path_vqa_has_three_splits(benchmark):
    items, manifest, _ = benchmark("path-vqa", "validation")
    assert [item["metadata"]["answer_class"] for item in items] == ["open", "closed"]
    assert manifest["counts"]["splits"] == {"test": 2, "train": 2, "validation": 2}


def test_pmc_vqa_has_choices_without_their_letters(benchmark):
    items, _, output = benchmark("pmc-vqa")
    assert items[0]["options"] == {"A": "Left lung", "B": "Right lung", "C": "Heart", "D": "Liver"}
    assert [item["ground_truth"] for item in items] == ["B", "D"]
    assert items[0]["question"] == "Which organ?"
    assert (output / items[1]["images"][0]).read_bytes() == png(70)


def test_omnimedvqa_is_read_from_its_archive_with_the_wrong_key(benchmark):
    items, manifest, output = benchmark("omnimedvqa")
    assert [item["modality"] for item in items] == ["CT(Computed Tomography)"] * 2
    assert [item["ground_truth"] for item in items] == ["B", "A"]
    assert items[0]["options"]["B"] == "CT, axial"
    assert items[0]["metadata"]["source_dataset"] == "Chest CT Scan"
    assert (output / items[0]["images"][0]).read_bytes() == png(81)
    assert any("modality_type" in defect for defect in manifest["meta"]["defects"])


def test_medxpertqa_has_several_images_and_the_options_once(benchmark):
    (item,), _, _ = benchmark("medxpertqa-mm")
    assert len(item["images"]) == 2
    assert item["question"] == "What is the diagnosis?"
    assert (item["ground_truth"], len(item["options"])) == ("D", 5)
    assert item["metadata"]["medical_task"] == "Diagnosis"


def test_mmmu_has_the_medical_subjects_only_and_no_image_tags(benchmark):
    items, _, _ = benchmark("mmmu-med", "validation")
    assert [item["id"] for item in items] == ["validation_Pharmacy_1", "validation_Pharmacy_2"]
    assert items[0]["question"] == "Which drug is beside ?"
    assert items[0]["options"]["B"] == "Crohn's drug"
    assert [len(item["images"]) for item in items] == [2, 1]
    assert items[1]["answer_type"] == "count"


def test_medframeqa_has_its_frames_in_order(benchmark):
    (item,), _, output = benchmark("medframeqa")
    assert [(output / name).read_bytes() for name in item["images"]] == [png(110), png(111)]
    assert item["ground_truth"] == "C"


def test_gmai_mmbench_has_images_in_base64_and_fewer_options(benchmark):
    (item,), _, output = benchmark("gmai-mmbench", "validation")
    assert item["options"] == {"A": "cyst", "B": "mass", "C": "stone"}
    assert (item["ground_truth"], item["question_type"]) == ("B", "Disease Diagnosis")
    assert item["metadata"]["department"] == "Urology"
    assert (output / item["images"][0]).read_bytes() == png(120)


def test_radimagenet_vqa_has_three_kinds_of_questions(benchmark):
    items, manifest, _ = benchmark("radimagenet-vqa")
    assert [item["answer_type"] for item in items] == ["multiple_choice", "yes_no", "open"]
    assert items[0]["options"] == {"A": "mass", "B": "cyst"}
    assert [item["id"] for item in items] == ["q0", "q1", "q2"]
    assert items[2]["metadata"]["answer_class"] == "open"
    assert manifest["counts"]["splits"] == {"test": 3}


def test_vqa_med_has_its_images_in_a_folder_or_a_zip_and_keeps_other_answers(benchmark):
    items, _, output = benchmark("vqa-med")
    assert [item["question_type"] for item in items] == ["modality", "plane"]
    assert [item["metadata"]["answer_class"] for item in items] == ["closed", "open"]
    assert (output / items[0]["images"][0]).read_bytes() == png(150)
    (train,) = items_of(output, "train")
    assert train["ground_truth"] == "cyst"
    assert train["metadata"]["other_answers"] == ["renal cyst"]
    assert (output / train["images"][0]).read_bytes() == png(140)


@pytest.mark.parametrize("name", ["vqa-rad", "slake", "path-vqa", "pmc-vqa", "omnimedvqa"])
def test_a_benchmark_goes_from_its_files_to_its_accuracy(name, tmp_path):
    run, output = prepared(name, tmp_path)
    assert run.returncode == 0, run.stderr
    results = tmp_path / "results.json"
    run = medr1(
        *("infer", "--model-path", "tiny-vl", "--batch-file", output / "test.json"),
        *("--output-file", results, "--max-new-tokens", "4", "--mode", "generate"),
    )
    assert run.returncode == 0, run.stderr
    run = medr1("eval", results, "--protocol", "all", "--json")
    assert run.returncode == 0, run.stderr
    summary = json.loads(run.stdout)
    assert (summary["n"], summary["n_error"]) == (len(items_of(output)), 0)
    assert summary["protocol_rows"]["medevalkit"]["accuracy"]["n"] == summary["n"]


def test_counts_that_differ_from_the_published_ones_are_said(tmp_path):
    run, output = prepared("vqa-rad", tmp_path)
    assert "VQA-RAD test: 3 items here, 451 published." in run.stderr
    manifest = json.loads((output / "manifest.json").read_text())
    assert (
        "VQA-RAD test closed: 2 items here, 251 or 272 published." in manifest["count_differences"]
    )


def test_strict_counts_stop_before_anything_is_written(tmp_path):
    run, output = prepared("vqa-rad", tmp_path, "--strict-counts")
    assert run.returncode == 2
    assert "451 published" in run.stderr
    assert not output.exists()


def test_published_counts_are_no_difference(tmp_path):
    rows = [{"image": {"bytes": png(1), "path": None}, "question": f"q{i}?", "answer": "yes"}
            for i in range(251)]  # fmt: skip
    rows += [{**rows[0], "question": f"o{i}?", "answer": "left"} for i in range(200)]
    source, output = tmp_path / "source", tmp_path / "out"
    parquet(source / "data" / "test-00000-of-00001.parquet", rows)
    run = medr1(
        *("data", "prepare", source, "--benchmark", "vqa-rad", "--output-dir", output),
        "--strict-counts",
    )
    assert run.returncode == 0, run.stderr
    assert json.loads((output / "manifest.json").read_text())["count_differences"] == []
    assert "VQA-RAD train: there is no file of this split here" in run.stderr


def test_the_same_command_again_writes_nothing(tmp_path):
    prepared("pmc-vqa", tmp_path)
    before = (tmp_path / "out" / "manifest.json").stat().st_mtime_ns
    run = medr1(
        *("data", "prepare", tmp_path / "source", "--benchmark", "pmc-vqa"),
        *("--output-dir", tmp_path / "out"),
    )
    assert run.returncode == 0, run.stderr
    assert "complete already" in run.stderr
    assert (tmp_path / "out" / "manifest.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--benchmark", "vqa-rad", "--square", "--size", "10"), "leave out --size, --square."),
        (("--strict-counts",), "--strict-counts needs --benchmark"),
        (("--benchmark", "slake"), "has no file of slake"),
        (("--benchmark", "slake"), "(* is any text): train.json, validat*.json, test.json"),
        (("--benchmark", "gmai-mmbench"), "GMAI*VAL.tsv, GMAI*TEST*.tsv"),
    ],
    ids=["square", "no-name", "another", "its-files", "variable"],
)
def test_what_does_not_fit_is_refused(tmp_path, options, message):
    vqa_rad = write_source("vqa-rad", tmp_path / "source")
    run = medr1("data", "prepare", vqa_rad, "--output-dir", tmp_path / "out", *options)
    assert run.returncode == 2
    assert message in run.stderr


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("test-0.parquet", b"PAR1 no table", "cannot be read as Parquet"),
        ("VQA_RAD Dataset Public.json", b"\xff\xfe", "cannot be read"),
        ("VQA_RAD Dataset Public.json", b'{"a": 1}', "is no list of records"),
        ("VQA_RAD Dataset Public.json", b"[1]", "no item of the benchmark can be used"),
    ],
    ids=["parquet", "utf-8", "object", "number"],
)
def test_a_damaged_file_is_one_sentence(tmp_path, name, content, message):
    source = tmp_path / "source"
    source.mkdir()
    (source / name).write_bytes(content)
    run = medr1(
        *("data", "prepare", source, "--benchmark", "vqa-rad", "--output-dir", tmp_path / "out")
    )
    assert run.returncode == 2
    assert message in run.stderr


def test_an_image_outside_the_source_is_not_read(tmp_path):
    (tmp_path / "secret.png").write_bytes(png(1))
    source = write_source("slake", tmp_path / "source")
    records = json.loads((source / "test.json").read_text(encoding="utf-8"))
    records[0]["img_name"] = "../../secret.png"
    (source / "test.json").write_text(json.dumps(records), encoding="utf-8")
    output = tmp_path / "out"
    run = medr1(
        *("data", "prepare", source, "--benchmark", "slake", "--output-dir", output),
        *("--max-errors", "5"),
    )
    assert run.returncode == 0, run.stderr
    manifest = json.loads((output / "manifest.json").read_text())
    assert [error["code"] for error in manifest["errors"]] == ["image_missing", "no_ground_truth"]


def test_a_record_without_an_image_name_gets_no_other_image(tmp_path):
    source = write_source("slake", tmp_path / "source")
    (source / "0.png").write_bytes(png(99))
    records = json.loads((source / "test.json").read_text(encoding="utf-8"))
    del records[0]["img_name"]
    (source / "test.json").write_text(json.dumps(records), encoding="utf-8")
    output = tmp_path / "out"
    run = medr1(
        *("data", "prepare", source, "--benchmark", "slake", "--output-dir", output),
        *("--max-errors", "5"),
    )
    assert run.returncode == 0, run.stderr
    manifest = json.loads((output / "manifest.json").read_text())
    assert manifest["errors"][0]["code"] == "image_missing"
    assert manifest["counts"]["images"] == 1


@pytest.mark.parametrize(
    ("name", "file", "separator"),
    [("pmc-vqa", "test_2.csv", ","), ("gmai-mmbench", "GMAI_mm_bench_VAL.tsv", "\t")],
    ids=["csv", "tsv"],
)
def test_a_row_with_more_values_than_the_header_is_one_sentence(tmp_path, name, file, separator):
    source = write_source(name, tmp_path / "source")
    lines = (source / file).read_text(encoding="utf-8").splitlines()
    (source / file).write_text("\n".join([*lines, lines[-1] + f"{separator}more"]), "utf-8")
    run = medr1("data", "prepare", source, "--benchmark", name, "--output-dir", tmp_path / "out")
    assert run.returncode == 2
    assert f"{file}, record {len(lines)} has more values than the header" in run.stderr


def test_the_folder_of_an_archive_with_the_records_is_answered_with_the_command(tmp_path):
    archive = write_source("omnimedvqa", tmp_path / "Omni")
    options = ("--benchmark", "omnimedvqa", "--output-dir", tmp_path / "out")
    run = medr1("data", "prepare", tmp_path, *options)
    assert run.returncode == 2
    text = " ".join(run.stderr.split())
    assert f"medr1 data prepare {archive} --benchmark omnimedvqa" in text
    assert medr1("data", "prepare", archive, *options).returncode == 0


def test_no_image_is_written_for_an_item_that_is_left_out(tmp_path):
    source, output = tmp_path / "source", tmp_path / "out"
    rows = [
        {"image": {"bytes": png(shade), "path": None}, "question": "Is it?", "answer": answer}
        for shade, answer in ((1, "yes"), (2, ""))
    ]
    parquet(source / "data" / "test-00000-of-00001.parquet", rows)
    options = ("--benchmark", "vqa-rad", "--output-dir", output, "--max-errors", "5")
    run = medr1("data", "prepare", source, *options)
    assert run.returncode == 0, run.stderr
    manifest = json.loads((output / "manifest.json").read_text())
    assert [error["code"] for error in manifest["errors"]] == ["no_ground_truth"]
    assert manifest["counts"]["images"] == 1
    images = [path for path in (output / "images").rglob("*") if path.is_file()]
    assert [path.read_bytes() for path in images] == [png(1)]


def test_an_interrupted_run_starts_again_with_overwrite_as_the_help_says(tmp_path):
    run, output = prepared("pmc-vqa", tmp_path)
    assert run.returncode == 0, run.stderr
    (output / "manifest.json").unlink()  # it is written last
    source = tmp_path / "source"
    command = ("data", "prepare", source, "--benchmark", "pmc-vqa", "--output-dir", output)
    run = medr1(*command)
    assert run.returncode == 2
    assert "--overwrite" in run.stderr
    assert medr1(*command, "--overwrite").returncode == 0
    help_text = " ".join(medr1("data", "prepare", "--help").stdout.split())
    assert "interrupted run does not resume: give --overwrite to start again." in help_text
