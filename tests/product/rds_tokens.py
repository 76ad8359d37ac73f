"""Tokens for RDS, ours and botocore's: run where botocore is, which is nobody's dependency."""

import json
import sys
from datetime import UTC, datetime
from typing import Any
from unittest import mock


def ours(login: dict[str, Any]) -> str:
    from credentials.aws import Keys, presigned  # type: ignore[import-not-found]  # where argv says

    keys = Keys.model_validate(
        {
            "AccessKeyId": login["key"],
            "SecretAccessKey": login["secret"],
            "Token": login["session"],
            "Expiration": None,
        }
    )
    place = f"{login['host']}:{login['port']}"
    token: str = presigned(place, login["user"], login["region"], keys, login["at"])
    return token


def theirs(login: dict[str, Any], session: Any) -> str:
    client = session.create_client(
        "rds",
        login["region"],
        aws_access_key_id=login["key"],
        aws_secret_access_key=login["secret"],
        aws_session_token=login["session"],
    )
    now = datetime.fromtimestamp(login["at"], UTC).replace(tzinfo=None)
    with mock.patch("botocore.auth.get_current_datetime", return_value=now):
        token: str = client.generate_db_auth_token(login["host"], login["port"], login["user"])
    return token


if __name__ == "__main__":
    import botocore.session  # type: ignore[import-not-found]  # here only by `uv run --with`

    sys.path.insert(0, sys.argv[1])
    session = botocore.session.Session()
    logins = json.load(sys.stdin)
    json.dump([(ours(login), theirs(login, session)) for login in logins], sys.stdout)
