"""PMC-VQA: multiple-choice questions on figures of papers.

The data set on the Hugging Face hub (RadGenome/PMC-VQA) has test_2.csv and train_2.csv (version 2,
figures of one part; index, Figure_path, Caption, Question, Choice A to Choice D, Answer, split)
with images_2.zip, and test.csv and test_clean.csv (version 1; Figure_path, Question, Answer, Choice
A to Choice D, Answer_label) with images.zip. MedEvalKit takes test_2.csv, which is `test` here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from medr1.data.benchmarks.benchmark import Benchmark, BenchmarkItem, Record, text_of

_LETTERED = re.compile(r"\s*[A-D]\s*:\s*")


def _item_of(record: Record, path: str) -> BenchmarkItem:
    values: Mapping[str, object] = {key.strip().casefold(): v for key, v in record.items()}
    name = text_of(values, "figure_path")
    letters = "ABCD"
    item = {
        "question": text_of(values, "question"),
        "options": {x: _LETTERED.sub("", text_of(values, f"choice {x.lower()}")) for x in letters},
        "ground_truth": text_of(values, "answer_label") or text_of(values, "answer"),
        "answer_type": "multiple_choice",
    }
    if caption := text_of(values, "caption"):
        item["caption"] = caption
    return BenchmarkItem(item, [(*(f"{folder}/{name}" for folder in _FOLDERS), name)])


_FOLDERS = ("figures", "images_2", "images", "images2")
BENCHMARK = Benchmark(
    title="PMC-VQA",
    files={
        re.compile(r"(?:[^/]+/)?train_2\.csv"): "train",
        re.compile(r"(?:[^/]+/)?test_2\.csv"): "test",
        re.compile(r"(?:[^/]+/)?test\.csv"): "test-1",
        re.compile(r"(?:[^/]+/)?test_clean\.csv"): "test-clean",
    },
    item_of=_item_of,
    hub="RadGenome/PMC-VQA",
    licence="cc-by-sa",
    published={"test": 33430},
    defects=(
        "There are three test files: test_2.csv, test.csv and test_clean.csv. "
        "Published figures are for one of them, and often do not say for which.",
        "Choices begin with their letter, which is removed here.",
    ),
)
