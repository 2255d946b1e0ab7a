"""What a batch is judged by: cross-entropy to a distribution over labels, and a squared error for a social tone."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Beta

from ser_tasks.training.examples import Examples
from ser_tasks.training.options import FitOptions

Mix = list[tuple[float, Tensor]]
"""Shares, which add up to 1, and for each the row whose target has that share, for every clip: int64 [clips]."""

_FRAME = 400  # samples at 16 kHz: 25 ms
_BELOW = 1e-3  # 30 dB, of power
_TINY = 1e-10


@dataclass(frozen=True)
class Targets:
    """What the rows of a set of clips should give, on the device.

    Attributes:
        labels: Distributions over the labels times the row's weight, float32 [rows, classes].
        weights: Of the rows, float32 [rows].
        tone: Ratings, float32 [rows], 0 where there is none.
        rated: Whether there is one: float32 [rows] of 0 and 1.
        tone_weight: Of the tone's squared error.
    """

    labels: Tensor
    weights: Tensor
    tone: Tensor
    rated: Tensor
    tone_weight: float

    def whole(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """What the losses of a batch's pieces are divided by: sum of weights, number of rated clips (at least 1)."""
        return self.weights[batch].sum(), self.rated[batch].sum().clamp(min=1)

    def loss(self, logits: Tensor, tone: Tensor | None, mix: Mix, whole: tuple[Tensor, Tensor]) -> Tensor:
        """A piece's part of its batch's mean loss; the parts of all pieces add up to it.

        Args:
            logits: float [clips, classes].
            tone: float [clips]; None where the model has no such head.
            mix: Which rows the clips are of.
            whole: Of the batch, see `whole`.

        Returns:
            Scalar, nats (plus the weighted squared error).
        """
        log_p = logits.float().log_softmax(dim=1)
        weighted = sum(share * self.labels[rows] for share, rows in mix)
        loss = -(weighted * log_p).sum() / whole[0]
        if tone is not None:  # also where no clip is rated: the head takes part in every step of every process
            error = sum(share * ((tone.float() - self.tone[rows]).square() * self.rated[rows]) for share, rows in mix)
            loss = loss + self.tone_weight * torch.as_tensor(error).sum() / whole[1]
        return loss


def make_targets(examples: Examples, weights: Tensor, options: FitOptions, device: torch.device) -> Targets:
    """Put labels, votes and ratings into one form.

    Args:
        examples: Clips with targets.
        weights: Of the classes, float32 [classes].
        options: soft_weight, label_smoothing, tone_weight.
        device: Where to put it.
    """
    classes = len(weights)
    targets = examples.targets
    labels = torch.nn.functional.one_hot(targets, classes).float()
    labels = (1 - options.label_smoothing) * labels + options.label_smoothing / classes
    if examples.soft is not None and options.soft_weight:
        soft = examples.soft.float()
        voted = soft.isfinite().all(dim=1, keepdim=True)
        labels = torch.where(voted, (1 - options.soft_weight) * labels + options.soft_weight * soft, labels)
    tone = examples.tone.float() if examples.tone is not None else torch.full((len(targets),), torch.nan)
    rated = tone.isfinite()
    row_weights = weights[targets]
    return Targets(
        (labels * row_weights[:, None]).to(device),
        row_weights.to(device),
        tone.nan_to_num(0.0).to(device),
        rated.float().to(device),
        options.tone_weight,
    )


def class_weights(targets: Tensor, classes: int, options: FitOptions) -> Tensor:
    """Inverse frequency, 1 on average over clips; all 1 where classes are not weighed. float32 [classes]."""
    if options.class_sampling or not options.class_weights:
        return torch.ones(classes)
    counts = torch.bincount(targets, minlength=classes).float()
    return counts.sum() / (classes * counts.clamp(min=1))


def mix_up(waveforms: Tensor, lengths: Tensor, rows: Tensor, alpha: float) -> tuple[Tensor, Tensor, Mix]:
    """Mix each clip with another of its batch (Zhang et al. 2018, equation 1); drawn from torch's generator.

    The other clip is first brought to the level of the clip's speech: else a loud clip is all that is heard of a mix
    whose target says half (Tokozume et al. 2018, arXiv:1711.10282). A clip of zeros changes no level.

    Args:
        waveforms: float32 [clips, samples], 0 past a clip's end.
        lengths: int64 [clips].
        rows: int64 [clips].
        alpha: Of Beta(alpha, alpha); 0: nothing is changed.

    Returns:
        Waveforms, lengths (the longer of two) and what they are mixed of.
    """
    if alpha == 0:
        return waveforms, lengths, [(1.0, rows)]
    share = float(Beta(alpha, alpha).sample())
    other = torch.randperm(len(rows)).to(rows.device)
    level = _level(waveforms)
    gain = torch.where((level > 0) & (level[other] > 0), level / level[other].clamp(min=_TINY), 1.0)
    mixed = share * waveforms + (1 - share) * gain[:, None] * waveforms[other]
    return mixed, torch.maximum(lengths, lengths[other]), [(share, rows), (1 - share, rows[other])]


def _level(waveforms: Tensor) -> Tensor:
    """Root mean square of a clip's speech, float32 [clips]: of its frames at most 30 dB below the loudest."""
    window = min(_FRAME, waveforms.shape[1])
    power = torch.nn.functional.avg_pool1d(waveforms.float().square()[:, None], window, window)[:, 0]
    speech = power >= power.amax(dim=1, keepdim=True) * _BELOW
    return ((power * speech).sum(dim=1) / speech.sum(dim=1)).sqrt()
