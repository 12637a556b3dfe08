"""Turn the documents that evaluations, audits and runs write into tables, CSV, pages and plots.

Nothing here computes a metric: what is shown was computed in `evaluate`, `train` or `data.audit`.
"""
