"""A name -> a folder: a path, an embedded checkpoint, the hub."""
