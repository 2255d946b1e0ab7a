"""A model as a folder: `model.json` says what it is, `model.safetensors` holds every weight.

The folder is self-contained: an encoder's configuration and weights are in it, so that no hub and no other folder is
needed to load it. `model.json` is written last: a folder without it holds no model.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ser_tasks.errors import BadInput
from ser_tasks.models.adapted import NOT_CALIBRATED
from ser_tasks.models.baseline import Baseline
from ser_tasks.models.cnn import Cnn, CnnOptions
from ser_tasks.models.encoder import Encoder
from ser_tasks.models.encoders import EncoderShape, encoder_from_description, load_encoder
from ser_tasks.models.low_rank import merged_weights
from ser_tasks.models.probe import Probe
from ser_tasks.models.wav2vec2 import Wav2Vec2Classifier, Wav2Vec2Options

T = TypeVar("T")
_SPEC = "model.json"
_WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class ModelSpec:
    """What a model is.

    Attributes:
        architecture: cnn | wav2vec2 | probe | baseline.
        options: Of that architecture: the fields of `CnnOptions`; those of `Wav2Vec2Options` and `encoder`; `layer`
            and `encoder`; `n_mels`, `front_end`, `limit`. Missing ones take their defaults. `encoder` is {"random":
            fields of EncoderShape}, or left out where a folder of weights is given; a saved model holds what the
            encoder describes.
        labels: Canonical emotions in the order of the model's outputs.
        sample_rate_hz: Of the waveforms that it takes.
        title: What to call it in tables and figures.
        note: What a reader must know of it, for instance that it is randomly initialised; may be empty. A model with a
            note gets no verdict.
        remark: What else came out differently than it was asked for; may be empty.
        temperature: By which the weights of the last layer are divided already, so that the model's probabilities mean
            what they say: see ser_tasks.builds.scaling. None: none was fitted, as in models of before it was.
        temperature_clips: Dev clips that it was fitted on.
    """

    architecture: str
    options: dict[str, Any]
    labels: list[str]
    sample_rate_hz: int = 16_000
    title: str = ""
    note: str = ""
    remark: str = ""
    temperature: float | None = None
    temperature_clips: int = 0

    @property
    def calibration(self) -> str:
        """What is to be known of the model's probabilities."""
        if self.temperature is None:
            return NOT_CALIBRATED
        if self.temperature == 1:
            return f"not scaled: the model is right on all {self.temperature_clips} dev clips, which fit no temperature"
        return f"scaled by temperature {self.temperature:.2f}, fitted on {self.temperature_clips} dev clips"


def build_model(spec: ModelSpec, encoder_folder: Path | None = None, seed: int = 0) -> nn.Module:
    """Build a model with fresh weights, or with an encoder's weights where a folder of them is given.

    Args:
        spec: What to build.
        encoder_folder: For wav2vec2 and probe; see `load_encoder`.
        seed: Decides the fresh weights.

    Raises:
        BadInput: The architecture or an option is unknown, or the encoder cannot be used.
    """
    if spec.architecture not in _BUILDERS:
        raise BadInput(f"model '{spec.architecture}': known are {', '.join(_BUILDERS)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _BUILDERS[spec.architecture](dict(spec.options), len(spec.labels), encoder_folder)


def save_model(folder: Path, model: nn.Module, spec: ModelSpec) -> None:
    """Write a model; what is half written cannot be loaded.

    Args:
        folder: Made if it is missing. A model in it is replaced.
        model: As `build_model` makes it.
        spec: Its options are replaced by the model's own full description.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _SPEC).unlink(missing_ok=True)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / _WEIGHTS)
    described = asdict(replace(spec, options=model.describe()))  # type: ignore[operator]
    described = {name: value for name, value in described.items() if name != "remark" or value}
    partial = folder / f"{_SPEC}.partial"
    partial.write_text(json.dumps(described, indent=1, ensure_ascii=False), encoding="utf-8")
    partial.rename(folder / _SPEC)


def load_model(folder: Path) -> tuple[nn.Module, ModelSpec]:
    """Load a model, in evaluation mode on the CPU.

    Raises:
        BadInput: The folder holds no whole model, or its weights do not fit its description.
    """
    spec = read_spec(folder)
    if spec.architecture in _WITH_FRONT_END:  # models that were saved before there was a choice heard the whole clip
        spec = replace(spec, options={"front_end": "whole", **spec.options})
    if spec.architecture == "baseline":  # the same of their features' limit
        spec = replace(spec, options={"limit": None, **spec.options})
    model = build_model(spec)
    try:
        model.load_state_dict(load_file(folder / _WEIGHTS))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise BadInput(f"{folder / _WEIGHTS}: does not fit {_SPEC}: {error}") from error
    return model.eval(), spec


def read_spec(folder: Path) -> ModelSpec:
    """What a saved model is, without its weights. Raises BadInput when the folder holds no whole model."""
    path = folder / _SPEC
    if not path.is_file():
        raise BadInput(f"{folder}: no {_SPEC}: not a model, or saving it was cut off: train or fetch it again")
    return _from_fields(ModelSpec, json.loads(path.read_text(encoding="utf-8")), str(path))


def plain_copy(model: nn.Module, spec: ModelSpec) -> nn.Module:
    """A copy on the CPU in evaluation mode, low-rank additions merged into the weights that they belong to."""
    options = model.describe()  # type: ignore[operator]
    if "lora_rank" in options:
        options["lora_rank"] = 0
    copied = build_model(replace(spec, options=options))
    copied.load_state_dict(merged_weights(model))
    return copied.eval()


def _cnn(options: dict[str, Any], n_classes: int, _: Path | None) -> nn.Module:
    options = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    return Cnn(_from_fields(CnnOptions, options, "cnn"), n_classes)


def _wav2vec2(options: dict[str, Any], n_classes: int, folder: Path | None) -> nn.Module:
    encoder = _encoder(options.pop("encoder", None), folder, "wav2vec2")
    return Wav2Vec2Classifier(encoder, _from_fields(Wav2Vec2Options, options, "wav2vec2"), n_classes)


def _probe(options: dict[str, Any], n_classes: int, folder: Path | None) -> nn.Module:
    encoder = _encoder(options.pop("encoder", None), folder, "probe")
    return Probe(encoder, n_classes, **_known(options, {"layer"}, "probe"))


def _baseline(options: dict[str, Any], n_classes: int, _: Path | None) -> nn.Module:
    return Baseline(n_classes, **_known(options, {"n_mels", "front_end", "limit"}, "baseline"))


_BUILDERS: dict[str, Callable[[dict[str, Any], int, Path | None], nn.Module]] = {
    "cnn": _cnn,
    "wav2vec2": _wav2vec2,
    "probe": _probe,
    "baseline": _baseline,
}


_WITH_FRONT_END = ("cnn", "wav2vec2", "baseline")
"""Architectures with the option; a probe's is part of its encoder's description."""


def _encoder(given: dict[str, Any] | None, folder: Path | None, place: str) -> Encoder:
    if folder is not None:
        return load_encoder(folder)
    if given is None:
        raise BadInput(f'{place}: no encoder: give a folder of weights, or the option encoder = {{"random": {{}}}}')
    if "random" in given:
        return load_encoder(random=_from_fields(EncoderShape, given["random"], f"{place}.encoder.random"))
    return encoder_from_description(given)


def _known(options: dict[str, Any], names: set[str], place: str) -> dict[str, Any]:
    unknown = sorted(set(options) - names)
    if unknown:
        raise BadInput(f"{place}: unknown option '{unknown[0]}': known are {', '.join(sorted(names))}")
    return options


def _from_fields(cls: type[T], given: dict[str, Any], place: str) -> T:
    return cls(**_known(given, {field.name for field in fields(cls)}, place))  # type: ignore[arg-type]
