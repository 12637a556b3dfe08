"""OmniMedVQA's open-access part: multiple-choice questions of 42 data sets.

OmniMedVQA.zip (foreverbeliever/OmniMedVQA on the Hugging Face hub) has
QA_information/Open-access/*.json with dataset, question_id, question_type, question, gt_answer (the
text of the right option), image_path, option_A to option_D and modality_type. It has no split.
"""

from __future__ import annotations

import re

from medr1.data.benchmarks.benchmark import Benchmark, BenchmarkItem, Record, rest_of, text_of


def _item_of(record: Record, path: str) -> BenchmarkItem:
    name = text_of(record, "image_path")
    item = rest_of(record, ("image_path", "dataset"))
    item["source_dataset"] = text_of(record, "dataset")
    return BenchmarkItem(item, [(name,)])


BENCHMARK = Benchmark(
    title="OmniMedVQA",
    files={re.compile(r"(?:[^/]+/)?QA_information/Open-access/[^/]+\.json"): "test"},
    item_of=_item_of,
    hub="foreverbeliever/OmniMedVQA",
    published={"test": 88996},
    defects=(
        "The records of Chest CT Scan.json have `modality` in place of `modality_type`.",
        "Some questions offer the same option twice.",
        "There is no official split into train and test, and most published figures are for all.",
    ),
)
