"""`ser trait fit|score|report`: a trait of speech on local folders, put to the test."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from ser_tasks.cli_options import AsJson, Reader, SourceDir, err, out
from ser_tasks.errors import BadInput

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode="markdown",
    help="A direction in an encoder's embeddings that carries a trait, such as rudeness, and what speaks against it.",
)  # fmt: skip

TraitName = Annotated[str, typer.Option("--trait", help="What the ratings call it: rudeness, politeness, ...")]
TraitsDir = Annotated[
    Path, typer.Option("--traits_dir", "--traits-dir", help="Where fitted traits lie, a folder each.")
]
EncoderDir = Annotated[
    Path | None,
    typer.Option(help="Folder of a pretrained encoder (config.json, *.safetensors), or one that `ser train` made."),
]
RatingsFile = Annotated[
    Path | None,
    typer.Option(help="CSV of ratings: utterance_id, annotator_id, trait, rating. Without it: --high and --low."),
]
High = Annotated[str, typer.Option(help="Emotions that count as high, where there are no ratings: angry,disgust")]
Low = Annotated[str, typer.Option(help="Emotions that count as low: calm,neutral")]
Threshold = Annotated[float, typer.Option(help="Ratings above it are high.")]
LabelBy = Annotated[
    Literal["mean", "majority"], typer.Option("--label_by", "--label-by", help="The mean rating, or most annotators.")
]
Permutations = Annotated[int, typer.Option(min=99, help="Shuffles of the labels in each null distribution.")]
Seed = Annotated[int, typer.Option(min=0)]


def _labels(ratings: Path | None, high: str, low: str, threshold: float, label_by: str) -> Any:
    from ser_tasks.config import CANONICAL_EMOTIONS
    from ser_tasks.local_trait import Labels

    groups = [tuple(name.strip() for name in names.split(",") if name.strip()) for names in (high, low)]
    if unknown := [name for group in groups for name in group if name not in CANONICAL_EMOTIONS]:
        raise BadInput(f"--high, --low: {unknown[0]!r} is no emotion; there are {', '.join(CANONICAL_EMOTIONS)}")
    if bool(groups[0]) != bool(groups[1]) or (ratings and groups[0]):
        raise BadInput("give --ratings FILE, or emotions for both --high and --low")
    return Labels(ratings, groups[0], groups[1], threshold, label_by)


def _encoder(given: Path | None, fit: dict[str, Any]) -> Path:
    encoder = given or Path(fit["encoder"])
    if not encoder.is_dir():
        raise BadInput(f"the encoder of the fit, {encoder}, is not there: say where it is with --encoder FOLDER")
    return encoder


@app.command()
def fit(
    source_dir: SourceDir,
    trait: TraitName = "rudeness",
    traits_dir: TraitsDir = Path("traits"),
    encoder: EncoderDir = None,
    ratings: RatingsFile = None,
    high: High = "",
    low: Low = "",
    threshold: Threshold = 3.0,
    label_by: LabelBy = "mean",
    reader: Reader = "auto",
    permutations: Permutations = 300,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Fit the direction of a trait, and say what speaks for it and against it.

    Without --ratings, --high and --low, ratings are looked for in annotations/TRAIT.csv of the corpus.

    Example: `ser trait fit --trait rudeness --source_dir IEMOCAP --encoder ENCODER --ratings rudeness.csv`
    """
    from ser_tasks.local_trait import DRAWN, embed_corpus, fit_trait

    if encoder is None:
        raise BadInput("--encoder FOLDER: which encoder's embeddings? A pretrained one, or one that 'ser train' made")
    beside = Path(source_dir) / "annotations" / f"{trait}.csv"
    if ratings is None and not high and not low:
        if not beside.is_file():
            raise BadInput(f"no {beside}: give --ratings FILE, or emotions for --high and --low")
        ratings = beside
    labels = _labels(ratings, high, low, threshold, label_by)
    with err.status(f"embedding {source_dir} ..."):
        corpus = embed_corpus(source_dir, reader, encoder)
    folder = traits_dir / trait
    with err.status("putting the direction to the test ..."):
        metrics = fit_trait(
            trait, corpus, encoder, labels, folder, DRAWN | {"permutations": permutations, "seed": seed}
        )
    if as_json:
        typer.echo(json.dumps(metrics, indent=1, ensure_ascii=False))
        return
    _print_evidence(metrics)
    out.print(
        f"direction in {folder}; next: ser trait report --trait {trait} --traits_dir {traits_dir}", soft_wrap=True
    )


@app.command()
def score(
    trait: TraitName = "rudeness",
    traits_dir: TraitsDir = Path("traits"),
    source_dir: Annotated[
        str, typer.Option("--source_dir", "--source-dir", help="Another corpus: the direction is tried on it.")
    ] = "",
    wav_path: Annotated[
        Path | None, typer.Option("--wav_path", "--wav-path", help="Or one WAV or FLAC file, any rate.")
    ] = None,
    encoder: EncoderDir = None,
    ratings: RatingsFile = None,
    high: High = "",
    low: Low = "",
    threshold: Threshold = 3.0,
    label_by: LabelBy = "mean",
    reader: Reader = "auto",
    as_json: AsJson = False,
) -> None:
    """Score a clip, or another corpus; with ratings or emotions of that one, also say how well the direction holds.

    Scores: 0 is the mean of the corpus of the fit, 1 its standard deviation.

    Example: `ser trait score --trait rudeness --wav_path clip.wav`
    """
    from ser_tasks.local_trait import embed_corpus, fitted_with, transfer_trait

    folder = traits_dir / trait
    made = fitted_with(folder)
    place = _encoder(encoder, made)
    if wav_path is not None:
        _score_clip(trait, folder, place, wav_path, as_json)
        return
    if not source_dir:
        raise BadInput("what to score: --wav_path FILE, or --source_dir CORPUS")
    labels = _labels(ratings, high, low, threshold, label_by)
    with err.status(f"embedding {source_dir} ..."):
        corpus = embed_corpus(source_dir, reader, place)
    drawn = {name: made[name] for name in ("permutations", "resamples", "seed")}
    target = folder / "on" / corpus.name
    metrics = transfer_trait(trait, corpus, labels, folder, target, drawn)
    if as_json:
        typer.echo(json.dumps(metrics, indent=1, ensure_ascii=False))
        return
    from ser_tasks.report.trait_text import transfer_rows

    _print_rows(transfer_rows([metrics]), f"{trait} on {corpus.name}")
    out.print(f"one score a clip in {target / 'scores.parquet'}", soft_wrap=True)


@app.command()
def report(
    trait: TraitName = "rudeness",
    traits_dir: TraitsDir = Path("traits"),
    encoder: EncoderDir = None,
) -> None:
    """Write a page about a fitted trait: verdict, evidence, pictures, clips at both ends where the licence allows.

    Example: `ser trait report --trait rudeness`
    """
    from ser_tasks.local_trait import embed_corpus, fitted_with, report_trait

    folder = traits_dir / trait
    made = fitted_with(folder)
    corpus = embed_corpus(made["corpus"], made["reader"], _encoder(encoder, made))
    with err.status("drawing ..."):
        report_trait(trait, corpus, folder, folder / "report", made["seed"])
    out.print(f"{folder / 'report' / 'index.html'}", soft_wrap=True)


def _score_clip(trait: str, folder: Path, encoder: Path, wav_path: Path, as_json: bool) -> None:
    from ser_tasks.rudeness.scoring import Scorer

    if not wav_path.is_file():
        raise BadInput(f"--wav_path {wav_path} is not a file")
    found = Scorer.load(folder, encoder).score(wav_path)
    if as_json:
        typer.echo(json.dumps({"path": str(wav_path), "trait": trait, **found}))
        return
    out.print(
        f"{wav_path.name}: {trait} {found['score']:+.2f}, percentile {found['percentile']:.0f} of "
        f"{found['percentile_of']}",
        soft_wrap=True,
    )


def _print_evidence(metrics: dict[str, Any]) -> None:
    from ser_tasks.report.trait_text import evidence_rows, verdict_in_words

    verdict = verdict_in_words(metrics)
    _print_rows(evidence_rows(metrics), f"{metrics['trait']}: {metrics['groups']}; embeddings: {metrics['embeddings']}")
    said = [f"note: {metrics['note']}"] if metrics["note"] else []
    said += [f"explained by: {verdict['explained_by']}: {verdict['why']}"]
    said += [f"continuous: {verdict['shape']}: {verdict['shape_why']}"]
    said += [f"not carried by this much data: {words}" for words in verdict["refused"]]
    for sentence in said:
        out.print(sentence, markup=False, soft_wrap=True)


def _print_rows(rows: list[dict[str, str]], title: str) -> None:
    table = Table("what", "value", "95 %", "p", title=title)
    group = ""
    for row in rows:
        if row["group"] != group:
            group = row["group"]
            table.add_row(f"[bold]{group}[/bold]")
        table.add_row(f"  {row['what']}", row["value"], row["interval"], row["p"])
    out.print(table)
