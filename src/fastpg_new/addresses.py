"""Addresses of templates: the canonical one, and what may be recorded of the others."""

import json
import re
from importlib.metadata import distribution, metadata
from urllib.parse import urlsplit, urlunsplit

_REMOTE = re.compile(r"(git\+)?(https?|ssh|git|file)://|(git\+)?[\w.-]+@[\w.-]+:", re.IGNORECASE)
_SECRETS = re.compile(r"(?<=//)[^/\s']*@|\?[^\s']+")


def canonical() -> str:
    """The address in our own metadata."""
    urls: list[str] = metadata("fastpg-new").get_all("Project-URL") or []
    return next(url.partition(", ")[2] for url in urls if url.startswith("Template, "))


def installed_from() -> str:
    """Where this installation came from if that was git (PEP 610), else the canonical address."""
    origin = json.loads(distribution("fastpg-new").read_text("direct_url.json") or "{}")
    return public(origin["url"]) if "vcs_info" in origin else canonical()


def public(url: str) -> str:
    """What a project may remember: an address that works for others, or the canonical one."""
    return canonical() if not is_remote(url) or "file:" in url else recorded(url)


def is_remote(address: str) -> bool:
    """Whether this is an address rather than a path."""
    return bool(_REMOTE.match(address))


def recorded(address: str) -> str:
    """The address without credentials, in a form that Copier takes for git whatever its end."""
    address = _without_credentials(address)
    return address if address.endswith(".git") else "git+" + address.removeprefix("git+")


def git_url(address: str) -> str:
    """What git understands, and what Copier hands to it."""
    return address.removeprefix("git+")


def shown(text: str) -> str:
    """A message without what may be secret in the addresses that it quotes."""
    return _SECRETS.sub("", text)


def _without_credentials(address: str) -> str:
    parts = urlsplit(address)
    user, at, host = parts.netloc.rpartition("@")
    if parts.scheme.endswith(("http", "https")):
        return urlunsplit(parts._replace(netloc=host))
    if ":" in user:
        return urlunsplit(parts._replace(netloc=user.partition(":")[0] + at + host))
    return address
