"""Chat requests to an OpenAI-compatible server."""
