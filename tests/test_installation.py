"""The wheel and the source distribution, installed in environments of their own."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from functools import partial
from pathlib import Path

import pytest
from in_process import medr1

from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder

ROOT = Path(__file__).parent.parent
EVALUATION = ROOT / "scripts" / "requirements-eval.txt"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from the source distribution as an installer does it."""
    folder = tmp_path_factory.mktemp("dist")
    build = "from hatchling import build; print(build.build_{}({!r}))"

    def run_code(code, where):
        subprocess.run([sys.executable, "-c", code], check=True, cwd=where, capture_output=True)

    run_code(build.format("sdist", str(folder)), ROOT)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as source:
        source.extractall(folder, filter="data")
    (unpacked,) = (path for path in folder.iterdir() if path.is_dir())
    run_code(build.format("wheel", str(folder)), unpacked)
    (path,) = folder.glob("*.whl")
    return path


def installed(wheel, folder, *borrowed):
    """A new environment with the wheel, and the libraries of the folders `borrowed`."""
    venv.create(folder, with_pip=False)
    site = next((folder / "lib").glob("python*/site-packages"))
    pip = (sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"))
    subprocess.run([*pip, "install", "-q", "--no-deps", "--no-index", wheel], check=True)
    (site / "borrowed.pth").write_text("".join(f"{path}\n" for path in borrowed))
    return folder / "bin" / "medr1"


def run_program(program, *arguments, cwd, without=()):
    """Run a program; `without` is a command that takes something away, such as the network."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "MEDR1"))}
    command = [*without, program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment)


def without_network():
    """A command before another one, which then has no network; () where that is not possible."""
    command = ("unshare", "--map-root-user", "--net")
    if not shutil.which("unshare"):
        return ()
    return command if subprocess.run([*command, "true"], stderr=-3).returncode == 0 else ()


def test_a_wheel_holds_the_embedded_files(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for name in (
        "medr1/py.typed",
        "medr1/answers/vocabulary.tsv",
        *(f"medr1/report/pages/templates/report.{kind}" for kind in ("html", "css", "js")),
        "medr1/report/pages/templates/item.html",
        *(f"medr1/_embedded/checkpoints/{name}/model.safetensors" for name in ("tiny-vl",)),
        "medr1/_embedded/configs/tiny.yaml",
        "medr1/_embedded/data/tiny_vqa_ds/test.json",
    ):
        assert name in names, name
    assert not [name for name in names if "__pycache__" in name or name.startswith("tests")]
    assert wheel.stat().st_size < 20e6


@pytest.mark.slow
def test_a_wheel_needs_no_checkout(wheel, tmp_path):
    program = installed(wheel, tmp_path / "venv", sysconfig.get_path("purelib"))
    here = tmp_path / "empty"
    here.mkdir()
    run = partial(run_program, without=without_network())
    done = run(program, "demo", "--max-steps", "3", cwd=here)
    assert done.returncode == 0, done.stderr
    assert str(here) not in done.stderr and (here / "output" / "demo" / "curve.png").is_file()

    image = next((tmp_path / "venv" / "lib").rglob("_embedded/data/tiny_vqa_ds/images/*.jpg"))
    asked = ("--question", "Which? A) Brain, B) Chest", "--json")
    done = run(program, "infer", "--model-path", "tiny-vl", "--image-path", image, *asked, cwd=here)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)["option_probs"]) == {"A", "B"}

    batch = ("--batch-file", "data/tiny_vqa_ds/test.json", "--limit", "4")
    done = run(
        program, "infer", "--model-path", "tiny-vl", *batch, "--output-file", "r.json", cwd=here
    )
    assert done.returncode == 0, done.stderr
    assert not (here / "data").exists()

    results = "output/demo/trained/results.json"
    done = run(program, "eval", results, "--output-dir", "report", cwd=here)
    assert done.returncode == 0, done.stderr
    assert (here / "report" / "report.html").is_file()

    plan = ("--output-dir", "out", "--dry-run")
    done = run(program, "train", "--config", "configs/tiny.yaml", *plan, cwd=here)
    assert done.returncode == 0, done.stderr


def packages_of(requirements):
    """The names of the packages in a requirements file, in lower case."""
    lines = [line for line in requirements.read_text().splitlines() if line[:1].isalpha()]
    return {line.partition("==")[0].lower() for line in lines}


@pytest.mark.slow
def test_results_are_read_without_the_packages_of_models(wheel, tmp_path):
    """Only the packages of scripts/requirements-eval.txt, and what they need, can be imported."""
    from importlib.metadata import distributions, requires

    from packaging.requirements import Requirement

    allowed, waiting = set(), packages_of(EVALUATION)
    while waiting:
        name = waiting.pop()
        allowed.add(name)
        for text in requires(name) or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                waiting |= {needed.name.lower().replace("_", "-")} - allowed
    assert not allowed & {"torch", "transformers", "accelerate"}
    site = tmp_path / "libraries"
    site.mkdir()
    for distribution in distributions(path=[sysconfig.get_path("purelib")]):
        if distribution.metadata["Name"].lower().replace("_", "-") in allowed:
            for top in {
                file.parts[0] for file in distribution.files or () if file.parts[0] != ".."
            }:
                source = Path(str(distribution.locate_file(top)))
                if source.exists() and not (site / top).exists():
                    (site / top).symlink_to(source)
    program = installed(wheel, tmp_path / "venv", site)
    test, train = (tiny_vqa_folder() / f"{split}.json" for split in ("test", "train"))
    batch = ("--batch-file", test, "--limit", "30", "--mode", "options", "--device", "cpu")
    for name in ("a", "b"):
        output = ("--output-file", tmp_path / f"{name}.json")
        medr1("infer", "--model-path", tiny_vl_folder(), *batch, *output, "--seed", "1")
    (tmp_path / "matrix.yaml").write_text("cells: {CT: {CT: a.json}, MRI: {CT: b.json}}")
    for arguments in (
        ("eval", "a.json", "--data", test, "--output-dir", "report"),
        ("compare", "a.json", "b.json"),
        ("matrix", "matrix.yaml"),
        ("data", "audit", test, "--against", train, "--output-dir", "audit"),
    ):
        done = run_program(program, *arguments, cwd=tmp_path)
        assert done.returncode == 0, (arguments, done.stderr)
    model = ("--model-path", "tiny-vl", "--output-file", "c.json")
    done = run_program(program, "infer", *model, *batch, cwd=tmp_path)
    assert done.returncode == 2 and "without the packages that run models" in done.stderr
    assert "pip install medr1" in done.stderr
