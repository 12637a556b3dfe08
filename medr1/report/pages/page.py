"""report.html: the page of `medr1 eval`, with one or more summaries and a gallery of items.

All text in it comes from files that somebody else wrote. The template escapes it. The page's own
style and script are identified by their hashes in a content security policy, which allows nothing
else: the page opens offline and loads nothing.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import TYPE_CHECKING

from medr1.documents.items import GalleryCandidate, GalleryItem
from medr1.documents.summary import Summary
from medr1.report.pages.checklist import SOURCES
from medr1.report.pages.facets import Facets
from medr1.report.pages.first_screen import first_screen, page_title
from medr1.report.pages.gallery import TEXT_LIMIT, gallery_choice, gallery_view, item_views
from medr1.report.pages.hallucination import hallucination_view
from medr1.report.pages.summary import MARGIN, PLOT_WIDTH, overview, summary_view
from medr1.report.pages.thumbnails import MAX_IMAGES, thumbnail_key

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

MAX_BYTES = 20_000_000
"""The most bytes of the page."""
RESERVED_BYTES = 10_000
"""Bytes for what the page says about items and texts that are left out."""
TEXT_LIMITS = (TEXT_LIMIT, 1000, 250)
"""The most characters of a completion; the next limit is used if the page would be too large."""


def report_html(
    summaries: Sequence[Summary],
    items: Sequence[GalleryItem],
    *,
    thumbnails: Mapping[str, bytes | str],
    larger: Mapping[str, bytes | None] = MappingProxyType({}),
    burned_in: str | None = None,
    n_items: int | None = None,
    max_bytes: int = MAX_BYTES,
) -> str:
    """The page as HTML: the first screen, the gallery, and all parts of each summary.

    Args:
        summaries: The contents of summary.json, one for each results file.
        items: The items of the gallery, chosen by `gallery.gallery_choice`.
        thumbnails: Their small images, from `thumbnails.make_thumbnails`.
        larger: Larger copies of them, from `thumbnails.larger_copies`. As many as fit are on the
            page instead of the small ones, in their order.
        burned_in: A warning that there may be text, such as a name, in those images, from
            `thumbnails.burned_in_warning`.
        n_items: The number of items of all results files; None: as many as `items`.
        max_bytes: The most bytes of the page. Long completions are cut first; then items are left
            out, which the page says.
    """
    from medr1 import __version__

    style, script = asset("report.css"), asset("report.js")
    facets = Facets(items)
    values = {
        "title": page_title(summaries),
        "style": style,
        "script": script,
        "style_hash": csp_hash(style),
        "script_hash": csp_hash(script),
        "overview": overview(summaries) if len(summaries) > 1 else None,
        "sections": [
            {
                **summary_view(summary, place, facets),
                "first": first_screen(summary, facets),
                "hallucination": hallucination_view(summary, items),
            }
            for place, summary in enumerate(summaries)
        ],
        "burned_in": burned_in,
        "sources": SOURCES,
        "version": __version__,
        "plot_width": PLOT_WIDTH,
        "margin": MARGIN,
    }
    page = template("report.html")
    n_items = n_items or len(items)
    empty = page.render(**values, gallery=gallery_view(items, facets, n_items), entries=())
    room = max_bytes - RESERVED_BYTES - len(empty.encode())
    several = len(summaries) > 1
    fitting, entries, text_limit = _entries(items, thumbnails, facets, several, room)
    room -= sum(len(entry.encode()) for entry in entries)
    chosen, small = _fitting_copies(fitting, thumbnails, larger, room)
    if chosen or small:
        images = {**thumbnails, **chosen}
        views = item_views(fitting, images, facets, text_limit=text_limit, small=small)
        entries = _rendered(views, several)
    gallery = gallery_view(fitting, facets, n_items, text_limit, len(small))
    return page.render(**values, gallery=gallery, entries=entries)


def _fitting_copies(
    items: Sequence[GalleryItem],
    thumbnails: Mapping[str, bytes | str],
    larger: Mapping[str, bytes | None],
    room: int,
) -> tuple[dict[str, bytes], set[str]]:
    """The larger copies that fit into a number of bytes, and the images of which none fits."""
    keys = {
        thumbnail_key(item, name)
        for item in items
        for name in item.prediction.sample.images[:MAX_IMAGES]
    }
    chosen: dict[str, bytes] = {}
    small: set[str] = set()
    for key, copy in larger.items():
        if key not in keys:
            continue
        # in base64; what marks a small image is shorter than this reserve
        size = (len(copy or b"") - len(thumbnails[key])) * 4 // 3 + 20
        if copy is None or size > room:
            small.add(key)
            room -= 20
        else:
            chosen[key] = copy
            room -= size
    return chosen, small


def _rendered(views: Sequence[Mapping[str, object]], several_files: bool) -> list[Markup]:
    """Items as HTML; `several_files`: whether each names its results file."""
    from markupsafe import Markup

    item = template("item.html")
    # the template has escaped all values
    return [Markup(item.render(item=view, several_files=several_files)) for view in views]


def _entries(
    items: Sequence[GalleryItem],
    thumbnails: Mapping[str, bytes | str],
    facets: Facets,
    several_files: bool,
    room: int,
) -> tuple[Sequence[GalleryItem], list[Markup], int]:
    """The items that fit into a number of bytes, as HTML, and the most characters of their texts.

    `several_files`: whether each item names its results file.
    """

    def render(limit: int) -> tuple[list[Markup], int]:
        views = item_views(items, thumbnails, facets, text_limit=limit)
        texts = _rendered(views, several_files)
        return texts, sum(len(text.encode()) for text in texts)

    for text_limit in TEXT_LIMITS:
        entries, size = render(text_limit)
        if size <= room:
            return items, entries, text_limit
    while size > room and items:
        candidates = [
            GalleryCandidate(item.row.results or "", item.row.kind, item.prediction.sample.modality)
            for item in items
        ]
        share = 0.98 * max(0, room) / size
        chosen = gallery_choice(candidates, limit=int(share * len(items)))
        items = [items[place] for place in chosen]
        entries, size = render(text_limit)
    return items, entries, text_limit


@cache
def asset(name: str) -> str:
    """The text of a file in templates/, without carriage returns.

    A browser drops them before it hashes a style or script, and the hashes would differ.
    """
    folder = resources.files("medr1.report.pages") / "templates"
    return (folder / name).read_text(encoding="utf-8").replace("\r\n", "\n")


def csp_hash(text: str) -> str:
    """A style or script's hash as a content security policy names it: "'sha256-...'"."""
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest())
    return f"'sha256-{digest.decode('ascii')}'"


@cache
def template(name: str) -> Template:
    """A page's template by its file name in templates/; values in it are escaped as HTML."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(asset),
        autoescape=True,
        undefined=StrictUndefined,  # a misspelt name is an error, not an empty text
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
