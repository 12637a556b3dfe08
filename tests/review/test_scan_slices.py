"""The slices of scans in the review: values, windows, and no identifier in any response."""

import io
import json
import struct

import numpy as np
import pytest
from dicom_files import load, write_dicom
from dicom_truth_table import CASES
from leaks import leaks
from PIL import Image
from review_client import Client
from review_scans import SLICES, ct_volume, write_scans

from medr1.data.scans.location import ImageLocation
from medr1.data.scans.stack import GreySlice, square_slice
from medr1.data.scans.view import View
from medr1.data.stacks import open_stack
from medr1.review import scan_slices
from medr1.review.scan_slices import CaseSlices


def decoded(content):
    """Values of an encoded slice, and which pixels are hidden."""
    columns, rows, low, step = struct.unpack_from("<IIdd", content)
    codes = np.frombuffer(content, "<u2", offset=24).reshape(rows, columns)
    return low + (codes.astype(float) - 1) * step, codes == 0


def drawn(content, window, is_inverted):
    """The levels that the page draws."""
    values, hidden = decoded(content)
    width = window.high - window.low
    share = (values - window.low) / width if width > 0 else values > window.low
    levels = np.rint(255 * np.clip(share, 0, 1))
    levels = 255 - levels if is_inverted else levels
    return np.where(hidden, 0, levels)


GREY = [
    case
    for case in CASES
    if np.ndim(case.expected) == 1
    and not any("voi_lut" in word or "voi lut" in word.lower() for word in case.noted)
    and "VOILUTSequence" not in case.settings
    and case.settings.get("VOILUTFunction") != "SIGMOID"
    and not case.settings.get("photometric", "MONO").startswith("PALETTE")
]


@pytest.mark.parametrize("case", GREY, ids=lambda case: case.name)
def test_the_page_draws_what_the_model_saw(case, tmp_path):
    """With the first window, each pixel has the level of the truth table of DICOM."""
    path = write_dicom(tmp_path / "image.dcm", case.stored, **case.settings)
    stack = open_stack(ImageLocation(path, "'image'", View(window=case.window)))
    description = stack.description
    levels = drawn(stack.slice(1).encoded(), description.windows[0], description.is_inverted)
    assert levels.ravel().tolist() == np.asarray(case.expected).ravel().tolist()


def test_most_of_the_truth_table_is_drawn():
    assert len(GREY) > 70


@pytest.fixture
def scans(start, tmp_path):
    """A client of a review of scans, and the place of each kind of item."""
    server = start(write_scans(tmp_path), image_root=tmp_path, right_answers=20, repeats=0)
    client = Client(server.url).login()
    kinds = {
        json.loads(client.ask(f"/api/case/{place}")[1])["question"].rstrip("?"): place
        for place in server.app.items
    }
    return client, kinds


def described(client, place):
    status, content, _ = client.ask(f"/api/scan/{place}/0")
    assert status == 200
    return json.loads(content)


def test_slices_of_a_series_are_its_values_from_the_head_down(scans):
    client, kinds = scans
    place = kinds["series"]
    scan = described(client, place)
    assert (scan["total"], scan["shown"]) == (SLICES, [3])
    names = [window["name"] for window in scan["windows"]]
    assert names[:3] == ["brain", "of the file, 1", "of the file, 2"] and "lung" in names
    assert scan["windows"][0] == {"name": "brain", "low": 0, "high": 79}
    for number in (1, 3, SLICES):
        status, content, headers = client.ask(f"/image/{place}/0/{number}")
        assert status == 200 and headers["content-type"] == "application/octet-stream"
        values, hidden = decoded(content)
        assert np.array_equal(values, ct_volume()[number - 1]) and not hidden.any()
    assert described(client, kinds["montage"])["shown"] == [2, 5, 7, 10, 13, 15, 18, 21, 23]


@pytest.mark.parametrize("kind", ["volume", "compressed"])
def test_slices_of_a_volume_are_its_values(scans, kind):
    client, kinds = scans
    scan = described(client, kinds[kind])
    first = {"volume": "of the model", "compressed": "percentiles"}[kind]
    assert scan["windows"][0]["name"] == first
    assert {"brain", "bone"} < {window["name"] for window in scan["windows"]}  # the item is CT
    assert (scan["total"], scan["shown"]) == (SLICES, [3])
    for number in (1, 2, SLICES):
        values, _ = decoded(client.ask(f"/image/{kinds[kind]}/0/{number}")[1])
        assert np.array_equal(values, ct_volume()[number - 1])


def test_a_picture_of_16_bits_has_a_window_and_others_have_none(scans):
    client, kinds = scans
    scan = described(client, kinds["deep"])
    assert scan["total"] == 1
    assert scan["windows"][0] == {"name": "all levels", "low": 0, "high": 7 * (64 * 64 - 1)}
    content = client.ask(f"/image/{kinds['deep']}/0/1")[1]
    png = Image.open(io.BytesIO(client.ask(f"/image/{kinds['deep']}/0")[1])).convert("L")
    levels = drawn(content, type("W", (), scan["windows"][0]), scan["is_inverted"])
    assert np.array_equal(levels, np.asarray(png))
    assert described(client, kinds["plain"]) is None
    assert client.ask(f"/image/{kinds['plain']}/0/1")[0] == 404


def test_slices_in_colour_are_pictures_without_a_window(scans):
    client, kinds = scans
    scan = described(client, kinds["clip"])
    assert (scan["total"], scan["shown"], scan["windows"]) == (5, [2], [])
    _, own, headers = client.ask(f"/image/{kinds['clip']}/0/2")
    assert headers["content-type"] == "image/png"
    seen = client.ask(f"/image/{kinds['clip']}/0")[1]
    pictures = [Image.open(io.BytesIO(png)).convert("RGB") for png in (own, seen)]
    assert pictures[0].tobytes() == pictures[1].tobytes()
    assert client.ask(f"/image/{kinds['clip']}/0/3")[1] != own


def test_only_slices_of_the_cases_are_told(scans):
    client, kinds = scans
    place = kinds["series"]
    for path in (
        *(f"/image/{place}/0/{number}" for number in (0, -1, SLICES + 1, "1.5", "x", "..%2f1")),
        f"/image/{place}/1/1",
        "/image/9999/0/1",
        f"/api/scan/{place}/1",
        "/api/scan/9999/0",
        f"/api/scan/{place}/..%2f..",
    ):
        assert client.ask(path)[0] == 404, path
    cookie, client.cookie = client.cookie, None
    for path in (f"/api/scan/{place}/0", f"/image/{place}/0/1"):
        assert client.ask(path)[0] == 401
        assert (
            client.ask(path, headers={"Cookie": cookie, "Sec-Fetch-Site": "cross-site"})[0] == 403
        )


def test_no_identifier_of_a_file_is_in_any_response(scans, tmp_path_factory):
    """All that reaches the browser of a series with names, dates and numbers in its headers."""
    client, kinds = scans
    folder = tmp_path_factory.mktemp("responses")
    paths = ["/", "/static/viewer.js", "/static/review.js", "/image/9999/0", "/image/0/0/99"]
    for place in kinds.values():
        paths += [f"/api/case/{place}", f"/api/scan/{place}/0", f"/image/{place}/0"]
        paths += [f"/image/{place}/0/{number}" for number in range(1, SLICES + 1)]
    for number, path in enumerate(paths):
        status, content, headers = client.ask(path)
        text = "\n".join(f"{name}: {value}" for name, value in headers.items())
        (folder / f"{number}").write_bytes(f"{status}\n{text}\n\n".encode() + content)
    session = client.ask("/api/session", {"reader": "A"})[1]
    (folder / "session").write_bytes(session)
    assert leaks(folder) == []


def test_the_memory_of_open_scans_is_bounded(tmp_path, monkeypatch):
    write_scans(tmp_path)
    slices = CaseSlices(scan_slices.ImageRoot(tmp_path, closed=True))
    names = [f"volume.nii.gz#slice={number}" for number in range(1, SLICES + 1)]
    for name in names:
        slices.content(name, "", 1)
    assert len(slices._open) == scan_slices.MAX_OPEN
    size = slices._open[names[-1], ""].memory
    monkeypatch.setattr(scan_slices, "MAX_MEMORY", 3 * size)
    slices.content(names[0], "", 2)
    assert len(slices._open) == 3 and slices._memory() == 3 * size
    monkeypatch.setattr(scan_slices, "MAX_MEMORY", 1)
    slices.content(names[1], "", 2)
    assert list(slices._open) == [(names[1], "")]


@pytest.mark.parametrize(
    "values",
    [
        [[0.0, 0.25, 1.0]],
        [[-3e5, 0.0, 4e5]],
        [[np.nan, 1.0, 2.0], [np.inf, -np.inf, 1.5]],
        [[5, 5, 5]],
        [[np.nan, np.nan, np.nan]],
    ],
    ids=str,
)
def test_values_are_encoded_to_within_half_a_step(values):
    values = np.array(values)
    back, hidden = decoded(GreySlice(values).encoded())
    finite = np.isfinite(values)
    assert np.array_equal(hidden, ~finite)
    inside = values[finite]
    if inside.size:
        assert np.abs(back[finite] - inside).max() <= np.ptp(inside) / 65534 / 2 * 1.001


def test_pixels_are_made_square_as_in_the_image_of_the_model(tmp_path):
    values = np.tile(np.arange(0, 1000, 100), (6, 1))
    tags = {"PixelSpacing": [2.0, 1.0], "WindowCenter": 500, "WindowWidth": 1000}
    path = write_dicom(tmp_path / "a.dcm", values, modality="MR", allocated=16, **tags)
    stack = open_stack(ImageLocation(path, "'a'"))
    levels = drawn(stack.slice(1).encoded(), stack.description.windows[0], False)
    seen = np.asarray(load(path).image)[..., 0]
    assert levels.shape == seen.shape == (12, 10)
    assert np.abs(levels - seen).max() <= 1
    hidden = np.zeros((6, 10), bool)
    hidden[:, 0] = True
    assert square_slice(values, hidden, (2.0, 1.0)).hidden.sum() == 12
