"""A package of somebody else: parts for llava-ecg, each found by its entry point in pyproject.toml."""
