"""Bring corpora in, start a study on the running stack, follow it to its end."""

import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from include.stack import objects, show
from include.stack.airflow import Airflow
from include.stack.errors import StackError
from include.stack.layout import CHECKOUT, Layout, State
from include.stack.services import BUCKETS, settings

if TYPE_CHECKING:
    from ser_tasks.config import StudyConfig

DAG_ID = "ser_study"
_LOG_LINES = 20
_POLL_S = 1.0


@dataclass(frozen=True)
class Upload:
    """A local folder and the prefix of bucket `ser` that it goes to."""

    folder: Path
    prefix: str


def demo(layout: Layout, state: State, out: Console) -> bool:
    """Make the demo corpora and run the demo study. Returns whether every task succeeded."""
    from ser_tasks.corpora.demo import make_demo_corpora

    begin = time.monotonic()
    out.print("Making three demo corpora by speech synthesis ...")
    folders = make_demo_corpora(layout.local / "demo_corpora", seed=0)
    out.print(f"  there ({time.monotonic() - begin:.0f} s)", highlight=False)
    uploads = [Upload(folder, f"raw/{name}") for name, folder in folders.items()]
    return run_study("demo", uploads, layout, state, out)


def study_uploads(config: Path, variables: Mapping[str, str]) -> list[Upload]:
    """The folders that a study's corpora and encoders come from.

    Args:
        config: path of a study configuration.
        variables: CREMA_D, RAVDESS, IEMOCAP (the corpus of that reader) and ENCODER (a folder of weights, named as the
            encoder that the configuration names) override the folders that the configuration names.

    Raises:
        BadInput: the configuration has a fault.
        StackError: the configuration lies outside include/configs, a folder does not exist, or ENCODER is none of the
            configuration's encoders. A probe's own folder may be absent: then the probe takes no part.
    """
    from ser_tasks.config import load_config
    from ser_tasks.encoder_mirror import encoder_prefix

    home = CHECKOUT / "include" / "configs"
    if config.resolve().parent != home or config.suffix != ".yaml":
        raise StackError(
            f"{config} is not in {home.relative_to(CHECKOUT)}: put it there as <name>.yaml, so that workers find it"
        )
    study = load_config(config)
    uploads = []
    for name in study.used_corpora:
        corpus = study.corpora[name]
        variable = Path(corpus.reader).stem.upper().replace("-", "_")
        given = variables.get(variable) or corpus.folder
        if given:
            uploads.append(Upload(_existing(given, f"corpus {name}", variable), f"raw/{name}"))
    encoders = {}
    if study.probe and study.probe.folder and (folder := _absolute(study.probe.folder)).is_dir():
        encoders[study.probe.encoder] = folder
    if given := variables.get("ENCODER"):
        folder = _existing(given, "encoder", "ENCODER")
        encoders[_encoder_of(folder, study)] = folder
    return uploads + [Upload(folder, encoder_prefix(name).rstrip("/")) for name, folder in encoders.items()]


def _encoder_of(folder: Path, study: "StudyConfig") -> str:
    """Which of a configuration's encoders a folder of weights holds, by its name: with or without the owner's."""
    names = [study.wav2vec2.encoder, *([study.probe.encoder] if study.probe else [])]
    for name in names:
        if folder.name in (name, name.rpartition("/")[2], name.replace("/", "--")):
            return name
    raise StackError(
        f"encoder {folder}: {study.name} asks for {' and '.join(dict.fromkeys(names))}, and the folder is called "
        f"{folder.name}: rename it, or name it in the configuration (wav2vec2.encoder)"
    )


def _existing(text: str, what: str, variable: str) -> Path:
    folder = _absolute(text)
    if not folder.is_dir() and folder.suffix.lower() not in (".zip", ".tar"):
        raise StackError(f"{what}: {folder} is no folder, .zip or .tar: give another one as {variable}=<folder>")
    if not folder.exists():
        raise StackError(f"{what}: {folder} does not exist: give another one as {variable}=<folder>")
    return folder


def _absolute(text: str) -> Path:
    """A folder; a configuration's own are written relative to the checkout."""
    folder = Path(text).expanduser()
    return (folder if folder.is_absolute() else CHECKOUT / folder).resolve()


def run_study(config: str, uploads: list[Upload], layout: Layout, state: State, out: Console) -> bool:
    """Upload, trigger, follow, print the result. Returns whether every task succeeded."""
    client = objects.s3_client(state)
    for upload in uploads:
        begin = time.monotonic()
        synced = objects.upload_folder(client, upload.folder, BUCKETS[0], upload.prefix)
        told = f"  s3://{BUCKETS[0]}/{upload.prefix}/: {synced.files} files, {synced.sent} sent"
        out.print(f"{told} ({time.monotonic() - begin:.1f} s)", highlight=False)
    airflow = Airflow(state)
    run_id = airflow.trigger(DAG_ID, layout, {"config": config})
    out.print(
        f"Running {DAG_ID} with config {config}: {airflow.run_page(DAG_ID, run_id)}", highlight=False, soft_wrap=True
    )
    if not _follow(airflow, run_id, out):
        _print_failure(airflow, run_id, layout, out)
        return False
    _print_success(airflow, run_id, layout, state, out)
    return True


def _follow(airflow: Airflow, run_id: str, out: Console) -> bool:
    begin = time.monotonic()
    progress = show.Progress(out)
    with out.status("waiting for the first task") as bar:
        while True:
            run = airflow.run(DAG_ID, run_id)
            tasks = airflow.tasks(DAG_ID, run_id)
            progress.update(tasks, time.monotonic() - begin)
            if run["state"] in ("success", "failed"):
                return bool(run["state"] == "success")
            running = [show.task_name(task) for task in tasks if task["state"] == "running"]
            waits = "an earlier run of this DAG to end" if run["state"] == "queued" else "the next task"
            bar.update(f"{time.monotonic() - begin:.0f} s, {', '.join(running) or f'waiting for {waits}'}")
            time.sleep(_POLL_S)


def _print_failure(airflow: Airflow, run_id: str, layout: Layout, out: Console) -> None:
    failed = [task for task in airflow.tasks(DAG_ID, run_id) if task["state"] == "failed"]
    out.print()
    if not failed:
        out.print(
            f"The run failed before any task did: {airflow.run_page(DAG_ID, run_id)}", style="bold red", soft_wrap=True
        )
        return
    first = failed[0]
    others = "" if len(failed) == 1 else f" (and {len(failed) - 1} more: {', '.join(map(show.task_name, failed[1:]))})"
    out.print(f"Task {show.task_name(first)} failed{others}. The end of its log:", style="bold red", markup=False)
    for line in airflow.log(first, _LOG_LINES):
        out.print(f"    {line}", markup=False, highlight=False, soft_wrap=True)
    folder = layout.airflow / "logs" / f"dag_id={DAG_ID}" / f"run_id={run_id}" / f"task_id={first['task_id']}"
    if first["map_index"] >= 0:
        folder /= f"map_index={first['map_index']}"
    out.print(f"To see more: less '{folder}/attempt={first['try_number']}.log'", markup=False, soft_wrap=True)
    out.print(f"or {airflow.run_page(DAG_ID, run_id)}", soft_wrap=True)


def _print_success(airflow: Airflow, run_id: str, layout: Layout, state: State, out: Console) -> None:
    from ser_tasks.store import Store

    client = objects.s3_client(state)
    key = f"runs/{DAG_ID}/{run_id}.json"
    try:
        record = json.loads(client.get_object(Bucket=BUCKETS[0], Key=key)["Body"].read())
    except client.exceptions.NoSuchKey as error:
        raise StackError(f"the run succeeded but left no record s3://{BUCKETS[0]}/{key}") from error
    summary = record["summary"]
    show.print_result(out, summary)
    report = layout.local / "reports" / run_id
    shutil.rmtree(report, ignore_errors=True)
    os.environ.update(settings(layout, state))
    Store.from_env().fetch(summary["report"], report)
    for what, where in (
        ("Airflow", airflow.run_page(DAG_ID, run_id)),
        ("MLflow", summary["mlflow_run_url"]),
        ("Report", report / "index.html"),
    ):
        out.print(f"{what + ':':<9}{where}", markup=False, highlight=False, soft_wrap=True)
