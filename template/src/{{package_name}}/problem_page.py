"""The page that the ``type`` of a problem points to.

Made of the problems' classes and of what SQLSTATEs mean, so that it says what the service does.
"""

from html import escape

from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from .database.sqlstate import CODES
from .problems import Problem

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Problems</title>
<style>body { font: 1rem/1.5 sans-serif; max-width: 42rem; margin: 2rem auto; padding: 0 1rem }
h2 { font-size: 1rem; margin: 2rem 0 0 } p { margin: 0 }</style>
<h1>Problems</h1>
<p>What the <code>type</code> of an error means (RFC 9457). SQLSTATEs are PostgreSQL's codes; two
characters stand for all codes of a class but those that are listed elsewhere.</p>
"""


async def page(_: Request) -> HTMLResponse:
    """Every problem that the service knows: what it means, and what a client can do."""
    found = sorted(every_problem(), key=lambda problem: (problem.status, problem.slug()))
    return HTMLResponse(_PAGE + "\n".join(_entry(problem) for problem in found))


def every_problem(of: type[Problem] = Problem) -> set[type[Problem]]:
    """All kinds of a problem."""
    kinds = set(of.__subclasses__())
    return kinds.union(*(every_problem(kind) for kind in kinds))


def _entry(problem: type[Problem]) -> str:
    general = every_problem().intersection(problem.__bases__)
    lines = [
        escape((problem.__doc__ or "").partition("\n\n")[0]),
        *(f'A case of <a href="#{g.slug()}">{escape(g.title)}</a>.' for g in general),
        f"Send it again? {escape(_repeat(problem))}",
        f"SQLSTATE: {CODES[problem]}" if problem in CODES else "",
    ]
    heading = f'<h2 id="{problem.slug()}">{problem.status} {escape(problem.title)}</h2>'
    return "\n".join([heading, *(f"<p>{line}</p>" for line in lines if line)])


def _repeat(problem: type[Problem]) -> str:
    if problem.retry_after is None:
        return problem.repeat
    return f"Yes, after the {problem.retry_after} s that Retry-After names."


routes = [Route("/problems", page)]
