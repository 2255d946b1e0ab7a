"""Three demo corpora of synthetic speech in the true layouts and name grammars of CREMA-D, RAVDESS and IEMOCAP.

They let the whole workflow run where no speech corpus may be had. The emotions are turned knobs of a synthesiser:
a result on them says that the workflow works, and nothing about recognising emotion in people.
"""

import csv
import json
import shutil
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr
from scipy.fft import next_fast_len
from scipy.signal import fftconvolve

from ser_tasks.corpora.entry import DEMO_MARKER
from ser_tasks.corpora.synthesis import SAMPLE_RATE_HZ, Array, Style, Voice, synthesise
from ser_tasks.errors import BadInput

VERSION = 1  # raise it when the corpora's bytes change
RAVDESS_RATE_HZ = 48000
README = """Synthetic speech made by this project's own synthesiser (ser_tasks/corpora/synthesis.py).
It is dedicated to the public domain under CC0 1.0. The layout and the names follow {model}; none of its recordings
are here, and the speakers, raters and annotators do not exist. Nothing measured on this corpus says anything about
real speech.
"""

# Semitones, range, rate, level, tilt, breath, jitter, end, formants: relative to neutral speech of the same speaker.
EMOTIONS: dict[str, Style] = {
    "neutral": Style(),
    "angry": Style(4.9, 0.40, 0.14, 8.0, 1.0, -4.0, 0.004, -1.5, 0.015),
    "happy": Style(3.4, 0.45, 0.06, 4.0, 0.3, 0.0, 0.0, 1.5, 0.045),
    "fear": Style(5.7, -0.40, 0.16, 1.0, -0.1, 6.0, 0.015, 0.5, 0.0),
    "sad": Style(-1.6, -0.45, -0.18, -7.0, -0.9, 4.0, 0.003, -0.5, -0.01),
    "disgust": Style(-2.2, 0.05, -0.18, -0.5, 0.3, -2.0, 0.008, -2.5, -0.045),
    "calm": Style(-0.7, -0.25, -0.12, -3.5, -0.5, 3.0, 0.0, -0.5, 0.0),
    "surprised": Style(5.2, 0.55, 0.0, 4.0, 0.2, 2.0, 0.0, 7.0, 0.01),
}
# How far one take lies from the next, and one speaker's manner of an emotion from another's: standard deviations.
TAKE = Style(0.7, 0.13, 0.045, 1.0, 0.18, 1.1, 0.0015, 1.0, 0.009)
MANNER = Style(0.5, 0.1, 0.035, 0.8, 0.15, 0.9, 0.001, 0.7, 0.006)
# Rude speech: slower, lower, falling, somewhat louder, tenser, with clipped pauses.
RUDE = Style(-2.2, -0.1, -0.16, 3.0, 0.8, -4.0, 0.002, -3.5, -0.015, -1.0)

CREMA_D_CODES = {"angry": "ANG", "disgust": "DIS", "fear": "FEA", "happy": "HAP", "neutral": "NEU", "sad": "SAD"}
CREMA_D_LEVELS = {"LO": 0.6, "MD": 0.95, "HI": 1.3, "XX": 1.0}
CREMA_D_SENTENCES = {
    "IEO": "IH1 T S IH L EH1 V AH N AH K L AA1 K",
    "TIE": "DH AE1 T IH Z IH G Z AE1 K T L IY W AH T HH AE1 P AH N D",
    "IOM": "AY M AO N M AY W EY1 T UW DH AH M IY1 T IH NG",
    "IWW": "AY W AH1 N D ER W AH T DH IH S IH Z AH B AW1 T",
    "TAI": "DH IY EH1 R P L EY N IH Z AO1 L M OW S T F UH1 L",
    "MTI": "M EY1 B IY T AH M AA1 R OW IH T W IH L B IY K OW1 L D",
    "IWL": "AY W UH D L AY1 K AH N UW1 AH L AA1 R M K L AA K",
    "ITH": "AY TH IH1 NG K AY HH AE V AH D AA1 K T ER Z AH P OY1 N T M AH N T",
    "DFA": "D OW1 N T F ER G EH1 T AH JH AE1 K AH T",
    "ITS": "AY TH IH1 NG K AY V S IY1 N DH IH S B IH F AO1 R",
    "TSI": "DH AH S ER1 F AH S IH Z S L IH1 K",
    "WSI": "W IY L S T AA1 P IH N AH K AH1 P AH L AH V M IH1 N AH T S",
}
RAVDESS_CODES = ("neutral", "calm", "happy", "sad", "angry", "fear", "disgust", "surprised")  # 01 ... 08
RAVDESS_STATEMENTS = (
    "K IH1 D Z AA R T AO1 K IH NG B AY DH AH D AO1 R",
    "D AO1 G Z AA R S IH1 T IH NG B AY DH AH D AO1 R",
)
IEMOCAP_CODES = {
    "neutral": "neu", "angry": "ang", "happy": "hap", "sad": "sad", "frustrated": "fru", "excited": "exc",
}  # fmt: skip
IEMOCAP_NAMES = {
    "neu": "Neutral", "ang": "Anger", "hap": "Happiness", "sad": "Sadness", "fru": "Frustration", "exc": "Excited",
    "xxx": "Other",
}  # fmt: skip
# Emotion -> Style in dialogue (weaker than on a stage), then valence, activation, dominance from 1 to 5.
DIALOGUE: dict[str, tuple[Style, tuple[float, float, float]]] = {
    "neutral": (Style(), (3.0, 2.5, 2.8)),
    "angry": (EMOTIONS["angry"] * 0.7, (1.7, 4.0, 4.0)),
    "happy": (EMOTIONS["happy"] * 0.7, (4.2, 3.3, 3.2)),
    "sad": (EMOTIONS["sad"] * 0.7, (2.0, 2.0, 2.2)),
    "frustrated": (EMOTIONS["angry"] * 0.35 + Style(level_db=0.5, log_rate=-0.08), (2.1, 3.1, 3.3)),
    "excited": (EMOTIONS["happy"] * 1.0, (4.3, 4.0, 3.5)),
}
IEMOCAP_SENTENCES = {
    "Could you move your bag, please?": "K UH D Y UW M UW1 V Y AO R B AE1 G _ P L IY1 Z",
    "I need the other form.": "AY N IY1 D DH IY AH1 DH ER F AO1 R M",
    "No, the office is closed.": "N OW1 _ DH IY AO1 F AH S IH Z K L OW1 Z D",
    "You have to wait in the line.": "Y UW HH AE1 V T UW W EY1 T IH N DH AH L AY1 N",
    "I told you that already.": "AY T OW1 L D Y UW _ DH AE T AO L R EH1 D IY",
    "What do you want me to do?": "W AH1 T D UW Y UW W AA1 N T _ M IY T UW D UW1",
    "Well, let me see what I can do.": "W EH1 L _ L EH T M IY S IY1 W AH T AY K AE N D UW1",
    "That is not my problem.": "DH AE1 T IH Z N AA1 T _ M AY P R AA1 B L AH M",
    "Thank you, that is all I need.": "TH AE1 NG K Y UW _ DH AE T IH Z AO1 L AY N IY1 D",
    "Give me your name again.": "G IH1 V M IY Y AO R N EY1 M _ AH G EH1 N",
    "Come back on Monday morning.": "K AH1 M B AE K _ AO N M AH1 N D EY M AO1 R N IH NG",
    "Are you even listening to me?": "AA R Y UW IY1 V AH N L IH1 S AH N IH NG _ T UW M IY",
}
ANNOTATORS = {"a1": (0.5, 0.7), "a2": (-0.4, 0.7), "a3": (0.1, 1.0)}  # bias and noise on the scale 1-5


def make_demo_corpora(
    target: Path, seed: int = 0, *, crema_d_actors: int = 24, ravdess_actors: int = 8, iemocap_sessions: int = 5
) -> dict[str, Path]:
    """Make the demo corpora, or leave them be where these very ones are complete.

    A clip depends on the seed and its own name only: smaller corpora are subsets of larger ones.

    Args:
        target: The folder that gets one folder per corpus.
        seed: Decides speakers, takes and ratings, not negative; the same seed gives the same bytes.
        crema_d_actors: Speakers of demo_crema_d, 36 clips each.
        ravdess_actors: Speakers of demo_ravdess, 30 clips each.
        iemocap_sessions: Sessions of demo_iemocap, two speakers and 48 turns each; 1 to 5.

    Returns:
        The folders of demo_crema_d, demo_ravdess and demo_iemocap.

    Raises:
        BadInput: A folder of that name holds something else than a demo corpus.
    """
    plans: dict[str, tuple[str, Callable[[Path, int, int], None], int]] = {
        "demo_crema_d": ("CREMA-D", _make_crema_d, crema_d_actors),
        "demo_ravdess": ("RAVDESS", _make_ravdess, ravdess_actors),
        "demo_iemocap": ("IEMOCAP", _make_iemocap, iemocap_sessions),
    }
    for name, (model, make, size) in plans.items():
        folder = target / name
        marker = json.dumps({"corpus": name, "seed": seed, "size": size, "version": VERSION}, indent=2) + "\n"
        if (folder / DEMO_MARKER).is_file() and (folder / DEMO_MARKER).read_text(encoding="utf-8") == marker:
            continue
        _clear(folder)
        _write(folder / "README.txt", README.format(model=model))
        make(folder, seed, size)
        _write(folder / DEMO_MARKER, marker)
    return {name: target / name for name in plans}


def _clear(folder: Path) -> None:
    """Remove an unfinished or outdated demo corpus, known by its README.txt, and nothing else."""
    if not folder.exists() or {path.name for path in folder.iterdir()} <= {"README.txt"}:
        return
    note = folder / "README.txt"
    first_line = README.splitlines()[0]
    if not note.is_file() or not note.read_text(encoding="utf-8", errors="replace").startswith(first_line):
        raise BadInput(f"{folder.name}: {folder} is there and is no demo corpus: move it away, or give another folder")
    shutil.rmtree(folder)


def _rng(seed: int, *names: str) -> np.random.Generator:
    return np.random.default_rng([seed, *(zlib.crc32(name.encode()) for name in names)])


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")


def _write_csv(path: Path, header: list[str], rows: Iterable[list[object]], quoting: int = csv.QUOTE_MINIMAL) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=quoting, lineterminator="\n")  # type: ignore[arg-type]
        writer.writerow(header)
        writer.writerows(rows)


def _write_wav(path: Path, samples: Array, rate_hz: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pcm = np.clip(np.round(samples * 32767), -32767, 32767).astype(np.int16)
    soundfile.write(path, pcm, rate_hz, subtype="PCM_16")


def _draw_voice(male: bool, rng: np.random.Generator, f0_hz: tuple[float, float], rate: float = 1.0) -> Voice:
    """A speaker; f0_hz is the centre for men and for women."""
    return Voice(
        f0_hz=f0_hz[0 if male else 1] * float(np.exp(rng.normal(0, 0.13))),
        formant_scale=(1.0 if male else 1.16) * float(np.exp(rng.normal(0, 0.035))),
        tilt_hz=1800 * 2 ** float(rng.normal(0, 0.4)),
        breath_db=float(rng.normal(0 if male else 2, 2.5)),
        rate=rate * float(np.exp(rng.normal(0, 0.09))),
        pitch_range=float(np.exp(rng.normal(0, 0.2))),
        jitter=0.002 + 0.002 * float(rng.random()),
    )


def _scatter(spread: Style, rng: np.random.Generator) -> Style:
    """A random departure with these standard deviations."""
    fields = np.array(list(vars(spread).values())) * rng.standard_normal(len(vars(spread)))
    return Style(*(float(value) for value in fields))


def _room(samples: Array, rng: np.random.Generator, lead_s: float, tail_s: float, noise_db: float) -> Array:
    """Silence around the speech, and background noise that falls by 3 dB an octave, at noise_db dBFS RMS."""
    lead = int(lead_s * SAMPLE_RATE_HZ)
    length = next_fast_len(lead + len(samples) + int(tail_s * SAMPLE_RATE_HZ), real=True)
    padded = np.pad(samples, (lead, length - lead - len(samples)))
    spectrum = np.fft.rfft(rng.standard_normal(length))
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), len(spectrum) / 100))
    noise = np.fft.irfft(spectrum, n=length)
    return np.asarray(padded + noise * (10 ** (noise_db / 20) / np.sqrt(np.mean(noise**2))))


def _make_crema_d(folder: Path, seed: int, actors: int) -> None:
    stems: list[str] = []
    people: list[list[object]] = []
    votes: list[npt.NDArray[np.float64]] = []
    for actor in range(1001, 1001 + actors):
        rng = _rng(seed, "demo_crema_d", str(actor))
        male = bool(actor % 2)
        voice = _draw_voice(male, rng, (115, 205))
        people.append(
            [
                actor,
                int(rng.integers(20, 75)),
                "Male" if male else "Female",
                str(rng.choice(["Caucasian", "African American", "Asian"], p=[0.66, 0.24, 0.1])),
                str(rng.choice(["Not Hispanic", "Hispanic"], p=[0.9, 0.1])),
            ]
        )
        strength, gain_db, noise_db = rng.normal(1.05, 0.18), rng.normal(0, 2.0), rng.normal(-64, 4)
        sentences = ["IEO", *rng.permutation(sorted(set(CREMA_D_SENTENCES) - {"IEO"}))[:5]]
        for emotion, code in CREMA_D_CODES.items():
            manner = _scatter(MANNER, rng)
            for sentence in sentences:
                level = "XX" if sentence != "IEO" or emotion == "neutral" else str(rng.choice(["LO", "MD", "HI"]))
                stem = f"{actor}_{sentence}_{code}_{level}"
                take = _rng(seed, "demo_crema_d", stem)
                felt = max(0.15, strength * CREMA_D_LEVELS[level] * float(np.exp(take.normal(0, 0.2))))
                style = EMOTIONS[emotion] * felt + manner + _scatter(TAKE, take) + Style(level_db=gain_db)
                speech = synthesise(CREMA_D_SENTENCES[sentence].split(), voice, style, take)
                lead_s, tail_s = take.uniform(0.15, 0.5, size=2)
                _write_wav(folder / "AudioWAV" / f"{stem}.wav", _room(speech, take, lead_s, tail_s, noise_db), 16000)
                stems.append(stem)
                votes.append(_draw_votes(emotion, felt, take))
    _write_csv(
        folder / "VideoDemographics.csv",
        ["ActorID", "Age", "Sex", "Race", "Ethnicity"],
        people,
        quoting=csv.QUOTE_NONNUMERIC,
    )
    numbered: list[list[object]] = [[number, stem] for number, stem in enumerate(stems, start=1)]
    _write_csv(folder / "SentenceFilenames.csv", ["Stimulus_Number", "Filename"], numbered, csv.QUOTE_NONNUMERIC)
    _write_votes(folder / "processedResults", stems, votes)


def _draw_votes(emotion: str, felt: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Ten raters who heard the voice, [10, 2]: a class in the order A D F H N S, and how strong it was, 0 to 100.

    Weak emotions are mostly heard as neutral, as in the real corpus.
    """
    order = ["angry", "disgust", "fear", "happy", "neutral", "sad"]
    weights = np.full(6, 0.08)
    weights[order.index("neutral")] += 0.4
    weights[order.index(emotion)] += 0.9 if emotion == "neutral" else 0.6 * felt
    heard = rng.choice(6, size=10, p=weights / weights.sum())
    strength = np.clip(np.round(rng.normal(45 + 20 * felt, 15, size=10)), 1, 100)
    return np.stack([heard.astype(np.float64), strength], axis=1)


def _write_votes(folder: Path, stems: list[str], votes: list[npt.NDArray[np.float64]]) -> None:
    """tabulatedVotes.csv and summaryTable.csv in the real columns; only the voice was rated, the rest is NA."""
    names = ["Emo", "Anger", "Disgust", "Fear", "Happy", "Neutral", "Sad"]
    means = [f"mean{name}Resp" for name in names] + ["medianEmoResp"]
    header = ["", *"ADFHNS", "fileName", "numResponses", "agreement", "emoVote", *means]
    header += [f"mean{name}RespNorm" for name in names] + ["medianEmoRespNorm"]
    tabulated: list[list[object]] = []
    summary: list[list[object]] = []
    for number, (stem, answers) in enumerate(zip(stems, votes, strict=True), start=1):
        counts = [int(np.sum(answers[:, 0] == k)) for k in range(6)]
        levels = [float(np.mean(answers[answers[:, 0] == k, 1])) if counts[k] else -1.0 for k in range(6)]
        winners = [k for k in range(6) if counts[k] == max(counts)]
        vote = ":".join("ADFHNS"[k] for k in winners)
        figures = [float(np.mean(answers[:, 1])), *levels, float(np.median(answers[:, 1]))]
        rounded = [round(figure, 4) for figure in figures]
        tabulated.append([str(100000 + number), *counts, stem, 10, max(counts) / 10, vote, *rounded, *rounded])
        level = ":".join(f"{levels[k]:.2f}" for k in winners)
        summary.append([str(number), stem, vote, level, "NA", "NA", "NA", "NA"])
    _write_csv(folder / "tabulatedVotes.csv", header, tabulated, csv.QUOTE_NONNUMERIC)
    columns = ["", "FileName", "VoiceVote", "VoiceLevel", "FaceVote", "FaceLevel", "MultiModalVote", "MultiModalLevel"]
    _write_csv(folder / "summaryTable.csv", columns, summary, csv.QUOTE_ALL)


def _make_ravdess(folder: Path, seed: int, actors: int) -> None:
    # One room for all: reverberation of 0.4 s, 7 dB under the direct sound.
    rng = _rng(seed, "demo_ravdess", "room")
    decay = np.exp(-6.9 * np.arange(int(0.4 * SAMPLE_RATE_HZ)) / (0.4 * SAMPLE_RATE_HZ))
    echo = decay * rng.standard_normal(len(decay))
    echo *= 10 ** (-7 / 20) / np.sqrt(np.sum(echo**2))
    echo[0] = 1.0
    for actor in range(1, actors + 1):
        rng = _rng(seed, "demo_ravdess", str(actor))
        voice = _draw_voice(actor % 2 == 1, rng, (125, 220), rate=0.9)
        strength, gain_db, noise_db = rng.normal(0.85, 0.2), rng.normal(-3, 1.5), rng.normal(-58, 3)
        for code, emotion in enumerate(RAVDESS_CODES, start=1):
            manner = _scatter(MANNER, rng)
            for intensity in (1,) if emotion == "neutral" else (1, 2):
                for statement, phonemes in enumerate(RAVDESS_STATEMENTS, start=1):
                    stem = f"03-01-{code:02d}-{intensity:02d}-{statement:02d}-01-{actor:02d}"
                    take = _rng(seed, "demo_ravdess", stem)
                    felt = max(0.2, strength * (0.75, 1.2)[intensity - 1] * float(np.exp(take.normal(0, 0.2))))
                    style = EMOTIONS[emotion] * felt + manner + _scatter(TAKE, take) + Style(level_db=gain_db)
                    speech = fftconvolve(synthesise(phonemes.split(), voice, style, take), echo)
                    lead_s, tail_s = take.uniform(0.5, 0.9, size=2)
                    narrow = _room(speech, take, lead_s, tail_s, noise_db)
                    wide = soxr.resample(narrow, SAMPLE_RATE_HZ, RAVDESS_RATE_HZ)
                    _write_wav(folder / f"Actor_{actor:02d}" / f"{stem}.wav", wide, RAVDESS_RATE_HZ)


def _make_iemocap(folder: Path, seed: int, sessions: int) -> None:
    ratings: list[list[object]] = []
    for session in range(1, sessions + 1):
        voices = {letter: _iemocap_speaker(seed, f"Ses{session:02d}{letter}") for letter in "FM"}
        # In the true corpus a dialog is named after the actor who wears the markers, whoever speaks in a turn.
        for dialog in (f"Ses{session:02d}F_impro01", f"Ses{session:02d}M_script01_1"):
            ratings += _make_dialog(folder / f"Session{session}", dialog, voices, seed)
    header = ["utterance_id", "annotator_id", "trait", "rating", "scale", "created_at", "source"]
    _write_csv(folder / "annotations" / "rudeness.csv", header, ratings)


def _iemocap_speaker(seed: int, speaker: str) -> tuple[Voice, Style, dict[str, Style]]:
    """Voice, gain, and manner of each emotion and of rudeness."""
    rng = _rng(seed, "demo_iemocap", speaker)
    voice = _draw_voice(speaker.endswith("M"), rng, (110, 200), rate=1.08)
    manners = {name: _scatter(MANNER * 0.7, rng) for name in [*DIALOGUE, "rude"]}
    return voice, Style(level_db=float(rng.normal(0, 2))), manners


def _make_dialog(
    session: Path, dialog: str, voices: dict[str, tuple[Voice, Style, dict[str, Style]]], seed: int
) -> list[list[object]]:
    """Write one dialog's turns, evaluation and transcription; return its rows of rudeness ratings."""
    rng = _rng(seed, "demo_iemocap", dialog)
    evaluation = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"]
    transcription: list[str] = []
    ratings: list[list[object]] = []
    clock_s = 6.0
    for turn in range(24):
        letter = "FM"[turn % 2]
        voice, gain, manners = voices[letter]
        name = f"{dialog}_{letter}{turn // 2:03d}"
        emotion = str(rng.choice(list(DIALOGUE), p=[0.3, 0.18, 0.14, 0.12, 0.18, 0.08]))
        text = str(rng.choice(list(IEMOCAP_SENTENCES)))
        rude = float(rng.beta(*{"angry": (2.2, 1.4), "frustrated": (1.7, 1.5)}.get(emotion, (1.1, 1.7))))
        take = _rng(seed, "demo_iemocap", name)
        felt = float(take.uniform(0.5, 1.2))
        manner = manners[emotion] + manners["rude"] * rude + gain
        style = DIALOGUE[emotion][0] * felt + RUDE * (rude - 0.4) + manner + _scatter(TAKE, take)
        speech = synthesise(IEMOCAP_SENTENCES[text].split(), voice, style, take)
        samples = _room(speech, take, 0.15, 0.2, -58)
        _write_wav(session / "sentences" / "wav" / dialog / f"{name}.wav", samples, SAMPLE_RATE_HZ)
        end_s = clock_s + len(samples) / SAMPLE_RATE_HZ
        evaluation.append(_evaluation(name, (clock_s, end_s), emotion, felt, take))
        transcription.append(f"{name} [{clock_s:08.4f}-{end_s:08.4f}]: {text}\n")
        for annotator, (bias, noise) in ANNOTATORS.items():
            rating = int(np.clip(np.round(1 + 4 * rude + bias + take.normal(0, noise)), 1, 5))
            created_at = f"2024-03-{session.name[-1]:0>2}T10:{turn:02d}:00Z"
            ratings.append([name, annotator, "rudeness", rating, "1-5", created_at, "demo"])
        clock_s = end_s + float(rng.uniform(0.2, 1.0))
    _write(session / "dialog" / "EmoEvaluation" / f"{dialog}.txt", "".join(evaluation))
    _write(session / "dialog" / "transcriptions" / f"{dialog}.txt", "".join(transcription))
    return ratings


def _evaluation(name: str, span_s: tuple[float, float], emotion: str, felt: float, rng: np.random.Generator) -> str:
    """A turn's block in an EmoEvaluation file: the majority, then what each simulated rater said."""
    wanted = IEMOCAP_CODES[emotion]
    others = [code for code in IEMOCAP_CODES.values() if code != wanted]
    heard = [wanted if rng.random() < 0.55 + 0.25 * felt else str(rng.choice(others)) for _ in range(3)]
    code = next((voted for voted in heard if heard.count(voted) > 1), "xxx")
    centre = 2.75 + (np.array(DIALOGUE[emotion][1]) - 2.75) * felt
    marks = np.clip(np.round(centre + rng.normal(0, 0.5, size=(2, 3))), 1, 5).astype(int)
    valence, activation, dominance = marks.mean(axis=0)
    lines = [f"[{span_s[0]:.4f} - {span_s[1]:.4f}]\t{name}\t{code}\t[{valence:.4f}, {activation:.4f}, {dominance:.4f}]"]
    lines += [f"C-E{rater}:\t{IEMOCAP_NAMES[voted]};\t()" for rater, voted in zip((2, 3, 4), heard, strict=True)]
    for rater, (val, act, dom) in zip((3, 4), marks, strict=True):
        lines.append(f"A-E{rater}:\tval {val}; act {act}; dom  {dom};\t()")
    return "\n".join(lines) + "\n\n"
