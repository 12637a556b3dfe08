"""RadImageNet-VQA: 9,000 questions on CT and MRI, made to be hard without the image.

The data set on the Hugging Face hub (raidium/RadImageNet-VQA) has, in the folder benchmark, Parquet
files of one split, test: image, question, choices (a list, or null), answer (a letter, yes or no,
or text), question_type (multiple_choice, closed or open) and metadata (content_type, correct_text,
is_abnormal, location, modality, pathology, question_id).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from string import ascii_uppercase

from medr1.data.benchmarks.benchmark import (
    Benchmark,
    BenchmarkItem,
    Record,
    embedded_images,
    rest_of,
    text_of,
)


def _item_of(record: Record, path: str) -> BenchmarkItem:
    metadata = record.get("metadata")
    known: Mapping[str, object] = metadata if isinstance(metadata, Mapping) else {}
    item: dict[str, object] = {
        "id": text_of(known, "question_id"),
        "question": text_of(record, "question"),
        "ground_truth": text_of(record, "answer"),
        "modality": text_of(known, "modality"),
        "question_type": text_of(known, "content_type"),
    }
    kind = text_of(record, "question_type")
    choices = record.get("choices")
    if kind == "multiple_choice" and isinstance(choices, list):
        item["options"] = dict(zip(ascii_uppercase, map(str, choices), strict=False))
        item["answer_type"] = "multiple_choice"
    else:
        item["answer_type"] = "CLOSED" if kind == "closed" else "OPEN"
    rest = rest_of(known, ("question_id", "modality", "content_type"))
    return BenchmarkItem(rest | item, embedded_images(record, ["image"]))


BENCHMARK = Benchmark(
    title="RadImageNet-VQA",
    files={re.compile(r"(?:.*/)?test-[^/]*\.parquet"): "test"},
    item_of=_item_of,
    hub="raidium/RadImageNet-VQA/benchmark",
    licence="apache-2.0",
    published={
        "test": 9000,
        "test multiple_choice": 2000,
        "test closed": 5000,
        "test open": 2000,
    },
)
