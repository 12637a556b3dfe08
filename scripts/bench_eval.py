"""Time `medr1 eval` on a million rows of JSONL beside a straightforward loop.

    python scripts/bench_eval.py                     1,000,000 rows, medr1's own schema
    python scripts/bench_eval.py --schema guide      the guide's {"question", "ground_truth", ...}
    python scripts/bench_eval.py --rows 100000 --rounds 3

The rows are made up: four kinds of answers, two questions an image, 25 words of reasoning. Both
compute accuracy, exact match, counting accuracy and token F1; `medr1 eval` also has an interval for
each, overall and in each group. The loop reads a line, searches <answer>, compares texts. Memory is
what the process and its children hold together, sampled ten times a second.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import psutil

METRICS = "accuracy,exact_match,counting_accuracy,token_f1"
OPTIONS = ("CT", "MRI", "X-ray", "Ultrasound", "Fundus Photography", "Dermoscopy", "OCT")
FINDINGS = ("pleural effusion", "no fracture", "left lower lobe", "glioma", "normal retina")
WORDS = (
    "the",
    "image",
    "shows",
    "a",
    "dense",
    "round",
    "area",
    "near",
    "its",
    "border",
    "of",
    "this",
)


def rows(n: int, schema: str, seed: int = 0) -> Iterator[str]:
    """`n` lines of JSONL."""
    rng = random.Random(seed)
    for i in range(n):
        kind = rng.choices(("letter", "yes_no", "count", "open"), (6, 2, 1, 1))[0]
        options: dict[str, str] = {}
        if kind == "letter":
            options = dict(zip("ABCD", rng.sample(OPTIONS, 4), strict=True))
            answers = list(options)
        else:
            answers = {
                "yes_no": ["Yes", "No"],
                "count": list(map(str, range(10))),
                "open": list(FINDINGS),
            }[kind]
        gold = rng.choice(answers)
        said = gold if rng.random() < 0.6 else rng.choice(answers)
        output = f"<think>{' '.join(rng.choices(WORDS, k=25))}</think><answer>{said}</answer>"
        row = {
            "question": f"What does image {i // 2} show?",
            "options": options,
            "ground_truth": gold,
            "question_type": rng.choice(("Disease Diagnosis", "Anatomy Identification")),
            "modality": rng.choice(("CT", "MRI", "X-Ray")),
            "model_output": output,
        }
        if schema == "guide":
            yield json.dumps({"image": f"images/{i // 2:07}.png", **row}) + "\n"
            continue
        answer_type = "multiple_choice" if kind == "letter" else kind
        about = {"id": f"item-{i:07}", "images": [f"images/{i // 2:07}.png"]}
        after = {"answer_type": answer_type, "dataset": "made-up", "metadata": {}, "samples": []}
        after |= {"extracted_answer": said, "finish_reason": "stop", "num_tokens": 40}
        yield json.dumps({**about, **row, **after, "error": None}) + "\n"


ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


def normal(text: str) -> str:
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def loop(path: Path) -> dict[str, float]:
    """The straightforward loop."""
    right, exact, f1, counted = [], [], [], []
    with path.open() as file:
        for line in file:
            row = json.loads(line)
            match = re.search(r"<answer>(.*?)</answer>", row["model_output"], re.DOTALL)
            said, gold = match[1].strip() if match else "", row["ground_truth"]
            right.append(said == gold)
            if gold.isdigit():
                counted.append(said == gold)
            said, gold = (normal(row["options"].get(text, text)) for text in (said, gold))
            exact.append(said == gold)
            a, b = set(said.split()), set(gold.split())
            common = len(a & b)
            f1.append(2 * common / (len(a) + len(b)) if common else 0.0)
    values = {"accuracy": right, "exact_match": exact, "counting_accuracy": counted, "token_f1": f1}
    return {name: sum(found) / len(found) for name, found in values.items()}


def timed(command: list[str]) -> tuple[float, float, dict[str, float]]:
    """(seconds, MB at most, the metrics) of a process and its children."""
    start, most = time.monotonic(), 0
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(command, stdout=out)
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            most = max(most, resident(watched))
            time.sleep(0.1)
        seconds = time.monotonic() - start
        if process.returncode:
            raise SystemExit(process.returncode)
        out.seek(0)
        document = json.load(out)
    found = document.get("metrics", document)
    values = {k: v["value"] if isinstance(v, dict) else v for k, v in found.items()}
    return seconds, most / 1e6, values


def resident(process: psutil.Process) -> int:
    """Bytes that the process and its children hold."""
    total = 0
    try:
        for one in (process, *process.children(recursive=True)):
            total += one.memory_info().rss
    except psutil.NoSuchProcess:
        pass  # it ended between two looks
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--schema", choices=("own", "guide"), default="own")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--loop", metavar="FILE", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.loop:
        print(json.dumps(loop(Path(args.loop))))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.jsonl"
        with path.open("w") as file:
            file.writelines(rows(args.rows, args.schema))
        size = path.stat().st_size / 1e6
        print(f"{args.rows:,} rows, {size:.0f} MB, schema {args.schema}")
        ours = [sys.executable, "-m", "medr1", "eval", str(path), "--metrics", METRICS, "--json"]
        plain = [sys.executable, __file__, "--loop", str(path)]
        ratios = []
        for number in range(args.rounds):
            a, b = timed(ours), timed(plain)
            ratios.append(a[0] / b[0])
            print(f"round {number + 1}: medr1 eval {a[0]:.1f} s, {a[1]:.0f} MB; ", end="")
            print(f"loop {b[0]:.1f} s, {b[1]:.0f} MB; ratio {ratios[-1]:.2f}", flush=True)
            for name, value in b[2].items():
                same = "the same" if abs(value - a[2][name]) < 1e-9 else f"loop {value:.6f}"
                print(f"  {name} {a[2][name]:.6f} ({same})")
        print(f"median ratio {median(ratios):.2f}")


if __name__ == "__main__":
    main()
