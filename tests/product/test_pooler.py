"""The service behind PgBouncer."""

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.product.conftest import DEFAULT, create

pytestmark = pytest.mark.larger

ISSUER = {"OIDC_ISSUER": "http://127.0.0.1:9", "OIDC_AUDIENCE": "api"}


@pytest.fixture
def pooler(older_postgresql: str) -> Iterator[str]:
    """PgBouncer, pooling transactions, before a server whose superuser this is the URL of."""
    directory = older_postgresql.partition("host=")[2]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    users, settings = Path(directory, "users.txt"), Path(directory, "pgbouncer.ini")
    users.write_text('"my_service_app" ""\n')
    settings.write_text(
        f"[databases]\n* = host={directory}\n"
        "[pgbouncer]\npool_mode = transaction\nauth_type = trust\nlisten_addr = 127.0.0.1\n"
        f"listen_port = {port}\nunix_socket_dir =\nauth_file = {users}\n"
    )
    process = subprocess.Popen(
        ["/usr/sbin/pgbouncer", settings], user="postgres", group="postgres", cwd="/"
    )
    try:
        deadline = time.monotonic() + 30
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield f"postgresql://my_service_app@127.0.0.1:{port}/postgres"
    finally:
        process.kill()
        process.wait()


def test_claims_that_are_signed_are_refused_at_the_start(
    tmp_path: Path, older_postgresql: str, pooler: str
) -> None:
    service = create(DEFAULT, tmp_path)
    urls = {"DATABASE_URL": pooler, "DATABASE_OWNER_URL": older_postgresql, **ISSUER}
    # A database that is away refuses nothing at the start: here it is only slow.
    urls["CONNECT_TIMEOUT"] = urls["DRIVER_TIMEOUT"] = "60"
    for command in ("roles", "upgrade"):
        service.run("uv", "run", "my-service", "db", command, **urls)
    with pytest.raises(AssertionError, match="SIGNED_CLAIMS=false") as refusal:
        service.run("uv", "run", "my-service", "serve", "--port", "0", **urls)
    assert "a pooler shares connections" in str(refusal.value)
