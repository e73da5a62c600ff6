"""Does an answer say what the signal shows: text -> claims -> verdicts against the measurements. See
docs/grounding.md."""
