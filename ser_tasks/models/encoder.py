"""What every speech encoder offers: waveforms in, hidden states of every layer out."""

import json
from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from ser_tasks.audio.padding import frame_mask, is_recorded, padded_width
from ser_tasks.audio.speech import Speech, SpeechOptions
from ser_tasks.audio.voice import FrontEnd
from ser_tasks.models.dropout import quicken_dropout
from ser_tasks.models.pooling import masked_mean_std


class Encoder(nn.Module, ABC):
    """A pretrained encoder: a feature encoder (what turns samples into frames) and transformer layers.

    A clip's states do not depend on its batch.

    Attributes:
        model: The transformers model that holds the weights.
        config: Its configuration.
        dim: Size of a hidden state.
        layers: Number of transformer layers.
        normalise: Whether a waveform is brought to zero mean and unit variance, after the front end.
        front_end: What is heard of a clip: see `FrontEnd`.
    """

    normalise = False
    front_end: FrontEnd
    dim: int
    layers: int

    def __init__(self, model: Any) -> None:
        super().__init__()
        quicken_dropout(model)
        self.model = model
        self.config = model.config
        self.hear("speech")

    def hear(self, front_end: FrontEnd) -> None:
        """Choose the front end; a new encoder hears speech."""
        self.front_end = front_end
        self.speech = Speech(SpeechOptions()) if front_end == "speech" else None

    def features(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The front end, then `encoded`: see there."""
        if self.speech is not None:
            waveforms, lengths = self.speech(waveforms, lengths)
            if waveforms.device.type == "cpu" and not is_recorded():  # a GPU would have to be waited for
                waveforms = waveforms[:, : padded_width(int(lengths.max()))]
        return self.encoded(waveforms, lengths)

    @abstractmethod
    def encoded(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """What enters the transformer, before any of its weights: worth keeping where the feature encoder is frozen.

        Args:
            waveforms: float32 [batch, samples] in [-1, 1], 16 kHz; what lies past a clip's length is ignored.
            lengths: int64 [batch], samples.

        Returns:
            Features float [batch, frames, channels], 0 past a clip's last frame; and the numbers of real frames,
            int64 [batch].
        """

    @abstractmethod
    def states(self, features: Tensor, counts: Tensor) -> list[Tensor]:
        """Hidden states [batch, frames, dim] of `features`: see `forward`."""

    @abstractmethod
    def stages(self) -> list[list[nn.Module]]:
        """The modules that `forward` uses, from the samples up.

        First the feature encoder, all that `features` uses; then what lies between it and the first layer; then
        layer by layer, what follows the last layer with it: `layers + 2` stages, of which the first two may be empty.
        """

    @abstractmethod
    def attention_projections(self) -> list[nn.Linear]:
        """Query and value projections of every layer: where low-rank adaptation is put (Hu et al. 2021, table 5)."""

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
        features, counts = self.features(waveforms, lengths)
        return self.states(features, counts), counts

    def embed(self, waveforms: Tensor, lengths: Tensor, layer: int = -1) -> Tensor:
        """Mean and standard deviation over time of one layer: float32 [batch, 2 * dim]."""
        states, counts = self(waveforms, lengths)
        return masked_mean_std(states[layer], counts)

    def describe(self) -> dict[str, Any]:
        """What `encoder_from_description` needs to build the same encoder, without its weights."""
        config = json.loads(self.config.to_json_string(use_diff=False))
        for key in ("_name_or_path", "dtype", "transformers_version"):
            config.pop(key, None)
        return {"config": config, "normalise": self.normalise, "front_end": self.front_end}


def real_frames(counts: Tensor, frames: int) -> Tensor | None:
    """Mask bool [batch, frames] of what may be attended to; None where every frame is real.

    Attention without a mask is quicker. While a graph is recorded the mask is always there: which clips are padded is
    not known then.
    """
    mask = frame_mask(counts, frames)
    return mask if is_recorded() or not bool(mask.all()) else None


def silence_padding(waveforms: Tensor, lengths: Tensor, shortest: int) -> tuple[Tensor, Tensor]:
    """Silence what lies past each clip's end and complete clips below `shortest` samples with silence."""
    waveforms = waveforms * frame_mask(lengths, waveforms.shape[1])
    missing = shortest - waveforms.shape[1]
    if missing > 0:
        waveforms = functional.pad(waveforms, (0, missing))
    return waveforms, lengths.clamp(min=shortest)
