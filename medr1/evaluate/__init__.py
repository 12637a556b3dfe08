"""From predictions to verdicts, metrics and their confidence intervals.

No model runs here, except the encoder of BERTScore in `metrics.bertscore`, where it is asked for.
"""
