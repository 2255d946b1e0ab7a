"""One typed StudyConfig, read from `include/configs/*.yaml`. Unknown keys are refused."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from ser_tasks.errors import BadInput

CANONICAL_EMOTIONS = (
    "angry", "disgust", "fear", "happy", "neutral", "sad",
    "calm", "surprised", "frustrated", "excited", "other",
)  # fmt: skip
"""CREMA-D's six first, then what other corpora add."""

Emotion = Literal[
    "angry", "disgust", "fear", "happy", "neutral", "sad", "calm", "surprised", "frustrated", "excited", "other"
]
Role = Literal["train", "dev", "gate", "test"]
ModelName = Literal["cnn", "wav2vec2", "probe", "baseline"]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.-]*$")]

BASELINE_TITLE = "speech statistics + logistic regression"
RANDOM_ENCODER = "randomly initialised: says nothing about Wav2Vec2"


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Corpus(Strict):
    """A corpus: how to read it, and where a laptop has it."""

    reader: str = Field(description="a description in include/corpora, or a path to one that ends in .yaml")
    checksums: str | None = Field(
        default=None, description="file inside the corpus with the columns file, sha256, bytes: what every clip must be"
    )
    folder: str | None = Field(default=None, description="local folder that `make study` uploads to raw/<name>/")
    synthetic: bool = Field(
        default=False, description="made by this project's speech synthesis: said wherever figures show"
    )


class TestSet(Strict):
    """A corpus to test on, with the map from its emotions to the study's labels."""

    __test__ = False  # pytest: this is no test class

    corpus: Name
    label_map: dict[Emotion, Emotion] = Field(
        default={}, description="e.g. {calm: neutral}; emotions outside the labels after mapping are left out, counted"
    )
    variants: dict[str, dict[Emotion, Emotion]] = Field(
        default={}, description="other maps, reported beside it, by name: {calm as neutral: {calm: neutral}}"
    )


class EmotionTask(Strict):
    train_corpus: Name
    labels: Annotated[list[Emotion], Field(min_length=2)]
    label_map: dict[Emotion, Emotion] = Field(
        default={},
        description="of the training corpus, e.g. {excited: happy} for the four classes of IEMOCAP; votes follow it",
    )
    across: list[TestSet] = Field(default=[], description="other corpora to test on, never trained on")
    normalise: list[Literal["speaker", "corpus"]] = Field(
        default=["speaker", "corpus"],
        description="results adapted without labels that stand beside the plain ones: each clip's embedding is "
        "standardised by the unlabelled clips of its speaker, or of the corpus that is tested",
    )

    @model_validator(mode="after")
    def _maps_to_labels(self) -> Self:
        for emotion, label in self.label_map.items():
            if label not in self.labels:
                raise ValueError(f"label_map: {emotion} counts as {label}, which is not among labels")
            if emotion in self.labels:
                raise ValueError(
                    f"label_map: {emotion} counts as {label}, and is among labels itself: take it out of one"
                )
        return self


class Split(Strict):
    """Who is in train, dev, gate and test: by speaker, unless the policy's name says otherwise."""

    policy: Literal["hash", "kfold", "leave_one_session_out", "speakers", "speaker_dependent"] = "hash"
    shares: dict[Role, Annotated[float, Field(ge=0, le=1)]] = Field(
        default={"train": 0.6, "dev": 0.15, "gate": 0.1, "test": 0.15},
        description="policy hash: share of the speakers a role; policy speaker_dependent: of the clips, without gate",
    )
    folds: Annotated[int, Field(ge=3)] = Field(default=5, description="policy kfold: how many folds of speakers")
    fold: Annotated[int, Field(ge=0)] = Field(
        default=0, description="policy kfold: the fold that is test; the next one is dev"
    )
    gate_fold: bool = Field(default=False, description="policy kfold: the fold after dev is gate")
    session: str = Field(default="", description="policy leave_one_session_out: the session that is test")
    dev_session: str = Field(
        default="", description="policy leave_one_session_out: the session that is dev; empty: the one after `session`"
    )
    speakers: dict[Role, list[str]] = Field(default={}, description="policy speakers: who has which role")

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if self.policy in ("hash", "speaker_dependent"):
            if abs(sum(self.shares.values()) - 1) > 1e-6:
                raise ValueError(f"split.shares add up to {sum(self.shares.values()):g}, not 1")
            if not all(self.shares.get(role) for role in ("train", "dev", "test")):
                raise ValueError("split.shares needs a share above 0 for train, dev and test")
        if self.policy == "kfold":
            if self.fold >= self.folds:
                raise ValueError(f"split.fold is {self.fold}: with {self.folds} folds it is 0 to {self.folds - 1}")
            if self.gate_fold and self.folds < 4:
                raise ValueError("split.gate_fold needs at least 4 folds: train, dev, gate and test")
        if self.policy == "leave_one_session_out" and (not self.session or self.dev_session == self.session):
            raise ValueError("split.session names the session that is test, and split.dev_session another one")
        if self.policy == "speakers" and not all(self.speakers.get(role) for role in ("train", "dev", "test")):
            raise ValueError("split.speakers needs lists for train, dev and test")
        return self


class Labels(Strict):
    """What a clip's target is."""

    policy: Literal["intended", "majority", "votes"] = Field(
        default="intended",
        description="intended: the corpus's own emotion; majority: what most raters heard, dropped ratings included; "
        "votes: the same, and networks learn the distribution of the votes (fit.soft_weight, 1 unless it is set)",
    )


class Nights(Strict):
    """What ser_nightly_retrain does otherwise than a study."""

    start: Literal["encoder", "champion"] = Field(
        default="encoder",
        description="what a night's training of the networks starts from: as a study does, or the champion's weights",
    )


class Validation(Strict):
    """Bounds that the suites in `expectations/*.json` name; the rest stands there."""

    min_speakers: Annotated[int, Field(ge=1)] = 4
    min_clips_per_class: Annotated[int, Field(ge=1)] = 10
    max_rejected_share: Annotated[float, Field(ge=0, le=1)] = 0.05
    max_drift: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.15,
        description="distance from the last accepted version's distributions (0 equal, 1 disjoint) that is borne",
    )


class Fit(Strict):
    """How a network is trained. Fields as in ser_tasks.training.fit.FitOptions."""

    epochs: Annotated[int, Field(ge=1, le=1000)] = 40
    batch_size: Annotated[int, Field(ge=1)] = 32
    batch_seconds: PositiveFloat = 240.0
    accumulate: Annotated[int, Field(ge=1)] = 1
    learning_rate: PositiveFloat = 3e-3
    encoder_learning_rate: PositiveFloat | None = None
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    warmup_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1
    clip_norm: Annotated[float, Field(ge=0, description="longest gradient; 0: any")] = 1.0
    patience: Annotated[int, Field(ge=0)] = 0
    class_weights: bool = True
    class_sampling: bool = False
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    mixup: Annotated[float, Field(ge=0)] = 0.0
    soft_weight: Annotated[float, Field(ge=0, le=1)] = 0.0
    tone_weight: Annotated[float, Field(ge=0)] = 0.0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "float32", "bf16"] = "auto"
    compile: bool = False
    threads: NonNegativeInt = Field(default=0, description="of the CPU; 0: torch's own choice")
    cache_features: bool = True
    cache_gb: Annotated[float, Field(ge=0)] = 8.0
    checkpoint_epochs: Annotated[int, Field(ge=1)] = 1
    checkpoint_minutes: Annotated[float, Field(ge=0)] = 0.0


Share = Annotated[float, Field(ge=0, le=1)]
FrontEnd = Annotated[
    Literal["speech", "whole"],
    Field(description="speech: what is said, at one level; whole: the clip with its silence, at its own level"),
]
SPEECH: Literal["speech"] = "speech"
"""What networks hear unless they are told otherwise."""


MOST_MELS = 148
"""Mel bins of which each holds a frequency of a window of 25 ms at 16 kHz, 40 Hz apart (see audio.logmel.mel_power)."""


class CnnNetwork(Strict):
    """Size and augmentation of the CNN. Fields as in ser_tasks.models.cnn.CnnOptions; 0 switches a change off.

    The second head (`tone`) is there when `fit.tone_weight` is not 0.
    """

    front_end: FrontEnd = SPEECH
    n_mels: Annotated[int, Field(ge=32)] = 64
    channels: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (32, 64, 128, 256)
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3
    time_masks: NonNegativeInt = Field(default=2, description="SpecAugment (Park et al. 2019)")
    time_mask_fraction: Share = Field(default=0.15, description="greatest width of one mask, as a part of the clip")
    bin_masks: NonNegativeInt = 2
    bin_mask_width: NonNegativeInt = Field(default=8, description="greatest width of one mask, in mel bins")
    stretch: Annotated[float, Field(ge=0, le=0.5)] = Field(
        default=0.15, description="tempo between 1 - this and 1 + this"
    )
    bin_shift: NonNegativeInt = Field(default=2, description="spectrum up or down by at most so many mel bins")
    gain_db: Annotated[float, Field(ge=0, le=40)] = Field(default=3.0, description="level up or down by at most this")
    reverb: Share = Field(default=0.3, description="share of clips that are put into a room")
    reverb_s: tuple[PositiveFloat, PositiveFloat] = Field(
        default=(0.15, 0.8), description="the room's reverberation time is drawn between these"
    )
    noise: Share = Field(default=0.5, description="share of clips that get white noise, pink noise or other voices")
    noise_snr_db: tuple[float, float] = Field(
        default=(10.0, 45.0), description="how far the noise lies below speech is drawn between these"
    )
    colour_db: Annotated[float, Field(ge=0, le=20)] = Field(
        default=3.0, description="standard deviation of a microphone's gain at five frequencies, drawn for every clip"
    )
    band: Share = Field(default=0.3, description="share of clips that are cut to a telephone's band or below 4 kHz")
    silence: Share = Field(default=0.5, description="share of clips whose ends are moved")
    silence_s: Annotated[float, Field(ge=0, le=5)] = Field(
        default=0.1, description="most that is cut from, or added as silence to, either end"
    )
    time_shift: Share = Field(default=0.0, description="clip turned in a circle by at most this part of it")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        for name in ("noise_snr_db", "reverb_s"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} is {[low, high]}: the lower comes first")
        if self.n_mels > MOST_MELS:
            raise ValueError(
                f"n_mels is {self.n_mels}: with windows of 25 ms more than {MOST_MELS} mel bins leave some that "
                f"hold no frequency and are always the same: set it to {MOST_MELS} or less"
            )
        if self.bin_mask_width > self.n_mels or self.bin_shift >= self.n_mels:
            raise ValueError(f"bin_mask_width and bin_shift must be below n_mels, {self.n_mels}")
        return self


class Cnn(Strict):
    """The CNN on log-mel spectrograms."""

    options: CnnNetwork = CnnNetwork()
    fit: Fit = Fit()


class EncoderShape(Strict):
    """A small wav2vec2 with random weights, where none can be had; fields as in ser_tasks.models.encoders."""

    hidden_size: PositiveInt = 128
    layers: PositiveInt = 3
    heads: PositiveInt = 4
    feed_forward_size: PositiveInt = 256
    convolution_channels: PositiveInt = 64
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.hidden_size % 16 or self.hidden_size % self.heads:
            raise ValueError(f"hidden_size {self.hidden_size} must be a multiple of 16 and of heads, {self.heads}")
        return self


class Wav2Vec2Network(Strict):
    """What lies on the encoder and what of it is trained. Fields as in ser_tasks.models.wav2vec2.Wav2Vec2Options."""

    front_end: FrontEnd = SPEECH
    freeze_feature_encoder: bool = True
    freeze_layers: NonNegativeInt = Field(default=0, description="lowest transformer layers kept, and all below them")
    layers: Literal["last", "weighted"] = Field(default="last", description="weighted: learned sum of all layers")
    pooling: Literal["mean", "attentive"] = Field(
        default="mean", description="attentive: statistics (Okabe et al. 2018)"
    )
    attention_size: PositiveInt = 128
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    lora_rank: Annotated[int, Field(ge=0, le=256)] = Field(
        default=0,
        description="0: none; else only low-rank additions learn: raise fit.encoder_learning_rate to about 1e-3",
    )
    lora_alpha: PositiveFloat = 16.0
    layer_decay: Annotated[float, Field(gt=0, le=1)] = Field(
        default=1.0, description="each layer learns at this many times the rate of the one above"
    )
    time_mask: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0, description="share of frames silenced in spans before the transformer, in training (SpecAugment)"
    )
    layer_drop: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0, description="share of steps in which a transformer layer is passed over, in training"
    )
    gradient_checkpointing: bool = Field(default=False, description="less memory, more time")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.lora_rank and self.freeze_layers:
            raise ValueError("lora_rank keeps all layers as they are: set freeze_layers to 0")
        return self


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")]
Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]


class EncoderPin(Strict):
    """Which weights exactly: checked when they are mirrored and before they are trained from."""

    revision: Commit | None = Field(
        default=None,
        description="commit on the hub, all 40 digits: a branch or a pull request moves on; None: what is mirrored, "
        "else the newest",
    )
    sha256: dict[str, Sha256] = Field(default={}, description="of files by name, every *.safetensors among them")


class Wav2Vec2(Strict):
    """The fine-tuned speech encoder."""

    encoder: str = Field(
        default="facebook/wav2vec2-base", description="name on the hub, or of a folder under encoders/"
    )
    pin: EncoderPin = EncoderPin()
    offline_encoder: EncoderShape = EncoderShape()
    options: Wav2Vec2Network = Wav2Vec2Network()
    fit: Fit = Fit(epochs=15, batch_size=8, learning_rate=1e-3, encoder_learning_rate=1e-5, patience=5)


class Probe(Strict):
    """A frozen pretrained encoder and a linear probe. Takes part only where the encoder's weights can be had."""

    encoder: str
    folder: str | None = Field(
        default=None, description="local folder that `make study` uploads to encoders/<encoder>/"
    )
    pin: EncoderPin = EncoderPin()
    title: str = "frozen pretrained encoder + linear probe"


class Transfer(Strict):
    """Another corpus that a trait's direction is tried on. Without ratings and emotions its clips are only scored."""

    corpus: Name
    ratings: str | None = Field(default=None, description="file of ratings inside the corpus folder")
    high: list[Emotion] = Field(default=[], description="stand-in without ratings: emotions counted as high")
    low: list[Emotion] = Field(default=[], description="stand-in without ratings: emotions counted as low")


class Trait(Strict):
    """A continuous trait of speech and the two groups of clips that span its direction."""

    name: Name = "rudeness"
    corpus: Name
    ratings: str | None = Field(
        default="annotations/rudeness.csv", description="file of ratings inside the corpus folder"
    )
    threshold: float = Field(
        default=3.0, description="ratings above it: high; at or below it: low (scale 1-5, or 0.5 for binary)"
    )
    label_by: Literal["mean", "majority"] = Field(
        default="mean", description="mean: the mean rating is above the threshold; majority: most annotators' are"
    )
    high: list[Emotion] = Field(default=[], description="stand-in without ratings: emotions counted as high")
    low: list[Emotion] = Field(default=[], description="stand-in without ratings: emotions counted as low")
    permutations: Annotated[int, Field(ge=99)] = Field(
        default=300, description="shuffles of the labels in each null distribution; the smallest p is 1 / (1 + this)"
    )
    embedder: Literal["auto", "encoder", "probe", "wav2vec2", "cnn"] = Field(
        default="auto",
        description="encoder: the pretrained one as it is; wav2vec2, cnn, probe: the trained model; auto: encoder "
        "where its weights can be had, else the CNN",
    )
    precision: Literal["auto", "float32", "bf16"] = Field(
        default="float32",
        description="of the embedding; bf16 is about twice as fast where the device has it, and then a clip's "
        "embedding depends a little (cosine .999) on its batch",
    )
    parts: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=2, description="so many tasks share the embedding of a corpus, by its speakers"
    )
    transfer: list[Transfer] = Field(default=[], description="other corpora that the direction is tried on")

    @model_validator(mode="after")
    def _has_two_groups(self) -> Self:
        if self.ratings is None and not (self.high and self.low):
            raise ValueError("trait needs a file of ratings, or emotions for both high and low")
        return self


class Promotion(Strict):
    """When a challenger may become champion. Fields as in ser_tasks.evaluation.gate.GateOptions."""

    automatic: bool = Field(
        default=False,
        description="promote without asking a person what passes the gate and is shown better over all looks of a year",
    )
    margin: Annotated[float, Field(ge=0, le=1)] = Field(default=0.02, description="non-inferior: loses less UAR")
    min_speakers: PositiveInt = Field(default=5, description="fewer gate speakers decide nothing: a person does")
    corpus_margin: Annotated[float, Field(ge=0, le=1)] = Field(default=0.05, description="worst loss on a test corpus")
    slice_margin: Annotated[float, Field(ge=0, le=1)] = Field(default=0.10, description="worst loss of a large slice")
    large_slice_clips: PositiveInt = 50


class StudyConfig(Strict):
    """Everything that decides what a study does. Two equal configs on equal data give equal artifacts."""

    name: Name
    title: str
    seed: Annotated[int, Field(ge=0)] = 0
    seeds: Annotated[int, Field(ge=1, le=100)] = Field(
        default=1,
        description="so many trainings of the CNN and of wav2vec2, with seed, seed + 1, ...; the first is evaluated in "
        "full and registered",
    )
    corpora: dict[Name, Corpus]
    emotion: EmotionTask
    split: Split = Split()
    labels: Labels = Labels()
    nights: Nights = Nights()
    validation: Validation = Validation()
    cnn: Cnn = Cnn()
    wav2vec2: Wav2Vec2 = Wav2Vec2()
    probe: Probe | None = None
    trait: Trait | None = None
    promotion: Promotion = Promotion()
    bootstrap_resamples: Annotated[int, Field(ge=100)] = 2000

    @model_validator(mode="after")
    def _names_known_corpora(self) -> Self:
        named = {"emotion.train_corpus": self.emotion.train_corpus}
        named |= {f"emotion.across[{i}]": t.corpus for i, t in enumerate(self.emotion.across)}
        if self.trait:
            named["trait.corpus"] = self.trait.corpus
            named |= {f"trait.transfer[{i}]": t.corpus for i, t in enumerate(self.trait.transfer)}
        for place, corpus in named.items():
            if corpus not in self.corpora:
                raise ValueError(f"{place} is {corpus!r}, which is not among corpora: {', '.join(self.corpora)}")
        return self

    def portable(self) -> dict[str, Any]:
        """As JSON values, without the local folders: equal studies of two people are equal."""
        return self.model_dump(mode="json", exclude={"corpora": {"__all__": {"folder"}}, "probe": {"folder"}})

    @property
    def emotion_corpora(self) -> list[str]:
        """The training corpus first, then those tested across, each once."""
        return list(dict.fromkeys([self.emotion.train_corpus, *(t.corpus for t in self.emotion.across)]))

    @property
    def used_corpora(self) -> list[str]:
        """Every corpus that a stage of this study reads, in a fixed order."""
        return list(dict.fromkeys([*self.emotion_corpora, *self.trait_corpora]))

    @property
    def trait_corpora(self) -> list[str]:
        """The trait's corpus first, then those that its direction is tried on; empty without a trait."""
        if self.trait is None:
            return []
        return list(dict.fromkeys([self.trait.corpus, *(t.corpus for t in self.trait.transfer)]))


def configs_folder() -> Path:
    """Where the study configurations lie: $SER_CONFIGS, or include/configs beside the package."""
    return Path(os.environ.get("SER_CONFIGS") or Path(__file__).parents[1] / "include" / "configs")


def load_config(source: str | Path, overrides: dict[str, Any] | None = None) -> StudyConfig:
    """Read a configuration.

    Args:
        source: A path ending in .yaml, or the bare name of a file in `configs_folder()`.
        overrides: Dotted names to values, e.g. {"cnn.fit.epochs": 3}; None values are ignored.

    Raises:
        BadInput: No such file, not YAML, an unknown key, or a value out of range, each with its place.
    """
    path = Path(source) if str(source).endswith((".yaml", ".yml")) else configs_folder() / f"{source}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml"))) or "none"
        raise BadInput(f"config: {path} does not exist; in {path.parent} there are: {known}")
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise BadInput(f"config: {path} is not YAML: {error}") from error
    if not isinstance(tree, dict):
        raise BadInput(f"config: {path} holds no mapping of keys to values")
    for dotted, value in (overrides or {}).items():
        if value is not None:
            _put(tree, dotted, value)
    return parse_config(tree, str(path))


def parse_config(tree: dict[str, Any], origin: str) -> StudyConfig:
    """Check a configuration tree; every fault is named with its place. Raises BadInput."""
    try:
        return StudyConfig.model_validate(tree)
    except ValidationError as error:
        faults = [f"{'.'.join(str(p) for p in e['loc']) or 'config'}: {e['msg']}" for e in error.errors()]
        raise BadInput(f"config: {origin} has {len(faults)} fault(s): " + "; ".join(faults)) from error


def _put(tree: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
    tree[last] = value
