"""medr1: trains and evaluates vision-language models on medical visual questions."""

__version__ = "0.1.0"
