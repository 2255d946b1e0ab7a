"""What the options of the fine-tuned encoder do, for every kind of encoder."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ser_tasks.errors import BadInput
from ser_tasks.models.files import ModelSpec, build_model, load_model, plain_copy, save_model
from ser_tasks.models.low_rank import LowRank
from ser_tasks.models.pooling import AttentiveStatistics
from ser_tasks.models.wav2vec2 import _time_masked

# ser_tasks comes first: it lets torchaudio, which transformers imports, do without CUDA
# isort: split
from transformers import (
    AutoModel,
    Data2VecAudioConfig,
    HubertConfig,
    Wav2Vec2BertConfig,
    Wav2Vec2Config,
    WavLMConfig,
    WhisperConfig,
)
from transformers.models.whisper.modeling_whisper import WhisperEncoder

LABELS = ["angry", "happy", "sad"]
LENGTHS = [16_000, 12_345, 8_000, 900]
LAYERS = 3
BASE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "intermediate_size": 48,
}
CONVOLUTIONS: dict[str, Any] = {"conv_dim": (16,) * 7, "num_conv_pos_embedding_groups": 4}
CONFIGS: dict[str, Any] = {
    "wav2vec2": lambda: Wav2Vec2Config(**BASE, **CONVOLUTIONS, num_conv_pos_embeddings=16),
    "stable": lambda: Wav2Vec2Config(
        **BASE, **CONVOLUTIONS, num_conv_pos_embeddings=16, do_stable_layer_norm=True, feat_extract_norm="layer"
    ),
    "hubert": lambda: HubertConfig(**BASE, **CONVOLUTIONS, num_conv_pos_embeddings=16),
    "wavlm": lambda: WavLMConfig(**BASE, **CONVOLUTIONS, num_conv_pos_embeddings=16),
    "data2vec": lambda: Data2VecAudioConfig(**BASE, **CONVOLUTIONS, num_conv_pos_embeddings=2, conv_pos_kernel_size=5),
    "wav2vec2-bert": lambda: Wav2Vec2BertConfig(**BASE, feature_projection_input_dim=160, output_hidden_size=32),
    "whisper": lambda: WhisperConfig(
        d_model=32, encoder_layers=LAYERS, encoder_attention_heads=2, encoder_ffn_dim=48, max_source_positions=1500
    ),
}


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders with a tiny random encoder of every kind."""
    root = tmp_path_factory.mktemp("encoders")
    for name, make in CONFIGS.items():
        torch.manual_seed(0)
        config = make()
        model = WhisperEncoder(config) if name == "whisper" else AutoModel.from_config(config)
        model.save_pretrained(root / name)
    return {name: root / name for name in CONFIGS}


@pytest.fixture(scope="module")
def clips() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    waveforms = 0.1 * torch.randn(len(LENGTHS), max(LENGTHS), generator=generator).cumsum(1).sin()
    return waveforms, torch.tensor(LENGTHS)  # what lies past a clip's end is not silent


def built(folder: Path, **options: Any) -> Any:
    return build_model(ModelSpec("wav2vec2", options, LABELS), folder).eval()


def without_dropout(model: Any) -> Any:
    """In training mode, but with nothing drawn at random."""
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name in ("dropout", "attention_dropout", "activation_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    return model


@pytest.mark.parametrize("kind", CONFIGS)
@torch.inference_mode()
def test_a_clip_alone_and_in_a_batch_is_the_same_for_every_encoder(
    kind: str, encoders: dict[str, Path], clips: tuple[torch.Tensor, torch.Tensor]
) -> None:
    model = built(encoders[kind], layers="weighted", pooling="attentive", tone=True)
    together, tone = model.forward_with_tone(*clips)
    assert tone.shape == (len(LENGTHS),)
    assert torch.equal(together, model(*clips))
    for row, length in enumerate(LENGTHS):
        alone = model.forward_with_tone(clips[0][row : row + 1, :length], clips[1][row : row + 1])
        torch.testing.assert_close(together[row : row + 1], alone[0], rtol=0, atol=1e-4)
        torch.testing.assert_close(tone[row : row + 1], alone[1], rtol=0, atol=1e-4)
    assert float(together.std(dim=0).min()) > 1e-4


@pytest.mark.parametrize("kind", CONFIGS)
def test_kept_features_give_the_same_logits_and_gradients(
    kind: str, encoders: dict[str, Path], clips: tuple[torch.Tensor, torch.Tensor]
) -> None:
    model = without_dropout(built(encoders[kind], tone=True))
    assert model.has_fixed_features
    with torch.no_grad():
        features, counts = model.features(*clips)
    assert not any(features[row, count:].any() for row, count in enumerate(counts))
    gradients = []
    for logits in (model.forward_features(features, counts), model(*clips)):
        model.zero_grad()
        logits.square().sum().backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-5)
    # features of a clip alone, padded afterwards with nothing, as a cache gives them
    for row, length in enumerate(LENGTHS):
        with torch.no_grad():
            own, count = model.features(clips[0][row : row + 1, :length], clips[1][row : row + 1])
        torch.testing.assert_close(own[0, : count[0]], features[row, : counts[row]], rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("options", [{}, {"layers": "weighted"}, {"freeze_layers": 2}, {"lora_rank": 2}])
def test_every_weight_that_is_to_be_trained_gets_a_gradient(
    kind: str, options: dict[str, Any], encoders: dict[str, Path], clips: tuple[torch.Tensor, torch.Tensor]
) -> None:
    model = built(encoders[kind], **options, tone=True, pooling="attentive").train()
    logits, tone = model.forward_with_tone(*clips)
    (logits.square().sum() + tone.sum()).backward()
    for name, parameter in model.named_parameters():  # several processes would wait for one that has none
        assert (parameter.grad is not None) == parameter.requires_grad, name


def test_a_clip_beside_one_of_more_than_a_whisper_window_still_has_gradients(encoders: dict[str, Path]) -> None:
    model = built(encoders["whisper"], layers="weighted").train()
    waveforms = torch.randn(2, 481_000, generator=torch.Generator().manual_seed(0)) * 0.1
    model(waveforms, torch.tensor([481_000, 8_000])).square().sum().backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters() if p.grad is not None)


def test_freezing_leaves_lower_layers_and_all_below_them(encoders: dict[str, Path]) -> None:
    def trained(**options: Any) -> set[str]:
        model = built(encoders["stable"], **options)
        names = (name for name, parameter in model.named_parameters() if parameter.requires_grad)
        return {name.removeprefix("encoder.model.").split(".bias")[0].split(".weight")[0] for name in names}

    everything = trained(freeze_feature_encoder=False)
    frozen = everything - trained()
    assert frozen
    assert all(name.startswith("feature_extractor.") for name in frozen)
    upper = trained(freeze_layers=2)
    assert {name.split(".")[2] for name in upper if name.startswith("encoder.layers.")} == {"2"}
    assert {name for name in upper if not name.startswith("encoder.layers.")} == {"encoder.layer_norm", "classifier"}
    assert not built(encoders["stable"], freeze_feature_encoder=False).has_fixed_features
    assert built(encoders["stable"], freeze_feature_encoder=False, freeze_layers=1).has_fixed_features
    with pytest.raises(BadInput, match="freeze_layers is 4: the encoder has 3 layers"):
        built(encoders["stable"], freeze_layers=4)


@pytest.mark.parametrize("kind", CONFIGS)
def test_lower_layers_learn_at_a_decaying_rate(kind: str, encoders: dict[str, Path]) -> None:
    model = built(encoders[kind], layer_decay=0.5, freeze_feature_encoder=False)
    factors: dict[str, set[float]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parts = name.removeprefix("encoder.model.").removeprefix("encoder.").split(".")
            key = f"layer {parts[1]}" if parts[0] == "layers" else parts[0]
            factors.setdefault(key, set()).add(model.learning_rate_factor(name))
    assert [factors[f"layer {i}"] for i in range(LAYERS)] == [{0.25}, {0.5}, {1.0}]
    assert factors["classifier"] == {1.0}
    below = {name: factor for name, factor in factors.items() if not name.startswith(("layer", "classifier"))}
    first = {"conv1", "conv2"} if kind == "whisper" else {"feature_extractor"}
    assert below == {name: {0.0625 if name in first else 0.125} for name in below}


@pytest.mark.parametrize("kind", CONFIGS)
def test_low_rank_additions_are_all_of_the_encoder_that_is_trained(
    kind: str, encoders: dict[str, Path], clips: tuple[torch.Tensor, torch.Tensor], tmp_path: Path
) -> None:
    plain = built(encoders[kind])
    model = built(encoders[kind], lora_rank=2, lora_alpha=4.0)
    model.classifier.load_state_dict(plain.classifier.state_dict())
    torch.testing.assert_close(model(*clips), plain(*clips))  # nothing is changed at first
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    model.train()
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    for _ in range(2):  # the first step moves `up` alone, from 0
        optimiser.zero_grad()
        model(*clips).square().sum().backward()
        optimiser.step()
    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert {name.rsplit(".", 1)[1] for name in moved if name.startswith("encoder.")} == {"up", "down"}
    assert sum(isinstance(module, LowRank) for module in model.modules()) == 2 * LAYERS
    model.eval()
    adapted, original = model.encoder.attention_projections()[0], plain.encoder.attention_projections()[0]
    low_rank = adapted.parametrizations.weight[0]
    torch.testing.assert_close(adapted.weight, original.weight + 4.0 / 2 * low_rank.up @ low_rank.down)
    expected = model(*clips)
    assert not torch.allclose(expected, plain(*clips), atol=1e-4)

    spec = ModelSpec("wav2vec2", {}, LABELS)
    save_model(tmp_path, model, spec)
    torch.testing.assert_close(load_model(tmp_path)[0](*clips), expected)
    merged = plain_copy(model, spec)
    assert merged.state_dict().keys() == plain.state_dict().keys()
    torch.testing.assert_close(merged(*clips), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(model(*clips), expected)


@pytest.mark.parametrize("kind", CONFIGS)
def test_computing_activations_twice_changes_no_gradient(
    kind: str, encoders: dict[str, Path], clips: tuple[torch.Tensor, torch.Tensor]
) -> None:
    gradients = []
    for checkpointing in (False, True):
        model = built(encoders[kind], layers="weighted", gradient_checkpointing=checkpointing)
        saved = 0

        def count(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal saved
            saved += 1
            return tensor

        torch.manual_seed(0)  # the second computation has to drop out the same units
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            logits = model.train()(*clips)
        logits.square().sum().backward()
        gradients.append(({n: p.grad for n, p in model.named_parameters() if p.grad is not None}, saved))
    torch.testing.assert_close(gradients[0][0], gradients[1][0], rtol=1e-4, atol=1e-6)
    assert gradients[1][1] < gradients[0][1] / 2


@torch.inference_mode()
def test_attentive_pooling_weighs_real_frames_only() -> None:
    torch.manual_seed(0)
    pooling = AttentiveStatistics(4, 8)
    frames, counts = torch.randn(2, 6, 4), torch.tensor([6, 3])
    pooled = pooling(frames, counts)
    assert pooled.shape == (2, 8)
    torch.testing.assert_close(pooled[1:], pooling(frames[1:, :3], counts[1:]))
    scores = pooling.score(torch.tanh(pooling.hidden(frames[1, :3])))[:, 0].double().numpy()
    weights = np.exp(scores) / np.exp(scores).sum()
    mean = weights @ frames[1, :3].double().numpy()
    deviation = np.sqrt(weights @ (frames[1, :3].double().numpy() - mean) ** 2)
    np.testing.assert_allclose(pooled[1].numpy(), np.concatenate([mean, deviation]), atol=1e-5)
    torch.nn.init.zeros_(pooling.score.weight)
    torch.testing.assert_close(pooling(frames, counts)[1, :4], frames[1, :3].mean(dim=0))  # equal weights: the mean


def test_options_that_contradict_or_are_unknown_are_refused(encoders: dict[str, Path]) -> None:
    with pytest.raises(BadInput, match="lora_rank keeps all layers"):
        built(encoders["hubert"], lora_rank=2, freeze_layers=1)
    with pytest.raises(BadInput, match="pooling is 'max': known are mean, attentive"):
        built(encoders["hubert"], pooling="max")
    with pytest.raises(BadInput, match="no head for a tone"):
        built(encoders["hubert"]).forward_with_tone(torch.zeros(1, 800), torch.tensor([800]))


@pytest.mark.parametrize("kind", CONFIGS)
def test_layers_are_passed_over_in_training_alone_and_every_weight_takes_part(
    kind: str, encoders: dict[str, Path], clips: tuple[torch.Tensor, torch.Tensor]
) -> None:
    plain, model = built(encoders[kind]), built(encoders[kind], layer_drop=0.9)
    model.load_state_dict(plain.state_dict())
    torch.testing.assert_close(model(*clips), plain(*clips))
    without_dropout(model)
    torch.manual_seed(3)
    features, counts = model.features(*clips)
    passed = 0
    for _ in range(20):
        model.zero_grad()
        states = model.encoder.states(features, counts)
        # what follows the last layer belongs to its state
        passed += sum(torch.equal(before, after) for before, after in pairwise(states[:-1]))
        model.forward_features(features, counts).sum().backward()
        weights = [p for p in model.parameters() if p.requires_grad and p.dim() > 1]  # one vector masks spans
        assert all(weight.grad is not None for weight in weights)
    assert passed / (20 * (LAYERS - 1)) == pytest.approx(0.9, abs=0.15)


def test_spans_of_frames_are_silenced_in_training_alone(
    encoders: dict[str, Path], clips: tuple[torch.Tensor, torch.Tensor]
) -> None:
    plain, model = built(encoders["wav2vec2"]), built(encoders["wav2vec2"], time_mask=0.3)
    model.load_state_dict(plain.state_dict())
    torch.testing.assert_close(model(*clips), plain(*clips))
    without_dropout(model)
    first, second = (model(*clips) for _ in range(2))
    assert not torch.allclose(first, second, atol=1e-4)
    torch.manual_seed(0)
    silenced = (_time_masked(torch.ones(50, 400, 2), 0.3) == 0).float()
    assert torch.equal(silenced[..., 0], silenced[..., 1])
    assert float(silenced.mean()) == pytest.approx(1 - (1 - 0.03) ** 10, abs=0.02)
    changes = (silenced[:, 1:, 0] != silenced[:, :-1, 0]).sum(dim=1)
    assert float(changes.float().mean()) < 400 * 0.3 / 10 * 2, "whole spans, not single frames"


@pytest.mark.parametrize("option", ["time_mask", "layer_drop"])
def test_a_share_of_one_or_more_is_refused(option: str, encoders: dict[str, Path]) -> None:
    with pytest.raises(BadInput, match=rf"{option} is 1.0: it lies in \[0, 1\)"):
        built(encoders["wav2vec2"], **{option: 1.0})
