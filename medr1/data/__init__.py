"""From files to samples: readers, the safe image loader, splits, audits, the embedded data."""
