"""Loading speech encoders: from a folder, from a description, or random. See `Encoder` for what they offer."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModel, Wav2Vec2Config
from transformers.models.whisper.modeling_whisper import WhisperEncoder as WhisperLayers

from ser_tasks.errors import BadInput
from ser_tasks.models.encoder import Encoder
from ser_tasks.models.encoder_wav2vec2 import Data2VecEncoder, Wav2Vec2Encoder, WavLMEncoder
from ser_tasks.models.encoder_wav2vec2_bert import Wav2Vec2BertEncoder
from ser_tasks.models.encoder_whisper import WhisperEncoder

_WRAPPERS: dict[str, Callable[[Any, bool], Encoder]] = {
    "wav2vec2": Wav2Vec2Encoder,
    "hubert": Wav2Vec2Encoder,
    "unispeech": Wav2Vec2Encoder,
    "unispeech-sat": Wav2Vec2Encoder,
    "wavlm": WavLMEncoder,
    "data2vec-audio": Data2VecEncoder,
    "wav2vec2-bert": lambda model, _: Wav2Vec2BertEncoder(model),
    "whisper": lambda model, _: WhisperEncoder(model),
}
KINDS = tuple(_WRAPPERS)
"""Values of `model_type` in config.json that can be used."""
FILES = ("config.json", "preprocessor_config.json", "*.safetensors", "*.safetensors.index.json")
"""All that is read of an encoder, as patterns of file names."""


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
    check_encoder(folder)
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    kind = str(config.model_type)
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
    return _WRAPPERS[kind](model.eval(), _normalises(folder))


def check_encoder(folder: Path, sha256: Mapping[str, str] | None = None) -> None:
    """Look whether a folder holds an encoder that can be used, without loading it.

    Args:
        folder: As for `load_encoder`.
        sha256: Expected SHA-256, in hex, of files by name; it must name every safetensors file. None or empty: any.

    Raises:
        BadInput: It does not; the weights are pickled; or a file is not the expected one.
    """
    weights = sorted(path.name for path in folder.glob("*.safetensors"))
    pickled = sorted(path.name for path in folder.glob("*") if path.suffix in (".bin", ".pt", ".pth", ".ckpt", ".pkl"))
    if not weights and pickled:
        raise BadInput(
            f"{folder}: {pickled[0]} is pickled, and pickled weights can run code when they are read: take a revision "
            "that has model.safetensors, or load them where you trust them and save them with transformers' "
            "save_pretrained"
        )
    if not weights or not (folder / "config.json").is_file():
        raise BadInput(
            f"{folder}: needs config.json and *.safetensors: "
            "save the encoder with transformers' save_pretrained, which writes both"
        )
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type", "unnamed")
    except (ValueError, AttributeError) as error:
        raise BadInput(f"{folder / 'config.json'}: not a configuration: {error}: copy it again") from error
    _known(kind, str(folder))
    if sha256:
        for name in dict.fromkeys([*sha256, *weights]):
            _check_digest(folder / name, sha256.get(name))


def encoder_from_description(description: dict[str, Any]) -> Encoder:
    """Build what `Encoder.describe` describes; its weights are to be loaded by the caller."""
    given = dict(description["config"])
    kind = _known(given.pop("model_type", "unnamed"), "model")
    config = _quiet(AutoConfig.for_model(kind, **given))
    model = WhisperLayers(config) if kind == "whisper" else AutoModel.from_config(config, dtype=torch.float32)
    encoder = _WRAPPERS[kind](model.eval(), bool(description["normalise"]))
    encoder.hear(description.get("front_end", "whole"))  # descriptions had none before there was a choice
    return encoder


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
    return Wav2Vec2Encoder(model.eval(), normalise=True)


def _known(kind: str, place: str) -> str:
    if kind not in _WRAPPERS:
        raise BadInput(f"{place}: an encoder of kind '{kind}': known are {', '.join(KINDS)}")
    return kind


def _check_digest(path: Path, expected: str | None) -> None:
    if not path.is_file():
        raise BadInput(f"{path}: absent, though its SHA-256 is given: take the revision that the digests were noted of")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if expected is None:
        raise BadInput(f"{path}: no SHA-256 is given for it, though others' are: add it, it is {found}")
    if found != expected.lower():
        raise BadInput(
            f"{path}: its SHA-256 is {found}, expected {expected}: copy it again, or note the new digest if the change "
            "is meant"
        )


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
