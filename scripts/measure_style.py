"""Measure the style of a package: its comments, docstrings, names and types.

    python scripts/measure_style.py                    medr1/
    python scripts/measure_style.py FOLDER --json

A comment is a line with nothing else in it; its share is that of all lines that are not blank.
Docstrings are measured in lines. The length of a name is in characters, averaged over all its uses.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

PARTICIPLES = ("found", "said", "kept", "given", "made", "taken", "seen", "shown", "heard", "held")
"""Names that do not tell what they hold."""


def python_files(folder: Path) -> Iterator[tuple[str, ast.Module]]:
    """The text and the syntax tree of each Python file."""
    for path in sorted(folder.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        yield text, ast.parse(text)


def names_in(tree: ast.Module) -> Iterator[str]:
    """Each use of a name: variables, attributes, arguments, functions and classes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name


def docstrings_in(tree: ast.Module) -> Iterator[str]:
    """The docstrings of functions, methods and classes."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    for node in ast.walk(tree):
        if isinstance(node, kinds) and (text := ast.get_docstring(node)):
            yield text


def measure(folder: Path) -> dict[str, Any]:
    """Measure all Python files in a folder."""
    lines, comments, lengths = 0, 0, []
    docstrings: list[str] = []
    names: Counter[str] = Counter()
    types: Counter[str] = Counter()
    for text, tree in python_files(folder):
        file_lines = [line.strip() for line in text.splitlines() if line.strip()]
        lines += len(file_lines)
        comments += sum(line.startswith("#") for line in file_lines)
        lengths.append(len(text.splitlines()))
        docstrings += docstrings_in(tree)
        names.update(names_in(tree))
        types["Any"] += len(re.findall(r"\bAny\b", text))
        types["dict[str, Any]"] += text.count("dict[str, Any]")
    sizes = [len(text.splitlines()) for text in docstrings]
    return {
        "files": len(lengths),
        "lines_of_a_file": round(fmean(lengths), 1),
        "longest_file": max(lengths),
        "comment_share": round(comments / lines, 4),
        "docstring_lines": round(fmean(sizes), 2),
        "docstrings_of_one_line": round(sum(size == 1 for size in sizes) / len(sizes), 3),
        "name_length": round(
            sum(len(name) * uses for name, uses in names.items()) / names.total(), 2
        ),
        "participles": {name: names[name] for name in PARTICIPLES if names[name]},
        "types": dict(types),
    }


def main() -> None:
    """Print the measures as a list or as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    here = Path(__file__).parent.parent
    parser.add_argument(
        "folder", type=Path, nargs="?", default=here / "medr1", help="default: medr1/"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    measures = measure(options.folder)
    if options.json:
        print(json.dumps(measures, indent=2))
        return
    for name, value in measures.items():
        text = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        print(f"{name.replace('_', ' '):24}{text}")


if __name__ == "__main__":
    main()
