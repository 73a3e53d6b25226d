"""The HTTP service: `python -m engine serve`. FastAPI and uvicorn come with the extra `serve`."""
