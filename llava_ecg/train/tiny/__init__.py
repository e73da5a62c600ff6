"""How the embedded default gem-tiny comes to be: its towers trained from nothing, then aligned with its language
model."""
