"""Draw the pictures of the README from a demo: a report, and a row of robustness curves.

    medr1 demo --seed 101 --output-dir output/demo
    python scripts/draw_pictures.py output/demo

The third picture, the learning curve, is the demo's curve.png. It needs Chromium and its driver.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.common.by import By

from medr1.data.tiny import tiny_vqa_folder

PICTURES = Path(__file__).resolve().parents[1] / ".github" / "images"
WIDTH, HEIGHT = 1100, 760
"""Of the window, in CSS pixels."""
PERTURBATIONS = "contrast,jpeg,gaussian_blur"


def run_medr1(*arguments: object) -> None:
    """Run a command of medr1; it raises CalledProcessError if the command fails."""
    subprocess.run([sys.executable, "-m", "medr1", *map(str, arguments)], check=True)


def screenshot(browser: Chrome, page: Path, selector: str | None = None) -> Image.Image:
    """A picture of a page's first screen, or of the first element of a CSS selector."""
    browser.get(page.resolve().as_uri())
    if selector is None:
        return Image.open(io.BytesIO(browser.get_screenshot_as_png()))
    element = browser.find_element(By.CSS_SELECTOR, selector)
    return Image.open(io.BytesIO(element.screenshot_as_png))


def save(picture: Image.Image, name: str) -> None:
    """Write a picture with at most 256 colours, which is a third of the size."""
    target = PICTURES / f"{name}.png"
    picture.convert("RGB").quantize(256).save(target, optimize=True)
    print(f"{target.name}: {picture.width} x {picture.height}, {target.stat().st_size:,} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("demo", type=Path, help="the output folder of medr1 demo")
    demo = parser.parse_args().demo
    options = ChromeOptions()
    size = f"--window-size={WIDTH},{HEIGHT}"
    for argument in ("--headless=new", "--no-sandbox", "--hide-scrollbars", size):
        options.add_argument(argument)
    with tempfile.TemporaryDirectory() as folder, Chrome(options=options) as browser:
        data, work = tiny_vqa_folder(), Path(folder)
        report = ("--data", data / "test.json", "--train-data", data / "train.json")
        run_medr1("eval", demo / "trained" / "results.json", *report, "--output-dir", work / "eval")
        save(screenshot(browser, work / "eval" / "report.html"), "report")
        batch = ("--batch-file", data / "test.json", "--mode", "options", "--batch-size", 32)
        model = ("--model-path", demo / "checkpoint", "--output-dir", work / "robustness")
        run_medr1("robustness", *model, *batch, "--perturbations", PERTURBATIONS)
        save(
            screenshot(browser, work / "robustness" / "robustness.html", "#curves .curves"),
            "robustness",
        )
    shutil.copyfile(demo / "curve.png", PICTURES / "demo.png")


if __name__ == "__main__":
    main()
