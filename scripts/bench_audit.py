"""How long `medr1 data audit` takes, and how much memory, on made data of OmniMedVQA's size.

    .venv/bin/python scripts/bench_audit.py [--train 45827] [--test 17662] [--keep FOLDER]

Questions and answers without images, in the published splits' form, of the published composition:
eight modalities in 42 data sets, 90 % of the items with four options and nearly all others with
two, wordings of which every third is new, distractors that are almost never right elsewhere, and
a fifth of the test images in the training file. Prints the wall time and the peak memory of the
whole process, as the kernel saw it.
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
_PICTURES = ("image", "picture", "photograph", "scan", "radiograph", "medical image", "view")
_ENDS = ("", " here", " above", " of this patient", " given below", " provided", " at hand")


def make_items(count: int, seed: int, images: list[str]) -> list[dict[str, str]]:
    """So many items; `images` are those that may be asked about again."""
    deal = random.Random(seed)
    items = []
    for number in range(count):
        source = min(int(deal.expovariate(0.12)), 41)
        if images and deal.random() < 0.2:
            image = deal.choice(images)
        else:
            image = f"Images/Set {source:02d}/{'train' if seed else 'test'}/{number:06d}.png"
        size = deal.choices((4, 2, 3), (0.902, 0.096, 0.002))[0]
        if size == 2:
            gold, *options = deal.sample(["Yes", "No"], 2)
            options.append(gold)
        else:
            gold = f"condition {source:02d}-{min(int(deal.expovariate(0.5)), 30)} of the organ"
            words = random.Random(f"{source} {deal.randrange(120)}")
            others = [f"{words.choice(_NOUNS)} type {words.randrange(150)}" for _ in range(3)]
            options = [gold, *others[: size - 1]]
        deal.shuffle(options)
        right = options.index(gold)
        listed = ", ".join(f"{'ABCD'[i]}){text}" for i, text in enumerate(options))
        question = _question(deal)
        problem, solution = f"{question} {listed}", f"<answer> {'ABCD'[right]} </answer>"
        group = {"modality": MODALITIES[source % 8], "question_type": f"type {source % 5}"}
        items.append({"image": image, "problem": problem, "solution": solution, **group})
    return items


def _question(deal: random.Random) -> str:
    """A common wording, or in a third of the cases one that hardly comes again."""
    rare = deal.random() < 0.33
    parts = (_OPENINGS, _NOUNS, _VERBS, _PLACES, _PICTURES, _ENDS)
    first, noun, verb, place, picture, end = (deal.choice(p if rare else p[:3]) for p in parts)
    extra = f", numbered {deal.randrange(10**6)} in the archive," if rare else ""
    return f"{first} {noun}{extra} {verb} {place} this {picture}{end}?"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=int, default=45_827, help="training items")
    parser.add_argument("--test", type=int, default=17_662, help="test items")
    parser.add_argument("--keep", type=Path, help="write the data and the audit to this folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = given.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        train = make_items(given.train, 1, [])
        test = make_items(given.test, 0, [item["image"] for item in train])
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
    if sys.platform == "darwin":  # counted in bytes there, in kilobytes elsewhere
        peak /= 1 << 10
    size = f"{given.train:,} training and {given.test:,} test items"
    print(f"{size}: {seconds:.1f} s, peak {peak:.0f} MB")


if __name__ == "__main__":
    main()
