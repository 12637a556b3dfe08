"""Checkpoints on the disk: by which name, in which files, and whether they are to be trusted."""
