"""Checkpoints on disk: finding them by name, checking their files, and reading adapters.

A checkpoint is a folder with config.json, weights as safetensors, a tokenizer and an image
processor; or a LoRA adapter with the name of the checkpoint that it belongs to (its base).
"""
