"""The names of the protocols: the sets of rules by which an answer counts as right."""

from __future__ import annotations

SCRIPTS = ("authors-counting", "authors-geometry", "authors-vqa", "authors-nothink")
"""The protocols that repeat an evaluation script of Med-R1."""
PUBLISHED = ("medevalkit", "medvlthinker", "medvlthinker-regrade", "llava-med", "omnimedvqa")
"""The protocols that repeat the evaluation code of another project (`published.MARKS`)."""
PROTOCOLS = ("default", "strict", "authors", *SCRIPTS, *PUBLISHED)
"""The sets of rules. `authors` stands for one of SCRIPTS, by the ground truths of a file
(`resolve_protocol`)."""
SUMMARY_PROTOCOLS = ("default", "strict", "authors", "authors-nothink")
"""The protocols whose accuracies a summary shows side by side."""
ALL_PROTOCOLS = (*SUMMARY_PROTOCOLS, *PUBLISHED)
"""The protocols that `--protocol all` shows side by side."""
