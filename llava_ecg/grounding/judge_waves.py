"""Words about ST, T, Q, R progression and voltage, held against the measured waves lead by lead.

A statement that names leads needs to be so in two of them (in the one, where one is named); a statement about the whole
ECG in two contiguous leads. It is denied only where it is clearly not so in any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from llava_ecg.ecg.measurements import LeadMeasurements, Measurements
from llava_ecg.ecg.person import Person
from llava_ecg.grounding.claim import TERRITORIES, Claim
from llava_ecg.grounding.judge_numbers import untrusted_amplitude, usable
from llava_ecg.grounding.tolerances import Tolerances
from llava_ecg.grounding.verdicts import Found, State, number

CHEST = ("V1", "V2", "V3", "V4", "V5", "V6")
LIMB = ("I", "II", "III", "aVR", "aVL", "aVF")
_WITHOUT_AVR = tuple(name for name in (*LIMB, *CHEST) if name != "aVR")
_FRONTAL = ("aVL", "I", "II", "aVF", "III")
CONTIGUOUS = frozenset(
    frozenset(pair)
    for order in (_FRONTAL, CHEST)
    for pair in zip(order, order[1:], strict=False)
) | {frozenset(("II", "III")), frozenset(("I", "V6")), frozenset(("aVL", "V6")), frozenset(("I", "V5"))}  # fmt: skip

ST_ELEVATION_MV = 0.1  # in V2 and V3 more: `Person.st_elevation_mv`
ST_DEPRESSION_MV = -0.05
NOBODY = Person()  # of unknown sex and age
CLEARLY_LEVEL_MV = 0.02
T_INVERTED_MV, T_UPRIGHT_MV, T_FLAT_MV = -0.05, 0.1, 0.1


def clear_pair(leads: Iterable[str]) -> tuple[str, ...]:
    """The leads that have a contiguous neighbour among them."""
    names = list(leads)
    return tuple(name for name in names if any(frozenset((name, other)) in CONTIGUOUS for other in names))


def judge_st(claim: Claim, measurements: Measurements, tolerances: Tolerances, person: Person = NOBODY) -> Found:
    """ "ST elevation", "ST depression", "normal ST segments"; in V2 and V3 by the threshold of the person's sex and
    age."""
    leads, why = _leads(claim, measurements)
    if not leads:
        return Found(State.UNKNOWN, reason=why)
    if claim.value == "normal":
        return _st_normal(claim, leads, tolerances, person)
    up = claim.value == "elevation"
    far = {name: _level(lead, up=up, far=True) for name, lead in leads.items()}
    near = {name: _level(lead, up=up, far=False) for name, lead in leads.items()}
    if not any(value is not None for value in far.values()):
        return Found(State.UNKNOWN, reason="the ST level was not measured there")
    sign = 1.0 if up else -1.0
    allowed = tolerances.near_st_mv
    size = {name: sign * value for name, value in far.items() if value is not None}
    sure = {name: sign * value for name, value in near.items() if value is not None}
    threshold = {name: _st_threshold(name, up, person) for name in size}
    loosely = [
        name
        for name, value in size.items()
        if value >= min(threshold[name], abs(ST_ELEVATION_MV if up else ST_DEPRESSION_MV)) - allowed
    ]
    surely = [
        name
        for name, value in sure.items()
        if size[name] >= threshold[name] + allowed and value >= 0.6 * threshold[name]
    ]
    worst = max(size, key=lambda name: size[name])
    measured = f"{number(sign * size[worst], 'mV')} mV in {worst}"
    whose = person.st_elevation_mv(worst)[1] if up and person.male is not None else ""
    note = f"from {threshold[worst]:g} mV in V2 and V3, the threshold of {whose}" if whose else ""
    if _enough(surely, claim):
        return Found(State.YES, measured, reason=note)
    if _enough([name for name, value in size.items() if value >= threshold[name]], claim):
        return Found(State.PROBABLY, measured, reason=note)
    level = CLEARLY_LEVEL_MV if not up else ST_ELEVATION_MV / 2
    return Found(State.NO if not loosely and size[worst] < level else State.PROBABLY_NOT, measured, reason=note)


def _enough(names: Sequence[str], claim: Claim) -> bool:
    """Whether a sign that is seen in these leads makes the statement true: in the one it names, two of those, or two
    contiguous ones."""
    return len(names) >= min(2, len(claim.leads)) if claim.leads else bool(clear_pair(names))


def _st_threshold(name: str, up: bool, person: Person) -> float:
    return person.st_elevation_mv(name)[0] if up else abs(ST_DEPRESSION_MV)


def _level(lead: LeadMeasurements, *, up: bool, far: bool) -> float | None:
    """ST level of a lead: of J and J + 60 ms the one that goes farther up (or down), or less far."""
    levels = [level for level in (lead.st_j_mv, lead.st60_mv) if level is not None]
    if not levels:
        return None
    return max(levels) if up == far else min(levels)


def _st_normal(claim: Claim, leads: Mapping[str, LeadMeasurements], tolerances: Tolerances, person: Person) -> Found:
    """Whether no two contiguous leads (or not the one that is named) are clearly shifted."""
    shifted = []
    for name, lead in leads.items():
        low, high = _level(lead, up=True, far=False), _level(lead, up=True, far=True)
        if low is None or high is None:
            continue
        up = low >= _st_threshold(name, True, person) + tolerances.near_st_mv
        if up or high <= ST_DEPRESSION_MV - tolerances.near_st_mv:
            shifted.append(name)
    clear = shifted if len(claim.leads) == 1 else clear_pair(shifted)
    if clear:
        return Found(State.NO, f"shifted in {', '.join(clear)}")
    if claim.negated:  # "ST changes" may be less than what is called clear here
        return Found(
            State.PROBABLY if shifted else State.OPEN, reason="no clear shift of ST; changes of its form are not judged"
        )
    return Found(State.YES, "no clear shift")


def judge_t(claim: Claim, measurements: Measurements) -> Found:
    """What T looks like in the named leads, or in the whole ECG."""
    leads, why = _leads(claim, measurements)
    sizes = {name: lead.t_mv for name, lead in leads.items() if lead.t_mv is not None}
    flat = [name for name, lead in leads.items() if lead.t_form == "flat"]
    if not sizes and not flat:
        return Found(State.UNKNOWN, reason=why or "T was not found there")
    judges: dict[str, Callable[[Claim, dict[str, float], Mapping[str, LeadMeasurements]], Found]] = {
        "inverted": _t_inverted, "upright": _t_upright, "flat": _t_flat, "tall": _t_tall, "biphasic": _t_biphasic,
        "normal": _t_normal, "abnormal": _t_abnormal,
    }  # fmt: skip
    judge = judges.get(str(claim.value))
    return (
        judge(claim, sizes, leads)
        if judge and sizes
        else Found(State.OPEN, reason="nothing that is measured settles it")
    )


def _told(sizes: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {number(value, 'mV')} mV" for name, value in list(sizes.items())[:4])


def _t_inverted(claim: Claim, sizes: dict[str, float], leads: Mapping[str, LeadMeasurements]) -> Found:
    """Inverted: below -0.05 mV. aVR is left out, and V1, III and aVL, where it may be normal, count for the whole ECG
    only as a maybe."""
    down = [name for name, value in sizes.items() if value <= T_INVERTED_MV or leads[name].t_form == "inverted"]
    clear = [name for name in down if sizes[name] <= 2 * T_INVERTED_MV]
    if claim.leads:
        if clear and (len(claim.leads) == 1 or len(clear) >= 2):
            return Found(State.YES, _told({name: sizes[name] for name in clear}))
        near = down or sorted(sizes.values())[len(sizes) // 2] < T_UPRIGHT_MV / 2 or _biphasic(leads)
        state = State.PROBABLY if _enough(down, claim) else State.PROBABLY_NOT if near else State.NO
        return Found(state, _told(sizes))
    real = clear_pair(name for name in clear if name not in _OFTEN_INVERTED)
    if real:
        return Found(State.YES, _told({name: sizes[name] for name in real}))
    unsure = down or _biphasic(leads) or any(value < T_UPRIGHT_MV / 2 for value in sizes.values())
    state = State.PROBABLY if clear_pair(set(down) - _OFTEN_INVERTED) else State.PROBABLY_NOT if unsure else State.NO
    return Found(state, _told({name: sizes[name] for name in down} or sizes))


_OFTEN_INVERTED = frozenset(("V1", "III", "aVL"))


def _biphasic(leads: Mapping[str, LeadMeasurements]) -> bool:
    return any(lead.t_form == "biphasic" for lead in leads.values())


def _t_upright(claim: Claim, sizes: dict[str, float], leads: Mapping[str, LeadMeasurements]) -> Found:
    down = {
        name: value for name, value in sizes.items() if value <= 2 * T_INVERTED_MV and leads[name].t_form != "biphasic"
    }
    if not claim.leads:
        down = {name: value for name, value in down.items() if name not in ("V1", "III", "aVL")}
    if len(down) > max(0, len(sizes) // 3):
        return Found(State.NO, _told(down))
    return Found(State.PROBABLY if down else State.YES, _told(down or sizes))


def _t_flat(claim: Claim, sizes: dict[str, float], leads: Mapping[str, LeadMeasurements]) -> Found:
    low = {name: value for name, value in sizes.items() if abs(value) < T_FLAT_MV or leads[name].t_form == "flat"}
    if low:
        return Found(
            State.YES if claim.leads else State.PROBABLY if 2 * len(low) > len(sizes) else State.PROBABLY_NOT,
            _told(low),
        )
    least = min(sizes.values(), key=abs)
    return Found(State.NO if abs(least) >= 2 * T_FLAT_MV else State.PROBABLY_NOT, _told(sizes))


def _t_tall(claim: Claim, sizes: dict[str, float], leads: Mapping[str, LeadMeasurements]) -> Found:
    """Tall: above 0.5 mV in a limb lead, 1.0 mV in a chest lead; not tall below three fifths of that in every lead."""
    share = {name: value / (1.0 if name in CHEST else 0.5) for name, value in sizes.items()}
    most = max(share, key=lambda name: share[name])
    steps = ((1.1, State.YES), (1.0, State.PROBABLY), (0.5, State.PROBABLY_NOT))
    state = next((state for least, state in steps if share[most] >= least), State.NO)
    return Found(state, _told({most: sizes[most]}))


def _t_biphasic(claim: Claim, sizes: dict[str, float], leads: Mapping[str, LeadMeasurements]) -> Found:
    if _biphasic(leads):
        return Found(State.YES, "biphasic")
    return Found(State.OPEN, reason="how far the two parts of T differ is not judged")


def _t_normal(claim: Claim, sizes: dict[str, float], leads: Mapping[str, LeadMeasurements]) -> Found:
    down = {
        name: value for name, value in sizes.items() if value <= 2 * T_INVERTED_MV and leads[name].t_form != "biphasic"
    }
    real = [name for name in down if name not in ("V1", "III", "aVL", "aVR")]
    clear = real if len(claim.leads) == 1 else clear_pair(real)
    if clear:
        return Found(State.NO, _told({name: down[name] for name in clear}))
    return Found(State.PROBABLY if down else State.YES, _told(down or sizes))


def _t_abnormal(claim: Claim, sizes: dict[str, float], leads: Mapping[str, LeadMeasurements]) -> Found:
    normal = _t_normal(claim, sizes, leads)
    if normal.state is State.NO:
        return Found(State.YES, normal.measured)
    if claim.negated:
        return Found(State.NO, normal.measured)
    return Found(State.OPEN, normal.measured, reason="T is not clearly inverted; smaller changes are not judged")


def judge_q(claim: Claim, measurements: Measurements) -> Found:
    """Q waves that are there, or of pathological size."""
    leads, why = _leads(claim, measurements)
    known = {name: lead for name, lead in leads.items() if lead.qrs_mv is not None or lead.pattern}
    if not known:
        return Found(State.UNKNOWN, reason=why or "QRS was not measured there")
    size = {name: abs(lead.q_mv) for name, lead in known.items() if lead.q_mv is not None}
    large = [name for name, lead in known.items() if lead.q_pathological]
    told = ", ".join(f"Q in {name} {number(value, 'mV')} mV" for name, value in list(size.items())[:4]) or "no Q wave"
    whole = not claim.leads
    if claim.value == "pathological":
        clear = clear_pair(name for name in large if name not in ("aVR", "V1")) if whole else large
        if clear:
            return Found(State.YES, told)
        maybe = any(
            _maybe_pathological(known[name], value)
            for name, value in size.items()
            if not whole or name not in ("aVR", "V1")
        )
        return Found(State.PROBABLY_NOT if maybe else State.NO, told)
    if claim.negated:  # "no Q waves" speaks of those that matter
        clear = clear_pair(name for name in large if name not in ("aVR", "V1", "III")) if whole else large
        return Found(State.YES if clear else State.NO, told)
    return Found(State.YES if size else State.NO, told)


def _maybe_pathological(lead: LeadMeasurements, size: float) -> bool:
    wide = lead.q_ms is None or lead.q_ms >= 20
    deep = lead.r_mv is None or size >= 0.15 * lead.r_mv
    return bool(lead.q_pathological) or (wide and deep and size >= 0.08)


def judge_voltage(claim: Claim, measurements: Measurements, person: Person = NOBODY) -> Found:
    """Hypertrophy "by voltage", low, high or normal voltage; Cornell's by the threshold of the person's sex."""
    note = untrusted_amplitude(measurements)
    if note:
        return Found(State.UNKNOWN, reason=note)
    judges: dict[str, Callable[[Claim, Measurements, Person], Found]] = {
        "left ventricular hypertrophy": _left,
        "right ventricular hypertrophy": _right,
        "low": _low,
        "high": _high,
        "normal": _normal,
    }
    judge = judges.get(str(claim.value))
    return judge(claim, measurements, person) if judge else Found(State.OPEN)


def _sums(m: Measurements) -> str:
    parts = [("Sokolow-Lyon", m.sokolow_lyon_mv), ("Cornell", m.cornell_mv)]
    return ", ".join(f"{name} {number(value, 'mV')} mV" for name, value in parts if value is not None)


def _left(claim: Claim, m: Measurements, person: Person) -> Found:
    """Sokolow-Lyon from 3.5 mV or Cornell above 2.8 (men) or 2.0 mV (women); surely so from 10 % more on, clearly not
    below 2.8 mV and 85 % of Cornell's threshold (of unknown sex: of the women's)."""
    if m.sokolow_lyon_mv is None and m.cornell_mv is None:
        return Found(State.UNKNOWN, reason=m.reasons.get("sokolow_lyon_mv", "the voltages were not measured"))
    sokolow, cornell = m.sokolow_lyon_mv or 0.0, m.cornell_mv or 0.0
    limit, whose = person.cornell_mv
    least = limit if person.male is not None else Person(male=False).cornell_mv[0]
    note = f"Cornell above {limit:g} mV, the threshold of {whose}" if person.male is not None else ""
    if sokolow >= 3.85 or cornell >= 1.1 * limit:
        return Found(State.YES, _sums(m), reason=note)
    lead = m.leads.get("aVL")
    tall = lead is not None and (lead.r_mv or 0.0) >= 1.0
    clear = (
        sokolow < 2.8
        and cornell < 0.85 * least
        and not tall
        and m.sokolow_lyon_mv is not None
        and m.cornell_mv is not None
    )
    state = State.NO if clear else State.PROBABLY if sokolow >= 3.5 or cornell > limit else State.PROBABLY_NOT
    return Found(state, _sums(m), reason="; ".join(filter(None, ("by voltage" if clear else "", note))))


def _right(claim: Claim, m: Measurements, person: Person) -> Found:
    lead = m.leads.get("V1")
    if lead is None or lead.qrs_mv is None or lead.quality != "ok":
        return Found(State.UNKNOWN, reason="V1 was not measured")
    r, s = lead.up_mv, abs(lead.s_mv or 0.0)
    told = f"R in V1 {number(r, 'mV')} mV, S {number(s, 'mV')} mV"
    if r >= 0.77 and r > 1.1 * s and m.axis_deg is not None and m.axis_deg >= 90:
        return Found(State.YES, told)
    clear = r < 0.5 and r < 0.8 * s and m.axis_deg is not None and -90 < m.axis_deg < 80
    return Found(
        State.NO if clear else State.PROBABLY_NOT if r >= 0.5 else State.OPEN,
        told,
        reason="by voltage" if clear else "",
    )


def _low(claim: Claim, m: Measurements, person: Person) -> Found:
    """Every limb lead below 0.5 mV, every chest lead below 1.0 mV; of named leads those."""
    groups: list[tuple[tuple[str, ...], float]] = [(LIMB, 0.5), (CHEST, 1.0)]
    if claim.leads:
        groups = [(tuple(name for name in group if name in claim.leads), limit) for group, limit in groups]
    shares = []
    for group, limit in groups:
        leads, _ = usable(m, group) if group else ({}, "")
        sizes = [lead.qrs_mv for lead in leads.values() if lead.qrs_mv is not None]
        if len(sizes) >= min(4, len(group)) and sizes:
            shares.append(
                (
                    max(sizes) / limit,
                    f"largest QRS of {'limb' if group[0] in LIMB else 'chest'} leads {number(max(sizes), 'mV')} mV",
                )
            )
    if not shares:
        return Found(State.UNKNOWN, reason="too few leads were measured")
    least, told = min(shares)
    state = (
        State.YES if least < 0.85 else State.PROBABLY if least < 1 else State.NO if least > 1.15 else State.PROBABLY_NOT
    )
    return Found(state, told)


def _high(claim: Claim, m: Measurements, person: Person) -> Found:
    left = _left(claim, m, person)
    if left.state is not State.NO:
        return left
    leads, _ = usable(m, claim.leads or (*LIMB, *CHEST))
    tallest = max((max(lead.r_mv or 0.0, abs(lead.s_mv or 0.0)) for lead in leads.values()), default=0.0)
    return Found(State.NO if tallest < 1.2 else State.OPEN, left.measured)


def _normal(claim: Claim, m: Measurements, person: Person) -> Found:
    low, left = _low(Claim("voltage", "low"), m, person), _left(claim, m, person)
    if State.YES in (low.state, left.state):
        return Found(State.NO, low.measured if low.state is State.YES else left.measured)
    return Found(State.PROBABLY if State.UNKNOWN in (low.state, left.state) else State.YES, left.measured)


def _leads(claim: Claim, measurements: Measurements) -> tuple[dict[str, LeadMeasurements], str]:
    """The usable leads that a claim is about: the named ones, or all but aVR."""
    note = untrusted_amplitude(measurements)
    if note:
        return {}, note
    if claim.territory and not claim.leads and claim.territory not in TERRITORIES:
        return {}, f"there are no {claim.territory} leads on a standard ECG"
    return usable(measurements, claim.leads or _WITHOUT_AVR)
