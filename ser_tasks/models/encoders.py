"""Pretrained speech encoders behind one interface: wav2vec2 and its kin, and Whisper's encoder."""

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel, Wav2Vec2Config
from transformers.audio_utils import mel_filter_bank
from transformers.models.whisper.modeling_whisper import WhisperEncoder as WhisperLayers

from ser_tasks.audio.logmel import frame_mask
from ser_tasks.errors import BadInput
from ser_tasks.models.pooling import masked_mean_std

WAV2VEC2_KIN = ("wav2vec2", "hubert", "wavlm", "data2vec-audio", "unispeech", "unispeech-sat")
_WHISPER_FFT = 400  # 25 ms
_WHISPER_HOP = 160  # 10 ms


@dataclass(frozen=True)
class EncoderShape:
    """A small wav2vec2 with random weights: it stands in where no pretrained weights can be had.

    The convolutional layers keep wav2vec2's kernels and strides (one frame every 20 ms), with fewer channels.
    """

    hidden_size: int = 128
    layers: int = 3
    heads: int = 4
    feed_forward_size: int = 256
    convolution_channels: int = 64
    seed: int = 0


class Encoder(nn.Module, ABC):
    """Waveforms in, hidden states of every layer out. A clip's states do not depend on its batch."""

    config: Any
    normalise = False
    dim: int
    layers: int

    @abstractmethod
    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[list[Tensor], Tensor]:
        """Encode clips.

        Args:
            waveforms: float32 [batch, samples] in [-1, 1], 16 kHz; what lies past a clip's length is ignored.
            lengths: int64 [batch], samples.

        Returns:
            Hidden states [batch, frames, dim]: what enters the first layer, then the output of each layer, so
            `layers + 1` of them, -1 being the last; and the numbers of real frames, int64 [batch]. What stands past
            a clip's last real frame has no meaning.
        """

    def embed(self, waveforms: Tensor, lengths: Tensor, layer: int = -1) -> Tensor:
        """Mean and standard deviation over time of one layer: float32 [batch, 2 * dim]."""
        states, counts = self(waveforms, lengths)
        return masked_mean_std(states[layer], counts)

    def describe(self) -> dict[str, Any]:
        """What `encoder_from_description` needs to build the same encoder, without its weights."""
        config = json.loads(self.config.to_json_string(use_diff=False))
        for key in ("_name_or_path", "dtype", "transformers_version"):
            config.pop(key, None)
        return {"config": config, "normalise": self.normalise}


class Wav2Vec2Encoder(Encoder):
    """A wav2vec2-family encoder.

    Where its feature encoder normalises over time, padding would change a clip's output (huggingface/transformers
    issue 21534): there the statistics are taken over the clip's real frames. The convolutions themselves reach no
    further than a frame's own samples, and the transformer gets a mask.
    """

    def __init__(self, model: Any, normalise: bool) -> None:
        super().__init__()
        self.model = model
        self.config = model.config
        first = model.feature_extractor.conv_layers[0]
        if isinstance(getattr(first, "layer_norm", None), nn.GroupNorm):
            first.layer_norm = _MaskedGroupNorm(first.layer_norm)
        self.normalise = normalise
        self.dim = int(self.config.hidden_size)
        self.layers = int(self.config.num_hidden_layers)
        self.shortest = 1  # samples that give one frame
        for kernel, stride in zip(self.config.conv_kernel[::-1], self.config.conv_stride[::-1], strict=True):
            self.shortest = (self.shortest - 1) * stride + kernel

    def freeze_feature_encoder(self) -> None:
        """Keep the convolutional layers as they are."""
        self.model.feature_extractor._freeze_parameters()

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[list[Tensor], Tensor]:
        waveforms = waveforms * frame_mask(lengths, waveforms.shape[1])  # what lies past a clip's end is silence
        waveforms = functional.pad(waveforms, (0, max(0, self.shortest - waveforms.shape[1])))
        lengths = lengths.clamp(min=self.shortest)
        mask = frame_mask(lengths, waveforms.shape[1])
        if self.normalise:  # zero mean and unit variance, as transformers' Wav2Vec2FeatureExtractor does it
            mean = waveforms.sum(dim=1, keepdim=True) / lengths[:, None]
            variance = ((waveforms - mean) * mask).square().sum(dim=1, keepdim=True) / lengths[:, None]
            waveforms = (waveforms - mean) / (variance + 1e-7).sqrt() * mask
        norm = getattr(self.model.feature_extractor.conv_layers[0], "layer_norm", None)
        if isinstance(norm, _MaskedGroupNorm):
            norm.counts = (lengths - self.config.conv_kernel[0]) // self.config.conv_stride[0] + 1
        out = self.model(
            waveforms,
            attention_mask=None if bool(mask.all()) else mask.long(),
            output_hidden_states=True,
        )
        # models that normalise after their last layer do it in last_hidden_state only
        return [*out.hidden_states[:-1], out.last_hidden_state], self.model._get_feat_extract_output_lengths(lengths)


class _MaskedGroupNorm(nn.GroupNorm):
    """Normalisation of each channel over a clip's real frames; `counts` [batch] is set before each call.

    Without padding it is `nn.GroupNorm` with one group a channel.
    """

    counts: Tensor

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__(norm.num_groups, norm.num_channels, norm.eps)
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, features: Tensor) -> Tensor:
        frames = features.float()
        mask = frame_mask(self.counts, frames.shape[2])[:, None, :]
        n = self.counts[:, None, None]
        mean = (frames * mask).sum(dim=2, keepdim=True) / n
        centred = (frames - mean) * mask
        variance = centred.square().sum(dim=2, keepdim=True) / n
        normal = centred * (variance + self.eps).rsqrt() * self.weight[:, None] + self.bias[:, None]
        return normal.to(features.dtype)


class WhisperEncoder(Encoder):
    """Whisper's encoder over the clip alone instead of a window of 30 s filled up with silence.

    The positional table is cropped to the clip. A clip of more than 30 s is encoded in windows of 30 s, one after the
    other. Features follow transformers' WhisperFeatureExtractor.
    """

    filters: Tensor
    hann: Tensor

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.config = model.config
        self.dim = int(self.config.d_model)
        self.layers = int(self.config.encoder_layers)
        self.window = 2 * _WHISPER_HOP * int(self.config.max_source_positions)  # 30 s, in samples
        filters = mel_filter_bank(
            1 + _WHISPER_FFT // 2, self.config.num_mel_bins, 0.0, 8000.0, 16_000, norm="slaney", mel_scale="slaney"
        )
        self.register_buffer("filters", torch.from_numpy(filters).float(), persistent=False)
        self.register_buffer("hann", torch.hann_window(_WHISPER_FFT), persistent=False)

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[list[Tensor], Tensor]:
        waveforms, lengths = _trim(waveforms, lengths, _WHISPER_FFT)
        states, counts = self._encode(waveforms[:, : self.window], lengths.clamp(max=self.window))
        for start in range(self.window, waveforms.shape[1], self.window):
            rest = (lengths - start).clamp(min=0, max=self.window)
            part, added = self._encode(*_trim(waveforms[:, start : start + self.window], rest, _WHISPER_FFT))
            states = [torch.cat(pair, dim=1) for pair in zip(states, part, strict=True)]
            counts = counts + added * (rest > 0)
        return states, counts

    def _encode(self, waveforms: Tensor, lengths: Tensor) -> tuple[list[Tensor], Tensor]:
        model = self.model
        features = self._features(waveforms, lengths)
        counts = -(-lengths // _WHISPER_HOP)
        hidden = functional.gelu(model.conv1(features))
        hidden = hidden * frame_mask(counts, hidden.shape[2])[:, None, :]
        hidden = functional.gelu(model.conv2(hidden)).transpose(1, 2)
        counts = (counts + 1) // 2
        hidden = hidden + model.embed_positions.weight[: hidden.shape[1]]
        mask = frame_mask(counts, hidden.shape[1])
        attention_mask = None if bool(mask.all()) else mask[:, None, None, :].expand(-1, -1, mask.shape[1], -1)
        states = [hidden]
        for layer in model.layers:
            states.append(layer(states[-1], attention_mask))
        states[-1] = model.layer_norm(states[-1])
        return states, counts

    @torch.no_grad()
    def _features(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Log-mel [batch, bins, frames], 0 past the clip's last frame."""
        with torch.autocast(waveforms.device.type, enabled=False):
            edge = _WHISPER_FFT // 2
            padded = functional.pad(waveforms[:, None], (edge, 0), mode="reflect")[:, 0]
            padded = functional.pad(padded, (0, edge))  # a clip is followed by silence
            spectrum = torch.stft(
                padded, _WHISPER_FFT, _WHISPER_HOP, window=self.hann, center=False, return_complex=True
            )
            mel = (spectrum.abs().square().transpose(1, 2) @ self.filters).transpose(1, 2)
            log = mel.clamp(min=1e-10).log10()
            counts = -(-lengths // _WHISPER_HOP)
            frames = int(counts.max())
            log = log[:, :, :frames]
            mask = frame_mask(counts, frames)[:, None, :]
            loudest = log.masked_fill(~mask, -10.0).amax(dim=(1, 2), keepdim=True)
            log = (torch.maximum(log, loudest - 8.0) + 4.0) / 4.0
            return log.masked_fill(~mask, 0.0)


def load_encoder(folder: Path | None = None, random: EncoderShape | None = None) -> Encoder:
    """Load an encoder from a folder, or make a random one.

    Args:
        folder: `config.json` and safetensors, as transformers' `save_pretrained` writes them. Nothing else is read:
            no pickled weights, no hub.
        random: The shape of a randomly initialised wav2vec2. Exactly one of the two is given.

    Returns:
        The encoder in float32 and evaluation mode, whatever precision its weights are stored in.

    Raises:
        BadInput: The folder holds no encoder that can be used, or weights are missing in it.
    """
    if folder is None and random is not None:
        return _random(random)
    if folder is None or random is not None:
        raise BadInput("encoder: give a folder of weights or the shape of a random encoder, one of the two")
    if not (folder / "config.json").is_file() or not list(folder.glob("*.safetensors")):
        raise BadInput(
            f"{folder}: needs config.json and *.safetensors: "
            "save the encoder with transformers' save_pretrained, which writes both"
        )
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    kind = _kind(config, str(folder))
    loader = WhisperLayers if kind == "whisper" else AutoModel
    try:
        model, info = loader.from_pretrained(
            folder,
            config=_quiet(config),
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, RuntimeError, SafetensorError) as error:
        raise BadInput(f"{folder}: these weights cannot be loaded: {error}") from error
    missing = sorted(set(info["missing_keys"]) - {"masked_spec_embed"})  # used in pretraining only
    if missing:
        raise BadInput(f"{folder}: {len(missing)} weights are missing, {missing[0]} the first: not a whole {kind}")
    return _wrap(model.eval(), kind, _normalises(folder))


def encoder_from_description(description: dict[str, Any]) -> Encoder:
    """Build what `Encoder.describe` describes; its weights are to be loaded by the caller."""
    given = dict(description["config"])
    kind = given.pop("model_type", "unnamed")
    if kind != "whisper" and kind not in WAV2VEC2_KIN:
        raise BadInput(f"encoder of kind '{kind}': known are whisper, {', '.join(WAV2VEC2_KIN)}")
    config = _quiet(AutoConfig.for_model(kind, **given))
    model = WhisperLayers(config) if kind == "whisper" else AutoModel.from_config(config, dtype=torch.float32)
    return _wrap(model.eval(), kind, bool(description["normalise"]))


def _random(shape: EncoderShape) -> Encoder:
    config = Wav2Vec2Config(
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.feed_forward_size,
        conv_dim=(shape.convolution_channels,) * 7,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(shape.seed)
        model = AutoModel.from_config(_quiet(config), dtype=torch.float32)
    return _wrap(model.eval(), "wav2vec2", normalise=True)


def _kind(config: Any, place: str) -> str:
    kind = str(config.model_type)
    if kind != "whisper" and kind not in WAV2VEC2_KIN:
        raise BadInput(f"{place}: an encoder of kind '{kind}': known are whisper, {', '.join(WAV2VEC2_KIN)}")
    return kind


def _wrap(model: Any, kind: str, normalise: bool) -> Encoder:
    return WhisperEncoder(model) if kind == "whisper" else Wav2Vec2Encoder(model, normalise)


def _quiet(config: Any) -> Any:
    """Switch off what draws from numpy's global generator in training or skips whole layers at random."""
    config.apply_spec_augment = False
    config.layerdrop = 0.0
    return config


def _normalises(folder: Path) -> bool:
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        return True  # as wav2vec2-base and HuBERT-base have it
    return bool(json.loads(path.read_text(encoding="utf-8")).get("do_normalize", True))


def _trim(waveforms: Tensor, lengths: Tensor, shortest: int) -> tuple[Tensor, Tensor]:
    """Silence what lies past each clip's end, cut the batch to its longest clip, complete clips below `shortest`."""
    waveforms = waveforms * frame_mask(lengths, waveforms.shape[1])
    lengths = lengths.clamp(min=shortest)
    longest = int(lengths.max())
    return functional.pad(waveforms[:, :longest], (0, max(0, longest - waveforms.shape[1]))), lengths
