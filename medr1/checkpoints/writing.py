"""Writing a checkpoint: completely or not at all, with SHA256SUMS."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medr1.checkpoints.integrity import write_checksums
from medr1.errors import OutputError
from medr1.files import prepare_folder, unfinished_folder


@contextmanager
def new_checkpoint(folder: Path, *, overwrite: bool) -> Iterator[Path]:
    """An empty folder to fill. It then gets SHA256SUMS and the name `folder`, or is removed.

    Args:
        folder: Where the checkpoint is written.
        overwrite: Whether content of the folder may be replaced.

    Raises:
        InputError: The folder has content, and `overwrite` is False.
        LockedError: Another process is writing it.
        OutputError: The files cannot be written.
    """
    if not overwrite:
        prepare_folder(folder, overwrite=False)
    try:
        with unfinished_folder(folder) as temporary:
            yield temporary
            write_checksums(temporary)
            # only now is the old content removed and the new one put in its place
            prepare_folder(folder, overwrite=overwrite)
            os.replace(temporary, folder)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"cannot write {folder}: {error.strerror or error}.") from None


def link_or_copy(source: Path, target: Path) -> None:
    """Make a file available under a second path: as a hard link, or else as a copy.

    Args:
        source: The file; a link is followed, as in the cache of the Hugging Face hub.
        target: The second path.
    """
    source = source.resolve()
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)
