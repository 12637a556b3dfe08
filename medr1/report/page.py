"""report.html: summaries and a gallery as one file that opens offline and runs nothing of others.

Every text in it was written by someone else. It enters the template as text and is escaped there;
the page's own style and script are named by their hashes, and its policy allows nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from medr1.report.checklist import SOURCES
from medr1.report.gallery import gallery_view
from medr1.report.sections import MARGIN, PLOT_WIDTH, model_name, overview, summary_view

if TYPE_CHECKING:
    from jinja2 import Template


def report_html(
    summaries: Sequence[Mapping[str, Any]],
    items: Sequence[Mapping[str, Any]],
    *,
    thumbnails: Mapping[str, bytes | str],
    burned_in: str | None = None,
) -> str:
    """The page: an overview where there are several summaries, each of them, and the gallery.

    `items` are those to show (`gallery.gallery_choice`); `thumbnails` come from `make_thumbnails`,
    and `burned_in` from the function of that name beside it.
    """
    from medr1 import __version__

    style, script = asset("report.css"), asset("report.js")
    names = list(dict.fromkeys(model_name(summary) for summary in summaries))
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
    """A file beside the template; without carriage returns, which a browser would not hash."""
    folder = resources.files("medr1.report") / "templates"
    return (folder / name).read_text(encoding="utf-8").replace("\r\n", "\n")


def csp_hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest())
    return f"'sha256-{digest.decode('ascii')}'"


@cache
def template(name: str) -> Template:
    """A page's template, with what it imports from those beside it; all that enters is escaped."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(asset),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
