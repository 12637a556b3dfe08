"""From predictions to verdicts, metrics and their confidence intervals.

No model runs here, except the encoders of `metrics.encoder`, where a score by a model is asked for.
"""
