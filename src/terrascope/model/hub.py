"""Checkpoints of the hub: what a model needs of a repository, fetched once, and found again without a network."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from terrascope.errors import ModelError

WANTED = ("*.json", "*.safetensors", "merges.txt", "*.jinja")
"""Files of a repository that are fetched: no code, and no pickles."""


def fetch(name: str) -> Path:
    """The folder of a hub repository, downloaded where it is not in the cache yet.

    Raises:
        ModelError: there is no such repository, or the hub cannot be reached and the cache does not have it.
    """
    local = not hub_answers()
    try:
        folder = Path(snapshot_download(name, allow_patterns=list(WANTED), local_files_only=local))
    except GatedRepoError:
        raise ModelError(
            f"{name}: the hub gives it only to those who accepted its terms; log in with 'hf auth login'"
        ) from None
    except (RepositoryNotFoundError, HFValidationError):
        raise ModelError(f"{name}: the hub has no such repository, or it needs a login") from None
    except LocalEntryNotFoundError:
        raise ModelError(
            f"{name}: the hub cannot be reached, and this model was not fetched before; "
            "fetch it elsewhere and give its folder"
        ) from None
    except (HfHubHTTPError, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise ModelError(f"{name}: cannot be fetched from the hub ({reason}); give its folder instead") from None
    if not (folder / "config.json").is_file():
        raise ModelError(f"{name}: the repository has no config.json, so it holds no model; check its name")
    return folder


def hub_answers() -> bool:
    """Whether the hub can be reached; without it only what was fetched before is looked for, instead of minutes of
    retries. Behind a proxy the hub is taken to be there."""
    if constants.HF_HUB_OFFLINE:
        return False
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    address = urlsplit(constants.ENDPOINT)
    try:
        with socket.create_connection((address.hostname, address.port or 443), timeout=5):
            return True
    except OSError:
        return False
