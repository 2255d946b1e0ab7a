"""How corpora were recorded, in a table: the same cells on every page."""

from collections.abc import Mapping
from typing import Any

CONDITIONS_HEAD = (
    "silence, %", "digital silence, %", "level, dB", "noise floor, dB", "level above noise, dB", "bandwidth, kHz",
    "clipped clips, %",
)  # fmt: skip
CONDITIONS_TITLE = (
    "Silence: below −60 dB of full scale; digital silence: below −85 dB. Else medians of the clips, in brackets their "
    "middle half"
)
CONDITIONS_NOTE = (
    "Models bring the speech of every clip to one level and leave out the silence around it: neither should cost them "
    "anything by itself. "
    "Where clips were cut without pauses, the noise floor is the level of their quietest speech. No model hears what "
    "lies above 8 kHz."
)


def condition_cells(found: Mapping[str, Any]) -> list[str]:
    """A corpus's cells under `CONDITIONS_HEAD`; a dash for what is not known.

    Args:
        found: `ser_tasks.data.conditions.Conditions` as a mapping.
    """
    return [
        _percent(found["silent"]),
        _percent(found["digital_silence"]),
        _quartiles(found["level_db"]),
        _quartiles(found["noise_db"]),
        _quartiles(found["above_noise_db"]),
        _quartiles(found["bandwidth_hz"], 1000),
        _percent(found["clipped"]),
    ]


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f}"


def _quartiles(found: Mapping[str, float] | None, unit: float = 1) -> str:
    if found is None:
        return "–"
    low, median, high = (f"{found[name] / unit:.1f}".replace("-", "−") for name in ("low", "median", "high"))
    return f"{median} ({low} to {high})"
