"""Files of the Hugging Face hub: what is cached is used without a network."""

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from sketch_jax.errors import InputError


def hub_file(name: str, filenames: Sequence[str], cache_directory: Path | None = None) -> Path | None:
    """The first of some files that a hub repository has; the hub is asked only when none is cached.

    Args:
        name: `owner/repository`, or `owner/repository@revision` (a branch, tag or commit).
        filenames: paths inside the repository, the best first.
        cache_directory: None: where huggingface_hub keeps its files (`HF_HOME`).

    Returns:
        The file on this machine, or None when the repository has none of them.

    Raises:
        InputError: no such repository or revision, no access, or not cached and the hub out of reach.
    """
    for cached_only in (True, False):
        if not cached_only and not hub_can_be_found():
            raise _unreachable(name, filenames[0])
        for filename in filenames:
            path = _try_file(name, filename, cache_directory, cached_only)
            if path is not None:
                return path
    return None


def hub_can_be_found() -> bool:
    """Whether the hub's address is known here; with a proxy, which would look it up, it counts as known.

    Asked first, as the hub's client tries again and again for half a minute.
    """
    if getproxies() or os.environ.get("HF_HUB_OFFLINE"):
        return True
    address = urlsplit(constants.ENDPOINT)
    try:
        socket.getaddrinfo(address.hostname, address.port or 443)
    except OSError:
        return False
    return True


def _try_file(name: str, filename: str, cache_directory: Path | None, cached_only: bool) -> Path | None:
    repository, _, revision = name.partition("@")
    try:
        path = hf_hub_download(
            repository,
            filename,
            revision=revision or None,
            cache_dir=cache_directory,
            local_files_only=cached_only,
        )
        return Path(path)
    except LocalEntryNotFoundError as error:
        if cached_only:
            return None
        raise _unreachable(name, filename) from error
    except EntryNotFoundError:
        return None
    except (
        Exception
    ) as error:  # what the HTTP library below raises differs between releases of the hub's client
        raise _refused(name, filename, error) from error


def _unreachable(name: str, filename: str) -> InputError:
    repository, _, revision = name.partition("@")
    at_revision = f" --revision {revision}" if revision else ""
    return InputError(
        f"{name}: {filename} is not cached here and the hub cannot be reached; where there is a network, run "
        f"`hf download {repository}{at_revision}` and copy its cache to this machine (HF_HOME), or put the "
        "repository's config.json and model.safetensors into a directory and name local-dir:DIRECTORY"
    )


def _refused(name: str, filename: str, error: Exception) -> InputError:
    repository, _, revision = name.partition("@")
    if isinstance(error, OfflineModeIsEnabled):
        return _unreachable(name, filename)
    if isinstance(error, GatedRepoError):
        return InputError(
            f"{name}: access is given on request; ask for it on the hub, then run `hf auth login`"
        )
    if isinstance(error, RepositoryNotFoundError):
        return InputError(
            f"{name}: the hub has no repository {repository}; names look like timm/resnet18.a1_in1k "
            "(a private one needs `hf auth login`)"
        )
    if isinstance(error, RevisionNotFoundError):
        return InputError(
            f"{name}: {repository} has no branch, tag or commit {revision!r}; name one it has, or none"
        )
    return InputError(
        f"{name}: {filename} cannot be had from the hub: {error}; try again, or name local-dir:DIR"
    )
