"""The five subjects of MMMU that the field calls MMMU-Med, in the validation and dev splits.

The data set on the Hugging Face hub (MMMU/MMMU) has a folder a subject with Parquet files: id,
question, options (a list, written as text), explanation, image_1 to image_7, img_type, answer,
topic_difficulty, question_type (multiple-choice or open) and subfield. Answers of the test split
are not published.
"""

from __future__ import annotations

import ast
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

SUBJECTS = (
    "Basic_Medical_Science",
    "Clinical_Medicine",
    "Diagnostics_and_Laboratory_Medicine",
    "Pharmacy",
    "Public_Health",
)
_IMAGES = [f"image_{number}" for number in range(1, 8)]
_USED = ("id", "question", "options", "answer", "question_type", *_IMAGES)
_TAG = re.compile(r"\s*<image \d+>\s*")


def _item_of(record: Record, path: str) -> BenchmarkItem:
    item: dict[str, object] = {
        "id": text_of(record, "id"),
        "question": _TAG.sub(" ", text_of(record, "question")).strip(),
        "ground_truth": text_of(record, "answer"),
        "question_type": next((name for name in SUBJECTS if name in path), ""),
    }
    if options := _options(text_of(record, "options")):
        item |= {"options": options, "answer_type": "multiple_choice"}
    return BenchmarkItem(rest_of(record, _USED) | item, embedded_images(record, _IMAGES))


def _options(text: str) -> dict[str, str]:
    try:
        values = ast.literal_eval(text) if text else []
    except (ValueError, SyntaxError):
        return {}
    texts = values if isinstance(values, list) else []
    return dict(zip(ascii_uppercase, map(str, texts), strict=False))


BENCHMARK = Benchmark(
    title="MMMU-Med",
    files={
        re.compile(rf"(?:.*/)?(?:{'|'.join(SUBJECTS)})/{split}-[^/]*\.parquet"): split
        for split in ("dev", "validation")
    },
    item_of=_item_of,
    hub="MMMU/MMMU",
    published={"dev": 25, "validation": 150},
    defects=(
        "MedEvalKit takes the 150 questions of validation; MedVLThinker takes validation and dev "
        "together, without open questions, and removes the image tags, as is done here.",
    ),
)
