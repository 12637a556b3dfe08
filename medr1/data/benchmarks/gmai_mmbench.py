"""GMAI-MMBench: multiple-choice questions of 284 data sets, with up to five options.

The data set on the Hugging Face hub (OpenGVLab/GMAI-MMBench) has GMAI_mm_bench_VAL.tsv and
GMAI_mm_bench_TEST_part_1.tsv to part 11 (VLMEvalKit's copy is GMAI-MMBench_VAL.tsv), with index,
image (base64), question, A to E, answer (a letter), "clinical vqa task", department and "perceptual
granularity".
"""

from __future__ import annotations

import base64
import binascii
import re

from medr1.data.benchmarks.benchmark import Benchmark, BenchmarkItem, Record, rest_of, text_of

_LETTERS = "ABCDE"
_USED = ("index", "image", "question", "answer", *_LETTERS)


def _item_of(record: Record, path: str) -> BenchmarkItem:
    options = {letter: text_of(record, letter) for letter in _LETTERS}
    item = {
        "id": text_of(record, "index"),
        "question": text_of(record, "question"),
        "options": {letter: text for letter, text in options.items() if text},
        "ground_truth": text_of(record, "answer"),
        "answer_type": "multiple_choice",
        "question_type": text_of(record, "clinical vqa task"),
    }
    try:
        images = [base64.b64decode(text_of(record, "image"), validate=True)]
    except (binascii.Error, ValueError):
        images = []
    return BenchmarkItem(rest_of(record, _USED) | item, images)


BENCHMARK = Benchmark(
    title="GMAI-MMBench",
    files={
        re.compile(r"(?:[^/]+/)?GMAI[-_].*VAL\.tsv", re.IGNORECASE): "validation",
        re.compile(r"(?:[^/]+/)?GMAI[-_].*TEST(?:_part_\d+)?\.tsv", re.IGNORECASE): "test",
    },
    item_of=_item_of,
    hub="OpenGVLab/GMAI-MMBench",
    licence="apache-2.0",
    published={},
    defects=(
        "Answers of test that are not published are left out here; most published figures are for "
        "validation.",
    ),
)
