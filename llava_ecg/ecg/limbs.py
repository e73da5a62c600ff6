"""Whether six limb leads are what their names say: any two of them imply the other four.

Exchanged, inverted or wrong names and leads that were scaled one by one break that; swapped electrodes don't, see
`llava_ecg.ecg.hints.lead_reversal`.

Axes: L leads, T samples; six limb leads are I, II, III, aVR, aVL, aVF.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from llava_ecg.ecg.leads import STANDARD

LIMBS = STANDARD[:6]
# each is zero: III - II + I, aVR + (I + II) / 2, aVL - I + II / 2, aVF - II + I / 2 (Einthoven, Goldberger)
EQUATIONS = np.array([[1, -1, 1, 0, 0, 0], [0.5, 0.5, 0, 1, 0, 0], [-1, 0.5, 0, 0, 1, 0], [0.5, -1, 0, 0, 0, 1]])
# of the leads' size (root mean squares). 333 recordings of LUDB, CinC 2011 and 2021 and of clinical formats, rounded
# and filtered as they are, fail by 0.048 at most; with two limb leads exchanged or one inverted they fail by 0.17 or
# more but for III and aVF, which are alike in two of 299
FAILS, FITS = 0.15, 0.06
FAILS_MV = 0.010  # below, steps of the converter are as large as what is left


def limb_note(signal: np.ndarray, leads: Sequence[str], rate: float, *, troubled: bool = False) -> str:
    """A sentence where the six limb leads don't fit each other, with the exchange, inversion or scaling that explains
    it if one does; empty where they fit, and where fewer than six or less than a second of all are there.

    Args:
        signal: [L, T] in mV, NaN where nothing was recorded.
        leads: the canonical names of the L rows.
        rate: Hz.
        troubled: nothing is said but what explains it, for noise and drift of each lead alone break the equations too.
    """
    if not set(LIMBS) <= set(leads):
        return ""
    limbs = signal[[list(leads).index(name) for name in LIMBS]].astype(np.float64)
    there = np.isfinite(limbs).all(axis=0)
    if there.sum() < rate:
        return ""
    limbs = limbs[:, there] if not there.all() else limbs
    limbs -= limbs.mean(axis=1, keepdims=True)
    products = limbs @ limbs.T / limbs.shape[1]
    size = float(np.sqrt(np.trace(products) / len(LIMBS)))
    left = _left(products)
    if left <= FAILS * size or left <= FAILS_MV:
        return ""
    why = _explained(products, size)
    if not why and troubled:
        return ""
    why = why or "wrong names, or not recorded together; axes and limb leads are not to be trusted"
    return f"the limb leads don't fit each other (III = II - I and so on): {why}"


def limb_factors(products: np.ndarray) -> np.ndarray:
    """[6] the factors of the limb leads with which the equations fail least, of length 1.

    Args:
        products: [6, 6] mean products of the limb leads without their means, mV^2.
    """
    _, vectors = np.linalg.eigh((EQUATIONS.T @ EQUATIONS) * products)
    return np.asarray(vectors[:, 0])


def _left(products: np.ndarray) -> float:
    """What is left of the equation that fails most, root mean square in mV."""
    return float(np.sqrt(max(0.0, np.einsum("ei,ij,ej->e", EQUATIONS, products, EQUATIONS).max())))


def _explained(products: np.ndarray, size: float) -> str:
    """The one thing that makes the limb leads fit; empty where none does."""
    tried = []
    for one, other in combinations(range(6), 2):
        order = list(range(6))
        order[one], order[other] = other, one
        told = f"{LIMBS[one]} and {LIMBS[other]} look exchanged"
        tried.append((_left(products[np.ix_(order, order)]), told))
    for one, name in enumerate(LIMBS):
        signs = np.where(np.arange(6) == one, -1.0, 1.0)
        tried.append((_left(products * np.outer(signs, signs)), f"{name} looks inverted"))
    least, told = min(tried)
    if least <= FITS * size:
        return told
    factors = limb_factors(products)
    scaled = products * np.outer(factors, factors)
    if abs(np.sign(factors).sum()) == 6 and _left(scaled) <= FITS * np.sqrt(np.trace(scaled) / 6):
        return "they were scaled one by one, and axes and values in mV are not to be trusted"
    return ""
