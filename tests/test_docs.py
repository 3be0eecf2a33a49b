"""Documents stay true: every command parses, every target, file and link that they name exists."""

import re
import shlex
from pathlib import Path

import pytest

from robolearn.cli import bench
from robolearn.cli.main import COMMANDS, parse
from robolearn.config import ConfigError
from robolearn.experiment import compose, list_experiments
from sim.robots import list_robots
from sim.tasks import list_tasks

ROOT = Path(__file__).parents[1]
SKIP = {".venv", "runs", "build", "dist", ".git", ".pytest_cache"}
PAGES = sorted(path for path in ROOT.rglob("*.md") if not SKIP & set(path.relative_to(ROOT).parts))
SHELL = {"bash", "sh", "shell", "console"}
FENCE = re.compile(r"^(?P<indent> *)```(?P<kind>\w*)[^\n]*\n(?P<body>.*?)^(?P=indent)```", re.M | re.S)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def name_of(path):
    return str(path.relative_to(ROOT))


def shell_lines(text):
    """Commands in the fenced shell blocks of a page and in its inline code."""
    for match in FENCE.finditer(text):
        if match["kind"] in SHELL:
            body = match["body"].replace("\\\n", " ")
            prompts = match["kind"] == "console"
            for line in body.splitlines():
                line = line.strip()
                if prompts and not line.startswith("$ "):
                    continue
                line = line.removeprefix("$ ")
                if line and not line.startswith("#"):
                    yield line
    for code in re.findall(r"`([^`\n]+)`", FENCE.sub("", text)):
        if re.match(r"(robolearn|make|torchrun|python|MUJOCO_GL=\w+ python) \S", code):
            yield code


LINES = [(path, line) for path in PAGES for line in shell_lines(path.read_text(encoding="utf-8"))]
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))


def words_of(line):
    words = shlex.split(line, comments=True)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]
    return words


def check_robolearn(words, may_have_placeholders):
    name, rest = words[0], words[1:]
    if name in ("--version", "--help") or name.isupper():
        return
    assert name in COMMANDS, f"there is no command {name!r}"
    args = parse(name, rest)
    experiment = getattr(args, "experiment", None)
    if getattr(args, "resume", None):  # then every word is an override
        assert not experiment or "=" in experiment, f"{experiment!r} cannot change in a resumed run"
        return
    if name in ("train", "config") and experiment in {*list_experiments(), *list_tasks()}:
        robot = args.robot
        if robot in list_robots() or (robot and (ROOT / robot).is_file()) or robot is None:
            path = str(ROOT / robot) if robot and robot.endswith(".yaml") else robot
            compose(experiment, path or ("a1" if experiment in list_tasks() else None), args.overrides)
        else:
            assert may_have_placeholders(robot), f"there is no robot {robot!r}"
    elif name in ("train", "config") and experiment and not experiment.endswith(".yaml"):
        assert experiment.isupper() or "/" in experiment, f"there is no experiment {experiment!r}"
    if name == "bench" and args.name and not placeholder(args.name):
        assert args.name in bench.scripts()


def placeholder(word):
    return Path(word).stem.isupper() or word.startswith(("my_", "path/"))


@pytest.mark.parametrize(("path", "line"), LINES, ids=[f"{name_of(path)}: {line[:60]}" for path, line in LINES])
def test_every_command_in_the_documents_is_right(path, line, capsys):
    words = words_of(line)
    try:
        if "ppo.learning_rat=5e-4" in words:  # shown because it is wrong
            with pytest.raises(ConfigError, match="Did you mean 'learning_rate'"):
                check_robolearn(words[1:], placeholder)
        elif words[0] == "robolearn":
            check_robolearn(words[1:], placeholder)
        elif words[0] == "make":
            targets = [word for word in words[1:] if "=" not in word and not word.startswith("-")]
            assert set(targets) <= TARGETS
        elif words[0] == "torchrun":
            if "robolearn.cli.main" in words:
                check_robolearn(words[words.index("robolearn.cli.main") + 1 :], placeholder)
        elif words[0].startswith("python"):
            check_python(words[1:])
    except SystemExit:
        pytest.fail(f"{name_of(path)}: {line}: {capsys.readouterr().err}")


def check_python(words):
    if words[:1] == ["-m"]:
        place = ROOT.joinpath(*words[1].split("."))
        if words[1].split(".")[0] in ("robolearn", "sim", "benchmarks"):
            assert place.with_suffix(".py").is_file() or (place / "__main__.py").is_file(), words[1]
    elif words and words[0].endswith(".py") and not placeholder(words[0]):
        assert (ROOT / words[0]).is_file(), words[0]


def anchors(path):
    """Names that headings of a page can be linked by, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", path.read_text(encoding="utf-8")), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_relative_link_leads_somewhere(path):
    for link in LINK.findall(FENCE.sub("", path.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        place, _, anchor = link.partition("#")
        target = (path.parent / place).resolve() if place else path
        assert target.exists(), f"{name_of(path)} links to {link}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{name_of(path)}: no heading {anchor!r} in {target.name}"


def test_the_documents_were_found():
    assert {"README.md", "docs/commands.md", "CHANGELOG.md"} <= {name_of(path) for path in PAGES}
    assert len(LINES) > 30


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_chapter(name):
    assert f"## {name}\n" in (ROOT / "docs" / "commands.md").read_text()


def test_no_page_names_a_path_of_a_machine():
    for path in PAGES:
        assert not re.search(r"(?<![\w.])/(home|root|work|tmp)/", path.read_text(encoding="utf-8")), name_of(path)
