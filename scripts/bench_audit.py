"""Measure time and memory of `medr1 data audit` on generated data of OmniMedVQA's size.

    .venv/bin/python scripts/bench_audit.py [--train 45827] [--test 17662] [--keep FOLDER]

The data are questions and answers without images, in the form of the published splits. They are
composed like the published ones: eight modalities in 42 data sets; 90 % of the items with four
options, nearly all others with two; every third question in a new wording; wrong options that are
almost never the right answer of another item. A fifth of the test images are in the training file.
The script prints the wall time and the peak memory of the process that runs the audit.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MODALITIES = (
    *("CT", "MRI", "X-Ray", "Ultrasound", "Dermoscopy"),
    *("Fundus Photography", "OCT", "Microscopy"),
)
_OPENINGS = ("What", "Which", "Can you tell which", "Please state which", "Identify which")
_NOUNS = (
    *("abnormality", "anomaly", "disease", "condition", "finding", "structure", "organ", "lesion"),
    *("modality", "imaging technique", "diagnosis", "stage", "grade", "pathology", "tissue"),
)
_VERBS = ("is shown", "is depicted", "is visible", "can be seen", "is present", "is displayed")
_PLACES = ("in", "within", "on", "throughout")
_IMAGE_WORDS = ("image", "picture", "photograph", "scan", "radiograph", "medical image", "view")
_ENDS = ("", " here", " above", " of this patient", " given below", " provided", " at hand")


def make_items(count: int, seed: int, images: list[str]) -> list[dict[str, str]]:
    """Generate `count` items; a fifth of them use one of `images`, if there are any."""
    rng = random.Random(seed)
    items = []
    for number in range(count):
        source = min(int(rng.expovariate(0.12)), 41)
        if images and rng.random() < 0.2:
            image = rng.choice(images)
        else:
            image = f"Images/Set {source:02d}/{'train' if seed else 'test'}/{number:06d}.png"
        num_options = rng.choices((4, 2, 3), (0.902, 0.096, 0.002))[0]
        if num_options == 2:
            answer, *options = rng.sample(["Yes", "No"], 2)
            options.append(answer)
        else:
            answer = f"condition {source:02d}-{min(int(rng.expovariate(0.5)), 30)} of the organ"
            # 120 seeds for each data set, so that sets of wrong options are repeated
            option_rng = random.Random(f"{source} {rng.randrange(120)}")
            distractors = [
                f"{option_rng.choice(_NOUNS)} type {option_rng.randrange(150)}" for _ in range(3)
            ]
            options = [answer, *distractors[: num_options - 1]]
        rng.shuffle(options)
        letter = "ABCD"[options.index(answer)]
        option_list = ", ".join(f"{'ABCD'[i]}){text}" for i, text in enumerate(options))
        question = _question(rng)
        problem, solution = f"{question} {option_list}", f"<answer> {letter} </answer>"
        group = {"modality": MODALITIES[source % 8], "question_type": f"type {source % 5}"}
        items.append({"image": image, "problem": problem, "solution": solution, **group})
    return items


def _question(rng: random.Random) -> str:
    """A question in a common wording, or in a third of the cases in one that is hardly repeated."""
    is_rare = rng.random() < 0.33
    parts = (_OPENINGS, _NOUNS, _VERBS, _PLACES, _IMAGE_WORDS, _ENDS)
    opening, noun, verb, place, image, end = (
        rng.choice(part if is_rare else part[:3]) for part in parts
    )
    number = f", numbered {rng.randrange(10**6)} in the archive," if is_rare else ""
    return f"{opening} {noun}{number} {verb} {place} this {image}{end}?"


def main() -> None:
    """Write the data, audit it, and print time and memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=int, default=45_827, help="number of training items")
    parser.add_argument("--test", type=int, default=17_662, help="number of test items")
    parser.add_argument("--keep", type=Path, help="folder for data and audit")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = arguments.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        train = make_items(arguments.train, 1, [])
        test = make_items(arguments.test, 0, [item["image"] for item in train])
        (folder / "train.json").write_text(json.dumps(train, indent=1))
        (folder / "test.json").write_text(json.dumps(test, indent=1))
        del train, test
        files = [str(folder / "test.json"), "--against", str(folder / "train.json")]
        output = ["--output-dir", str(folder / "audit"), "--overwrite"]
        command = [sys.executable, "-m", "medr1", "data", "audit", *files, *output]
        started = time.perf_counter()
        subprocess.run(command, check=True)
        seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (1 << 10)
    if sys.platform == "darwin":  # macOS counts bytes, Linux kilobytes
        peak /= 1 << 10
    size = f"{arguments.train:,} training and {arguments.test:,} test items"
    print(f"{size}: {seconds:.1f} s, peak {peak:.0f} MB")


if __name__ == "__main__":
    main()
