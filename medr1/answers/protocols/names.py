"""The names of the protocols: the sets of rules by which an answer counts as right."""

from __future__ import annotations

SCRIPTS = ("authors-counting", "authors-geometry", "authors-vqa", "authors-nothink")
"""The protocols that repeat an evaluation script of Med-R1."""
PROTOCOLS = ("default", "strict", "authors", *SCRIPTS)
"""The sets of rules. `authors` stands for one of SCRIPTS, by the ground truths of a file
(`resolve_protocol`)."""
SUMMARY_PROTOCOLS = ("default", "strict", "authors", "authors-nothink")
"""The protocols whose accuracies a summary shows side by side."""
