"""Draw the pictures of the README from a demo: a report, robustness curves, a case of a review.

    medr1 demo --seed 101 --output-dir output/demo
    python scripts/draw_pictures.py output/demo

The fourth picture, the learning curve, is the demo's curve.png. It needs Chromium and its driver.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from PIL import Image
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from medr1.data.tiny import tiny_vqa_folder
from medr1.workflows.review import start_review

PICTURES = Path(__file__).resolve().parents[1] / ".github" / "images"
WIDTH, HEIGHT = 1100, 760
"""Of the window, in CSS pixels."""
NUM_REVIEWED = 64
"""Questions of which the cases of the review are sampled."""
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


def review_page(browser: Chrome, results: Path, images: Path) -> Image.Image:
    """A picture of the page of a review on which the first two questions are answered.

    Args:
        browser: The browser.
        results: The results to review; the store is made beside them.
        images: Folder of the images.
    """
    server = start_review(results, image_root=images, blind=True, errors=5, right_answers=5)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        browser.get(server.url)
        wait = WebDriverWait(browser, 60)
        name = wait.until(lambda _: browser.find_element(By.ID, "reader"))
        name.send_keys("Dr. A", Keys.ENTER)
        loaded = "return document.querySelector('#frame img')?.naturalWidth > 0"
        wait.until(lambda _: browser.execute_script(loaded))
        browser.switch_to.active_element.send_keys("1", "1")
        return Image.open(io.BytesIO(browser.get_screenshot_as_png()))
    finally:
        server.stop()
        browser.get("about:blank")
        thread.join()
        server.close()


def save(picture: Image.Image, name: str, colours: int = 256) -> None:
    """Write a picture with a few colours, which is a third of the size.

    Args:
        picture: The picture.
        name: Name of the file, without its ending.
        colours: The most colours that it has.
    """
    target = PICTURES / f"{name}.png"
    picture.convert("RGB").quantize(colours).save(target, optimize=True)
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
        reviewed = work / "reviewed.json"
        questions = ("--batch-file", data / "test.json", "--mode", "both", "--limit", NUM_REVIEWED)
        run_medr1("infer", *model[:2], *questions, "--output-file", reviewed)
        save(review_page(browser, reviewed, data), "review", 64)
    shutil.copyfile(demo / "curve.png", PICTURES / "demo.png")


if __name__ == "__main__":
    main()
