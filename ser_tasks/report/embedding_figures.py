"""Maps of embeddings: PCA and UMAP, coloured by emotion and by the trait."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits

from ser_tasks.report.figures import EMOTION_LOOKS, Picture, Scene, canvas, dots, remarks, with_remarks

Floats = npt.NDArray[np.float64]
UMAP_NEIGHBOURS = 15
UMAP_MIN_DISTANCE = 0.1
UMAP_COMPONENTS = 50
"""UMAP sees the first principal components: its distances mean little in hundreds of dimensions."""
FEWEST_POINTS = 4
"""Under it neither map can be drawn."""


def embedding_pictures(
    embeddings: npt.NDArray[np.floating[Any]],
    clips: pd.DataFrame,
    about: Mapping[str, str],
    scores: pd.DataFrame | None,
    scene: Scene,
) -> list[Picture]:
    """PCA and UMAP of embeddings, coloured by emotion, and by rating (else score) where there is one.

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
    placed = _umap(components, neighbours, scene.seed)
    data = clips[["utterance_id", "speaker_id", "emotion"]].reset_index(drop=True)
    shade = ""
    if scores is not None:
        data = data.merge(scores[["utterance_id", "rating", "score", "high"]], on="utterance_id", how="left")
        shade = "rating" if data["rating"].notna().any() else "score"
    coloured = {"rating": f"mean {scene.trait} rating", "score": f"{scene.trait} score, held out"}.get(shade, "")
    of = f"{len(data)} embeddings of {scene.corpus} by {about['title']}, each dimension standardised"
    beside = f" Left: by emotion. Right: by {coloured}; grey: without one." if shade else ""
    first, second = (f"PC {i + 1} ({share:.0%} of variance)" for i, share in enumerate(shares[:2]))
    maps = {
        "pca": (components[:, :2], first, second, f"PCA of {of}."),
        "umap": (
            placed,
            "UMAP 1",
            "UMAP 2",
            f"UMAP of {of}, reduced to {components.shape[1]} principal components ({shares.sum():.0%} of variance): "
            f"{neighbours} neighbours, minimum distance {UMAP_MIN_DISTANCE:g}, Euclidean, started from PCA, "
            f"seed {scene.seed}. Distances between far groups mean little.",
        ),
    }
    pictures = []
    for name, (points, across, up, how) in maps.items():
        title = f"{name.upper()} of embeddings, {scene.corpus}"
        said = remarks([about["note"]], scene.synthetic)
        figure, axes = canvas(title, 5.0, said, columns=2 if shade else 1)
        _by_emotion(axes[0, 0], points, data["emotion"])
        if shade:
            _by_shade(figure, axes[0, 1], points, data[shade].to_numpy(dtype=np.float64), coloured)
        for axis in axes[0]:
            axis.set(xlabel=across, ylabel=up, xticks=[], yticks=[])
        rows = data.assign(x=points[:, 0], y=points[:, 1], encoder=about["title"])
        pictures.append(
            Picture(
                name=f"embeddings-{name}",
                section="Embeddings",
                title=title + (f" ({about['note']})" if about["note"] else ""),
                caption=how + beside,
                alt=f"{name.upper()} map of {len(data)} clips of {scene.corpus} by {about['title']}; "
                "the positions are in the data file.",
                figure=figure,
                data=with_remarks(rows, about["note"], scene.synthetic),
            )
        )
    return pictures


def _pca(spread: Floats) -> tuple[Floats, Floats]:
    """Components [n, up to UMAP_COMPONENTS] and the shares of variance they hold."""
    from sklearn.decomposition import PCA

    with threadpool_limits(1):  # sums in another order would give other last digits, and UMAP other pictures
        pca = PCA(n_components=min(UMAP_COMPONENTS, *spread.shape), svd_solver="full").fit(spread)
        return np.asarray(pca.transform(spread)), np.asarray(pca.explained_variance_ratio_)


def _umap(components: Floats, neighbours: int, seed: int) -> Floats:
    """Positions [n, 2] (McInnes et al. 2018). Equal input and seed give equal positions."""
    import umap  # numba compiles for seconds

    mapper = umap.UMAP(
        n_neighbors=neighbours, min_dist=UMAP_MIN_DISTANCE, init="pca", random_state=seed, n_jobs=1, metric="euclidean"
    )
    with threadpool_limits(1):
        return np.asarray(mapper.fit_transform(components), dtype=np.float64)


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


def _by_shade(figure: Figure, axis: Axes, points: Floats, values: Floats, name: str) -> None:
    there = np.isfinite(values)
    look = dots(len(points))
    axis.scatter(points[~there, 0], points[~there, 1], c="#cbd5e1", **look)
    shown = axis.scatter(points[there, 0], points[there, 1], c=values[there], cmap="viridis", **look)
    figure.colorbar(shown, ax=axis, shrink=0.9, label=name)
    axis.set_title(f"by {name}")
