"""The table of the metrics, and how pairs of texts are scored; `evaluate` computes them."""
