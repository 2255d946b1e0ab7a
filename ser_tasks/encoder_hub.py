"""A pretrained encoder from the model hub: which commit of it has weights that are not pickled, and its files."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from ser_tasks.config import EncoderPin
from ser_tasks.errors import BadInput

CONVERTER = "SFconvertbot"
"""The hub's own account that opens pull requests with a model's weights as safetensors. Anybody may open one with
other weights, so nobody else's is taken without being asked for."""
_SHOWN = 5
_log = logging.getLogger(__name__)


class NoWeights(BadInput):
    """No weights of an encoder can be had here; the message says why. A study goes on without them."""


def download_encoder(name: str, pin: EncoderPin, folder: Path) -> dict[str, Any]:
    """Fetch an encoder's safetensors and configuration.

    Where the newest revision has pickled weights only, as facebook/wav2vec2-base does, the pull request that the hub's
    converter made of that revision is taken. A pinned revision is taken as it is.

    Args:
        name: On the hub, "owner/name".
        pin: The revision to take; None: the newest.
        folder: To put the files into.

    Returns:
        {"revision": the commit that was taken}, and {"conversion_of": the commit} where that is a conversion.

    Raises:
        NoWeights: No hub answers, HF_HUB_OFFLINE is set, it has no such model, or the newest revision is pickled.
        BadInput: The pinned revision has no safetensors.
    """
    from huggingface_hub import HfApi, constants, snapshot_download

    from ser_tasks.models.encoders import FILES

    if "/" not in name:
        raise NoWeights(f"encoder {name}: not a name on the hub (owner/name), and not in encoders/")
    if constants.HF_HUB_OFFLINE:
        raise NoWeights(f"encoder {name}: not in encoders/, and HF_HUB_OFFLINE is set")
    with _hub_faults(name):
        info = HfApi().model_info(name, revision=pin.revision, timeout=5)
        files = _names(info)
        origin = {"revision": str(info.sha)}
        if not _safe(files) and _pickled(files):
            if pin.revision:
                raise BadInput(f"{_only_pickled(name, origin['revision'])}, and it is pinned: pin another revision")
            origin = {"revision": _conversion(name, origin["revision"]), "conversion_of": origin["revision"]}
        snapshot_download(name, revision=origin["revision"], local_dir=folder, allow_patterns=[*FILES], etag_timeout=5)
    return origin


@contextmanager
def _hub_faults(name: str) -> Iterator[None]:
    """What the network and the hub answer with, as NoWeights; a full disk is not among them.

    The message is the same each time, since the plan and the report have it: what changes goes to the log.
    """
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        yield
    except HfHubHTTPError as error:
        _log.warning("encoder %s: %s", name, error)
        status = error.response.status_code if error.response is not None else "with an error"
        raise NoWeights(f"encoder {name}: not in encoders/, and the hub answers {status}") from error
    except (httpx2.HTTPError, LocalEntryNotFoundError, ConnectionError) as error:
        _log.warning("encoder %s: %s", name, error)
        raise NoWeights(f"encoder {name}: not in encoders/, and no model hub can be reached") from error


def _names(info: Any) -> list[str]:
    return [file.rfilename for file in info.siblings or []]


def _safe(files: list[str]) -> bool:
    return any(fnmatch(name, "*.safetensors") and "/" not in name for name in files)


def _pickled(files: list[str]) -> bool:
    return any(name.endswith((".bin", ".pt", ".pth", ".ckpt")) for name in files)


def _only_pickled(name: str, revision: str) -> str:
    return f"encoder {name}: its weights of revision {revision} are pickled only, and pickled weights can run code"


def _conversion(name: str, revision: str) -> str:
    """The commit of the converter's pull request that has a revision's weights as safetensors.

    The rule is transformers' own (safetensors_conversion.py): by the hub's converter, and made of that revision.
    """
    from huggingface_hub import HfApi

    hub = HfApi()
    others: list[str] = []
    for change in hub.get_repo_discussions(name, discussion_type="pull_request", discussion_status="open"):
        if "safetensors" not in change.title.lower() or len(others) == _SHOWN:
            continue
        info = hub.model_info(name, revision=change.git_reference)
        if not _safe(_names(info)):
            continue
        commits = [commit.commit_id for commit in hub.list_repo_commits(name, revision=change.git_reference)]
        if change.author == CONVERTER and revision in commits:
            return str(info.sha)
        others.append(f"{info.sha} ({change.git_reference} by {change.author})")
    offered = (
        f"; pull requests offer safetensors, which nobody has vouched for: {', '.join(others)}: look, then "
        f"'ser encoder mirror {name} --revision COMMIT'"
        if others
        else ""
    )
    raise NoWeights(
        f"{_only_pickled(name, revision)}: load them where you trust them, save them with transformers' "
        f"save_pretrained, then 'ser encoder mirror {name} --from FOLDER'{offered}"
    )
