"""PostgreSQL connection URIs as people have them, made fit for asyncpg."""

import os
import re
from ipaddress import ip_address
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

# `postgres` is what most hosting providers hand out; the others come from SQLAlchemy projects.
_SCHEMES = frozenset({"postgres", "postgresql", "postgresql+asyncpg", "postgresql+psycopg"})

# https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
_UNDERSTOOD = frozenset({
    "host", "port", "dbname", "user", "password", "passfile", "service",
    "options", "application_name", "target_session_attrs",
    "sslmode", "sslcert", "sslkey", "sslpassword", "sslrootcert", "sslcrl", "sslnegotiation",
    "ssl_min_protocol_version", "ssl_max_protocol_version",
})  # fmt: skip
_PLACE = re.compile(r"(\[[^]]*\]|[^:\[\]]*)(?::(\d*))?")
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_TLS_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
# Parameters of libpq that ask for nothing which the settings of this service do not decide.
_IGNORED = frozenset({
    "connect_timeout", "client_encoding", "fallback_application_name", "gssencmode",
    "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count",
    "sslcompression", "tcp_user_timeout",
})  # fmt: skip


def normalise(url: str) -> str:
    """A libpq connection URI that asyncpg accepts.

    Raises:
        ValueError: the URI is malformed or asks for something asyncpg cannot do. The message
            names the part at fault and quotes nothing, since any part may hold the password.
    """
    if "#" in url:
        raise ValueError("holds a '#'; in a password it is written %23")
    if "%00" in url:
        raise ValueError("holds a NUL character")
    try:
        parts = urlsplit(url.strip())
        query = parts.query
        parameters = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
        _check_places(parts.netloc, dict(parameters))
    except ValueError:
        raise ValueError(
            "is not a connection URI; special characters of a password are percent-encoded"
        ) from None
    if parts.scheme not in _SCHEMES:
        raise ValueError("must start with postgresql://")
    _check_once(parts, [name for name, _ in parameters])
    return _joined(parts._replace(query=_query(parameters)))


def has_password(url: str) -> bool:
    """Whether a URI that `normalise` returned holds a password."""
    parts = urlsplit(url)
    return bool(parts.password) or "password" in dict(parse_qsl(parts.query))


def sslmode(url: str) -> str | None:
    """What it asks for; ``verify-full`` where it does not say, and the server is elsewhere."""
    parameters = dict(parse_qsl(urlsplit(url).query))
    if "sslmode" in parameters or "service" in parameters:
        return parameters.get("sslmode")
    return "verify-full" if is_elsewhere(url) else None


def names_host(url: str) -> bool:
    """Whether it says where the server is; otherwise asyncpg tries sockets, also those in /tmp."""
    return "service" in dict(parse_qsl(urlsplit(url).query)) or any(_hosts(url))


def is_elsewhere(url: str) -> bool:
    """Whether a server is reached otherwise than by a socket or a loopback address."""
    by_file = "service" in dict(parse_qsl(urlsplit(url).query))
    return by_file or not all(_is_local(host) for host in _hosts(url))


def variables(url: str) -> dict[str, str]:
    """The place and the login of a URI as libpq's environment variables."""
    parts = urlsplit(url)
    parameters = dict(parse_qsl(parts.query))
    places = _places(parts.netloc.rpartition("@")[2])
    found = {
        "PGHOST": ",".join(host.strip("[]") for host in _hosts(url)),
        "PGPORT": parameters.get("port") or ",".join(port for _, port in places),
        "PGUSER": parameters.get("user") or unquote(parts.username or ""),
        "PGDATABASE": parameters.get("dbname") or unquote(parts.path[1:]),
    }
    return {name: value for name, value in found.items() if value.strip(",")}


def with_login(url: str, user: str, password: str) -> str:
    """The same server and database, another login, with its password."""
    parts = urlsplit(url)
    before = {"user", "password", "passfile"}
    others = [pair for pair in parse_qsl(parts.query) if pair[0] not in before]
    login = f"{quote(user, safe='')}:{quote(password, safe='')}"
    netloc = f"{login}@{parts.netloc.rpartition('@')[2]}"
    query = urlencode(others, quote_via=quote, safe="/,")
    return _joined(parts._replace(netloc=netloc, query=query))


def with_database(url: str, database: str) -> str:
    """The same server and login, another database."""
    return _joined(urlsplit(url)._replace(path="/" + quote(database, safe="")))


def _joined(parts: SplitResult) -> str:
    # Not geturl(), which drops the slashes before an empty host.
    query = f"?{parts.query}" if parts.query else ""
    return f"postgresql://{parts.netloc}{parts.path}{query}"


def _query(parameters: list[tuple[str, str]]) -> str:
    kept = []
    for name, value in parameters:
        if name == "channel_binding" and value == "require":
            raise ValueError("asks for channel_binding=require, which asyncpg cannot do")
        if name == "sslmode" and value not in _SSL_MODES:
            raise ValueError(f"has an sslmode that is none of {', '.join(_SSL_MODES)}")
        if name.endswith("_protocol_version") and value not in _TLS_VERSIONS:
            raise ValueError(f"has a {name} that is none of {', '.join(_TLS_VERSIONS)}")
        if name in _UNDERSTOOD:
            kept.append((name, value))
        elif name not in _IGNORED and name != "channel_binding":
            known = ", ".join(sorted(_UNDERSTOOD))
            raise ValueError(f"has a parameter that is not understood; known are {known}")
    return urlencode(kept, quote_via=quote, safe="/,")


def _check_once(parts: SplitResult, names: list[str]) -> None:
    """Of two hosts, or two users, libpq takes the one and asyncpg the other."""
    login, _, places = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    given = {"host": places, "user": user, "password": password, "dbname": parts.path[1:]}
    if "@" in login or len(set(names)) < len(names) or any(given.get(name) for name in names):
        raise ValueError("says something twice, such as its host or its user")


def _check_places(netloc: str, parameters: dict[str, str]) -> None:
    places = _places(netloc.rpartition("@")[2])
    hosts = parameters.get("host", "").split(",")
    places += _places(",".join(host for host in hosts if not host.startswith("/")))
    places += [("", port) for port in parameters.get("port", "").split(",")]
    for host, port in places:
        if port and not 0 < int(port) < 65536:
            raise ValueError(port)
        if "%" not in host and "[" not in host:  # a directory of sockets, an address of IPv6
            host.encode("idna")  # as the resolver will; an empty label is an error


def _places(servers: str) -> list[tuple[str, str]]:
    """Of each server the host, as it is written, and the port."""
    found = [_PLACE.fullmatch(place) for place in servers.split(",")]
    if not all(found):
        raise ValueError(servers)
    return [(place[1], place[2] or "") for place in found if place]


def _hosts(url: str) -> list[str]:
    parts = urlsplit(url)
    given = dict(parse_qsl(parts.query)).get("host")
    if given:
        return given.split(",")
    hosts = [unquote(host) for host, _ in _places(parts.netloc.rpartition("@")[2])]
    return hosts if any(hosts) else os.environ.get("PGHOST", "").split(",")


def _is_local(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host in {"", "localhost"} or host.startswith("/")  # a socket, as asyncpg has it
