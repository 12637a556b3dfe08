"""A demo that is interrupted, by Ctrl-C or by a kill, continues with the same command."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

MEDR1 = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a test in the background lacks
from medr1.cli import main
main()
"""
WAIT = 600
"""Seconds to wait for an event."""
STEPS = ("--max-steps", "6", "--seed", "5")


def start(folder, *args):
    words = [sys.executable, "-c", MEDR1, "demo", "--output-dir", folder.name, *STEPS, *args]
    return subprocess.Popen(
        words, cwd=folder.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def interrupted(folder, when, signum):
    """The exit code and stderr of a demo that gets a signal as soon as a path exists."""
    process, end = start(folder), time.monotonic() + WAIT
    while not (folder / when).exists() and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.02)
    os.kill(process.pid, signum)
    _, errors = process.communicate()
    return process.returncode, errors


def numbers(folder):
    """The content of demo.json, but for its time."""
    document = json.loads((folder / "demo.json").read_text())
    assert document.pop("seconds") > 0
    return document


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.slow  # four starts of the demo
def test_a_demo_that_was_interrupted_twice_ends_as_one_that_was_not(tmp_path):
    folder, plain = tmp_path / "out", tmp_path / "plain"
    code, errors = interrupted(folder, "checkpoint/checkpoint-3", signal.SIGKILL)
    assert code == -signal.SIGKILL and "1/4" in errors
    base = (folder / "base" / "results.json").stat().st_mtime_ns
    code, errors = interrupted(folder, "checkpoint/checkpoint-5", signal.SIGINT)
    assert code == 130 and "Traceback" not in errors
    assert errors.count("interrupted demo with the same settings") == 1
    command = "medr1 demo --output-dir out --max-steps 6 --seed 5"
    assert errors.splitlines()[-1] == f"Interrupted. To continue, give the same command: {command}"
    process = start(folder, "--json")
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert "resuming from" in errors
    assert output == (folder / "demo.json").read_text()
    assert (folder / "base" / "results.json").stat().st_mtime_ns == base
    process = start(plain)
    assert process.communicate() and process.returncode == 0
    assert numbers(folder) == numbers(plain)
    weights = [f / "checkpoint" / "model.safetensors" for f in (folder, plain)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert names(folder) == names(plain)
    assert not Path(f"{folder}.bak").exists()


@pytest.mark.slow  # three starts of the demo
def test_a_finished_demo_and_one_with_other_arguments_are_kept(tmp_path):
    folder = tmp_path / "out"
    interrupted(folder, "base/results.json", signal.SIGKILL)
    for args, backup in ((("--seed", "6"), "out.bak"), (("--seed", "6"), "out.bak.2")):
        process = start(folder, *args)
        _, errors = process.communicate()
        assert process.returncode == 0, errors
        assert "interrupted demo" not in errors and (tmp_path / backup).is_dir()
    assert not (tmp_path / "out.bak" / "demo.json").exists()
    assert numbers(tmp_path / "out.bak.2") == numbers(folder)
