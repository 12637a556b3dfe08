"""Compare the speed of `medr1 eval` with that of a plain loop, on a million predictions in JSONL.

    python scripts/bench_eval.py                     1,000,000 rows, medr1's own schema
    python scripts/bench_eval.py --schema guide      the guide's {"question", "ground_truth", ...}
    python scripts/bench_eval.py --rows 100000 --rounds 3

The predictions are generated: four kinds of answers, two questions per image, 25 words of
reasoning. Both programs compute accuracy, exact match, counting accuracy and token F1; `medr1 eval`
also computes an interval for each, overall and in each group. The loop reads a line, searches for
<answer> and compares texts. Memory is the sum over the process and its children, measured ten
times a second.
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
    """Generate `n` predictions as lines of JSONL, in the schema "own" or "guide"."""
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
        ground_truth = rng.choice(answers)
        answer = ground_truth if rng.random() < 0.6 else rng.choice(answers)
        completion = f"<think>{' '.join(rng.choices(WORDS, k=25))}</think><answer>{answer}</answer>"
        row = {
            "question": f"What does image {i // 2} show?",
            "options": options,
            "ground_truth": ground_truth,
            "question_type": rng.choice(("Disease Diagnosis", "Anatomy Identification")),
            "modality": rng.choice(("CT", "MRI", "X-Ray")),
            "model_output": completion,
        }
        if schema == "guide":
            yield json.dumps({"image": f"images/{i // 2:07}.png", **row}) + "\n"
            continue
        answer_type = "multiple_choice" if kind == "letter" else kind
        first = {"id": f"item-{i:07}", "images": [f"images/{i // 2:07}.png"]}
        last: dict[str, object] = {
            "answer_type": answer_type,
            "dataset": "made-up",
            "metadata": {},
            "samples": [],
        }
        last |= {"extracted_answer": answer, "finish_reason": "stop", "num_tokens": 40}
        yield json.dumps({**first, **row, **last, "error": None}) + "\n"


ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize(text: str) -> str:
    """The text in lower case, without punctuation, articles and repeated blanks."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def loop(path: Path) -> dict[str, float]:
    """Compute the four metrics with a plain loop."""
    right, exact, f1, right_counts = [], [], [], []
    with path.open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            match = re.search(r"<answer>(.*?)</answer>", row["model_output"], re.DOTALL)
            answer, ground_truth = match[1].strip() if match else "", row["ground_truth"]
            right.append(answer == ground_truth)
            if ground_truth.isdigit():
                right_counts.append(answer == ground_truth)
            answer, ground_truth = (
                normalize(row["options"].get(text, text)) for text in (answer, ground_truth)
            )
            exact.append(answer == ground_truth)
            tokens, true_tokens = set(answer.split()), set(ground_truth.split())
            common = len(tokens & true_tokens)
            f1.append(2 * common / (len(tokens) + len(true_tokens)) if common else 0.0)
    scores = {
        "accuracy": right,
        "exact_match": exact,
        "counting_accuracy": right_counts,
        "token_f1": f1,
    }
    return {name: sum(values) / len(values) for name, values in scores.items()}


def timed(command: list[str]) -> tuple[float, float, dict[str, float]]:
    """Run a command; its seconds, its peak memory in MB and the metrics that it printed."""
    start, peak = time.monotonic(), 0
    with tempfile.TemporaryFile("w+", encoding="utf-8") as out:
        process = subprocess.Popen(command, stdout=out)
        process_info = psutil.Process(process.pid)
        while process.poll() is None:
            peak = max(peak, resident_bytes(process_info))
            time.sleep(0.1)
        seconds = time.monotonic() - start
        if process.returncode:
            raise SystemExit(process.returncode)
        out.seek(0)
        document = json.load(out)
    metrics = document.get("metrics", document)  # eval's summary, or the loop's values
    values = {name: m["value"] if isinstance(m, dict) else m for name, m in metrics.items()}
    return seconds, peak / 1e6, values


def resident_bytes(process: psutil.Process) -> int:
    """The memory of a process and its children in bytes."""
    total = 0
    try:
        for member in (process, *process.children(recursive=True)):
            total += member.memory_info().rss
    except psutil.NoSuchProcess:
        pass  # it has ended since the list of children was made
    return total


def main() -> None:
    """Write the predictions, time both programs in turn, and compare their metrics."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="number of predictions")
    parser.add_argument("--schema", choices=("own", "guide"), default="own", help="field names")
    parser.add_argument("--rounds", type=int, default=1, help="how often to time both programs")
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
        eval_command = [sys.executable, "-m", "medr1", "eval", str(path)]
        eval_command += ["--metrics", METRICS, "--json"]
        loop_command = [sys.executable, __file__, "--loop", str(path)]
        ratios = []
        for number in range(args.rounds):
            seconds, peak, metrics = timed(eval_command)
            loop_seconds, loop_peak, loop_metrics = timed(loop_command)
            ratios.append(seconds / loop_seconds)
            print(f"round {number + 1}: medr1 eval {seconds:.1f} s, {peak:.0f} MB; ", end="")
            print(f"loop {loop_seconds:.1f} s, {loop_peak:.0f} MB; ", end="")
            print(f"ratio {ratios[-1]:.2f}", flush=True)
            for name, value in loop_metrics.items():
                is_equal = abs(value - metrics[name]) < 1e-9
                comparison = "the same" if is_equal else f"loop {value:.6f}"
                print(f"  {name} {metrics[name]:.6f} ({comparison})")
        print(f"median ratio {median(ratios):.2f}")


if __name__ == "__main__":
    main()
