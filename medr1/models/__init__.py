"""Loading vision-language models, and their key-value caches."""
