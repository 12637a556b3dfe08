"""MedXpertQA MM: 2,000 expert questions with one or more images and five options.

The data set on the Hugging Face hub (TsinghuaC3I/MedXpertQA) has MM/dev.jsonl, MM/test.jsonl and
images.zip, with id, question, options (an object), label, images (a list of names), medical_task,
body_system and question_type. The options are in the question as well, after "Answer Choices:".
"""

from __future__ import annotations

import re

from medr1.data.benchmarks.benchmark import Benchmark, BenchmarkItem, Record, rest_of, text_of

_USED = ("id", "question", "options", "label", "images", "question_type")


def _item_of(record: Record, path: str) -> BenchmarkItem:
    names = record.get("images")
    item = {
        "id": text_of(record, "id"),
        "question": text_of(record, "question").split("\nAnswer Choices:")[0].strip(),
        "options": record.get("options"),
        "ground_truth": text_of(record, "label"),
        "answer_type": "multiple_choice",
        "question_type": text_of(record, "question_type"),
    }
    images = [(f"images/{name}", str(name)) for name in names] if isinstance(names, list) else []
    return BenchmarkItem(rest_of(record, _USED) | item, images)


BENCHMARK = Benchmark(
    title="MedXpertQA-MM",
    files={re.compile(rf"(?:[^/]+/)?MM/{split}\.jsonl"): split for split in ("dev", "test")},
    item_of=_item_of,
    hub="TsinghuaC3I/MedXpertQA",
    published={"dev": 5, "test": 2000},
    defects=("The question text repeats the options; the repetition is removed here.",),
)
