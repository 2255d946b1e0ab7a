"""The pictures, the page and the terminal's tables of a scanned corpus."""

import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from rich.console import Console

from ser_tasks.data.conditions import side_by_side
from ser_tasks.data.inspection import inspect_corpus
from ser_tasks.errors import BadInput
from ser_tasks.report.figures import SYNTHETIC
from ser_tasks.report.inspection_figures import chosen_clips
from ser_tasks.report.inspection_page import write_inspection_page
from ser_tasks.report.inspection_text import SHOWN_PROBLEMS, inspection_tables
from tests.report.corpora import ABOUT, listing, made_corpus, scanned


class Page(HTMLParser):
    """The texts of a page, its pictures and the addresses that it names."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for key, value in attrs if key in ("src", "href")]
        if tag == "img":
            self.images.append(dict(attrs))

    def handle_data(self, data: str) -> None:
        self.texts.append(" ".join(data.split()))


def tone(path: str) -> bytes:
    """A WAV file of a second."""
    body = io.BytesIO()
    samples = 0.3 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    soundfile.write(body, samples, 16000, format="WAV")
    return body.getvalue()


def written(
    tmp_path: Path,
    manifest: pd.DataFrame,
    read: Callable[[str], bytes] = tone,
    about: dict = ABOUT,
    **lists: pd.DataFrame,
) -> Page:
    report = inspect_corpus(
        manifest, *(lists.get(name, listing()) for name in ("rejected", "left_out", "missing")), about
    )
    write_inspection_page(report, manifest, read, tmp_path / "page.html")
    return Page((tmp_path / "page.html").read_text(encoding="utf-8"))


def printed(report: dict, width: int = 200) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    for table in inspection_tables(report):
        console.print(table)
    return console.export_text()


def test_the_page_of_the_real_ravdess_shows_pictures_figures_and_licence(ravdess: Path, tmp_path: Path) -> None:
    manifest = scanned(ravdess)
    about = {**ABOUT, "corpus": "ravdess", "licence": "CC BY-NC-SA 4.0", "commercial_use": False}
    page = written(tmp_path, manifest, lambda path: (ravdess / path).read_bytes(), about)
    text = " ".join(page.texts)
    assert "1,440 utterances of 24 speakers in 8 emotions" in text
    assert "CC BY-NC-SA 4.0" in text and "not allowed by the licence" in text
    assert "16000 Hz: 1,380, 48000 Hz: 60" in text and "mono: 1,438, stereo: 2" in text
    assert "nearly silent" in text and "same audio as another file" in text
    assert "gives the label away" not in text.replace("not give", "").split("Measured with")[0].split("Fact")[0]
    assert [str(image["alt"]).split(" ")[0] for image in page.images] == ["Clips", "24", "Medians", "Spectrograms"]
    assert "03-01-05-01-01-01-01 (angry)" in str(page.images[3]["alt"])
    assert "All by speaker 01, sentence 01." in text


def test_the_page_needs_nothing_from_outside(tmp_path: Path) -> None:
    page = written(tmp_path, made_corpus(speakers=5))
    assert page.addresses and all(re.match(r"data:image/png;base64,|#", address) for address in page.addresses)
    body = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in body and "<script" not in body and "url(" not in body and "@import" not in body


def test_equal_corpora_give_equal_bytes(tmp_path: Path) -> None:
    manifest, other = made_corpus(speakers=5), tmp_path / "other"
    other.mkdir()
    written(tmp_path, manifest)
    written(other, manifest)
    assert (tmp_path / "page.html").read_bytes() == (other / "page.html").read_bytes()


def test_a_leak_stands_at_the_top_of_the_page(tmp_path: Path) -> None:
    manifest = made_corpus(speakers=8)
    manifest.loc[manifest["emotion"] == "angry", "sample_rate_hz"] = 48000
    text = " ".join(written(tmp_path, manifest).texts)
    assert text.index("The files' format gives the label away") < text.index("Utterances")
    assert "48000 Hz in 100\u00a0% of angry" in text or "48000 Hz in 100 % of angry" in text


def test_what_a_corpus_calls_itself_is_text_and_not_markup(tmp_path: Path) -> None:
    about = {**ABOUT, "title": "<b>bold</b> $x$", "notes": ["[red]note[/red]"]}
    manifest = made_corpus(speakers=4).replace({"speaker_id": {"s00": "<i>s</i>"}})
    assert "made: <b>bold</b> $x$" in written(tmp_path, manifest, about=about).texts
    empty = listing()
    assert "[red]note[/red]" in printed(inspect_corpus(manifest, empty, empty, empty, about))


def test_a_synthetic_corpus_says_so_on_the_page_and_in_every_picture(tmp_path: Path) -> None:
    about = {**ABOUT, "synthetic": True}
    assert SYNTHETIC in written(tmp_path, made_corpus(speakers=4), about=about).texts
    real, made = tmp_path / "real", tmp_path / "made"
    for folder in (real, made):
        folder.mkdir()
    plain = written(real, made_corpus(speakers=4)).images
    marked = written(made, made_corpus(speakers=4), about=about).images
    assert all(one["src"] != other["src"] for one, other in zip(plain, marked, strict=True))


def test_a_corpus_without_a_usable_clip_has_a_page_without_pictures(tmp_path: Path) -> None:
    page = written(tmp_path, made_corpus(speakers=0), rejected=listing(("a.wav", "is empty (0 bytes): copy it again")))
    text = " ".join(page.texts)
    assert page.images == [] and "is empty" in text and "0 utterances" in text


def test_a_clip_that_has_gone_costs_its_spectrogram_only(tmp_path: Path) -> None:
    def read(path: str) -> bytes:
        if "_sad_" in path:
            raise BadInput(f"{path} has gone: scan again")
        return tone(path)

    assert len(written(tmp_path, made_corpus(speakers=4), read).images) == 4


def beside(manifest: pd.DataFrame, trained: pd.DataFrame) -> dict:
    empty = listing()
    report = inspect_corpus(manifest, empty, empty, empty, ABOUT)
    return report | {"beside": {"corpus": "<b>studio</b>", **side_by_side(trained, manifest)}}


def recorded(silent: float, bandwidth_hz: float) -> pd.DataFrame:
    return made_corpus(speakers=4).assign(
        silent_fraction=silent, bandwidth_hz=bandwidth_hz, noise_db=-70.0, digital_silence_fraction=0.0
    )


def test_how_a_corpus_was_recorded_stands_on_the_page_and_in_the_terminal(tmp_path: Path) -> None:
    manifest = recorded(0.54, 7700.0)
    words = " ".join(written(tmp_path, manifest).texts)
    assert "How it was recorded" in words and re.search(r"Silence, % +54 ", words)
    assert "7.7 (7.7 to 7.7)" in words and "−70.0 (−70.0 to −70.0)" in words
    empty = listing()
    text = printed(inspect_corpus(manifest, empty, empty, empty, ABOUT))
    assert re.search(r"silence, % +54 *\n", text) and "What to expect" not in text
    unknown = printed(inspect_corpus(made_corpus(speakers=4), empty, empty, empty, ABOUT))
    assert re.search(r"bandwidth, kHz +–", unknown)


def test_beside_a_training_corpus_stand_both_and_what_to_expect(tmp_path: Path) -> None:
    manifest = recorded(0.04, 3600.0)
    report = beside(manifest, recorded(0.54, 7700.0))
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    text = " ".join(printed(report).split())
    assert "<b>studio</b> (training)" in text and "silence, % 4 54" in text
    assert "Half of the training corpus is silence (54 %), almost none of the test corpus (4 %)" in text
    assert "The test corpus is telephone band (3.6 kHz)" in text
    write_inspection_page(report, manifest, tone, tmp_path / "page.html")
    words = " ".join(Page((tmp_path / "page.html").read_text(encoding="utf-8")).texts)
    assert "What to expect here of a model trained on <b>studio</b>" in words
    assert "Half of the training corpus is silence (54 %)" in words and "7.7 (7.7 to 7.7)" in words


def test_a_table_of_two_corpora_fits_into_80_columns() -> None:
    assert "…" not in printed(beside(recorded(0.04, 3600.0), recorded(0.5, 7700.0)), width=80)


def test_many_speakers_and_long_names_are_drawn(tmp_path: Path) -> None:
    manifest = made_corpus(speakers=90, each=1).assign(sex=None, sentence_id=None)
    manifest["speaker_id"] = "a rather long name of a speaker, " + manifest["speaker_id"]
    assert len(written(tmp_path, manifest).images) == 4


def test_spectrograms_are_of_one_speaker_and_sentence_where_there_is_one() -> None:
    manifest = made_corpus(speakers=4)
    manifest.loc[manifest["speaker_id"] == "s00", "known_issue"] = "nearly silent"
    manifest.loc[(manifest["speaker_id"] == "s01") & (manifest["emotion"] == "sad"), "emotion"] = "angry"
    chosen = chosen_clips(manifest.sample(frac=1.0, random_state=1))
    assert list(chosen["emotion"]) == ["angry", "happy", "neutral", "sad"]
    assert set(chosen["speaker_id"]) == {"s02"} and chosen["sentence_id"].nunique() == 1


def test_an_emotion_of_another_speaker_or_with_an_issue_is_shown_too() -> None:
    manifest = made_corpus(speakers=3)
    manifest.loc[(manifest["emotion"] == "sad") & (manifest["speaker_id"] != "s02"), "emotion"] = "happy"
    manifest.loc[manifest["emotion"] == "sad", "known_issue"] = "nearly silent"
    chosen = chosen_clips(manifest).set_index("emotion")["speaker_id"]
    assert chosen["sad"] == "s02" and set(chosen.drop("sad")) == {"s00"}


def test_the_terminal_shows_counts_and_answers_the_question() -> None:
    manifest, empty = made_corpus(speakers=6), listing()
    text = printed(inspect_corpus(manifest, empty, listing(("song.wav", "song")), empty, ABOUT))
    assert re.search(r"angry\s+72\s+36\s+36\s+6 ", text)
    assert re.search(r"s05\s+female\s+48\s+12\s+12\s+12\s+12", text)
    assert re.search(r"no\s+│ Format: the same in every file", text)
    assert "1 (song: 1)" in text and "WAV/PCM_16: 288" in text and "the ages are made up" in text


def test_eight_emotions_fit_into_80_columns() -> None:
    emotions = ("angry", "calm", "disgust", "fear", "happy", "neutral", "sad", "surprised")
    empty = listing()
    text = printed(inspect_corpus(made_corpus(4, emotions), empty, empty, empty, ABOUT), width=80)
    assert "…" not in text and all(emotion in text for emotion in emotions)


@pytest.mark.parametrize(("speakers", "shown"), [(40, True), (41, False)])
def test_speakers_are_listed_while_they_are_few(speakers: int, shown: bool) -> None:
    empty = listing()
    text = printed(inspect_corpus(made_corpus(speakers, each=1), empty, empty, empty, ABOUT))
    assert ("Clips by speaker and emotion" in text) is shown


def test_the_first_problems_are_named_and_the_rest_is_said_to_be_in_json() -> None:
    empty = listing()
    rejected = listing(*((f"{i:02d}.wav", f"is empty ({i} bytes)") for i in range(SHOWN_PROBLEMS + 3)))
    text = printed(inspect_corpus(made_corpus(4), rejected, empty, empty, ABOUT))
    assert "19.wav" in text and "20.wav" not in text
    assert "the first 20 of 23: all with --json" in text and "is empty (… bytes)" in text
