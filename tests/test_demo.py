"""The first of the two commands, whole, on the real embedded model."""

import json
import subprocess
import sys

import pytest


def demo(folder, *args):
    command = [sys.executable, "-m", "medr1", "demo", "--output-dir", str(folder), *args]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder.parent, timeout=1500)


def check(document, folder):
    assert document == json.loads((folder / "demo.json").read_text())
    for protocol in ("default", "strict"):
        base, trained = document[protocol]["base"], document[protocol]["trained"]
        for side in (base, trained):
            assert side["n"] == document["n"]
            assert side["ci95"][0] <= side["value"] <= side["ci95"][1]
        gain = document[protocol]["difference"]["value"]
        assert gain == pytest.approx(trained["value"] - base["value"], abs=1e-9)
    assert abs(document["blind"]["option_prior"]["value"] - document["blind"]["chance"]) < 0.05
    assert (folder / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "checkpoint" / "medr1.json").is_file()


def test_the_chain_runs_whole_from_an_empty_folder(tmp_path):
    result = demo(tmp_path / "out", "--json", "--max-steps", "2")
    assert result.returncode == 0, result.stderr
    check(json.loads(result.stdout), tmp_path / "out")
    assert "Traceback" not in result.stderr and "step" in result.stderr


@pytest.mark.slow
def test_grpo_raises_held_out_accuracy(tmp_path):
    result = demo(tmp_path / "out", "--json", "--seed", "3")
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    check(document, tmp_path / "out")
    assert document["default"]["difference"]["value"] > 0.05
    assert document["strict"]["difference"]["value"] > 0.30
