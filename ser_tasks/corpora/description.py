"""What `include/corpora/<name>.yaml` may say: a corpus described without code, checked before anything is read."""

import os
import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from ser_tasks.config import CANONICAL_EMOTIONS, Name
from ser_tasks.errors import BadInput

FILE_FIELDS = ("path", "folder", "name", "stem", "suffix")
"""What every file has: its path from the root, its folder's name, its own name, that without suffix, its suffix."""

ColumnName = Literal[
    "utterance_id", "speaker_id", "emotion", "sex", "age", "race", "ethnicity", "intensity", "sentence_id",
    "transcript", "session", "dialog", "valence", "activation", "dominance", "votes", "raters", "known_issue",
]  # fmt: skip
Sex = Literal["male", "female", "other"]


def _compiles(pattern: object) -> object:
    try:
        re.compile(str(pattern))
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
    return pattern


Pattern = Annotated[str, BeforeValidator(_compiles)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Names(Strict):
    """The grammar of the file names."""

    pattern: Pattern = Field(description="regular expression with named groups, for the whole stem")
    grammar: str = Field(description="the same in words, for people: 'the name is not <grammar>'")
    example: str = Field(description="a stem that fits")

    @model_validator(mode="after")
    def _fits_its_example(self) -> Self:
        if not re.fullmatch(self.pattern, self.example):
            raise ValueError(f"the example {self.example!r} does not fit the pattern {self.pattern!r}")
        return self


class Spelling(Strict):
    """A wrong spelling of a stem that is found in the wild."""

    wrong: Pattern
    right: str = Field(description="what it stands for; \\1 is the first group of `wrong`")
    issue: str = Field(description="said of every such clip, in known_issue")


class SideTable(Strict):
    """A CSV or TSV table, or what code makes of side files that are no table."""

    file: str = Field(description="from the corpus's folder, such as processedResults/tabulatedVotes.csv")
    code: Literal["crema_d_votes", "iemocap_turns", "iemocap_words"] | None = Field(
        default=None, description="made from `file` by this project's code, for corpora that need it"
    )
    key: str = Field(description="the column whose cells are compared with `by`")
    by: str = Field(description="path, name or stem: a table of clips; or a group of the pattern, such as the speaker")
    required: bool = Field(default=False, description="a clip that is not in the table is rejected")


class Column(Strict):
    """Where a manifest column comes from. A plain word stands for {from: word}."""

    source: str = Field(alias="from", description="a group of the pattern, <table>.<column>, or path, folder, stem ...")
    map: dict[str, str | None] | None = Field(default=None, description="the corpus's codes to values; null: no value")


class LeaveOut(Strict):
    """Files that are no part of the corpus as it is used here: counted, not rejected."""

    where: dict[str, Pattern] = Field(min_length=1, description="field to a regular expression for its whole value")
    why: str


def _short_form(value: object) -> object:
    return {"from": value} if isinstance(value, str) else value


class Description(Strict):
    """A corpus: its names, tables and columns, and what people must know of it."""

    name: Name
    title: str
    licence: str
    commercial_use: bool
    clips_in_reports: bool = Field(
        default=False, description="whether the licence lets a report carry a few clips to be listened to"
    )
    citation: str
    language: str
    names: Names | None = None
    spellings: list[Spelling] = []
    tables: dict[Annotated[str, Field(pattern=r"^\w+$")], SideTable] = {}
    columns: dict[ColumnName, Annotated[Column, BeforeValidator(_short_form)]]
    leave_out: list[LeaveOut] = []
    known_issues: dict[str, str] = Field(default={}, description="stem to what is wrong with the clip")
    speakers: dict[str, Sex | None] = Field(default={}, description="the official roster, for exact stratification")

    @model_validator(mode="after")
    def _names_what_there_is(self) -> Self:
        for column in ("speaker_id", "emotion"):
            if column not in self.columns:
                raise ValueError(f"columns.{column} is missing: every clip needs one")
        groups = set(re.compile(self.names.pattern).groupindex) if self.names else set()
        if taken := groups & set(FILE_FIELDS):
            raise ValueError(
                f"names.pattern: a group may not be called {', '.join(sorted(taken))}: every file has that"
            )
        plain = groups | set(FILE_FIELDS)
        asked = {f"columns.{name}.from": column.source for name, column in self.columns.items()}
        asked |= {f"leave_out[{i}].where": field for i, rule in enumerate(self.leave_out) for field in rule.where}
        for place, field in asked.items():
            table, dot, _ = field.partition(".")
            if field not in plain and not (dot and table in self.tables):
                have = ", ".join([*sorted(groups), *(f"{name}.<column>" for name in self.tables), *FILE_FIELDS])
                raise ValueError(f"{place} is {field!r}, which there is not; there are: {have}")
        for name, side in self.tables.items():
            if side.by not in plain:
                raise ValueError(
                    f"tables.{name}.by is {side.by!r}, which there is not; there are: {', '.join(sorted(plain))}"
                )
        return self

    @model_validator(mode="after")
    def _maps_to_known_values(self) -> Self:
        known: dict[str, tuple[str, ...]] = {"emotion": CANONICAL_EMOTIONS, "sex": ("male", "female", "other")}
        for column, values in known.items():
            mapped = self.columns[column].map if column in self.columns else None
            for code, value in (mapped or {}).items():
                if value not in values and not (column == "sex" and value is None):
                    raise ValueError(f"columns.{column}.map.{code} is {value!r}; it may be: {', '.join(values)}")
        return self


class _Words(yaml.SafeLoader):  # type: ignore[misc]
    """YAML whose scalars stay as they are written (01 is a code and not the number 1, NO not false), but for null."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - it is PyYAML's own name
        first: [
            (tag, pattern) for tag, pattern in resolvers if tag in ("tag:yaml.org,2002:null", "tag:yaml.org,2002:merge")
        ]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        """A key that is there twice is an error: the first would be lost without a word."""
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        for place, key in enumerate(keys):
            if key in keys[:place]:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is there twice", node.start_mark)
        mapping: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return mapping


def descriptions_folder() -> Path:
    """Where the descriptions lie: $SER_CORPORA, or include/corpora beside the package."""
    return Path(os.environ.get("SER_CORPORA") or Path(__file__).parents[2] / "include" / "corpora")


def known_names() -> list[str]:
    """Names of the descriptions that there are."""
    return sorted(path.stem for path in descriptions_folder().glob("*.yaml"))


def read_description(name: str) -> Description:
    """Read and check a description.

    Args:
        name: Of a file in `descriptions_folder()`, or a path that ends in .yaml.

    Raises:
        BadInput: No such file, not YAML, an unknown key, or a wrong value, each with its place.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else descriptions_folder() / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(known_names()) or "none"
        raise BadInput(f"corpora: there is no description {path}; in {descriptions_folder()} there are: {known}")
    try:
        tree = yaml.load(path.read_bytes(), Loader=_Words)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"corpora: {path} is not YAML: {error}") from error
    if not isinstance(tree, dict):
        raise BadInput(f"corpora: {path} holds no mapping of keys to values")
    return check_description({"name": path.stem, **tree}, str(path))


def check_description(tree: Mapping[str, Any], origin: str) -> Description:
    """Check a description; every fault is named with its place. Raises BadInput."""
    try:
        return Description.model_validate(tree)
    except ValidationError as error:
        faults = [_fault(item["loc"], item["msg"]) for item in error.errors()]
        raise BadInput(f"corpora: {origin} has {len(faults)} fault(s): " + "; ".join(faults)) from error


def _fault(place: tuple[int | str, ...], message: str) -> str:
    said = message.removeprefix("Value error, ")
    return f"{'.'.join(str(part) for part in place)}: {said}" if place else said
