"""What a gallery shows is bounded, spread, and the same every time; what is said of an item."""

import io
import re

import pytest
from measured import at_most
from msgspec.structs import replace
from PIL import Image

from medr1.documents.items import GalleryCandidate, ItemRow
from medr1.report.pages.facets import KINDS, LETTERS, Facets
from medr1.report.pages.gallery import (
    MAX_ITEMS,
    gallery_choice,
    gallery_view,
    item_anchors,
    item_views,
)
from medr1.report.pages.page import report_html, template
from medr1.report.pages.sanitize import one_line
from medr1.report.pages.thumbnails import (
    SIDE,
    larger_copies,
    make_thumbnails,
    thumbnail_key,
)


def row(correct, modality="CT", results="a.json", kind="wrong"):
    return GalleryCandidate(results, "right" if correct else kind, modality)


WRONG = ItemRow(
    id="1",
    answer_type="multiple_choice",
    ground_truth="B",
    extracted_answer="A",
    extraction="tag",
    trace=[],
    correct=False,
    undecided=None,
    finish_reason="stop",
    error=None,
)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"correct": True}, "right"),
        ({"error": "image_missing", "extracted_answer": None}, "failed"),
        ({"undecided": "synonym"}, "undecided"),
        ({}, "wrong"),
        ({"extracted_answer": None, "extraction": "refused"}, "refused"),
        ({"extracted_answer": None, "extraction": "ambiguous"}, "ambiguous"),
        ({"extracted_answer": None, "extraction": "empty"}, "empty"),
        ({"extracted_answer": None, "finish_reason": "length"}, "truncated"),
        ({"finish_reason": "length"}, "wrong"),
        ({"extracted_answer": None, "extraction": None}, "unparsed"),
    ],
)
def test_verdict_kinds(changes, kind):
    assert replace(WRONG, **changes).kind == kind and kind in KINDS


def test_choice_is_bounded_ordered_and_the_same_again():
    rows = [row(i % 3 == 0, ("CT", "MR")[i % 2]) for i in range(5000)]
    chosen = gallery_choice(iter(rows), limit=240)
    assert chosen == sorted(set(chosen)) == gallery_choice(rows, limit=240)
    assert sum(rows[i].kind == "right" for i in chosen) == 48 and len(chosen) == 240
    assert chosen != gallery_choice(rows, limit=240, seed=1)
    assert gallery_choice(rows) == list(range(5000))
    assert len(gallery_choice([*rows, row(False)])) == MAX_ITEMS == 5000


@pytest.mark.parametrize(("n_right", "n_wrong", "right"), [(90, 10, 40), (10, 90, 10), (5, 90, 5)])
def test_places_that_one_kind_does_not_need_go_to_the_other(n_right, n_wrong, right):
    rows = [row(True)] * n_right + [row(False)] * n_wrong
    chosen = gallery_choice(rows, limit=50)
    assert len(chosen) == 50 and sum(rows[i].kind == "right" for i in chosen) == right


def test_the_rare_stands_beside_the_common():
    rows = [row(False) for _ in range(10_000)]
    rows[7000] = row(False, "Fundus")
    rows[8000] = row(False, kind="unparsed")
    rows[9000] = row(False, results="b.json")
    chosen = gallery_choice(rows, limit=8)
    assert {7000, 8000, 9000} <= set(chosen) and len(chosen) == 8


def test_all_are_shown_where_they_are_few():
    assert gallery_choice([row(False), row(True), row(False)]) == [0, 1, 2]
    assert gallery_choice([]) == []


def test_every_row_is_as_likely():
    rows = [row(False) for _ in range(200)]
    counts = [0] * 200
    for seed in range(400):
        for place in gallery_choice(rows, limit=10, seed=seed):
            counts[place] += 1
    # 20 expected each, standard deviation 4.4
    assert min(counts) > 3 and max(counts) < 42
    assert 1800 < sum(counts[:100]) < 2200


def test_a_column_of_many_values_costs_nothing():
    with at_most(400):  # 60, most of it to make the rows
        rows = (row(False, str(i)) for i in range(200_000))
        chosen = gallery_choice(rows, limit=200)
    assert len(chosen) == 200 and max(chosen) > 100_000 > min(chosen)


def views(items, thumbnails=()):
    return item_views(items, dict(thumbnails), Facets(items))


def test_filters_and_counts(make_item):
    items = [make_item(n) for n in range(14)]
    view = gallery_view(items, Facets(items), 20)
    assert [f["label"] for f in view["filters"]] == ["verdict", "modality", "question type"]
    assert (view["n"], view["right"], view["wrong"], view["left_out"]) == ("14", "2", "12", "6")
    verdicts = dict(view["filters"][0]["values"])
    assert set(verdicts) <= set(KINDS.values()) and len(verdicts) >= 5
    assert gallery_view(items, Facets(items), 14)["left_out"] is None
    first = views(items)[0]
    assert first["ground_truth"] == first["answer"] == "B) No finding"
    assert [o["letter"] for o in first["options"] if o["is_ground_truth"] and o["is_answer"]] == [
        "B"
    ]


def fitting(link, items, facets):
    """The ids of the items that a link shows, as the page's script decides it."""
    wanted = [part.split("=") for part in link.split()]
    return [
        item.row.id
        for item in items
        if all(
            facets.codes_of(item).split()[int(place)] in codes.split(",") for place, codes in wanted
        )
    ]


def test_links_lead_to_the_items_of_groups_and_cells(make_item):
    items = [make_item(n) for n in range(14)]
    items += [make_item(n, results="b.json") for n in range(14)]
    facets = Facets(items)
    link = facets.link("b.json", "group modality", ["CT"])
    expected = [f"item-{n:04}" for n in range(14) if n % 3 == 1]
    assert fitting(link, items, facets) == expected
    link = facets.link("output/results.json", LETTERS, [("B", "A"), ("B", None)])
    ids = fitting(link, items, facets)
    assert "item-0001" in ids and "item-0000" not in ids and len(ids) == 12
    assert facets.link("b.json", "group modality", ["not there"]) is None
    assert facets.link("c.json", "group modality", ["CT"]) is None


def test_anchors_are_unique_and_fit_into_an_address(make_item):
    names = ["q/1 <b>", "q 1 b", "q-1-b-2", "", "\u202e"]
    items = [make_item(0, id=name) for name in names]
    anchors = item_anchors(items)
    assert anchors[:3] == ["item-q-1-b", "item-q-1-b-2", "item-q-1-b-2-2"]
    assert len(set(anchors)) == 5 and all(re.fullmatch(r"[\w.-]+", name) for name in anchors)


@pytest.fixture
def folder(tmp_path):
    image = Image.linear_gradient("L").resize((640, 320)).convert("RGB")
    exif = Image.Exif()
    exif[0x10E] = "PATIENT^NAME"
    image.save(tmp_path / "ct.jpg", exif=exif, comment=b"PATIENT^NAME")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    return tmp_path


def test_thumbnails_hold_pixels_and_nothing_else(folder, make_item):
    item = make_item(0, images=["ct.jpg", "gone.png", "broken.png", "../x.png", "http://x/y.png"])
    found = make_thumbnails([item], folder)
    made = found[thumbnail_key(item, "ct.jpg")]
    assert Image.open(io.BytesIO(made)).size == (SIDE, SIDE // 2)
    assert b"PATIENT" in (folder / "ct.jpg").read_bytes() and b"PATIENT" not in made
    assert len(made) < 10_000
    assert [found.get(thumbnail_key(item, name)) for name in item.prediction.sample.images[1:]] == [
        "image not found",
        "image not readable",
        "image outside the image folder",
        None,  # the fifth of an item is not drawn, and the page says so
    ]
    view = views([item], found)[0]
    assert view["images"][0]["source"].startswith("data:image/jpeg;base64,/9j/")
    assert view["images"][1]["note"] == "image not found" and view["more_images"] == 1


def test_one_name_in_two_files_is_two_pictures(folder, make_item):
    (folder / "b").mkdir()
    Image.new("RGB", (10, 10), "red").save(folder / "b" / "ct.jpg")
    items = [make_item(0, images=["ct.jpg"], results=name) for name in ("a.json", "b.json")]
    found = make_thumbnails(items, {"a.json": folder, "b.json": folder / "b"})
    assert len(found) == 2 and len(set(found.values())) == 2


def test_many_images_are_smaller(tmp_path, make_item):
    noise = Image.effect_noise((200, 200), 60)
    for n in range(90):
        noise.save(tmp_path / f"{n}.png")
    items = [make_item(n, images=[f"{n}.png"]) for n in range(90)]
    full = make_thumbnails(items, tmp_path)
    size = sum(map(len, full.values()))
    smaller = make_thumbnails(items, tmp_path, max_total_bytes=size // 2)
    sides = {Image.open(io.BytesIO(jpeg)).size[0] for jpeg in smaller.values()}
    assert sides == {128} and sum(map(len, smaller.values())) <= size // 2


def test_the_data_of_an_image_are_on_the_page_once(folder, make_item):
    items = [make_item(n, images=["ct.jpg"]) for n in range(3)]
    page = report_html_of(items, make_thumbnails(items, folder))
    assert page.count("data:image/jpeg") == 1
    assert page.count('<a class="same" href="#item-item-0000" data-image="image-0">') == 2


def report_html_of(items, thumbnails):
    entries = views(items, thumbnails)
    return "".join(template("item.html").render(item=e, several_files=False) for e in entries)


def test_pictures_end_where_the_page_would_be_too_large(folder, make_item):
    items = [make_item(0, images=["ct.jpg"]), make_item(1, images=["gone.png"])]
    found = make_thumbnails(items, folder, max_total_bytes=1)
    assert list(found.values())[1] == "left out: the page would be too large"


def test_larger_copies_are_of_the_wrong_items_first(folder, make_item):
    Image.effect_noise((900, 300), 60).convert("RGB").save(folder / "wide.png")
    Image.new("RGB", (80, 60), "red").save(folder / "tiny.png")
    Image.new("RGB", (160, 60), "red").save(folder / "same.png")
    names = ["ct.jpg", "wide.png", "tiny.png", "same.png", "gone.png"]
    items = [make_item(n, images=[name]) for n, name in enumerate(names)]
    kinds = [item.row.kind for item in items]
    assert kinds[0] == "right" != kinds[1]
    found = make_thumbnails(items, folder)
    keys = [thumbnail_key(item, name) for item, name in zip(items, names, strict=True)]
    larger = larger_copies(items, folder, found)
    assert list(larger) == [keys[1], keys[0]]  # the others have no more pixels than shown
    assert Image.open(io.BytesIO(larger[keys[1]])).size == (512, 171)
    assert Image.open(io.BytesIO(larger[keys[0]])).size == (512, 256)
    assert b"PATIENT" not in larger[keys[0]]
    few = larger_copies(items, folder, found, max_total_bytes=len(larger[keys[1]]))
    assert few == {keys[1]: larger[keys[1]], keys[0]: None}
    assert larger_copies(items, folder / "gone", found) == {}


def test_larger_copies_do_not_make_the_page_too_large(folder, make_item, rich_summary):
    names = [f"{n}.png" for n in range(12)]
    for n, name in enumerate(names):
        Image.effect_noise((600, 600), 20 + n).convert("RGB").save(folder / name, compress_level=1)
    items = [make_item(n, images=[name]) for n, name in enumerate(names)]
    found = make_thumbnails(items, folder)
    larger = larger_copies(items, folder, found)
    small_page = report_html([rich_summary], items, thumbnails=found)
    full_page = report_html([rich_summary], items, thumbnails=found, larger=larger)
    assert small_page.count(" data-small") == full_page.count(" data-small") == 0
    assert "only a small copy" not in full_page and len(full_page) > 2 * len(small_page)
    limit = (len(small_page) + len(full_page)) // 2
    page = report_html([rich_summary], items, thumbnails=found, larger=larger, max_bytes=limit)
    n_small = page.count(" data-small")
    assert limit - 100_000 < len(page.encode()) <= limit and 2 < n_small < 10
    assert f"does not fit on the page: {n_small};" in page and page.count("<article") == 12
    assert "left out" not in page and "Texts are cut" not in page
    right = [n for n, item in enumerate(items) if item.row.kind == "right"]
    small = [n for n in range(12) if f'alt="Image {n}.png" data-small' in page]
    assert set(right) & set(small) and len(small) == n_small
    assert set(small) <= set(right) or set(right) <= set(small)


def test_absolute_names_are_shown_below_the_folder_alone(folder, make_item):
    """Results of somebody else may name any picture of this machine: it goes into no page."""
    inside = folder / "results"
    inside.mkdir()
    for name in ("a", "b"):
        (folder / name).mkdir()
        Image.new("RGB", (10, 10), "red").save(folder / name / "x.png")
    Image.new("RGB", (10, 10), "red").save(inside / "own.png")
    names = [str(inside / "own.png"), str(folder / "a" / "x.png"), str(folder / "b" / "x.png")]
    item = make_item(0, images=names)
    thumbnails = make_thumbnails([item], inside)
    assert isinstance(thumbnails[thumbnail_key(item, names[0])], bytes)
    words = f"image outside the image folder: --image-root {folder} shows it"
    assert [thumbnails[thumbnail_key(item, name)] for name in names[1:]] == [words, words]
    notes = [one["note"] for one in views([item], thumbnails)[0]["images"]]
    assert notes == ["", words, words]
    assert all(isinstance(one, bytes) for one in make_thumbnails([item], folder).values())


def test_a_folder_is_named_as_it_is_typed(tmp_path, make_item):
    item = make_item(0, images=["/data/my set/$(x)\u202e/x.png"])
    (words,) = make_thumbnails([item], tmp_path).values()
    assert words.endswith("--image-root '/data/my set/$(x)⟦U+202E⟧' shows it")


def test_a_cut_line_ends_with_how_much_was_cut():
    assert one_line("a b  " * 100, limit=10).endswith("(389 more characters)")
    assert one_line("a  b") == "a b"
