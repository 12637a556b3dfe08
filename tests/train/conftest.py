"""The embedded model, loaded anew for each test that trains it."""

import pytest

from medr1.data.tiny import tiny_vl_folder
from medr1.models.loading import load_model


@pytest.fixture
def model():
    return load_model(tiny_vl_folder(), device="cpu")
