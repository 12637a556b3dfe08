"""SLAKE: questions in English and Chinese on CT, MRI and X-ray images.

The data set on the Hugging Face hub (BoKelvin/SLAKE) has train.json, validation.json (validate.json
before), test.json and imgs.zip, with img_name ("xmlab1/source.jpg"), question, answer, q_lang,
answer_type (OPEN or CLOSED), modality, location, base_type, content_type, triple, qid and img_id.
"""

from __future__ import annotations

import re

from medr1.data.benchmarks.benchmark import Benchmark, BenchmarkItem, Record, rest_of, text_of

_USED = ("img_name", "question", "answer", "answer_type", "q_lang", "modality", "qid")


def _item_of(record: Record, path: str) -> BenchmarkItem:
    name = text_of(record, "img_name")
    item = {
        "id": text_of(record, "qid"),
        "question": text_of(record, "question"),
        "ground_truth": text_of(record, "answer"),
        "answer_type": text_of(record, "answer_type").upper(),
        "modality": text_of(record, "modality"),
        "question_type": text_of(record, "content_type"),
        "language": text_of(record, "q_lang"),
    }
    return BenchmarkItem(rest_of(record, _USED) | item, [(f"imgs/{name}", name)])


BENCHMARK = Benchmark(
    title="SLAKE",
    files={
        re.compile(r"(?:[^/]+/)?train\.json"): "train",
        re.compile(r"(?:[^/]+/)?validat(?:ion|e)\.json"): "validation",
        re.compile(r"(?:[^/]+/)?test\.json"): "test",
    },
    item_of=_item_of,
    hub="BoKelvin/SLAKE",
    licence="cc-by-4.0",
    published={"train en": 4919, "validation en": 1053, "test en": 1061},
    defects=(
        "test.json has questions in English and Chinese; many published figures are for the "
        "English ones only (--group-by language shows both).",
        "One answer of train.json is empty (qid 1622).",
        "CLOSED questions are not all yes/no questions: their answers are also sides and organs.",
    ),
)
