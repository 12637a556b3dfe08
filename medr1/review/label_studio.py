"""A review as tasks of Label Studio, with their labelling configuration.

A task is a case, with the image, the texts and, as a prediction, the automatic verdict. Each
judgement is an annotation; a skipped case is a cancelled one. Label Studio's format has a user's
number as the author of an annotation, which only its own database has. So the name of the reader is
one of the answers, and survives an import and an export.

Format: Label Studio's documentation, "Import annotated data" and "Labeling configuration".
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree

from medr1.records import Prediction
from medr1.review.rubric import RUBRIC
from medr1.review.store import Judgement, Store, StoredItem

IMAGE_URL = "/data/local-files/?d="
"""What the address of an image in Label Studio's local storage begins with."""
MODEL_VERSION = "medr1 automatic verdict"
"""The name of the predictions."""
TEXTS = ("question", "options", "answer", "reasoning", "completion")
"""The keys of a task's data that are shown as text."""
_LABELLED = "answer"
"""The tag that the rubric is about."""
_LOOKS = ("first", "second")


def label_studio_config() -> str:
    """The labelling configuration, XML: what Label Studio shows of a task, and the rubric."""
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Image", name="image", valueList="$images")
    for name in TEXTS:
        ElementTree.SubElement(view, "Header", value=name.capitalize())
        ElementTree.SubElement(view, "Text", name=name, value=f"${name}")
    for question in RUBRIC:
        ElementTree.SubElement(view, "Header", value=question.text)
        _choices(view, question.key, question.categories)
    for name in ("comment", "reader"):
        ElementTree.SubElement(view, "Header", value=name.capitalize())
        ElementTree.SubElement(view, "TextArea", name=name, toName=_LABELLED, maxSubmissions="1")
    ElementTree.SubElement(view, "Header", value="Look of the reader at the case")
    _choices(view, "look", _LOOKS)
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"


def _choices(view: ElementTree.Element, name: str, values: Sequence[str]) -> None:
    """Add a question with one answer."""
    tag = ElementTree.SubElement(view, "Choices", name=name, toName=_LABELLED, choice="single")
    for value in values:
        ElementTree.SubElement(tag, "Choice", value=value)


def label_studio_tasks(
    store: Store,
    adjudication: Store | None,
    predictions: Sequence[Prediction],
    *,
    image_folder: Path,
    image_url: str = IMAGE_URL,
) -> list[dict[str, object]]:
    """The cases of a review as tasks, as JSON values, those without a judgement too.

    Annotations of an adjudicator have `ground_truth` set, if they are not skipped.

    Args:
        store: The store of the review.
        adjudication: The store of its second round; None without one.
        predictions: All items of the results file.
        image_folder: The folder with the images, which their addresses leave out.
        image_url: What the address of each image begins with.
    """
    annotations: dict[int, list[dict[str, object]]] = {}
    for one, is_final in ((store, False), (adjudication, True)):
        for judgement in one.judgements() if one else ():
            entry = _annotation(judgement, is_final=is_final)
            annotations.setdefault(judgement.place, []).append(entry)
    return [
        {
            "data": _data(predictions[item.place], item, image_folder, image_url),
            "annotations": annotations.get(item.place, []),
            "predictions": [_prediction(item)],
        }
        for item in store.items()
        if item.is_case
    ]


def _data(
    prediction: Prediction, item: StoredItem, image_folder: Path, image_url: str
) -> dict[str, object]:
    """What a task shows, and what identifies it."""
    sample = prediction.sample
    return {
        "images": [
            image_url + quote(_relative(name, image_folder), safe="/") for name in sample.images
        ],
        "question": sample.conversation,
        "options": "\n".join(f"{letter}: {text}" for letter, text in sample.options.items()),
        "answer": prediction.extracted_answer or "",
        "reasoning": prediction.reasoning or "",
        "completion": prediction.model_output or "",
        "item_id": item.item_id,
        "kind": item.kind,
        "answer_type": item.answer_type,
        "ground_truth": sample.ground_truth or "",
        "confidence": item.confidence,
    }


def _relative(name: str, folder: Path) -> str:
    """The name of an image without the folder; only the file's name if it is not below it."""
    if not os.path.isabs(name):
        return Path(name).as_posix()
    path = Path(name)
    return (path.relative_to(folder) if path.is_relative_to(folder) else Path(path.name)).as_posix()


def _prediction(item: StoredItem) -> dict[str, object]:
    """The automatic verdict as a prediction; its score is the model's confidence."""
    entry: dict[str, object] = {
        "model_version": MODEL_VERSION,
        "result": [_choice("automatic", "correct", "yes" if item.is_right else "no")],
    }
    return entry if item.confidence is None else {**entry, "score": item.confidence}


def _annotation(judgement: Judgement, *, is_final: bool) -> dict[str, object]:
    """A judgement as an annotation."""
    answers: Mapping[str, str] = {
        **judgement.ratings,
        "look": _LOOKS[int(judgement.is_repeat)],
    }
    texts = {"comment": judgement.comment, "reader": judgement.reader}
    return {
        "result": [
            *(_choice(judgement.id, name, answer) for name, answer in answers.items()),
            *(_text(judgement.id, name, text) for name, text in texts.items() if text),
        ],
        "was_cancelled": judgement.action == "skip",
        "ground_truth": is_final and judgement.action == "judge",
        "lead_time": round(judgement.seconds, 1),
        "created_at": judgement.written_at,
    }


def _choice(of: str, name: str, answer: str) -> dict[str, object]:
    """The answer to one question; `of` makes its id unique."""
    return _region(of, name, "choices", {"choices": [answer]})


def _text(of: str, name: str, text: str) -> dict[str, object]:
    return _region(of, name, "textarea", {"text": [text]})


def _region(of: str, name: str, kind: str, value: Mapping[str, object]) -> dict[str, object]:
    return {
        "id": f"{of}-{name}",
        "from_name": name,
        "to_name": _LABELLED,
        "type": kind,
        "value": dict(value),
    }
