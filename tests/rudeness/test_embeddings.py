"""Every layer of every clip, in the order asked for, in bounded memory, in parts as well."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ser_tasks.audio.packed import PackedAudio, write_packed
from ser_tasks.errors import BadInput
from ser_tasks.models.encoders import EncoderShape, load_encoder
from ser_tasks.models.files import ModelSpec, build_model
from ser_tasks.models.pooling import masked_mean_std
from ser_tasks.rudeness.embeddings import join_layers, read_layers, write_layers

SMALL = EncoderShape(hidden_size=16, layers=2, heads=2, feed_forward_size=16, convolution_channels=8)


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> PackedAudio:
    draw = np.random.default_rng(0)
    lengths = draw.integers(6000, 30000, 12)
    folder = tmp_path_factory.mktemp("packed")
    write_packed(folder, [(f"u{i:02d}", (3000 * draw.normal(size=n)).astype(np.int16)) for i, n in enumerate(lengths)])
    return PackedAudio.open(folder)


def test_rows_are_the_layers_of_the_clips_in_the_order_asked_for(audio: PackedAudio, tmp_path: Path) -> None:
    encoder = load_encoder(random=SMALL)
    order = [7, 0, 11, 3]
    written = write_layers(encoder, audio, order, tmp_path, device="cpu", batch_seconds=3)
    names, layers = read_layers(tmp_path)
    assert names == ["u07", "u00", "u11", "u03"]
    assert layers.shape == written.shape == (4, 3, 32) and layers.dtype == np.float16
    for row, i in enumerate(order):
        with torch.inference_mode():
            states, counts = encoder(torch.from_numpy(audio.waveform(i))[None], torch.tensor([audio.length(i)]))
        alone = torch.stack([masked_mean_std(state, counts)[0] for state in states]).numpy()
        np.testing.assert_allclose(layers[row], alone, atol=2e-3, rtol=2e-3)


def test_the_size_of_batches_changes_nothing(audio: PackedAudio, tmp_path: Path) -> None:
    encoder = load_encoder(random=SMALL)
    both = []
    for seconds in (2.0, 60.0):
        folder = tmp_path / str(seconds)
        folder.mkdir()
        both.append(np.array(write_layers(encoder, audio, range(12), folder, device="cpu", batch_seconds=seconds)))
    np.testing.assert_allclose(both[0], both[1], atol=2e-3)


@pytest.mark.parametrize(("architecture", "options", "shape"), [
    ("cnn", {"channels": [4, 4, 4, 4]}, (12, 1, 8)),
    ("wav2vec2", {"encoder": {"random": SMALL.__dict__}}, (12, 3, 32)),
    ("probe", {"encoder": {"random": SMALL.__dict__}}, (12, 3, 32)),
])  # fmt: skip
def test_trained_models_give_the_layers_of_their_encoder(
    audio: PackedAudio, tmp_path: Path, architecture: str, options: dict, shape: tuple[int, ...]
) -> None:
    model = build_model(ModelSpec(architecture, options, ["angry", "calm"]))
    assert write_layers(model, audio, range(12), tmp_path, device="cpu").shape == shape


def test_parts_of_several_workers_join_to_the_whole(audio: PackedAudio, tmp_path: Path) -> None:
    encoder = load_encoder(random=SMALL)
    folders = [tmp_path / name for name in ("one", "two", "whole", "joined")]
    for folder in folders:
        folder.mkdir()
    for folder, rows in zip(folders, (range(5), range(5, 12), range(12)), strict=False):
        write_layers(encoder, audio, rows, folder, device="cpu")
    join_layers(folders[:2], folders[3])
    whole, joined = read_layers(folders[2]), read_layers(folders[3])
    assert whole[0] == joined[0]
    np.testing.assert_allclose(whole[1], joined[1], atol=2e-3)
    with pytest.raises(BadInput, match="utterance u00 is in two parts"):
        join_layers([folders[0], folders[2]], folders[3])


def test_an_embedding_that_is_not_finite_names_its_clip(audio: PackedAudio, tmp_path: Path) -> None:
    encoder = load_encoder(random=SMALL)
    with torch.no_grad():
        next(iter(encoder.model.encoder.layers.parameters())).fill_(float("nan"))
    with pytest.raises(BadInput, match=r"u\d\d gives an embedding that is not finite"):
        write_layers(encoder, audio, [1, 2], tmp_path, device="cpu")


def test_a_half_written_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "utterances.json").write_text(json.dumps(["a"]))
    with pytest.raises(BadInput, match="run the step 'embed' again"):
        read_layers(tmp_path)
