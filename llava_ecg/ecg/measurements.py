"""`Measurements`: what was measured on a recording, each value None where it can't be, with the reason beside it.

Units are in the names: ms, mV (signed), bpm, degrees, s from the start of the recording. A wave that is not there is
None in its numbers and False in its ``present``; it is never a number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

_PARTS = ("lead_reversal", "beats", "leads", "findings", "spread", "lead_medians", "reasons", "source", "notes")


@dataclass(frozen=True)
class BeatMeasurements:
    """One beat, all leads together.

    Attributes:
        r_s: the main deflection of QRS.
        kind: ``dominant``, ``ventricular``, ``supraventricular`` (premature), ``paced`` or ``partial`` (not whole in
            the recording).
        rr_before_ms, rr_after_ms: to the neighbours; None at the ends.
        rate_bpm: instantaneous, 60000 / `rr_before_ms`.
        p_present: None where it can't be told.
        p_ms, pr_ms, qrs_ms, qt_ms: from the bounds below; jt_ms: QT less QRS.
        qtc_*_ms: QT corrected with `rr_before_ms`, by the formulas of `Measurements`; None without either. A single
            beat's is shaken by its RR, since QT follows the rate over a minute or so: the recording's uses the mean.
        p_onset_s, p_end_s, qrs_onset_s, qrs_end_s, t_end_s: over all leads.
    """

    r_s: float
    kind: str = "dominant"
    rr_before_ms: float | None = None
    rr_after_ms: float | None = None
    rate_bpm: float | None = None
    p_present: bool | None = None
    p_ms: float | None = None
    pr_ms: float | None = None
    qrs_ms: float | None = None
    qt_ms: float | None = None
    jt_ms: float | None = None
    qtc_bazett_ms: float | None = None
    qtc_fridericia_ms: float | None = None
    qtc_framingham_ms: float | None = None
    qtc_hodges_ms: float | None = None
    p_onset_s: float | None = None
    p_end_s: float | None = None
    qrs_onset_s: float | None = None
    qrs_end_s: float | None = None
    t_end_s: float | None = None


@dataclass(frozen=True)
class LeadMeasurements:
    """One lead: medians over its dominant beats. Amplitudes in mV against the level of the last 16 ms before QRS.

    Attributes:
        p_present: whether this lead shows P waves; None where it can't be told.
        p_mv, q_mv, r_mv, s_mv, r2_mv, s2_mv, t_mv: peak amplitudes, signed; `r2_mv` and `s2_mv` are R' and S'. None
            where absent.
        p_ms, q_ms, r_ms, s_ms, t_ms: durations of the waves.
        pr_ms, qrs_ms, qt_ms: intervals of this lead's own bounds.
        qrs_mv: from the lowest to the highest point of QRS; `qrs_area_mv_ms` its net area.
        pattern: of QRS in the usual letters, small below half of the largest: ``"qRs"``, ``"rSR'"``, ``"QS"``; empty if
            unmeasured.
        p_form, t_form: ``"upright"``, ``"inverted"``, ``"biphasic"`` or ``"flat"``; None where unmeasured.
        st_j_mv, st20_mv, st40_mv, st60_mv, st80_mv: ST level at J and so many ms after it.
        st_slope_mv_s: from J to J + 80 ms; `st_form` is ``"upsloping"``, ``"horizontal"`` or ``"downsloping"``.
        q_pathological: whether Q is of the size of an old infarction's (see `llava_ecg.ecg.findings`).
        quality: ``"ok"`` or what is wrong: ``flat``, ``partly flat``, ``empty``, ``nan``, ``clipped``, ``noisy`` or
            ``drifting``.
        per_beat: column name -> a value a beat of `Measurements.beats` (None where there is none). The columns are
            ``{p,qrs,t}_onset_s``, ``{p,qrs,t}_peak_s``, ``{p,qrs,t}_end_s``, ``p_mv``, ``q_mv``, ``r_mv``, ``s_mv``,
            ``r2_mv``, ``s2_mv``, ``t_mv``, ``qrs_mv``, ``p_ms``, ``pr_ms``, ``qrs_ms``, ``t_ms``, ``qt_ms``,
            ``st_j_mv``, ``st60_mv``.
        reasons: name of a value above -> why it is None. A Q, R, S, R' or S' that a measured QRS does not have needs
            none.
        spread: name of a height or ST level (``p_mv`` to ``t_mv``, ``qrs_mv``, ``st_j_mv``, ``st60_mv``) -> SD in mV
            over the dominant beats of single beats' values, which hold more noise than the median beat's.
    """

    p_present: bool | None = None
    p_mv: float | None = None
    p_ms: float | None = None
    p_form: str | None = None
    pr_ms: float | None = None
    q_mv: float | None = None
    q_ms: float | None = None
    r_mv: float | None = None
    r_ms: float | None = None
    s_mv: float | None = None
    s_ms: float | None = None
    r2_mv: float | None = None
    s2_mv: float | None = None
    qrs_mv: float | None = None
    qrs_ms: float | None = None
    qrs_area_mv_ms: float | None = None
    pattern: str = ""
    q_pathological: bool | None = None
    st_j_mv: float | None = None
    st20_mv: float | None = None
    st40_mv: float | None = None
    st60_mv: float | None = None
    st80_mv: float | None = None
    st_slope_mv_s: float | None = None
    st_form: str | None = None
    t_mv: float | None = None
    t_ms: float | None = None
    t_form: str | None = None
    qt_ms: float | None = None
    quality: str = "ok"
    per_beat: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    spread: Mapping[str, float] = field(default_factory=dict)

    @property
    def up_mv(self) -> float:
        """Height of the higher of R and R'; 0 without either."""
        return max(self.r_mv or 0.0, self.r2_mv or 0.0)

    @property
    def down_mv(self) -> float:
        """Depth of the deepest of Q, S and S', positive; 0 without any."""
        return -min(self.q_mv or 0.0, self.s_mv or 0.0, self.s2_mv or 0.0)


@dataclass(frozen=True)
class Finding:
    """A fact with the threshold that it rests on; a fact about the signal, never a diagnosis of a patient.

    Attributes:
        name: such as ``"first degree AV block"``; the list is `llava_ecg.ecg.findings.FINDINGS`.
        present: True, False, or None where it can't be told.
        leads: where it is seen, for findings of leads.
        territory: ``inferior``, ``lateral``, ``anterior``, ``septal`` or a combination, where the leads make one.
        because: the measured values and the threshold, as part of a sentence.
        source: where the threshold comes from.
    """

    name: str
    present: bool | None
    leads: tuple[str, ...] = ()
    territory: str = ""
    because: str = ""
    source: str = ""


@dataclass(frozen=True)
class Measurements:
    """Measured values of one recording.

    Attributes:
        heart_rate_bpm: 60000 / mean RR; `heart_rate_min_bpm` and `heart_rate_max_bpm` from the longest and the shortest
            RR.
        rr_ms: mean RR interval; `rr_cv` its coefficient of variation (SD / mean), a fraction; `rr_max_ms` the longest.
        rhythm_regular: True or False, None with fewer than four beats.
        af_evidence: irregular RR and no P waves; None where either is unknown.
        pauses: how many RR intervals are longer than 2 s.
        ventricular_premature, supraventricular_premature, paced_beats: how many beats are of that kind.
        p_present: whether the rhythm has P waves; `p_fraction` the share of the whole dominant beats that show one.
        p_ms, pr_ms, qrs_ms, qt_ms, jt_ms: intervals over all leads of the representative beat: the median over the
            dominant beats.
        qtc_*_ms: QT corrected with the mean RR of the dominant beats, in s: Bazett QT / sqrt(RR), Fridericia QT /
            cbrt(RR), Framingham QT + 154 (1 - RR), Hodges QT + 1.75 (rate - 60).
        qt_dispersion_ms: largest minus smallest QT over the leads.
        p_axis_deg, axis_deg (QRS), t_axis_deg: frontal axes, -180 to 180.
        sokolow_lyon_mv: S in V1 plus the larger R of V5 and V6; `cornell_mv`: R in aVL plus S in V3.
        low_voltage_limb, low_voltage_chest: every limb lead below 0.5 mV, every chest lead below 1.0 mV, lowest to
            highest point of QRS.
        r_progression: ``"normal"``, ``"poor"``, ``"early"`` or ``"reversed"``; `r_transition` the first chest lead with
            R above S.
        delta_wave: a slurred start of QRS with a short PR: a hint.
        lead_reversal: a sentence such as ``"the arm electrodes look swapped"``; empty where nothing hints at it.
        beats: every beat, in order of time.
        leads: lead name -> `LeadMeasurements`.
        findings: name -> `Finding`.
        lead_medians: ``p_ms``, ``pr_ms``, ``qrs_ms``, ``qt_ms`` -> the median over the leads of each lead's own
            interval; shorter than the interval over all leads, which runs from the earliest to the latest, and less
            shaken by one bad lead.
        spread: name of an interval or axis above (P, PR, QRS, QT, JT, QTc; P, QRS and T axis) -> SD over the dominant
            beats, ms or degrees; RR's is in `rr_cv`, those of heights and ST with each lead.
        reasons: field name -> why it is None.
        source: delineator and version, hash of its weights, filter.
        notes: sentences that a user should see before trusting the values.
    """

    heart_rate_bpm: float | None = None
    heart_rate_min_bpm: float | None = None
    heart_rate_max_bpm: float | None = None
    rr_ms: float | None = None
    rr_max_ms: float | None = None
    rr_cv: float | None = None
    rhythm_regular: bool | None = None
    af_evidence: bool | None = None
    pauses: int | None = None
    ventricular_premature: int | None = None
    supraventricular_premature: int | None = None
    paced_beats: int | None = None
    p_present: bool | None = None
    p_fraction: float | None = None
    p_ms: float | None = None
    pr_ms: float | None = None
    qrs_ms: float | None = None
    qt_ms: float | None = None
    jt_ms: float | None = None
    qtc_bazett_ms: float | None = None
    qtc_fridericia_ms: float | None = None
    qtc_framingham_ms: float | None = None
    qtc_hodges_ms: float | None = None
    qt_dispersion_ms: float | None = None
    p_axis_deg: float | None = None
    axis_deg: float | None = None
    t_axis_deg: float | None = None
    sokolow_lyon_mv: float | None = None
    cornell_mv: float | None = None
    low_voltage_limb: bool | None = None
    low_voltage_chest: bool | None = None
    r_progression: str | None = None
    r_transition: str | None = None
    delta_wave: bool | None = None
    lead_reversal: str = ""
    beats: tuple[BeatMeasurements, ...] = ()
    leads: Mapping[str, LeadMeasurements] = field(default_factory=dict)
    findings: Mapping[str, Finding] = field(default_factory=dict)
    spread: Mapping[str, float] = field(default_factory=dict)
    lead_medians: Mapping[str, float] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    source: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def beats_s(self) -> tuple[float, ...]:
        """The R times of all beats, s."""
        return tuple(beat.r_s for beat in self.beats)

    def to_dict(self, *, per_beat: bool = True) -> dict[str, Any]:
        """Plain dicts and lists, ready for ``json.dumps``; without `per_beat` the columns of single beats are left
        out."""
        out = asdict(self)
        out["beats"] = [dict(beat) for beat in out["beats"]] if per_beat else []
        out["notes"] = list(self.notes)
        for lead in out["leads"].values():
            lead["per_beat"] = {name: list(column) for name, column in lead["per_beat"].items()} if per_beat else {}
        for finding in out["findings"].values():
            finding["leads"] = list(finding["leads"])
        return out

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Measurements:
        """The inverse of `to_dict`; unknown keys are an error (TypeError)."""
        known = dict(values)
        known["beats"] = tuple(BeatMeasurements(**beat) for beat in known.get("beats", ()))
        known["notes"] = tuple(known.get("notes", ()))
        leads = {}
        for name, lead in known.get("leads", {}).items():
            columns = {column: tuple(cells) for column, cells in lead.get("per_beat", {}).items()}
            leads[name] = LeadMeasurements(**{**lead, "per_beat": columns})
        known["leads"] = leads
        known["findings"] = {
            name: Finding(**{**finding, "leads": tuple(finding.get("leads", ()))})
            for name, finding in known.get("findings", {}).items()
        }
        return cls(**known)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The names of the global, single-valued measurements."""
        return tuple(f.name for f in fields(cls) if f.name not in _PARTS)

    def table(self) -> str:
        """The values as plain text for a terminal of 80 columns (see `llava_ecg.ecg.measurement_table`)."""
        from llava_ecg.ecg.measurement_table import table

        return table(self)

    def _repr_html_(self) -> str:
        """As a notebook shows them (see `llava_ecg.ecg.displayed`)."""
        from llava_ecg.ecg.displayed import measurements_html

        return measurements_html(self)
