"""A model behind an OpenAI-style HTTP endpoint and a web page."""
