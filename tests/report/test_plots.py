"""The picture is there, is a picture, and needs no display."""

import subprocess
import sys

import pytest
from PIL import Image

from medr1.errors import OutputError
from medr1.report.charts.learning_curve import learning_curve

CURVE = {
    "steps": [0, 25, 50],
    "series": {"default": [0.2, 0.5, 0.8], "strict": [0.0, 0.5, 0.8]},
    "lines": {"blind": 0.31, "chance": 0.25, "not known": None},
    "title": "GRPO, seed 0",
}


def test_a_png_with_colour_in_it(tmp_path):
    path = tmp_path / "deep" / "curve.png"
    learning_curve(path, **CURVE)
    with Image.open(path) as image:
        assert image.format == "PNG" and image.size == (1200, 720)
        colors = {color for _, color in image.convert("RGB").getcolors(1 << 20)}
    assert {(0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)} <= colors


def test_the_same_bytes_again(tmp_path):
    for name in ("a.png", "b.png"):
        learning_curve(tmp_path / name, **CURVE)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("name", ["$", "$\\frac{$", "100 % & <b>", "{}"])
def test_names_are_not_interpreted(tmp_path, name):
    learning_curve(
        tmp_path / "x.png", steps=[1], series={name: [0.5]}, lines={name: 0.1}, title=name
    )
    assert (tmp_path / "x.png").stat().st_size > 5000


def test_nothing_to_draw(tmp_path):
    learning_curve(tmp_path / "x.png", steps=[], series={}, lines={}, title="")
    assert (tmp_path / "x.png").exists()


def test_unequal_lengths_are_a_bug(tmp_path):
    with pytest.raises(ValueError, match="default: 1 values for 2 steps"):
        learning_curve(
            tmp_path / "x.png", steps=[1, 2], series={"default": [0.5]}, lines={}, title=""
        )
    assert not (tmp_path / "x.png").exists()


def test_not_writable(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        learning_curve(tmp_path / "file" / "x.png", **CURVE)


def test_no_global_state(tmp_path):
    code = (
        "import sys; from pathlib import Path; "
        "from medr1.report.charts.learning_curve import learning_curve; "
        "learning_curve(Path(sys.argv[1]), steps=[1], series={'a': [0.5]}, lines={}, title='t'); "
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "x.png")], check=True)
