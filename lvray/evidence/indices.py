"""LV mass for body size: body surface area, LVMI, and LV hypertrophy (LVH) by its cut-offs."""

from __future__ import annotations

HEIGHT_CM = (50.0, 260.0)
WEIGHT_KG = (20.0, 400.0)
LVH_ABOVE_G_M2 = {"male": 72.0, "female": 55.0}


def bsa(height_cm: float | None, weight_kg: float | None) -> float | None:
    """Body surface area in m2 (DuBois and DuBois 1916); None where a measure is unknown or no adult's in that unit.

    Heights outside 50-260 cm and weights outside 20-400 kg are taken for another unit, and so for unknown.
    """
    if height_cm is None or weight_kg is None:
        return None
    if not HEIGHT_CM[0] <= height_cm <= HEIGHT_CM[1] or not WEIGHT_KG[0] <= weight_kg <= WEIGHT_KG[1]:
        return None
    return float(0.007184 * height_cm**0.725 * weight_kg**0.425)


def lvmi(mass_g: float, height_cm: float | None, weight_kg: float | None) -> float | None:
    """LV mass index in g/m2: mass over body surface area; None where that is unknown."""
    area = bsa(height_cm, weight_kg)
    return None if area is None else mass_g / area


def lvh(lvmi_g_m2: float | None, sex: str | None) -> bool | None:
    """LV hypertrophy: LVMI above 72 g/m2 (male) or 55 g/m2 (female), Khurshid 2021; None where either is unknown.

    ValueError for a sex that is not "male", "female" or None.
    """
    if lvmi_g_m2 is None or sex is None:
        return None
    if sex not in LVH_ABOVE_G_M2:
        raise ValueError(f"sex is {sex!r}, not one of {', '.join(LVH_ABOVE_G_M2)}")
    return lvmi_g_m2 > LVH_ABOVE_G_M2[sex]
