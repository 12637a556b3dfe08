"""GRPO that processes each prompt once for all completions of its group."""
