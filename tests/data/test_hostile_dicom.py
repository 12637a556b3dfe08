"""DICOM files made to do harm, or damaged: an ItemError or the right image, and little memory.

Each file is loaded in a process of its own (`isolated_loading`), so that a crash, a hang or a large
allocation is seen as what it is.
"""

import sys

import pytest
from hostile_dicom_files import BASE, CASES, SEEDS, VALID, write_seeds
from isolated_loading import IsolatedLoader

MEMORY = 400_000_000
"""Most bytes that loading a file may add."""


@pytest.fixture(scope="module")
def loader(tmp_path_factory):
    if sys.platform != "linux":
        pytest.skip("measures memory by Linux's /proc")
    folder = tmp_path_factory.mktemp("warm")
    loader = IsolatedLoader(write_seeds(folder))
    yield loader
    loader.close()


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_file_is_refused_or_right(name, loader, tmp_path):
    made, right = CASES[name]
    path = tmp_path / "hostile.dcm"
    path.write_bytes(made() if callable(made) else made)
    outcome = loader.load(path)
    path.unlink()
    assert outcome.kind in ("image", "ItemError"), outcome
    assert outcome.grown < MEMORY, outcome
    if outcome.kind == "ItemError":
        assert outcome.code.startswith("image_"), outcome
    else:
        assert right is not None, outcome
        assert not right or (outcome.size == (4, 4) and outcome.values == right), outcome


def test_the_limits_hold_for_windows_that_are_asked_for(loader, tmp_path):
    path = tmp_path / "a.dcm"
    path.write_bytes(VALID)
    for window in ("8/16", "0/1e308", "-1e308/1"):
        assert loader.load(path, window=window).kind in ("image", "ItemError"), window


def test_the_valid_file_is_loaded(loader, tmp_path):
    """The files above differ from this one, which must be loaded for them to tell anything."""
    path = tmp_path / "a.dcm"
    path.write_bytes(VALID)
    outcome = loader.load(path)
    assert (outcome.kind, outcome.size, outcome.values) == ("image", (4, 4), BASE)


@pytest.mark.parametrize("seed", SEEDS)
def test_damaged_copies_are_refused_or_loaded(seed, loader, tmp_path):
    """Many copies with other bytes, lengths and ends: never another exception, nor a crash."""
    path = {path.stem: path for path in write_seeds(tmp_path)}[seed]
    # each crash of the process that decodes lossless JPEG takes a new one
    outcome = loader.load(path, tries=40 if seed == "jpeg-lossless" else 200)
    assert outcome.kind in ("image", "ItemError"), outcome
    assert outcome.grown < MEMORY, outcome
