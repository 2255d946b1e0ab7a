"""Pretrained encoders in the bucket, mirrored once from the hub or a folder: workers never need the hub."""

import json
import tempfile
from fnmatch import fnmatch
from pathlib import Path

from ser_tasks.artifact import Ref
from ser_tasks.config import EncoderPin
from ser_tasks.errors import BadInput
from ser_tasks.store import Store

ORIGIN = "mirror.json"
"""Beside the weights: which revision they are, and where they came from."""


def encoder_prefix(name: str) -> str:
    """Where an encoder's weights are mirrored in the bucket."""
    return f"encoders/{name.replace('/', '--')}/"


def mirrored_revision(name: str, store: Store) -> str | None:
    """The commit that the mirror holds; None when it does not say, or there is no mirror."""
    body = store.get(encoder_prefix(name) + ORIGIN)
    revision: str | None = json.loads(body)["revision"] if body else None
    return revision


def mirror_from_hub(name: str, pin: EncoderPin, store: Store) -> bool:
    """Copy an encoder's safetensors and configuration from the hub to the bucket, unless a mirror is there.

    Args:
        name: On the hub, "owner/name".
        pin: The revision to take (None: the newest) and what its files must be.
        store: To put it into.

    Returns:
        Whether a mirror is there now. False: no hub answers, HF_HUB_OFFLINE is set, or it has no such encoder.

    Raises:
        BadInput: The weights are pickled, cannot be used, or are not the pinned ones; or the mirror that is there is
            of another revision than the pinned one.
    """
    if next(store.list(encoder_prefix(name)), None) is not None:
        held = mirrored_revision(name, store)
        if pin.revision and held and held != pin.revision:
            raise BadInput(
                f"encoder {name}: the mirror {encoder_prefix(name)} is of revision {held}, and {pin.revision} is "
                "pinned: pin that one, or delete the mirror"
            )
        return True
    if "/" not in name:
        return False
    import httpx2
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    from ser_tasks.models.encoders import FILES

    if constants.HF_HUB_OFFLINE:
        return False
    with tempfile.TemporaryDirectory() as folder:
        try:
            revision = HfApi().model_info(name, revision=pin.revision, timeout=5).sha
            snapshot_download(name, revision=revision, local_dir=folder, allow_patterns=[*FILES], etag_timeout=5)
        except (HfHubHTTPError, LocalEntryNotFoundError, httpx2.HTTPError, OSError):
            return False  # the plan's note says that there are no weights, and what is used instead
        mirror_from_folder(name, Path(folder), EncoderPin(revision=revision, sha256=pin.sha256), store)
    return True


def mirror_from_folder(name: str, folder: Path, pin: EncoderPin, store: Store) -> None:
    """Copy an encoder from a folder to the bucket. A mirror that was cut off is completed by doing it again.

    Raises:
        BadInput: The folder holds no encoder that can be used, or not the pinned one.
    """
    from ser_tasks.models.encoders import FILES, check_encoder

    check_encoder(folder, pin.sha256)
    prefix = encoder_prefix(name)
    files = [path for path in folder.iterdir() if path.is_file() and any(fnmatch(path.name, each) for each in FILES)]
    # A plan pins whatever is there: what makes the folder an encoder, its weights, goes last.
    for path in sorted(files, key=lambda path: (path.suffix == ".safetensors", path.name)):
        with path.open("rb") as body:
            store.put(prefix + path.name, body, IfNoneMatch="*")
    origin = {"name": name, "revision": pin.revision}
    store.put(prefix + ORIGIN, json.dumps(origin, indent=1).encode(), IfNoneMatch="*")


def check_pinned(store: Store, mirror: Ref, name: str, pin: EncoderPin) -> None:
    """Verify a mirrored encoder against its pin. Raises BadInput naming the file that differs."""
    if not pin.sha256:
        return
    from ser_tasks.models.encoders import check_encoder

    try:
        check_encoder(store.cached(mirror), pin.sha256)
    except BadInput as error:
        raise BadInput(f"encoder {name}, pinned in the configuration: {error}") from error
