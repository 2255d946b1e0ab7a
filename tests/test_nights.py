"""What a night cost, as its tasks counted it."""

from dataclasses import asdict

from ser_tasks import nights
from ser_tasks.store import Spent, Store

BY = "ser_nightly_retrain/one"


def test_a_nights_cost_is_the_sum_of_its_tasks_also_when_its_last_task_runs_again(store: Store) -> None:
    looked = asdict(Spent(10, 100))
    nights.write_night(store, BY, {"at": "2026-01-01", "why": ["x"], "intake_spent": looked, "spent": looked})
    steps = [
        {"step": "plan", "about": "", "ref": "", "spent": asdict(Spent(20, 200))},
        {"step": "raw", "about": "c", "ref": ""},  # the plan's task has counted what it pinned
        {"step": "scan", "about": "c", "ref": "", "hit": False, "spent": asdict(Spent(30, 2_000_000))},
    ]
    registered = [{"name": "ser-cnn", "version": 1, "new": True, "spent": asdict(Spent(5, 0))}]
    summary = {"rows": [], "rudeness": None}
    record = {"summary": summary, "steps": steps, "registered": registered, "spent": asdict(Spent(3, 0))}
    for _ in range(2):
        before = store.spent
        night = nights.close(store, BY, record)
        assert night["built"] == 1
        assert night["spent"]["added"] == 2_000_300
        assert night["spent"]["requests"] == 68 + before.requests + 1  # reading the night is this task's first request
        assert f"2.0 MB added, {night['spent']['requests']} requests to the store" in nights.in_words(night)
    assert f'<td class="n">{night["spent"]["requests"]}</td>' in nights_page(store)


def nights_page(store: Store) -> str:
    from ser_tasks.report.nights_page import render_nights

    return render_nights([{"version": 0, "rated": 0, "waiting": 0, **night} for night in nights.read_nights(store)])
