"""How far answers can be trusted.

Calibration (does confidence match accuracy), uncertainty from repeated samples, ensembles and
dropout, robustness to perturbed images, and selective prediction (which questions to leave to a
clinician).
"""
