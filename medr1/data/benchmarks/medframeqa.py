"""MedFrameQA: 2,851 multiple-choice questions on two to five frames of medical videos.

The data set on the Hugging Face hub (SuhaoYu1020/MedFrameQA) has Parquet files of one split, test,
with question, options (a list), correct_answer (a letter) and image_1 to image_5.
"""

from __future__ import annotations

import re
from string import ascii_uppercase

from medr1.data.benchmarks.benchmark import (
    Benchmark,
    BenchmarkItem,
    Record,
    embedded_images,
    rest_of,
    text_of,
)

_IMAGES = [f"image_{number}" for number in range(1, 6)]
_USED = ("question", "options", "correct_answer", "question_id", *_IMAGES)


def _item_of(record: Record, path: str) -> BenchmarkItem:
    options = record.get("options")
    texts = list(map(str, options)) if isinstance(options, list) else []
    item = {
        "id": text_of(record, "question_id"),
        "question": text_of(record, "question"),
        "options": dict(zip(ascii_uppercase, texts, strict=False)),
        "ground_truth": text_of(record, "correct_answer"),
        "answer_type": "multiple_choice",
    }
    return BenchmarkItem(rest_of(record, _USED) | item, embedded_images(record, _IMAGES))


BENCHMARK = Benchmark(
    title="MedFrameQA",
    files={re.compile(r"(?:.*/)?test-[^/]*\.parquet"): "test"},
    item_of=_item_of,
    hub="SuhaoYu1020/MedFrameQA",
    licence="cc-by-4.0",
    published={"test": 2851},
)
