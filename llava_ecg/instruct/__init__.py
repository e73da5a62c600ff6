"""Instruction data from recordings and what was said of them: facts, a guide, a writer, an audit, and LLaVA JSONL.

Nothing here needs torch or a network. See docs/generate.md.
"""
