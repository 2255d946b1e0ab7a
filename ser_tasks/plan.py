"""The first task: resolves the configuration and pins everything that a run reads.

Every later task gets references. None reads a DAG parameter, a date or "latest": a retry or a Clear a week later does
the same thing.
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ser_tasks.artifact import Ref, artifact_key, canonical_json
from ser_tasks.config import RANDOM_ENCODER, EncoderPin, StudyConfig, parse_config
from ser_tasks.corpora.readers import load_description
from ser_tasks.encoder_hub import NoWeights
from ser_tasks.encoder_mirror import check_pinned, mirror_from_hub, mirror_origin
from ser_tasks.errors import BadInput
from ser_tasks.store import Store

SEEDED = ("cnn", "wav2vec2")
"""Models that are trained once a seed: what else there is comes out the same whatever the seed."""

Result = dict[str, Any]
"""What one task hands to the next: {"step", "about", "ref", "hit", ...}; small enough for an XCom."""


@dataclass(frozen=True)
class Plan:
    """A resolved configuration and what it found."""

    config: StudyConfig
    descriptions: dict[str, dict[str, Any]]
    """Corpus name to its description in include/corpora, as it was when the run was planned."""
    encoders: dict[str, str]
    models: list[str]
    notes: list[str]
    salts: dict[str, str]

    @property
    def pairs(self) -> list[str]:
        """Every model on every test corpus, as `model@corpus`."""
        return [f"{model}@{corpus}" for model in self.models for corpus in self.config.emotion_corpora]

    @property
    def seeded(self) -> list[str]:
        """Trainings that differ from a model's first in their seed alone, as `model/number`; number 0 is the first."""
        return [f"{model}/{i}" for model in SEEDED for i in range(1, self.config.seeds)]

    @property
    def seed_pairs(self) -> list[str]:
        """Every one of them on every test corpus, as `model/number@corpus`."""
        return [f"{training}@{corpus}" for training in self.seeded for corpus in self.config.emotion_corpora]

    def has_encoder(self, name: str) -> bool:
        return name in self.encoders

    @property
    def wav2vec2_note(self) -> str:
        """Empty for a pretrained encoder."""
        return "" if self.has_encoder(self.config.wav2vec2.encoder) else RANDOM_ENCODER

    @property
    def pretrained(self) -> str:
        """Name of a pretrained encoder whose weights are pinned: the probe's, else wav2vec2's; empty for none."""
        names = [*([self.config.probe.encoder] if self.config.probe else []), self.config.wav2vec2.encoder]
        return next((name for name in names if self.has_encoder(name)), "")

    @property
    def embedder(self) -> str:
        """What gives embeddings for the trait and pictures: `encoder` (the pretrained one), or a trained model."""
        wanted = self.config.trait.embedder if self.config.trait else "auto"
        if wanted == "auto":
            return "encoder" if self.pretrained else "cnn"
        if wanted == "encoder" and not self.pretrained:
            raise BadInput("plan: trait.embedder is encoder, but no encoder's weights can be had: take auto or cnn")
        return wanted

    @property
    def parts(self) -> list[str]:
        """What embedding is mapped over: `<corpus>/<part>/<parts>`."""
        of = self.config.trait.parts if self.config.trait else 0
        return [f"{corpus}/{i}/{of}" for corpus in self.config.trait_corpora for i in range(of)]

    @property
    def trait_maps(self) -> dict[str, list[str]]:
        """What the trait's tasks are mapped over: parts, and by corpus embeddings, ratings and transfer."""
        trait = self.config.trait
        others = trait.transfer if trait else []
        rated = [*([""] if trait and trait.ratings else []), *(other.corpus for other in others if other.ratings)]
        return {
            "parts": self.parts,
            "embedded": self.config.trait_corpora,
            "rated": rated,
            "transfers": [other.corpus for other in others],
        }


def make_plan(
    config: StudyConfig,
    store: Store,
    by: str,
    rebuild: Sequence[str] = (),
    ratings: str = "",
    champions: Mapping[str, str] | None = None,
    *,
    only_trait: bool = False,
) -> list[Result]:
    """Pin raw corpora, encoders and annotations, and publish the plan.

    Args:
        config: Of the study.
        store: To look into and publish to.
        by: The run that asks.
        rebuild: Steps to build anew though they are there; their keys are salted with `by`.
        ratings: Reference of the version of the dropped ratings that the study reads; empty for none.
        champions: Model to the training of its champion, which the gate compares with.
        only_trait: Plan no more than the trait takes: its corpora, and a trained model only without an encoder.

    Returns:
        One result for the plan and one for each thing pinned (steps `plan`, `raw`, `accepted`, `encoder`,
        `annotations`, `champion`).

    Raises:
        BadInput: Nothing lies under raw/<corpus>/ for a corpus that the study uses, or it has no description; or an
            encoder is not the pinned one.
    """
    about = {"built_by": by}
    pinned, notes = _pin_encoders(config, store, about)
    encoders = {item["about"]: item["ref"] for item in pinned}
    corpora = config.used_corpora
    models = ["baseline", "cnn", "wav2vec2"]
    if config.probe and config.probe.encoder in encoders:
        models.append("probe")
    if only_trait:
        embedder = Plan(config, {}, encoders, models, [], {}).embedder
        models = [embedder] if embedder in models else []
        corpora = corpora if models else config.trait_corpora
    descriptions = {corpus: load_description(config.corpora[corpus].reader) for corpus in corpora}
    results: list[Result] = []
    for corpus in corpora:
        ref = store.pin_raw(f"raw/{corpus}/", about)
        if ref is None:
            raise BadInput(
                f"plan: nothing lies under raw/{corpus}/ in bucket {store.bucket}: upload the corpus there, or run "
                f"'make study CONFIG=... {Path(config.corpora[corpus].reader).stem.upper()}=<folder>'"
            )
        results.append({"step": "raw", "about": corpus, "ref": str(ref)})
        if accepted := accepted_before(corpus, str(ref), store):
            results.append({"step": "accepted", "about": corpus, "ref": accepted})
    results += pinned
    if config.wav2vec2.encoder not in encoders:
        notes.append(f"wav2vec2 uses the config's offline encoder, {RANDOM_ENCODER}")
    if config.trait and config.trait.embedder == "auto" and not any(name in encoders for name in _encoder_pins(config)):
        notes.append(
            "trait.embedder is auto and no encoder's weights can be had: the trait is scored in embeddings of the CNN, "
            "which has learnt emotion labels; only speakers whom it has not seen count"
        )
    if ratings:
        results.append({"step": "annotations", "about": "", "ref": ratings})
    results += [{"step": "champion", "about": name, "ref": ref} for name, ref in (champions or {}).items()]
    plan = {
        "config": config.portable(),
        "descriptions": descriptions,
        "encoders": encoders,
        "models": models,
        "notes": notes,
        "salts": dict.fromkeys(sorted(rebuild), by),
        "pinned": [[item["step"], item["about"], item["ref"]] for item in results],
    }
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "plan.json").write_bytes(canonical_json(plan))
        ref, _ = store.publish("plan", artifact_key("plan", 1, plan, {}), Path(folder), about)
    return [{"step": "plan", "about": "", "ref": str(ref)}, *results]


def _encoder_pins(config: StudyConfig) -> dict[str, EncoderPin]:
    pins = {config.wav2vec2.encoder: config.wav2vec2.pin}
    if config.probe:
        pins.setdefault(config.probe.encoder, config.probe.pin)
    return pins


def _pin_encoders(config: StudyConfig, store: Store, about: Mapping[str, Any]) -> tuple[list[Result], list[str]]:
    """One result for each encoder whose weights can be had, mirrored from the hub where one can be reached.

    Beside them what a reader of the report must know: why there are no weights, or that they are a conversion.
    """
    results, notes = [], []
    for name, pin in _encoder_pins(config).items():
        try:
            prefix = mirror_from_hub(name, pin, store)
        except NoWeights as error:
            notes.append(str(error))
            continue
        ref = store.pin_raw(prefix, about)
        if ref is None:
            raise BadInput(f"plan: {prefix} was emptied a moment ago: trigger a new run")
        check_pinned(store, ref, name, pin)
        origin = mirror_origin(prefix, store)
        if "conversion_of" in origin:
            notes.append(
                f"encoder {name}: revision {origin['revision']}, the hub's conversion to safetensors of "
                f"{origin['conversion_of']}"
            )
        results.append({"step": "encoder", "about": name, "ref": str(ref)})
    return results, notes


def read_plan(store: Store, given: Sequence[Mapping[str, Any]]) -> Plan:
    """Read the published plan that is among these results. Raises BadInput when none is."""
    ref = find(given, "plan", "")
    if ref is None:
        raise BadInput("plan: no plan is among the results that were given")
    tree = json.loads((store.cached(ref) / "plan.json").read_bytes())
    return Plan(
        config=parse_config(tree["config"], f"plan {ref}"),
        descriptions=tree["descriptions"],
        encoders=tree["encoders"],
        models=tree["models"],
        notes=tree["notes"],
        salts=tree["salts"],
    )


def accepted_before(corpus: str, raw: str, store: Store) -> str | None:
    """The scan that a corpus's data is compared with for drift: of the last version that a run accepted.

    The same uploads are compared with the same version again, so that a second run finds everything built.
    """
    held = store.pointer(f"accepted/{corpus}")
    if held is None:
        return None
    before: str | None = held[0]["before"] if held[0]["raw"] == raw else held[0]["scan"]
    return before


def accept(corpus: str, raw: str, scan: str, store: Store) -> None:
    """Remember a corpus's scan as accepted, once everything that was made of it is published."""
    held = store.pointer(f"accepted/{corpus}")
    if held is None or held[0]["raw"] != raw:
        value = {"raw": raw, "scan": scan, "before": held[0]["scan"] if held else None}
        store.move_pointer(f"accepted/{corpus}", value, held[1] if held else None)


def find(results: Sequence[Mapping[str, Any]], step: str, about: str) -> Ref | None:
    """The reference that a step gave about something, or None."""
    for item in results:
        if item["step"] == step and item["about"] == about:
            return Ref.parse(item["ref"])
    return None
