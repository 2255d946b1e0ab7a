"""Whisper's encoder, over a clip alone."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.audio_utils import mel_filter_bank

from ser_tasks.audio.padding import frame_mask, is_recorded
from ser_tasks.models.encoder import Encoder, real_frames, silence_padding

_FFT = 400  # 25 ms
_HOP = 160  # 10 ms


class WhisperEncoder(Encoder):
    """Whisper's encoder over the clip alone instead of a window of 30 s filled up with silence.

    The positional table is cropped to the clip. A clip of more than 30 s is encoded in windows of 30 s, one after the
    other. Features follow transformers' WhisperFeatureExtractor.
    """

    filters: Tensor
    hann: Tensor

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.dim = int(self.config.d_model)
        self.layers = int(self.config.encoder_layers)
        self.positions = int(self.config.max_source_positions)  # frames of 20 ms
        self.window = 2 * _HOP * self.positions  # 30 s, in samples
        filters = mel_filter_bank(
            1 + _FFT // 2, self.config.num_mel_bins, 0.0, 8000.0, 16_000, norm="slaney", mel_scale="slaney"
        )
        self.register_buffer("filters", torch.from_numpy(filters).float(), persistent=False)
        self.register_buffer("hann", torch.hann_window(_FFT), persistent=False)

    def stages(self) -> list[list[nn.Module]]:
        *lower, last = [[layer] for layer in self.model.layers]
        return [[self.model.conv1, self.model.conv2], [], *lower, [*last, self.model.layer_norm]]

    def attention_projections(self) -> list[nn.Linear]:
        return [p for layer in self.model.layers for p in (layer.self_attn.q_proj, layer.self_attn.v_proj)]

    def encoded(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        if waveforms.shape[1] <= self.window:
            return self._convolve(waveforms, lengths)
        features, counts = self._convolve(waveforms[:, : self.window], lengths.clamp(max=self.window))
        for start in range(self.window, waveforms.shape[1], self.window):
            rest = (lengths - start).clamp(min=0, max=self.window)
            part, added = self._convolve(waveforms[:, start : start + self.window], rest)
            features = torch.cat([features, part], dim=1)
            counts = counts + added * (rest > 0)
        return features, counts

    def states(self, features: Tensor, counts: Tensor) -> list[Tensor]:
        if features.device.type == "cpu" and not is_recorded():  # a GPU would have to be waited for
            features = features[:, : int(counts.max())]
        if features.shape[1] <= self.positions:
            return self._transform(features, counts)
        states = self._transform(features[:, : self.positions], counts.clamp(max=self.positions))
        for start in range(self.positions, features.shape[1], self.positions):
            # a clip that has ended before keeps one frame: attention to nothing gives no number
            rest = (counts - start).clamp(min=1, max=self.positions)
            part = self._transform(features[:, start : start + self.positions], rest)
            states = [torch.cat(pair, dim=1) for pair in zip(states, part, strict=True)]
        return states

    def _convolve(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """At most 30 s: [batch, samples] -> [batch, frames of 20 ms, dim]."""
        waveforms, lengths = silence_padding(waveforms, lengths, _FFT)
        counts = (lengths + _HOP - 1) // _HOP
        hidden = functional.gelu(self.model.conv1(self._log_mel(waveforms, counts)))
        hidden = hidden * frame_mask(counts, hidden.shape[2])[:, None, :]
        hidden = functional.gelu(self.model.conv2(hidden)).transpose(1, 2)
        counts = (counts + 1) // 2
        return hidden * frame_mask(counts, hidden.shape[1])[:, :, None], counts

    def _transform(self, features: Tensor, counts: Tensor) -> list[Tensor]:
        hidden = features + self.model.embed_positions.weight[: features.shape[1]]
        mask = real_frames(counts, hidden.shape[1])
        attention = None if mask is None else mask[:, None, None, :].expand(-1, -1, mask.shape[1], -1)
        states = [functional.dropout(hidden, p=self.model.dropout, training=self.training)]
        for layer in self.model.layers:
            states.append(layer(states[-1], attention))
        states[-1] = self.model.layer_norm(states[-1])
        return states

    @torch.no_grad()
    def _log_mel(self, waveforms: Tensor, counts: Tensor) -> Tensor:
        """Log-mel [batch, bins, frames], 0 past the clip's last frame."""
        with torch.autocast(waveforms.device.type, enabled=False):
            frames = (waveforms.shape[1] + _HOP - 1) // _HOP
            edge = _FFT // 2
            padded = functional.pad(waveforms.float()[:, None], (edge, 0), mode="reflect")[:, 0]
            padded = functional.pad(padded, (0, edge))  # a clip is followed by silence
            spectrum = torch.stft(padded, _FFT, _HOP, window=self.hann, center=False, return_complex=True)
            mel = (spectrum.abs().square().transpose(1, 2) @ self.filters).transpose(1, 2)
            log = mel.clamp(min=1e-10).log10()[:, :, :frames]
            mask = frame_mask(counts, frames)[:, None, :]
            loudest = log.masked_fill(~mask, -10.0).amax(dim=(1, 2), keepdim=True)
            log = (torch.maximum(log, loudest - 8.0) + 4.0) / 4.0
            return log.masked_fill(~mask, 0.0)
