"""Functions of a task of lmms-eval whose answers medr1 judges.

`medr1 data convert --to lmms-eval` writes this file beside the task, which calls it `utils`. It
imports nothing of medr1, since lmms-eval may need other versions of its libraries. medr1 runs in a
process of its own, with the Python of the environment variable MEDR1_PYTHON, or else with the one
that wrote the task.
"""

import base64
import functools
import io
import json
import os
import subprocess
import threading
from typing import Any

PYTHON = "python"
_LOCK = threading.Lock()
"""lmms-eval judges in several threads; the process answers one request after the other."""


@functools.cache
def _scorer() -> "subprocess.Popen[str]":
    """The process that judges; it ends with this one."""
    python = os.environ.get("MEDR1_PYTHON", PYTHON)
    protocol = os.environ.get("MEDR1_PROTOCOL", "default")
    try:
        return subprocess.Popen(
            [python, "-m", "medr1.bridges.scorer", protocol],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
    except OSError as error:
        raise RuntimeError(
            f"{python} cannot be started ({error.strerror}). Set MEDR1_PYTHON to the Python that "
            "has medr1."
        ) from None


def score(item: dict[str, Any], completion: str) -> float:
    """1.0 if the answer is right by the rules of `medr1 eval`, else 0.0.

    Args:
        item: The question with its ground truth, as an object.
        completion: What the model wrote.

    Raises:
        RuntimeError: If medr1 cannot be started, or ended.
        ValueError: If the item cannot be read.
    """
    with _LOCK:
        process = _scorer()
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps({"item": item, "completion": completion}) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
    if not line:
        raise RuntimeError("medr1 ended. Check that MEDR1_PYTHON has medr1 installed.")
    result = json.loads(line)
    if "error" in result:
        raise ValueError(result["error"])
    return float(result["correct"])


def doc_to_visual(doc: dict[str, Any]) -> list[Any]:
    """The images of a question, as PIL images in RGB.

    Args:
        doc: A line of test.jsonl.
    """
    from PIL import Image

    images = []
    for name in doc["images"]:
        source = name
        if name.startswith("data:"):
            source = io.BytesIO(base64.b64decode(name.partition(",")[2]))
        images.append(Image.open(source).convert("RGB"))
    return images


def doc_to_text(doc: dict[str, Any], lmms_eval_specific_kwargs: object = None) -> str:
    """The prompt: the question in medr1's template.

    Args:
        doc: A line of test.jsonl.
        lmms_eval_specific_kwargs: Not used: the prompt has its instruction.
    """
    return str(doc["prompt"])


def doc_to_target(doc: dict[str, Any]) -> str:
    """The right answer: a letter if the question has options.

    Args:
        doc: A line of test.jsonl.
    """
    return str(doc["ground_truth"])


def doc_to_messages(
    doc: dict[str, Any], lmms_eval_specific_kwargs: object = None
) -> list[dict[str, Any]]:
    """The prompt with its images, for models that take chat messages.

    Args:
        doc: A line of test.jsonl.
        lmms_eval_specific_kwargs: Not used: the prompt has its instruction.
    """
    content: list[dict[str, Any]] = [
        {"type": "image", "url": image} for image in doc_to_visual(doc)
    ]
    content.append({"type": "text", "text": doc_to_text(doc)})
    return [{"role": "user", "content": content}]


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """The metric of one question.

    Args:
        doc: A line of test.jsonl.
        results: What the model wrote; the first one is judged.
    """
    return {"medr1_accuracy": score(json.loads(doc["item"]), results[0] if results else "")}
