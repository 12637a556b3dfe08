"""Runs killed within a write, and outputs that stand in the way: nothing is lost or left."""

import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from medr1.cli import cli
from medr1.data.readers import read_questions
from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder
from medr1.errors import LockedError, OutputError
from medr1.evaluate.reading.matching import Lookup
from medr1.files import TEMPORARY, clear_temporaries, set_aside, temporary, write_atomic
from medr1.models import loading

KILLED = """
import os, signal, sys
place, rename = sys.argv.pop(1), os.replace
def killed(old, new):
    if place in str(new):
        os.kill(os.getpid(), signal.SIGKILL)
    rename(old, new)
os.replace = killed
from medr1.cli import main
main()
"""
"""Runs a command, and kills it where it would give its name to a file that it has written."""


@pytest.fixture
def place(tmp_path, adapter, monkeypatch):
    """A folder to be in, with what the commands below read."""
    items = json.loads((tiny_vqa_folder() / "validation.json").read_text())[:6]
    for number, item in enumerate(items):
        item["image"] = f"{number}.png"
        Image.new("RGB", (40, 40), (40 * number, 0, 0)).save(tmp_path / item["image"])
    (tmp_path / "q.json").write_text(json.dumps(items))
    shutil.copytree(adapter[0], tmp_path / "lora")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def medr1(*args, code=0):
    """What a command says on stderr."""
    done = CliRunner().invoke(cli, [str(arg) for arg in args])
    assert done.exit_code == code, (done.output, done.exception)
    return done.stderr


def tree(folder):
    """Every file below a folder with its content, but for what tells of times."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in files
        if not path.name.endswith(".run.json")
    }


COMMANDS = {
    "prepare": [
        "data",
        "prepare",
        "q.json",
        "--output-dir",
        "out/p",
        "--test-share",
        "0.3",
        "--workers",
        "1",
    ],
    "convert": ["data", "convert", "q.json", "out/q.jsonl"],
    "a data set on disk": ["data", "convert", "q.json", "out/q"],
    "infer": [
        *("infer", "--model-path", tiny_vl_folder(), "--batch-file", "q.json", "--mode", "options"),
        *("--output-file", "out/r.json", "--offline"),
    ],
    "merge": ["merge", "lora", "--output-dir", "out/merged", "--offline"],
}


@pytest.mark.parametrize(
    ("name", "at"),
    [
        ("prepare", ".png"),
        ("prepare", "train.json"),
        ("prepare", "manifest.json"),
        ("convert", "q"),
        ("convert", "out/q.jsonl"),
        ("a data set on disk", "state.json"),
        ("a data set on disk", "out/q"),
        pytest.param("infer", "out/r.json", marks=pytest.mark.slow),
        pytest.param("infer", "r.json.run.json", marks=pytest.mark.slow),
        pytest.param("merge", "medr1.json", marks=pytest.mark.slow),
        pytest.param("merge", "out/merged", marks=pytest.mark.slow),
    ],
)
def test_what_a_kill_leaves_half_written_is_cleared_by_the_same_command(place, name, at):
    before = tree(place)
    killed = subprocess.run([sys.executable, "-c", KILLED, at, *map(str, COMMANDS[name])])
    assert killed.returncode == -signal.SIGKILL
    assert list((place / "out").rglob(f"*{TEMPORARY}*")), "the kill left nothing to clear"
    mine = place / "out" / ".q.jsonl.abcd1234"
    mine.write_text("precious")
    medr1(*COMMANDS[name])
    assert mine.read_text() == "precious"
    mine.unlink()
    interrupted = tree(place / "out")
    shutil.rmtree(place / "out")
    medr1(*COMMANDS[name])
    assert interrupted == tree(place / "out")
    shutil.rmtree(place / "out")
    assert tree(place) == before


def test_what_another_process_is_writing_is_left_alone(tmp_path):
    code = f"""
import pathlib, sys
from medr1.files import write_atomic
def pieces():
    yield "first, "
    print("writing", flush=True)
    sys.stdin.readline()
    yield "second"
write_atomic(pathlib.Path({str(tmp_path / "f.json")!r}), pieces())
"""
    writer = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout.readline() == "writing\n"
    with pytest.raises(LockedError, match="another run"):
        write_atomic(tmp_path / "f.json", "mine")
    clear_temporaries(tmp_path)
    assert temporary(tmp_path / "f.json").exists()
    writer.communicate("go on\n")
    assert writer.returncode == 0
    assert tree(tmp_path) == {"f.json": b"first, second"}


def test_only_names_of_ours_are_cleared_and_no_link_is_followed(tmp_path):
    theirs = [".f.json.abcd1234", "f.json.tmp", ".q-part.jsonl", f"notes{TEMPORARY}"]
    for name in theirs:
        (tmp_path / name).write_text("precious")
    (tmp_path / "below").mkdir()
    temporary(tmp_path / "f.json").symlink_to(theirs[0])
    temporary(tmp_path / "below" / "g.json").write_text("half")
    clear_temporaries(tmp_path)
    assert not list((tmp_path / "below").iterdir())
    with pytest.raises(OutputError):
        write_atomic(tmp_path / "f.json", "mine")
    assert all((tmp_path / name).read_text() == "precious" for name in theirs)


def test_what_a_killed_evaluation_wrote_for_its_processes_goes_with_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code = """
import os, pickle, signal, sys, tempfile
from medr1.data.readers import read_questions
from medr1.evaluate.reading.matching import Lookup
lookup = Lookup(read_questions(sys.argv[1]))
tempfile.tempdir = sys.argv[2]
pickle.dumps(lookup)
sys.stdin.readline()
os.kill(os.getpid(), signal.SIGKILL)
"""
    data = tiny_vqa_folder() / "validation.json"
    command = [sys.executable, "-c", code, str(data), str(tmp_path)]
    other = subprocess.Popen(command, stdin=subprocess.PIPE)
    while not list(tmp_path.iterdir()):
        assert other.poll() is None
        time.sleep(0.01)
    lookup = Lookup(read_questions(data))
    pickle.dumps(lookup)
    assert len(list(tmp_path.iterdir())) == 2, "that of a process at work was removed"
    other.communicate(b"go\n")
    (tmp_path / "medr1-data-of-mine").write_text("precious")
    second = Lookup(read_questions(data))
    pickle.dumps(second)
    assert len(list(tmp_path.iterdir())) == 3
    del lookup, second
    assert [path.name for path in tmp_path.iterdir()] == ["medr1-data-of-mine"]


def test_a_special_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputError, match="not a regular file"):
        write_atomic(tmp_path / "pipe", "x")
    assert (tmp_path / "pipe").is_fifo()


# --- what --overwrite moves aside --------------------------------------------------------------


OVERWRITING = {
    "convert": ["data", "convert", "q.json", "out"],
    "prepare": ["data", "prepare", "q.json", "--output-dir", "out", "--test-share", "0.3"],
    "eval": ["eval", "r.json", "--output-dir", "out"],
    "merge": ["merge", "lora", "--output-dir", "out", "--offline"],
    "train": [
        *("train", "--method", "sft", "--model-path", tiny_vl_folder(), "--data", "q.json"),
        *("--output-dir", "out", "--max-steps", "1", "--use-cpu", "--offline"),
    ],
}


@pytest.mark.parametrize("name", OVERWRITING)
def test_overwrite_removes_no_backup_that_is_there(place, name):
    if name == "eval":
        medr1(*COMMANDS["infer"])
        shutil.move(place / "out" / "r.json", place / "r.json")
        shutil.rmtree(place / "out")
    for folder, file in (("out", "a"), ("out.bak", "PRECIOUS"), ("out.bak.2", "PRECIOUS too")):
        (place / folder).mkdir()
        (place / folder / file).write_text(file)
    said = medr1(*OVERWRITING[name], "--overwrite")
    assert "out.bak.3" in said
    assert tree(place / "out.bak") == {"PRECIOUS": b"PRECIOUS"}
    assert tree(place / "out.bak.2") == {"PRECIOUS too": b"PRECIOUS too"}
    assert tree(place / "out.bak.3") == {"a": b"a"}
    assert (place / "out").is_dir() and not (place / "out" / "a").exists()


def test_overwrite_of_results_removes_no_file_that_is_there(place):
    medr1(*COMMANDS["infer"])
    for name in ("r.json.bak", "r.json.journal.jsonl.bak"):
        (place / "out" / name).write_text("precious")
    (place / "out" / "r.json.bak.2").symlink_to("nowhere")
    written = (place / "out" / "r.json").read_bytes()
    medr1(*COMMANDS["infer"], "--overwrite")
    assert (place / "out" / "r.json.bak").read_text() == "precious"
    assert (place / "out" / "r.json.journal.jsonl.bak").read_text() == "precious"
    assert (place / "out" / "r.json.bak.3").read_bytes() == written


@pytest.mark.parametrize("folder", [".", "..", "../here"])
def test_the_folder_that_one_is_in_is_not_moved(tmp_path, tmp_path_factory, monkeypatch, folder):
    here = tmp_path / "here"
    here.mkdir()
    (here / "a.txt").write_text("mine")
    monkeypatch.chdir(here)
    questions = tmp_path_factory.mktemp("questions") / "q.json"
    items = [{"image": "a.png", "question": "Which? A)CT, B)MRI", "ground_truth": "A"}]
    questions.write_text(json.dumps(items))
    said = medr1("data", "convert", questions, folder, "--overwrite", code=2)
    assert "contains the current folder" in said
    assert tree(tmp_path) == {"here/a.txt": b"mine"}


HOLDING = [
    "train --model-path {model} --data {out}/q.json --output-dir {out}",
    "train --model-path {model} --data q.json --eval-data {out}/q.json --output-dir {out}",
    "train --model-path {model} --data q.json --image-root {out} --output-dir {out}",
    "train --model-path {model} --data q.json --prompt {out}/p.txt --output-dir {out}",
    "train --model-path {out}/lora --data q.json --output-dir {out} --dry-run",
    "infer --model-path {model} --batch-file q.json --output-file q.json",
    "robustness --model-path {model} --batch-file {out}/results.json --output-dir {out}",
    "eval {out}/r.json --output-dir {out}",
    "eval r.json --data {out}/q.json --output-dir {out}",
    "eval r.json --ensemble {out}/r.json --output-dir {out}",
    "data audit {out}/q.json --output-dir {out}",
    "data audit q.json --against {out}/q.json --output-dir {out}",
    "compare r.json b={out}/r.json,r.json --output-dir {out}",
    "matrix {out}/matrix.yaml --output-dir {out}",
    "matrix matrix.yaml --output-dir {out}",
    "data convert {out}/q.json {out}",
    "data convert q.json q.json",
    "data filter q.json --results {out}/r.json --output-file {out}",
    "data distill {out}/q.json --results r.json --output-file {out}",
    "data split {out}/r.json --by answer_type --output-dir {out}",
    "data prepare {out}/q.json --output-dir {out}",
    "data prepare q.json --splits {out}/q.json --output-dir {out}",
    "merge {out}/lora --output-dir {out}",
    "merge {out}/lora --output-dir {out}/lora",
    "export {out}/lora --for mlx --output-dir {out}",
    "export {out}/lora --for vllm --output-dir {out}/lora",
]


@pytest.mark.parametrize("line", HOLDING)
def test_an_output_that_holds_what_is_read_is_refused_and_not_moved(place, line):
    (place / "out").mkdir()
    (place / "r.json").write_text(json.dumps([{"model_output": "A", "ground_truth": "A"}]))
    (place / "p.txt").write_text("{problem}")
    (place / "matrix.yaml").write_text("base: {CT: out/r.json}\ncells: {CT: {CT: out/r.json}}\n")
    for name in ("q.json", "r.json", "p.txt", "lora"):
        (shutil.copytree if name == "lora" else shutil.copy)(place / name, place / "out" / name)
    cells = "base: {CT: ../r.json}\ncells: {CT: {CT: ../r.json}}\n"
    (place / "out" / "matrix.yaml").write_text(cells)
    shutil.copy(place / "q.json", place / "out" / "results.json")
    (place / "link").symlink_to("out")
    before = tree(place)
    for out in ("out", "link"):
        said = medr1(*line.format(out=out, model=tiny_vl_folder()).split(), "--overwrite", code=2)
        assert re.search("cannot be renamed to .bak", said), said
        assert len(said.strip().splitlines()) == 1 and tree(place) == before


def test_a_demo_does_not_move_what_it_is_made_of(tmp_path, monkeypatch):
    model = tmp_path / "checkpoints" / "tiny-vl"
    model.mkdir(parents=True)
    monkeypatch.setattr("medr1.data.tiny.tiny_vl_folder", lambda: model)
    said = medr1("demo", "--output-dir", model.parent, "--max-steps", "1", code=2)
    assert "cannot be renamed" in said and model.is_dir()


def test_a_backup_takes_the_first_free_name(tmp_path):
    for number in range(3):
        (tmp_path / "f").write_text(str(number))
        set_aside(tmp_path / "f")
    names = ["f.bak", "f.bak.2", "f.bak.3"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert [Path(tmp_path / name).read_text() for name in names] == ["0", "1", "2"]


# --- outputs that cannot be written ------------------------------------------------------------


@pytest.fixture
def read_only(tmp_path):
    """A file system that nobody can write to, not even root."""
    folder = tmp_path / "read_only"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "none", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting takes root")
    yield folder
    subprocess.run(["umount", folder], check=True)


READS = {
    "infer": ["infer", "--batch-file", "q.json", "--output-file"],
    "robustness": ["robustness", "--batch-file", "q.json", "--output-dir"],
    "merge": ["merge", "lora", "--offline", "--output-dir"],
    "export": ["export", "lora", "--for", "mlx", "--offline", "--output-dir"],
    "train": ["train", "--method", "sft", "--data", "q.json", "--output-dir"],
    "demo": ["demo", "--output-dir"],
}


@pytest.fixture
def refused(place, monkeypatch):
    """What a command says that ends before it loads a model, as its output is not writable."""

    def load(*_, **__):
        raise AssertionError("a model is loaded")

    def run(name, output):
        model = (
            ["--model-path", tiny_vl_folder()] if name not in ("merge", "export", "demo") else []
        )
        said = medr1(*READS[name], output, *model, code=6)
        assert said.startswith("Error: cannot write ") and said.count("\n") == 1
        return said

    for loader in ("load_model", "load_outline", "load_processor"):
        monkeypatch.setattr(loading, loader, load)
    return run


@pytest.mark.parametrize("name", READS)
def test_an_output_that_cannot_be_written_is_refused_before_a_model_is_loaded(place, refused, name):
    (place / "file").write_text("precious")
    refused(name, "file/out")
    refused(name, "n" * 400)
    if name == "infer":
        (place / "folder").mkdir()
        refused(name, "folder")
        refused(name, "/dev/null")
        assert Path("/dev/null").is_char_device()
    else:
        refused(name, "file")
    assert (place / "file").read_text() == "precious"


@pytest.mark.parametrize("name", READS)
def test_a_read_only_file_system_is_refused_before_a_model_is_loaded(refused, read_only, name):
    assert "Read-only file system" in refused(name, read_only / "out")


def test_that_takes_not_even_the_import_of_torch(place):
    code = "import sys, atexit; atexit.register(lambda: print('torch' in sys.modules)); "
    code += "from medr1.cli import main; main()"
    command = [*READS["infer"], "q.json/r.json", "--model-path", str(tiny_vl_folder())]
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (6, "False\n"), done.stderr


def test_a_folder_that_is_missing_is_made(place):
    command = [part if part != "out/r.json" else "new/one/r.json" for part in COMMANDS["infer"]]
    medr1(*command)
    assert (place / "new" / "one" / "r.json").is_file()
