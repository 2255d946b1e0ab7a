"""A pretrained speech encoder, fine-tuned for classification."""

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ser_tasks.audio.voice import FrontEnd
from ser_tasks.errors import BadInput
from ser_tasks.models.encoder import Encoder
from ser_tasks.models.low_rank import add_low_rank
from ser_tasks.models.pooling import AttentiveStatistics, masked_mean, masked_mean_std

_SPAN = 10  # frames of 20 ms, as wav2vec2's own masks


@dataclass(frozen=True)
class Wav2Vec2Options:
    """What lies on top of the encoder, and what of it is trained.

    Attributes:
        front_end: What is heard of a clip: see `FrontEnd`.
        freeze_feature_encoder: Keep the weights that turn samples into frames as they are.
        freeze_layers: So many of the lowest transformer layers stay as they are, and all that lies below them.
        layers: last: the last layer's states; weighted: a learned average over all layers (Pepino et al. 2021,
            arXiv:2104.03502).
        pooling: Over time. mean, as published with wav2vec2; attentive: `AttentiveStatistics`.
        attention_size: Hidden units of attentive pooling.
        dropout: Before the linear head.
        lora_rank: Of low-rank additions to the query and value projections, which then are all of the encoder that is
            trained; 0: none.
        lora_alpha: The additions are scaled by lora_alpha / lora_rank.
        layer_decay: Each layer learns at this many times the rate of the layer above it; 1: all alike.
        time_mask: Share of a clip's frames that are silenced in spans of 10 before they enter the transformer, while it
            is trained (SpecAugment, Park et al. 2019, as wav2vec2 was fine-tuned: Baevski et al. 2020, section 4.3);
            0: none, as encoders' own configurations are not heeded.
        layer_drop: Share of steps in which a layer passes on what it gets, while it is trained (Fan et al. 2019,
            arXiv:1909.11556); 0: none, whatever the encoder's own configuration says.
        gradient_checkpointing: Compute layers' activations twice instead of keeping them: less memory, more time.
        tone: A second head with one output, for the mean rating of a social tone.
    """

    front_end: FrontEnd = "speech"
    freeze_feature_encoder: bool = True
    freeze_layers: int = 0
    layers: Literal["last", "weighted"] = "last"
    pooling: Literal["mean", "attentive"] = "mean"
    attention_size: int = 128
    dropout: float = 0.1
    lora_rank: int = 0
    lora_alpha: float = 16.0
    layer_decay: float = 1.0
    time_mask: float = 0.0
    layer_drop: float = 0.0
    gradient_checkpointing: bool = False
    tone: bool = False


class Wav2Vec2Classifier(nn.Module):
    """Encoder, pooling over real frames, one linear layer."""

    def __init__(self, encoder: Encoder, options: Wav2Vec2Options, n_classes: int) -> None:
        super().__init__()
        _check(options, encoder)
        self.options = options
        self.encoder = encoder
        encoder.hear(options.front_end)
        self.layer_weights = nn.Parameter(torch.zeros(encoder.layers + 1)) if options.layers == "weighted" else None
        attentive = options.pooling == "attentive"
        self.pooling = AttentiveStatistics(encoder.dim, options.attention_size) if attentive else None
        self.dropout = nn.Dropout(options.dropout)
        pooled = 2 * encoder.dim if attentive else encoder.dim
        self.classifier = nn.Linear(pooled, n_classes)
        self.tone_head = nn.Linear(pooled, 1) if options.tone else None
        self._choose_what_is_trained()
        for stage in encoder.stages()[2:] if options.layer_drop else []:
            stage[0].register_forward_hook(partial(_passed_over, options.layer_drop))
        if options.gradient_checkpointing:
            encoder.model.activation_checkpointing_enable({"use_reentrant": False})

    def _choose_what_is_trained(self) -> None:
        stages, options = self.encoder.stages(), self.options
        self.encoder.requires_grad_(False)
        if options.lora_rank:
            add_low_rank(self.encoder.attention_projections(), options.lora_rank, options.lora_alpha)
            return
        lowest = 2 + options.freeze_layers if options.freeze_layers else int(options.freeze_feature_encoder)
        for stage in stages[lowest:]:
            for module in stage:
                module.requires_grad_(True)

    def describe(self) -> dict[str, Any]:
        """Options that build this model again, its encoder's configuration among them."""
        return {**asdict(self.options), "encoder": self.encoder.describe()}

    @property
    def has_fixed_features(self) -> bool:
        """Whether training leaves `features` of a clip as they are, so that they may be computed once and kept."""
        return not any(p.requires_grad for module in self.encoder.stages()[0] for p in module.parameters())

    def features_made_of(self) -> tuple[dict[str, Any], list[nn.Module]]:
        """All that decides the bits of `features`: the encoder's description, and the modules whose weights do."""
        return self.encoder.describe(), self.encoder.stages()[0]

    def learning_rate_factor(self, parameter_name: str) -> float:
        """By how much to multiply a weight's learning rate: layer-wise decay (Clark et al. 2020, arXiv:2003.10555).

        Args:
            parameter_name: As `named_parameters` gives it.

        Returns:
            1 for what lies on top of the encoder and for its last layer; `layer_decay` for the layer below, and so on.
        """
        if not parameter_name.startswith("encoder."):
            return 1.0
        parameter, stages = self.get_parameter(parameter_name), self.encoder.stages()
        for below, stage in enumerate(stages[::-1]):
            if any(held is parameter for module in stage for held in module.parameters()):
                return float(self.options.layer_decay**below)
        return 1.0

    def features(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """What enters the encoder's transformer: see `Encoder.features`."""
        return self.encoder.features(waveforms, lengths)

    def forward_features(self, features: Tensor, counts: Tensor) -> Tensor:
        """Logits float32 [batch, classes] of clips whose `features` and numbers of frames are at hand."""
        logits: Tensor = self.classifier(self._pooled(self._frames(features, counts), counts))
        return logits.float()

    def forward_features_with_tone(self, features: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and tone, as `forward_with_tone`, of clips whose `features` are at hand."""
        if self.tone_head is None:
            raise BadInput("wav2vec2: this model has no head for a tone: build it with the option tone")
        pooled = self._pooled(self._frames(features, counts), counts)
        return self.classifier(pooled).float(), self.tone_head(pooled)[:, 0].float()

    def forward_with_tone(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Logits float32 [batch, classes], and a tone float32 [batch] on the scale that it was trained on."""
        return self.forward_features_with_tone(*self.features(waveforms, lengths))

    def forward(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Classify clips: float32 [batch, samples] and int64 [batch] -> logits float32 [batch, classes]."""
        return self.forward_features(*self.features(waveforms, lengths))

    def embed(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Mean and standard deviation over time: float32 [batch, 2 * dim]."""
        features, counts = self.features(waveforms, lengths)
        return masked_mean_std(self._frames(features, counts), counts)

    def forward_with_embedding(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` and `embed` give, for one pass through the encoder."""
        features, counts = self.features(waveforms, lengths)
        frames = self._frames(features, counts)
        return self.classifier(self._pooled(frames, counts)).float(), masked_mean_std(frames, counts)

    def _pooled(self, frames: Tensor, counts: Tensor) -> Tensor:
        pooled: Tensor = self.dropout((self.pooling or masked_mean)(frames, counts))
        return pooled

    def _frames(self, features: Tensor, counts: Tensor) -> Tensor:
        if self.training and self.options.time_mask:
            features = _time_masked(features, self.options.time_mask)
        states = self.encoder.states(features, counts)
        if self.layer_weights is None:
            return states[-1]
        return torch.einsum("l,lbfd->bfd", self.layer_weights.softmax(dim=0), torch.stack(states).float())


def _time_masked(features: Tensor, share: float) -> Tensor:
    """Features [batch, frames, channels] of which about this share of the frames, in spans of `_SPAN`, is 0.

    Spans begin anywhere and may lie over each other, so that a little less is masked than asked for where that is much.
    """
    begins = (torch.rand(features.shape[:2], device=features.device) < share / _SPAN).float()
    covered = nn.functional.max_pool1d(nn.functional.pad(begins[:, None], (_SPAN - 1, 0)), _SPAN, 1)[:, 0]
    return features * (covered == 0)[:, :, None]


def _passed_over(share: float, layer: nn.Module, given: tuple[Any, ...], output: Any) -> Any:
    """What a layer gave, or in this share of steps what it got.

    Its weights take part with a gradient of 0: processes that train together wait for every weight's.
    """
    if not layer.training or float(torch.rand(())) >= share:
        return None
    if isinstance(output, tuple):
        return (given[0] + 0 * output[0], *output[1:])
    return given[0] + 0 * output


def _check(options: Wav2Vec2Options, encoder: Encoder) -> None:
    if not 0 <= options.freeze_layers <= encoder.layers:
        raise BadInput(f"wav2vec2: freeze_layers is {options.freeze_layers}: the encoder has {encoder.layers} layers")
    for share in ("time_mask", "layer_drop"):
        if not 0 <= getattr(options, share) < 1:
            raise BadInput(f"wav2vec2: {share} is {getattr(options, share)}: it lies in [0, 1)")
    if options.lora_rank and options.freeze_layers:
        raise BadInput("wav2vec2: lora_rank keeps all layers as they are: set freeze_layers to 0")
    for name, known in (("layers", ("last", "weighted")), ("pooling", ("mean", "attentive"))):
        if getattr(options, name) not in known:
            raise BadInput(f"wav2vec2: {name} is '{getattr(options, name)}': known are {', '.join(known)}")
