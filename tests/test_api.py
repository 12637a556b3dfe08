"""medr1.api: its list, its start, its agreement with the commands, and the examples of its page."""

import inspect
import re
import runpy
import subprocess
import sys
from pathlib import Path

import click
import pytest
from chat_server import ChatServer
from test_cli_contract import commands

import medr1.api as api
from medr1.chat.settings import Server
from medr1.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "medr1" / "workflows" / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
FUNCTIONS = [name for name in api.__all__ if inspect.isfunction(getattr(api, name))]

ONLY_IN_CLI = {"as_json", "max_errors", "config", "quiet", "verbose", "debug", "help_all"}
"""Options of commands that are no argument of the function: they decide what is printed."""
OTHER_NAMES = {"mapping": "columns", "names": "name"}
"""Option -> parameter, where they differ."""
OF_A_SERVER = {"engine", *Server.__dataclass_fields__}
"""Options that make up the argument `server`."""
OF_A_JUDGE = {"judge_url", "judge_model", "judge_labels", "judge_cache"}
"""Options that make up the argument `judge`."""
OF_SCANS = {"window", "slices", "plane", "magnification", "with_manufacturer"}
"""Options that make up the argument `scans`."""
OWN_OPTIONS = {
    "infer": {
        *("image_path", "question", "options", "question_type", "show_reasoning"),
        *(*OF_A_SERVER, *OF_SCANS),
    },
    "robustness": {*OF_A_SERVER, *OF_SCANS},
    "contamination": OF_SCANS,
    "data audit": OF_SCANS,
    "data prepare": OF_SCANS,
    "doctor": {"base_url", "model_path"},
    "eval": {"explain", *OF_A_JUDGE},
    "demo": {"full"},
    "fetch": {"offline"},
    "train": OF_SCANS,
}
"""Command -> options that another function has, or that only the command has."""


def test_the_public_list_is_complete():
    listed = [name for names in api._MODULES.values() for name in names]
    assert sorted(listed) == sorted(api.__all__) == dir(api)
    for module, names in api._MODULES.items():
        for name in names:
            assert getattr(api, name).__module__ == module
    with pytest.raises(AttributeError, match="no attribute 'run_nothing'"):
        _ = api.run_nothing


def test_the_import_loads_nothing_else():
    code = "import sys, medr1.api; print(*(n for n in sys.modules if n.startswith('medr1')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert sorted(done.stdout.split()) == ["medr1", "medr1.api", "medr1.lazy_imports"], done.stderr


@pytest.mark.parametrize(("name", "command"), commands().items())
def test_a_command_has_the_arguments_and_defaults_of_its_function(name, command):
    parameters = inspect.signature(command.workflow).parameters
    takes_fields = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    options = {OTHER_NAMES.get(p.name, p.name): p for p in command.params}
    own = {*ONLY_IN_CLI, *OWN_OPTIONS.get(name, ())}
    assert command.workflow.__name__ in FUNCTIONS
    if not takes_fields:
        assert set(options) - own <= set(parameters)
    assert set(parameters) - set(options) <= {"fields", "on_check", "server", "judge", "scans"}
    context = click.Context(command)
    for parameter in parameters.values():
        default, option = parameter.default, options.get(parameter.name)
        if option is None or default in (parameter.empty, None, ()):
            continue
        shown = option.get_default(context)
        assert shown == (",".join(map(str, default)) if isinstance(default, tuple) else default)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_page_has_each_function_in_its_table_and_in_an_example(name):
    assert f"| `{name}` | `medr1 " in PAGE
    assert any(f"{name}(" in example for example in EXAMPLES)


def test_the_examples_run_in_order(tmp_path, monkeypatch):
    """Without the last three: the next test runs the first of them, the demo is slow, and
    tests/test_hub.py runs the download."""
    for name in ("configs", "checkpoints", "data"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    for number, example in enumerate(EXAMPLES[:-3]):
        file = tmp_path / f"example_{number}.py"
        file.write_text(example)
        runpy.run_path(str(file))


def test_the_example_of_a_server_runs(tmp_path, monkeypatch, capsys):
    (tmp_path / "data").symlink_to(ROOT / "data")
    (tmp_path / "output" / "api").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with ChatServer() as server:
        example = EXAMPLES[-3].replace("http://127.0.0.1:8000/v1", server.url)
        (tmp_path / "example.py").write_text(example)
        runpy.run_path("example.py")
    assert capsys.readouterr().out.endswith("8 answers, 0 failed\n")


@pytest.mark.slow
def test_the_example_of_the_demo_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "example.py").write_text(EXAMPLES[-2])
    runpy.run_path("example.py")
    assert (tmp_path / "output" / "api" / "demo" / "curve.png").is_file()


@pytest.mark.parametrize(
    ("function", "arguments", "says"),
    [
        ("answer_question", {"image_path": "x.png", "question": "q", "mode": "all"}, "mode: 'all'"),
        ("run_inference", {"batch_file": "q", "output_file": "r", "batch_size": 0}, "batch_size"),
        ("run_training", {"data": "d", "output_dir": "o", "learning_rat": 1}, "learning_rate"),
        ("run_training", {"data": "d", "output_dir": "o", "method": "dpo"}, "method: 'dpo'"),
    ],
)
def test_a_wrong_argument_is_an_input_error(function, arguments, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=says):
        getattr(api, function)(model_path="m", **arguments)
