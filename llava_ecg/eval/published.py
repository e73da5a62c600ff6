"""What was published: task -> model -> metric -> figure, in percent, or in points where the metric is a count of these.

From the papers of PULSE, GEM and ECG-R1; those of ECG-R1 on ECGBench are second hand. Each on its whole test set and
with the prompts and the public scorer of its time, faults included, so `hard_auc` stands where they say "AUC".
"""

from __future__ import annotations

from collections.abc import Mapping

Published = Mapping[str, Mapping[str, float]]
GEM_L, GEM_P, PULSE, R1 = "GEM (from LLaVA)", "GEM (from PULSE)", "PULSE", "ECG-R1"
_LABELS = ("hard_auc", "f1", "hamming_loss")
_CRITERIA = (
    "DiagnosisAccuracy",
    "AnalysisCompleteness",
    "AnalysisRelevance",
    "LeadAssessmentCoverage",
    "LeadAssessmentAccuracy",
    "GroundedECGUnderstanding",
    "EvidenceBasedReasoning",
    "RealisticDiagnosticProcess",
)
_CRITERIA_R1 = (*_CRITERIA[:3], "LeadEvidenceValidity", *_CRITERIA[5:])


def _rows(names: tuple[str, ...], **models: tuple[float, ...]) -> Published:
    title = {"gem_l": GEM_L, "gem_p": GEM_P, "pulse": PULSE, "r1": R1}
    return {title[model]: dict(zip(names, figures, strict=False)) for model, figures in models.items()}


SUPER = _rows(_LABELS, gem_l=(81.8, 73.6, 11.6), gem_p=(83.4, 75.8, 11.0), pulse=(82.4, 74.8, 11.0), r1=(81.7,))
CODE15 = _rows(_LABELS, gem_l=(90.5, 84.8, 5.1), gem_p=(91.5, 86.4, 4.7), pulse=(90.7, 85.4, 5.0), r1=(91.4,))
CPSC = _rows(_LABELS, gem_l=(74.1, 52.0, 9.0), gem_p=(79.1, 61.1, 8.1), pulse=(76.9, 57.6, 8.6), r1=(74.9,))
CSN = _rows(("accuracy",), gem_l=(92.6,), gem_p=(86.2,), pulse=(85.2,), r1=(90.4,))
G12EC = _rows(("accuracy",), gem_l=(81.8,), gem_p=(80.5,), pulse=(78.2,), r1=(84.5,))
ECGQA = _rows(("accuracy",), gem_l=(71.0,), gem_p=(73.6,), pulse=(73.8,))
REPORT = _rows(("mean",), gem_l=(65.0,), gem_p=(67.1,), pulse=(61.3,))
GROUNDED_MIMIC = _rows(
    _CRITERIA,
    gem_l=(87.24, 4.41, 5.01, 71.07, 46.44, 75.48, 75.09, 75.28),
    gem_p=(86.49, 4.43, 4.91, 69.80, 45.33, 74.95, 74.70, 74.87),
    pulse=(81.14, 2.37, 2.39, 7.11, 2.95, 50.18, 52.40, 51.63),
)
GROUNDED_PTBXL = _rows(
    _CRITERIA,
    gem_l=(73.53, 4.19, 2.96, 79.54, 49.01, 74.48, 74.61, 73.84),
    gem_p=(73.59, 4.19, 3.00, 78.86, 47.96, 74.97, 75.41, 74.24),
    pulse=(59.24, 2.20, 2.06, 11.20, 6.27, 52.52, 55.48, 53.85),
)
GROUNDED_R1 = _rows(
    _CRITERIA_R1,
    r1=(80.29, 6.51, 4.74, 5.81, 80.57, 79.08, 84.20),
    gem_l=(74.70, 4.25, 3.79, 4.41, 65.34, 63.15, 62.90),
)
