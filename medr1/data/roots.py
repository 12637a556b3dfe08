"""Finds the file of an image path, and decides whether it may be opened.

Messages give an image without the folder that contains it, because they are written into results
files, which must not describe the computer.
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

from medr1.data.scans.location import ImageLocation
from medr1.data.scans.private_names import FILE_NAME, is_alias, names_of
from medr1.data.scans.view import View, split_view
from medr1.errors import ItemError
from medr1.files import BINARY

_REMOTE = re.compile(
    r"\s*(?:(?:https?|ftps?|file|data|s3|gs|hf)\s*:|[a-z][a-z0-9+.-]+://|//|\\\\)", re.IGNORECASE
)
_OPEN_FLAGS = os.O_RDONLY | BINARY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
"""The last two, which Windows does not have, are for a device that replaces the file."""
_NO_SUCH_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)


@dataclass(frozen=True)
class ImageRoot:
    """The folder that relative image paths start from.

    Attributes:
        path: The folder.
        closed: Whether the images of absolute paths must be in it too. That is so for
            --image-root, and for all images that a page shows.
    """

    path: Path
    closed: bool = False

    def __fspath__(self) -> str:
        return os.fspath(self.path)

    def __str__(self) -> str:
        return str(self.path)


def resolve_image(name: str, root: ImageRoot) -> ImageLocation:
    """Where an image is. Its file need not exist.

    An image of a relative path must be inside the root, also after symbolic links are followed. If
    the root is closed, an image of an absolute path must be too; otherwise an absolute path is
    returned as it is.

    Args:
        name: The image path, as the item has it.
        root: The folder that relative paths start from.

    Raises:
        ItemError: image_remote for a URL, image_outside_root, or image_missing for a text that
            cannot be a file name; also for the name of a DICOM file that is not known here.
    """
    file_name, view = split_view(name)
    if is_alias(file_name):
        return _private(file_name, view, root)
    path = _path_of(file_name, root)
    return ImageLocation(path, shorten(path.name), view)


def _private(alias: str, view: View, root: ImageRoot) -> ImageLocation:
    """Where the DICOM file or series of an alias is. Its own name is in no message."""
    label = shorten(alias)
    slices = names_of(root.path).slices(alias)
    if not slices:
        raise ItemError(
            "image_missing",
            f"image {label}: not in {FILE_NAME}, which maps such names to files, in the image "
            "folder; set --image-root to the folder that has it.",
        )
    try:
        files = tuple((_path_of(path, root), frame) for path, frame in slices)
    except ItemError as error:
        raise ItemError(error.code, f"image {label}: not in the image folder.") from None
    if files[0][1] == 0:
        return ImageLocation(files[0][0], label, view)
    return ImageLocation(files[0][0], label, view, files)


def _path_of(name: str, root: ImageRoot) -> Path:
    """The path of the file with this name; ItemError as in `resolve_image`."""
    short_name = shorten(name)
    if _REMOTE.match(name):
        raise ItemError(
            "image_remote",
            f"image {short_name}: only local files are read; download it and name the file's path.",
        )
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        name = "\0"
    if not name.strip() or "\0" in name:
        raise ItemError("image_missing", f"image {short_name}: not a file name; correct it.")
    if os.path.isabs(name) and not root.closed:
        return Path(name)
    root_path = os.path.realpath(root)
    target = os.path.realpath(os.path.join(root_path, name))
    if not _is_below(target, root_path):
        raise ItemError(
            "image_outside_root",
            f"image {shorten(os.path.basename(name) if os.path.isabs(name) else name)}: not in "
            "the image folder; set --image-root to the folder that contains it"
            + ("." if root.closed else ", or use its absolute path."),
        )
    return Path(target)


def _is_below(path: str, folder: str) -> bool:
    """Whether a path is in a folder; both are absolute. On Windows they may be on two drives."""
    try:
        return os.path.commonpath([folder, path]) == folder
    except ValueError:
        return False


def suggested_image_root(path: str, other_paths: Sequence[str]) -> str:
    """The folder to suggest as --image-root for images with absolute paths.

    Args:
        path: The absolute path of an image.
        other_paths: The absolute paths of other images.

    Returns:
        The folder that contains all of these images. If that is "/" or a folder directly in it,
        the folder of the first image alone: a root should not open most of the disk.
    """
    folders = [os.path.dirname(os.path.normpath(name)) for name in (path, *other_paths)]
    common = os.path.commonpath(folders)
    return common if common.count(os.sep) > 1 else folders[0]


def open_image(path: Path, label: str = "") -> io.FileIO:
    """Open the file of an image, if it is a regular file. Nothing is read yet.

    Args:
        path: The file.
        label: Its name in quotes for messages; empty for the file's own name.

    Raises:
        ItemError: image_missing, image_not_file (such as a folder or a device), or
            image_unreadable, such as without permission.
    """
    short_name = label or shorten(path.name)
    handle = -1
    try:
        if stat.S_ISREG(os.stat(path).st_mode):
            handle = os.open(path, _OPEN_FLAGS)
    except ValueError:
        raise ItemError(
            "image_missing", f"image {short_name}: not a file name; correct it."
        ) from None
    except OSError as error:
        if error.errno in _NO_SUCH_FILE:
            raise ItemError(
                "image_missing",
                f"image {short_name}: no such file; check the path and --image-root.",
            ) from None
        raise ItemError(
            "image_unreadable",
            f"image {short_name}: cannot be opened ({error.strerror}); check its permissions.",
        ) from None
    if handle >= 0:
        file = io.FileIO(handle)
        if stat.S_ISREG(os.fstat(handle).st_mode):  # it may have been replaced since os.stat
            return file
        file.close()
    raise ItemError(
        "image_not_file", f"image {short_name}: not a regular file; name the image's own file."
    )


def shorten(name: str) -> str:
    """The name in quotes, shortened in the middle if it is too long for a message."""
    return repr(name if len(name) <= 100 else f"{name[:60]}...{name[-30:]}")
