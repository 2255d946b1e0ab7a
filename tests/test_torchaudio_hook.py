"""The hook is about a fresh interpreter, so each case starts one."""

import subprocess
import sys


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_torchaudio_and_wav2vec2_import_beside_whatever_torch_is_installed() -> None:
    code = """
import ser_tasks, torch, torchaudio
from transformers import Wav2Vec2Model
print(tuple(torchaudio.transforms.MelSpectrogram(n_fft=400, n_mels=40, center=False)(torch.zeros(1, 16000)).shape))
"""
    assert run(code) == "(1, 40, 79)"


def test_importing_ser_tasks_imports_neither_torch_nor_torchaudio() -> None:
    assert run("import sys, ser_tasks; print('torch' in sys.modules, 'torchaudio' in sys.modules)") == "False False"


def test_only_an_extension_that_cannot_be_loaded_is_forgiven() -> None:
    code = """
import ser_tasks, torch

def broken(path):
    raise RuntimeError("not about loading")

torch.ops.load_library = broken
try:
    import torchaudio
except RuntimeError as error:
    print(error)
"""
    assert run(code) == "not about loading"
