"""`conditions`: what is left of a model when the recording is another, and on another corpus. Real RAVDESS and nEMO.

Within: folds of 4 actors of RAVDESS 1-20 (8 classes; the 4 actors before select), each test clip as it is, with its
outer silence cut or more of it put there, louder and quieter, in noise, and through a telephone. Across: the fold's
model on nEMO among the six classes that both have, and a model of 7 speakers of nEMO (2 select) on RAVDESS 1-20.
Recipes are chosen here, never on actors 21-24. `--model cnn|baseline|probe`, `--folds 0,1,2,3,4`; a probe is frozen and
needs `--encoder FOLDER`, and `--front_end whole` lets it hear silence and level. Every run is written to
conditions_log.jsonl.
"""

import argparse
import csv
import hashlib
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import scipy.signal
import torch
from numpy.typing import NDArray

from ser_tasks.audio.decode import decode, to_int16
from ser_tasks.audio.packed import PackedAudio, write_packed
from ser_tasks.audio.voice import FrontEnd
from ser_tasks.builds.adapt import fit_adapted
from ser_tasks.builds.train_linear import STRENGTHS, fit_baseline, fit_linear
from ser_tasks.config import load_config
from ser_tasks.evaluation.labels import among
from ser_tasks.models.adapted import standardised
from ser_tasks.models.files import ModelSpec, build_model
from ser_tasks.training.batches import prediction_batches
from ser_tasks.training.examples import Examples
from ser_tasks.training.fit import FitOptions, fit, uar
from tests.benchmarks.cnn_ravdess import LABELS
from tests.benchmarks.common import CACHE, commit_of, finish, log_of_uses, packed_ravdess, ravdess_clips
from tests.conftest import SHARED_CORPORA

Wave = NDArray[np.float32]
LOG = Path(__file__).with_name("conditions_log.jsonl")
RATE = 16_000
SHARED = ["neutral", "happy", "sad", "angry", "fear", "surprised"]
NEMO = {"anger": "angry", "fear": "fear", "happiness": "happy", "neutral": "neutral", "sadness": "sad",
        "surprised": "surprised"}  # fmt: skip


class Corpus:
    """A packed corpus: utterance, speaker and label of every clip."""

    def __init__(self, audio: PackedAudio, rows: Sequence[tuple[str, str, str]]) -> None:
        self.audio, self.rows = audio, list(rows)

    def of(self, speakers: set[str], labels: Sequence[str]) -> "Corpus":
        """Clips of some speakers and labels."""
        return Corpus(self.audio, [row for row in self.rows if row[1] in speakers and row[2] in labels])

    @property
    def speakers(self) -> list[str]:
        """Of each clip."""
        return [speaker for _, speaker, _ in self.rows]

    def examples(self, labels: Sequence[str]) -> Examples:
        """As a training takes them."""
        return Examples(self.audio, [(self.audio.index_of(name), labels.index(label)) for name, _, label in self.rows])

    def targets(self, labels: Sequence[str]) -> NDArray[np.int64]:
        """Number of each clip's label."""
        return np.array([labels.index(label) for _, _, label in self.rows])

    def waves(self) -> list[Wave]:
        """Samples of each clip."""
        return [self.audio.waveform(self.audio.index_of(name)) for name, _, _ in self.rows]


def ravdess() -> Corpus:
    """Actors 1-20."""
    clips = [(path.stem, f"{actor:02d}", LABELS[emotion]) for path, actor, emotion in ravdess_clips() if actor <= 20]
    return Corpus(packed_ravdess(), clips)


def nemo() -> Corpus:
    """The part that is at hand."""
    root, folder = SHARED_CORPORA / "nemo", CACHE / "nemo_packed"
    with (root / "data.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    if not (folder / "index.json").is_file():
        clips = ((row["file_id"], to_int16(decode(root / "samples" / row["file_id"]).samples)) for row in rows)
        write_packed(folder, clips)
    return Corpus(PackedAudio.open(folder), [(r["file_id"], r["speaker_id"].strip(), NEMO[r["emotion"]]) for r in rows])


def changes(draw: np.random.Generator) -> dict[str, Callable[[Wave], Wave]]:
    """Name to what is done to a clip."""
    telephone = scipy.signal.butter(8, [300, 3_400], "bandpass", fs=RATE, output="sos")

    def noise(wave: Wave, below_db: float, samples: int) -> Wave:
        level = np.sqrt(np.square(wave).mean()) * 10 ** (-below_db / 20)
        return (level * draw.standard_normal(samples)).astype(np.float32)

    def padded(wave: Wave, ends: Callable[[], Wave]) -> Wave:
        return np.concatenate([ends(), wave, ends()])

    def trimmed(wave: Wave, top_db: float) -> Wave:
        return np.ascontiguousarray(librosa.effects.trim(wave, top_db=top_db, frame_length=512, hop_length=128)[0])

    return {
        "clean": lambda wave: wave,
        "trimmed at 40 dB": lambda wave: trimmed(wave, 40),
        "trimmed at 30 dB": lambda wave: trimmed(wave, 30),
        "1 s of zeros on either side": lambda wave: padded(wave, lambda: np.zeros(RATE, np.float32)),
        "1 s of room noise, 35 dB below": lambda wave: padded(wave, lambda: noise(wave, 35, RATE)),
        "+12 dB": lambda wave: wave * np.float32(10 ** (12 / 20)),
        "-12 dB": lambda wave: wave * np.float32(10 ** (-12 / 20)),
        "white noise, 30 dB SNR": lambda wave: wave + noise(wave, 30, len(wave)),
        "white noise, 20 dB SNR": lambda wave: wave + noise(wave, 20, len(wave)),
        "telephone": lambda wave: scipy.signal.sosfilt(telephone, wave).astype(np.float32),
    }


@torch.inference_mode()
def applied(function: Callable[..., torch.Tensor], waves: Sequence[Wave]) -> NDArray[np.float64]:
    """A model's method on clips, in their order."""
    found: dict[int, Any] = {}
    for batch in prediction_batches([len(wave) for wave in waves], 60.0):
        lengths = torch.tensor([len(waves[i]) for i in batch])
        padded = torch.zeros(len(batch), int(lengths.max()))
        for row, i in enumerate(batch):
            padded[row, : len(waves[i])] = torch.from_numpy(waves[i])
        found |= dict(zip(batch, function(padded, lengths).double().numpy(), strict=True))
    return np.array([found[i] for i in range(len(waves))])


class FrozenProbe:
    """A probe whose frozen encoder is asked once for each clip, whichever folds it is in."""

    def __init__(self, encoder: Path, front_end: FrontEnd) -> None:
        self.encoder, self.front_end = encoder, front_end
        self.known: dict[bytes, NDArray[np.float64]] = {}
        self.model = self.new(["any"])

    def new(self, labels: Sequence[str]) -> Any:
        """A probe without a classifier yet."""
        model: Any = build_model(ModelSpec("probe", {}, list(labels)), self.encoder)
        model.encoder.hear(self.front_end)
        return model.eval()

    def embeddings(self, waves: Sequence[Wave]) -> NDArray[np.float64]:
        """Of clips, in their order."""
        keys = [hashlib.blake2b(wave.tobytes()).digest() for wave in waves]
        missing = [i for i, key in enumerate(keys) if key not in self.known]
        if missing:
            found = applied(self.model.embed, [waves[i] for i in missing])
            self.known |= {keys[i]: values for i, values in zip(missing, found, strict=True)}
        return np.stack([self.known[key] for key in keys])


class Trained:
    """A model and its head for adapted embeddings."""

    def __init__(self, model: Any, head: Any, probe: FrozenProbe | None = None) -> None:
        self.model, self.head, self.probe = model, head, probe

    def embeddings(self, waves: Sequence[Wave]) -> NDArray[np.float64]:
        """Of clips, in their order."""
        return self.probe.embeddings(waves) if self.probe else applied(self.model.embed, waves)

    @torch.inference_mode()
    def logits(self, waves: Sequence[Wave]) -> NDArray[np.float64]:
        """Of clips, in their order."""
        if self.probe:
            found: Any = self.model.linear(torch.from_numpy(self.embeddings(waves)).float())
            return np.asarray(found.double())
        return applied(self.model, waves)


def train(name: str | FrozenProbe, learnt: Corpus, selecting: Corpus, labels: Sequence[str], seed: int) -> Trained:
    """Train on clips of a corpus, selected on others of it."""
    sides = [side.examples(labels) for side in (learnt, selecting)]
    targets = [side.targets.numpy() for side in sides]
    if name == "cnn":
        recipe = load_config("ravdess").cnn
        model: Any = build_model(ModelSpec("cnn", recipe.options.model_dump(mode="json"), list(labels)), seed=seed)
        options = FitOptions(**recipe.fit.model_dump(mode="json"), seed=seed)
        fit(model, sides[0], sides[1], labels, options, cache_folder=CACHE / "features")
    elif isinstance(name, FrozenProbe):
        model = name.new(labels)
        embedded = [name.embeddings(side.waves()) for side in (learnt, selecting)]
        fit_linear(model, embedded, targets, STRENGTHS)
    else:
        model = build_model(ModelSpec("baseline", {}, list(labels)), seed=seed)
        fit_baseline(model, learnt.audio, [side.clips for side in sides], targets, seed)
    trained = Trained(model.eval(), None, name if isinstance(name, FrozenProbe) else None)
    embeddings = [trained.embeddings(side.waves()) for side in (learnt, selecting)]
    trained.head = fit_adapted(embeddings, targets, (learnt.speakers, selecting.speakers), len(labels))
    return trained


def across(trained: Trained, labels: Sequence[str], tested: Corpus) -> dict[str, float]:
    """UAR on another corpus among the shared labels: plain, and adapted by speaker and by corpus."""
    waves, targets = tested.waves(), tested.targets(SHARED)

    def score(probabilities: NDArray[np.float64]) -> tuple[float, NDArray[np.int64]]:
        chosen = among(probabilities, labels, SHARED).argmax(axis=1)
        return uar(targets, chosen), chosen

    logits = trained.logits(waves)
    plain, chosen = score(np.asarray(torch.from_numpy(logits).softmax(dim=1)))
    found = {"plain": plain, "most frequent answer": float(np.bincount(chosen).max() / len(chosen))}
    embeddings = trained.embeddings(waves)
    for way, groups in (("speaker", tested.speakers), ("corpus", [""] * len(waves))):
        found[f"adapted by {way}"] = score(trained.head.probabilities(standardised(embeddings, groups)))[0]
    return found


def fold(name: str | FrozenProbe, k: int, acted: Corpus, other: Corpus) -> dict[str, float]:
    """All figures of one fold."""
    sets = [{f"{actor:02d}" for actor in range(1 + 4 * i, 5 + 4 * i)} for i in range(5)]
    test, dev = sets[k], sets[k - 1]
    parts = [acted.of(who, LABELS) for who in (set().union(*sets) - test - dev, dev, test)]
    trained = train(name, parts[0], parts[1], LABELS, k)
    draw, found, clean = np.random.default_rng(k), {}, np.array([])
    waves, targets = parts[2].waves(), parts[2].targets(LABELS)
    for what, change in changes(draw).items():
        chosen = trained.logits([change(wave) for wave in waves]).argmax(axis=1)
        found[what] = uar(targets, chosen)
        if what == "clean":
            clean = chosen
        else:
            found[f"{what}: same label"] = float((chosen == clean).mean())
    found |= {f"RAVDESS to nEMO, {way}": value for way, value in across(trained, LABELS, other).items()}
    people = sorted(set(other.speakers))
    dev = {people[2 * k % 9], people[(2 * k + 1) % 9]}
    trained = train(name, other.of(set(people) - dev, SHARED), other.of(dev, SHARED), SHARED, k)
    tested = acted.of(set(acted.speakers), SHARED)
    return found | {f"nEMO to RAVDESS, {way}": value for way, value in across(trained, SHARED, tested).items()}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", choices=["cnn", "baseline", "probe"], default="cnn")
    parser.add_argument("--encoder", type=Path)
    parser.add_argument("--front_end", choices=["speech", "whole"], default="speech")
    parser.add_argument("--folds", default="0,1,2,3,4")
    given = parser.parse_args()
    torch.manual_seed(0)
    commit, begin, acted, other = commit_of(LOG), time.perf_counter(), ravdess(), nemo()
    model = FrozenProbe(given.encoder, given.front_end) if given.model == "probe" else given.model
    rows: list[Mapping[str, float]] = []
    for k in map(int, given.folds.split(",")):
        rows.append(fold(model, k, acted, other))
        line = ", ".join(f"{name} {value:.3f}" for name, value in rows[-1].items())
        print(f"fold {k}, {time.perf_counter() - begin:.0f} s: {line}", file=sys.stderr, flush=True)
    figures: dict[str, float] = {"folds": len(rows)}
    for name in rows[0]:
        values = [row[name] for row in rows]
        figures |= {name: statistics.mean(values)}
        if len(rows) > 1:
            figures[f"{name}, sd"] = statistics.stdev(values)
    heard = {} if given.model != "probe" else {"encoder": given.encoder.name, "front_end": given.front_end}
    entry = {
        "model": given.model,
        **heard,
        "folds": given.folds,
        **{name: round(value, 4) for name, value in figures.items()},
    }
    log_of_uses(LOG, commit, entry)
    return finish("conditions", figures, {}, {})


if __name__ == "__main__":
    sys.exit(main())
