"""Text: normalisation, numbers with units, similarity."""
