import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ser_tasks.audio.packed import PackedAudio, write_packed
from ser_tasks.checkpoint_store import FolderCheckpoints
from ser_tasks.errors import BadInput
from ser_tasks.models.files import ModelSpec, build_model
from ser_tasks.training.fit import EpochMetrics, Examples, FitOptions, fit, uar
from ser_tasks.training.schedule import make_optimiser

LABELS = ["low", "middle", "high"]
OPTIONS = FitOptions(epochs=4, batch_size=8, learning_rate=3e-3, device="cpu", threads=1, seed=3)
TINY = {"random": {"hidden_size": 16, "layers": 1, "heads": 2, "feed_forward_size": 16, "convolution_channels": 8}}
SPECS = {
    "cnn": ModelSpec("cnn", {"channels": [8, 8, 8, 8]}, LABELS),
    "wav2vec2": ModelSpec("wav2vec2", {"encoder": TINY}, LABELS),
}


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> tuple[Examples, Examples]:
    """Tones of three heights in noise, of unequal lengths: 36 clips to train on, 18 to select by."""
    generator = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("tones")
    items = []
    for i in range(54):
        time = np.arange(generator.integers(4_000, 8_000)) / 16_000
        hertz = (200, 700, 2_500)[i % 3] * generator.uniform(0.95, 1.05)
        samples = 0.3 * np.sin(2 * np.pi * hertz * time) + 0.02 * generator.normal(size=len(time))
        items.append((f"tone{i}", (samples * 32767).astype(np.int16)))
    write_packed(folder, items)
    audio = PackedAudio.open(folder)
    rows = [(i, i % 3) for i in range(54)]
    return Examples(audio, rows[:36]), Examples(audio, rows[36:])


def state_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def comparable(history: list[EpochMetrics]) -> list[EpochMetrics]:
    return [replace(metrics, seconds=0.0, audio_seconds_per_s=0.0) for metrics in history]


def test_the_cnn_learns_what_can_be_learnt(tones: tuple[Examples, Examples]) -> None:
    model = build_model(SPECS["cnn"])
    history = fit(model, *tones, LABELS, replace(OPTIONS, epochs=12))
    assert max(metrics.dev_uar for metrics in history) > 0.9
    assert [metrics.epoch for metrics in history] == list(range(1, 13))
    assert not model.training


@pytest.mark.parametrize("architecture", SPECS)
@pytest.mark.parametrize("stopped_after", [1, 3])
def test_a_training_that_was_cut_off_ends_with_the_same_bits(
    architecture: str, stopped_after: int, tones: tuple[Examples, Examples], tmp_path: Path
) -> None:
    whole = build_model(SPECS[architecture])
    expected = fit(whole, *tones, LABELS, OPTIONS)

    def stop(metrics: EpochMetrics) -> None:
        if metrics.epoch == stopped_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(
            build_model(SPECS[architecture]),
            *tones,
            LABELS,
            OPTIONS,
            checkpoints=FolderCheckpoints(tmp_path),
            on_epoch=stop,
        )
    torch.manual_seed(99)  # another process has another random state
    np.random.seed(99)
    trained_now: list[EpochMetrics] = []
    resumed = build_model(SPECS[architecture])
    history = fit(
        resumed, *tones, LABELS, OPTIONS, checkpoints=FolderCheckpoints(tmp_path), on_epoch=trained_now.append
    )
    assert [metrics.epoch for metrics in trained_now] == list(range(stopped_after + 1, 5))
    assert comparable(history) == comparable(expected)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_the_weights_at_the_end_are_those_of_the_best_epoch(tones: tuple[Examples, Examples], tmp_path: Path) -> None:
    model = build_model(SPECS["cnn"])
    seen: list[dict[str, torch.Tensor]] = []
    history = fit(
        model, *tones, LABELS, replace(OPTIONS, learning_rate=0.1), on_epoch=lambda _: seen.append(state_of(model))
    )
    scores = [metrics.dev_uar for metrics in history]
    best = seen[scores.index(max(scores))]
    assert all(torch.equal(tensor, best[name]) for name, tensor in model.state_dict().items())


def test_only_two_checkpoints_are_kept_and_nothing_half_written(
    tones: tuple[Examples, Examples], tmp_path: Path
) -> None:
    fit(build_model(SPECS["cnn"]), *tones, LABELS, OPTIONS, checkpoints=FolderCheckpoints(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-0003", "epoch-0004"]
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix not in (".safetensors", ".json")]


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    tones: tuple[Examples, Examples], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = build_model(SPECS["cnn"])
    fit(first, *tones, LABELS, OPTIONS, checkpoints=FolderCheckpoints(tmp_path))
    damaged = tmp_path / "epoch-0004" / "model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:100])
    (tmp_path / "epoch-0005.partial").mkdir()
    trained_now: list[int] = []
    second = build_model(SPECS["cnn"])
    with caplog.at_level(logging.WARNING):
        fit(
            second,
            *tones,
            LABELS,
            OPTIONS,
            checkpoints=FolderCheckpoints(tmp_path),
            on_epoch=lambda m: trained_now.append(m.epoch),
        )
    assert trained_now == [4]
    assert "epoch-0004" in caplog.text
    assert all(torch.equal(tensor, second.state_dict()[name]) for name, tensor in first.state_dict().items())


def test_checkpoints_of_another_training_are_refused(tones: tuple[Examples, Examples], tmp_path: Path) -> None:
    fit(build_model(SPECS["cnn"]), *tones, LABELS, replace(OPTIONS, epochs=1), checkpoints=FolderCheckpoints(tmp_path))
    with pytest.raises(BadInput, match="other options, clips or weights"):
        fit(build_model(SPECS["cnn"]), *tones, LABELS, OPTIONS, checkpoints=FolderCheckpoints(tmp_path))


def test_training_stops_when_dev_uar_no_longer_rises(tones: tuple[Examples, Examples]) -> None:
    options = replace(OPTIONS, epochs=30, learning_rate=1e-9, patience=2)  # nothing is learnt
    history = fit(build_model(SPECS["cnn"]), *tones, LABELS, options)
    scores = [metrics.dev_uar for metrics in history]
    assert len(history) == scores.index(max(scores)) + 3


def test_a_loss_that_is_not_a_number_names_the_clips(tones: tuple[Examples, Examples]) -> None:
    model = build_model(SPECS["cnn"])
    with torch.no_grad():
        model.get_parameter("classifier.bias").fill_(torch.nan)
    with pytest.raises(BadInput, match=r"loss is nan in epoch 1, in the batch of tone\d+, "):
        fit(model, *tones, LABELS, OPTIONS)


def test_a_gradient_that_is_not_a_number_names_its_own_batch_even_in_the_last_step(
    tones: tuple[Examples, Examples],
) -> None:
    model = build_model(SPECS["cnn"])
    train, dev = tones
    one_batch = replace(train, rows=train.rows[:4])
    model.get_parameter("classifier.weight").register_hook(lambda gradient: gradient * torch.inf)
    with pytest.raises(BadInput, match=r"gradient's length is (nan|inf) in epoch 1, in the batch of tone\d+, "):
        fit(model, one_batch, dev, LABELS, replace(OPTIONS, epochs=1))


def test_dev_clips_for_which_the_network_gives_no_numbers_are_named(tones: tuple[Examples, Examples]) -> None:
    model = build_model(SPECS["cnn"])
    model.register_forward_hook(lambda network, given, logits: logits if network.training else logits * torch.nan)
    with pytest.raises(BadInput, match=r"no numbers for the dev clips tone\d+"):
        fit(model, *tones, LABELS, replace(OPTIONS, epochs=1))


def test_a_bound_of_0_clips_no_gradient(tones: tuple[Examples, Examples]) -> None:
    weights = []
    for bound in (0.0, 1e9):
        model = build_model(SPECS["cnn"])
        fit(model, *tones, LABELS, replace(OPTIONS, epochs=1, clip_norm=bound))
        weights.append(model.state_dict())
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


@pytest.mark.parametrize(
    "wrong", [{"clip_norm": -1.0}, {"learning_rate": 0.0}, {"batch_seconds": 0.0}, {"warmup_fraction": 1.0}]
)
def test_options_that_would_do_harm_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(BadInput, match=f"{next(iter(wrong))} "):
        FitOptions(**wrong)


def test_training_leaves_the_callers_random_state_and_threads_alone(tones: tuple[Examples, Examples]) -> None:
    torch.manual_seed(5)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    fit(build_model(SPECS["cnn"]), *tones, LABELS, replace(OPTIONS, epochs=1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_a_split_without_clips_and_a_target_without_label_are_refused(tones: tuple[Examples, Examples]) -> None:
    train, dev = tones
    with pytest.raises(BadInput, match="dev: no clips"):
        fit(build_model(SPECS["cnn"]), train, replace(dev, rows=[]), LABELS, OPTIONS)
    with pytest.raises(BadInput, match="tone0: target 3"):
        fit(build_model(SPECS["cnn"]), replace(train, rows=[(0, 3)]), dev, LABELS, OPTIONS)


def test_uar_weighs_classes_alike_and_leaves_out_those_that_do_not_occur() -> None:
    targets = np.array([0, 0, 0, 0, 2, 2])
    assert uar(targets, np.array([0, 0, 0, 1, 2, 1])) == pytest.approx((0.75 + 0.5) / 2)


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate")],
)
def test_out_of_memory_says_which_batch_and_what_to_set(
    error: RuntimeError, tones: tuple[Examples, Examples], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build_model(SPECS["cnn"])

    def fail(waveforms: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        raise error

    monkeypatch.setattr(model, "forward", fail)
    with pytest.raises(BadInput, match=r"out of memory in epoch 1, in the batch of 8 clips, 4 s .*tone\d+.*accumulate"):
        fit(model, *tones, LABELS, OPTIONS)


def test_other_errors_of_a_model_stay_what_they_are(
    tones: tuple[Examples, Examples], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build_model(SPECS["cnn"])

    def fail(waveforms: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(model, "forward", fail)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        fit(model, *tones, LABELS, OPTIONS)


def test_two_trainings_of_one_process_may_differ_in_precision(tones: tuple[Examples, Examples]) -> None:
    losses = {}
    for precision in ("bf16", "float32", "bf16"):
        options = replace(OPTIONS, epochs=1, precision=precision)
        losses.setdefault(precision, []).append(fit(build_model(SPECS["cnn"]), *tones, LABELS, options)[0].train_loss)
    assert losses["bf16"][0] == losses["bf16"][1] != losses["float32"][0]


def test_a_models_own_rates_reach_the_optimiser() -> None:
    spec = ModelSpec("wav2vec2", {"encoder": {"random": {**TINY["random"], "layers": 2}}, "layer_decay": 0.5}, LABELS)
    model = build_model(spec)
    options = FitOptions(learning_rate=1e-3, encoder_learning_rate=1e-4)
    peaks = {id(p): group["peak"] for group in make_optimiser(model, options).param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            highest = 1e-4 if name.startswith("encoder.") else 1e-3
            assert peaks[id(parameter)] == pytest.approx(highest * model.learning_rate_factor(name)), name
    assert len(set(peaks.values())) > 2
