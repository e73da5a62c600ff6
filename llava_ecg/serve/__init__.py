"""`llava-ecg serve`: an OpenAI-compatible HTTP endpoint over one engine."""
