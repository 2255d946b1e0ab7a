"""How to train: every option of the loop, with its default."""

from dataclasses import dataclass

from ser_tasks.errors import BadInput
from ser_tasks.training.device import Device, Precision


@dataclass(frozen=True)
class FitOptions:
    """How to train.

    Attributes:
        epochs: At most so many passes over the training clips.
        batch_size: Most clips that one step of the optimiser learns from, all pieces and processes together.
        batch_seconds: Most seconds of audio in such a batch, padding included.
        accumulate: Pieces that each process takes its part of a batch in, one after the other: less memory.
        learning_rate: The highest; after warm-up it falls to 0 along a cosine.
        encoder_learning_rate: The same for a pretrained encoder's weights; None: the same rate.
        weight_decay: Of AdamW, on matrices and kernels, not on biases and norms.
        warmup_fraction: Part of all steps in which the rate rises from 0.
        clip_norm: Longest gradient, all weights together; 0: any.
        patience: Stop after so many epochs without a better dev UAR; 0: never.
        class_weights: Weigh classes by the inverse of their frequency, as UAR does.
        class_sampling: Draw as many clips of each class in an epoch, in place of the weights.
        label_smoothing: In [0, 1).
        mixup: alpha of the Beta distribution that two clips' shares are drawn from (Zhang et al. 2018,
            arXiv:1710.09412): waveforms, of equal speech level, and targets are mixed; 0: none.
        soft_weight: Part of the target that is the raters' votes, in [0, 1]; the rest is the label.
        tone_weight: Of the squared error of the second head (social tone), beside the labels' cross-entropy.
        seed: Decides order of clips, augmentation and dropout.
        device: auto takes a GPU where there is one.
        precision: auto takes bfloat16 where the device computes it quickly.
        compile: Let torch.compile fuse the network's operations: minutes of preparation, worth it on a GPU.
        threads: Of the CPU; 0: leave torch's own choice.
        cache_features: Keep a frozen encoder's convolutional features on disk instead of computing them every epoch.
        cache_gb: Most space for them, in 10^9 bytes; what needs more is computed every epoch.
        checkpoint_epochs: Save the state after so many epochs.
        checkpoint_minutes: Save it after the epoch in which so many minutes have passed instead; 0: count epochs.
    """

    epochs: int = 40
    batch_size: int = 32
    batch_seconds: float = 240.0
    accumulate: int = 1
    learning_rate: float = 3e-3
    encoder_learning_rate: float | None = None
    weight_decay: float = 0.01
    warmup_fraction: float = 0.1
    clip_norm: float = 1.0
    patience: int = 0
    class_weights: bool = True
    class_sampling: bool = False
    label_smoothing: float = 0.0
    mixup: float = 0.0
    soft_weight: float = 0.0
    tone_weight: float = 0.0
    seed: int = 0
    device: Device = "auto"
    precision: Precision = "auto"
    compile: bool = False
    threads: int = 0
    cache_features: bool = True
    cache_gb: float = 8.0
    checkpoint_epochs: int = 1
    checkpoint_minutes: float = 0.0

    def __post_init__(self) -> None:
        """Raises BadInput for a value out of range."""
        for name in ("epochs", "batch_size", "accumulate", "checkpoint_epochs"):
            if getattr(self, name) < 1:
                raise BadInput(f"training: {name} {getattr(self, name)}: at least 1")
        for name in ("mixup", "tone_weight", "cache_gb", "checkpoint_minutes", "clip_norm", "weight_decay"):
            if not getattr(self, name) >= 0:
                raise BadInput(f"training: {name} {getattr(self, name)}: at least 0")
        for name in ("learning_rate", "encoder_learning_rate", "batch_seconds"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise BadInput(f"training: {name} {getattr(self, name)}: above 0")
        if not 0 <= self.warmup_fraction < 1:
            raise BadInput(f"training: warmup_fraction {self.warmup_fraction}: in [0, 1)")
        if not (0 <= self.soft_weight <= 1 and 0 <= self.label_smoothing < 1):
            raise BadInput(
                f"training: soft_weight {self.soft_weight} must lie in [0, 1], "
                f"label_smoothing {self.label_smoothing} in [0, 1)"
            )


CNN_FIT = FitOptions()
WAV2VEC2_FIT = FitOptions(epochs=15, learning_rate=1e-3, encoder_learning_rate=1e-5, patience=5)
