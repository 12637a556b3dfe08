"""The algorithm as medr1/train/README.md writes it out, taken from the page."""

import re
import sys
from pathlib import Path
from types import ModuleType

PAGE = Path(__file__).parents[2] / "medr1" / "train" / "README.md"


def from_page():
    """The page's first block of Python, as a module."""
    source = re.search(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)[1]
    module = ModuleType("algorithm_page")
    sys.modules[module.__name__] = module  # dataclasses look their module up
    exec(compile(source, str(PAGE), "exec"), module.__dict__)
    return module
