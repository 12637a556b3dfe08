"""The commands where what Windows lacks is missing: modules, functions, signals, flags of files."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from medr1 import files
from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder
from medr1.files import write_atomic
from medr1.journal import Journal

# Python runs a sitecustomize.py at each start, also in the processes that a command starts. The
# imports load what has code of its own for Windows, or for this system. SIGKILL stays: subprocess
# needs it here.
SITECUSTOMIZE = """
import asyncio, filelock, multiprocessing.util, os, portalocker, psutil, shutil, signal, subprocess
import sys, tempfile
for name in ("fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty"):
    sys.modules[name] = None
FUNCTIONS = '''chown fchmod fchown fork forkpty getegid geteuid getgid getpgid getpriority getuid
getloadavg killpg mkfifo nice pread pwrite register_at_fork sched_getaffinity setpgid setsid
statvfs'''
for name in FUNCTIONS.split():
    delattr(os, name)
for name in ("O_CLOEXEC", "O_DIRECTORY", "O_NOCTTY", "O_NOFOLLOW", "O_NONBLOCK"):
    delattr(os, name)
NAMES = "SIGALRM SIGHUP SIGPROF SIGUSR1 SIGUSR2 ITIMER_PROF alarm setitimer pthread_sigmask"
for name in NAMES.split():
    delattr(signal, name)
"""


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    """Runs `medr1 ...` in a process in which these things are missing."""
    folder = tmp_path_factory.mktemp("windows")
    (folder / "sitecustomize.py").write_text(SITECUSTOMIZE)
    paths = [str(folder), str(Path(files.__file__).parent.parent)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}

    def medr1(*args: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "medr1", *map(str, args)]
        return subprocess.run(command, env=env, capture_output=True, encoding="utf-8", cwd=folder)

    return medr1


def results(path: Path, wrong: int) -> Path:
    """Answers to the embedded validation questions, and a formula; the first `wrong` are wrong."""
    questions = json.loads((tiny_vqa_folder() / "validation.json").read_text())
    lines = [{**question, "model_output": "no idea"} for question in questions]
    for line in lines[wrong:]:
        line["model_output"] = f"<answer>{line.get('solution') or line.get('answer')}</answer>"
    formula = {"id": "f", "question": "How much?", "answer_type": "open"}
    formula |= {"ground_truth": "$\\frac{1}{2}$", "model_output": "<answer>$\\frac{2}{4}$</answer>"}
    path.write_text("".join(json.dumps(line) + "\n" for line in [*lines, formula]))
    return path


def test_eval_and_compare_run(windows, tmp_path):
    one, two = results(tmp_path / "one.jsonl", 5), results(tmp_path / "two.jsonl", 20)
    out = tmp_path / "out"
    root = ("--image-root", tiny_vqa_folder())
    data = ("--data", tiny_vqa_folder() / "validation.json")
    for command in (
        ("eval", one, "--output-dir", out, *root),
        ("compare", one, two, "--output-dir", tmp_path / "compared"),
        ("data", "audit", data[1], "--output-dir", tmp_path / "audit"),
    ):
        done = windows(*command)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
    (formula,) = [
        line
        for line in map(json.loads, (out / "items.jsonl").read_text("utf-8").splitlines())
        if line["id"] == "f"
    ]
    assert formula["correct"] is True
    assert (out / "report.html").is_file() and (tmp_path / "audit" / "audit.html").is_file()


@pytest.mark.parametrize(
    "command",
    [
        ("train", "--model-path", tiny_vl_folder(), "--data", tiny_vqa_folder()),
        ("demo",),
    ],
)
def test_what_needs_a_fork_names_wsl(command, windows, tmp_path):
    done = windows(*command, "--output-dir", tmp_path / "out")
    assert (done.returncode, done.stdout) == (2, "")
    assert "in WSL" in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def is_open(path: Path) -> bool:
    links = [os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
    return any(os.path.exists(link) and os.path.samefile(link, path) for link in links)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_file_is_moved_or_removed_while_it_is_open(tmp_path, monkeypatch):
    """Windows refuses both."""
    monkeypatch.setattr(files, "_MOVES_OPEN_FILES", False)
    replace, unlink, moved = os.replace, Path.unlink, []

    def checked_replace(source, target):
        assert not is_open(source)
        moved.append(Path(target).name)
        replace(source, target)

    def checked_unlink(path, missing_ok=False):
        assert not path.exists() or not is_open(path)
        moved.append(path.name)
        unlink(path, missing_ok)

    monkeypatch.setattr(os, "replace", checked_replace)
    monkeypatch.setattr(Path, "unlink", checked_unlink)
    write_atomic(tmp_path / "f.txt", "content")
    with Journal(tmp_path / "j.jsonl", {}, 1) as journal:
        journal.append({0: {"id": "a"}})
        assert [entry["id"] for _, entry in journal.items()] == ["a"]
        journal.remove()
    files.temporary(tmp_path / "g.txt").write_text("left by a kill")
    files.clear_temporaries(tmp_path)
    assert moved == ["f.txt", "j.jsonl", files.temporary(Path("g.txt")).name]
    assert [path.name for path in tmp_path.iterdir()] == ["f.txt"]
