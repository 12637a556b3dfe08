"""What most tests need: the embedded model, loaded once, and the embedded questions."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads that spin slow other processes down

import architectures
import pytest

from medr1.data.readers import read_questions
from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder


@pytest.fixture(scope="session")
def tiny_model():
    from medr1.models import load_model

    return load_model(tiny_vl_folder(), device="cpu")


@pytest.fixture(scope="session")
def validation():
    return read_questions(tiny_vqa_folder() / "validation.json")


@pytest.fixture(scope="session")
def letters_model():
    from medr1.models import load_model

    return load_model(tiny_vl_folder().with_name("tiny-vl-letters"), device="cpu")


@pytest.fixture(scope="session")
def random_model(tiny_model):
    """Makes a model of a class with random weights, of the embedded one's sizes and tokens."""
    return lambda kind: architectures.random_model(kind, tiny_model)
