"""The kinds of towers that are known here; any other is a plug-in's."""

from __future__ import annotations

from llava_ecg.checkpoint.towers import clip, ecg_coca
from llava_ecg.checkpoint.towers.facts import TowerFacts

TOWERS: dict[str, TowerFacts] = {"ecg_coca": ecg_coca.FACTS, "clip": clip.FACTS}
