"""Slices and windows of scans on the page of a review, in a real browser."""

import base64
import io

import numpy as np
import pytest

pytest.importorskip("selenium")
from PIL import Image
from review_scans import SLICES, write_scans
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from medr1.data.images import load_image
from medr1.data.roots import ImageRoot, resolve_image


@pytest.fixture
def viewer(reader, start, tmp_path):
    """viewer(kind) shows the case of a kind of scan; returns the reader."""
    server = start(write_scans(tmp_path), image_root=tmp_path, right_answers=20, repeats=0)

    def show(kind):
        reader.open(server.url, kind)
        reader.place()
        while reader.text("question") != f"{kind}?":
            before = reader.place()
            reader.press("s")
            reader.wait(lambda before=before: reader.place() != before)
        reader.wait(lambda: reader.run("return viewer.images[0].picture.naturalWidth"))
        described = "viewer.images[0].described.then(() => arguments[0]())"
        reader.browser.execute_async_script(described)
        return reader

    reader.name_of = lambda question: next(
        p.sample.images[0] for p in server.app.predictions if p.sample.question == question
    )
    reader.folder = tmp_path
    return show


def pixels(reader):
    """The grey levels of the drawn slice."""
    content = reader.run("return document.querySelector('#frame canvas').toDataURL()")
    picture = Image.open(io.BytesIO(base64.b64decode(content.partition(",")[2])))
    return np.asarray(picture.convert("RGB")).astype(int)


def seen_by_model(reader, name):
    """The levels of an image as a model is shown it."""
    root = ImageRoot(reader.folder, closed=True)
    return np.asarray(load_image(resolve_image(name, root)).image).astype(int)


def drawn(reader, number):
    """Wait until a slice is drawn."""
    script = "return document.querySelector('#frame canvas')?.dataset.slice"
    reader.wait(lambda: reader.run(script) == str(number))


def wheel(reader, steps):
    event = "new WheelEvent('wheel', {deltaY: arguments[0], cancelable: true})"
    for _ in range(abs(steps)):
        reader.run(f"frame.dispatchEvent({event})", 100 * np.sign(steps).item())


def test_slices_by_wheel_keys_and_slider(viewer):
    reader = viewer("series")
    name = reader.name_of("series?").partition("#")[0]
    assert reader.text("slice-number") == f"slice 3 of {SLICES}"
    assert reader.browser.find_elements(By.CSS_SELECTOR, "#frame img")  # as the model saw it
    wheel(reader, 1)
    drawn(reader, 4)
    assert reader.text("slice-number") == f"slice 4 of {SLICES}, which the model was not shown"
    assert np.array_equal(pixels(reader), seen_by_model(reader, f"{name}#slice=4&window=brain"))
    reader.press(Keys.PAGE_UP)
    drawn(reader, 3)
    assert np.array_equal(pixels(reader), seen_by_model(reader, f"{name}#slice=3&window=brain"))
    wheel(reader, -9)
    drawn(reader, 1)  # it stops at the first one
    wheel(reader, 30)
    drawn(reader, SLICES)
    reader.browser.find_element(By.ID, "slice").send_keys(Keys.ARROW_LEFT)
    drawn(reader, SLICES - 1)
    label = reader.run("return document.querySelector('#frame canvas').getAttribute('aria-label')")
    assert label == f"Slice {SLICES - 1} of {SLICES}"
    reader.browser.find_element(By.ID, "reset").click()
    assert reader.browser.find_elements(By.CSS_SELECTOR, "#frame img")
    assert reader.text("slice-number") == f"slice 3 of {SLICES}"


def test_windows_by_name_keys_and_drag(viewer):
    reader = viewer("series")
    name = reader.name_of("series?").partition("#")[0]
    assert reader.text("levels") == "center 40, width 80"
    choice = Select(reader.browser.find_element(By.ID, "window"))
    choice.select_by_visible_text("lung")
    drawn(reader, 3)
    assert np.array_equal(pixels(reader), seen_by_model(reader, f"{name}#slice=3&window=lung"))
    assert reader.text("levels") == "center -600, width 1500"
    reader.run("document.activeElement.blur()")
    reader.press("r")
    assert choice.first_selected_option.text == "as the model saw it"
    reader.press("w")
    drawn(reader, 3)
    assert choice.first_selected_option.text == "brain"
    reader.press("w")
    assert reader.text("levels") == "center 40, width 400"  # of the file
    drawn(reader, 3)
    own = seen_by_model(reader, f"{name}#slice=3&window=40,400")
    reader.wait(lambda: np.array_equal(pixels(reader), own))

    keys = ActionChains(reader.browser).key_down(Keys.SHIFT)
    keys.send_keys(Keys.ARROW_DOWN, Keys.ARROW_RIGHT).key_up(Keys.SHIFT).perform()
    assert reader.text("levels") == "center 44, width 408"  # shares of the first window, 40/80
    assert choice.first_selected_option.get_attribute("value") == str(len(choice.options) - 2)
    assert "active" in reader.run("return fieldsets[0].className")  # the arrow changed no question

    reader.press("d")
    assert reader.browser.find_element(By.ID, "drag").get_attribute("aria-pressed") == "true"
    frame = reader.browser.find_element(By.ID, "frame")
    ActionChains(reader.browser).click_and_hold(frame).move_by_offset(30, 60).release().perform()
    center, width = (float(part.split()[1]) for part in reader.text("levels").split(","))
    assert center > 55 and width > 412
    moved = reader.run("return [viewer.x, viewer.y]")
    reader.press("d")
    ActionChains(reader.browser).click_and_hold(frame).move_by_offset(30, 60).release().perform()
    assert reader.run("return [viewer.x, viewer.y]") != moved


def test_a_montage_is_shown_until_the_slice_is_changed(viewer):
    reader = viewer("montage")
    assert reader.text("slice-number") == f"9 of {SLICES} slices, as the model saw them"
    wheel(reader, 1)
    drawn(reader, 3)
    assert reader.text("slice-number") == f"slice 3 of {SLICES}, which the model was not shown"


def test_pictures_have_the_controls_that_they_need(viewer):
    def visible():
        names = ("image-tools", "slice-tools", "window-tools", "sliders", "reset")
        return {n for n in names if reader.browser.find_element(By.ID, n).is_displayed()}

    reader = viewer("plain")
    assert visible() == {"sliders"}
    reader = viewer("deep")
    assert visible() == {"window-tools", "reset"}
    seen = seen_by_model(reader, "deep.png")
    reader.press("w")
    drawn(reader, 1)
    assert np.abs(pixels(reader) - seen).max() <= 1
    reader = viewer("clip")
    assert visible() == {"slice-tools", "sliders", "reset"}
    name = reader.name_of("clip?").partition("#")[0]
    reader.press(Keys.PAGE_DOWN)
    drawn(reader, 3)
    assert np.array_equal(pixels(reader), seen_by_model(reader, f"{name}#slice=3"))


def test_the_next_slice_is_loaded_ahead(viewer):
    """No slice is asked for after the key that leads to it, if the reader looks at each."""
    reader = viewer("series")
    reader.run("""
        window.pressed = {};
        addEventListener('keydown', () => { pressed[viewer.slice + 1] = performance.now(); }, true);
    """)
    asked = """
        return performance.getEntriesByType('resource').filter(e => e.responseEnd)
            .map(e => [new URL(e.name).pathname.split('/'), e.startTime])
            .filter(e => e[0].length === 5 && e[0][1] === 'image').map(e => [e[0][4], e[1]])"""
    reader.press(Keys.PAGE_DOWN)
    for number in range(5, 12):
        drawn(reader, number - 1)
        reader.wait(lambda n=number: str(n) in dict(reader.run(asked)))
        reader.press(Keys.PAGE_DOWN)
    drawn(reader, 11)
    times, pressed = dict(reader.run(asked)), reader.run("return pressed")
    assert all(times[str(number)] < pressed[str(number)] for number in range(5, 12))
