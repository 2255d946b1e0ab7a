"""What several commands of `ser` share: their options, and where they print."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

out = Console()
err = Console(stderr=True)

SourceDir = Annotated[
    str,
    typer.Option("--source_dir", "--source-dir", help="A corpus: a folder, a .zip or .tar, or s3://bucket/prefix."),
]
Checksums = Annotated[
    Path | None, typer.Option(help="List with the columns file, sha256, bytes: what every file must be.")
]
DataRoot = Annotated[Path, typer.Option("--data_root", "--data-root", help="Folder that `ser split` made.")]
CkptDir = Annotated[Path, typer.Option("--ckpt_dir", "--ckpt-dir", help="Folder that `ser train` made.")]
Reader = Annotated[
    str,
    typer.Option(help="A description in include/corpora, or a path to one (.yaml); auto: told from the files' names."),
]
ConfigName = Annotated[
    str | None, typer.Option("--config", help="A file in include/configs, or a path to one; without it, defaults.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
