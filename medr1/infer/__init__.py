"""From questions to predictions: a model is run, nothing is judged."""
