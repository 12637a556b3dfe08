"""Write the maps of files, medr1/README.md and scripts/README.md, from the files themselves.

    python scripts/map_files.py

A map has each file with the first sentence of its docstring, or of its first comment. A test
compares the maps with the files.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MAPS = {
    "medr1": "The files of the package, folder by folder. `scripts/map_files.py` writes this page.",
    "scripts": "Programs around the package. `scripts/map_files.py` writes this page.",
}
"""Folder -> the first line of its map."""


def description(path: Path) -> str:
    """The first sentence of a file's docstring, or of the comment at its beginning."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        comment = ast.get_docstring(ast.parse(text)) or ""
    else:
        lines = text.removeprefix("#!/usr/bin/env bash\n").splitlines()
        comment = "\n".join(line[1:].strip() for line in itertools.takewhile(_is_comment, lines))
    paragraph = " ".join(comment.split("\n\n")[0].split())
    sentence = re.match(r".+?(?=[.;]\s|[.:]?$)", paragraph)
    return (sentence[0] if sentence else "").replace("|", "\\|").replace("<", "\\<")


def _is_comment(line: str) -> bool:
    return line.startswith("#") and not line.startswith("#SBATCH")


def files_by_folder(top: str) -> dict[str, list[Path]]:
    """Folder, relative to the project -> its programs in order of name, without __init__.py."""
    folders: dict[str, list[Path]] = {}
    for path in sorted((ROOT / top).rglob("*")):
        if path.suffix in (".py", ".sh", ".sbatch") and path.name != "__init__.py":
            folders.setdefault(path.parent.relative_to(ROOT).as_posix(), []).append(path)
    return dict(sorted(folders.items()))


def map_lines(top: str) -> Iterator[str]:
    """The lines of the map of one folder."""
    yield f"# {top}"
    yield ""
    yield MAPS[top]
    for folder, paths in files_by_folder(top).items():
        yield ""
        if folder != top:
            name = folder.removeprefix(f"{top}/")
            yield f"## {name}"
            yield ""
            face = ROOT / folder / "__init__.py"
            if face.is_file() and (text := description(face)):
                page = ROOT / folder / "README.md"
                link = (
                    f" [More]({folder.removeprefix(f'{top}/')}/README.md)" if page.is_file() else ""
                )
                yield f"{text}.{link}"
                yield ""
        yield "| file | content |"
        yield "|---|---|"
        for path in paths:
            link = path.relative_to(ROOT / top).as_posix()
            yield f"| [{path.name}]({link}) | {description(path)} |"


def page(top: str) -> str:
    """The map of one folder, as Markdown."""
    return "\n".join(map_lines(top)) + "\n"


def main() -> None:
    """Write the maps."""
    for top in MAPS:
        (ROOT / top / "README.md").write_text(page(top), encoding="utf-8")


if __name__ == "__main__":
    main()
