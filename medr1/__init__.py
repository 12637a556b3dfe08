"""Reinforcement learning and trustworthy evaluation of medical vision-language models."""

__version__ = "0.1.0"
