"""VQA-Med 2019 of ImageCLEF: open questions on radiology images.

The repository abachaa/VQA-Med-2019 has All_QA_Pairs_train.txt and All_QA_Pairs_val.txt (image id,
question, answer) and VQAMed2019_Test_Questions_w_Ref_Answers.txt (image id, category, question,
answer), with "|" between the values, and the images in Train_images, Val_images and
VQAMed2019_Test_Images, also zipped. "#" separates several right answers.
"""

from __future__ import annotations

import re

from medr1.data.benchmarks.benchmark import (
    Benchmark,
    BenchmarkItem,
    Record,
    closed_by_answer,
)

_FOLDERS = ("Train_images", "Val_images", "VQAMed2019_Test_Images", "Test_images")


def _item_of(record: Record, path: str) -> BenchmarkItem | None:
    values = record.get("values")
    if not isinstance(values, list) or len(values) not in (3, 4):
        return None
    image, *category, question, answers = map(str, values)
    answer, *others = answers.split("#")
    item: dict[str, object] = {
        "question": question.strip(),
        "ground_truth": answer.strip(),
        "answer_type": closed_by_answer(answer.strip()),
    }
    if category:
        item["question_type"] = category[0].strip()
    if others:
        item["other_answers"] = [other.strip() for other in others]
    name = f"{image.strip()}.jpg"
    return BenchmarkItem(item, [(*(f"{folder}/{name}" for folder in _FOLDERS), name)])


BENCHMARK = Benchmark(
    title="VQA-Med-2019",
    files={
        re.compile(r"(?:.*/)?All_QA_Pairs_train\.txt"): "train",
        re.compile(r"(?:.*/)?All_QA_Pairs_val\.txt"): "validation",
        re.compile(r"(?:.*/)?VQAMed2019_Test_Questions_w_Ref_Answers\.txt"): "test",
    },
    item_of=_item_of,
    published={"train": 12792, "validation": 2000, "test": 500},
    defects=(
        "Some questions have several right answers, separated by #. The first is the ground truth "
        "here; the others are in the metadata as other_answers.",
    ),
)
