"""llava_ecg: language models that read ECGs and can be held to what they say. Research use, not a medical device."""

__version__ = "0.1.0"
