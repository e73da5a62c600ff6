"""The kinds of towers that are known here, and the streams that they are in the released models; any other is a
plug-in's."""

from __future__ import annotations

from llava_ecg.checkpoint.towers import clip, ecg_coca
from llava_ecg.checkpoint.towers.facts import TowerFacts

TOWERS: dict[str, TowerFacts] = {"ecg_coca": ecg_coca.FACTS, "clip": clip.FACTS}
RELEASED = {facts.stream: facts for facts in TOWERS.values()}
"""Stream of the released models -> what is known of its tower, in their order."""
