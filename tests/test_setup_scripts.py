"""scripts/demo.sh and test.sh, run on a Python that only pretends to install; the versions."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
LOG = "calls.log"

# Stands in for python3, and for .venv/bin/python, which `-m venv` copies it to.
PYTHON = """#!/bin/sh
note() { echo "$*" >>"$CALLS"; }
case "$1 $2" in
  "-m venv")
    note "$@"
    for folder in "$@"; do :; done
    mkdir -p "$folder/bin" && cp "$0" "$folder/bin/python" ;;
  "-m pip")
    note pip $(grep -h "^torch==" "$(dirname "$0")/../medr1-constraints.txt")
    [ -z "$PIP_FAILS" ] || exit 1
    printf '#!/bin/sh\\necho "medr1 $*"\\nexit 3\\n' >"$(dirname "$0")/medr1"
    chmod +x "$(dirname "$0")/medr1" ;;
  "-m "*) shift; note "$@" ;;
  "- "*) [ -n "$TORCH" ] && printf 'torch==%s\\ntorchvision==1.0\\n# from /torch\\n' "$TORCH" ;;
  "-c import "*torch*) [ -z "$TORCH" ] || exit 0 ;;
  *) exec "$REAL" "$@" ;;
esac
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with a space in its path, and the stand-in beside it."""
    root = tmp_path / "my checkout"
    shutil.copytree(
        ROOT / "scripts", root / "scripts", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(ROOT / "pyproject.toml", root)
    stand_in = tmp_path / "bin" / "python3"
    stand_in.parent.mkdir()
    stand_in.write_text(PYTHON)
    stand_in.chmod(0o755)
    return root


@pytest.fixture
def run(checkout: Path, tmp_path: Path) -> Run:
    """Run a script of the checkout from elsewhere, without stdin."""

    def run_script(name: str, *args: str, **variables: str) -> subprocess.CompletedProcess[str]:
        kept = {key: value for key, value in os.environ.items() if key != "PYTHON"}
        paths = {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"}
        own = {"REAL": sys.executable, "CALLS": str(tmp_path / LOG), "TORCH": "", "PIP_FAILS": ""}
        return subprocess.run(
            ["bash", str(checkout / "scripts" / name), *args],
            cwd=tmp_path,
            env={**kept, **paths, **own, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )

    return run_script


def calls(tmp_path: Path, first_word: str) -> list[str]:
    """The logged calls that begin with a word."""
    return [
        line for line in (tmp_path / LOG).read_text().splitlines() if line.split()[0] == first_word
    ]


def test_demo_installs_once_and_hands_on(run: Run, tmp_path: Path):
    for _ in range(2):
        result = run("demo.sh", "--seed", "1", "--output-dir", "a b")
        assert (result.stdout, result.returncode) == ("medr1 demo --seed 1 --output-dir a b\n", 3)
    assert "Installed" not in result.stderr
    assert calls(tmp_path, "pip") == ["pip torch==2.15.0"]


def test_test_extras_serve_the_demo_too(run: Run, tmp_path: Path):
    run("demo.sh")
    assert run("test.sh", "--install-only").returncode == 0
    assert len(calls(tmp_path, "pip")) == 2
    run("demo.sh")
    run("test.sh", "--install-only")
    assert len(calls(tmp_path, "pip")) == 2


def test_interrupted_or_outdated_install_is_redone(run: Run, checkout: Path, tmp_path: Path):
    result = run("demo.sh", PIP_FAILS="1")
    assert result.returncode == 2
    assert "Run this again" in result.stderr
    run("demo.sh")
    assert len(calls(tmp_path, "pip")) == 2
    with (checkout / "scripts" / "constraints.txt").open("a") as file:
        file.write("# newer\n")
    run("demo.sh")
    assert len(calls(tmp_path, "pip")) == 3
    assert len(calls(tmp_path, "-m")) == 1, "the environment itself is made once"


def test_a_torch_that_works_is_kept(run: Run, tmp_path: Path):
    result = run("demo.sh", TORCH="2.14.0+cu130")
    assert "Keeping torch==2.14.0+cu130 torchvision==1.0" in result.stderr
    assert calls(tmp_path, "pip") == ["pip torch==2.14.0+cu130"]
    assert "--system-site-packages" in calls(tmp_path, "-m")[0]


def test_checks_and_their_arguments(run: Run, tmp_path: Path):
    run("test.sh", "tests/test_answers.py", "-q")
    run("test.sh", "--slow", "-q")
    run("test.sh", "--engines", "-q")
    run("test.sh", "--coverage", "-q")
    log = (tmp_path / LOG).read_text().splitlines()
    assert log[-7:] == [
        "ruff check",
        "ruff format --check",
        "mypy",
        "pytest tests/test_answers.py -q",
        "pytest -m slow and not gpu -q",
        "pytest -m engines -rs -q",
        "pytest -m not gpu and not engines --cov --cov-report= -q",
    ]


@pytest.mark.parametrize(
    ("verdict", "said"), [("old", "needs Python 3.11"), ("no-venv", "python3-venv"), ("", "3.11")]
)
def test_a_python_that_does_not_serve(
    run: Run, checkout: Path, tmp_path: Path, verdict: str, said: str
):
    python = tmp_path / "bin" / "python"
    python.write_text(f"#!/bin/sh\necho {verdict}\n")
    python.chmod(0o755)
    result = run("demo.sh", PYTHON=str(python))
    assert result.returncode == 2
    assert result.stdout == ""
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (checkout / ".venv").exists()


# --- the versions -----------------------------------------------------------------------------


def pins(name: str) -> dict[str, str]:
    """Package -> version, from a file of scripts/."""
    lines = (ROOT / "scripts" / name).read_text().splitlines()
    found = [line for line in lines if line and not line.startswith(("#", "-"))]
    assert all(re.fullmatch(r"[a-z0-9-]+==[A-Za-z0-9.]+", line) for line in found)
    return dict(line.split("==") for line in found)


UNTRIED = ("vllm",)
"""Extras that were never tried with these versions: TRL's vLLM needs an older torch, and a GPU."""


def test_constraints_lie_in_the_ranges():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [v for k, v in project["optional-dependencies"].items() if k not in UNTRIED]
    constraints = pins("constraints.txt")
    for requirement in map(Requirement, chain(project["dependencies"], *extras)):
        if requirement.name != "medr1":
            version = constraints[requirement.name.lower()]
            assert requirement.specifier.contains(version), requirement
    assert not [name for name in constraints if name.startswith(("nvidia", "cuda", "triton"))]


def test_mac_pins_are_the_tested_versions():
    assert pins("requirements-mac.txt").items() <= pins("constraints.txt").items()
    assert pins("requirements-eval.txt").items() <= pins("constraints.txt").items()
