"""Django's own tests of task backends, as its source distribution has them, run with ours in the place of theirs."""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path

import django
import pytest

from tests.harness import run

OWN = Path(__file__).parent / "djangos_own"
# Of the source distributions; a lock with another version needs another line here.
SHA256 = {
    "6.0.10": "6005d030df924f85088454c18bd35dcf082b058aa355ad3df520d8de9aef9f41",
    "6.1.3": "b5d2d9e35295065d13b1927b3f19a59bd119f737aa6299def14ccca1ae3c8c0d",
}
# The package django-tasks comes without its tests, which became Django's.
VERSION = django.get_version() if django.VERSION >= (6, 0) else "6.1.3"
REPLACED = {
    "django.tasks.backends.dummy": "own_backends",
    "django.tasks.backends.immediate": "own_backends",
    # A queue that is not named has no worker.
    '"QUEUES": []': '"QUEUES": ["default", "unknown_queue"]',
}
OF_THE_PACKAGE = {
    "django.tasks": "django_tasks",
    "async Tasks.": "async tasks.",
    "import InvalidTask, ": "import InvalidTaskError as InvalidTask, ",
    "import InvalidTask\n": "import InvalidTaskError as InvalidTask\n",
    "    InvalidTask,\n    InvalidTaskBackend,\n": (
        "    InvalidTaskError as InvalidTask,\n    InvalidTaskBackendError as InvalidTaskBackend,\n"
    ),
}
# What does not apply, with the reason; docs/django-tasks.md says the same.
LEFT_OUT = {
    "test_dummy_backend": {
        "DummyBackendTestCase": {
            "test_refresh_result": "changes the result that the dummy backend has in memory",
            "test_refresh_result_async": "changes the result that the dummy backend has in memory",
            "test_get_missing_result": "calls the blocking get_result() in a running event loop",
            "test_clear": "the dummy backend's own method, which forgets its results",
        },
    },
    "test_immediate_backend": {
        "ImmediateBackendTestCase": {
            "test_throws_keyboard_interrupt": "a worker's thread does not pass it on to who enqueues",
            "test_cannot_get_result": "this backend can",
            "test_cannot_refresh_result": "this backend can",
            "test_cannot_pass_run_after": "this backend defers",
        },
    },
    "test_tasks": {
        "TaskTestCase": {
            "test_refresh_result": "calls the blocking refresh() in a running event loop",
            "test_get_missing_result": "calls the blocking get_result() in a running event loop",
            "test_unknown_queue_name": "half of it is about an empty QUEUES, which this backend refuses",
        },
    },
}
LEFT_OUT_OF_THE_PACKAGE = {
    "test_tasks": {
        "TaskTestCase": {
            "test_pickle_task": "of Django 6.1",
            "test_pickle_task_result": "of Django 6.1",
            "test_unpickle_arbitrary_string": "of Django 6.1",
            "test_unpickle_non_task_object": "of Django 6.1",
            "test_run_after_in_decorator": "of Django 6.1",
        }
    },
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of Django's tests of tasks; skips where no package index answers."""
    folder = tmp_path_factory.mktemp("django")
    assert VERSION in SHA256, f"add the hash of the source distribution of Django {VERSION}"
    (folder / "wanted").write_text(f"django=={VERSION} --hash=sha256:{SHA256[VERSION]}\n")
    # Its Python may be newer than this one: only its tests are run.
    options = ("--no-deps", "--no-binary", ":all:", "--require-hashes", "--ignore-requires-python")
    got = run(folder, sys.executable, "-m", "pip", "download", "-q", *options, "-r", "wanted", timeout=300)
    if "from versions: none" in got.stderr:
        pytest.skip("no package index answers")
    assert got.returncode == 0, got.stderr
    (archive,) = folder.glob("*.tar.gz")
    inside = f"django-{VERSION}/tests/tasks/"
    with tarfile.open(archive) as files:
        members = [each for each in files.getmembers() if each.name.startswith(inside) and each.name.endswith(".py")]
        files.extractall(folder, members, filter="data")
    return folder / inside


@pytest.mark.slow
@pytest.mark.parametrize("module", sorted(LEFT_OUT))
def test_djangos_own_tests_pass(module: str, source: Path, tmp_path: Path, standalone: str, prefix: str) -> None:
    replaced = REPLACED if django.VERSION >= (6, 0) else REPLACED | OF_THE_PACKAGE
    (tmp_path / "tasks").mkdir()
    for path in source.glob("*.py"):
        text = path.read_text()
        for theirs, ours in replaced.items():
            text = text.replace(theirs, ours)
        (tmp_path / "tasks" / path.name).write_text(text)
    with (tmp_path / "tasks" / f"{module}.py").open("a") as file:
        for left_out in (LEFT_OUT, *([] if django.VERSION >= (6, 0) else [LEFT_OUT_OF_THE_PACKAGE])):
            for case, tests in left_out.get(module, {}).items():
                file.writelines(f"\ndel {case}.{test}  # {reason}" for test, reason in tests.items())
    ran = run(
        tmp_path,
        sys.executable, "-m", "django", "test", f"tasks.{module}", "--settings=own_settings",
        timeout=120, OXHERD_URL=standalone, TEST_PREFIX=prefix, PYTHONPATH=f"{OWN}:{tmp_path}",
    )  # fmt: skip
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
    assert "\nOK" in ran.stderr, ran.stderr
