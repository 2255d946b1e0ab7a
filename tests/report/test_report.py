"""The figures step and the report page, built from small inputs in the formats of the steps before them."""

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ser_tasks.builds import figures, report
from ser_tasks.config import RANDOM_ENCODER
from ser_tasks.report.embedding_figures import embedding_pictures
from ser_tasks.report.figures import SYNTHETIC, Scene, file_name, style
from tests.report.studies import COLLAPSED, OVER_ALL, SHARED, make_study

HOSTILE = '"><script>alert(1)</script>'
NETWORKS = ("cnn", "wav2vec2")


def build_both(root: Path, **choices: Any) -> Path:
    """Build figures and page; returns the report's folder."""
    study = make_study(root / "inputs", **choices)
    drawn, page = root / "figures", root / "report"
    drawn.mkdir()
    page.mkdir()
    figures.build(study.inputs, study.figures_params, drawn)
    report.build(study.inputs | {"figures": drawn}, study.report_params, page)
    return page


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def words_of(report: Path) -> str:
    """The page without its pictures, whose bytes can spell anything."""
    return re.sub(r'src="[^"]*"', "", (report / "index.html").read_text())


class Page(HTMLParser):
    """Every start tag, and the text of the table rows."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[str] = []
        self.in_row = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append("")
            self.in_row = True

    def handle_endtag(self, tag: str) -> None:
        self.in_row = self.in_row and tag != "tr"

    def handle_data(self, data: str) -> None:
        if self.in_row:
            self.rows[-1] += f"{data} "

    def attributes(self, tag: str, name: str) -> list[str]:
        return [attributes.get(name) or "" for found, attributes in self.tags if found == tag and name in attributes]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a study with four models, two emotion corpora and a rated trait, all synthetic."""
    return build_both(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a study on real corpora without a trait."""
    return build_both(tmp_path_factory.mktemp("plain"), synthetic=False, trait=False, models=NETWORKS)


def test_equal_inputs_give_equal_bytes_in_another_process(whole: Path, tmp_path: Path) -> None:
    code = "import sys, pathlib, tests.report.test_report as t; t.build_both(pathlib.Path(sys.argv[1]))"
    environment = os.environ | {"PYTHONHASHSEED": "77", "OMP_NUM_THREADS": "1", "TZ": "Asia/Tokyo"}
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True, env=environment, cwd=Path(__file__).parents[2])
    again = bytes_of(tmp_path / "report")
    assert [name for name, body in bytes_of(whole).items() if again.pop(name, b"") != body] == []
    assert not again


def test_every_figure_has_png_svg_data_a_link_and_words_for_who_cannot_see_it(whole: Path) -> None:
    index = json.loads((whole.parent / "figures" / "index.json").read_text())
    page = Page((whole / "index.html").read_text())
    names = {entry["name"] for entry in index}
    pairs = {f"confusion-{m}-{c}" for m in ("baseline", "cnn", "wav2vec2", "probe") for c in ("crema_d", "ravdess")}
    pairs |= {"calibration-crema_d", "calibration-ravdess"}
    others = {"uar", "learning-cnn", "learning-wav2vec2", "embeddings-pca", "embeddings-umap", "trait-score"}
    assert names == pairs | others | {"trait-prosody"}
    for entry in index:
        assert (whole / entry["png"]).read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (whole / entry["svg"]).read_text()
        assert len(pd.read_csv(whole / entry["data"])) > 0
        assert {entry["png"], entry["svg"], entry["data"]} <= set(page.attributes("a", "href"))
        assert entry["alt"] in page.attributes("img", "alt")
    assert len(page.attributes("img", "src")) == len(index)


def test_the_page_needs_no_network_and_every_link_leads_somewhere(whole: Path) -> None:
    html = (whole / "index.html").read_text()
    page = Page(html)
    assert all(source.startswith("data:image/png;base64,") for source in page.attributes("img", "src"))
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.tags}
    assert "http://" not in html and "https://" not in html
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    for link in page.attributes("a", "href"):
        assert link[1:] in ids if link.startswith("#") else (whole / link).is_file(), link


def test_a_random_encoder_is_named_in_every_row_and_figure_that_it_is_in(whole: Path) -> None:
    page = Page((whole / "index.html").read_text())
    rows = [row for row in page.rows if "wav2vec2, small, random" in row]
    assert len(rows) == 5  # two results, two comparisons, one line of learning details
    assert all(RANDOM_ENCODER in row for row in rows)
    others = [row for row in page.rows if "CNN on log-mel" in row and "wav2vec2" not in row]
    assert others and not any(RANDOM_ENCODER in row for row in others)
    for name in ("confusion-wav2vec2-crema_d", "confusion-wav2vec2-ravdess", "learning-wav2vec2"):
        assert set(pd.read_csv(whole / "data" / f"{name}.csv")["note"]) == {RANDOM_ENCODER}
    for name in ("uar", "results"):
        table = pd.read_csv(whole / "data" / f"{name}.csv").set_index("model")
        assert set(table.loc["wav2vec2", "note"]) == {RANDOM_ENCODER}
        assert table.loc["cnn", "note"].isna().all()


def test_the_encoders_note_is_in_the_data_of_the_embeddings_figures() -> None:
    rng = np.random.default_rng(0)
    ids = [f"u{i}" for i in range(12)]
    clips = pd.DataFrame({"utterance_id": ids, "speaker_id": "s", "emotion": ["angry", "sad"] * 6})
    with style():
        pictures = embedding_pictures(
            rng.normal(size=(12, 5)),
            clips,
            {"title": "wav2vec2", "note": RANDOM_ENCODER},
            None,
            Scene("", "iemocap", synthetic=True, seed=0),
        )
    assert [picture.name for picture in pictures] == ["embeddings-pca", "embeddings-umap"]
    for picture in pictures:
        assert set(picture.data["note"]) == {RANDOM_ENCODER}
        assert RANDOM_ENCODER in picture.title
        said = picture.figure.get_supxlabel()
        assert RANDOM_ENCODER in said and SYNTHETIC in said


def test_synthetic_corpora_are_called_so_on_the_page_and_in_the_data(whole: Path) -> None:
    html = (whole / "index.html").read_text()
    assert "Synthetic speech." in html and "crema_d, ravdess, iemocap are" in html
    for table in [*(whole / "data").glob("[!rl]*.csv"), whole / "data" / "results.csv"]:
        assert set(pd.read_csv(table)["synthetic"]) == {"yes"}, table


def test_real_corpora_carry_no_synthetic_warning(plain: Path) -> None:
    assert "synthetic" not in words_of(plain).lower()
    assert set(pd.read_csv(plain / "data" / "results.csv")["synthetic"]) == {"no"}


def test_a_study_without_a_trait_has_a_page_without_one(plain: Path) -> None:
    words = words_of(plain)
    assert "AUC" not in words and "Embeddings" not in words
    assert not list((plain / "figures").glob("trait-*"))


def test_several_seeds_have_a_table_and_a_sentence_and_one_seed_has_neither(plain: Path, tmp_path: Path) -> None:
    report = build_both(tmp_path, synthetic=False, trait=False, models=NETWORKS, seeds=True)
    words = " ".join(re.sub(r"<[^>]*>", "", words_of(report)).split())
    rows = [" ".join(row.split()) for row in Page((report / "index.html").read_text()).rows]
    assert "CNN on log-mel 0.550 0.075 2 3: 0.600, 4: 0.500" in rows
    assert any(row.startswith(f"wav2vec2, small, random {RANDOM_ENCODER} 0.200 0.025 2") for row in rows)
    assert "minus CNN on log-mel, over seeds and speakers: −0.350 (−0.450 to −0.250), p &lt; .001: CNN on" in words
    assert "4 speaker(s): too few for a verdict" in words
    assert "over seeds" not in words_of(plain).lower()


def test_a_trait_without_ratings_says_that_it_is_a_stand_in(tmp_path: Path) -> None:
    page = build_both(tmp_path, rated=False, models=NETWORKS)
    assert "stand-in without ratings" in (page / "index.html").read_text()
    scores = pd.read_csv(page / "data" / "trait-score.csv")
    assert scores["rating"].isna().all()
    assert scores["note"].str.contains("stand-in without ratings").all()


def test_a_hostile_corpus_name_is_text_and_nothing_else(tmp_path: Path) -> None:
    page = build_both(tmp_path, train_corpus=HOSTILE, trait=False, models=NETWORKS)
    parsed = Page((page / "index.html").read_text())
    assert not [tag for tag, _ in parsed.tags if tag == "script"]
    assert any(HOSTILE in row for row in parsed.rows)
    assert all((page / link).is_file() for link in parsed.attributes("a", "href") if not link.startswith("#"))


def test_the_tables_say_what_the_steps_found(whole: Path) -> None:
    html = (whole / "index.html").read_text()
    page = Page(html)
    metrics = json.loads(min((whole.parent / "inputs").glob("*/metrics.json")).read_text())
    row = " ".join(page.rows[1].split())
    assert metrics["title"] in row and f"{metrics['uar']['value']:.3f}" in row and "0.167" in row
    assert f"no verdict: one of them is {RANDOM_ENCODER}" in html
    assert "AUC inside speakers 0.840 (0.740 to 0.920); AUC of one clip of an unknown speaker 0.700 (0.600" in html
    assert "Evaluation e1e1e1e1e1e1:" in html
    assert "with 4 speakers it means little" in html
    assert "4 speaker(s): too few for a verdict, which needs 6 for one comparison" in html
    assert "In simulations such an interval held the truth in" in html and "88 % with 4 speakers" in html
    assert "Labels, 120 clips: 20 surprised count as happy; left out: 20 calm." in html
    assert "Against people who heard the voice, the same 100 clips" in html
    assert "macro-F1: unweighted mean of their F1" in html
    assert "at most 1 % of samples are clipped: 7 rows (crema_d-0000, a/0.wav" in html
    assert "ravdess: 2 clips: emotion surprised is not among the study" in html
    assert "2 sentences are spoken in train and in test, as acted corpora repeat them: DFA, IEO" in " ".join(
        html.split()
    )


def test_what_comes_out_adapted_without_labels_stands_apart_with_what_that_supposes(whole: Path) -> None:
    html = (whole / "index.html").read_text()
    assert "Adapted without labels: the mean and the spread of each clip" in html
    rows = [" ".join(row.split()) for row in Page(html).rows]
    by_speaker = next(
        row for row in rows if row.endswith("110 10 supposes that a speaker's clips cover the emotions alike")
    )
    assert by_speaker.startswith("speaker 0.")
    assert "corpus 0 120 supposes that the corpus's clips cover the emotions alike" in rows


def test_every_corpus_shows_how_it_was_recorded_and_what_that_leads_one_to_expect(whole: Path) -> None:
    html = (whole / "index.html").read_text()
    rows = [" ".join(row.split()) for row in Page(html).rows]
    cells = "54 34 −30.0 (−30.0 to −30.0) −70.0 (−70.0 to −70.0) 40.0 (40.0 to 40.0) 7.7 (7.7 to 7.7) 0"
    shown = [row.split()[0] for row in rows if row.endswith(cells)]
    assert shown == ["crema_d", "ravdess", "iemocap"]  # the training corpus first
    words = " ".join(re.sub(r"<[^>]*>", " ", html).split())
    said = "Half of it is silence (54\u00a0%). It is noisier."
    assert f"What the recordings of ravdess mean for models trained on crema_d: {' '.join(said.split())}" in words


def test_beside_a_number_stands_which_labels_it_is_about_the_open_one_and_what_is_odd_of_the_answers(
    plain: Path,
) -> None:
    rows = [" ".join(row.split()) for row in Page((plain / "index.html").read_text()).rows]
    results = [
        row for row in rows if row.startswith("CNN on log-mel ") and ("within UAR" in row or "across UAR" in row)
    ]
    within, across = results
    assert OVER_ALL in within and SHARED not in within and COLLAPSED not in within
    assert SHARED in across and COLLAPSED in across
    words = " ".join(re.sub(r"<[^>]*>", "", words_of(plain)).split())
    assert "when any label of the models may be answered: +0.200 (0.100 to 0.300), wav2vec2 is better" in words
    assert "When any label may be answered: UAR 0.123 (0.100 to 0.200)" in words
    assert "Among the shared labels, class shares differ" in words
    uar = json.loads((plain.parent / "figures" / "index.json").read_text())[0]
    assert uar["name"] == "uar" and "Crosses: when any label" in uar["caption"]
    assert "0.12 (0.10 to 0.20) when any label may be answered, 391 of 466 clips are called sad" in uar["alt"]
    for name in ("uar", "results"):
        table = pd.read_csv(plain / "data" / f"{name}.csv").set_index(["model", "relation"])
        assert table.loc[("cnn", "across"), "uar_open"] == 0.123
        assert pd.isna(table.loc[("cnn", "within"), "uar_open"])
        assert table.loc[("cnn", "across"), "answers"] == COLLAPSED
        assert table.loc[("cnn", "within"), "labels"] == OVER_ALL


@pytest.mark.parametrize("clips", [3, 4, 6])
def test_few_clips_give_maps_or_none_but_no_failure(clips: int) -> None:
    frame = pd.DataFrame({"utterance_id": [f"u{i}" for i in range(clips)], "speaker_id": "s", "emotion": "sad"})
    with style():
        pictures = embedding_pictures(
            np.random.default_rng(0).normal(size=(clips, 8)).astype(np.float16),
            frame,
            {"title": "CNN", "note": ""},
            None,
            Scene("", "c", synthetic=False, seed=0),
        )
    assert len(pictures) == (2 if clips >= 4 else 0)
    assert all(np.isfinite(picture.data[["x", "y"]].to_numpy()).all() for picture in pictures)


def test_file_names_hold_nothing_that_a_path_or_link_would_read() -> None:
    assert file_name("confusion", "cnn", "../a b?#<c>") == "confusion-cnn-.._a_b_c_"
