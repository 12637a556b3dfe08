"""The pages of the folders: their links lead somewhere, and their tables are complete."""

import dataclasses
import re
from pathlib import Path

import pytest

from medr1.data.spellings import FIELD_NAME_SETS
from medr1.documents.schemas import DOCUMENTS, json_schema
from medr1.records import Prediction, Sample

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("medr1", "configs", "data", "checkpoints", "tests")
PAGES = ["README.md", "CONTRIBUTING.md"]
PAGES += [p.relative_to(ROOT).as_posix() for f in FOLDERS for p in (ROOT / f).rglob("README.md")]


def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


def anchor(heading):
    """The anchor that a heading gets when the page is shown."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def column(page, heading, number=0):
    """The names in code style in a column of the first table below a heading."""
    section = text_of(page).partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1:-1] for line in section.splitlines() if line.startswith("|")]
    return [re.search(r"`(.+?)`", row[number])[1] for row in rows if "`" in row[number]]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings(page):
    text = re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        name, _, place = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        assert path.exists(), target
        if place:
            headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.M)
            assert place in map(anchor, headings), target


def test_every_field_of_a_question_and_of_an_answer_is_explained():
    fields = [field.name for field in dataclasses.fields(Sample)]
    assert column("data/README.md", "The fields of a question") == fields
    fields = [field.name for field in dataclasses.fields(Prediction) if field.name != "sample"]
    assert column("medr1/infer/README.md", "results.json") == fields


def test_all_field_names_and_documents_are_listed():
    assert sorted(column("data/README.md", "Files of questions")) == sorted(FIELD_NAME_SETS)
    schemas = [
        schema
        for name in DOCUMENTS
        for schema in re.findall(r'"(medr1\.[\w.]+/\d)"', str(json_schema(name)).replace("'", '"'))
    ]
    assert set(column("data/README.md", "Documents")) - {""} == set(schemas)


def test_every_recipe_is_listed():
    listed = re.findall(r"\]\(([\w-]+\.yaml)\)", text_of("configs/README.md"))
    assert sorted(listed) == sorted(path.name for path in (ROOT / "configs").glob("*.yaml"))


def test_no_docstring_or_page_cites_what_is_not_in_the_repository():
    names = re.compile(r"\b[\w-]+(?:/[\w-]+)*\.(?:md|py|sh|yaml|tsv)\b")
    ours = [path for top in (*FOLDERS, "scripts") for path in tree(top)]
    ours += [path.name for path in ROOT.iterdir()]
    cited = {}
    for path in [*(ROOT / "medr1").rglob("*.py"), *(ROOT / "scripts").rglob("*.py")]:
        for text in re.findall(r'"""(.*?)"""', path.read_text(encoding="utf-8"), re.DOTALL):
            cited |= dict.fromkeys(names.findall(text), path.name)
    missing = {
        name: file
        for name, file in cited.items()
        if not any(path == name or path.endswith(f"/{name}") for path in ours)
    }
    assert missing.keys() == ELSEWHERE, missing


def tree(folder):
    return [path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*.*")]


ELSEWHERE = {
    *("llava/eval/eval_metrics/evaluate_metrics.py", "grpo_trainer.py"),  # LLaVA-Med's, TRL's
    *("test_qwen2vl_counting_superclevr.py", "test_qwen2vl_geoqa.py"),  # the original's scripts
    *("test_qwen2_5vl_vqa_nothink.py", "_vqa.py", "_vqa_nothink.py"),
    "inference.py",  # the original's
    *("OmniMedVQA.py", "SLAKE.py", "VQA_RAD.py", "utils/question_formats.py", "utils/utils.py"),
    *("analysis/regrade_eval_results.py", "eval/run_offline_inference.py"),  # MedVLThinker's
    *("llava/eval/run_eval.py", "run_eval_pvqa.py"),  # LLaVA-Med's; above, MedEvalKit's
    "MedicalEval/Question-answering_Score/utils/medicalqa.py",  # OmniMedVQA's
    "task_datasets/medical_datasets.py",
    *("GMAI-MMBench_VAL.tsv", "GMAI_mm_bench_VAL.tsv", "GMAI_mm_bench_TEST_part_1.tsv"),
    "matrix.yaml",  # a user's
}
"""What docstrings cite that is not ours."""
