"""Steps `embed` and `embeddings`: a corpus shared by several tasks, by an encoder and by trained models."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from ser_tasks.audio.shards import Clip, write_shards
from ser_tasks.builds import embed
from ser_tasks.builds.rows import unpacked
from ser_tasks.data.learnt import learnt_from, sketch, write_learnt
from ser_tasks.errors import BadInput
from ser_tasks.models.encoders import EncoderShape, load_encoder
from ser_tasks.models.files import ModelSpec, build_model, save_model
from ser_tasks.rudeness.embeddings import read_layers

SMALL = EncoderShape(hidden_size=16, layers=2, heads=2, feed_forward_size=16, convolution_channels=8)


def shards(folder: Path, speakers: int, clips: int, seconds: float = 1.0) -> Path:
    """Noise of several speakers, packed."""
    raw, out = folder / "raw", folder / "audio"
    raw.mkdir()
    out.mkdir()
    draw = np.random.default_rng(0)
    listed = []
    for i in range(clips):
        samples = draw.normal(0, 0.1, int(16000 * seconds * draw.uniform(0.6, 1.4)))
        soundfile.write(raw / f"u{i:04d}.wav", samples.astype(np.float32), 16000)
        listed.append(Clip(f"u{i:04d}", f"s{i % speakers}", f"u{i:04d}.wav"))
    write_shards(listed, lambda path: (raw / path).read_bytes(), out)
    return out


def saved(folder: Path) -> Path:
    """An encoder's folder as `save_pretrained` writes it."""
    load_encoder(random=SMALL).model.save_pretrained(folder)
    return folder


def embedded(inputs: dict[str, Path], root: Path, parts: int) -> Path:
    """What `parts` tasks and the joining one give."""
    done = {}
    for i in range(parts):
        out = done[f"part/{i}"] = root / f"part{parts}-{i}"
        out.mkdir()
        embed.build(inputs, {"title": "small", "corpus": "noise", "part": [i, parts], "precision": "float32"}, out)
    joined = root / f"joined{parts}"
    joined.mkdir()
    embed.join(done, {}, joined)
    return joined


def test_any_number_of_parts_gives_the_same_embeddings(tmp_path: Path) -> None:
    inputs = {"audio": shards(tmp_path, speakers=3, clips=12), "encoder": saved(tmp_path / "encoder")}
    found = {}
    for parts in (1, 2, 5):  # 5 parts of 3 speakers: two have nobody
        folder = embedded(inputs, tmp_path, parts)
        names, layers = read_layers(folder)
        own = np.load(folder / "embeddings.npy")
        np.testing.assert_array_equal(own, layers[:, -1])
        found[parts] = {name: layers[i] for i, name in enumerate(names)}
        assert json.loads((folder / "about.json").read_text())["title"] == "small"
    assert len(found[1]) == 12 and found[1].keys() == found[2].keys() == found[5].keys()
    for name, layers in found[1].items():
        np.testing.assert_allclose(found[2][name], layers, atol=2e-3)
        np.testing.assert_allclose(found[5][name], layers, atol=2e-3)


def test_the_same_encoder_before_and_after_training(tmp_path: Path) -> None:
    audio, folder = shards(tmp_path, speakers=2, clips=4), saved(tmp_path / "encoder")
    spec = ModelSpec("wav2vec2", {}, ["angry", "calm"], title="fine-tuned")
    model = build_model(spec, folder)
    for weight in model.encoder.model.encoder.layers[1].parameters():
        weight.data += 0.05  # stands for what training does to the last layer
    save_model(tmp_path / "model", model, spec)
    roots = [tmp_path / "before", tmp_path / "after"]
    for root in roots:
        root.mkdir()
    before = embedded({"audio": audio, "encoder": folder}, roots[0], 1)
    after = embedded({"audio": audio, "model": tmp_path / "model"}, roots[1], 1)
    first, second = read_layers(before)[1], read_layers(after)[1]
    assert first.shape == second.shape == (4, 3, 32)
    np.testing.assert_array_equal(first[:, :2], second[:, :2])
    assert np.abs(first[:, 2].astype(float) - second[:, 2]).max() > 0.01
    assert json.loads((after / "about.json").read_text())["title"] == "fine-tuned"


def test_embeddings_of_a_trained_model_say_from_which_clips_it_has_learnt(tmp_path: Path) -> None:
    audio, model = shards(tmp_path, speakers=3, clips=12), tmp_path / "model"
    spec = ModelSpec("cnn", {}, ["angry", "calm"], title="CNN on log-mel")
    save_model(model, build_model(spec), spec)
    with unpacked(audio, ["s0"]) as packed:
        rows = pd.DataFrame({"utterance_id": packed.utterance_ids}).assign(corpus="x", speaker_id="s0", role="train")
        write_learnt(model, learnt_from(sketch(rows.iloc[:2], packed, audio)))
    folder = embedded({"audio": audio, "model": model}, tmp_path, 2)
    seen = pd.read_parquet(folder / "seen.parquet").set_index("utterance_id")["seen"]
    assert list(seen.index) == read_layers(folder)[0]
    of_s0 = set(packed.utterance_ids)
    assert sorted(seen[sorted(of_s0)]) == ["clip", "clip", "speaker", "speaker"]  # known again under another name
    assert (seen.drop(sorted(of_s0)) == "").all() and len(seen) == 12
    about = json.loads((folder / "about.json").read_text())
    assert about["note"] == "embeddings of a model that has learnt labels from x: 1 speaker(s) (1 train), 2 clips"


def test_a_corpus_without_a_clip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "audio").mkdir()
    with pytest.raises(BadInput, match="no part holds a clip"):
        embedded({"audio": tmp_path / "audio", "encoder": saved(tmp_path / "encoder")}, tmp_path, 2)


PEAK = """
import sys, threading, time
from pathlib import Path
from ser_tasks.builds import embed
from ser_tasks.builds.rows import unpacked
from ser_tasks.data.learnt import learnt_from, sketch, write_learnt
audio, encoder, out = map(Path, sys.argv[1:])
peak, done = [0], threading.Event()
def watch():  # pages of mapped files are not counted: the system takes them back when it needs them
    while not done.wait(0.02):
        lines = Path("/proc/self/status").read_text().splitlines()
        peak[0] = max(peak[0], *(int(line.split()[1]) for line in lines if line.startswith("RssAnon")))
thread = threading.Thread(target=watch)
thread.start()
embed.build({"audio": audio, "encoder": encoder}, {"title": "", "part": [0, 1], "precision": "float32"}, out)
done.set()
print(peak[0] // 1024)
"""


@pytest.mark.prove
def test_memory_does_not_grow_with_the_corpus(tmp_path: Path) -> None:
    """Peak of anonymous memory in MiB: 2,400 clips of 1.5 s, and 9,600 (3 hours more: 346 MB as int16).

    The first dozens of batches still fill the allocators' pools: both corpora have more.
    """
    encoder = saved(tmp_path / "encoder")
    peaks = []
    for speakers in (8, 32):  # of 300 clips each: more than the shards' reader takes at a time
        root, out = tmp_path / f"c{speakers}", tmp_path / f"o{speakers}"
        root.mkdir()
        out.mkdir()
        audio = shards(root, speakers=speakers, clips=300 * speakers, seconds=1.5)
        command = [sys.executable, "-c", PEAK, str(audio), str(encoder), str(out)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout.split()[-1]))
    print("peak MiB:", peaks)
    assert peaks[1] - peaks[0] < 100
