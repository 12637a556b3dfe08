"""PathVQA: 6,719 test questions on images of pathology.

The data set on the Hugging Face hub (flaviagiammarino/path-vqa) has Parquet files with image,
question and answer. A question is closed if its answer is yes or no.
"""

from __future__ import annotations

import re

from medr1.data.benchmarks.benchmark import (
    Benchmark,
    BenchmarkItem,
    Record,
    closed_by_answer,
    embedded_images,
    text_of,
)


def _item_of(record: Record, path: str) -> BenchmarkItem:
    answer = text_of(record, "answer")
    item = {
        "question": text_of(record, "question"),
        "ground_truth": answer,
        "answer_type": closed_by_answer(answer),
    }
    return BenchmarkItem(item, embedded_images(record, ["image"]))


BENCHMARK = Benchmark(
    title="PathVQA",
    files={
        re.compile(rf"(?:.*/)?{split}-[^/]*\.parquet"): split
        for split in ("train", "validation", "test")
    },
    item_of=_item_of,
    hub="flaviagiammarino/path-vqa",
    licence="mit",
    published={"train": 19654, "validation": 6259, "test": 6719},
    defects=(
        "Questions were made from captions by rules, and some are no sentences.",
        "Some images are in CMYK.",
    ),
)
