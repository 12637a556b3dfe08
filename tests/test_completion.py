"""Completion of commands, options and values: by click's protocol, and in real shells."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import BashComplete

from medr1.answers import PROTOCOLS
from medr1.cli import cli
from medr1.documents.schemas import DOCUMENTS
from medr1.metrics.registry import SELECTABLE
from medr1.prompts import ALL_PROMPTS
from medr1.rewards import REWARDS

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "medr1" / "cli" / "README.md").read_text()


def has_bash() -> bool:
    """Whether there is a bash that click completes in: 4.4 or newer."""
    if not shutil.which("bash"):
        return False
    ask = ["bash", "--norc", "-c", "echo ${BASH_VERSINFO[0]} ${BASH_VERSINFO[1]}"]
    numbers = subprocess.run(ask, capture_output=True, text=True).stdout.split()
    return tuple(map(int, numbers)) >= (4, 4)


needs_bash = pytest.mark.skipif(not has_bash(), reason="there is no bash 4.4 or newer")


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """A folder with files, as the current one, and a command medr1 on the PATH."""
    program = tmp_path / "bin" / "medr1"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m medr1 "$@"\n')
    program.chmod(0o755)
    (tmp_path / "here" / "output").mkdir(parents=True)
    (tmp_path / "here" / "questions.json").write_text("[]")
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path / "here")


def completions(*words: str) -> list[str]:
    """What bash is told for the last word, as "type,value" lines."""
    shell = BashComplete(cli, {}, "medr1", "_MEDR1_COMPLETE")
    items = shell.get_completions([*words[:-1]], words[-1])
    return [shell.format_completion(item) for item in items]


def plain(*names: str) -> list[str]:
    return [f"plain,{name}" for name in names]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("ma",), plain("matrix")),
        (("data", "f"), plain("filter")),
        (("infer", "--help"), plain("--help", "--help-all")),
        (("infer", "--mo"), plain("--mode", "--model-path", "--model-name-or-path")),
        (("infer", "--device", "c"), plain("cuda", "cpu")),
        (("eval", "--protocol", ""), plain(*PROTOCOLS, "all")),
        (("eval", "--protocol", "strict", "r"), ["file,r"]),
        (("eval", "--explain", "ece", "--fail"), plain("--fail-under")),
        (("eval", "--metrics", ""), plain(*SELECTABLE)),
        (("eval", "--metrics", "accuracy,ex"), plain("accuracy,exact_match")),
        (("train", "--rewards", "accuracy,format-t"), plain(
            "accuracy,format-think", "accuracy,format-think-after"
        )),
        (("train", "--config", "no.yaml", "--rewards", "soft"), plain("soft-overlong")),
        (("train", "--output-dir", "out"), ["dir,out"]),
        (("infer", "--model_path", "a", "--model-name-or-path", "b"), ["dir,b"]),
        (("infer", "--prompt", ""), plain(*ALL_PROMPTS)),
        (("infer", "--prompt", "mine"), ["file,mine"]),
        (("data", "distill", "--prompt", "t"), plain("think", "think-after")),
        (("robustness", "--perturbations", "jpeg,rot"), plain("jpeg,rotation")),
        (("schema", ""), plain(*DOCUMENTS)),
        (("verify", "check"), ["dir,check"]),
        (("compare", "base"), ["file,base"]),
        (("rewards", "--rewards", "acc"), plain("accuracy", "accuracy-authors")),
    ],
)  # fmt: skip
def test_a_word_is_completed(words, expected):
    assert sorted(completions(*words)) == sorted(expected)


def test_the_program_answers_by_the_protocol_of_click():
    asked = {"_MEDR1_COMPLETE": "bash_complete", "COMP_WORDS": "medr1 train --rewards "}
    done = subprocess.run(
        [sys.executable, "-m", "medr1"],
        env=os.environ | asked | {"COMP_CWORD": "3"},
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0 and not done.stderr
    assert done.stdout.splitlines() == plain(*REWARDS)


IN_BASH = """
{line}
unset IFS; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
compopt() {{ [ "$2" = dirnames ] && echo folders || echo file names; }}
$(complete -p medr1 | sed 's/.*-F \\([^ ]*\\) .*/\\1/') medr1
for word in "${{COMPREPLY[@]}}"; do echo "$word"; done
"""


def line_for(shell: str) -> str:
    """The line that the page tells people to add to the settings of a shell."""
    (row,) = re.findall(rf"^\| {shell}.*$", PAGE, re.MULTILINE)
    return row.rsplit("| `", 1)[1].removesuffix("` |").replace("\\|", "|")


@needs_bash
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("medr1 rob", ["robustness"]),
        ("medr1 eval --proto", ["--protocol"]),
        ("medr1 infer --device m", ["mps"]),
        ("medr1 infer --batch-file qu", ["file names"]),
        ("medr1 infer --model-path ou", ["folders"]),
    ],
)
def test_bash_completes_with_the_line_of_the_page(words, expected, shell):
    script = IN_BASH.format(line=line_for("bash"), words=words)
    command = ["bash", "--norc", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert done.stdout.splitlines() == expected


@needs_bash
def test_the_tab_key_completes_in_bash(shell):
    """In bash on a terminal of its own, with the key that a person presses."""
    import pty

    child, terminal = pty.fork()
    if child == 0:
        os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
    os.write(
        terminal, f"PS1=; bind 'set enable-bracketed-paste off'; {line_for('bash')}\n".encode()
    )
    # the third word is a name, the last one a file that is not one with results
    os.write(terminal, b"medr1 sch\trob\t | head -c 200\nmedr1 eval ques\t\nexit\n")
    text = b""
    while chunk := _read(terminal):
        text += chunk
    os.waitpid(child, 0)
    assert b"medr1 schema robustness " in text and b'"$schema"' in text
    assert b"medr1 eval questions.json " in text and b"Error: questions.json" in text


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # the other end was closed
        return b""


@pytest.mark.parametrize("name", ["zsh", "fish"])
def test_other_shells_accept_their_script(name, shell):
    asked = {"_MEDR1_COMPLETE": f"{name}_source"}
    source = subprocess.run(["medr1"], env=os.environ | asked, capture_output=True, text=True)
    assert source.returncode == 0 and f"_MEDR1_COMPLETE={name}_complete" in source.stdout
    assert f"_MEDR1_COMPLETE={name}_source medr1" in line_for(name)
    if shutil.which(name):
        done = subprocess.run([name, "-n"], input=source.stdout, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
