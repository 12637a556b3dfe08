"""The definition of every number in summary.json."""
