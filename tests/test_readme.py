"""Every command on a page is one that medr1 takes, and the README's examples run."""

import re
import runpy
import shlex
from pathlib import Path

import click
import pytest
from chat_server import ChatServer
from in_process import medr1

from medr1.cli import cli

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FOLDERS = (
    *("medr1/train", "medr1/infer", "medr1/answers", "medr1/evaluate", "medr1/workflows"),
    *("configs", "data"),
)
PAGES = [(ROOT / folder / "README.md").read_text(encoding="utf-8") for folder in FOLDERS]
BLOCKS = [block.replace("\\\n", " ") for block in re.findall(r"```\n(.*?)```", README, re.DOTALL)]
EXAMPLES = [line for block in BLOCKS for line in block.splitlines() if line.startswith("medr1 ")]
MENTIONED = [
    code
    for page in (README, *PAGES)
    for code in re.findall(r"`([^`\n]+)`", page)
    if "medr1 " in code and "--" in code
]


def arguments(command):
    """What follows medr1 in a command, without what a shell does with its output."""
    words = shlex.split(command)
    return words[words.index("medr1") + 1 :]


def test_there_are_commands_to_try():
    assert len(EXAMPLES) >= 5 and len(MENTIONED) >= 5


@pytest.mark.parametrize("command", dict.fromkeys([*EXAMPLES, *MENTIONED]))
def test_a_command_is_one_that_medr1_takes(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    name, *rest = arguments(command)
    try:
        cli.commands[name].make_context(name, rest)
    except click.exceptions.Exit as done:
        assert done.exit_code == 0
    except click.MissingParameter:
        assert command not in EXAMPLES  # one that is only mentioned may leave the rest out


def run_examples(folder, env, url):
    """Run the examples; those that ask a server ask the one at `url`."""
    for command in EXAMPLES:
        given = re.sub(r"http://127.0.0.1:\d+/v1", url, command)
        done = medr1(*arguments(given), cwd=folder, env=env)
        assert done.returncode == 0, (command, done.stderr)
        assert done.stdout.strip(), command


def test_the_examples_run_in_order(tmp_path, monkeypatch):
    for name in ("configs", "checkpoints", "data"):
        (tmp_path / name).symlink_to(ROOT / name)
    picture = next((ROOT / "data" / "tiny_vqa_ds" / "images").glob("test_*.jpg"))
    (tmp_path / "scan.png").symlink_to(picture)
    (tmp_path / "completions.jsonl").write_text(
        '{"content": "<answer> A </answer>", "solution": "<answer> A </answer>"}\n'
    )
    few = {"MEDR1_MAX_STEPS": "1", "MEDR1_BATCH_SIZE": "16", "MEDR1_LIMIT": "8"}
    models = ("Qwen/Qwen2.5-VL-3B-Instruct", "mlx-community/Qwen2.5-VL-3B-Instruct-4bit")
    with ChatServer(models=models) as server:
        run_examples(tmp_path, few, server.url)
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (tmp_path / "example.py").write_text(example)
    monkeypatch.chdir(tmp_path)
    runpy.run_path("example.py")
    assert (tmp_path / "output" / "report" / "report.html").is_file()


def test_what_the_table_of_places_names_is_there():
    section = README.partition("## Where things live")[2].partition("```")[0]
    places = re.findall(r"((?:`\w+`(?: and )?)+) in \[[^\]]*\]\(([^)#]+)\)", section)
    assert len(places) >= 6
    for names, file in places:
        source = (ROOT / file).read_text(encoding="utf-8")
        for name in re.findall(r"`(\w+)`", names):
            assert re.search(rf"(def|class) {name}\b", source), (name, file)
