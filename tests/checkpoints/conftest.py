"""A copy of the embedded checkpoint to damage."""

import shutil

import pytest

from medr1.data.tiny import tiny_vl_folder


@pytest.fixture
def copy(tmp_path):
    ignore = shutil.ignore_patterns("SHA256SUMS")
    return shutil.copytree(tiny_vl_folder(), tmp_path / "model", ignore=ignore)
