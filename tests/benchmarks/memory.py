"""`memory`: peak resident memory of training the CNN on a corpus of CREMA-D's size, on a CPU, in a process of its own.

One epoch of it: every later one takes the same. The memory map counts as far as it is resident.
"""

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from ser_tasks.audio.packed import PackedAudio
from ser_tasks.audio.shards import unpack
from ser_tasks.config import load_config
from ser_tasks.models.files import ModelSpec, build_model
from ser_tasks.training.fit import Examples, FitOptions, fit
from tests.benchmarks.common import finish, shards_of, speech_of_crema_d_lengths

LIMIT_GB = 2.5
LABELS = ["ANG", "DIS", "FEA", "HAP", "NEU", "SAD"]


def train_one_epoch(packed: Path) -> float:
    """Train on four fifths of the clips, look at the rest; peak resident memory in 10^9 bytes."""
    recipe = load_config("crema_d").cnn
    audio = PackedAudio.open(packed)
    rows = [(i, LABELS.index(name.split("_")[2])) for i, name in enumerate(audio.utterance_ids)]
    cut = len(rows) * 4 // 5
    model = build_model(ModelSpec("cnn", recipe.options.model_dump(mode="json"), LABELS))
    options = FitOptions(**recipe.fit.model_dump(mode="json") | {"epochs": 1})
    fit(model, Examples(audio, rows[:cut]), Examples(audio, rows[cut:]), LABELS, options)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main() -> int:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as made:
        shards, packed = Path(made, "shards"), Path(made, "packed")
        shards.mkdir()
        shards_of(speech_of_crema_d_lengths(), shards)
        unpack(shards, packed)
        command = [sys.executable, "-m", "tests.benchmarks.memory", str(packed)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    peak = float(done.stdout)
    return finish("memory", {"peak_rss_gb": peak}, {}, {}, peak <= LIMIT_GB)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(train_one_epoch(Path(sys.argv[1])))
    else:
        sys.exit(main())
