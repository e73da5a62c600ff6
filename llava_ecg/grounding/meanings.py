"""What words of waves mean together: a wave and what it does -> a statement; how amplitudes are named and scaled."""

from __future__ import annotations

_ST = {
    "elevation": "elevation",
    "depression": "depression",
    "changed": "changed",
    "isoelectric": "normal",
    "normal": "normal",
}
_T = {
    "inverted": "inverted", "flat": "flat", "low": "flat", "biphasic": "biphasic", "tall": "tall", "high": "tall",
    "normal": "normal", "upright": "upright", "positive": "upright", "abnormal": "abnormal", "isoelectric": "flat",
}  # fmt: skip
MEANING: dict[tuple[str, str], tuple[str, str]] = {
    **{("st", word): ("st_category", value) for word, value in _ST.items()},
    **{("t", word): ("t_category", value) for word, value in _T.items()},
    **{("q", word): ("q_wave", "pathological") for word in ("pathological", "abnormal")},
    **{("progression", word): ("r_progression", value) for word, value in {
        "poor": "poor", "low": "poor", "abnormal": "poor", "early": "early", "reversed": "reversed", "normal": "normal",
        "preserved": "normal",
    }.items()},
    **{("transition", word): ("r_progression", value) for word, value in {"poor": "poor", "early": "early"}.items()},
    **{("voltage", word): ("voltage", word) for word in ("low", "high", "normal")},
    **{(name, "flat"): ("voltage", "low") for name in ("qrs_ms", "qrs_complex")},  # "QRS complexes of low amplitude"
}  # fmt: skip
PAUSE = "pause=present"
PARTS = ("|", "interval", "intervals", "duration", "durations", "segment", "segments", "wave", "waves", "width")
TALL = ("tall", "high", "pathological", "elevation", "depression", "below baseline", "above baseline")
NOUNS_OF_CHANGE = (
    "elevation",
    "depression",
    "inversion",
    "inversions",
    "flattening",
    "elevations",
    "depressions",
    "hebung",
    "senkung",
)
AMPLITUDE = {
    "st": "st_mv", "t": "t_mv", "t amplitude": "t_mv", "q": "q_mv", "q amplitude": "q_mv", "r": "r_mv", "s": "s_mv",
    "p amplitude": "p_mv", "p": "p_mv", "qrs amplitude": "qrs_mv", "voltage": "qrs_mv", "qrs_ms": "qrs_mv",
    "qrs_complex": "qrs_mv", "dominance=R": "r_mv", "dominance=S": "s_mv",
    "sokolow": "sokolow_lyon_mv", "cornell": "cornell_mv",
}  # fmt: skip
MV = {"mm": 0.1, "mV": 1.0, "uV": 0.001, "small box": 0.1, "large box": 0.5}  # at 10 mm/mV
SOURCES = {  # of premature beats, where two are named before the noun
    **dict.fromkeys(("supraventricular", "atrial", "supraventrikuläre"), "supraventricular"),
    **dict.fromkeys(("ventricular", "ventrikuläre"), "ventricular"),
}
EITHER = {
    "conduction=bundle branch block": ("conduction", ("left bundle branch block", "right bundle branch block")),
    "conduction=fascicular block": (
        "conduction",
        ("left anterior fascicular block", "left posterior fascicular block"),
    ),
    "voltage=hypertrophy": ("voltage", ("left ventricular hypertrophy", "right ventricular hypertrophy")),
    "atrial=enlargement": ("atrial", ("left atrial enlargement", "right atrial enlargement")),
}
