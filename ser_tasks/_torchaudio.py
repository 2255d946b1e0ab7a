"""Lets torchaudio import beside a CPU build of torch.

The torchaudio wheel on PyPI is linked to CUDA's libraries. Beside a CPU torch, loading its compiled extension raises
OSError, and so does everything that imports torchaudio, transformers' Wav2Vec2 among it. The parts used here
(MelSpectrogram, masking, Resample) are plain torch and need no extension. So: when, and only when, loading the
extension raises OSError, torchaudio's own loader answers that there is none, a state that it knows from builds
without one and handles by itself.
"""

import importlib.machinery
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType

_LOADER_MODULE = "torchaudio._extension.utils"  # where torchaudio keeps `_load_lib`


class _ForgivingLoader(importlib.machinery.SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        load = module._load_lib

        def load_if_it_can_be(lib: str) -> bool:
            try:
                return bool(load(lib))
            except OSError:
                return False

        module.__dict__["_load_lib"] = load_if_it_can_be


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != _LOADER_MODULE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is not None and spec.origin is not None:
            spec.loader = _ForgivingLoader(fullname, spec.origin)
        return spec


def install() -> None:
    """Put the hook in front of the import system, once."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
