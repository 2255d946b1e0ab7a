"""Encoders give what transformers gives for a clip alone, whatever batch the clip is in."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from ser_tasks.errors import BadInput
from ser_tasks.models.encoder import Encoder
from ser_tasks.models.encoders import EncoderShape, check_encoder, encoder_from_description, load_encoder

# ser_tasks comes first: it lets torchaudio, which transformers imports, do without CUDA
# isort: split
from transformers import (
    Data2VecAudioConfig,
    Data2VecAudioModel,
    HubertConfig,
    HubertModel,
    SeamlessM4TFeatureExtractor,
    UniSpeechSatConfig,
    UniSpeechSatModel,
    Wav2Vec2BertConfig,
    Wav2Vec2BertModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
    WhisperConfig,
    WhisperFeatureExtractor,
)
from transformers.models.whisper.modeling_whisper import WhisperEncoder as TransformersWhisperEncoder

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
KIN: dict[str, Any] = {
    "wav2vec2": (Wav2Vec2Config, Wav2Vec2Model),
    "hubert": (HubertConfig, HubertModel),
    "wavlm": (WavLMConfig, WavLMModel),
    "unispeech-sat": (UniSpeechSatConfig, UniSpeechSatModel),
}
NORMS = {
    "group": {"feat_extract_norm": "group", "do_stable_layer_norm": False},
    "layer": {"feat_extract_norm": "layer", "do_stable_layer_norm": True},
}
LENGTHS = (12_000, 8_000, 8_000, 5_555, 700)


def make(kind: str, norm: str) -> Any:
    """A tiny transformers model; what is 0 before training is drawn too."""
    torch.manual_seed(0)
    if kind == "data2vec":
        sizes = SIZES | {"num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 5}
        model: Any = Data2VecAudioModel(Data2VecAudioConfig(**sizes))
    else:
        make_config, make_model = KIN[kind]
        model = make_model(make_config(**SIZES, **NORMS[norm]))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=float(parameter.mean()), std=0.2)
    return model.eval()


def whole(encoder: Encoder) -> Encoder:
    """Without the front end: what transformers computes it computes on the clip as it is."""
    encoder.hear("whole")
    return encoder


def noise(length: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(1, length, generator=torch.Generator().manual_seed(seed)).cumsum(1).sin()


def padded(*waveforms: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    lengths = torch.tensor([waveform.shape[1] for waveform in waveforms])
    batch = torch.zeros(len(waveforms), int(lengths.max()))
    for row, waveform in enumerate(waveforms):
        batch[row, : waveform.shape[1]] = waveform[0]
    return batch, lengths


def saved(model: Any, folder: Path, normalise: bool) -> Path:
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": normalise}))
    return folder


@pytest.fixture
def whisper(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = WhisperConfig(
        d_model=32, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=48, max_source_positions=1500
    )
    model = TransformersWhisperEncoder(config).half()
    model.save_pretrained(tmp_path / "whisper")
    return tmp_path / "whisper"


@pytest.mark.parametrize(("kind", "norm"), [*((kind, norm) for kind in KIN for norm in NORMS), ("data2vec", "layer")])
@pytest.mark.parametrize("recorded", [False, True], ids=["clip by clip", "as a graph records it, and on a GPU"])
@torch.inference_mode()
def test_states_equal_those_of_transformers_for_the_clip_alone(
    kind: str, norm: str, recorded: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make(kind, norm)
    encoder = whole(load_encoder(saved(model, tmp_path, normalise=True)).eval())
    waveforms = [noise(length, seed) for seed, length in enumerate(LENGTHS)]
    batch, lengths = padded(*waveforms)
    with monkeypatch.context() as patch:
        patch.setattr(torch.jit, "is_tracing", lambda: recorded)
        states, counts = encoder(batch + 0.3 * (torch.arange(batch.shape[1]) >= lengths[:, None]), lengths)
    assert len(states) == encoder.layers + 1 == 3
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True)
    for row, waveform in enumerate(waveforms):
        values = extractor(waveform[0].numpy(), sampling_rate=16_000, return_tensors="pt").input_values
        expected = model(values, output_hidden_states=True)
        count = int(counts[row])
        assert count == expected.last_hidden_state.shape[1]
        torch.testing.assert_close(states[-1][row, :count], expected.last_hidden_state[0], rtol=0, atol=1e-4)
        for layer in range(encoder.layers):
            torch.testing.assert_close(
                states[layer][row, :count], expected.hidden_states[layer][0], rtol=1e-5, atol=1e-4
            )


@pytest.fixture
def conformer(tmp_path: Path) -> Any:
    torch.manual_seed(0)
    sizes = {name: SIZES[name] for name in list(SIZES)[:4]}
    config = Wav2Vec2BertConfig(**sizes, feature_projection_input_dim=160, output_hidden_size=32)
    model = Wav2Vec2BertModel(config).eval()
    model.save_pretrained(tmp_path / "conformer")
    return model


@torch.inference_mode()
def test_wav2vec2_bert_equals_transformers_features_and_states_in_any_batch(conformer: Any, tmp_path: Path) -> None:
    encoder = whole(load_encoder(tmp_path / "conformer"))
    waveforms = [noise(length, seed) for seed, length in enumerate((12_000, 8_000, 8_160, 5_555, 900))]
    batch = padded(*waveforms)
    features, counts = encoder.features(*batch)
    states = encoder.states(features, counts)
    for row, waveform in enumerate(waveforms):
        expected = SeamlessM4TFeatureExtractor()(waveform[0].numpy(), sampling_rate=16_000, return_tensors="pt")
        count = int(expected.attention_mask.sum())
        assert int(counts[row]) == count
        torch.testing.assert_close(features[row, :count], expected.input_features[0, :count], rtol=0, atol=1e-3)
        assert not features[row, count:].any()
        # transformers' own frames, so that only the transformer is compared
        alone = conformer(**expected, output_hidden_states=True)
        torch.testing.assert_close(states[-1][row, :count], alone.last_hidden_state[0, :count], rtol=0, atol=2e-3)
        own, own_count = encoder(waveform, torch.tensor([waveform.shape[1]]))
        assert own_count.tolist() == [count]
        torch.testing.assert_close(states[-1][row, :count], own[-1][0, :count], rtol=0, atol=1e-4)


@torch.inference_mode()
def test_whisper_over_30_s_equals_transformers_features_and_layers(whisper: Path) -> None:
    waveform = noise(480_000)
    model = TransformersWhisperEncoder.from_pretrained(whisper, dtype=torch.float32).eval()
    features = WhisperFeatureExtractor()(waveform[0].numpy(), sampling_rate=16_000, return_tensors="pt").input_features
    expected = model(features).last_hidden_state
    states, counts = whole(load_encoder(whisper))(waveform, torch.tensor([480_000]))
    assert counts.tolist() == [1500]
    # the last window of a clip sees its mirror image there and silence here
    torch.testing.assert_close(states[-1][:, :1400], expected[:, :1400], rtol=0, atol=2e-3)


@torch.inference_mode()
def test_whisper_states_do_not_depend_on_the_batch(whisper: Path) -> None:
    encoder = whole(load_encoder(whisper))
    waveforms = [noise(length, seed) for seed, length in enumerate((500_000, 48_000, 47_999, 481_000, 480_000, 150))]
    states, counts = encoder(*padded(*waveforms))
    for row, waveform in enumerate(waveforms):
        alone, count = encoder(waveform, torch.tensor([waveform.shape[1]]))
        assert count[0] == counts[row]
        for layer in range(encoder.layers + 1):
            torch.testing.assert_close(states[layer][row, : count[0]], alone[layer][0, : count[0]], rtol=0, atol=1e-4)


def test_half_precision_weights_are_computed_with_in_float32(whisper: Path) -> None:
    assert {parameter.dtype for parameter in load_encoder(whisper).parameters()} == {torch.float32}


@pytest.mark.parametrize("kind", ["whisper", "random", "wav2vec2-bert", "data2vec", *KIN])
@torch.inference_mode()
def test_an_encoder_is_built_again_from_its_description(
    kind: str, whisper: Path, conformer: Any, tmp_path: Path
) -> None:
    if kind == "random":
        encoder = load_encoder(random=EncoderShape(32, 2, 2, 48, 16))
    elif kind in ("whisper", "wav2vec2-bert"):
        encoder = load_encoder(whisper if kind == "whisper" else tmp_path / "conformer")
    else:
        encoder = load_encoder(saved(make(kind, "layer"), tmp_path / "other", normalise=False))
    description = json.loads(json.dumps(encoder.describe()))
    again = encoder_from_description(description)
    again.load_state_dict(encoder.state_dict())
    batch = padded(noise(16_000), noise(9_000))
    torch.testing.assert_close(encoder(*batch)[0][-1], again(*batch)[0][-1], rtol=0, atol=1e-5)
    assert again.describe() == encoder.describe()


def test_a_random_encoder_is_decided_by_its_seed() -> None:
    torch.manual_seed(1)
    first, second = (load_encoder(random=EncoderShape(32, 1, 2, 48, 16, seed=7)).state_dict() for _ in range(2))
    other = load_encoder(random=EncoderShape(32, 1, 2, 48, 16, seed=8)).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_pickled_weights_are_not_read_and_the_way_out_is_said(tmp_path: Path) -> None:
    model = Wav2Vec2Model(Wav2Vec2Config(**SIZES))
    model.config.save_pretrained(tmp_path)
    with pytest.raises(BadInput, match=r"needs config\.json and \*\.safetensors"):
        load_encoder(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(BadInput, match=r"pytorch_model\.bin is pickled.*save_pretrained"):
        load_encoder(tmp_path)


def test_files_are_those_of_their_digests(tmp_path: Path) -> None:
    Wav2Vec2Model(Wav2Vec2Config(**SIZES)).save_pretrained(tmp_path)
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in tmp_path.iterdir()}
    check_encoder(tmp_path)
    check_encoder(tmp_path, {"model.safetensors": digests["model.safetensors"].upper()})
    check_encoder(tmp_path, digests)
    with pytest.raises(BadInput, match=r"model\.safetensors: no SHA-256 is given"):
        check_encoder(tmp_path, {"config.json": digests["config.json"]})
    with pytest.raises(BadInput, match=r"other\.safetensors: absent"):
        check_encoder(tmp_path, {**digests, "other.safetensors": "00"})
    (tmp_path / "config.json").write_text((tmp_path / "config.json").read_text() + " ")
    with pytest.raises(BadInput, match=rf"config\.json: its SHA-256 is .*, expected {digests['config.json']}"):
        check_encoder(tmp_path, digests)


def test_weights_that_are_missing_are_named_instead_of_drawn_at_random(tmp_path: Path) -> None:
    Wav2Vec2Model(Wav2Vec2Config(**SIZES)).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(BadInput, match=r"weights are missing, encoder\.layers\.2"):
        load_encoder(tmp_path)


def test_a_model_of_another_kind_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(BadInput, match="'bert'"):
        load_encoder(tmp_path)
