"""wav2vec2-BERT: conformer layers over log-mel frames, which are computed here."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.audio_utils import mel_filter_bank, window_function
from transformers.masking_utils import create_bidirectional_mask

from ser_tasks.audio.padding import frame_mask, is_recorded
from ser_tasks.models.encoder import Encoder, real_frames, silence_padding

_WINDOW = 400  # 25 ms
_HOP = 160  # 10 ms
_FFT = 512
_MEL_BINS = 80
_STRIDE = 2  # frames that are put side by side into one
_SHORTEST = _WINDOW + 3 * _HOP  # samples that give two pairs of frames: the spread of one alone says nothing


class Wav2Vec2BertEncoder(Encoder):
    """A wav2vec2-BERT encoder over the raw waveform.

    Features follow transformers' SeamlessM4TFeatureExtractor (Kaldi's filter banks, each bin normalised over the
    clip). There an odd last frame is completed with one of zeros and masked; here it is left out.
    """

    filters: Tensor
    povey: Tensor

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.dim = int(self.config.hidden_size)
        self.layers = int(self.config.num_hidden_layers)
        filters = mel_filter_bank(
            num_frequency_bins=1 + _FFT // 2, num_mel_filters=_MEL_BINS, min_frequency=20, max_frequency=8_000,
            sampling_rate=16_000, norm=None, mel_scale="kaldi", triangularize_in_mel_space=True,
        )  # fmt: skip
        self.register_buffer("filters", torch.from_numpy(filters).float(), persistent=False)
        povey = torch.from_numpy(window_function(_WINDOW, "povey", periodic=False)).float()
        self.register_buffer("povey", povey, persistent=False)

    def stages(self) -> list[list[nn.Module]]:
        return [[], [self.model.feature_projection], *([layer] for layer in self.model.encoder.layers)]

    def attention_projections(self) -> list[nn.Linear]:
        return [p for layer in self.model.encoder.layers for p in (layer.self_attn.linear_q, layer.self_attn.linear_v)]

    @torch.no_grad()
    def encoded(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        waveforms, lengths = silence_padding(waveforms, lengths, _SHORTEST)
        with torch.autocast(waveforms.device.type, enabled=False):
            log = self._log_mel(waveforms.float())
            counts = (lengths - _WINDOW) // _HOP + 1
            mask = frame_mask(counts, log.shape[1])[:, :, None]
            mean = (log * mask).sum(dim=1, keepdim=True) / counts[:, None, None]
            centred = (log - mean) * mask
            variance = centred.square().sum(dim=1, keepdim=True) / (counts - 1)[:, None, None]
            normal = centred / (variance + 1e-7).sqrt()
        paired = normal.unfold(1, _STRIDE, _STRIDE).transpose(2, 3).flatten(2)
        return paired * frame_mask(counts // _STRIDE, paired.shape[1])[:, :, None], counts // _STRIDE

    def _log_mel(self, waveforms: Tensor) -> Tensor:
        """Kaldi's log filter banks: [batch, samples] -> [batch, frames, bins]."""
        frames = (waveforms * 32_768.0).unfold(1, _WINDOW, _HOP)
        frames = frames - frames.mean(dim=2, keepdim=True)
        before = functional.pad(frames, (1, 0), mode="replicate")[:, :, :-1]
        spectrum = torch.fft.rfft((frames - 0.97 * before) * self.povey, _FFT)
        log: Tensor = (spectrum.abs().square() @ self.filters).clamp(min=torch.finfo(torch.float32).eps).log()
        return log

    def states(self, features: Tensor, counts: Tensor) -> list[Tensor]:
        encoder = self.model.encoder
        if features.device.type == "cpu" and not is_recorded():  # a GPU would have to be waited for
            features = features[:, : int(counts.max())]
        hidden = self.model.feature_projection(features)[0]
        mask = real_frames(counts, hidden.shape[1])
        if mask is not None:
            hidden = hidden * mask[:, :, None]
        attention = create_bidirectional_mask(config=self.config, inputs_embeds=hidden, attention_mask=mask)
        hidden = encoder.dropout(hidden)
        positions = None if encoder.embed_positions is None else encoder.embed_positions(hidden)
        states = [hidden]
        for layer in encoder.layers:
            states.append(
                layer(
                    states[-1],
                    attention_mask=attention,
                    relative_position_embeddings=positions,
                    conv_attention_mask=mask,
                )
            )
        return states
