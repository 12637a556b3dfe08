"""VQA-RAD: 451 test questions on radiology images.

Two forms are read. The data set on the Hugging Face hub (flaviagiammarino/vqa-rad) has Parquet
files with image, question and answer, without duplicates; a question is closed if its answer is yes
or no.
The authors' file on OSF, "VQA_RAD Dataset Public.json", has qid, image_name, question, answer,
answer_type, phrase_type and more; its test questions have a phrase_type that begins with "test".
"""

from __future__ import annotations

import re

from medr1.data.benchmarks.benchmark import (
    Benchmark,
    BenchmarkItem,
    Record,
    closed_by_answer,
    embedded_images,
    rest_of,
    text_of,
)

_USED = ("image", "question", "answer", "answer_type", "qid", "image_name", "question_type")


def _item_of(record: Record, path: str) -> BenchmarkItem:
    answer = text_of(record, "answer")
    if answer.casefold() in ("yes", "no"):
        answer = answer.lower()
    item = {"question": text_of(record, "question"), "ground_truth": answer}
    if not path.endswith(".json"):
        item["answer_type"] = closed_by_answer(answer)
        return BenchmarkItem(item, embedded_images(record, ["image"]))
    name = text_of(record, "image_name")
    phrase = text_of(record, "phrase_type")
    item |= {"id": text_of(record, "qid"), "answer_type": text_of(record, "answer_type").upper()}
    item |= {"question_type": text_of(record, "question_type")}
    return BenchmarkItem(
        rest_of(record, _USED) | item,
        [(f"VQA_RAD Image Folder/{name}", f"images/{name}", name)],
        "test" if phrase.startswith("test") else "train",
    )


BENCHMARK = Benchmark(
    title="VQA-RAD",
    files={
        re.compile(r"(?:.*/)?train-[^/]*\.parquet"): "train",
        re.compile(r"(?:.*/)?test-[^/]*\.parquet"): "test",
        re.compile(r"(?:.*/)?VQA_RAD[ _]Dataset[ _]Public\.json"): None,
    },
    item_of=_item_of,
    hub="flaviagiammarino/vqa-rad",
    licence="cc0-1.0",
    # the data set on the hub, then the authors' file
    published={
        "train": (1793, 1797),
        "test": 451,
        "test closed": (251, 272),
        "test open": (200, 179),
    },
    defects=(
        "Closed means an answer of yes or no. The authors' own file marks more questions as "
        "CLOSED, such as those with two choices, so that figures for closed questions differ.",
    ),
)
