"""The HTTP server: questions about uploaded scenes, answered as they are reasoned. docs/serve.md tells its routes."""
