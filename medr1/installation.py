"""Where medr1 is installed: in a source checkout, or from a wheel.

A wheel holds copies of the embedded data, checkpoints and configurations, in the folder `_embedded`
of the package; in a checkout they are the folders beside the package.
"""

from __future__ import annotations

from pathlib import Path

from medr1.errors import InputError

_PACKAGE = Path(__file__).resolve().parent
_COPIES = _PACKAGE / "_embedded"
_CHECKOUT = _PACKAGE.parent


def is_checkout() -> bool:
    """Whether medr1 runs from a source checkout, as an editable install does."""
    return not _COPIES.is_dir()


def embedded_path(name: str) -> Path:
    """The path of an embedded file or folder.

    Args:
        name: As in a checkout, such as "checkpoints/tiny-vl".

    Raises:
        InputError: The installation is not complete.
    """
    path = (_CHECKOUT if is_checkout() else _COPIES) / name
    if not path.exists():
        raise InputError(f"{name} is missing from this installation of medr1. Install it again.")
    return path


def embedded_name(path: str | Path) -> str:
    """The name of an embedded file as in a checkout; the path of any other file as it is.

    Args:
        path: The path of a file or folder.
    """
    root = _CHECKOUT if is_checkout() else _COPIES
    try:
        name = Path(path).relative_to(root).as_posix()
    except ValueError:
        return str(path)
    return name if name.startswith(("checkpoints/", "data/")) else str(path)


def recorded_path(name: str) -> Path:
    """The path that `embedded_name` gave this name; a path that exists wins over an embedded one.

    Args:
        name: A path, or the name of an embedded file or folder.
    """
    path = Path(name)
    embedded = (_CHECKOUT if is_checkout() else _COPIES) / name
    is_embedded = name.startswith(("checkpoints/", "data/")) and embedded.exists()
    return embedded if is_embedded and not path.exists() else path


def extra(name: str) -> str:
    """The argument of `pip install` that installs an extra, such as "'medr1[qlora]'".

    Args:
        name: A name of [project.optional-dependencies] in pyproject.toml.
    """
    return f"-e '.[{name}]'" if is_checkout() else f"'medr1[{name}]'"
