"""The files that weights come in: their names, shapes and dtypes, read without running anything."""
