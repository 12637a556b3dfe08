"""Predictions in, verdicts and metrics with their intervals out; no model is loaded here."""
