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
from typing import TYPE_CHECKING

from medr1.documents.items import GalleryItem
from medr1.documents.summary import Summary
from medr1.report.pages.checklist import SOURCES
from medr1.report.pages.gallery import gallery_view
from medr1.report.pages.summary import MARGIN, PLOT_WIDTH, model_name, overview, summary_view

if TYPE_CHECKING:
    from jinja2 import Template


def report_html(
    summaries: Sequence[Summary],
    items: Sequence[GalleryItem],
    *,
    thumbnails: Mapping[str, bytes | str],
    burned_in: str | None = None,
) -> str:
    """The page as HTML: an overview of several summaries, each summary, and the gallery.

    Args:
        summaries: The contents of summary.json, one for each results file.
        items: The items of the gallery, chosen by `gallery.gallery_choice`.
        thumbnails: Their small images, from `thumbnails.make_thumbnails`.
        burned_in: A warning that there may be text, such as a name, in those images, from
            `thumbnails.burned_in_warning`.
    """
    from medr1 import __version__

    style, script = asset("report.css"), asset("report.js")
    names = list(dict.fromkeys(model_name(summary.meta) for summary in summaries))
    return template("report.html").render(
        title=", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else ""),
        style=style,
        script=script,
        style_hash=csp_hash(style),
        script_hash=csp_hash(script),
        overview=overview(summaries) if len(summaries) > 1 else None,
        sections=[summary_view(summary, place) for place, summary in enumerate(summaries)],
        gallery=gallery_view(items, thumbnails),
        burned_in=burned_in,
        sources=SOURCES,
        version=__version__,
        plot_width=PLOT_WIDTH,
        margin=MARGIN,
    )


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
