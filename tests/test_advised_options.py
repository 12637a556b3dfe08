"""No error of the commands that read results advises an option that the command lacks."""

import json
import re

import pytest
from in_process import medr1

from medr1.cli import cli

OPTION = re.compile(r"(?<![\w-])--[a-z][a-z_-]*[a-z]")
NAMED = re.compile(r"medr1 ((?:data )?[a-z]+)(?: and ([a-z]+))?")
"""A command that a message names, or two: "medr1 eval and compare also take --map"."""
NOT_OURS = {"--log_samples"}
"""Options of other programs, which the message names."""


def item(number, **changes):
    values = {
        "id": f"q{number}",
        "image": f"{number}.png",
        "question": f"Which modality is this? {number}",
        "options": {"A": "CT", "B": "MRI"},
        "ground_truth": "A",
        "modality": "CT",
        "model_output": "<think> x </think> <answer> A </answer>",
        **changes,
    }
    return {key: value for key, value in values.items() if value is not None}


FILES = {
    "no ground truth": [item(0, ground_truth=None)],
    "no output": [item(0, model_output=None)],
    "two outputs": [item(0, model_output=None, response="A", output="B")],
    "other items": [item(7), item(8)],
    "more items": [item(n) for n in range(5)],
    "other ground truth": [item(0, ground_truth="B"), item(1)],
    "other question": [item(0, question="What is it?"), item(1)],
    "an id twice": [item(0), item(0)],
    "no items": [],
    "no object": ["x"],
    "a summary of lmms-eval": {"results": {"vqa": {"acc": 1.0}}, "configs": {}},
    "an unknown document": {"a": 1},
}
"""Kind of a bad results file -> its content."""
GOOD = [item(0), item(1)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("advised")
    for number, content in enumerate(FILES.values()):
        (folder / f"bad{number}.json").write_text(json.dumps(content))
    (folder / "good.json").write_text(json.dumps(GOOD))
    (folder / "wrong.json").write_text(
        json.dumps([item(n, model_output="<answer> B </answer>") for n in range(2)])
    )
    questions = [{k: v for k, v in row.items() if k != "model_output"} for row in GOOD]
    (folder / "q.json").write_text(json.dumps(questions))
    (folder / "text.json").write_text("not JSON")
    (folder / "full").mkdir()
    (folder / "full" / "a.txt").write_text("here")
    (folder / "empty").mkdir()
    return folder


BAD = [f"bad{number}.json" for number in range(len(FILES))] + ["text.json", "no.json", "empty"]
COMMANDS = {
    "compare": [
        *(("good.json", name) for name in BAD),
        *((name, "good.json") for name in BAD),
        ("good.json", "wrong.json", "--data", "no.json"),
        ("good.json", "wrong.json", "--data", "empty"),
        ("good.json", "bad5.json", "--data", "q.json"),
        ("good.json", "wrong.json", "--group-by", "age"),
        ("good.json", "wrong.json", "--cluster-by", "patient"),
        ("good.json", "wrong.json", "--map", "prediction=reply"),
        ("good.json", "wrong.json", "--map", "predictions=reply"),
        ("good.json", "wrong.json", "--output-dir", "full"),
        ("good.json",),
        ("a=good.json,good.json", "wrong.json"),
        ("a=good.json", "a=wrong.json"),
    ],
    "matrix": [
        *(("good.json", name) for name in BAD),
        *((name,) for name in BAD),
        ("good.json", "wrong.json", "--cluster-by", "patient"),
        ("good.json", "wrong.json", "--by", "dataset"),
        ("good.json", "wrong.json", "--output-dir", "full"),
        ("good.json", "wrong.json", "--train-data", "CT=no.json"),
        ("full",),
        ("full", "--from-names", "{train}.json"),
        ("full", "--from-names", "{train}_{test}.json"),
        ("good.json", "--from-names", "{train}_{test}.json"),
    ],
    **{
        f"data {name}": [
            *(("q.json", "--results", bad, "--output-file", "out.json") for bad in BAD),
            *((bad, "--results", "good.json", "--output-file", "out.json") for bad in BAD),
            ("q.json", "--results", "wrong.json", "--output-file", "out.json"),
            ("q.json", "--results", "good.json", "--output-file", "q.json"),
            ("q.json", "--results", "good.json", "--output-file", "full/a.txt"),
        ]
        for name in ("filter", "distill")
    },
}
"""Command -> arguments that it refuses, or some of which it accepts."""


def options_of(name):
    """All options of a command, by its name such as "data filter"."""
    command = cli
    for part in name.split():
        command = command.commands[part]
    return {spelling for param in command.params for spelling in param.opts} | {"--help"}


def lacking(command, message):
    """The options in a message that neither the command has, nor a command named before them."""
    own, result = options_of(command), []
    for match in OPTION.finditer(message):
        named = [n for pair in NAMED.findall(message[: match.start()]) for n in pair if n]
        known = set().union(own, *(options_of(n) for n in named if is_command(n)))
        if match[0] not in known | NOT_OURS:
            result.append(match[0])
    return result


def is_command(name):
    return name in cli.commands or name in ("data filter", "data distill", "data convert")


def test_the_check_finds_an_option_that_a_command_lacks():
    assert lacking("compare", "Check --image-root.") == ["--image-root"]
    assert lacking("matrix", "Give the questions with --data.") == ["--data"]
    assert lacking("matrix", "medr1 eval and compare also take --data QUESTIONS.") == []


@pytest.mark.parametrize("command", COMMANDS)
def test_errors_advise_options_of_their_own_command(command, folder):
    refused = 0
    for arguments in COMMANDS[command]:
        done = medr1(*command.split(), *arguments, cwd=folder)
        refused += done.returncode != 0
        assert lacking(command, done.stderr) == [], (arguments, done.stderr)
        for name in ("out.json", "out.json.bak"):
            (folder / name).unlink(missing_ok=True)
    assert refused > len(COMMANDS[command]) // 2
