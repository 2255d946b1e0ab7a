"""wav2vec2 and its kin: HuBERT, WavLM, data2vec, UniSpeech. Convolutions over samples, then a transformer."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers.masking_utils import create_bidirectional_mask

from ser_tasks.audio.padding import frame_mask, is_recorded
from ser_tasks.models.encoder import Encoder, real_frames, silence_padding


class Wav2Vec2Encoder(Encoder):
    """A wav2vec2-family encoder.

    Where its feature encoder normalises over time, padding would change a clip's output (huggingface/transformers
    issue 21534): there the statistics are taken over the clip's real frames. The convolutions themselves reach no
    further than a frame's own samples, and the transformer gets a mask. An adapter behind the last layer, which some
    fine-tuned models have, is left out.
    """

    def __init__(self, model: Any, normalise: bool) -> None:
        super().__init__(model)
        self.normalise = normalise
        self.dim = int(self.config.hidden_size)
        self.layers = int(self.config.num_hidden_layers)
        self.kernels = [int(kernel) for kernel in self.config.conv_kernel]
        self.strides = [int(stride) for stride in self.config.conv_stride]
        self.shortest = 1  # samples that give one frame
        for kernel, stride in zip(self.kernels[::-1], self.strides[::-1], strict=True):
            self.shortest = (self.shortest - 1) * stride + kernel
        # models that normalise inside their layers do it once more after the last one, the others before the first
        self.normalises_last = bool(getattr(self.config, "do_stable_layer_norm", False))

    def stages(self) -> list[list[nn.Module]]:
        encoder = self.model.encoder
        below, layers = [self.model.feature_projection, encoder.pos_conv_embed], [[layer] for layer in encoder.layers]
        (layers[-1] if self.normalises_last else below).append(encoder.layer_norm)
        return [[self.model.feature_extractor], below, *layers]

    def attention_projections(self) -> list[nn.Linear]:
        return [p for layer in self.model.encoder.layers for p in (layer.attention.q_proj, layer.attention.v_proj)]

    def encoded(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        waveforms, lengths = silence_padding(waveforms, lengths, self.shortest)
        if self.normalise:
            waveforms = _zero_mean_unit_variance(waveforms, lengths)
        if waveforms.device.type == "cpu" and not is_recorded():
            return self._features_clip_by_clip(waveforms, lengths)
        hidden, counts = waveforms[:, None], lengths
        for layer, kernel, stride in zip(
            self.model.feature_extractor.conv_layers, self.kernels, self.strides, strict=True
        ):
            counts = torch.div(counts - kernel, stride, rounding_mode="floor") + 1
            norm = getattr(layer, "layer_norm", None)
            if isinstance(norm, nn.GroupNorm):
                hidden = layer.activation(_masked_group_norm(norm, layer.conv(hidden), counts))
            else:
                hidden = layer(hidden)
        return hidden.transpose(1, 2) * frame_mask(counts, hidden.shape[2])[:, :, None], counts

    def _features_clip_by_clip(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The same, one clip after the other: on a CPU that is several times as fast.

        Between the first two convolutions a second of audio takes 6.5 MB in float32 (512 channels, 3,200 frames): a
        clip stays in the cache, a batch goes to memory and back. And nothing is computed on padding.
        """
        clips, extractor = [], self.model.feature_extractor
        learns = torch.is_grad_enabled() and any(p.requires_grad for p in extractor.parameters())
        with torch.set_grad_enabled(learns):
            for waveform, length in zip(waveforms, lengths.tolist(), strict=True):
                hidden = waveform[None, None, :length]
                for layer in extractor.conv_layers:
                    hidden = layer(hidden)
                clips.append(hidden[0].T)
        counts = torch.tensor([len(clip) for clip in clips])
        frames = waveforms.shape[1]
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            frames = (frames - kernel) // stride + 1
        padded = clips[0].new_zeros(len(clips), frames, clips[0].shape[1])
        for row, clip in enumerate(clips):
            padded[row, : len(clip)] = clip
        return padded, counts

    def states(self, features: Tensor, counts: Tensor) -> list[Tensor]:
        encoder = self.model.encoder
        if features.device.type == "cpu" and not is_recorded():  # a GPU would have to be waited for
            features = features[:, : int(counts.max())]
        projected = self.model.feature_projection(features)
        hidden = projected[0] if isinstance(projected, tuple) else projected
        mask = real_frames(counts, hidden.shape[1])
        if mask is not None:
            hidden = hidden * mask[:, :, None]
        hidden = hidden + self._positions(hidden, mask)
        if not self.normalises_last:
            hidden = encoder.layer_norm(hidden)
        states = self._layers(encoder.dropout(hidden), mask)
        if self.normalises_last:
            states[-1] = encoder.layer_norm(states[-1])
        return states

    def _positions(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        position: Tensor = self.model.encoder.pos_conv_embed(hidden)
        return position

    def _layers(self, hidden: Tensor, mask: Tensor | None) -> list[Tensor]:
        attention = create_bidirectional_mask(config=self.config, inputs_embeds=hidden, attention_mask=mask)
        states = [hidden]
        for layer in self.model.encoder.layers:
            states.append(layer(states[-1], attention_mask=attention))
        return states


class Data2VecEncoder(Wav2Vec2Encoder):
    """data2vec: several positional convolutions on end, each of which would carry padding into a clip's last frames."""

    def _positions(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        hidden = hidden.transpose(1, 2)
        for layer in self.model.encoder.pos_conv_embed.layers:
            hidden = layer(hidden)
            if mask is not None:
                hidden = hidden * mask[:, None, :]
        return hidden.transpose(1, 2)


class WavLMEncoder(Wav2Vec2Encoder):
    """WavLM: every layer also gets the relative position bias that the first one computes."""

    def _layers(self, hidden: Tensor, mask: Tensor | None) -> list[Tensor]:
        attention = None if mask is None else mask.long()
        states, bias = [hidden], None
        for i, layer in enumerate(self.model.encoder.layers):
            # its unstable and stable layers differ in whether they take an index, which nothing in them reads
            hidden, bias = layer(states[-1], attention_mask=attention, position_bias=bias, index=i)
            states.append(hidden)
        return states


def _zero_mean_unit_variance(waveforms: Tensor, lengths: Tensor) -> Tensor:
    """As transformers' Wav2Vec2FeatureExtractor does it, over each clip's own samples."""
    mask = frame_mask(lengths, waveforms.shape[1])
    mean = waveforms.sum(dim=1, keepdim=True) / lengths[:, None]
    variance = ((waveforms - mean) * mask).square().sum(dim=1, keepdim=True) / lengths[:, None]
    return (waveforms - mean) / (variance + 1e-7).sqrt() * mask


def _masked_group_norm(norm: nn.GroupNorm, features: Tensor, counts: Tensor) -> Tensor:
    """`norm`, which has one group a channel, over a clip's real frames; without padding it equals `norm(features)`.

    features float [batch, channels, frames], counts int64 [batch].
    """
    frames = features.float()
    mask = frame_mask(counts, frames.shape[2])[:, None, :]
    n = counts[:, None, None]
    mean = (frames * mask).sum(dim=2, keepdim=True) / n
    centred = (frames - mean) * mask
    variance = centred.square().sum(dim=2, keepdim=True) / n
    normal = centred * (variance + norm.eps).rsqrt() * norm.weight[:, None] + norm.bias[:, None]
    return normal.to(features.dtype)
