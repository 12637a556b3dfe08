"""Functions of a task of lmms-eval whose answers medr1 judges.

`medr1 data convert --to lmms-eval` writes this file beside the task, with the name utils.py. It
imports nothing of medr1, since lmms-eval needs other versions of its libraries. medr1 runs in a
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

PYTHON = "python"
_LOCK = threading.Lock()
"""lmms-eval judges in several threads; the process answers one request after the other."""


@functools.cache
def _scorer():
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


def score(item, completion):
    """1.0 if the answer is right by the rules of `medr1 eval`, else 0.0.

    Args:
        item: The question with its ground truth, as an object.
        completion: What the model wrote.
    """
    with _LOCK:
        process = _scorer()
        process.stdin.write(json.dumps({"item": item, "completion": completion}) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
    if not line:
        raise RuntimeError("medr1 ended. Check that MEDR1_PYTHON has medr1 installed.")
    result = json.loads(line)
    if "error" in result:
        raise ValueError(result["error"])
    return float(result["correct"])


def doc_to_visual(doc):
    """The images of a question, as PIL images in RGB."""
    from PIL import Image

    images = []
    for name in doc["images"]:
        source = name
        if name.startswith("data:"):
            source = io.BytesIO(base64.b64decode(name.partition(",")[2]))
        images.append(Image.open(source).convert("RGB"))
    return images


def doc_to_text(doc, lmms_eval_specific_kwargs=None):
    """The prompt: the question in medr1's template."""
    return doc["prompt"]


def doc_to_target(doc):
    """The right answer: a letter if the question has options."""
    return doc["ground_truth"]


def doc_to_messages(doc, lmms_eval_specific_kwargs=None):
    """The prompt with its images, for models that take chat messages."""
    content = [{"type": "image", "url": image} for image in doc_to_visual(doc)]
    content.append({"type": "text", "text": doc_to_text(doc)})
    return [{"role": "user", "content": content}]


def process_results(doc, results):
    """The metric of one question."""
    return {"medr1_accuracy": score(json.loads(doc["item"]), results[0] if results else "")}
