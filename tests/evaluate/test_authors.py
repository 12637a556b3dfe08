"""`--protocol authors`: the original's figures, one script a file, the same at any load."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import psutil
import pytest

from medr1.answers import resolve_protocol
from medr1.documents.summary import Summary
from medr1.evaluate.judging import Settings, judge_all
from medr1.evaluate.reading.results import read_results

LOGS = os.environ.get("MEDR1_ORIGINAL_LOGS")
"""A folder with the logs of the original's repository, src/eval/logs, where somebody has them."""
ROOTS = (2, 3, 5, 6, 7, 10, 11, 13)


def geometry_outputs():
    """Gold and output, as in the geometry logs: golds in LaTeX and whole numbers mixed."""
    for n in range(4, 34):
        root = ROOTS[n % len(ROOTS)]
        yield f"${n}\\sqrt{{{root}}}$", f"<think>So BC = $x$.</think>\n<answer>{n}√{root}</answer>"
        yield f"${n}\\sqrt{{{root}}}$", f"Thus the length is \\({n}\\sqrt{{{root}}}\\)."
        yield f"{n}cm", f"<think>12 + 5 = {n}</think>\n<answer>{n} cm</answer>"
        yield f"{n}°", f"the angle is {n + n % 3}°. <answer> {n + n % 3}° </answer>"
        yield f"$\\frac{{{n}}}{{7}}$", f"It is \\(\\frac{{{2 * n}}}{{14}}\\), and so on."
        yield str(n), f"<answer> {n if n % 2 else n + 1} </answer>"


def as_the_geometry_script_writes(path):
    """A file with the accuracy that its own loop counts: math-verify on the whole output."""
    from math_verify import parse, verify

    results = []
    for number, (gold, output) in enumerate(geometry_outputs()):
        right = bool(verify(parse(output), parse(gold)))
        question = {"image_path": f"{number}.png", "question": "Find x.", "ground_truth": gold}
        results.append(
            {
                "question": question,
                "ground_truth": gold,
                "model_output": output,
                "extracted_answer": str(parse(output)[:1]),
                "is_correct": right,
            }
        )
    accuracy = sum(result["is_correct"] for result in results) / len(results) * 100
    path.write_text(json.dumps({"accuracy": accuracy, "results": results}))
    return accuracy


def evaluate(path, *more):
    command = [sys.executable, "-m", "medr1", "eval", str(path), "--json", *more]
    return subprocess.run(command, capture_output=True, text=True, check=True)


@pytest.fixture(scope="module")
def geometry(tmp_path_factory):
    path = tmp_path_factory.mktemp("geometry") / "geometry.json"
    return path, as_the_geometry_script_writes(path)


def test_geometry_is_judged_by_one_rule_and_gives_the_stored_accuracy(geometry):
    path, accuracy = geometry
    summary = msgspec.json.decode(evaluate(path, "--protocol", "authors").stdout, type=Summary)
    assert 20 < accuracy < 95
    assert summary.protocol == "authors-geometry"
    assert summary.metrics["accuracy"].value * 100 == pytest.approx(accuracy)
    assert summary.stated_accuracy.value * 100 == pytest.approx(accuracy)
    assert summary.n_undecided == 0
    assert any("authors-geometry for this file" in text for text in summary.warnings)
    assert not any("states an accuracy" in text for text in summary.warnings)
    verdicts = judge_all(read_results(path).predictions, Settings("authors")).correct
    stored = [result["is_correct"] for result in json.loads(path.read_text())["results"]]
    assert verdicts.astype(bool).tolist() == stored


def test_a_stored_accuracy_that_differs_is_a_warning(geometry, tmp_path):
    document = json.loads(geometry[0].read_text())
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps({**document, "accuracy": document["accuracy"] + 1}))
    done = subprocess.run(
        [sys.executable, "-m", "medr1", "eval", str(changed), "--protocol", "authors"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "stated in the file (authors-geometry)" in done.stdout
    assert "! the file states an accuracy of" in done.stdout


@pytest.mark.skipif(not LOGS, reason="MEDR1_ORIGINAL_LOGS names no folder")
def test_the_original_s_logs_give_their_figures():
    files = sorted(Path(LOGS).glob("*.json"))
    assert files
    for path in files:
        summary = msgspec.json.decode(evaluate(path, "--protocol", "authors").stdout, type=Summary)
        stated = json.loads(path.read_text())["accuracy"]
        assert summary.metrics["accuracy"].value * 100 == pytest.approx(stated, abs=1e-9)
        assert summary.n_undecided == 0


@pytest.mark.parametrize(
    ("golds", "protocol"),
    [
        (["4", "10", " 7 "], "authors-counting"),
        (["A", "C", "B"], "authors-vqa"),
        (["4", "$\\frac{1}{2}$"], "authors-geometry"),
        (["4", "A"], "authors-geometry"),
        (["4.5", "3"], "authors-geometry"),
        (["liver"], "authors-geometry"),
        ([], "authors-geometry"),
    ],
)
def test_one_script_is_chosen_for_all_golds_of_a_file(golds, protocol):
    assert resolve_protocol("authors", golds).protocol == protocol
    assert resolve_protocol("strict", golds).protocol == "strict"


def stop_again_and_again(process, seconds, until):
    """Stop the process and all that it started, then let them go on, until `until` is set."""
    while not until.wait(0.15):
        everyone = [process, *process.children(recursive=True)]
        for sent in (signal.SIGSTOP, signal.SIGCONT):
            for one in everyone:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.send_signal(sent)
            if sent == signal.SIGSTOP:
                time.sleep(seconds)


@pytest.mark.slow
def test_a_run_that_is_stopped_again_and_again_gives_the_same_verdicts(geometry, tmp_path):
    """Each time for 1.2 s, longer than any comparison takes."""
    alone = evaluate(geometry[0]).stdout
    command = [sys.executable, "-m", "medr1", "eval", str(geometry[0]), "--json"]
    with open(tmp_path / "out", "w") as out:
        run = subprocess.Popen(command, stdout=out, env=os.environ)
        ended = threading.Event()
        stopper = threading.Thread(
            target=stop_again_and_again, args=(psutil.Process(run.pid), 1.2, ended)
        )
        stopper.start()
        assert run.wait() == 0
        ended.set()
        stopper.join()
    assert (tmp_path / "out").read_text() == alone
