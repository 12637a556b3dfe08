"""A model behind an OpenAI-compatible server, such as vLLM, mlx-vlm, llama.cpp or Ollama."""
