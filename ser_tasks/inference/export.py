"""A model as one file for other programs: ONNX, TorchScript, or torch.export's archive (pt2).

Log-mel or the encoder's own normalisation is inside, so that the file takes raw 16 kHz waveforms, in batches of any
size and clips of any length between the bounds. A JSON file beside it says what the inputs must be.
"""

import hashlib
import json
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchaudio.transforms import Spectrogram

from ser_tasks.errors import BadInput
from ser_tasks.models.cnn import Cnn
from ser_tasks.models.encoder_whisper import WhisperEncoder
from ser_tasks.models.files import ModelSpec, plain_copy

Format = Literal["onnx", "torchscript", "pt2"]
Run = Callable[[Tensor, Tensor], Sequence[Tensor]]

SUFFIXES: dict[str, str] = {"onnx": ".onnx", "torchscript": ".pt", "pt2": ".pt2"}
TOLERANCE = 1e-4
"""Greatest difference between an exported model's outputs and the model's own."""
SHORTEST = 400  # samples, 25 ms: one window of log-mel
LONGEST = 60 * 16_000  # samples; longer audio is cut into windows before

# Silence after every clip, in samples. It changes no output, and a graph that has it needs no branch for clips so short
# that they give one frame or none.
_SILENCE, _SILENCE_CNN = 1_600, 10_800


class _Exported(nn.Module):
    """What is recorded: the model with some silence behind each clip, and tone beside logits where there is a head."""

    def __init__(self, model: nn.Module, silence: int) -> None:
        super().__init__()
        self.model: Any = model.requires_grad_(False)
        self.silence = silence
        self.has_tone = getattr(model, "tone_head", None) is not None

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        waveforms = nn.functional.pad(waveforms, (0, self.silence))
        if self.has_tone:
            both: tuple[Tensor, Tensor] = self.model.forward_with_tone(waveforms, lengths)
            return both
        return (self.model(waveforms, lengths),)


class _ConvolvedSpectrogram(nn.Module):
    """A spectrogram as one convolution: ONNX's own operator rounds a hundred times as much, which quiet cells show."""

    kernels: Tensor

    def __init__(self, replaced: Spectrogram) -> None:
        super().__init__()
        size = replaced.n_fft
        before = (size - replaced.win_length) // 2
        window = nn.functional.pad(replaced.window.double(), (before, size - replaced.win_length - before))
        turns = torch.outer(torch.arange(size // 2 + 1), torch.arange(size)).remainder(size).double() / size
        waves = torch.cat([(2 * torch.pi * turns).cos(), (2 * torch.pi * turns).sin()])
        self.register_buffer("kernels", (window * waves).float()[:, None])
        self.hop = replaced.hop_length

    def forward(self, waveforms: Tensor) -> Tensor:
        """Power: float32 [batch, samples] -> [batch, frequencies, frames], no frame reaching past the ends."""
        real, imaginary = nn.functional.conv1d(waveforms[:, None], self.kernels, stride=self.hop).chunk(2, dim=1)
        return real.square() + imaginary.square()


def export_model(model: nn.Module, spec: ModelSpec, out: Path, format: Format) -> Path:
    """Write a model as one file, and `<file>.json` beside it, which says what it takes and gives.

    The file is run before it is kept: its outputs must equal the model's to within `TOLERANCE`, for several lengths
    and sizes of batch.

    Args:
        model: As `load_model` gives it.
        spec: Of the model.
        out: Folder, made if it is missing, for `model.onnx`, `model.pt` or `model.pt2`; or a path with that suffix.
        format: onnx needs the packages onnx, onnxscript and onnxruntime.

    Returns:
        Path of the file.

    Raises:
        BadInput: The format is unknown, a package is missing, or the file's outputs are not the model's.
    """
    if format not in SUFFIXES:
        raise BadInput(f"export: format '{format}': known are {', '.join(SUFFIXES)}")
    path = out if out.suffix == SUFFIXES[format] else out / f"model{SUFFIXES[format]}"
    path.parent.mkdir(parents=True, exist_ok=True)
    exported = _Exported(plain_copy(model, spec), _SILENCE_CNN if isinstance(model, Cnn) else _SILENCE)
    longest = _longest(exported)
    partial = path.with_name(f".{path.name}.partial")
    others = " or ".join(name for name in SUFFIXES if name != format)
    try:
        with torch.no_grad():
            difference = _difference(_WRITERS[format](exported, partial, longest), model, longest)
        if not difference <= TOLERANCE:
            raise BadInput(f"export: outputs of the {format} file differ by {difference:.2g}: choose {others}")
        described = _describe(spec, partial, format, exported.has_tone, longest) | {
            "file": path.name,
            "greatest_difference_found": difference,
        }
        path.with_name(f"{path.name}.json").write_text(json.dumps(described, indent=1, ensure_ascii=False))
        partial.rename(path)
    except RuntimeError as error:  # of the exporter, or of the graph when it is run
        reason = str(error).strip().splitlines()[0]
        raise BadInput(f"export: {format} cannot hold this model ({reason:.200}): choose {others}") from error
    finally:
        partial.unlink(missing_ok=True)
    return path


def check_inputs(description: Mapping[str, Any], waveforms: NDArray[Any], lengths: NDArray[Any]) -> None:
    """Look whether a batch is what an exported model takes.

    Args:
        description: The JSON file beside the model.
        waveforms: Should be float32 [batch, samples] in [-1, 1].
        lengths: Should be int64 [batch], samples of each clip.

    Raises:
        BadInput: Names what is wrong: type, number of dimensions, length, or values that are not finite.
    """
    for name, value in (("waveforms", waveforms), ("lengths", lengths)):
        wanted = description["inputs"][name]
        if str(value.dtype) != wanted["dtype"] or value.ndim != len(wanted["shape"]):
            raise BadInput(
                f"{name}: {value.dtype} with {value.ndim} dimensions: must be {wanted['dtype']} {wanted['shape']}"
            )
    low, high = description["inputs"]["waveforms"]["samples"]
    if not low <= waveforms.shape[1] <= high:
        raise BadInput(
            f"waveforms: {waveforms.shape[1]} samples: must be {low} to {high}: fill up, or cut into windows"
        )
    if len(lengths) != len(waveforms) or not len(lengths):
        raise BadInput(f"lengths: {len(lengths)} of them for {len(waveforms)} waveforms: must be one for each")
    if lengths.min() < 1 or lengths.max() > waveforms.shape[1]:
        raise BadInput(f"lengths: {lengths.min()} to {lengths.max()}: must be 1 to {waveforms.shape[1]} samples")
    if not np.isfinite(waveforms).all():
        raise BadInput("waveforms: a sample is NaN or infinite")


def _longest(exported: _Exported) -> int:
    encoder = getattr(exported.model, "encoder", None)
    if isinstance(encoder, WhisperEncoder):  # what is longer takes another window: another graph
        room = encoder.speech.room if encoder.speech is not None else 0
        return min(LONGEST, encoder.window - exported.silence - room)
    return LONGEST


def _example(lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    waveforms = 0.3 * torch.randn(len(lengths), max(lengths), generator=generator).cumsum(dim=1).sin()
    return waveforms, torch.tensor(lengths)


def _difference(run: Run, model: nn.Module, longest: int) -> float:
    """Greatest difference over batches of several sizes and lengths, the bounds among them."""
    place = next((tensor.device for tensor in model.state_dict().values()), torch.device("cpu"))
    found = 0.0
    for lengths in ([SHORTEST], [20_000], [31_999, 700, 16_000], [9_000] * 5, [min(longest, 160_000), 24_000]):
        waveforms, counted = _example(lengths)
        own: Any = model.eval()
        tone = getattr(own, "tone_head", None) is not None
        expected = (own.forward_with_tone if tone else own)(waveforms.to(place), counted.to(place))
        for value, wanted in zip(run(waveforms, counted), expected if tone else (expected,), strict=True):
            found = max(found, float((value - wanted.cpu()).abs().max()))
    return found


def _dynamic(longest: int) -> tuple[dict[int, Any], dict[int, Any]]:
    batch = torch.export.Dim("batch", min=1)
    return {0: batch, 1: torch.export.Dim("samples", min=SHORTEST, max=longest)}, {0: batch}


def _write_onnx(exported: _Exported, path: Path, longest: int) -> Run:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 - torch.onnx needs it
    except ImportError as error:
        raise BadInput(f"export: onnx needs the package {error.name}: pip install -r requirements.txt") from error
    logging.getLogger("torch.onnx._internal.exporter").setLevel(logging.ERROR)  # tells of torchvision, which is absent
    names = ["logits", "tone"] if exported.has_tone else ["logits"]
    for module in list(exported.modules()):
        for name, part in module.named_children():
            if isinstance(part, Spectrogram) and not part.center:
                setattr(module, name, _ConvolvedSpectrogram(part))
    program: Any = torch.onnx.export(
        exported, _example([20_000, 9_000]), dynamo=True, dynamic_shapes=_dynamic(longest),
        input_names=["waveforms", "lengths"], output_names=names, verbose=False,
    )  # fmt: skip
    program.save(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(waveforms: Tensor, lengths: Tensor) -> list[Tensor]:
        values = session.run(names, {"waveforms": waveforms.numpy(), "lengths": lengths.numpy()})
        return [torch.from_numpy(value) for value in values]

    return run


def _write_torchscript(exported: _Exported, path: Path, longest: int) -> Run:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of branches, which the silence behind each clip decides once and for all
        traced: Any = torch.jit.trace(exported, _example([20_000, 9_000]), check_trace=False)  # type: ignore[no-untyped-call]
    torch.jit.save(traced, path)
    loaded: Run = torch.jit.load(path)  # type: ignore[no-untyped-call]
    return loaded


def _write_pt2(exported: _Exported, path: Path, longest: int) -> Run:
    program = torch.export.export(
        exported, _example([20_000, 9_000]), dynamic_shapes=_dynamic(longest), strict=False,
        prefer_deferred_runtime_asserts_over_guards=True,
    )  # fmt: skip
    with path.open("wb") as file:
        torch.export.save(program, file)
    with path.open("rb") as file:
        loaded: Run = torch.export.load(file).module()
    return loaded


_WRITERS: dict[str, Callable[[_Exported, Path, int], Run]] = {
    "onnx": _write_onnx,
    "torchscript": _write_torchscript,
    "pt2": _write_pt2,
}


def _describe(spec: ModelSpec, path: Path, format: str, has_tone: bool, longest: int) -> dict[str, Any]:
    outputs = {"logits": {"dtype": "float32", "shape": ["batch", len(spec.labels)], "labels": spec.labels}}
    tone = {"tone": {"dtype": "float32", "shape": ["batch"]}} if has_tone else {}
    return {
        "title": spec.title,
        "note": spec.note,
        "format": format,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "torch": torch.__version__,
        "inputs": {
            "waveforms": {
                "dtype": "float32",
                "shape": ["batch", "samples"],
                "samples": [SHORTEST, longest],
                "range": [-1.0, 1.0],
                "sample_rate_hz": spec.sample_rate_hz,
                "channels": 1,
            },
            "lengths": {"dtype": "int64", "shape": ["batch"], "unit": "samples; what lies past them is ignored"},
        },
        "outputs": {**outputs, **tone},
        "probabilities": "softmax over the labels of logits",
        "temperature": spec.temperature,
        "calibration": spec.calibration + ("" if spec.temperature is None else "; logits are divided by it already"),
    }
