"""From predictions to verdicts, metrics and their confidence intervals.

No model runs here, except the encoder of BERTScore in `semantic`, where it is asked for.
"""
