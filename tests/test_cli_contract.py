"""What users and scripts rely on: the options, the exit codes, and which stream says what."""

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from PIL import Image

from medr1.cli import cli
from medr1.cli.help import GROUPS
from medr1.errors import (
    InputError,
    ItemError,
    ItemErrorsOverBudget,
    LockedError,
    Medr1Error,
    NonFiniteError,
    OutputError,
    StateError,
)

COMMON = "--config --debug --quiet --verbose --help --help-all"
OPTIONS = {
    "data audit": "--against --fail-on --image-hashes --image-root --json --magnification "
    "--manufacturer --map --output-dir --overwrite --plane --seed --slices --window "
    "--write-image-needed",
    "data convert": "--json --map --max-errors --overwrite --prompt --to",
    "data distill": "--json --map --max-errors --output-file --overwrite --prompt --protocol "
    "--results",
    "data filter": "--json --map --max-errors --max-pass --min-pass --output-file --overwrite "
    "--pass-rates --protocol --results --to",
    "data split": "--by --data --json --map --output-dir --overwrite",
    "data prepare": "--benchmark --by --group-by --image-root --json --magnification "
    "--manufacturer --map --max-errors --modality --output-dir --overwrite --plane --question-type "
    "--restricted --seed --size --slices --split --splits --square --strict-counts --test-share "
    "--window --workers",
    "demo": "--full --json --max-steps --output-dir --prompt --seed",
    "train": "--allow-template --answer-types --batch-size --beta --completions-steps "
    "--curriculum --data --dataset-name --device --dry-run --dtype --dynamic-sampling "
    "--eval-data --eval-steps --fields --fit-memory --freeze-vision --gradient-accumulation-steps "
    "--group-by-image --group-by-length --image-root --json --learning-rate --logging-steps "
    "--magnification --manufacturer --max-completion-length --max-pixels --max-prompt-length "
    "--max-steps --method --min-pixels --model-name-or-path --model-path --num-generations "
    "--num-train-epochs --offline --output-dir --overwrite --papo --papo-entropy "
    "--per-device-train-batch-size --plane --prompt --reward-weights --rewards --rollout-url "
    "--save-steps --seed --shared-prefix --slices --temperature --use-cpu --window",
    "infer": "--ablate-image --allow-template --answer-style --base-url --batch-file --batch-size "
    "--concurrency --device --do-sample --dropout-samples --dtype --edit --engine --extra-body "
    "--image-path --image-root --json --limit --load-in-4bit --load-in-8bit "
    "--magnification --manufacturer --max-errors --max-new-tokens --max-requests "
    "--max-retries --max-total-tokens --mode --model-name-or-path --model-path "
    "--num-samples --offline --option --option-probabilities --output-file --overwrite "
    "--permute --plane --price --prompt --question --question-type --reasoning-from --seed "
    "--show-reasoning --slices --temperature --timeout --token-logprobs --window",
    "eval": "--ablated --alpha --audit --baseline --bertscore --calibrate-on --card --cluster-by "
    "--contamination --data --edited --ensemble --explain "
    "--fail-under --group-by --image-root --json --judge-cache --judge-labels --judge-model "
    "--judge-url --map --metrics --output-dir --overwrite "
    "--protocol --review --robustness --seed --target-risk --train-data",
    "compare": "--cluster-by --common-only --data --group-by --json --map --output-dir --overwrite "
    "--protocol --seed",
    "matrix": "--base-name --by --cluster-by --common-only --from-names --image-model "
    "--image-root --json --map --output-dir --overwrite --protocol --seed --train-data",
    "reproduce": "--allow-template --base-url --data --image-root --json --model-name-or-path "
    "--model-path --offline --output-dir --overwrite",
    "board": "--json --output-dir --overwrite",
    "contamination": "--allow-template --batch-size --device --dtype --image-root --json --limit "
    "--magnification --manufacturer --model-name-or-path --model-path --offline --orders "
    "--output-file --overwrite --plane --seed --slices --window",
    "review start": "--allow-network --blind --cluster-by --compare --confident-errors --data "
    "--errors --host --image-root --item-contradictions --map --port --protocol "
    "--reasoning-contradictions --repeats --right-answers --seed --store",
    "review adjudicate": "--adjudicator --data --image-root --map --port --questions --store",
    "review export": "--data --image-root --image-url --json --map --output-dir --overwrite",
    "review labels": "--data --image-root --json --map --output-dir --overwrite",
    "review summary": "--json --output-dir --overwrite --seed",
    "rewards": "--map --prompt --rewards",
    "robustness": "--allow-template --answer-style --base-url --batch-file --batch-size "
    "--cluster-by --concurrency --device --dry-run --dtype --engine --extra-body --image-root "
    "--json --limit --load-in-4bit --load-in-8bit --magnification --manufacturer --max-errors "
    "--max-new-tokens --max-requests --max-retries --max-total-tokens --mode "
    "--model-name-or-path --model-path --offline --option-probabilities --output-dir "
    "--overwrite --perturbations --plane --price --prompt --protocol --seed --severities "
    "--slices --timeout --window",
    "doctor": "--base-url --device --json --model-path",
    "fetch": "--data --dry-run --json --offline --output-dir",
    "merge": "--dtype --offline --output-dir --overwrite",
    "export": "--for --json --offline --output-dir --overwrite",
    "verify": "--json --offline",
    "schema": "",
}


def run(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "medr1", *args]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=600)


def commands() -> dict[str, click.Command]:
    """Every command by what is typed, those of groups among them."""
    groups = {n: c.commands for n, c in cli.commands.items() if isinstance(c, click.Group)}
    below = {f"{group} {n}": c for group, inside in groups.items() for n, c in inside.items()}
    return {n: c for n, c in cli.commands.items() if n not in groups} | below


def test_the_options_are_frozen():
    found = {}
    for name, command in commands().items():
        context = click.Context(command, info_name=name)
        options = [p for p in command.get_params(context) if isinstance(p, click.Option)]
        spelled = {opt for p in options for opt in p.opts if opt.startswith("--")}
        found[name] = " ".join(sorted(spelled - set(COMMON.split())))
        assert set(COMMON.split()) <= spelled, name
    assert found == OPTIONS


def test_the_exit_codes_are_frozen():
    kinds = (Medr1Error, InputError, ItemErrorsOverBudget, StateError, LockedError, OutputError)
    assert [kind.exit_code for kind in kinds] == [1, 2, 3, 4, 5, 6]
    assert (NonFiniteError.exit_code, ItemError.exit_code) == (7, 2)


def test_every_command_and_option_has_help():
    assert all(command.help for command in cli.commands.values())
    for name, command in commands().items():
        assert command.help, name
        for param in command.params:
            if isinstance(param, click.Option):
                assert param.help, (name, param.name)


def test_help_texts_have_one_form():
    """As CONTRIBUTING.md has it: a sentence, and for a path what the placeholder stands for."""
    beginnings = {"FILE": ("File ", "YAML file "), "DIR": ("Folder ",), "PATH": ("File ",)}
    wrong = []
    for name, command in commands().items():
        assert "\nExamples:\n" in inspect.cleandoc(command.help), name
        for option in command.params:
            if isinstance(option, click.Option):
                sentence = option.help[0].isupper() and option.help.endswith((".", "]"))
                begins = option.help.startswith(beginnings.get(option.metavar, ""))
                if not sentence or not begins:
                    wrong.append(f"{name} {option.opts[0]}: {option.help}")
    assert not wrong, wrong


def help_of(command: str, option: str, columns: int = 80) -> str:
    """What a command prints for --help or --help-all in a terminal of a width."""
    words = [*command.split(), option]
    done = CliRunner().invoke(cli, words, prog_name="medr1", terminal_width=columns)
    assert done.exit_code == 0 and not done.stderr, done.output
    return done.stdout


def headings(text: str) -> list[str]:
    """The headings of a help text."""
    return [line[:-1] for line in text.splitlines() if line[:-1] in GROUPS and line[-1] == ":"]


def names_in(text: str) -> set[str]:
    """The options that a help text explains, below its headings."""
    lines = text[text.index(f"\n{headings(text)[0]}:\n") :].splitlines()
    names = [line[2:].partition("  ")[0] for line in lines if line.startswith("  -")]
    return {word.strip(",") for name in names for word in name.split() if word.startswith("--")}


def test_every_option_is_below_a_heading():
    for name, command in commands().items():
        for param in command.params:
            if isinstance(param, click.Option):
                assert param.group in GROUPS, (name, param.name)


@pytest.mark.parametrize("name", OPTIONS)
def test_help_has_headings_and_help_all_has_every_option(name):
    command, short, long = commands()[name], help_of(name, "--help"), help_of(name, "--help-all")
    options = {opt for param in command.params for opt in param.opts if opt.startswith("--")}
    assert names_in(long) >= options
    for text in (short, long):
        places = [GROUPS.index(heading) for heading in headings(text)]
        assert places == sorted(set(places)) and headings(text)[-1] == "Run"
        assert "Options:" not in text
    if command.first_options:
        assert short.endswith(f"\nAll options: medr1 {name} --help-all\n")
        assert 8 <= len(command.first_options) <= 12 and set(command.first_options) <= options
        required = {p.opts[0] for p in command.params if p.required and p.opts[0][0] == "-"}
        assert required <= set(command.first_options)
        assert len(names_in(short) - {"--help", "--help-all"}) <= 14
    else:
        assert short == long and len(options) <= 18


@pytest.mark.parametrize("name", [*OPTIONS, "", "data"])
@pytest.mark.parametrize("columns", [80, 100])
def test_help_fits_the_terminal_and_breaks_no_name(name, columns):
    for option in ("--help", "--help-all") if name in OPTIONS else ("--help",):
        lines = help_of(name, option, columns).splitlines()
        assert max(map(len, lines)) <= columns
        assert not [line for line in lines if re.search(r"--[\w-]+-$", line)]


def test_without_arguments_the_help_is_the_result(tmp_path):
    result = run(cwd=tmp_path)
    assert result.returncode == 0 and "Checkpoints:" in result.stdout and not result.stderr


def test_the_version_is_one_line(tmp_path):
    assert run("--version", cwd=tmp_path).stdout == "medr1 0.1.0\n"


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["eval", "nothing.json"], "file not found: nothing.json"),
        (["eval", "."], "broken.json, line 2, column"),
        (["eval", "--map", "prediction", "x.json"], "KEY=COLUMN"),
        (["eval", "--explain", "acuracy"], "Did you mean accuracy?"),
        (["eval", "broken.json"], "broken.json, line 2, column"),
        (["compare", "nothing.json", "b=broken.json"], "file not found: nothing.json"),
        (["compare", "=a.json"], "is not NAME=FILE[,FILE...]"),
        (["matrix", "nothing.yaml"], "file not found: nothing.yaml"),
        (["matrix", ".", "--from-names", "{train}.json"], "does not hold {train} and {test}"),
        (["rewards", "nothing.jsonl"], "file not found"),
        (["rewards", "empty.jsonl"], "empty.jsonl is empty"),
        (["verify", "d.json"], "d.json is a file. Give the folder"),
        (["infer", "--limit", "three"], "'three' is not a valid integer."),
        (["rewards", "broken.json"], "Error: broken.json, line 2, column 7: not valid"),
        (["data", "audit", "nothing.json"], "file not found: nothing.json"),
        (["data", "audit", "broken.json"], "broken.json, line 2, column"),
        (["data", "audit", "d.json", "--fail-on", "leakage"], "give --against"),
        (["data", "audit", "d.json", "--fail-on", "leaks"], "'leaks' is not one of leakage"),
        (
            ["infer", "--model-path", "nothing", "--image-path", "x.png", "--question", "q"],
            "nothing",
        ),
        (["infer", "--model-path", "m"], "Give either --image-path"),
        (["train", "--config", "unknown.yaml"], "Did you mean learning_rate?"),
        (["train", "--config", "nothing.yaml"], "file not found: nothing.yaml"),
        (["eval", "x.json", "--protocl", "strict"], "--protocol"),
        (["eval", "x.json", "--out", "o"], "'--out'. Did you mean '--output-dir'?"),
        (["infer", "--image", "x"], "Did you mean '--image-path' or '--image-root'?"),
        (["eval", "x.json", "-x"], "No such option '-x'."),
        (
            ["infer", "--model_path", "a", "--model-name-or-path", "b"],
            "--model-path and --model-name-or-path are the same option",
        ),
    ],
)
def test_a_mistake_is_one_sentence_on_stderr_with_exit_code_2(args, says, tmp_path):
    (tmp_path / "broken.json").write_text('[{"a": 1},\n {"b" 2}]')
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "unknown.yaml").write_text(
        "model_path: m\ndata: d.json\noutput_dir: o\nlearning_rat: 1\n"
    )
    (tmp_path / "d.json").write_text(
        '[{"image": "a.png", "problem": "q A)x, B)y", "solution": "<answer> A </answer>"}]'
    )
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text("{}")
    Image.new("L", (32, 32)).save(tmp_path / "x.png")
    result = run(*args, cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    assert says in result.stderr
    assert "Traceback" not in result.stderr and not result.stdout


def test_the_embedded_data_is_found_from_any_folder(tmp_path):
    test, train = (f"data/tiny_vqa_ds/{split}.json" for split in ("test", "train"))
    result = run("data", "audit", test, "--against", train, cwd=tmp_path)
    assert result.returncode == 0 and "716 items" in result.stdout, result.stderr
    result = run("data", "audit", "data/tiny_vqa_ds/tst.json", cwd=tmp_path)
    assert "file not found: data/tiny_vqa_ds/tst.json" in result.stderr
    result = run("eval", test, "--output-dir", "data/tiny_vqa_ds", cwd=tmp_path)
    assert result.returncode == 2 and not (tmp_path / "data").exists()


MISSING = """
import sys
sys.modules[{package!r}] = None
from medr1.cli import main
sys.argv = ["medr1", *{args!r}]
main()
"""


@pytest.mark.parametrize(
    ("package", "args", "says"),
    [
        (
            "trl",
            ["train", "--model-path", "m", "--data", "d.json", "--output-dir", "o"],
            ".[train]",
        ),
        ("pyarrow", ["eval", "x.json", "--train-data", "d.parquet"], "pip install pyarrow"),
    ],
)
def test_an_optional_package_that_is_not_there_is_named(package, args, says, tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text("{}")
    (tmp_path / "d.parquet").write_bytes(b"PAR1")
    (tmp_path / "d.json").write_text('[{"image": "a.png", "question": "q", "answer": "b"}]')
    (tmp_path / "x.json").write_text(
        '[{"id": "1", "image": "a.png", "question": "q", "ground_truth": "b", "model_output": "b"}]'
    )
    code = MISSING.format(package=package, args=args)
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=600)
    assert result.returncode == 2, result.stderr
    assert package in result.stderr and says in result.stderr and "Traceback" not in result.stderr


def test_flag_wins_over_environment_over_config_over_default(tmp_path):
    results = tmp_path / "results.json"
    results.write_text(
        json.dumps(
            [
                {
                    "question": {"image": "a.png", "problem": "q A)x, B)y", "solution": "A"},
                    "ground_truth": "<answer> A </answer>",
                    "model_output": "The answer is A.",
                }
            ]
        )
    )
    config = tmp_path / "eval.yaml"
    config.write_text("protocol: authors\n")

    def protocol(*args, **env):
        result = CliRunner().invoke(cli, ["eval", str(results), "--json", *args], env=env)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)["protocol"]

    given = ["--config", str(config)]
    assert protocol() == "default"
    assert protocol(*given) == "authors-vqa"
    assert protocol(*given, MEDR1_PROTOCOL="strict") == "strict"
    assert protocol(*given, "--protocol", "authors_nothink", MEDR1_PROTOCOL="strict") == (
        "authors-nothink"
    )


@pytest.mark.parametrize(
    "args",
    [
        ["data", "prepare", "q.json", "--output-dir", "x" * 400],
        ["eval", "q.json", "--output-dir", "x" * 400],
        ["data", "convert", "q.json", "x" * 400 + ".json"],
        ["eval", "x" * 400],
        ["eval", "q.json", "--data", "x" * 400],
        ["data", "audit", "q.json", "--image-root", "x" * 400],
        ["data", "audit", "q.json", "--against", "x" * 400],
        ["compare", "q.json", "x" * 400],
        ["rewards", "x" * 400],
        ["verify", "x" * 400],
    ],
)
def test_a_name_too_long_is_one_sentence(args, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    item = {"image": "a.png", "question": "q", "ground_truth": "b", "model_output": "b"}
    Path("q.json").write_text(json.dumps([item]))
    result = CliRunner().invoke(cli, args)
    assert result.exit_code in (2, 6) and "Error: " in result.stderr, result.exception
    assert not isinstance(result.exception, OSError)


def test_a_preparation_never_moves_the_folder_it_reads(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    items = []
    for n in range(10):
        Image.new("L", (32, 32), 20 * n).save(f"{n}.png")
        item = {"image": f"{n}.png", "question": "q A)x, B)y", "ground_truth": "A"}
        items.append(item)
    Path("q.json").write_text(json.dumps(items))
    before = sorted(Path().iterdir())
    for folder in (".", "..", str(tmp_path / "here")):
        args = ["data", "prepare", "q.json", "--output-dir", folder, "--overwrite"]
        result = CliRunner().invoke(cli, args)
        assert result.exit_code == 2 and "renamed to .bak" in result.stderr, folder
    assert sorted(Path().iterdir()) == before


SHORT_OF_MEMORY = """
import resource, sys
import medr1.data.convert, medr1.data.readers
from medr1.cli import main
with open("/proc/self/statm") as file:
    held = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + (100 << 20), resource.RLIM_INFINITY))
sys.argv = ["medr1", "data", "convert", "q.json", "out.json"]
main()
"""


def test_too_little_memory_is_one_sentence(tmp_path):
    (tmp_path / "q.json").write_text("[" + " " * (120 << 20) + "]")
    command = [sys.executable, "-c", SHORT_OF_MEMORY]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert result.returncode == 1 and "Error: not enough memory." in result.stderr
    assert "Traceback" not in result.stderr
