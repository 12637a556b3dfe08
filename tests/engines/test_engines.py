"""`medr1 infer` and `robustness` through real servers compared with the local engine.

Each server runs a script of scripts/engines; the commands are real processes. Text options, greedy
completions and vLLM's exact probabilities are compared with those of `--engine local`.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from engine_server import EngineServer, EngineUnavailable, engine_server, install

from medr1.api import export_checkpoint
from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder

pytestmark = pytest.mark.engines

ROOT = Path(__file__).parent.parent.parent
TEST = tiny_vqa_folder() / "test.json"
ENGINES = ("vllm", "mlx", "transformers_serve")
INFER = ("infer", "--prompt", "nothink", "--max-new-tokens", "16", "--quiet", "--batch-file")
N_ITEMS = 50
ROUNDED = 2e-6
"""Largest difference of two probabilities that are equal but for rounding to 6 decimals."""
LETTER = 0.005
"""Largest difference of a probability from one token, the letter, and from the answer string.

The string is `<answer> C </answer>`, and ` </answer>` is a little more probable after one letter
than after another. Two checkpoints, trained for 16 and for 30 steps, differed by up to 0.0033.
"""


def medr1(*args: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    command = [sys.executable, "-m", "medr1", *map(str, args)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == code, (command, done.stderr[-3000:])
    return done


def results(file: Path) -> list[dict]:
    return json.loads(file.read_text())["results"]


@dataclass(frozen=True)
class Asked:
    """Asks one server; the results are in files of `folder`."""

    server: EngineServer
    folder: Path

    def options(self, answer_style: str = "text") -> list[str]:
        return [
            *("--engine", "openai", "--base-url", self.server.base_url),
            *("--model-path", self.server.model, "--answer-style", answer_style),
        ]

    def infer(self, name: str, *args: object, questions: Path = TEST, code: int = 0) -> list[dict]:
        file = self.folder / f"{name}.json"
        args = (*INFER, questions, "--output-file", file, *self.options(), *args)
        medr1(*args, code=code)
        return results(file)


@pytest.fixture(scope="module")
def mlx_folder(tmp_path_factory):
    """Exports a checkpoint for mlx, once."""
    folder = tmp_path_factory.mktemp("export")

    def export(checkpoint: Path) -> Path:
        output = folder / checkpoint.name
        if not output.exists():
            export_checkpoint(checkpoint, engine="mlx", output_dir=output)
        return output

    return export


@pytest.fixture(scope="module")
def installed():
    """Skips the test if an engine's environment cannot be made."""

    def require(name: str) -> None:
        try:
            install(name)
        except EngineUnavailable as error:
            pytest.skip(str(error))

    return require


@pytest.fixture(scope="module")
def asked(request, installed, mlx_folder, tmp_path_factory):
    """tiny-vl on the server that the test names."""
    name = request.param
    installed(name)
    checkpoint = mlx_folder(tiny_vl_folder()) if name == "mlx" else tiny_vl_folder()
    with engine_server(name, checkpoint) as server:
        yield Asked(server, tmp_path_factory.mktemp(name))


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """The results of the local engine with some options, computed once for each."""
    folder = tmp_path_factory.mktemp("local")

    def infer(*args: object, checkpoint: Path | None = None) -> list[dict]:
        checkpoint = checkpoint or tiny_vl_folder()
        file = folder / f"{checkpoint.name} {' '.join(map(str, args))}.json"
        if not file.exists():
            model = ("--model-path", checkpoint, "--batch-size", 16)
            medr1(*INFER, TEST, "--output-file", file, *model, *args)
        return results(file)

    return infer


def differences(ours: list[dict], theirs: list[dict], *keys: str) -> list[tuple]:
    """The items whose values differ, with both values."""
    assert [item["id"] for item in ours] == [item["id"] for item in theirs]
    return [
        (item["id"], key, item[key], other[key])
        for item, other in zip(ours, theirs, strict=True)
        for key in keys
        if item[key] != other[key]
    ]


def largest_difference(ours: list[dict], theirs: list[dict]) -> float:
    """Of the options' probabilities; both sides have them for the same items."""
    pairs = [
        (item["option_probs"], other["option_probs"])
        for item, other in zip(ours, theirs, strict=True)
    ]
    assert [bool(p) for p, _ in pairs] == [bool(q) for _, q in pairs]
    assert any(p for p, _ in pairs)
    return max(abs(p[letter] - q[letter]) for p, q in pairs if p for letter in p)


ANSWERS = ("model_output", "extracted_answer", "extraction", "finish_reason", "error")


@pytest.mark.parametrize("asked", ENGINES, indirect=True)
def test_the_completions_are_those_of_the_local_engine(asked, local):
    items = asked.infer("both", "--limit", N_ITEMS)
    expected = local("--limit", N_ITEMS)
    assert len(items) == N_ITEMS
    assert differences(items, expected, *ANSWERS) == []


@pytest.mark.parametrize("asked", ["vllm"], indirect=True)
@pytest.mark.parametrize("more", [(), ("--mode", "options"), ("--permute", 2)])
def test_the_probabilities_of_vllm_are_those_of_the_local_engine(asked, local, more):
    limit = ("--limit", N_ITEMS, "--max-errors", N_ITEMS)
    name = " ".join(map(str, more)) or "plain"
    items, expected = asked.infer(name, *limit, *more), local(*limit, *more)
    assert differences(items, expected, *ANSWERS, "circular_answers") == []
    assert largest_difference(items, expected) <= ROUNDED


@pytest.mark.parametrize("asked", ["mlx", "transformers_serve"], indirect=True)
def test_text_options_have_no_probabilities_without_those_of_the_prompt(asked):
    items = asked.infer("few", "--limit", 8)
    assert [item["option_probs"] for item in items] == [None] * 8


@pytest.mark.parametrize("asked", ["vllm", "mlx"], indirect=True)
def test_sampled_completions_depend_on_the_seed_only(asked, local):
    sampled = ("--limit", N_ITEMS, "--num-samples", 2, "--temperature", 1.5)
    first = asked.infer("sampled", *sampled)
    assert differences(first, local("--limit", N_ITEMS), *ANSWERS) == []
    assert all(len(item["samples"]) == 2 and all(item["samples"]) for item in first)
    again = asked.infer("again", *sampled, "--concurrency", 3)
    assert differences(first, again, "samples", *ANSWERS) == []
    other = asked.infer("other seed", *sampled, "--seed", 1)
    assert differences(first, other, *ANSWERS) == []
    assert len(differences(first, other, "samples")) > N_ITEMS / 2


@pytest.mark.parametrize("asked", ["vllm"], indirect=True)
def test_robustness_is_that_of_the_local_engine(asked, tmp_path):
    common = (
        *("robustness", "--batch-file", TEST, "--limit", 24, "--perturbations", "contrast"),
        *("--severities", "5", "--prompt", "nothink", "--max-new-tokens", 16, "--quiet"),
    )
    medr1(*common, "--output-dir", tmp_path / "server", *asked.options())
    medr1(*common, "--output-dir", tmp_path / "local", "--model-path", tiny_vl_folder())
    items, expected = (results(tmp_path / name / "results.json") for name in ("server", "local"))
    assert differences(items, expected, "image_notes", *ANSWERS) == []
    assert largest_difference(items, expected) <= ROUNDED


@pytest.mark.parametrize("asked", ENGINES, indirect=True)
def test_an_unknown_model_is_one_sentence(asked, tmp_path):
    asked_for = asked.options()
    asked_for[asked_for.index("--model-path") + 1] = "no-such-model"
    output = tmp_path / "results.json"
    done = medr1(*INFER, TEST, "--output-file", output, *asked_for, "--limit", 2, code=2)
    assert "has no model 'no-such-model'" in done.stderr and asked.server.model in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not output.exists()


@pytest.mark.parametrize("asked", ["vllm", "mlx"], indirect=True)
def test_a_prompt_that_is_too_long_is_the_error_of_its_item(asked, tmp_path):
    questions = json.loads(TEST.read_text())[:3]
    for question in questions:
        question["image"] = str(tiny_vqa_folder() / question["image"])
    questions[1]["problem"] = "Which of these is shown? " + "Look at it. " * 600
    file = tmp_path / "questions.json"
    file.write_text(json.dumps(questions))
    items = asked.infer("long", questions=file, code=3)
    assert [item["error"] and item["error"]["code"] for item in items] == [
        *(None, "prompt_too_long", None)
    ]
    assert items[0]["model_output"] and items[2]["model_output"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A checkpoint of `medr1 train` that answers `<answer> C </answer>`."""
    folder = tmp_path_factory.mktemp("trained") / "letters"
    medr1(
        *(
            "train",
            "--method",
            "sft",
            "--model-path",
            tiny_vl_folder().with_name("tiny-vl-letters"),
        ),
        *("--data", tiny_vqa_folder(), "--prompt", "nothink", "--output-dir", folder),
        *("--max-steps", 16, "--learning-rate", 2e-3, "--device", "cpu", "--quiet"),
    )
    return folder


def test_letters_of_mlx_are_about_as_probable_as_the_answers_of_the_local_engine(
    trained, local, installed, mlx_folder, tmp_path
):
    installed("mlx")
    expected = local("--limit", 100, checkpoint=trained)
    with engine_server("mlx", mlx_folder(trained)) as server:
        asked = Asked(server, tmp_path)
        items = asked.infer("letters", "--limit", 100, "--answer-style", "letter")
    assert differences(items, expected, *ANSWERS) == []
    assert largest_difference(items, expected) <= LETTER
