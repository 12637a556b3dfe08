"""The metrics of summary.json."""
