"""`make study`: which folders go where in the bucket."""

import shutil
from pathlib import Path

import pytest

from include.stack.drive import study_uploads
from include.stack.errors import StackError
from include.stack.layout import CHECKOUT

CONFIGS = CHECKOUT / "include" / "configs"


def prefixes(config: Path, folders: dict[str, Path]) -> dict[str, Path]:
    found = study_uploads(config, {name: str(folder) for name, folder in folders.items()})
    return {upload.prefix: upload.folder for upload in found}


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    made = {name: tmp_path / name for name in ("RAVDESS", "CREMA_D", "IEMOCAP")}
    for folder in made.values():
        folder.mkdir()
    return made


def test_weights_go_where_the_configuration_looks_for_them(folders: dict[str, Path], tmp_path: Path) -> None:
    weights = tmp_path / "wav2vec2-base"
    weights.mkdir()
    assert prefixes(CONFIGS / "crema_d.yaml", {**folders, "ENCODER": weights}) == {
        "raw/crema_d": folders["CREMA_D"],
        "raw/ravdess": folders["RAVDESS"],
        "raw/iemocap": folders["IEMOCAP"],
        "encoders/facebook--wav2vec2-base": weights,
    }


def test_weights_that_the_configuration_does_not_name_are_refused_in_words(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    other = tmp_path / "mine"
    other.mkdir()
    with pytest.raises(StackError, match=r"asks for facebook/wav2vec2-base, and the folder is called mine: rename it"):
        prefixes(CONFIGS / "crema_d.yaml", {**folders, "ENCODER": other})


def test_without_the_probes_folder_a_study_goes_on_without_the_probe(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    checkout = tmp_path / "checkout"
    (checkout / "include" / "configs").mkdir(parents=True)
    config = Path(shutil.copy(CONFIGS / "ravdess.yaml", checkout / "include" / "configs"))
    monkeypatch.setattr("include.stack.drive.CHECKOUT", checkout)  # beside which no weights lie
    assert prefixes(config, {"RAVDESS": folders["RAVDESS"]}) == {"raw/ravdess": folders["RAVDESS"]}
