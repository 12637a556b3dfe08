"""Where the images lie that a file names, and which of them may be opened.

Messages name an image without its folder: they end up in result files, which say nothing about the
host.
"""

from __future__ import annotations

import errno
import io
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medr1.errors import ItemError

_REMOTE = re.compile(
    r"\s*(?:(?:https?|ftps?|file|data|s3|gs|hf)\s*:|[a-z][a-z0-9+.-]+://|//|\\\\)", re.IGNORECASE
)
_NO_SUCH_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)


@dataclass(frozen=True)
class ImageRoot:
    """The folder where relative names of images start."""

    path: Path
    closed: bool = False
    """Whether absolute names have to lie below it too, as with --image-root and on every page."""

    def __fspath__(self) -> str:
        return os.fspath(self.path)

    def __str__(self) -> str:
        return str(self.path)


def resolve_image(name: str, root: ImageRoot) -> Path:
    """Where the image that an item names lies.

    A relative name stays below the root, also through symbolic links, and where the root is closed
    so does an absolute one; else that is taken as the user's file says it. ItemError:
    image_remote, image_outside_root, image_missing.
    """
    shown = shorten(name)
    if _REMOTE.match(name):
        raise ItemError(
            "image_remote",
            f"image {shown}: only local files are read; download it and name the file's path.",
        )
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        name = "\0"
    if not name.strip() or "\0" in name:
        raise ItemError("image_missing", f"image {shown}: not a file name; correct it.")
    if os.path.isabs(name) and not root.closed:
        return Path(name)
    top = os.path.realpath(root)
    target = os.path.realpath(os.path.join(top, name))
    if os.path.commonpath([top, target]) != top:
        raise ItemError(
            "image_outside_root",
            f"image {shorten(os.path.basename(name) if os.path.isabs(name) else name)}: leads out "
            "of the image folder; set --image-root to the folder that holds it"
            + ("." if root.closed else ", or name its absolute path."),
        )
    return Path(target)


def folder_to_name(name: str, others: Sequence[str]) -> str:
    """The --image-root that an absolute name needs: one for all the others too, where there is one.

    A folder that is nearly the whole disk is never named; then it is the image's own.
    """
    folders = [os.path.dirname(os.path.normpath(one)) for one in (name, *others)]
    common = os.path.commonpath(folders)
    return common if common.count(os.sep) > 1 else folders[0]


def open_image(path: Path) -> io.FileIO:
    """A regular file; nothing else is opened, and nothing of it is read yet.

    ItemError: image_missing, image_not_file, image_unreadable (no permission).
    """
    shown = shorten(path.name)
    handle = -1
    try:
        if stat.S_ISREG(os.stat(path).st_mode):
            handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except ValueError:
        raise ItemError("image_missing", f"image {shown}: not a file name; correct it.") from None
    except OSError as error:
        if error.errno in _NO_SUCH_FILE:
            raise ItemError(
                "image_missing", f"image {shown}: no such file; check the path and --image-root."
            ) from None
        raise ItemError(
            "image_unreadable",
            f"image {shown}: cannot be opened ({error.strerror}); check its permissions.",
        ) from None
    if handle >= 0:
        file = io.FileIO(handle)
        if stat.S_ISREG(os.fstat(handle).st_mode):  # another may have taken its place since
            return file
        file.close()
    raise ItemError(
        "image_not_file", f"image {shown}: not a regular file; name the picture's own file."
    )


def shorten(name: str) -> str:
    """The name in quotes, as long as fits into a message."""
    return repr(name if len(name) <= 100 else f"{name[:60]}...{name[-30:]}")
