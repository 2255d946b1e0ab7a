"""What a night looks at, writes down and draws, without Airflow."""

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from include.stack.layout import CHECKOUT
from ser_tasks import nights
from ser_tasks.annotations.intake import INCOMING
from ser_tasks.annotations.version import current
from ser_tasks.artifact import Ref
from ser_tasks.config import StudyConfig, load_config
from ser_tasks.dataset import traits_read
from ser_tasks.keeping.collect import take_inventory
from ser_tasks.keeping.reach import reach
from ser_tasks.objects import Spent
from ser_tasks.report.nights_page import render_nights
from ser_tasks.store import Store

BY = "ser_nightly_retrain/one"
CONFIG = str(CHECKOUT / "tests" / "configs" / "nights.yaml")
HEAD = "utterance_id,annotator_id,trait,rating,scale,created_at\n"


def record_of(**summary: Any) -> dict[str, Any]:
    told = {"rows": [], "rudeness": None, "evaluation": "e1", **summary}
    return {"summary": told, "steps": [], "registered": [], "spent": asdict(Spent(3, 0))}


def page_of(store: Store, ref: str, name: str = "index.html") -> str:
    return (store.cached(Ref.parse(ref)) / name).read_text(encoding="utf-8")


def test_a_nights_cost_is_the_sum_of_its_tasks_also_when_its_last_task_runs_again(store: Store) -> None:
    looked = asdict(Spent(10, 100))
    nights.write_night(store, BY, {"run": BY, "why": ["x"], "intake_spent": looked, "spent": looked})
    steps = [
        {"step": "plan", "about": "", "ref": "", "spent": asdict(Spent(20, 200))},
        {"step": "raw", "about": "c", "ref": ""},  # the plan's task has counted what it pinned
        {"step": "scan", "about": "c", "ref": "", "hit": False, "spent": asdict(Spent(30, 2_000_000))},
    ]
    registered = [{"name": "ser-cnn", "version": 1, "new": True, "spent": asdict(Spent(5, 0))}]
    record = record_of() | {"steps": steps, "registered": registered}
    for _ in range(2):
        before = store.spent
        night = nights.close(store, BY, record)
        assert night["built"] == 1
        assert night["spent"]["added"] == 2_000_300
        assert night["spent"]["requests"] == 68 + before.requests + 1  # reading the night is this task's first request
        assert f"2.0 MB added, {night['spent']['requests']} requests to the store" in nights.in_words(night)
    assert f'<td class="n">{night["spent"]["requests"]}</td>' in render_nights(nights.read_nights(store))


def test_a_night_that_failed_before_it_had_looked_stands_on_the_page_and_breaks_no_later_one(store: Store) -> None:
    failed = nights.close(store, BY, None)
    assert nights.in_words(failed).startswith(f"{BY}: failed\n0.0 MB added, 0 requests")
    nights.publish_page(store, BY)
    later = "ser_nightly_retrain/two"
    nights.close(store, later, record_of(rows=[{"model": "CNN", "corpus": "c", "uar": 0.5}]))
    page = page_of(store, nights.publish_page(store, later))
    for run, outcome in ((BY, "failed"), (later, "trained")):
        assert re.search(rf"<td>{run}</td><td></td><td>{outcome}</td>", page)


def test_a_skipped_night_is_drawn_says_why_first_and_ends_what_was_cut_off_before_it(store: Store) -> None:
    store.put(INCOMING + "bad.csv", (HEAD + "u1,a1,rudeness,9,1-5,\nu1,,rudeness,3,1-5,\n").encode())
    nights.write_night(store, BY, {"run": BY, "at": "2026-01-01", "outcome": "started"})
    later = "ser_nightly_retrain/two"
    look = nights.look(CONFIG, store, later)
    assert not look.new
    assert re.match(r"nothing new since the last night: skipped\n0\.0 MB added, \d+ requests to the store\n", look.note)
    assert "1 new drop(s), 0 row(s) accepted, 2 listed with reasons: bad.csv" in look.note
    assert "line 2" not in look.note
    assert "  bad.csv, line 2: rating 9 lies outside 1-5" in look.log
    page = page_of(store, look.page)
    assert f"<td>{later}</td><td>nights</td><td>skipped</td>" in page
    assert f"<td>{BY}</td><td></td><td>cut off</td>" in page
    assert "rating 9 lies outside 1-5" in page
    assert pd.read_csv(store.cached(Ref.parse(look.page)) / "listed.csv")["reason"].tolist()[1] == "names no annotator"
    inventory = take_inventory(store, roots=False)
    assert f"artifacts/{look.page.rpartition('/')[0]}/manifest.json" in reach(inventory.roots, inventory.names)


@pytest.mark.parametrize(
    ("changed", "traits"),
    [
        ({}, {"rudeness"}),
        ({"labels": {"policy": "majority"}}, {"rudeness", "emotion"}),
        ({"trait": {"corpus": "demo_iemocap", "ratings": None, "high": ["angry"], "low": ["sad"]}}, set()),
    ],
)
def test_only_ratings_that_the_study_reads_start_a_night(changed: dict[str, Any], traits: set[str]) -> None:
    study = StudyConfig.model_validate(load_config(CONFIG).model_dump(mode="json") | changed)
    assert traits_read(study) == traits


def test_ratings_of_what_the_study_does_not_read_are_not_new(store: Store, tmp_path: Path) -> None:
    study = load_config(CONFIG)
    clip = "1001_DFA_ANG_XX"
    store.put(INCOMING + "feelings.csv", (HEAD + f"{clip},a1,emotion,sad,,2026-01-01\n").encode())
    from ser_tasks.annotations.intake import take_in
    from ser_tasks.dataset import todays_dataset

    take_in(store, BY)
    assert current(store).version == 1
    data = todays_dataset(study, store, BY)
    assert (data.rated, data.ratings) == (0, "")
    assert not nights.whats_new(study.name, data, store)


def night(run: str, config: str, **values: Any) -> dict[str, Any]:
    blank = {"why": [], "version": 1, "rated": 2, "waiting": 0, "spent": asdict(Spent()), "outcome": "trained"}
    return {"run": run, "at": run, "config": config, **blank, **values}


def test_the_page_has_every_night_one_point_a_value_and_one_line_a_configuration() -> None:
    told = [
        night("n1", "demo", uar={"CNN on c": 0.4}, auc={"rudeness": 0.71}, alpha={"rudeness": -0.3}, evaluation="e1"),
        night("n2", "demo", uar={"CNN on c": 0.5}, auc={"rudeness": 0.72}, alpha={"rudeness": None}, evaluation="e1"),
        night("n3", "demo", outcome="skipped", alpha={"rudeness": 0.2}),
        night("n4", "demo", uar={"CNN on c": 0.9}, drift={"c": 0.1}, evaluation="e2"),
        night("n5", "other", uar={"CNN on c": 0.6}, evaluation="e1"),
    ]
    page = render_nights(told)
    points = re.findall(r'cx="([\d.]+)" cy="([\d.]+)".*?<title>(.*?)</title>', page)
    assert [title for _, _, title in points] == [
        "n1: demo: CNN on c 0.400, evaluation e1", "n2: demo: CNN on c 0.500, evaluation e1",
        "n4: demo: CNN on c 0.900, evaluation e2", "n5: other: CNN on c 0.600, evaluation e1",
        "n1: rudeness 0.710", "n2: rudeness 0.720", "n1: rudeness -0.300", "n3: rudeness 0.200", "n4: c 0.100",
    ]  # fmt: skip
    lines = re.findall(r'points="(.*?)"', page)
    assert [len(line.split()) for line in lines] == [2, 1, 1, 2, 2, 1]  # broken where the evaluation changes
    below, above = (float(y) for _, y, title in points if title.startswith(("n1: rudeness -", "n3: rudeness")))
    (zero,) = set(re.findall(r'y="([\d.]+)" font-size="11">0.0<', page.partition("Agreement")[2].partition("<h2>")[0]))
    assert above < float(zero) - 4 < below  # what is below 0 is drawn below it
    for each in told:
        assert f"<td>{each['run']}</td>" in page
