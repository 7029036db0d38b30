"""The fork server's module: what it says when a process that it forks hears of no job."""

import os
import subprocess
import sys
import textwrap

import pytest

SCRIPT = """
    import multiprocessing, os
    from multiprocessing import forkserver
    multiprocessing.get_context("forkserver").set_forkserver_preload(
        ["harness.executors.local", "harness.executors.preload"]
    )
    status, job = forkserver.connect_to_new_process([])
    os.write(job, {sent!r})
    os.close(job)  # as the kernel does when the owner is killed
    forkserver.read_signed(status)
    print(forkserver.read_signed(status))
"""


@pytest.mark.parametrize("sent", [b"", b"\x80\x04\x95\x00"], ids=["nothing", "half"])
def test_a_process_whose_owner_was_killed_ends_without_a_traceback(sent: bytes) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT.format(sent=sent))],
        check=False, capture_output=True, text=True, timeout=60, env=os.environ,
    )  # fmt: skip
    assert (done.stderr, done.stdout) == ("", "1\n")


def test_any_other_fault_is_said() -> None:
    sent = b"cos\nnot_there\n."
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT.format(sent=sent))],
        check=False, capture_output=True, text=True, timeout=60, env=os.environ,
    )  # fmt: skip
    assert "AttributeError" in done.stderr
