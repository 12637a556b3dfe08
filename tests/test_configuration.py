"""Configuration files that are hostile, or of another type than an option takes."""

import json
import resource
import subprocess
import sys
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import click
import pytest
from in_process import medr1

from medr1.cli import cli
from medr1.cli.train import train
from medr1.data.tiny import tiny_config_file, tiny_vl_folder, tiny_vqa_folder
from medr1.errors import InputError
from medr1.workflows.configuration import read_config


def bomb() -> str:
    """Nine lists of nine of the list before: 361 bytes for half a billion values."""
    lines = ["protocol: [&a [x,x,x,x,x,x,x,x,x]"]
    names = "abcdefghi"
    for before, name in pairwise(names):
        lines.append(f"&{name} [{','.join(['*' + before] * 9)}]")
    return ", ".join(lines) + "]\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (bomb(), "line 1, column 40: an alias (*name)"),
        ("seed: &a [*a]", "an alias (*name)"),
        ("seed: " + "[" * 3000 + "]" * 3000, "nested more than 20 deep"),
        ("seed: " + "{a: " * 3000 + "}" * 3000, "nested more than 20 deep"),
        ("\n".join(" " * n + "a:" for n in range(3000)), "nested more than 20 deep"),
        ("seed: !!python/object/apply:os.system ['true']", "a tag (!name)"),
        ("seed: !!timestamp x", "a tag (!name)"),
        ("seed: 2001-13-45", "into quotes"),
        ("seed: " + "9" * 5000, "into quotes"),
        ("seed: '\x1b'", "not valid YAML"),
        ("? [seed]\n: 1", "found unhashable key"),
        ("- seed", "`option: value`"),
    ],
)
def test_a_hostile_configuration_is_one_sentence(text, said, tmp_path):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(InputError) as refused:
        read_config(tmp_path / "c.yaml")
    assert said in str(refused.value) and len(str(refused.value)) < 300


def test_an_alias_bomb_costs_neither_time_nor_memory(tmp_path):
    (tmp_path / "c.yaml").write_text(bomb())
    command = [sys.executable, "-m", "medr1", "eval", "r.json", "--config", "c.yaml"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 2 and "an alias (*name)" in done.stderr
    help_of = [sys.executable, "-m", "medr1", "eval", "--help"]
    subprocess.run(help_of, capture_output=True, cwd=tmp_path, timeout=300, check=True)
    plain = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - after.ru_utime
    assert after.ru_utime - before.ru_utime < 5 * plain


def commands(group: click.Group = cli):
    for command in group.commands.values():
        if isinstance(command, click.Group):
            yield from commands(command)
        else:
            yield command


VALUES = """[1]|{a: 1}|.nan|.inf|2001-01-01|1e400|[[1]]|[{a: 1}]|[null]|null|true|""|-0.0|[.nan]
|1:2:3|"\\ud800"|"\\0"|0001-01-01T00:00:00+23:59""".replace("\n", "").split("|")


@pytest.mark.parametrize("value", [*VALUES, "0x" + "f" * 5000])
def test_no_value_of_any_option_is_a_traceback(value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command in commands():
        arguments = ["x.json" for p in command.params if isinstance(p, click.Argument)]
        for option in (p for p in command.params if isinstance(p, click.Option)):
            Path("c.yaml").write_text(f"{option.opts[0].lstrip('-')}: {value}\n")
            with suppress(click.ClickException, click.exceptions.Exit):
                command.make_context("x", ["--config", "c.yaml", *arguments])


def test_values_are_what_the_command_line_would_say(tmp_path):
    config = tmp_path / "c.yaml"
    given = {"seed": 3, "learning_rate": 1e-6, "rewards": ["accuracy", "format"], "data": "d.json"}
    given |= {"output_dir": "o", "model_path": "m", "shared_prefix": False, "max_steps": None}
    config.write_text(json.dumps({**given, "warmup_steps": 10}))
    context = train.make_context("train", ["--config", str(config)])
    assert context.params["seed"] == 3 and context.params["learning_rate"] == 1e-6
    assert context.params["rewards"] == ("accuracy", "format")
    assert context.params["shared_prefix"] is False and context.params["max_steps"] is None
    assert context.meta["medr1.extra"] == {"warmup_steps": 10}
    config.write_text(json.dumps({**given, "seed": 2.5}))
    with pytest.raises(click.UsageError, match="not a valid integer"):
        train.make_context("train", ["--config", str(config)])


def test_paths_are_looked_up_beside_the_file_and_above(tmp_path, monkeypatch):
    """As with a recipe of configs/ whose data lies beside configs/."""
    recipes, elsewhere = tmp_path / "project" / "configs", tmp_path / "elsewhere"
    recipes.mkdir(parents=True)
    elsewhere.mkdir()
    (tmp_path / "project" / "data").symlink_to(tiny_vqa_folder().parent)
    recipe = recipes / "mine.yaml"
    text = tiny_config_file().read_text()
    recipe.write_text(text.replace("checkpoints/tiny-vl", str(tiny_vl_folder())))
    plan = ("train", "--config", recipe, "--output-dir", "out", "--dry-run")
    assert medr1(*plan, cwd=elsewhere).returncode == 0
    recipe.write_text(recipe.read_text().replace("data/tiny_vqa_ds", "data/my_own"))
    refused = medr1(*plan, cwd=elsewhere)
    assert refused.returncode == 2 and "data/my_own" in refused.stderr
    assert f"mine.yaml names it; it is not in the current folder, {recipes}" in refused.stderr
    given = medr1(*plan, "--data", tiny_vqa_folder(), cwd=elsewhere)
    assert given.returncode == 0, given.stderr


def test_a_recipe_of_medr1_is_found_from_anywhere(tmp_path):
    plan = ("--output-dir", "out", "--dry-run")
    done = medr1("train", "--config", "configs/tiny.yaml", *plan, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
