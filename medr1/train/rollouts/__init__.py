"""Rollouts by a server: completions that an OpenAI-compatible server samples."""
