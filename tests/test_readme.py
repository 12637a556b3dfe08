"""Every command on a page is one that medr1 takes, and the README's examples run."""

import re
import runpy
import shlex
from pathlib import Path

import click
import pytest
from in_process import medr1

from medr1.cli import cli

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [path.read_text(encoding="utf-8") for path in (ROOT / "medr1").rglob("*/README.md")]
PAGES += [
    (ROOT / folder / "README.md").read_text() for folder in ("configs", "data", "checkpoints")
]


BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def commands(kind):
    """The commands in the README's blocks of a kind: "" for those that run, sh for the others."""
    texts = [block.replace("\\\n", " ") for block_kind, block in BLOCKS if block_kind == kind]
    lines = [line for text in texts for line in text.splitlines()]
    return [line for line in lines if re.match(r"(torchrun .*)?\bmedr1 ", line)]


EXAMPLES = commands("")
# These need a hub, a GPU, a Mac or a server; they are held against the help.
ELSEWHERE = commands("sh")
MENTIONED = [
    code
    for page in (README, *PAGES)
    for code in re.findall(r"`([^`\n]+)`", page)
    if "medr1 " in code and "--" in code
]


def arguments(command):
    """What follows medr1 in a command, without what a shell does with its output."""
    words = shlex.split(command, comments=True)
    return words[words.index("medr1") + 1 :]


def test_there_are_commands_to_try():
    assert len(EXAMPLES) >= 5 and len(ELSEWHERE) >= 3 and len(MENTIONED) >= 5


def test_the_front_page_is_short():
    assert len(README.splitlines()) <= 220


@pytest.mark.parametrize("command", dict.fromkeys([*EXAMPLES, *ELSEWHERE, *MENTIONED]))
def test_a_command_is_one_that_medr1_takes(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    name, *rest = arguments(command)
    try:
        cli.commands[name].make_context(name, rest)
    except click.exceptions.Exit as done:
        assert done.exit_code == 0
    except click.MissingParameter:
        assert command not in EXAMPLES  # one that is only mentioned may leave the rest out


def test_the_examples_run_in_order_in_an_empty_folder(tmp_path, monkeypatch):
    picture = next((ROOT / "data" / "tiny_vqa_ds" / "images").glob("test_*.jpg"))
    (tmp_path / "scan.png").symlink_to(picture)
    (tmp_path / "answers.csv").write_text(
        "Image,Question,Ground truth,Model answer\n"
        "a.png,Is there a fracture?,yes,Yes\n"
        "b.png,Is there a fracture?,no,There is a fracture.\n"
    )
    few = {"MEDR1_MAX_STEPS": "1", "MEDR1_BATCH_SIZE": "16", "MEDR1_LIMIT": "8"}
    for command in EXAMPLES:
        done = medr1(*arguments(command), cwd=tmp_path, env=few)
        assert done.returncode == 0, (command, done.stderr)
        assert done.stdout.strip(), command
    (example,) = [block for kind, block in BLOCKS if kind == "python"]
    (tmp_path / "example.py").write_text(example)
    monkeypatch.chdir(tmp_path)
    runpy.run_path("example.py")
    assert (tmp_path / "output" / "report" / "report.html").is_file()


def test_what_the_table_of_places_names_is_there():
    section = (
        (ROOT / "CONTRIBUTING.md")
        .read_text()
        .partition("## Where things live")[2]
        .partition("```")[0]
    )
    places = re.findall(r"((?:`\w+`(?: and )?)+) in \[[^\]]*\]\(([^)#]+)\)", section)
    assert len(places) >= 6
    for names, file in places:
        source = (ROOT / file).read_text(encoding="utf-8")
        for name in re.findall(r"`(\w+)`", names):
            assert re.search(rf"(def|class) {name}\b", source), (name, file)
