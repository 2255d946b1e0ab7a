"""How a corpus was recorded, and what a difference from the training corpus leads one to expect, in words."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

CONDITIONS = "conditions.json"
HEARD_HZ = 8_000.0
"""Half of the 16 kHz that every model takes: what a recording has above is heard by none."""
TELEPHONE_HZ = 4_300.0
"""Up to here a bandwidth is called telephone band: half of 8 kHz, and what a resampler leaks above it."""
MUCH_CLIPPED = 0.001
"""A clip with more than this share of samples at full scale counts as clipped. Clips that were only brought to full
scale touch it with some samples: under a ten-thousandth of a second of speech."""

SILENCE_APART = 0.2
"""Shares of silence this far apart are worth a sentence. Of three corpora of acted speech one has .54, two under .1."""
BANDWIDTH_APART = 1.4
"""Bandwidths this many times apart: half an octave, more than clips of one corpus differ."""
NOISE_APART_DB = 10.0
"""Noise floors this far apart, below each corpus's own level."""
CLIPPED_APART = 0.1
"""Shares of clipped clips this far apart."""
TIGHT = 0.1
"""With less silence than this a corpus has few pauses: its quietest frames may be speech."""


@dataclass(frozen=True)
class Quartiles:
    """The middle half of a corpus's clips: the first quartile, the median, the third."""

    low: float
    median: float
    high: float


@dataclass(frozen=True)
class Conditions:
    """How the clips of a corpus were recorded. None: not known, as in manifests from before it was measured.

    Attributes:
        clips: How many there are.
        silent: Mean share of a clip that is silence (20 ms frames below -60 dB of full scale), in [0, 1].
        digital_silence: The same of digital silence (below -85 dB); part of `silent`.
        clipped: Share of clips with more than `MUCH_CLIPPED` of their samples at full scale, in [0, 1].
        level_db: Level of a clip, dB of full scale.
        noise_db: Its noise floor, dB of full scale.
        above_noise_db: Its level above its noise floor, dB.
        bandwidth_hz: Up to where its loudest frames carry sound.
    """

    clips: int
    silent: float | None
    digital_silence: float | None
    clipped: float | None
    level_db: Quartiles | None
    noise_db: Quartiles | None
    above_noise_db: Quartiles | None
    bandwidth_hz: Quartiles | None


def conditions(manifest: pd.DataFrame) -> Conditions:
    """The conditions of a corpus.

    Args:
        manifest: One row an utterance, with the columns of `ser_tasks.data.manifest.SCHEMA`.
    """
    known = {
        name: pd.to_numeric(manifest[name]).astype(float)
        for name in (
            "rms_db", "noise_db", "bandwidth_hz", "clipped_fraction", "silent_fraction", "digital_silence_fraction",
        )
    }  # fmt: skip
    clipped = known["clipped_fraction"].dropna() > MUCH_CLIPPED
    return Conditions(
        clips=len(manifest),
        silent=_mean(known["silent_fraction"]),
        digital_silence=_mean(known["digital_silence_fraction"]),
        clipped=_mean(clipped.astype(float)),
        level_db=_quartiles(known["rms_db"], 1),
        noise_db=_quartiles(known["noise_db"], 1),
        above_noise_db=_quartiles(known["rms_db"] - known["noise_db"], 1),
        bandwidth_hz=_quartiles(known["bandwidth_hz"], 0),
    )


def side_by_side(train: pd.DataFrame, test: pd.DataFrame) -> dict[str, Any]:
    """The conditions of two corpora as JSON holds them, and what they lead one to expect.

    Args:
        train: Manifest of the corpus that a model was trained on.
        test: Of the one that it is tried on.

    Returns:
        {"train", "test"}: see `Conditions`; {"sentences"}: see `expectations_across`.
    """
    return compared(conditions(train), conditions(test))


def compared(*sides: Conditions) -> dict[str, Any]:
    """As `side_by_side`, of the conditions of the training corpus and of the other."""
    return {"train": asdict(sides[0]), "test": asdict(sides[1]), "sentences": expectations_across(*sides)}


def conditions_from(found: Mapping[str, Any]) -> Conditions:
    """Conditions from what `dataclasses.asdict` made of them, through JSON or not."""
    spreads = ("level_db", "noise_db", "above_noise_db", "bandwidth_hz")
    return Conditions(**{**found, **{name: Quartiles(**found[name]) if found[name] else None for name in spreads}})


def write_conditions(folder: Path, found: Conditions) -> None:
    """Keep in a model's folder how the clips were recorded that it learnt from."""
    (folder / CONDITIONS).write_text(json.dumps(asdict(found), indent=1), encoding="utf-8")


def read_conditions(folder: Path) -> Conditions | None:
    """What `write_conditions` kept; None for a model that was saved before."""
    path = folder / CONDITIONS
    return conditions_from(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def _mean(values: pd.Series) -> float | None:
    known = values.dropna()
    return round(float(known.mean()), 4) if len(known) else None


def _quartiles(values: pd.Series, digits: int) -> Quartiles | None:
    known = values.dropna().to_numpy(np.float64)
    if not len(known):
        return None
    return Quartiles(*(round(float(value), digits) for value in np.percentile(known, [25, 50, 75])))


def expectations_across(train: Conditions, test: Conditions) -> list[str]:
    """What a model trained under some conditions may meet under others: reasons to look, not proofs.

    Args:
        train: Of the corpus that the model was trained on.
        test: Of the one that it is tried on.

    Returns:
        Sentences, one a difference that is large enough to matter (see the thresholds of this module); one that says so
        where there is none, and one where a manifest is too old to tell. Levels are not compared: the networks
        normalise the level of each clip.
    """
    if not (train.clips and test.clips):
        return []
    found = [*_silence(train, test), *_bandwidth(train, test), *_noise(train, test), *_clipping(train, test)]
    old = [name for name, side in (("training", train), ("test", test)) if side.bandwidth_hz is None]
    if old:
        which = " and ".join(f"the {name} corpus" for name in old)
        unknown = f"Noise floor and bandwidth of {which} are not known: scan it again to compare them."
        return [*found, unknown]
    return found or [
        "Silence, bandwidth, noise floor and clipping differ little from the training corpus's: if results are worse "
        "here, look for the reason elsewhere, in language, speakers or labels."
    ]


def _silence(train: Conditions, test: Conditions) -> list[str]:
    if train.silent is None or test.silent is None or abs(train.silent - test.silent) < SILENCE_APART:
        return []
    shares = (
        f"{_part(train.silent)} of the training corpus is silence ({_percent(train.silent)}), "
        f"{_part(test.silent).lower()} of the test corpus ({_percent(test.silent)})"
    )
    return [
        f"{shares}: models leave out the silence around speech, but not the pauses in it; see whether their answers "
        "gather in a few classes."
    ]


def _bandwidth(train: Conditions, test: Conditions) -> list[str]:
    if train.bandwidth_hz is None or test.bandwidth_hz is None:
        return []
    learnt, met = (min(side.bandwidth_hz.median, HEARD_HZ) for side in (train, test) if side.bandwidth_hz)
    if max(learnt, met) < BANDWIDTH_APART * min(learnt, met):
        return []
    if met < learnt:
        return [
            f"The test corpus {_reach(met)}; the training corpus reaches {_khz(learnt)}: expect losses in classes that "
            "are told apart by brightness."
        ]
    return [
        f"The training corpus {_reach(learnt)}; the test corpus reaches {_khz(met)}: the model has learnt nothing of "
        "what lies above, so expect it to take a full band for a bright voice."
    ]


def _noise(train: Conditions, test: Conditions) -> list[str]:
    if train.above_noise_db is None or test.above_noise_db is None:
        return []
    learnt, met = train.above_noise_db.median, test.above_noise_db.median
    if abs(learnt - met) < NOISE_APART_DB:
        return []
    noisy, name = (test, "test") if met < learnt else (train, "training")
    tight = noisy.silent is not None and noisy.silent < TIGHT
    said = (
        f"The {name} corpus is {abs(learnt - met):.0f} dB noisier: its level lies {min(learnt, met):.0f} dB above its "
        f"noise floor, that of the {'training' if name == 'test' else 'test'} corpus {max(learnt, met):.0f} dB."
    )
    if tight:
        return [f"{said} It has few pauses to measure noise in, so this may be its quietest speech: listen first."]
    if name == "test":
        return [f"{said} See whether quiet classes, such as sad, lose most."]
    return [f"{said} The model may have learnt the noise along with the voices."]


def _clipping(train: Conditions, test: Conditions) -> list[str]:
    if train.clipped is None or test.clipped is None or abs(train.clipped - test.clipped) < CLIPPED_APART:
        return []
    more, less = ("test", "training") if test.clipped > train.clipped else ("training", "test")
    shares = sorted((train.clipped, test.clipped), reverse=True)
    return [
        f"{_percent(shares[0])} of the {more} corpus's clips are clipped, of the {less} corpus's "
        f"{_percent(shares[1])}: distortion brightens a voice; see whether clipped clips get the loud classes more "
        "often than others."
    ]


def in_words(found: Conditions) -> str:
    """A corpus's conditions in a line; what is not known is left out."""
    parts = []
    if found.silent is not None:
        parts.append(f"{_percent(found.silent)} silence")
    if found.digital_silence:
        parts.append(f"{_percent(found.digital_silence)} digital silence")
    if found.level_db:
        parts.append(f"level {_db(found.level_db.median)}")
    if found.noise_db:
        parts.append(f"noise floor {_db(found.noise_db.median)}")
    if found.bandwidth_hz:
        parts.append(f"bandwidth {_khz(found.bandwidth_hz.median)}")
    if found.clipped:
        parts.append(f"{_percent(found.clipped)} of its clips clipped")
    return ", ".join(parts)


def _part(share: float) -> str:
    """A share in words, to stand before `of`."""
    bounds = ((0.1, "Almost none"), (0.2, "Little"), (0.3, "A quarter"), (0.42, "A third"), (0.6, "Half"))
    return next((words for bound, words in bounds if share < bound), "Most")


def _reach(hertz: float) -> str:
    return f"is telephone band ({_khz(hertz)})" if hertz < TELEPHONE_HZ else f"reaches only {_khz(hertz)}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _khz(hertz: float) -> str:
    return f"{hertz / 1000:.1f} kHz"


def _db(value: float) -> str:
    return f"{value:.0f} dB".replace("-", "−")
