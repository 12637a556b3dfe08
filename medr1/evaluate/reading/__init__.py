"""Files of results in any known form, chunk by chunk, to predictions."""
