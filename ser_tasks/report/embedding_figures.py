"""Maps of embeddings: PCA and UMAP, coloured by emotion, speaker, the trait's groups and its score."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits

from ser_tasks.report.figures import EMOTION_LOOKS, HIGH, LOW, Picture, Scene, canvas, dots, remarks, with_remarks

Floats = npt.NDArray[np.float64]
UMAP_NEIGHBOURS = 15
UMAP_MIN_DISTANCE = 0.1
UMAP_COMPONENTS = 50
"""UMAP sees the first principal components: its distances mean little in hundreds of dimensions."""
OTHER_SEEDS = 2
"""Maps that are made beside the one shown, to see how far it depends on its seed."""
FEWEST_POINTS = 4
"""Under it neither map can be drawn."""


def embedding_pictures(
    embeddings: npt.NDArray[np.floating[Any]],
    clips: pd.DataFrame,
    about: Mapping[str, str],
    scores: pd.DataFrame | None,
    scene: Scene,
) -> list[Picture]:
    """PCA and UMAP of embeddings, coloured by emotion and speaker, and by rating and score where there are any.

    Args:
        embeddings: [n, dimensions].
        clips: n rows in the same order: utterance_id, speaker_id, emotion.
        about: `title` of the encoder and its `note`.
        scores: Of the trait step: utterance_id, rating (NaN without), score, high; None without a trait.
        scene: Its seed is UMAP's.

    Returns:
        Two pictures; none for fewer than `FEWEST_POINTS` clips.
    """
    if len(embeddings) < FEWEST_POINTS:
        return []
    spread = embeddings.astype(np.float64)
    deviation = spread.std(axis=0)
    spread = (spread - spread.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    components, shares = _pca(spread)
    neighbours = min(UMAP_NEIGHBOURS, len(spread) - 1)
    placed = _umap(components, neighbours, scene.seed, "pca")
    steady = _steadiness(components, placed, neighbours, scene.seed)
    data = clips[["utterance_id", "speaker_id", "emotion"]].reset_index(drop=True)
    shades: list[tuple[str, str]] = []
    if scores is not None:
        data = data.merge(scores[["utterance_id", "rating", "score", "high"]], on="utterance_id", how="left")
        rated = data["rating"].notna().any()
        groups = ("rating", f"mean {scene.trait} rating") if rated else ("high", f"group of {scene.trait}")
        shades = [groups, ("score", f"{scene.trait} score, held out")]
    of = f"{len(data)} embeddings of {scene.corpus} by {about['title']}, each dimension standardised"
    panels = ["emotion", "speaker", *(words for _, words in shades)]
    beside = f" Coloured by {', '.join(panels)}" + ("; grey: without one." if shades else ".")
    first, second = (f"PC {i + 1} ({share:.0%} of variance)" for i, share in enumerate(shares[:2]))
    maps = {
        "pca": (components[:, :2], first, second, f"PCA of {of}."),
        "umap": (
            placed,
            "UMAP 1",
            "UMAP 2",
            f"UMAP of {of}, reduced to {components.shape[1]} principal components ({shares.sum():.0%} of variance): "
            f"{neighbours} neighbours, minimum distance {UMAP_MIN_DISTANCE:g}, Euclidean, started from PCA, "
            f"seed {scene.seed}. Distances between far groups mean little. {steady}",
        ),
    }
    pictures = []
    rows = -(-len(panels) // 2)
    for name, (points, across, up, how) in maps.items():
        title = f"{name.upper()} of embeddings, {scene.corpus}"
        said = remarks([about["note"]], scene.synthetic)
        figure, axes = canvas(title, 0.4 + 4.6 * rows, said, rows=rows, columns=2)
        _by_emotion(axes[0, 0], points, data["emotion"])
        _by_speaker(axes[0, 1], points, data["speaker_id"])
        for axis, (shade, words) in zip(axes.flat[2:], shades, strict=False):
            if shade == "high":
                _by_group(axis, points, data["high"], words)
            else:
                _by_shade(figure, axis, points, data[shade].to_numpy(dtype=np.float64), words)
        for axis in axes.flat[len(panels) :]:
            axis.set_visible(False)
        for axis in axes.flat[: len(panels)]:
            axis.set(xlabel=across, ylabel=up, xticks=[], yticks=[])
        rows_shown = data.assign(x=points[:, 0], y=points[:, 1], encoder=about["title"])
        pictures.append(
            Picture(
                name=f"embeddings-{name}",
                section="Embeddings",
                title=title + (f" ({about['note']})" if about["note"] else ""),
                caption=how + beside,
                alt=f"{name.upper()} map of {len(data)} clips of {scene.corpus} by {about['title']}; "
                "the positions are in the data file.",
                figure=figure,
                data=with_remarks(rows_shown, about["note"], scene.synthetic),
            )
        )
    return pictures


def _pca(spread: Floats) -> tuple[Floats, Floats]:
    """Components [n, up to UMAP_COMPONENTS] and the shares of variance they hold."""
    from sklearn.decomposition import PCA

    with threadpool_limits(1):  # sums in another order would give other last digits, and UMAP other pictures
        pca = PCA(n_components=min(UMAP_COMPONENTS, *spread.shape), svd_solver="full").fit(spread)
        return np.asarray(pca.transform(spread)), np.asarray(pca.explained_variance_ratio_)


def _umap(components: Floats, neighbours: int, seed: int, start: str) -> Floats:
    """Positions [n, 2] (McInnes et al. 2018), started from `pca` or at `random`. Equal input gives equal ones."""
    import umap  # numba compiles for seconds

    mapper = umap.UMAP(
        n_neighbors=neighbours, min_dist=UMAP_MIN_DISTANCE, init=start, random_state=seed, n_jobs=1, metric="euclidean"
    )
    with threadpool_limits(1):
        return np.asarray(mapper.fit_transform(components), dtype=np.float64)


def _steadiness(components: Floats, placed: Floats, neighbours: int, seed: int) -> str:
    """How far a map depends on its seed, in words: against maps from random starts by other seeds."""
    from scipy.spatial import procrustes

    others = [_umap(components, neighbours, seed + k, "random") for k in range(1, OTHER_SEEDS + 1)]
    kept = np.mean([_shared_neighbours(placed, other, neighbours) for other in others])
    apart = np.mean([procrustes(placed, other)[2] for other in others])
    true = _shared_neighbours(components, placed, neighbours)
    return (
        f"Of each clip's {neighbours} neighbours on the map {kept:.0%} are so on maps from {OTHER_SEEDS} other seeds "
        f"with random starts, and {true:.0%} among the components; after rotation and scaling {apart:.0%} of the "
        "positions' variance differs between seeds."
    )


def _shared_neighbours(first: Floats, second: Floats, count: int) -> float:
    """Mean share of each point's nearest neighbours that are so in both spaces; chance: count / points."""
    from sklearn.neighbors import NearestNeighbors

    near = [
        NearestNeighbors(n_neighbors=count).fit(space).kneighbors(return_distance=False) for space in (first, second)
    ]
    return float(np.mean([len(np.intersect1d(a, b)) for a, b in zip(*near, strict=True)]) / count)


def _by_speaker(axis: Axes, points: Floats, speakers: pd.Series) -> None:
    """Neighbouring numbers get far hues; with many speakers colours repeat in effect, and only clumps show."""
    names, number = np.unique(speakers.astype(str), return_inverse=True)
    hue = (number * 0.618034) % 1
    axis.scatter(points[:, 0], points[:, 1], c=hue, cmap="hsv", vmin=0, vmax=1, alpha=0.75, **dots(len(points)))
    axis.set_title(f"by speaker ({len(names)})")


def _by_emotion(axis: Axes, points: Floats, emotions: pd.Series) -> None:
    present = [emotion for emotion in EMOTION_LOOKS if (emotions == emotion).any()]
    for emotion in present:
        colour, marker = EMOTION_LOOKS[emotion]
        shown = points[(emotions == emotion).to_numpy()]
        axis.scatter(shown[:, 0], shown[:, 1], c=colour, marker=marker, alpha=0.75, label=emotion, **dots(len(points)))
    axis.set_title("by emotion")
    axis.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.09), ncols=4, markerscale=1.4, handletextpad=0.1, columnspacing=1
    )


def _by_group(axis: Axes, points: Floats, high: pd.Series, name: str) -> None:
    look = dots(len(points))
    there = high.notna().to_numpy()
    axis.scatter(points[~there, 0], points[~there, 1], c="#cbd5e1", **look)
    for label, colour, marker, words in ((False, LOW, "o", "low"), (True, HIGH, "^", "high")):
        shown = points[there & (high == label).to_numpy()]
        axis.scatter(shown[:, 0], shown[:, 1], c=colour, marker=marker, alpha=0.75, label=words, **look)
    axis.set_title(f"by {name}")
    axis.legend(loc="best", markerscale=1.4)


def _by_shade(figure: Figure, axis: Axes, points: Floats, values: Floats, name: str) -> None:
    there = np.isfinite(values)
    look = dots(len(points))
    axis.scatter(points[~there, 0], points[~there, 1], c="#cbd5e1", **look)
    shown = axis.scatter(points[there, 0], points[there, 1], c=values[there], cmap="viridis", **look)
    figure.colorbar(shown, ax=axis, shrink=0.9, label=name)
    axis.set_title(f"by {name}")
