"""The table of steps: of each its version, what it needs, its parameters and what builds it.

A step's `version` is part of its key: raise it when its result changes for the same inputs and parameters. The build is
named by import path, so that a look-up that hits imports none of the step's room.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ser_tasks.config import BASELINE_TITLE, StudyConfig, Trait, Transfer
from ser_tasks.data.suites import load_suite
from ser_tasks.errors import BadInput
from ser_tasks.plan import SEEDED, Plan

Needs = dict[str, tuple[str, str]]
"""Input name to (step, about) of the result that serves it; a name that ends in `?` may be absent."""


@dataclass(frozen=True)
class Step:
    """One step. `about` says of which corpus, model or pair a result is; empty: of the study."""

    doc: str
    version: int
    build: str
    needs: Callable[[Plan, str], Needs]
    params: Callable[[Plan, str], dict[str, Any]] = field(default=lambda plan, about: {})
    leased: bool = False
    resumable: bool = False
    """Its build keeps checkpoints and reports epochs: see ser_tasks.live."""
    refuse: str = ""
    """Import path `module:function` of what looks at the finished result and raises BadInput to stop the run there."""
    left_out: Callable[[Plan, str], str] = field(default=lambda plan, about: "")
    """Why the configuration leaves this step out; empty when it does not."""


def _pair(about: str) -> tuple[str, str]:
    model, corpus = about.split("@")
    return model, corpus


def _training(about: str) -> tuple[str, str]:
    """The step and what it is about that train a model: `cnn`, or `cnn/2` with the second seed after the first."""
    return f"train_{about.partition('/')[0]}", about


def _trait(config: StudyConfig) -> Trait:
    if config.trait is None:
        raise BadInput("trait: no trait in config")
    return config.trait


def _no_trait(plan: Plan, about: str) -> str:
    return "" if plan.config.trait else "no trait in config"


def _no_ratings(plan: Plan, about: str) -> str:
    return _no_trait(plan, about) or (
        "" if _rated(plan, about).ratings else f"the groups of {_rated(plan, about).corpus} are not made by ratings"
    )


def _rated(plan: Plan, about: str) -> Trait | Transfer:
    """The trait's own corpus, or the one that its direction is tried on."""
    trait = _trait(plan.config)
    return next((other for other in trait.transfer if other.corpus == about), trait)


def _no_tone(plan: Plan) -> str:
    fits = (plan.config.cnn.fit, plan.config.wav2vec2.fit)
    return "" if any(fit.tone_weight for fit in fits) else "no model has a head for a tone (fit.tone_weight)"


def _no_probe(plan: Plan, about: str) -> str:
    if "probe" in plan.models:
        return ""
    return f"no weights of {plan.config.probe.encoder}" if plan.config.probe else "no probe in config"


def validate_params(config: StudyConfig, corpus: str) -> dict[str, Any]:
    """Classes are counted where they are trained; labels are mapped as the study maps them."""
    maps = {test.corpus: dict(test.label_map) for test in config.emotion.across}
    maps[config.emotion.train_corpus] = dict(config.emotion.label_map)
    return {
        "corpus": corpus,
        "suite": load_suite("corpus", config.validation),
        "labels": config.emotion.labels if corpus == config.emotion.train_corpus else None,
        "label_map": maps.get(corpus, {}),
        "max_drift": config.validation.max_drift,
    }


def split_params(config: StudyConfig, roster: Mapping[str, str | None]) -> dict[str, Any]:
    """`roster`: the training corpus's official speakers and their sexes."""
    emotion = config.emotion.model_dump(mode="json", exclude={"normalise"})
    how = {"split": config.split.model_dump(mode="json"), "roster": dict(roster), "policy": config.labels.policy}
    return {**emotion, **how}


def _split_needs(plan: Plan, about: str) -> Needs:
    needs = {f"{step}/{corpus}": (step, corpus) for corpus in plan.config.emotion_corpora for step in ("scan", "pack")}
    return needs | ({} if plan.config.labels.policy == "intended" else {"annotations?": ("annotations", "")})


def _train_needs(plan: Plan, about: str) -> Needs:
    about = about.partition("/")[0]
    needs = {"rows": ("rows", "fit"), "audio": ("pack", plan.config.emotion.train_corpus)}
    encoder = {
        "wav2vec2": plan.config.wav2vec2.encoder,
        "probe": plan.config.probe.encoder if plan.config.probe else "",
    }
    if plan.config.nights.start == "champion":  # only a night pins one
        needs |= {"start?": ("start", about), "start_rows?": ("start_rows", about)}
    fit = {"cnn": plan.config.cnn.fit, "wav2vec2": plan.config.wav2vec2.fit}.get(about)
    if fit and fit.tone_weight:
        needs["ratings"] = ("tones", "")
    return needs | ({"encoder?": ("encoder", encoder[about])} if about in encoder else {})


def _train_params(plan: Plan, about: str) -> dict[str, Any]:
    config = plan.config
    about, _, number = about.partition("/")
    params: dict[str, Any] = {"labels": config.emotion.labels, "seed": config.seed + int(number or 0), "note": ""}
    if about == "cnn":
        return params | network_params(config, "cnn") | {"title": "CNN on log-mel"}
    if about == "wav2vec2":
        name = config.wav2vec2.encoder
        title = "wav2vec2, small, random" if plan.wav2vec2_note else f"{name}, fine-tuned"
        return params | network_params(config, "wav2vec2") | {"title": title, "note": plan.wav2vec2_note}
    if about == "probe" and config.probe:
        return params | {"title": config.probe.title}
    return params | {"title": BASELINE_TITLE}


def network_params(config: StudyConfig, model: Literal["cnn", "wav2vec2"]) -> dict[str, Any]:
    """What a configuration says of a network and of how it is trained: options, fit, and for wav2vec2 offline_encoder.

    With labels.policy votes, networks learn the distribution of the votes unless they are told how much of it.
    """
    settings = {"cnn": config.cnn, "wav2vec2": config.wav2vec2}[model]
    params = settings.model_dump(mode="json", exclude={"encoder", "pin"})
    if config.labels.policy == "votes" and not params["fit"]["soft_weight"]:
        params["fit"]["soft_weight"] = 1.0
    return params


def _evaluate_params(plan: Plan, about: str) -> dict[str, Any]:
    model, corpus = _pair(about)
    config = plan.config
    across = next((test for test in config.emotion.across if test.corpus == corpus), None)
    return {
        "model": model,
        "corpus": corpus,
        "relation": "within" if corpus == config.emotion.train_corpus else "across",
        "labels": config.emotion.labels,
        "label_map": dict((across or config.emotion).label_map),
        "variants": {name: dict(changed) for name, changed in across.variants.items()} if across else {},
        "resamples": config.bootstrap_resamples,
        "seed": config.seed,
        "include_seen": False,
    }


def _evaluate_needs(plan: Plan, pair: str) -> Needs:
    model, corpus = _pair(pair)
    trained = plan.config.emotion.train_corpus
    needs = {
        "predictions": ("predict", pair), "model": (f"train_{model}", model), "manifest": ("scan", corpus),
    }  # fmt: skip
    if corpus == trained:
        return needs
    return needs | {
        "trained": ("scan", trained), "rows": ("rows", "fit"),
        "spectra": ("spectra", ""),
    }  # fmt: skip


def _compare_needs(plan: Plan, corpus: str) -> Needs:
    needs = {f"predictions/{name}": ("predict", f"{name}@{corpus}") for name in plan.models}
    return needs | {f"model/{name}": (f"train_{name}", name) for name in plan.models}


def _seeds_needs(plan: Plan, corpus: str) -> Needs:
    needs = {f"predictions/{name}/0": ("predict", f"{name}@{corpus}") for name in SEEDED}
    needs |= {f"predictions/{training}": ("predict", f"{training}@{corpus}") for training in plan.seeded}
    return needs | {f"model/{name}": (f"train_{name}", name) for name in SEEDED}


def _compare_params(plan: Plan, corpus: str) -> dict[str, Any]:
    return {"corpus": corpus, "labels": plan.config.emotion.labels}


def _seeds_params(plan: Plan, corpus: str) -> dict[str, Any]:
    return _compare_params(plan, corpus) | {"seed": plan.config.seed}


def _champion_needs(model: str) -> Needs:
    """The champion, and the rows that it learnt from."""
    return {"champion?": ("champion", model), "champion_rows?": ("champion_rows", model)}


def _harm_needs(plan: Plan, model: str) -> Needs:
    needs = {"challenger": (f"train_{model}", model), "split": ("split", "")} | _champion_needs(model)
    return needs | {f"audio/{corpus}": ("pack", corpus) for corpus in plan.config.emotion_corpora}


def _gate_needs(plan: Plan, model: str) -> Needs:
    trained = plan.config.emotion.train_corpus
    return _champion_needs(model) | {
        "challenger": (f"train_{model}", model), "harm": ("harm", model), "gate": ("rows", "gate"),
        "fit": ("rows", "fit"), "audio": ("pack", trained), "manifest": ("scan", trained),
    }  # fmt: skip


def _gate_params(plan: Plan, model: str) -> dict[str, Any]:
    options = plan.config.promotion.model_dump(mode="json", exclude={"automatic"})
    return _harm_params(plan, model) | {"options": options}


def _harm_params(plan: Plan, model: str) -> dict[str, Any]:
    return {"trained": plan.config.emotion.train_corpus}


def _all_evaluations(plan: Plan) -> Needs:
    return {f"metrics/{pair}": ("evaluate", pair) for pair in plan.pairs}


def _figures_needs(plan: Plan, about: str) -> Needs:
    needs = _all_evaluations(plan)
    needs |= {f"model/{name}": (f"train_{name}", name) for name in plan.models}
    return needs | (_trait_figures_needs(plan, about) if plan.config.trait else {})


def _trait_figures_needs(plan: Plan, about: str) -> Needs:
    corpus = _trait(plan.config).corpus
    return {"embeddings?": ("embeddings", corpus), "trait?": ("trait", ""), "manifest": ("scan", corpus)}


def _figures_params(plan: Plan, about: str) -> dict[str, Any]:
    return {
        "seed": plan.config.seed,
        "trait": plan.config.trait.name if plan.config.trait else "",
        "synthetic": [name for name in plan.config.used_corpora if plan.config.corpora[name].synthetic],
    }


def _heard(plan: Plan, about: str) -> Needs:
    """What a page takes to say what was found of the trait; the clips only where they may be passed on."""
    if plan.config.trait is None:
        return {}
    corpus = plan.config.trait.corpus
    needs = {f"transfer/{other.corpus}?": ("transfer", other.corpus) for other in plan.config.trait.transfer}
    if plan.config.corpora[corpus].synthetic or plan.descriptions[corpus]["clips_in_reports"]:
        needs["clips"] = ("pack", corpus)
    return needs


def _report_needs(plan: Plan, about: str) -> Needs:
    needs = _figures_needs(plan, about) | _heard(plan, about)
    needs |= {"figures": ("figures", ""), "split": ("split", "")}
    needs |= {f"scan/{corpus}": ("scan", corpus) for corpus in plan.config.used_corpora}
    needs |= {f"validation/{corpus}": ("validate", corpus) for corpus in plan.config.used_corpora}
    needs |= {f"seeds/{corpus}?": ("seeds", corpus) for corpus in plan.config.emotion_corpora}
    return needs | {f"difference/{corpus}": ("compare", corpus) for corpus in plan.config.emotion_corpora}


def _trait_needs(plan: Plan, about: str) -> Needs:
    corpus = _trait(plan.config).corpus
    needs = {"embeddings": ("embeddings", corpus), "manifest": ("scan", corpus), "prosody": ("prosody", "")}
    return needs | ({"ratings": ("ratings", "")} if _trait(plan.config).ratings else {})


def _part(about: str) -> tuple[str, int, int]:
    corpus, i, of = about.split("/")
    return corpus, int(i), int(of)


def _embed_needs(plan: Plan, about: str) -> Needs:
    audio = ("pack", _part(about)[0])
    if plan.embedder == "encoder":
        return {"encoder": ("encoder", plan.pretrained), "audio": audio}
    return {"model": (f"train_{plan.embedder}", plan.embedder), "audio": audio}


def _embed_params(plan: Plan, about: str) -> dict[str, Any]:
    title = f"{plan.pretrained} (pretrained)" if plan.embedder == "encoder" else ""
    params = {"title": title, "part": _part(about)[1:], "precision": _trait(plan.config).precision}
    return params if plan.embedder == "encoder" else params | {"corpus": _part(about)[0]}


def _trait_params(plan: Plan, about: str) -> dict[str, Any]:
    settings = _trait(plan.config).model_dump(mode="json", exclude={"embedder", "parts", "transfer", "precision"})
    return settings | {"resamples": plan.config.bootstrap_resamples, "seed": plan.config.seed}


def _transfer_needs(plan: Plan, corpus: str) -> Needs:
    needs = {"trait": ("trait", ""), "embeddings": ("embeddings", corpus), "manifest": ("scan", corpus)}
    return needs | ({"ratings": ("ratings", corpus)} if _rated(plan, corpus).ratings else {})


STEPS: dict[str, Step] = {
    "scan": Step(
        "Decode, hash and measure every clip of a corpus: a manifest, and lists of what is rejected and why.",
        3,
        "ser_tasks.builds.scan:build",
        needs=lambda plan, corpus: {"raw": ("raw", corpus)},
        params=lambda plan, corpus: {
            "corpus": corpus,
            "description": plan.descriptions[corpus],
            "checksums": plan.config.corpora[corpus].checksums,
        },
    ),
    "validate": Step(
        "Great Expectations on the manifest; a critical failure stops the run before any training.",
        3,
        "ser_tasks.builds.validate:build",
        needs=lambda plan, corpus: {"scan": ("scan", corpus), "accepted?": ("accepted", corpus)},
        params=lambda plan, corpus: validate_params(plan.config, corpus),
        refuse="ser_tasks.builds.validate:refuse",
    ),
    "pack": Step(
        "16 kHz mono FLAC in Parquet, one shard a speaker, and fingerprints that find the same recording again.",
        2,
        "ser_tasks.builds.pack:build",
        needs=lambda plan, corpus: {"raw": ("raw", corpus), "scan": ("scan", corpus)},
    ),
    "split": Step(
        "Speakers to train, dev, gate and test, and the leakage audit, which stops the run on a leak.",
        3,
        "ser_tasks.builds.split:build",
        needs=_split_needs,
        params=lambda plan, about: split_params(
            plan.config, plan.descriptions[plan.config.emotion.train_corpus]["speakers"]
        ),
    ),
    "rows": Step(
        "The rows of a split that a stage may see, and no others: `fit` (train and dev) is all that training gets, "
        "`gate` all that promotion decides on.",
        1,
        "ser_tasks.builds.select_rows:build",
        needs=lambda plan, about: {"split": ("split", "")},
        params=lambda plan, about: {"rows": about},
    ),
    "spectra": Step(
        "Mean log-mel spectrum of the training corpus and of those tested across: how differently they were recorded.",
        1,
        "ser_tasks.builds.spectra:build",
        needs=lambda plan, about: {f"audio/{corpus}": ("pack", corpus) for corpus in plan.config.emotion_corpora},
        params=lambda plan, about: {"trained": plan.config.emotion.train_corpus},
        left_out=lambda plan, about: "" if plan.config.emotion.across else "no other corpus is tested",
    ),
    "train_baseline": Step(
        "Cepstrum, pitch and timing of a clip's speech with logistic regression: what every model has to beat.",
        5,
        "ser_tasks.builds.train_linear:build_baseline",
        _train_needs,
        _train_params,
        leased=True,
    ),
    "train_cnn": Step(
        "The CNN on log-mel spectrograms, selected on dev UAR.",
        6,
        "ser_tasks.builds.train_network:build_cnn",
        _train_needs,
        _train_params,
        leased=True,
        resumable=True,
    ),
    "train_wav2vec2": Step(
        "The fine-tuned speech encoder, selected on dev UAR.",
        8,
        "ser_tasks.builds.train_network:build_wav2vec2",
        _train_needs,
        _train_params,
        leased=True,
        resumable=True,
    ),
    "train_probe": Step(
        "A frozen pretrained encoder with a linear probe, where its weights can be had.",
        4,
        "ser_tasks.builds.train_linear:build_probe",
        _train_needs,
        _train_params,
        leased=True,
        left_out=_no_probe,
    ),
    "predict": Step(
        "Probabilities of one model for one corpus, and which clips it has learnt from.",
        5,
        "ser_tasks.builds.predict:build",
        needs=lambda plan, pair: {
            "model": _training(_pair(pair)[0]),
            "split": ("split", ""),
            "audio": ("pack", _pair(pair)[1]),
        },
        params=lambda plan, pair: {"corpus": _pair(pair)[1], "normalise": plan.config.emotion.normalise},
    ),
    "uncertain": Step(
        "The CNN's probabilities for every clip of a corpus: which would teach most. Not part of a study.",
        2,
        "ser_tasks.builds.uncertain:build",
        needs=lambda plan, corpus: {"model": ("train_cnn", "cnn"), "audio": ("pack", corpus)},
    ),
    "evaluate": Step(
        "UAR, accuracy, macro-F1, classes, calibration, slices and raters of one model on one corpus, with intervals "
        "clustered by speaker.",
        7,
        "ser_tasks.builds.evaluate:build",
        _evaluate_needs,
        params=_evaluate_params,
    ),
    "compare": Step(
        "Paired differences of every two models on the same clips, with intervals over speakers that hold for all "
        "pairs together.",
        6,
        "ser_tasks.builds.compare:build",
        _compare_needs,
        _compare_params,
    ),
    "seeds": Step(
        "Mean and standard deviation over trainings that differ in their seed; wav2vec2 against the CNN over seeds and "
        "speakers.",
        4,
        "ser_tasks.builds.seeds:build",
        _seeds_needs,
        _seeds_params,
        left_out=lambda plan, corpus: "" if plan.seeded else "one training of each model (seeds: 1)",
    ),
    "harm": Step(
        "UAR of the challenger minus the champion's on every test corpus: a guard where the corpus is another than the "
        "one that was learnt from. No row of test goes further.",
        4,
        "ser_tasks.builds.gate:build_harm",
        _harm_needs,
        _harm_params,
    ),
    "gate": Step(
        "Whether the challenger may be offered: champion and challenger anew on the gate speakers, every criterion "
        "written out.",
        4,
        "ser_tasks.builds.gate:build_gate",
        _gate_needs,
        _gate_params,
    ),
    "embed": Step(
        "Every layer of every clip of a part of a corpus, by the pretrained encoder or by a trained model.",
        4,
        "ser_tasks.builds.embed:build",
        _embed_needs,
        _embed_params,
    ),
    "embeddings": Step(
        "The parts of a corpus's embeddings, put together.",
        1,
        "ser_tasks.builds.embed:join",
        needs=lambda plan, corpus: {
            f"part/{_part(part)[1]}": ("embed", part) for part in plan.parts if _part(part)[0] == corpus
        },
    ),
    "ratings": Step(
        "Ratings of the trait, newest by utterance and annotator.",
        2,
        "ser_tasks.builds.ratings:build",
        needs=lambda plan, about: {"raw": ("raw", _rated(plan, about).corpus), "annotations?": ("annotations", "")},
        params=lambda plan, about: {"trait": _trait(plan.config).name, "file": _rated(plan, about).ratings},
        left_out=_no_ratings,
    ),
    "tones": Step(
        "Ratings of clips that training may see: what a second head learns from.",
        1,
        "ser_tasks.builds.ratings:build_tones",
        needs=lambda plan, about: {"ratings": ("ratings", ""), "rows": ("rows", "fit")},
        left_out=lambda plan, about: _no_ratings(plan, about) or _no_tone(plan),
    ),
    "prosody": Step(
        "Pitch, rate, level, brightness, voice quality and pauses of every clip of the trait corpus.",
        2,
        "ser_tasks.builds.prosody:build",
        needs=lambda plan, about: {"audio": ("pack", _trait(plan.config).corpus)},
        left_out=_no_trait,
    ),
    "trait": Step(
        "v = mean(E_high) - mean(E_low), scored on sessions or speakers that it was not fitted on, and all that speaks "
        "for and against it.",
        3,
        "ser_tasks.builds.trait:build",
        _trait_needs,
        _trait_params,
        left_out=_no_trait,
    ),
    "transfer": Step(
        "The direction of one corpus scored on another.",
        2,
        "ser_tasks.builds.transfer:build",
        _transfer_needs,
        params=lambda plan, corpus: (
            _trait_params(plan, corpus) | _rated(plan, corpus).model_dump(include={"corpus", "ratings", "high", "low"})
        ),
    ),
    "figures": Step(
        "Every figure as PNG and SVG, each with its data.",
        5,
        "ser_tasks.builds.figures:build",
        _figures_needs,
        _figures_params,
    ),
    "report": Step(
        "One HTML page with tables, figures and links to their data.",
        6,
        "ser_tasks.builds.report:build",
        needs=_report_needs,
        params=lambda plan, about: {"config": plan.config.portable(), "notes": plan.notes},
    ),
    "trait_figures": Step(
        "The figures of the trait and of its embeddings alone.",
        2,
        "ser_tasks.builds.figures:build",
        _trait_figures_needs,
        _figures_params,
        left_out=_no_trait,
    ),
    "trait_report": Step(
        "One HTML page about the trait alone.",
        2,
        "ser_tasks.builds.trait_report:build",
        needs=lambda plan, about: (
            {"figures": ("trait_figures", ""), "trait": ("trait", ""), "scan": ("scan", _trait(plan.config).corpus)}
            | _heard(plan, about)
        ),
        params=lambda plan, about: {
            "synthetic": [name for name in plan.config.trait_corpora if plan.config.corpora[name].synthetic]
        },
        left_out=_no_trait,
    ),
}
"""Every step by name, in the order of the data."""
