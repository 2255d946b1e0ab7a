"""Long proofs on the real RAVDESS: that the encoder path is right, and that bfloat16 costs no accuracy."""

import os
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from ser_tasks.audio.packed import SAMPLE_RATE_HZ, PackedAudio, write_packed
from ser_tasks.models.files import ModelSpec, build_model
from ser_tasks.models.pooling import masked_mean_std
from ser_tasks.training.apply import apply_to_clips
from ser_tasks.training.fit import Examples, FitOptions, fit, uar
from tests.benchmarks.cnn_ravdess import LABELS
from tests.benchmarks.common import packed_ravdess, ravdess_clips, ravdess_examples
from tests.conftest import SHARED_CORPORA

pytestmark = [pytest.mark.prove, pytest.mark.timeout(3600)]
SEEDS = range(5)
FOLDS = [(2 * fold + 1, 2 * fold + 2) for fold in range(12)]


@pytest.fixture(scope="module")
def whisper(ravdess: Path) -> Path:
    folder = Path(os.environ.get("SER_TEST_ENCODER", SHARED_CORPORA.parent / "encoders" / "whisper-tiny.en-encoder"))
    if not folder.is_dir():
        pytest.skip("a real pretrained encoder cannot be downloaded here (set SER_TEST_ENCODER)")
    return folder


def of_every_layer(encoder: Any, audio: PackedAudio, clips: Sequence[int]) -> Tensor:
    """What `Encoder.embed` gives, for all layers in one pass: float32 [clips, layers + 1, 2 * dim]."""

    def embed(waveforms: Tensor, lengths: Tensor) -> Tensor:
        states, counts = encoder(waveforms, lengths)
        return torch.stack([masked_mean_std(frames, counts) for frames in states], dim=1)

    return apply_to_clips(embed, audio, clips, torch.device("cpu"), 120.0)


def regression_uar(features: NDArray[Any], targets: NDArray[Any], tested: NDArray[Any]) -> float:
    """Standardise and fit on the clips that are not tested; UAR on those that are."""
    mean, scale = features[~tested].mean(axis=0), features[~tested].std(axis=0) + 1e-6
    standard = (features - mean) / scale
    regression = LogisticRegression(C=0.1, max_iter=2000, class_weight="balanced")
    regression.fit(standard[~tested], targets[~tested])
    return uar(targets[tested], regression.predict(standard[tested]))


class LayerSum(nn.Module):
    """A learned weighted sum of a frozen encoder's layers and a linear layer, on each layer's statistics over time.

    The mean of a sum over layers is the sum of the layers' means: on plain means this is `Wav2Vec2Classifier` with
    `layers: weighted` and every layer frozen, without the encoder's share of the work. The proof below gives it the
    standard deviations too, as the linear probe has them, and standardises each layer.
    """

    def __init__(self, layers: int, size: int, classes: int) -> None:
        super().__init__()
        self.layer_weights = nn.Parameter(torch.zeros(layers))
        self.classifier = nn.Linear(size, classes)

    def forward(self, features: Tensor) -> Tensor:
        return self.classifier(torch.einsum("l,nlf->nf", self.layer_weights.softmax(dim=0), features))


def layer_sum_uar(features: Tensor, targets: Tensor, tested: NDArray[Any], steps: int = 300) -> float:
    """UAR on the tested clips after so many steps over all others at once."""
    test = torch.from_numpy(tested)
    mean, scale = features[~test].mean(dim=0), features[~test].std(dim=0) + 1e-6
    standard = (features - mean) / scale
    torch.manual_seed(0)
    model = LayerSum(features.shape[1], features.shape[2], len(LABELS))
    optimiser = torch.optim.AdamW(
        [{"params": model.classifier.parameters(), "lr": 3e-3, "weight_decay": 1.0},
         {"params": [model.layer_weights], "lr": 3e-2, "weight_decay": 0.0}]
    )  # fmt: skip
    weights = 1 / torch.bincount(targets[~test]).float()
    for _ in range(steps):
        loss = nn.functional.cross_entropy(model(standard[~test]), targets[~test], weights)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.inference_mode():
        return uar(targets[test].numpy(), model(standard[test]).argmax(dim=1).numpy())


def test_a_frozen_whisper_encoder_reaches_its_known_uar_in_12_speaker_folds(whisper: Path) -> None:
    """Measured elsewhere with a linear probe on the last layer: .703."""
    audio = packed_ravdess()
    examples = ravdess_examples(range(1, 25), audio)
    actors = np.array([actor for _, actor, _ in ravdess_clips()])
    encoder: Any = build_model(ModelSpec("probe", {}, LABELS), whisper).eval().encoder
    features, targets = of_every_layer(encoder, audio, examples.clips), examples.targets
    last = features[:, -1].numpy().astype(np.float64)
    tested = [np.isin(actors, fold) for fold in FOLDS]
    probe = [regression_uar(last, targets.numpy(), fold) for fold in tested]
    weighted = [layer_sum_uar(features, targets, fold) for fold in tested]
    for name, scores in (("linear probe on the last layer", probe), ("learned sum of layers", weighted)):
        print(
            f"whisper-tiny.en (frozen), {name}, RAVDESS, 8 classes, 12 folds of 2 actors: "
            f"UAR {statistics.mean(scores):.3f} (sd over folds {statistics.stdev(scores):.3f})"
        )
    assert 0.67 < statistics.mean(probe) < 0.74
    assert statistics.mean(weighted) > statistics.mean(probe) - 0.02


def test_a_learned_sum_on_means_is_the_classifier_with_every_layer_frozen(whisper: Path) -> None:
    audio = packed_ravdess()
    clips = list(range(6))
    model: Any = build_model(ModelSpec("wav2vec2", {"layers": "weighted", "freeze_layers": 4}, LABELS), whisper).eval()
    summed = LayerSum(model.encoder.layers + 1, model.encoder.dim, len(LABELS))
    with torch.no_grad():
        model.layer_weights.copy_(torch.tensor([0.5, -1.0, 0.0, 2.0, 1.0]))
    summed.layer_weights, summed.classifier = model.layer_weights, model.classifier
    with torch.inference_mode():
        means = of_every_layer(model.encoder, audio, clips)[:, :, : model.encoder.dim]
        expected = apply_to_clips(model, audio, clips, torch.device("cpu"), 120.0)
        assert torch.allclose(summed(means), expected, atol=1e-4)


@pytest.fixture
def short_speech(whisper: Path, tmp_path: Path) -> Iterator[tuple[Examples, Examples]]:
    """The middle 2 s of the clips of 4 actors to train and 8 others to look at: a small fine-tuning."""
    whole = packed_ravdess()
    half = SAMPLE_RATE_HZ
    middles = (
        (name, whole.samples[max(begin, (begin + end) // 2 - half) : (begin + end) // 2 + half])
        for name, begin, end in zip(whole.utterance_ids, whole.offsets[:-1], whole.offsets[1:], strict=True)
    )
    write_packed(tmp_path, middles)
    audio = PackedAudio.open(tmp_path)
    yield ravdess_examples(range(1, 5), audio), ravdess_examples(range(13, 21), audio)


def test_bfloat16_costs_no_dev_uar_over_five_seeds(whisper: Path, short_speech: tuple[Examples, Examples]) -> None:
    """Where the CPU has no bfloat16 it is computed slowly, with the same result."""

    def dev_uar(seed: int, precision: Any) -> float:
        model = build_model(ModelSpec("wav2vec2", {}, LABELS), whisper, seed)
        options = FitOptions(
            epochs=4, batch_size=16, learning_rate=1e-3, encoder_learning_rate=1e-4, precision=precision, seed=seed,
            device="cpu",
        )  # fmt: skip
        return max(epoch.dev_uar for epoch in fit(model, *short_speech, LABELS, options))

    scores = {precision: [dev_uar(seed, precision) for seed in SEEDS] for precision in ("float32", "bf16")}
    differences = np.subtract(scores["bf16"], scores["float32"])
    mean = float(differences.mean())
    half = float(stats.t.ppf(0.975, len(differences) - 1) * differences.std(ddof=1) / len(differences) ** 0.5)
    means = ", ".join(f"{name} {statistics.mean(found):.3f}" for name, found in scores.items())
    print(
        f"fine-tuned whisper-tiny.en, dev UAR (8 classes, 8 other actors, 480 clips), mean of 5 seeds: {means}; "
        f"bf16 - float32 {mean:+.4f} (95 % {mean - half:+.4f} to {mean + half:+.4f})"
    )
    assert mean - half <= 0 <= mean + half
    assert half <= 0.03
