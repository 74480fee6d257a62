"""Documents are tested like code: their commands exist, their links lead somewhere, no error code is left out."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from riskshare import errors
from riskshare.errors import AskRefused
from riskshare.server.problems import BY_CODE

ROOT = Path(__file__).parent.parent
CACHES = {
    ".git",
    ".venv",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
    ".hypothesis",
    "__pycache__",
    "demo-network",
    "build",
}


def tracked() -> list[Path]:
    """What git keeps or would keep; without git, what lies there."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            check=True,
            capture_output=True,
        ).stdout.decode()
        paths = [ROOT / name for name in listed.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        paths = [path for path in ROOT.rglob("*") if not CACHES & set(path.relative_to(ROOT).parts)]
    return sorted(path for path in paths if path.is_file())


FILES = tracked()
DOCUMENTS = [path for path in FILES if path.suffix == ".md"]


def nothing(places: list[str], remedy: str) -> None:
    """Fail with all places, one a line, and with what to do about them."""
    if places:
        pytest.fail("\n  ".join([f"{remedy}:", *places]), pytrace=False)


# --- Error codes ---------------------------------------------------------------------------------

ROW = re.compile(r"\| `(?P<code>[a-z_]+)` \| (?P<status>[1-5]\d\d|\u2013) \| (?P<what>[^|]+) \| (?P<remedy>[^|]+) \|")


def rows() -> list[re.Match[str]]:
    lines = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8").splitlines()
    return [match for line in lines if (match := ROW.fullmatch(line))]


def codes_of_the_tree() -> set[str]:
    """From `errors.py`: those of classes, of refusals, and those that a class names in its docstring after "Codes:"."""
    classes = [thing for _, thing in inspect.getmembers(errors, inspect.isclass) if thing.__module__ == errors.__name__]
    named = {code for cls in classes for code in re.findall(r"`([a-z_]+)`", (cls.__doc__ or "").partition("Codes:")[2])}
    return named | {cls.code for cls in classes} | set(AskRefused.STATUS)


def literals(tree: ast.AST) -> set[str]:
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def sources() -> list[ast.Module]:
    return [
        ast.parse(path.read_text(encoding="utf-8"), filename=str(path)) for path in (ROOT / "riskshare").rglob("*.py")
    ]


def codes_in_use() -> set[str]:
    """Every literal that the package gives as `code=`."""
    return {
        keyword.value.value
        for tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "code" and isinstance(keyword.value, ast.Constant) and isinstance(keyword.value.value, str)
    }


def test_every_code_has_one_row():
    listed = [row["code"] for row in rows()]
    missing = (codes_of_the_tree() | codes_in_use() | set(BY_CODE)) - set(listed)
    nothing(sorted(missing), "give each of these codes a row in docs/errors.md")
    nothing(
        sorted({code for code in listed if listed.count(code) > 1}), "these have more than one row in docs/errors.md"
    )


def test_every_code_is_named_by_a_test():
    """As a text of its own: an error that no test has provoked may say anything, or never come."""
    tests = [path for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__)]
    named = {text for path in tests for text in literals(ast.parse(path.read_text(encoding="utf-8")))}
    nothing(sorted({row["code"] for row in rows()} - named), "no test provokes these codes")


def test_every_row_has_a_code_that_exists():
    known = codes_of_the_tree() | {text for tree in sources() for text in literals(tree)}
    nothing(sorted({row["code"] for row in rows()} - known), "no source names these codes of docs/errors.md any more")


def test_every_line_of_the_tables_is_understood():
    lines = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8").splitlines()
    tables = [
        line for line in lines if line.startswith("|") and line != "|---|---|---|---|" and "| status |" not in line
    ]
    nothing(
        [line for line in tables if not ROW.fullmatch(line)],
        "write | `code` | status or a dash | what happened. | what to do. |",
    )


def test_every_row_speaks_in_sentences():
    cells = [row[column].strip() for row in rows() for column in ("what", "remedy")]
    nothing([cell for cell in cells if not cell.endswith(".")], "these are no sentences")


def test_refusals_stand_with_the_status_under_which_they_travel():
    listed = {row["code"]: row["status"] for row in rows()}
    wrong = [
        f"{code}: {listed.get(code)} instead of {status}"
        for code, status in AskRefused.STATUS.items()
        if listed.get(code) != str(status)
    ]
    nothing(wrong, "docs/errors.md says another status than AskRefused.STATUS")


# --- Links, commands, private places --------------------------------------------------------------

LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)(?:\s+\"[^\"]*\")?\)|!\[[^\]]*\]\((?P<image>[^)\s]+)\)")
FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<body>.*?)^```", re.DOTALL | re.MULTILINE)


def anchors(text: str) -> set[str]:
    """The names that a forge gives to headings: small letters, no punctuation, hyphens for spaces."""
    headings = re.findall(r"^#+ +(.+?) *$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_between_documents_lead_somewhere():
    wrong = []
    for path in DOCUMENTS:
        for match in LINK.finditer(FENCE.sub("", path.read_text(encoding="utf-8"))):
            link = match["target"] or match["image"]
            target, _, anchor = link.partition("#")
            if re.match(r"[a-z]+:", link):
                continue
            place = (path.parent / target).resolve() if target else path
            if not place.exists() or not place.is_relative_to(ROOT):
                wrong.append(f"{path.relative_to(ROOT)}: {link}")
            elif anchor and place.suffix == ".md" and anchor not in anchors(place.read_text(encoding="utf-8")):
                wrong.append(f"{path.relative_to(ROOT)}: {link} (no such heading)")
    nothing(wrong, "these links lead nowhere")


def shell_lines(text: str) -> list[str]:
    """The commands in ```sh blocks: continued lines joined, prompts and comments taken off."""
    bodies = [
        match["body"].replace("\\\n", " ")
        for match in FENCE.finditer(text)
        if match["language"] in {"sh", "bash", "console"}
    ]
    lines = [line.strip().removeprefix("$ ") for body in bodies for line in body.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def commands_of(document: Path) -> list[list[str]]:
    """The words behind each `riskshare` in the document's commands, up to a pipe or the like."""
    found = []
    for line in shell_lines(document.read_text(encoding="utf-8")):
        words = shlex.split(line, comments=True)
        for index, word in enumerate(words):
            if word == "riskshare" or word.endswith("/bin/riskshare"):
                rest = words[index + 1 :]
                end = next(
                    (place for place, part in enumerate(rest) if part in {"|", "&&", "||", ";", "&", ">"}), len(rest)
                )
                found.append(rest[:end])
    return found


def command_line():
    """The click command behind typer's application."""
    typer = importlib.import_module("typer")
    cli = importlib.import_module("riskshare.cli")
    application = next((value for value in vars(cli).values() if isinstance(value, typer.Typer)), None)
    assert application is not None, "riskshare.cli has no typer.Typer at its top level"
    return typer.main.get_command(application)


def misfit(command, words: list[str]) -> str | None:
    """What the command line does not know of `words`, or None."""
    rest = list(words)
    while hasattr(command, "commands"):
        own = {name for parameter in command.params for name in parameter.opts}
        while rest and rest[0].startswith("-") and rest[0] in own | {"--help"}:
            rest.pop(0)
        if not rest:
            return None
        if rest[0] not in command.commands:
            return f"no command {rest[0]!r}"
        command = command.commands[rest.pop(0)]
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}
    options = {word.partition("=")[0] for word in rest if word.startswith("--")}
    return f"no option {sorted(options - known)}" if options - known else None


def test_commands_in_the_documents_exist():
    command = command_line()
    wrong = [
        f"{path.relative_to(ROOT)}: riskshare {shlex.join(words)} ({problem})"
        for path in DOCUMENTS
        for words in commands_of(path)
        if (problem := misfit(command, words))
    ]
    nothing(wrong, "these commands do not exist")


def test_make_targets_in_the_documents_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    wrong = [
        f"{path.relative_to(ROOT)}: make {target}"
        for path in DOCUMENTS
        for target in re.findall(r"(?:^|`)make ([a-z]+)\b", path.read_text(encoding="utf-8"), re.MULTILINE)
        if target not in targets
    ]
    nothing(wrong, "the Makefile has no such target")


def test_the_readme_says_the_two_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make demo" in text
    assert "make test" in text


# Put together here so that this file does not find itself.
PRIVATE = [
    re.compile("/" + r"(?:root|work|home/(?!peer/)\w+|Users/\w+)/"),
    re.compile(r"/tmp/" + r"(?:lab|design|bash_jobs)"),
    re.compile("file:" + r"///(?!\$|\{)"),
    re.compile(r"https?://(?:10\.|192\.168\.|172\.(?:1[6-9]|2\d|3[01])\.)\d"),
    re.compile(r"^\s*--(?:extra-)?" + "index-url|--find-" + "links [^-]", re.MULTILINE),
]


def test_no_place_of_one_machine_stands_in_a_file():
    wrong = []
    for path in FILES:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for pattern in PRIVATE:
            wrong += [
                f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, match.start()) + 1}: {match[0].strip()}"
                for match in pattern.finditer(text)
            ]
    nothing(wrong, "these name a place that other machines do not have")


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock", "requirements-bench.lock"])
def test_every_locked_package_has_its_version_and_hashes(name):
    text = re.sub(r"\s*\\\n\s*", " ", (ROOT / name).read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    assert lines
    nothing(
        [
            line[:60]
            for line in lines
            if not re.match(r"[a-z0-9.-]+==\S+( ; [^#]+?)?( --hash=sha256:[0-9a-f]{64})+$", line)
        ],
        f"in {name}",
    )


def test_the_locks_agree_with_each_other():
    """What the tests run with is what a user gets."""
    pins = {
        name: set(re.findall(r"^([a-z0-9.-]+==[^\s;]+)", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE))
        for name in ("requirements.lock", "requirements-dev.lock")
    }
    nothing(
        sorted(pins["requirements.lock"] - pins["requirements-dev.lock"]),
        "run `make lock`: the two lock files differ in",
    )


def test_the_licence_is_whole():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    for part in (
        "Version 2.0, January 2004",
        "9. Accepting Warranty or Additional Liability.",
        "END OF TERMS AND CONDITIONS",
    ):
        assert part in text


def test_files_end_with_one_line_end_and_have_no_trailing_spaces():
    wrong = []
    for path in FILES:
        if path.suffix in {".py", ".md", ".toml", ".sql", ".yml", ".lock", ".json"} or path.name == "Makefile":
            text = path.read_text(encoding="utf-8")
            if text and (not text.endswith("\n") or text.endswith("\n\n")):
                wrong.append(f"{path.relative_to(ROOT)}: its end")
            if re.search(r"[ \t]$", text, re.MULTILINE) or "\r" in text:
                wrong.append(f"{path.relative_to(ROOT)}: white space at the end of a line")
    nothing(wrong, "white space")
