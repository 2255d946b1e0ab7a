"""A small source-filter formant synthesiser: phonemes, a voice and a speaking style in, a waveform out.

It exists so that the whole workflow can be tried where no speech corpus may be had. Voiced sound is made one glottal
pulse at a time: the spectrum of a pulse times the vocal tract at that moment, back to time, added up. Noise (breath,
frication, bursts) is filtered frame by frame. The parts and their rules of thumb follow Klatt (1980), "Software for a
cascade/parallel formant synthesizer"; the vowels' formants are near Peterson and Barney's (1952) for men.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

SAMPLE_RATE_HZ = 16000

Array = npt.NDArray[np.float64]

_FRAME = 80  # samples between two values of a control track: 5 ms
_FFT = 512  # 32 ms: a resonance 50 Hz wide has fallen by 43 dB
_LEAD = 96  # room before a glottal pulse, because its spectrum has zero phase
_NOISE_HOP = 96  # 6 ms: short enough for a burst
_HZ = np.fft.rfftfreq(_FFT, 1 / SAMPLE_RATE_HZ)
_OMEGA = 2 * np.pi * np.arange(_FFT // 2 + 1) / _FFT
_Z1 = np.exp(-1j * _OMEGA).astype(np.complex64)
_Z2 = np.exp(-2j * _OMEGA).astype(np.complex64)
_UPPER_FORMANTS_HZ = (3500.0, 4500.0, 5500.0, 6500.0)
_LEVEL_DBFS = -32.0  # of plain speech: leaves room for 8 dB of shouting


class Part(NamedTuple):
    """A steady piece of a phoneme: its duration, formants, amplitudes of the sources, and its frication's band."""

    ms: float
    f1: float
    f2: float
    f3: float
    voice: float = 0.0
    breath: float = 0.0
    friction: float = 0.0
    centre: float = 4000.0
    width: float = 3000.0


def _vowel(ms: float, *formants: tuple[float, float, float]) -> tuple[Part, ...]:
    return tuple(Part(ms / len(formants), *targets, voice=1.0) for targets in formants)


def _stop(locus: tuple[float, float, float], voiced: bool, centre: float, width: float) -> tuple[Part, ...]:
    closure = Part(50 if voiced else 60, *locus, voice=0.12 if voiced else 0.0)
    burst = Part(12, *locus, friction=0.5 if voiced else 0.9, centre=centre, width=width)
    release = Part(8, *locus, voice=0.5) if voiced else Part(28, *locus, breath=0.5)
    return closure, burst, release


_LIP = (250.0, 950.0, 2250.0)
_TEETH = (270.0, 1700.0, 2600.0)
_PALATE = (260.0, 1950.0, 2400.0)

# ARPABET; "_" is a pause between phrases.
PHONEMES: dict[str, tuple[Part, ...]] = {
    "IY": _vowel(115, (280, 2250, 2900)),
    "IH": _vowel(80, (400, 1950, 2550)),
    "EH": _vowel(95, (540, 1800, 2500)),
    "AE": _vowel(125, (670, 1720, 2430)),
    "AA": _vowel(125, (730, 1100, 2450)),
    "AO": _vowel(125, (570, 850, 2420)),
    "AH": _vowel(70, (600, 1220, 2400)),
    "UH": _vowel(80, (440, 1030, 2250)),
    "UW": _vowel(110, (310, 900, 2250)),
    "ER": _vowel(110, (480, 1350, 1690)),
    "EY": _vowel(135, (480, 1900, 2500), (330, 2200, 2650)),
    "AY": _vowel(160, (730, 1200, 2450), (390, 2000, 2550)),
    "OW": _vowel(140, (540, 950, 2400), (380, 830, 2300)),
    "AW": _vowel(160, (720, 1250, 2450), (430, 950, 2300)),
    "OY": _vowel(160, (550, 850, 2400), (390, 1950, 2550)),
    "W": (Part(65, 310, 700, 2200, voice=0.6),),
    "Y": (Part(60, 280, 2250, 3000, voice=0.6),),
    "L": (Part(65, 350, 1100, 2700, voice=0.6),),
    "R": (Part(65, 340, 1150, 1500, voice=0.6),),
    "M": (Part(70, 260, 1000, 2200, voice=0.35),),
    "N": (Part(65, 260, 1500, 2550, voice=0.35),),
    "NG": (Part(70, 260, 1950, 2600, voice=0.35),),
    "S": (Part(105, *_TEETH, friction=0.8, centre=6300, width=1900),),
    "Z": (Part(80, *_TEETH, voice=0.25, friction=0.4, centre=6300, width=1900),),
    "SH": (Part(105, *_PALATE, friction=0.8, centre=3700, width=1700),),
    "F": (Part(90, *_LIP, friction=0.22, centre=5500, width=6000),),
    "V": (Part(60, *_LIP, voice=0.35, friction=0.1, centre=5500, width=6000),),
    "TH": (Part(85, *_TEETH, friction=0.18, centre=6000, width=5000),),
    "DH": (Part(45, *_TEETH, voice=0.35, friction=0.08, centre=6000, width=5000),),
    "HH": (Part(60, 500, 1500, 2500, breath=0.8),),
    "P": _stop(_LIP, False, 1000, 2500),
    "B": _stop(_LIP, True, 1000, 2500),
    "T": _stop(_TEETH, False, 4500, 2500),
    "D": _stop(_TEETH, True, 4500, 2500),
    "K": _stop(_PALATE, False, 2100, 1200),
    "G": _stop(_PALATE, True, 2100, 1200),
    "CH": (Part(50, *_PALATE), Part(75, *_PALATE, friction=0.9, centre=3700, width=1700)),
    "JH": (Part(45, *_PALATE, voice=0.12), Part(55, *_PALATE, voice=0.2, friction=0.5, centre=3700, width=1700)),
    "_": (Part(170, 500, 1500, 2500),),
}


@dataclass(frozen=True)
class Voice:
    """What stays with a speaker.

    Attributes:
        f0_hz: Fundamental frequency of plain speech.
        formant_scale: Formants relative to a man's vocal tract of 17 cm; women are near 1.16.
        tilt_hz: Above this frequency the glottal source falls by 6 dB an octave more; low is a soft voice.
        breath_db: Breath noise relative to a plain voice.
        rate: Speed relative to a plain speaker.
        pitch_range: Size of the intonation relative to a plain speaker.
        jitter: Random variation of the period, as a fraction.
    """

    f0_hz: float
    formant_scale: float
    tilt_hz: float = 1800.0
    breath_db: float = 0.0
    rate: float = 1.0
    pitch_range: float = 1.0
    jitter: float = 0.003


@dataclass(frozen=True)
class Style:
    """How one utterance departs from a speaker's plain way; all zero is plain. Styles add and scale like vectors.

    Attributes:
        pitch_st: Semitones added to the fundamental frequency.
        log_range: Natural logarithm of the factor on the intonation's size.
        log_rate: Natural logarithm of the factor on speed.
        level_db: Decibels added to the level.
        tilt_octaves: Octaves added to the voice's tilt frequency: positive is tense and bright.
        breath_db: Decibels added to breath noise.
        jitter: Added to the voice's jitter.
        final_st: Semitones by which the end of the utterance rises (or falls).
        log_formants: Natural logarithm of the factor on the formants: a smile shortens the tract.
        log_pause: Natural logarithm of the factor on pauses.
    """

    pitch_st: float = 0.0
    log_range: float = 0.0
    log_rate: float = 0.0
    level_db: float = 0.0
    tilt_octaves: float = 0.0
    breath_db: float = 0.0
    jitter: float = 0.0
    final_st: float = 0.0
    log_formants: float = 0.0
    log_pause: float = 0.0

    def __add__(self, other: "Style") -> "Style":
        """The two departures together."""
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return Style(*(mine + its for mine, its in pairs))

    def __mul__(self, factor: float) -> "Style":
        """The same departure, `factor` times as strong."""
        return Style(*(factor * value for value in dataclasses.astuple(self)))


def synthesise(phonemes: Sequence[str], voice: Voice, style: Style, rng: np.random.Generator) -> Array:
    """Speak one utterance.

    Args:
        phonemes: ARPABET symbols of PHONEMES; a trailing 1 marks the vowel that carries an accent.
        voice: The speaker.
        style: How this utterance departs from plain.
        rng: Where the small irregularities of speech come from.

    Returns:
        float64 [samples] at SAMPLE_RATE_HZ, no silence around it; its level is -32 dBFS RMS plus the style's,
        so it lies in [-1, 1] but for rare peaks of loud styles.

    Raises:
        KeyError: A symbol is not in PHONEMES.
    """
    tracks, accents = _control_tracks(phonemes, voice, style, rng)
    scale = voice.formant_scale * float(np.exp(style.log_formants))
    throat = _Throat(
        tracks=tracks,
        scale=scale,
        upper=_resonances(np.array([_UPPER_FORMANTS_HZ]) * scale, width=1.6)[0],
        f0_hz=_intonation(len(tracks), accents, voice, style, rng),
        jitter=max(0.001, voice.jitter + style.jitter),
        tilt_hz=voice.tilt_hz * 2**style.tilt_octaves,
        breath=10 ** ((voice.breath_db + style.breath_db) / 20),
        # Loud, tense speech drives more air through a narrow place.
        friction=2 ** (0.4 * style.tilt_octaves),
    )
    length = len(tracks) * _FRAME
    samples = np.zeros(length + 2 * _FFT)
    _add_pulses(samples, throat, rng)
    _add_noise(samples, throat, rng)
    speech = samples[_LEAD : _LEAD + length]
    target = 10 ** ((_LEVEL_DBFS + style.level_db) / 20)
    return np.asarray(speech * (target / max(float(np.sqrt(np.mean(speech**2))), 1e-9)))


@dataclass(frozen=True)
class _Throat:
    """Everything about one utterance that its sources of sound need; `tracks` and `f0_hz` go by 5 ms frames."""

    tracks: Array
    scale: float
    upper: npt.NDArray[np.complex64]
    f0_hz: Array
    jitter: float
    tilt_hz: float
    breath: float
    friction: float


def _control_tracks(
    phonemes: Sequence[str], voice: Voice, style: Style, rng: np.random.Generator
) -> tuple[Array, list[float]]:
    """The parts' values every 5 ms [frames, len(Part._fields) - 1], smoothed, and the accents' places in frames."""
    rows: list[Part] = []
    frames: list[int] = []
    accents: list[float] = []
    rate = voice.rate * np.exp(style.log_rate)
    for place, symbol in enumerate(phonemes):
        stressed = symbol.endswith("1")
        factor = float(np.exp(rng.normal(0, 0.1))) * (1.25 if stressed else 1.0) / rate
        if place >= len(phonemes) - 3:
            factor *= 1.2  # the end of a phrase is drawn out
        if symbol == "_":
            factor *= float(np.exp(style.log_pause))
        for part in PHONEMES[symbol.rstrip("1")]:
            rows.append(part)
            frames.append(max(2, round(part.ms * factor * SAMPLE_RATE_HZ / 1000 / _FRAME)))
        if stressed:
            accents.append(sum(frames) - frames[-1] / 2)
    steps = np.repeat(np.array(rows)[:, 1:], frames, axis=0)
    tracks = steps.copy()
    tracks[:, 0:3] = _smooth(steps[:, 0:3], 13)  # the tongue needs about 60 ms
    tracks[:, 3:5] = _smooth(steps[:, 3:5], 5)
    fade = np.minimum(1, np.minimum(np.arange(1, len(tracks) + 1), np.arange(len(tracks), 0, -1)) / 6)
    tracks[:, 3:6] *= fade[:, None]
    return tracks, accents


def _smooth(columns: Array, length: int) -> Array:
    window = np.hanning(length + 2)[1:-1]
    window /= window.sum()
    padded = np.pad(columns, ((length // 2, length // 2), (0, 0)), mode="edge")
    return np.stack([np.convolve(column, window, mode="valid") for column in padded.T], axis=1)


def _intonation(frames: int, accents: list[float], voice: Voice, style: Style, rng: np.random.Generator) -> Array:
    """Fundamental frequency [frames] in Hz: declination, accents, the end, and a slow random drift."""
    time = np.arange(frames)
    size = voice.pitch_range * np.exp(style.log_range)
    semitones = size * np.linspace(1.6, -2.2, frames)
    for accent in accents:
        semitones += size * rng.normal(3.0, 0.9) * np.exp(-0.5 * ((time - accent) / 16) ** 2)
    semitones += (style.final_st - 1.5) * np.clip((time - (frames - 60)) / 60, 0, 1) ** 1.5
    drift = np.interp(time, np.arange(0, frames + 20, 20), rng.normal(0, 0.35, len(np.arange(0, frames + 20, 20))))
    hz = voice.f0_hz * 2 ** ((semitones + drift + style.pitch_st) / 12)
    return np.asarray(np.clip(hz, 55, 650))


def _resonances(formants_hz: Array, width: float = 1.0) -> npt.NDArray[np.complex64]:
    """Digital resonators in cascade, each of gain 1 at 0 Hz: [moments, formants] in Hz -> [moments, bins]."""
    bandwidth = width * (45 + 0.035 * formants_hz)
    radius = np.exp(-np.pi * bandwidth / SAMPLE_RATE_HZ)
    b = (2 * radius * np.cos(2 * np.pi * formants_hz / SAMPLE_RATE_HZ)).astype(np.float32)
    c = (-(radius**2)).astype(np.float32)
    total = np.ones((len(formants_hz), len(_HZ)), dtype=np.complex64)
    for k in range(formants_hz.shape[1]):
        total *= 1 - b[:, k, None] * _Z1 - c[:, k, None] * _Z2
    gain = np.prod(1 - b - c, axis=1)
    return np.asarray(gain[:, None] / total, dtype=np.complex64)


def _at(tracks: Array, samples: Array) -> Array:
    """The tracks' values at places given in samples: [len(samples), columns]."""
    frames = np.arange(len(tracks)) * _FRAME + _FRAME / 2
    return np.stack([np.interp(samples, frames, column) for column in tracks.T], axis=1)


def _overlap_add(samples: Array, starts: npt.NDArray[np.int64], spectra: npt.NDArray[np.complex64]) -> None:
    pieces = np.fft.irfft(spectra, n=_FFT, axis=1)
    places = starts[:, None] + np.arange(_FFT)
    samples += np.bincount(places.ravel(), weights=pieces.ravel(), minlength=len(samples))[: len(samples)]


def _add_pulses(samples: Array, throat: _Throat, rng: np.random.Generator) -> None:
    """Add the voiced sound: one spectrum a glottal pulse, at its exact time (a fraction of a sample is a phase)."""
    length = len(throat.tracks) * _FRAME
    frames = np.arange(len(throat.tracks)) * _FRAME + _FRAME / 2
    hz = np.interp(np.arange(length), frames, throat.f0_hz)
    cycles = np.cumsum(hz) / SAMPLE_RATE_HZ
    times = np.interp(np.arange(1, int(cycles[-1])), cycles, np.arange(length, dtype=np.float64))
    period = SAMPLE_RATE_HZ / np.interp(times, np.arange(length), hz)
    times = np.clip(times + throat.jitter * period * rng.standard_normal(len(times)), 0, length - 1)
    now = _at(throat.tracks, times)
    amplitude = now[:, 3] * np.exp(4 * throat.jitter * rng.standard_normal(len(times)))
    heard = amplitude > 0.01
    times, now, amplitude, period = times[heard], now[heard], amplitude[heard], period[heard]
    ratio = _HZ * period[:, None] / (1.1 * SAMPLE_RATE_HZ)  # the glottal formant lies just above f0
    source = amplitude[:, None] * ratio / (1 + ratio**2) / np.sqrt(1 + (_HZ / throat.tilt_hz) ** 2)
    whole = np.floor(times)
    delay = np.exp(-1j * np.outer(times - whole + _LEAD, _OMEGA)).astype(np.complex64)
    spectra = source.astype(np.float32) * delay * _resonances(now[:, 0:3] * throat.scale) * throat.upper
    _overlap_add(samples, whole.astype(np.int64), spectra)


def _add_noise(samples: Array, throat: _Throat, rng: np.random.Generator) -> None:
    """Add breath (through the vocal tract) and frication (a band of its own), in frames of noise that overlap."""
    starts = np.arange(0, len(throat.tracks) * _FRAME - _NOISE_HOP, _NOISE_HOP)
    window = np.hanning(2 * _NOISE_HOP + 1)[:-1]
    now = _at(throat.tracks, (starts + _NOISE_HOP).astype(np.float64))
    breath = 0.004 * throat.breath * now[:, 3] + 0.035 * now[:, 4]
    friction = 0.035 * throat.friction * now[:, 5]
    noise = rng.standard_normal(len(samples))
    frames = np.fft.rfft(noise[starts[:, None] + np.arange(2 * _NOISE_HOP)] * window, n=_FFT, axis=1)
    band = np.exp(-0.5 * ((_HZ - now[:, 6:7] * throat.scale**0.5) / (0.5 * now[:, 7:8])) ** 2)
    tract = _resonances(now[:, 0:3] * throat.scale, width=1.5) * throat.upper
    shaped = frames * (breath[:, None] * tract + friction[:, None] * band)
    _overlap_add(samples, starts + _LEAD, shaped.astype(np.complex64))
