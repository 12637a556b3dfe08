"""What reaches a terminal: nothing that a file, a path or an option brings can steer it."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder
from medr1.terminal import counted, one_line, printable

HOSTILE = "\x1b]0;PWN\x07\x1b[2J\u202egnp.exe\u2066\x9b31m\x7f\r\u2028\u200bx"
STEERS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069]"
)


def test_control_and_direction_characters_are_shown():
    assert printable("a\x1b[31m\u202eb") == "a\\u001b[31m\\u202eb"
    assert not STEERS.search(printable(HOSTILE)) and "gnp.exe" in printable(HOSTILE)
    assert printable("\ud800 \U000e0041") == "\\ud800 \\udb40\\udc41"


@pytest.mark.parametrize(
    "text",
    ["Plain\n\ttext", "Größe 5\u00a0µm", "\u0646\u0645\u06cc\u200c\u062e\u0648\u0627", "肺", "💊"],
)
def test_text_of_every_script_stays(text):
    assert printable(text) == text


def test_a_json_document_stays_the_same_document():
    document = {HOSTILE: [HOSTILE + '\\u001b \\ " é', {"a\n": 1}]}
    text = json.dumps(document, ensure_ascii=False, indent=2)
    assert STEERS.search(text) and not STEERS.search(printable(text))
    assert json.loads(printable(text)) == document


def test_a_message_cannot_begin_a_line():
    assert one_line("no id 'a\nError: all is well'") == "no id 'a Error: all is well'"


def test_nothing_else_in_the_package_writes_to_a_terminal():
    """`symbolic` writes to the process that asked it, through a pipe."""
    package = Path(__file__).parent.parent / "medr1"
    writes = {"echo", "secho", "print", "getchar", "prompt", "confirm", "progressbar"}
    wrong = []
    for path in sorted(package.rglob("*.py")):
        name = str(path.relative_to(package))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or name in ("terminal.py", "answers/symbolic.py"):
                continue
            called = ast.unparse(node.func)
            clicks = called.startswith("click.") and called.removeprefix("click.") in writes
            streams = re.fullmatch(r"(sys\.)?(stdout|stderr)\.(buffer\.)?write(lines)?", called)
            if clicks or streams or called in ("print", "pprint", "traceback.print_exc"):
                wrong.append(f"{name}:{node.lineno} {called}")
    assert not wrong, wrong


RUN_ALL = """
import json, sys
from medr1.cli import main
for args in json.load(sys.stdin):
    sys.argv = ["medr1", *args]
    try:
        main()
    except SystemExit as ended:
        code = ended.code
    except Exception as error:  # what --debug lets through, as Python ends with it
        sys.excepthook(type(error), error, error.__traceback__)
        code = "raised"
    for stream in (sys.stdout, sys.stderr):
        print(f"<<{code}>>", file=stream, flush=True)
"""


def run_all(folder: Path, commands: list[list[str]]) -> list[tuple[list[str], str, str, str]]:
    """(arguments, exit code, stdout, stderr) of each command, all in one process."""
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL],
        input=json.dumps(commands).encode(),
        capture_output=True,
        cwd=folder,
        timeout=600,
    )
    out, err = (
        re.split(r"<<(\w+)>>\n", stream.decode("utf-8", "backslashreplace"))
        for stream in (done.stdout, done.stderr)
    )
    assert len(out) == len(err) == 2 * len(commands) + 1, done.stderr[-2000:]
    return list(zip(commands, out[1::2], out[::2], err[::2], strict=False))


def item(n: int, **changed: object) -> dict[str, object]:
    Image.new("L", (64, 64), 9 * n).save(f"p{n}.png")
    asked = {"id": f"q{n}", "image": f"p{n}.png", "question": f"q{n} A)x, B)y", "ground_truth": "A"}
    return {**asked, **changed}


@pytest.fixture
def hostile(tmp_path, monkeypatch) -> Path:
    """A folder with questions and results that are hostile in every text they have."""
    monkeypatch.chdir(tmp_path)
    items = [
        item(0, id=HOSTILE, dataset=HOSTILE, modality=HOSTILE, question_type=HOSTILE),
        item(1, **{HOSTILE: HOSTILE, "patient": HOSTILE, "site": HOSTILE}),
        item(2, image=HOSTILE + ".png"),
        item(3, question=f"{HOSTILE} A)a{HOSTILE}, B)b{HOSTILE}"),
        item(4, id="long" + HOSTILE, question=HOSTILE + " long" * 5000),
        item(5, id="tokens" + HOSTILE, question=HOSTILE + " x" * 3000),
        item(6, options={"A": HOSTILE, "C": HOSTILE}),
        item(7, ground_truth=HOSTILE),
        item(8, question_type=HOSTILE, ground_truth="B"),
        item(9, site="b" + HOSTILE, patient="b" + HOSTILE),
    ]
    Path("questions.json").write_text(json.dumps(items))
    Path("long.json").write_text(json.dumps([items[5]]))
    Path("twice.json").write_text(json.dumps([item(1, id=HOSTILE), item(2, id=HOSTILE)]))
    answered = [
        {**one, "model_output": HOSTILE + "A", "site": f"{n % 2}{HOSTILE}"}
        for n, one in enumerate(items)
        if n in (0, 1, 2, 3, 5, 8, 9)
    ]
    Path("results.json").write_text(json.dumps(answered))
    Path("other.json").write_text(json.dumps([{**one, "model_output": "B"} for one in answered]))
    Path("silent.json").write_text(json.dumps([{**item(1), HOSTILE: "x"}]))
    Path("failed.json").write_text(json.dumps([{**item(1), "error": HOSTILE}]))
    Path(f"{HOSTILE}.json").write_text(f'["{HOSTILE}"')
    Path("key.yaml").write_text(json.dumps({HOSTILE: 1}))
    Path("value.yaml").write_text(json.dumps({"protocol": HOSTILE, "group-by": [HOSTILE]}))
    Path("tag.yaml").write_text(yaml.safe_dump({"group_by": [HOSTILE], "cluster_by": HOSTILE}))
    Path("matrix.yaml").write_text(json.dumps({HOSTILE: {HOSTILE: HOSTILE}}))
    Path("samples.csv").write_text(f'id,image,question\n"{HOSTILE}",{HOSTILE},q,4\n')
    checkpoint = Path("bad" + "\x1b[2J\u202e")
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text(json.dumps({"model_type": HOSTILE}))
    return tmp_path


def assert_harmless(ran) -> None:
    for args, _, out, err in ran:
        for said in (out, err):
            found = STEERS.search(said)
            assert not found, (args, said[max(0, found.start() - 200) : found.start() + 20])


QUICK = [
    "data convert questions.json c.json --max-errors 9",
    "data convert questions.json d.json",
    "data convert questions.json e.json --to published --json",
    "data convert twice.json f.json",
    "data convert samples.csv g.json",
    "data convert questions.json g.json --map HOSTILE=HOSTILE",
    "data prepare questions.json --output-dir p --json --max-errors 9",
    "data prepare questions.json --output-dir q --modality HOSTILE,x --question-type HOSTILE",
    "data prepare questions.json --output-dir r --modality HOSTILE2",
    "data prepare questions.json --output-dir HOSTILE",
    "data prepare HOSTILE.json --output-dir s",
    "data audit questions.json --against questions.json",
    "data audit questions.json --against questions.json --json --fail-on leakage",
    "data filter questions.json --results results.json --output-file t.json",
    "data distill questions.json --results results.json --output-file u.json",
    "data split results.json --by site --output-dir w",
    "data split results.json --by HOSTILE --output-dir w",
    "eval results.json --group-by site --cluster-by patient",
    "eval results.json --group-by HOSTILE",
    "eval results.json --cluster-by HOSTILE",
    "eval results.json --json --group-by site",
    "eval results.json --output-dir v --group-by site --data questions.json",
    "eval results.json --map HOSTILE=HOSTILE",
    "eval results.json --map prediction=HOSTILE",
    "eval results.json --fail-under accuracy=HOSTILE",
    "eval results.json --metrics HOSTILE",
    "eval --explain HOSTILE",
    "eval failed.json",
    "eval silent.json",
    "eval silent.json --debug",
    "eval HOSTILE.json",
    "eval HOSTILE",
    "eval results.json --config key.yaml",
    "eval results.json --config value.yaml",
    "eval results.json --config tag.yaml",
    "eval results.json --config HOSTILE.yaml",
    "eval results.json --HOSTILE",
    "eval results.json --protocol HOSTILE",
    "HOSTILE",
    "compare HOSTILE=results.json other.json --group-by site",
    "compare results.json silent.json",
    "compare results.json HOSTILE.json",
    "matrix matrix.yaml",
    "matrix results.json other.json --by HOSTILE",
    "matrix results.json other.json --by dataset",
    "rewards results.json",
    "rewards HOSTILE.json --prompt HOSTILE",
    "verify badESC",
    "verify HOSTILE",
]
SLOW = [
    "infer --model-path TINY --batch-file questions.json --output-file a.json",
    "infer --model-path TINY --batch-file questions.json --output-file b.json --json",
    "infer --model-path TINY --batch-file long.json --output-file h.json",
    "infer --model-path TINY --batch-file twice.json --output-file c.json",
    "infer --model-path TINY --image-path p1.png --question HOSTILE --question-type open",
    "infer --model-path TINY --image-path p1.png --question HOSTILE --option HOSTILE --option b",
    "infer --model-path TINY --image-path HOSTILE.png --question q",
    "infer --model-path TINY --image-path p1.png --question q --prompt HOSTILE",
    "infer --model-path badESC --image-path p1.png --question q",
    "robustness --model-path TINY --batch-file questions.json --output-dir d --dry-run",
    "train --model-path TINY --data questions.json --output-dir e --dry-run",
    "train --model-path TINY --data DATA --output-dir HOSTILE --dry-run --max-steps 1",
    "train --model-path TINY --data DATA --output-dir f --dry-run --optim HOSTILE",
    "train --model-path TINY --data DATA --output-dir f --dry-run --run-name HOSTILE --verbose",
    "train --model-path TINY --data DATA --output-dir f --config key.yaml",
    "merge badESC --output-dir g",
]


def split(line: str) -> list[str]:
    """The words of a command with what they stand for."""
    names = {"HOSTILE": HOSTILE, "ESC": "\x1b[2J\u202e"}
    names |= {"TINY": str(tiny_vl_folder()), "DATA": str(tiny_vqa_folder())}
    return [re.sub("HOSTILE|ESC|TINY|DATA", lambda m: names[m[0]], word) for word in line.split()]


def test_no_command_lets_text_of_others_steer_the_terminal(hostile):
    ran = run_all(hostile, [split(line) for line in QUICK])
    assert_harmless(ran)
    raised = [args for args, code, _, _ in ran if code == "raised" and "--debug" not in args]
    assert not raised, raised
    assert sum("PWN" in out + err for _, _, out, err in ran) > 0.7 * len(ran)


@pytest.mark.slow  # a process for each command
def test_no_command_with_a_model_lets_text_of_others_steer_the_terminal(hostile):
    ran = run_all(hostile, [split(line) for line in SLOW])
    assert_harmless(ran)
    assert not [args for args, code, _, _ in ran if code == "raised"]
    (long,) = (err for args, _, _, err in ran if "long.json" in args)
    assert "'tokens\\x1b]0;PWN" in long or "tokens\\u001b]0;PWN" in long


def test_libraries_logs_warnings_and_bugs_are_shown_too(tmp_path):
    code = """
import logging, sys, warnings
import click
from medr1 import cli, terminal
from medr1.cli.common import Medr1Command, common_options
@click.command(cls=Medr1Command)
@common_options
def faulty():
    logging.getLogger("of.a.library").error("%s", {text!r})
    logging.getLogger("medr1").warning({text!r} + "%s", {text!r})
    warnings.warn({text!r})
    raise RuntimeError({text!r})
cli.cli.add_command(faulty)
sys.argv = ["medr1", "faulty", "--verbose"]
cli.main()
"""
    command = [sys.executable, "-c", code.format(text=HOSTILE)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 1 and "Traceback" in done.stderr
    assert done.stderr.count("PWN") >= 4 and not STEERS.search(done.stderr)


def test_a_number_has_its_noun_in_singular_or_plural():
    assert [counted(n, "step") for n in (0, 1, 2000)] == ["0 steps", "1 step", "2,000 steps"]
