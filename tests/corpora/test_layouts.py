"""The corpora that are described here, read from their official layouts."""

import csv
import json
import os
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from ser_tasks.corpora.entry import Entry, Reading
from ser_tasks.corpora.readers import detect_reader, load_description, read_corpus
from ser_tasks.corpora.source import Source, open_source
from ser_tasks.errors import BadInput

Corpus = Callable[..., Source]
SHARED_CORPORA = Path(os.environ.get("SER_TEST_CORPORA", Path(__file__).parents[3] / "shared" / "corpora"))


def read(name: str, source: Source) -> Reading:
    return read_corpus(load_description(name), source)


def only(reading: Reading) -> Entry:
    assert len(reading.entries) == 1
    return reading.entries[0]


# RAVDESS


def test_the_real_ravdess_is_whole(ravdess: Path) -> None:
    source = open_source(ravdess)
    assert detect_reader(source) == "ravdess"
    reading = read("ravdess", source)
    assert (len(reading.entries), reading.rejected, reading.left_out, reading.notes) == (1440, [], [], [])
    sexes = {entry.speaker_id: entry.sex for entry in reading.entries}
    assert sexes == load_description("ravdess")["speakers"]
    assert Counter(sexes.values()) == {"male": 12, "female": 12}
    assert sexes["01"] == "male" and sexes["02"] == "female"
    emotions = Counter(entry.emotion for entry in reading.entries)
    assert emotions.pop("neutral") == 96 and set(emotions.values()) == {192} and len(emotions) == 7


def test_ravdess_leaves_out_song_and_video_and_names_unknown_codes(corpus: Corpus) -> None:
    reading = read(
        "ravdess",
        corpus(
            "Actor_01/03-01-05-02-02-01-01.wav",
            "Actor_01/03-02-05-02-01-01-01.wav",
            "Actor_01/02-01-05-02-01-01-01.wav",
            "Actor_01/01-01-05-02-01-01-01.mp4",
            "Actor_01/03-01-09-01-01-01-01.wav",
            "Actor_01/03-01-05-07-01-01-25.wav",
            "Actor_01/03-01-05.wav",
        ),
    )
    first, second = reading.entries
    assert (first.emotion, first.emotion_raw, first.intensity, first.sex) == ("angry", "05", "strong", "male")
    assert (first.sentence_id, first.transcript) == ("02", "Dogs are sitting by the door.")
    assert (second.intensity, second.sex) == (None, None)
    assert Counter(why for _, why in reading.left_out) == {"song": 1, "video": 2}
    reasons = [reason for _, reason in reading.rejected]
    assert reasons[0].startswith("the name is not RAVDESS's MM-VV-EE-II-SS-RR-AA (modality")
    assert reasons[0].endswith("such as 03-01-05-02-01-01-12")
    assert reasons[1].startswith("unknown emotion code '09'; known are: 01, 02, 03")
    assert reading.notes == [
        "sex is not known for 1 clip(s): what is '25'?",
        "intensity is not known for 1 clip(s): what is '07'?",
        "1 speaker(s) are not on the corpus's list: 25",
    ]


# CREMA-D


@pytest.fixture(scope="module")
def crema_d(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """CREMA-D's official names and its own side files, in a ZIP as a download has them; no sound."""
    official = SHARED_CORPORA / "crema_d"
    if not official.is_dir():
        pytest.skip(f"{official} is absent: CREMA-D's side files cannot be downloaded here (set SER_TEST_CORPORA)")
    target = tmp_path_factory.mktemp("crema_d") / "CREMA-D.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        with (official / "crema_d_official.csv").open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                archive.writestr(f"CREMA-D-master/AudioWAV/{row['file']}", b"")
        for name in ("VideoDemographics.csv", "processedResults/tabulatedVotes.csv"):
            archive.write(official / name, f"CREMA-D-master/{name}")
    return open_source(target)


def test_the_official_crema_d_is_whole_with_demographics_and_votes(crema_d: Source) -> None:
    assert detect_reader(crema_d) == "crema_d"
    reading = read("crema_d", crema_d)
    assert (len(reading.entries), reading.rejected, reading.left_out, reading.notes) == (7442, [], [], [])
    assert {entry.speaker_id: entry.sex for entry in reading.entries} == load_description("crema_d")["speakers"]
    people = {entry.speaker_id: (entry.sex, entry.age, entry.race, entry.ethnicity) for entry in reading.entries}
    assert Counter(sex for sex, *_ in people.values()) == {"male": 48, "female": 43}
    assert people["1001"] == ("male", 51, "Caucasian", "Not Hispanic")
    assert sum(race is None for _, _, race, _ in people.values()) == 1  # "Unknown"
    assert Counter(entry.emotion for entry in reading.entries)["neutral"] == 1087
    responses: Counter[str] = Counter()
    heard = 0
    for entry in reading.entries:
        votes = json.loads(entry.votes or "")
        assert set(votes) == {"voice", "face", "audio_visual"}
        for modality, said in votes.items():
            assert sum(said["counts"].values()) == said["responses"]
            responses[modality] += said["responses"]
        heard += votes["voice"]["counts"][entry.emotion]
    assert responses["voice"] == 68_568
    assert heard / responses["voice"] == pytest.approx(0.400, abs=0.0005)  # FIELD: 40.0 % match the intended emotion
    issues = {entry.utterance_id: entry.known_issue for entry in reading.entries if entry.known_issue}
    assert issues["1076_MTI_SAD_XX"] == "has no sound" and len(issues) == 4


def test_crema_d_takes_the_old_misspelling_and_says_so(corpus: Corpus) -> None:
    votes = '"","A","D","F","H","N","S","fileName","numResponses"\n"100001",1,0,0,0,2,0,"1040_ITH_SAD_XX",3\n'
    source = corpus("AudioWAV/1040_ITH_SAD_X.wav", **{"processedResults/tabulatedVotes.csv": votes})
    reading = read("crema_d", source)
    entry = only(reading)
    assert (entry.utterance_id, entry.path) == ("1040_ITH_SAD_XX", "AudioWAV/1040_ITH_SAD_X.wav")
    assert entry.known_issue == "named ..._X, an old misspelling of ..._XX"
    assert json.loads(entry.votes or "")["voice"]["responses"] == 3
    assert reading.notes == ["there is no VideoDemographics.csv: without it there is no sex, age, race, ethnicity"]


def test_crema_d_without_side_files_costs_their_columns(corpus: Corpus) -> None:
    reading = read("crema_d", corpus("1001_IEO_ANG_HI.wav", "1001_IEO_XYZ_HI.wav", "nonsense.wav"))
    entry = only(reading)
    assert (entry.emotion, entry.intensity, entry.transcript) == ("angry", "high", "It's eleven o'clock.")
    assert (entry.sex, entry.votes) == (None, None)
    assert [reason for _, reason in reading.rejected] == [
        "unknown emotion code 'XYZ'; known are: ANG, DIS, FEA, HAP, NEU, SAD",
        "the name is not CREMA-D's <actor>_<sentence>_<emotion>_<level>, such as 1001_DFA_ANG_XX",
    ]
    assert len(reading.notes) == 2


def test_crema_d_missing_columns_cost_themselves_only(corpus: Corpus) -> None:
    reading = read(
        "crema_d",
        corpus(
            "1001_IEO_ANG_HI.wav",
            **{
                "VideoDemographics.csv": b"\xef\xbb\xbfActorID,Sex,Race\r\n1001,Female,Unknown\r\n",
                "processedResults/tabulatedVotes.csv": "x,A\n1,2\n",
            },
        ),
    )
    entry = only(reading)
    assert (entry.sex, entry.age, entry.race, entry.votes) == ("female", None, None, None)
    assert "VideoDemographics.csv has no column 'Age': without it there is no age" in reading.notes
    assert any("tabulatedVotes.csv has no column ''" in note and "votes are left out" in note for note in reading.notes)


def test_crema_d_rows_that_are_no_votes_are_left_out_and_counted(corpus: Corpus) -> None:
    table = (
        ",A,D,F,H,N,S,fileName,numResponses\n100001,1,0,0,0,,0,1001_IEO_ANG_HI,1\n100001,5,0,0,0,0,0,1001_IEO_ANG_HI,5\n"
        "200001,x,0,0,0,0,0,1001_IEO_ANG_HI,1\n300001,1.5,0,0,0,0,0,1001_IEO_ANG_HI,1\n900001,1,0,0,0,0,0,1001_IEO_ANG_HI,1\n"
    )
    reading = read("crema_d", corpus("1001_IEO_ANG_HI.wav", **{"processedResults/tabulatedVotes.csv": table}))
    votes = json.loads(only(reading).votes or "")
    assert list(votes) == ["voice"] and votes["voice"]["counts"]["angry"] == 1
    assert any("4 row(s) are no votes, or come again" in note for note in reading.notes)


def test_crema_d_mp3_copies_are_left_out_so_that_no_clip_comes_twice(corpus: Corpus) -> None:
    reading = read(
        "crema_d", corpus("AudioWAV/1001_IEO_ANG_HI.wav", "AudioMP3/1001_IEO_ANG_HI.mp3", "VideoFlash/x.flv")
    )
    assert reading.left_out == [("AudioMP3/1001_IEO_ANG_HI.mp3", "MP3 copy of a clip in AudioWAV")]
    assert only(reading).path == "AudioWAV/1001_IEO_ANG_HI.wav"


# IEMOCAP

EVALUATION = (
    b"% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\r\n\r\n"
    b"[6.2901 - 8.2357]\tSes01F_impro01_M003\tneu\t[2.5000, 2.0000, 3.5000]\r\n"
    b"C-E2:\tNeutral;\t()\r\nC-E3:\tNeutral; Frustration;\t(a \xe9clat)\r\n"
    b"C-E4:\tBoredom;\t()\r\nC-M1:\tSadness;\t()\r\n"
    b"A-E3:\tval 3; act 2; dom  2;\t()\r\nA-M1:\tval 2; act ; dom  4;\t()\r\n\r\n"
    b"[9.0000 - 10.0000]\tSes01F_impro01_FXX0\txxx\t[3.0000, 3, 3.0000]\r\n"
    b"[11.0000 - 12.0000]\tSes01F_impro01_F001\tzzz\t[3.0000, 3.0000, 3.0000]\r\n"
    b"[a line that was cut\r\n"
    b"[13.0000 - 14.0000]\tSes01F_impro01_F009\thap\t[3.0000, 3.0000, 3.0000]\r\n"
)
TURNS = "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_"


@pytest.fixture
def iemocap(corpus: Corpus) -> Source:
    return corpus(
        *(f"{TURNS}{turn}.wav" for turn in ("M003", "FXX0", "F001", "F002", "X000")),
        "Session1/dialog/wav/Ses01F_impro01.wav",
        "Session1/dialog/wav/Ses01M_script01_1b.wav",
        **{
            "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt": EVALUATION,
            "Session1/dialog/EmoEvaluation/._Ses01F_impro01.txt": b"\xff\x00",
            "Session1/dialog/EmoEvaluation/Categorical/e2.txt": "[1.0 - 2.0]\tSes01F_impro01_F002\tang\t[1, 1, 1]\n",
            "Session1/dialog/transcriptions/Ses01F_impro01.txt": (
                "Ses01F_impro01_M003 [006.2901-008.2357]: Do you have your forms?\nM: Hm.\n"
            ),
        },
    )


def test_iemocap_takes_the_speaker_from_the_last_token(iemocap: Source) -> None:
    assert detect_reader(iemocap) == "iemocap"
    female, male = read("iemocap", iemocap).entries
    assert (male.speaker_id, male.sex, male.session, male.dialog) == ("Ses01M", "male", "Ses01", "Ses01F_impro01")
    assert (female.speaker_id, female.sex) == ("Ses01F", "female")
    assert (male.emotion, male.valence, male.activation, male.dominance) == ("neutral", 2.5, 2.0, 3.5)
    assert (male.transcript, female.transcript) == ("Do you have your forms?", None)
    assert (female.emotion, female.known_issue) == ("other", "no majority among the raters")


def test_iemocap_keeps_what_each_rater_said(iemocap: Source) -> None:
    female, male = read("iemocap", iemocap).entries
    assert json.loads(male.raters or "") == [
        {"rater": "C-E2", "emotions": ["Neutral"], "comment": ""},
        {"rater": "C-E3", "emotions": ["Neutral", "Frustration"], "comment": "a éclat"},
        {"rater": "C-E4", "emotions": ["Boredom"], "comment": ""},
        {"rater": "C-M1", "emotions": ["Sadness"], "comment": ""},
        {"rater": "A-E3", "valence": 3.0, "activation": 2.0, "dominance": 2.0, "comment": ""},
        {"rater": "A-M1", "valence": 2.0, "dominance": 4.0, "comment": ""},
    ]
    assert json.loads(male.votes or "") == {
        "evaluators": {"counts": {"frustrated": 1, "neutral": 2, "other": 1}, "responses": 4}
    }
    assert (female.raters, female.votes) == (None, None)


def test_iemocap_lists_everything_else(iemocap: Source) -> None:
    reading = read("iemocap", iemocap)
    assert [why for _, why in reading.left_out] == ["whole dialog", "whole dialog"]
    reasons = {path[-8:-4]: reason for path, reason in reading.rejected}
    assert reasons["F001"].startswith("unknown emotion code 'zzz'; known are: ang")
    assert reasons["F002"] == "nothing in dialog/EmoEvaluation speaks of this clip"
    assert reasons["X000"] == "the name is not an IEMOCAP turn, such as Ses01F_impro01_M003"
    notes = "\n".join(reading.notes)
    assert "Ses01F_impro01.txt: 1 line(s) are not UTF-8 and were read as Windows-1252, first line 5" in notes
    assert "1 line(s) are not understood" in notes and "[a line that was cut" in notes
    assert "evaluators' categories that count as other: Boredom" in notes
    assert "dialog/EmoEvaluation has 1 row(s) for which there is no file: Ses01F_impro01_F009" in notes


def test_iemocap_without_labels_says_what_is_missing(corpus: Corpus) -> None:
    with pytest.raises(BadInput, match="there is no readable dialog/EmoEvaluation, which says what the clips are"):
        read("iemocap", corpus(f"{TURNS}M003.wav"))


# EmoDB, and a corpus that a table describes


def test_emodb_is_described_by_its_names_alone(corpus: Corpus) -> None:
    source = corpus("wav/03a01Fa.wav", "wav/08b10Wb.wav", "wav/16a05Lc.wav", "wav/03a01Xa.wav")
    assert detect_reader(source) == "emodb"
    reading = read("emodb", source)
    assert [(e.speaker_id, e.sex, e.sentence_id, e.emotion, e.emotion_raw) for e in reading.entries] == [
        ("03", "male", "a01", "happy", "F"),
        ("08", "female", "b10", "angry", "W"),
        ("16", "female", "a05", "other", "L"),
    ]
    assert reading.rejected == [
        ("wav/03a01Xa.wav", "unknown emotion code 'X'; known are: W, L, E, A, F, T, N"),
    ]


def test_a_table_describes_a_corpus(corpus: Corpus) -> None:
    table = (
        "path\tspeaker\temotion\tgender\ttext\n"
        "clips/guten Tag.wav\tanna\tjoy\tf\tGuten Tag!\n"
        ".\\clips\\b.wav\tbernd\tanger\tm\tNone\n"
        "clips/c.wav\tkim\tennui\tx\t\n"
        "clips/d.wav\t\tjoy\tx\t\n"
        "clips/gone.wav\tkim\tjoy\tx\t\n"
        "clips/e.wav\tkim\tunsure\tx\t\n"
        "clips/aa-1.wav\tlee\tjoy\tq\t\n"
    )
    names = [f"mine/clips/{name}.wav" for name in ("guten Tag", "b", "c", "d", "e", "f", "aa-1")]
    reading = read("example_tsv", corpus(*names, **{"mine/metadata.tsv": table}))
    found = [(e.utterance_id, e.speaker_id, e.emotion, e.sex, e.transcript, e.session) for e in reading.entries]
    assert found == [
        ("a-1", "lee", "happy", None, None, "clips"),
        ("b", "bernd", "angry", "male", "None", "clips"),
        ("guten Tag", "anna", "happy", "female", "Guten Tag!", "clips"),
    ]
    assert reading.rejected == [
        ("mine/clips/c.wav", "unknown emotion code 'ennui'; known are: joy, anger, sorrow, none, boredom"),
        ("mine/clips/d.wav", "there is no speaker: clips.speaker is empty"),
        ("mine/clips/f.wav", "nothing in metadata.tsv speaks of this clip"),
    ]
    assert reading.left_out == [("mine/clips/e.wav", "the annotator was not sure")]
    assert reading.notes == [
        "mine/metadata.tsv has 1 row(s) for which there is no file: clips/gone.wav",
        "sex is not known for 1 clip(s): what is 'q'?",
        "1 speaker(s) are not on the corpus's list: lee",
    ]


def test_names_in_any_script_match_however_they_are_composed(corpus: Corpus) -> None:
    table = "path\tspeaker\temotion\nclips/Zoe\u0308 1.wav\tanna\tjoy\nclips/음성.wav\tanna\tjoy\n"
    reading = read("example_tsv", corpus("clips/Zo\u00eb 1.wav", "clips/음성.wav", **{"metadata.tsv": table}))
    assert [entry.utterance_id for entry in reading.entries] == ["Zo\u00eb 1", "음성"]


# What holds for every corpus


def test_sound_that_cannot_be_decoded_is_rejected_with_the_way_out_and_other_files_are_no_clips(corpus: Corpus) -> None:
    reading = read("emodb", corpus("03a01Fa.wav", "03a02Fa.AIFF", "03a03Fa.m4a", "03a04Fa.opus", "notes.txt", "a.jpg"))
    assert [entry.path for entry in reading.entries] == ["03a01Fa.wav", "03a02Fa.AIFF"]
    assert [path for path, _ in reading.rejected] == ["03a03Fa.m4a", "03a04Fa.opus"]
    assert "convert it to WAV or FLAC" in reading.rejected[0][1]


def test_a_corpus_in_an_archive_that_is_damaged_says_so(tmp_path: Path) -> None:
    (tmp_path / "speech.zip").write_bytes(b"PK and no more")
    with pytest.raises(BadInput, match=r"the first is speech\.zip \(is a damaged archive"):
        read("emodb", open_source(tmp_path / "speech.zip"))


def test_clips_with_one_id_are_all_kept_for_validation_to_name(corpus: Corpus) -> None:
    reading = read("emodb", corpus("a/03a01Fa.wav", "b/03a01Fa.wav"))
    assert [entry.utterance_id for entry in reading.entries] == ["03a01Fa", "03a01Fa"]


def test_a_folder_that_is_no_corpus_says_what_was_found(corpus: Corpus) -> None:
    with pytest.raises(BadInput, match="holds 0 audio files and none is named as in crema_d, emodb, iemocap, ravdess"):
        detect_reader(corpus("readme.txt"))
    with pytest.raises(BadInput, match="it holds no audio files"):
        read("ravdess", corpus())
    with pytest.raises(BadInput, match=r"is no ravdess folder.*the first is x\.wav \(the name is not"):
        read("ravdess", corpus("x.wav"))
    with pytest.raises(BadInput, match=r"holds 1 audio files, such as x\.wav,"):
        detect_reader(corpus())


def test_two_layouts_that_fit_equally_are_not_guessed(corpus: Corpus) -> None:
    with pytest.raises(BadInput, match="fit emodb and ravdess equally well"):
        detect_reader(corpus("03a01Fa.wav", "03-01-05-02-01-01-01.wav"))
