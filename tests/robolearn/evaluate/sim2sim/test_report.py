"""The transfer report: complete, self-contained, and safe with whatever names it is given."""

import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import synthetic

from robolearn.evaluate.page import preformatted
from robolearn.evaluate.sim2sim.plots import draw_curves, looks
from robolearn.evaluate.sim2sim.report import Extras, Provenance, provenance, write_report
from robolearn.evaluate.sim2sim.results import NOMINAL, Case, CaseResult
from robolearn.evaluate.sim2sim.summary import summarise

ORIGIN = Provenance(
    command="robolearn sim2sim 'my policy.onnx' --suite full",
    policies={"a1_flat": "3f9a"},
    time="2026-11-20 20:00:00 +0000",
    machine={"processor": "some CPU", "cores": 2, "memory_gb": 8.0, "gpu": None, "system": "Linux x86_64"},
    versions={"mujoco": "3.17.0"},
    commit="abc123, changed",
)
VOID = {"meta", "img", "br", "path", "rect", "use", "line", "circle"}


class Page(HTMLParser):
    """Collects what a page refers to and whether its tags are closed."""

    def __init__(self, text):
        super().__init__()
        self.references, self.open, self.ids, self.words = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.references += [(tag, value) for name, value in attrs if name in ("src", "href", "xlink:href")]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def summary():
    results = synthetic.results(policies=("a1_flat", "a1_flat_again"), axes=("friction", "push", "steps"))
    return summarise(results, "mujoco", synthetic.AXES, absent=synthetic.ABSENT)


@pytest.fixture(scope="module")
def page(summary, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    film = folder / "film.mp4"
    film.write_bytes(b"not really a film")
    extras = Extras(
        labels={"drake": "Drake <it>"},
        videos=[("side by side", film)],
        sections=[("Diagnosis", preformatted("contact < actuation"))],
    )
    write_report(folder / "report.html", summary, synthetic.AXES, ORIGIN, extras)
    return (folder / "report.html").read_text(encoding="utf-8")


def test_it_needs_nothing_from_outside(page):
    found = Page(page)
    assert found.open == []
    assert all(value.startswith(("#", "data:")) for _, value in found.references)
    assert ("video", "data:video/mp4;base64,bm90IHJlYWxseSBhIGZpbG0=") in found.references
    assert not re.search(r"@import|url\((?!#)|<link|<script", page)
    targets = {value[1:] for _, value in found.references if value.startswith("#")}
    assert targets <= set(found.ids)
    assert set(re.findall(r"url\(#(\w+)\)", page)) <= set(found.ids)


def test_it_says_what_it_must(page):
    words = " ".join(" ".join(Page(page).words).split())
    for expected in (
        "Not ready: 1 of 19 criteria are not met",
        "Ready, but not surely",
        "drake: 1 failed case, allowed 0",
        "package 'mujoco_warp' is not installed",
        "push 30, seed 3: process ended with signal 11 (SIGSEGV)",
        "simulator 'pybullet' has no height fields",
        "cannot be told apart",
        "contact < actuation",
        "Drake <it>",
        ORIGIN.command,
        "abc123, changed",
        "some CPU, 2 cores, 8.0 GB, Linux x86_64",
        "0, 1, 2, 3, 4",
    ):
        assert expected in words
    for name in ("friction", "push", "steps"):
        assert synthetic.AXES[name].label in words


def test_colours_follow_the_screen(page):
    pictures = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    assert len(pictures) == 2 + 3 * 2  # overview, scores; failures, curves and conditions of each policy
    for picture in pictures:
        assert "var(--ink)" in picture
        assert "#1f2933" not in picture
    used = set(re.findall(r"var\((--[a-z]+)\)", page))
    assert used <= set(re.findall(r"(--[a-z]+):", page))


def test_the_same_results_give_the_same_page(tmp_path):
    summary = summarise(synthetic.results(("a1_flat",), ("push",)), "mujoco", synthetic.AXES)
    for name in ("a", "b"):
        write_report(tmp_path / name, summary, synthetic.AXES, ORIGIN)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_names_cannot_break_the_page(tmp_path):
    name = "<b>p & q</b>"
    results = [
        synthetic.case_result(Case(name, "mujoco", NOMINAL, 0.0, ((0, 0), (0, 1))), 1.0, 0.0, 0.0),
        CaseResult(Case(name, "<i>", NOMINAL, 0.0, ((0, 0), (0, 1))), error="<script>alert(1)</script>"),
    ]
    write_report(tmp_path / "r.html", summarise(results, "mujoco", {}), {}, dataclasses.replace(ORIGIN, command="<x>"))
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert not any(tag in text for tag in ("<b>p", "<script", "<i>", "<x>"))
    assert Page(text).open == []


def test_a_benchmark_in_which_everything_failed_still_has_a_report(tmp_path):
    results = [CaseResult(Case(p, "mujoco", NOMINAL, 0.0, ((0, 0), (0, 1))), error="gone") for p in ("a", "b")]
    write_report(tmp_path / "r.html", summarise(results, "mujoco", synthetic.AXES), synthetic.AXES, ORIGIN)
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert text.count("gone") == 2
    assert "No ranking" in text
    assert "Not ready" in text


def test_curves_with_only_failed_values(tmp_path):
    case = Case("p", "mujoco", "push", 5.0, ((0, 0), (0, 1)))
    results = [CaseResult(case, error="gone"), CaseResult(dataclasses.replace(case, simulator="drake"), error="gone")]
    summary = summarise(results, "mujoco", synthetic.AXES)
    write_report(tmp_path / "r.html", summary, synthetic.AXES, ORIGIN)
    assert draw_curves(summary, "p", synthetic.AXES).count("<svg") == 1


@pytest.mark.parametrize(("name", "kind"), [("film.avi", ValueError), ("missing.mp4", FileNotFoundError)])
def test_a_film_that_cannot_be_shown_is_refused(summary, tmp_path, name, kind):
    (tmp_path / "film.avi").write_bytes(b"")
    with pytest.raises(kind, match=name):
        write_report(tmp_path / "r.html", summary, synthetic.AXES, ORIGIN, Extras(videos=[("x", tmp_path / name)]))


def test_provenance_is_of_here():
    found = provenance(["robolearn", "sim2sim", "my policy.onnx"], {"p": "ff"})
    assert found.command == "robolearn sim2sim 'my policy.onnx'"
    assert found.versions["numpy"] == np.__version__
    assert found.machine["cores"] >= 1


def test_no_two_simulators_look_alike():
    names = [f"s{i}" for i in range(12)]
    found = looks(names, "s3")
    assert list(found) == names
    assert len({tuple(look.values()) for look in found.values()}) == len(names)
