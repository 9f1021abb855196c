"""The workflows on GitHub: they test what is supported, and can do no more than they need."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.helpers import ROOT

FOLDER = ROOT / ".github" / "workflows"
pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="an sdist has no .github")

WORKFLOWS: dict[str, dict[Any, Any]] = {
    path.name: yaml.safe_load(path.read_text(encoding="utf-8")) for path in FOLDER.glob("*.yml")
}
ACTIONS = [*FOLDER.glob("*.yml"), *FOLDER.parent.glob("actions/*/action.yml")]
JOBS = {
    f"{file}: {name}": job
    for file, workflow in sorted(WORKFLOWS.items())
    for name, job in workflow["jobs"].items()
}
NO_SECRET = {"contents": "read"}


def matrix(job: str) -> dict[str, Any]:
    found: dict[str, Any] = WORKFLOWS["tests.yml"]["jobs"][job]["strategy"]["matrix"]
    return found


def environments() -> set[str]:
    """The environments of tox with a version of Python in their names, and the lowest versions."""
    text = (ROOT / "tox.ini").read_text(encoding="utf-8")
    listed = text.partition("env_list =")[2].partition("skip_missing")[0].split()
    return {name for name in listed if re.match(r"py\d|lowest$", name)}


# What is tested


def test_each_server_runs_each_pair_of_python_and_django_and_the_rest_runs_once() -> None:
    on_each, once = matrix("servers")["versions"], matrix("versions")["versions"]
    assert sorted([*on_each, *once]) == sorted(environments())
    pairs = [name for name in environments() if re.fullmatch(r"py\d+-django\d+", name)]
    assert sorted(on_each) == sorted(pairs)


def supported() -> dict[str, list[str]]:
    """The images of the servers of docs/policies.rst, and the versions of Django for each."""
    text = (ROOT / "docs" / "policies.rst").read_text(encoding="utf-8")
    rows = re.findall(r"^(MySQL|MariaDB) +([\d.]+)  +((?:\d\.\d(?:, )?)+)  ", text, re.MULTILINE)
    return {f"{server.lower()}:{series}": djangos.split(", ") for server, series, djangos in rows}


def test_the_servers_are_those_that_are_supported() -> None:
    assert list(supported()) == matrix("servers")["server"]


def test_a_server_runs_no_django_that_refuses_it() -> None:
    excluded = [(entry["server"], entry["versions"]) for entry in matrix("servers")["exclude"]]
    assert sorted(excluded) == sorted(
        (server, name)
        for server, djangos in supported().items()
        for name in matrix("servers")["versions"]
        if f"{name[-2]}.{name[-1]}" not in djangos
    )


@pytest.mark.parametrize("job", ["servers", "versions"])
def test_each_environment_has_the_interpreter_that_it_is_named_after(job: str) -> None:
    """With another one tox would leave the environment out, and pass."""
    pythons = {entry["versions"]: entry["python"] for entry in matrix(job)["include"]}
    assert pythons.keys() == set(matrix(job)["versions"])
    for name, python in pythons.items():
        assert python == (f"3.{name[3:5]}" if name.startswith("py") else "3.11")


def test_the_branch_asks_for_every_job_of_the_tests() -> None:
    jobs = WORKFLOWS["tests.yml"]["jobs"]
    assert set(jobs["passed"]["needs"]) == jobs.keys() - {"passed"}
    wanted = " ".join(["success"] * len(jobs["passed"]["needs"]))
    assert f'"{wanted}"' in jobs["passed"]["steps"][0]["run"]


def test_what_a_protected_branch_asks_for_are_names_of_jobs() -> None:
    text = " ".join((ROOT / "RELEASING.rst").read_text(encoding="utf-8").split())
    asked = re.findall(r"\*([^*]+)\*", text.partition("ask for the checks")[2].partition(".")[0])
    assert len(asked) == 4
    assert set(asked) <= {job["name"] for job in JOBS.values()}


@pytest.mark.parametrize("name", JOBS)
def test_an_action_beside_the_workflows_knows_what_it_is_given(name: str) -> None:
    """GitHub only warns of an input that an action does not have, and goes on without it."""
    for step in JOBS[name]["steps"]:
        if step.get("uses", "").startswith("./"):
            action = yaml.safe_load((ROOT / step["uses"] / "action.yml").read_text("utf-8"))
            assert step.get("with", {}).keys() <= action["inputs"].keys()


def test_every_script_that_is_run_exists() -> None:
    for path in ACTIONS:
        for script in re.findall(r"\bscripts/\w+", path.read_text(encoding="utf-8")):
            assert (ROOT / script).is_file(), f"{path.name} runs {script}"


# What they may do


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_may_do_nothing_but_what_its_jobs_say(name: str) -> None:
    workflow = WORKFLOWS[name]
    assert workflow["permissions"] == {}
    assert workflow["concurrency"]["group"]
    assert workflow["defaults"]["run"]["shell"] == "bash"
    # YAML takes "on" for true.
    assert "pull_request_target" not in workflow[True]


@pytest.mark.parametrize("name", JOBS)
def test_a_job_reads_the_source_and_ends(name: str) -> None:
    job = JOBS[name]
    assert job["timeout-minutes"] <= 60
    publishes = name == "release.yml: publish"
    assert job["permissions"] in ([{"id-token": "write"}] if publishes else [NO_SECRET, {}])
    for step in job["steps"]:
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_only_what_passed_is_published_and_from_its_environment_alone() -> None:
    jobs = WORKFLOWS["release.yml"]["jobs"]
    assert jobs["publish"]["needs"] == "build"
    assert jobs["publish"]["environment"]["name"] == "pypi"
    assert not [step for step in jobs["publish"]["steps"] if "run" in step]
    assert WORKFLOWS["release.yml"][True] == {"push": {"tags": ["v*"]}}


def used() -> Iterator[tuple[str, str, str]]:
    for path in ACTIONS:
        text = path.read_text(encoding="utf-8")
        for line in re.findall(r"^ +(?:- )?uses: (.+)$", text, re.MULTILINE):
            action, _, rest = line.partition("@")
            commit, _, version = rest.partition(" # ")
            if not action.startswith("./"):
                yield action, commit, version


def test_every_action_of_others_is_pinned_to_a_commit_and_tells_its_version() -> None:
    found = sorted(set(used()))
    assert found
    for action, commit, version in found:
        assert re.fullmatch(r"[0-9a-f]{40}", commit), f"{action} is not pinned"
        assert re.fullmatch(r"v\d+\.\d+\.\d+", version), f"{action} does not tell its version"
    for action, group in itertools.groupby(found, key=lambda entry: entry[0]):
        assert len(list(group)) == 1, f"{action} is there in several versions"


@pytest.mark.parametrize("name", JOBS)
def test_no_text_of_others_is_put_into_a_command(name: str) -> None:
    """A branch may be called ``$(...)``. What a command needs comes to it as a variable."""
    for step in JOBS[name]["steps"]:
        assert "${{" not in step.get("run", "")
