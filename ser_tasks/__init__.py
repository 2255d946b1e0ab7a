"""Speech emotion recognition as a batch workflow. Importing it costs nothing but the torchaudio hook."""

from ser_tasks import _torchaudio

_torchaudio.install()
