"""`ser train|test|predict_wav|predict|export`, and `ser encoder mirror`: models on local folders."""

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from pydantic import ValidationError
from rich.table import Table

from ser_tasks.artifact import artifact_key, list_files
from ser_tasks.cli_options import AsJson, CkptDir, DataRoot, Reader, SourceDir, err, out
from ser_tasks.config import (
    BASELINE_TITLE,
    CANONICAL_EMOTIONS,
    RANDOM_ENCODER,
    EncoderPin,
    StudyConfig,
    parse_config,
)
from ser_tasks.errors import BadInput
from ser_tasks.plan import SEEDED
from ser_tasks.processes import is_first, launch
from ser_tasks.steps import STEPS, network_params

if TYPE_CHECKING:
    from torch import nn

    from ser_tasks.local_testing import Tested
    from ser_tasks.models.adapted import AdaptedHead
    from ser_tasks.models.files import ModelSpec

WindowS = Annotated[float, typer.Option("--window_s", "--window-s", help="Longer audio is cut into such windows.")]
HopS = Annotated[float, typer.Option("--hop_s", "--hop-s", help="Seconds from one window's beginning to the next's.")]

OnDevice = Annotated[
    Literal["auto", "cpu", "cuda"],
    typer.Option("--device", help="Where to compute; auto: on a GPU where there is one."),
]
Target = Annotated[Path | None, typer.Option("--out", help="A .json, .csv or .parquet file; an older one is replaced.")]

encoder_app = typer.Typer(no_args_is_help=True, help="Pretrained speech encoders in the bucket.")


def _study_of(data_root: Path) -> StudyConfig:
    path = data_root / "study.json"
    if not path.is_file():
        raise BadInput(
            f"--data_root {data_root} has no study.json: make it with "
            f"'ser split --source_dir ... --target_dir {data_root}'"
        )
    return parse_config(json.loads(path.read_text()), str(path))


def train(
    data_root: DataRoot,
    out_dir: Annotated[Path, typer.Option("--out_dir", "--out-dir", help="Where to put the model.")],
    model: Annotated[str, typer.Option(help="cnn, wav2vec2, baseline, or probe (with --encoder).")] = "cnn",
    encoder: Annotated[
        Path | None,
        typer.Option(help="Folder of pretrained weights (config.json, *.safetensors) for wav2vec2 or probe."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the configuration's.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Instead of the configuration's.")] = None,
    ratings: Annotated[
        Path | None,
        typer.Option(help="CSV of ratings of the configuration's trait: what a second head learns (fit.tone_weight)."),
    ] = None,
    processes: Annotated[
        int, typer.Option(min=1, help="So many train a network together, on a machine with so many GPUs.")
    ] = 1,
) -> None:
    """Train a model on the train speakers, selected on the dev speakers.

    Example: `ser train --data_root data --out_dir model --model cnn`
    """
    if processes > 1 and model not in SEEDED:
        raise BadInput(f"--processes {processes}: {model} is no network: it trains in one process")
    if processes > 1 and "RANK" not in os.environ:  # else this is one of them
        if launch(processes, "ser_tasks.cli", sys.argv[1:]):
            raise typer.Exit(1)  # what it died of stands above
        return
    from ser_tasks.checkpoint_store import FolderCheckpoints
    from ser_tasks.local import cache_folder, run_build

    study = _study_of(data_root)
    params = _training_params(study, model, encoder, study.seed if seed is None else seed)
    if epochs and "fit" in params:
        params["fit"] |= {"epochs": epochs}
    if params["note"] and is_first():
        err.print(f"no --encoder given: the encoder is {params['note']}")
    with _temporary() as own:
        run_build("rows", {"split": data_root / "split"}, {"rows": "fit"}, own / "fit")
        inputs = {"rows": own / "fit", "audio": data_root / "pack"} | ({"encoder": encoder} if encoder else {})
        if ratings:
            inputs["ratings"] = _rated(study, ratings, params.get("fit", {}), own / "ratings")
        step, extras = f"train_{model}", {}
        os.environ.setdefault("SER_CACHE_DIR", str(cache_folder()))
        checkpoints = FolderCheckpoints(cache_folder() / "checkpoints" / _training_key(step, inputs, params))
        if STEPS[step].resumable:
            extras = {"checkpoints": checkpoints}
        # of several processes the first one publishes; the others' result is the same, and dropped
        run_build(step, inputs, params, out_dir if is_first() else own / "model", extras)
        if not is_first():
            return
        checkpoints.clear()
    out.print(f"model in {out_dir}; next: ser test --data_root {data_root} --ckpt_dir {out_dir}")


def _training_params(study: StudyConfig, model: str, encoder: Path | None, seed: int) -> dict[str, Any]:
    """As the steps take them; raises BadInput for an unknown model, or an encoder that is not the pinned one."""
    params: dict[str, Any] = {"labels": study.emotion.labels, "seed": seed, "note": ""}
    if model == "cnn":
        return params | network_params(study, "cnn") | {"title": "CNN on log-mel"}
    if model == "wav2vec2":
        if encoder and study.wav2vec2.pin.sha256:
            from ser_tasks.models.encoders import check_encoder

            check_encoder(encoder, study.wav2vec2.pin.sha256)
        title = f"{encoder.name}, fine-tuned" if encoder else "wav2vec2, small, random"
        note = "" if encoder else RANDOM_ENCODER
        return params | network_params(study, "wav2vec2") | {"title": title, "note": note}
    if model == "baseline":
        return params | {"title": BASELINE_TITLE}
    if model == "probe" and encoder:
        return params | {"title": f"{encoder.name} (frozen) + linear probe"}
    raise BadInput(f"--model {model}: there are cnn, wav2vec2, baseline, and probe with --encoder FOLDER")


def _rated(study: StudyConfig, ratings: Path, fit: Mapping[str, Any], target: Path) -> Path:
    """The step `ratings` on a file, as the training takes it."""
    from ser_tasks.local import run_build

    if not ratings.is_file():
        raise BadInput(f"--ratings {ratings} is not a file")
    if study.trait is None or not fit.get("tone_weight"):
        raise BadInput(
            f"--ratings {ratings}: this model has no second head to learn them: set trait and the network's "
            "fit.tone_weight in a configuration, and give it to 'ser split --config'"
        )
    run_build("ratings", {"raw": ratings.parent}, {"trait": study.trait.name, "file": ratings.name}, target)
    return target


def _training_key(step: str, inputs: Mapping[str, Path], params: Mapping[str, Any]) -> str:
    """The same for the same training, so that one that was killed goes on where it was."""
    files = {
        name: [[file["name"], file["size"]] if name == "encoder" else file for file in list_files(folder)]
        for name, folder in inputs.items()
    }
    return artifact_key(step, STEPS[step].version, {"params": params, "files": files}, {})


def test(
    ckpt_dir: CkptDir,
    data_root: Annotated[
        Path | None,
        typer.Option("--data_root", "--data-root", help="Folder that `ser split` made: tests on its test speakers."),
    ] = None,
    source_dir: Annotated[
        str | None,
        typer.Option("--source_dir", "--source-dir", help="Another corpus: tests on every clip of it."),
    ] = None,
    reader: Reader = "auto",
    label_map: Annotated[
        list[str] | None,
        typer.Option("--map", help="EMOTION=LABEL: what an emotion of --source_dir counts as, such as calm=neutral."),
    ] = None,
    include_seen: Annotated[
        bool,
        typer.Option("--include-seen", "--include_seen", help="Count clips and speakers that the model learnt from."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Test a model: UAR, accuracy, macro-F1 with 95 % intervals, recall by class, confusion.

    On the test speakers of a split, and then on the corpora that were given to `ser split --across`; or on every clip
    of another corpus. Clips and speakers that the model has learnt from are left out.

    Example: `ser test --data_root data --ckpt_dir model`, `ser test --source_dir RAVDESS --ckpt_dir model`
    """
    from ser_tasks.local_testing import absent_corpora, measure_on_corpus, measure_on_split

    if (data_root is None) == (source_dir is None):
        raise BadInput("test: give either --data_root (what 'ser split' made) or --source_dir (another corpus)")
    if data_root is not None:
        if label_map or reader != "auto":
            raise BadInput("test: --map and --reader belong to --source_dir: a split has its labels already")
        study = _study_of(data_root)
        with err.status(f"testing on {data_root} ..."):
            found = measure_on_split(data_root, study, ckpt_dir, include_seen)
        for corpus in absent_corpora(data_root, study):
            err.print(
                f"not tested on {corpus}, which {data_root} does not hold: 'ser split ... --across {corpus}=FOLDER'",
                markup=False, soft_wrap=True,
            )  # fmt: skip
    else:
        mapped = given_label_map(label_map or [])
        with err.status(f"testing on {source_dir} ..."):
            found = [measure_on_corpus(str(source_dir), reader, mapped, ckpt_dir, include_seen)]
    if as_json:
        documents = [each.document() for each in found]
        others = {"across_corpora": documents[1:]} if documents[1:] else {}
        typer.echo(json.dumps({**documents[0], **others}, indent=1))
        return
    for each in found:
        _print_tested(each)


def given_label_map(given: Sequence[str]) -> dict[str, str]:
    """EMOTION=LABEL, once for each emotion. Raises BadInput for anything else."""
    found: dict[str, str] = {}
    for pair in given:
        emotion, equals, label = (part.strip() for part in pair.partition("="))
        if not equals:
            raise BadInput(f"--map {pair}: write EMOTION=LABEL, such as --map calm=neutral")
        for name in (emotion, label):
            if name not in CANONICAL_EMOTIONS:
                raise BadInput(f"--map {pair}: there is no emotion {name!r}: there are {', '.join(CANONICAL_EMOTIONS)}")
        if found.setdefault(emotion, label) != label:
            raise BadInput(f"--map {pair}: {emotion} counts as {found[emotion]} already: give each emotion once")
    return found


def _print_tested(tested: "Tested") -> None:
    metrics = tested.metrics
    table = Table(
        "metric", "value", metrics["interval"],
        title=f"{metrics['title']} on {metrics['corpus']}, {metrics['role']}: {metrics['clips']} clips, "
        f"{metrics['speakers']} speakers",
    )  # fmt: skip
    for name, said in metrics["names"].items():
        table.add_row(
            said, f"{metrics[name]['value']:.3f}", f"{metrics[name]['low']:.3f} to {metrics[name]['high']:.3f}"
        )
    table.add_row("UAR by chance, at most", f"{metrics['chance_uar']:.3f}", "")
    out.print(table)
    for line in _about_labels(metrics):
        out.print(line, markup=False, soft_wrap=True)
    _print_adapted(metrics)
    grid = Table("true \\ predicted", *tested.confusion, "recall", title="confusion, clips")
    for label, counts in tested.confusion.items():
        recall = metrics["recall"].get(label)
        grid.add_row(label, *map(str, counts.values()), "" if recall is None else f"{recall:.2f}")
    out.print(grid)
    said = [metrics["seen"]["sentence"]]
    if metrics["mapping"]:
        said.append(f"Emotions of {metrics['corpus']}: {metrics['mapping']}.")
    elif tested.without_label:
        left = ", ".join(f"{n} {label}" for label, n in tested.without_label.items())
        said.append(f"Left out, since the model has no such label: {left}.")
    if tested.rejected:
        said.append(f"Rejected when {metrics['corpus']} was read: {tested.rejected} file(s); 'ser inspect' lists them.")
    if metrics["across"] and metrics["across"]["conditions"]:
        said += metrics["across"]["conditions"]["sentences"]
    for sentence in [*said, metrics["note"]]:
        if sentence:
            out.print(sentence, markup=False, soft_wrap=True)


def _print_adapted(metrics: Mapping[str, Any]) -> None:
    """What comes out where clips are compared with unlabelled ones of their speaker or corpus."""
    if not metrics["adapted"]:
        return
    table = Table("by", "UAR", "95 %", "clips", "left out", title="adapted without labels")
    for each in metrics["adapted"]:
        uar = each.get("uar")
        numbers = (f"{uar['value']:.3f}", f"{uar['low']:.3f} to {uar['high']:.3f}") if uar else ("", "")
        table.add_row(each["way"], *numbers, str(each["clips"]), str(each["left_out"]))
    out.print(table)
    for each in metrics["adapted"]:
        out.print(f"By {each['way']}: {each['remark']}.", markup=False, soft_wrap=True)


def _about_labels(metrics: Mapping[str, Any]) -> list[str]:
    """Which labels the numbers are about, the number when any label may be answered, and what is odd of the answers."""
    return [line for line in (metrics["labels_protocol"]["sentence"], metrics["answers"]) if line]


def predict_wav(
    wav_path: Annotated[Path, typer.Option("--wav_path", "--wav-path", help="An audio file, any rate.")],
    ckpt_dir: CkptDir,
    target: Target = None,
    window_s: WindowS = 10.0,
    hop_s: HopS = 5.0,
    device: OnDevice = "auto",
    as_json: AsJson = False,
) -> None:
    """Label one clip, with a probability for each emotion, and a timeline when it is longer than a window.

    Example: `ser predict_wav --wav_path clip.wav --ckpt_dir model`
    """
    from ser_tasks.builds.predict_folder import check_format, write_predictions
    from ser_tasks.inference.predict import Windows, predict_file

    if target:
        check_format(target)
    if not wav_path.is_file():
        raise BadInput(f"--wav_path {wav_path} is not a file")
    model, spec = _model_on(ckpt_dir, device)
    about = {"model": spec.title, "note": spec.note, "calibration": spec.calibration}
    result = predict_file(model, spec, wav_path, Windows(window_s, hop_s))
    if target:
        rows = [{"path": str(wav_path), "error": "", **result}]
        write_predictions(rows, spec.labels, target, about)
    if as_json:
        typer.echo(json.dumps({"path": str(wav_path), **result, **about}))
        return
    table = Table("emotion", "probability", title=f"{wav_path.name}: {result['label']} ({spec.title})")
    for label, probability in sorted(result["probabilities"].items(), key=lambda item: -item[1]):
        table.add_row(label, f"{probability:.3f}")
    out.print(table)
    if "tone" in result:
        out.print(f"tone: {result['tone']:.2f}, on the scale of the ratings that the model learnt from")
    if result["timeline"]:
        timeline = Table("from s", "to s", "emotion", "probability", title=f"windows of {window_s:g} s")
        for part in result["timeline"]:
            probability = part["probabilities"][part["label"]]
            timeline.add_row(f"{part['start_s']:.1f}", f"{part['end_s']:.1f}", part["label"], f"{probability:.3f}")
        out.print(timeline)
    for line in (f"probabilities: {spec.calibration}", spec.note):
        if line:
            out.print(line, markup=False, soft_wrap=True)


def predict(
    source_dir: SourceDir,
    ckpt_dir: CkptDir,
    target: Target = None,
    window_s: WindowS = 10.0,
    hop_s: HopS = 5.0,
    normalise: Annotated[
        Literal["clip", "corpus"],
        typer.Option(
            help="clip: each file by itself. corpus: each is compared with all of them, unlabelled, which supposes "
            "that they cover the emotions alike."
        ),
    ] = "clip",
    device: OnDevice = "auto",
    as_json: AsJson = False,
) -> None:
    """Label every audio file of a folder, archive or prefix in the bucket; files that cannot be used are listed.

    Example: `ser predict --source_dir recordings --ckpt_dir model --out labels.csv`
    """
    from ser_tasks.builds.predict_folder import check_format, write_predictions
    from ser_tasks.corpora.entry import AUDIO
    from ser_tasks.corpora.source import open_source
    from ser_tasks.inference.predict import Windows, predict_folder, predict_folder_adapted
    from ser_tasks.local import local_corpus

    if target:
        check_format(target)
    elif not as_json:
        raise BadInput("predict: say where the results go: --out FILE (.json, .csv, .parquet), or --json for stdout")
    source = open_source(local_corpus(source_dir))
    names = [file.path for file in source.files if file.path.lower().endswith(AUDIO)]
    if not names and not source.problems:
        raise BadInput(f"--source_dir {source_dir}: no audio in it: looked for {', '.join(AUDIO)}")
    model, spec = _model_on(ckpt_dir, device)
    head = _adapted_head(ckpt_dir) if normalise == "corpus" else None
    with err.status(f"labelling {len(names)} files ..."):
        if head:
            rows = predict_folder_adapted(model, spec, head, names, source.read)
        else:
            rows = predict_folder(model, spec, names, source.read, Windows(window_s, hop_s))
    rows += [{"path": path, "error": reason} for path, reason in source.problems]
    about = {"model": spec.title, "note": spec.note, "normalise": normalise, "calibration": (head or spec).calibration}
    written = write_predictions(rows, spec.labels, target, about) if target else []
    failed = [row for row in rows if row["error"]]
    for row in failed:
        reason = row["error"].removeprefix(f"{row['path']} ")
        err.print(f"{row['path']} {reason}", style="yellow", markup=False, soft_wrap=True)
    if as_json:
        typer.echo(json.dumps({**about, "predictions": rows}, indent=1))
        return
    out.print(f"{len(rows) - len(failed)} files labelled, {len(failed)} not: {', '.join(map(str, written))}")
    for line in (f"probabilities: {about['calibration']}", spec.note):
        if line:
            out.print(line, markup=False, soft_wrap=True)


def _adapted_head(folder: Path) -> "AdaptedHead":
    from ser_tasks.models.adapted import load_adapted

    if (head := load_adapted(folder)) is None:
        raise BadInput(f"--ckpt_dir {folder} has no head for --normalise corpus: train the model again")
    return head


def _model_on(folder: Path, device: str) -> "tuple[nn.Module, ModelSpec]":
    """A model where it is to compute."""
    from ser_tasks.models.files import load_model
    from ser_tasks.training.device import choose_device

    place = choose_device(device)
    model, spec = load_model(folder)
    return model.to(place), spec


def export(
    ckpt_dir: CkptDir,
    target: Annotated[Path, typer.Option("--out", help="A folder, or a path with the format's suffix.")],
    format: Annotated[Literal["onnx", "torchscript", "pt2"], typer.Option(help="Of the file.")] = "onnx",
) -> None:
    """Write a model as one file for other programs, checked against the model itself before it is kept.

    Example: `ser export --ckpt_dir model --format onnx --out model.onnx`
    """
    from ser_tasks.inference.export import export_model
    from ser_tasks.models.files import load_model

    model, spec = load_model(ckpt_dir)
    with err.status(f"writing {format} ..."):
        path = export_model(model, spec, target, format)
    out.print(f"{path}, and {path.name}.json says what it takes and gives")


@encoder_app.command()
def mirror(
    name: Annotated[str, typer.Argument(help="On the hub, such as facebook/wav2vec2-base; or what to call a folder.")],
    revision: Annotated[
        str | None, typer.Option(help="Commit on the hub, all 40 digits; without it, the newest.")
    ] = None,
    folder: Annotated[Path | None, typer.Option("--from", help="A folder of weights instead of the hub.")] = None,
    sha256: Annotated[
        list[str] | None,
        typer.Option(help="FILE=HEX, once for each *.safetensors: refuse other weights. The configuration's pin too."),
    ] = None,
) -> None:
    """Copy an encoder's safetensors to encoders/ in the bucket, once: workers then never need the hub.

    Example: `ser encoder mirror facebook/wav2vec2-base --revision 0123456789abcdef0123456789abcdef01234567`
    """
    from ser_tasks.encoder_mirror import mirror_from_folder, mirror_from_hub, mirror_origin
    from ser_tasks.store import Store

    digests = dict(given.rpartition("=")[::2] for given in sha256 or [])
    try:
        pin = EncoderPin(revision=revision, sha256=digests)
    except ValidationError as error:
        raise BadInput(f"encoder {name}: --revision is a commit of 40 hex digits, --sha256 FILE=64 of them") from error
    store = Store.from_env()
    prefix = mirror_from_folder(name, folder, pin, store) if folder else mirror_from_hub(name, pin, store)
    origin = mirror_origin(prefix, store)
    said = (
        f", which the hub converted to safetensors from {origin['conversion_of']}" if "conversion_of" in origin else ""
    )
    out.print(
        f"{prefix} in bucket {store.bucket}, revision {origin.get('revision') or 'unknown'}{said}", soft_wrap=True
    )


@contextmanager
def _temporary() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ser-") as folder:
        yield Path(folder)
