"""The registered model serves bytes, a path or an array, and says what `ser predict_wav` says, by its own needs."""

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import soundfile
from fastapi.testclient import TestClient
from mlflow.pyfunc import scoring_server
from typer.testing import CliRunner

from ser_tasks.cli import app
from ser_tasks.tracking import Training, register_training
from tests.trainings import make_training

RATE = 22_050
# Refuses every import of a package that the model's requirements do not bring.
HOOKED = """
import importlib.metadata, json, re, sys
from pathlib import Path

needs, todo = set(), [line.strip() for line in Path(sys.argv[1], "requirements.txt").read_text().splitlines()]
normal = lambda name: re.sub(r"[-_.]+", "-", name).lower()
while todo:
    name = normal(re.match(r"[A-Za-z0-9._-]+", todo.pop()).group())
    if name in needs:
        continue
    needs.add(name)
    try:
        todo += [each for each in importlib.metadata.requires(name) or [] if "extra ==" not in each]
    except importlib.metadata.PackageNotFoundError:
        pass  # of another platform
brought = importlib.metadata.packages_distributions()

class Only:  # finds what another finder finds, but of the requirements alone
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        package = name.partition(".")[0]
        owners = brought.get(package, []) if package != "ser_tasks" else []  # its own copy lies beside it
        refused = owners and not any(normal(owner) in needs for owner in owners)
        return None if refused else self.finder.find_spec(name, path, target)

sys.path = [place for place in sys.path if not Path(place or ".", "ser_tasks").is_dir()]  # its own copy, not ours
sys.meta_path = [Only(finder) for finder in sys.meta_path]
import mlflow, pandas, soundfile
model = mlflow.pyfunc.load_model(sys.argv[1])
samples, rate = soundfile.read(sys.argv[2], dtype="float32")
found = {
    "audio": pandas.DataFrame({"audio": [Path(sys.argv[2]).read_bytes()]}),
    "path": pandas.DataFrame({"path": [sys.argv[2]]}),
    "samples": pandas.DataFrame({"samples": [samples], "sample_rate": [rate]}),
}
import ser_tasks
print(json.dumps({
    "from": ser_tasks.__file__,
    "rows": {name: model.predict(frame).iloc[0].to_dict() for name, frame in found.items()},
    "example": model.predict(model.input_example).iloc[0].to_dict(),
}))
"""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    samples = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)
    path = tmp_path_factory.mktemp("clip") / "clip.wav"
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    return path


@pytest.fixture(scope="module", params=["wav2vec2", pytest.param("cnn", marks=pytest.mark.prove)])
def training(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Training:
    """Of each registered network; that of wav2vec2 needs more packages than the CNN."""
    return make_training(tmp_path_factory.mktemp("training"), f"ser-served-{request.param}", request.param)


@pytest.fixture(scope="module")
def registered(training: Training, mlflow_url: str, seaweedfs: dict[str, str]) -> Iterator[Path]:
    """The folder of a registered model, as a server would download it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**seaweedfs, "MLFLOW_TRACKING_URI": mlflow_url}.items():
            if name.startswith(("AWS_", "MLFLOW_")):
                patch.setenv(name, value)
        patch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        made = register_training(training)
        yield Path(mlflow.artifacts.download_artifacts(f"models:/{made['name']}/{made['version']}"))


def predicted_by_the_command_line(folder: Path, clip: Path) -> dict[str, float]:
    done = CliRunner().invoke(app, ["predict_wav", "--wav_path", str(clip), "--ckpt_dir", str(folder), "--json"])
    assert done.exit_code == 0, done.output
    return dict(json.loads(done.stdout)["probabilities"])


def assert_same(row: dict[str, Any], probabilities: dict[str, float]) -> None:
    assert {f"p_{name}": value for name, value in probabilities.items()} == pytest.approx(
        {name: value for name, value in row.items() if name != "label"}, abs=1e-5
    )
    assert row["label"] == max(probabilities, key=probabilities.__getitem__)


def assert_serves(python: str | Path, folder: Path, training: Training, clip: Path) -> None:
    done = subprocess.run([python, "-c", HOOKED, folder, clip], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["from"].startswith(str(folder))
    expected = predicted_by_the_command_line(training.folder, clip)
    assert found["rows"].keys() == {"audio", "path", "samples"}
    for row in found["rows"].values():
        assert_same(row, expected)
    assert found["example"]["label"] in expected


def test_every_way_in_gives_what_the_command_line_gives_with_the_models_own_requirements(
    registered: Path, training: Training, clip: Path
) -> None:
    assert_serves(sys.executable, registered, training, clip)


@pytest.mark.prove
def test_a_fresh_environment_of_its_requirements_serves_it(
    registered: Path, training: Training, clip: Path, tmp_path: Path
) -> None:
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    needs = registered / "requirements.txt"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--requirement", needs], check=True)
    assert_serves(python, registered, training, clip)


def test_a_row_without_a_clip_is_named(registered: Path, clip: Path) -> None:
    model = mlflow.pyfunc.load_model(str(registered))
    with pytest.raises(Exception, match="row 1: give one of audio, path or samples, not none"):
        model.predict(pd.DataFrame({"path": [str(clip), None]}))
    with pytest.raises(Exception, match="row 0: samples need their sample_rate"):
        model.predict(pd.DataFrame({"samples": [np.zeros(400, dtype=np.float32)]}))


def test_the_scoring_server_takes_bytes_and_arrays(registered: Path, training: Training, clip: Path) -> None:
    """What `mlflow models serve` does with a request, without its port."""
    client = TestClient(scoring_server.init(mlflow.pyfunc.load_model(str(registered))))
    expected = predicted_by_the_command_line(training.folder, clip)
    samples, rate = soundfile.read(clip, dtype="float32")
    requests = [
        {"audio": base64.b64encode(clip.read_bytes()).decode()},
        {"samples": samples.tolist(), "sample_rate": rate},
    ]
    for request in requests:
        answer = client.post("/invocations", json={"dataframe_records": [request]})
        assert answer.status_code == 200, answer.text
        assert_same(answer.json()["predictions"][0], expected)


@pytest.mark.prove
def test_the_command_line_of_mlflow_predicts_as_ours_does(
    registered: Path, training: Training, clip: Path, tmp_path: Path
) -> None:
    rows = [{"audio": base64.b64encode(clip.read_bytes()).decode()}]
    (tmp_path / "in.json").write_text(json.dumps({"dataframe_records": rows}))
    command = [sys.executable, "-m", "mlflow", "models", "predict", "--model-uri", registered, "--env-manager", "local"]
    command += ["--content-type", "json", "--input-path", tmp_path / "in.json", "--output-path", tmp_path / "out.json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    (row,) = json.loads((tmp_path / "out.json").read_text())["predictions"]
    assert_same(row, predicted_by_the_command_line(training.folder, clip))
