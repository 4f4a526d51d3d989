"""What asks a program to end lets it tidy up, and an ignored signal stays ignored."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from parallel_ser.system import stops
from parallel_ser.system.launcher import torchrun_options
from parallel_ser.training.interrupts import heed

ALL = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT]


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """As a shell starts a program, and as the suite had them behind it."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in ALL}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", ALL)
def test_a_signal_is_an_exception_that_leaves_time_to_tidy_up(number: signal.Signals) -> None:
    tidied = []

    def work() -> None:
        try:
            signal.raise_signal(number)
        finally:
            signal.raise_signal(number)  # a launcher's, of the same key
            tidied.append(True)

    with pytest.raises(KeyboardInterrupt) as raised, stops.as_exceptions():
        work()
    assert tidied
    assert stops.status_of(raised.value) == 128 + number
    assert signal.getsignal(number) == signal.SIG_DFL


def test_one_that_comes_later_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stops, "AGAIN", 0.0)
    heard = []
    with stops.as_exceptions():
        for _ in range(2):
            try:
                signal.raise_signal(signal.SIGTERM)
            except KeyboardInterrupt as interrupt:
                heard.append(stops.status_of(interrupt))
    assert heard == [143, 143]


def test_python_s_own_interrupt_has_its_status() -> None:
    assert stops.status_of(KeyboardInterrupt()) == 130


@pytest.mark.parametrize("number", ALL)
def test_training_notes_a_signal(number: signal.Signals) -> None:
    with heed() as request:
        signal.raise_signal(number)
        signal.raise_signal(signal.SIGTERM)
    assert request.signal == number


@pytest.mark.parametrize("within", [heed, stops.as_exceptions])
def test_what_nohup_has_ignored_stays_ignored(within: type) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with within() as request:
        signal.raise_signal(signal.SIGHUP)
    assert request is None or request.signal == 0
    assert "--signals_to_handle=SIGINT,SIGQUIT,SIGTERM" in torchrun_options(2)


def test_torchrun_handles_the_signals() -> None:
    assert "--signals_to_handle=SIGINT,SIGHUP,SIGQUIT,SIGTERM" in torchrun_options(2)


def test_a_background_job_s_ctrl_c_is_heeded() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with pytest.raises(KeyboardInterrupt), stops.as_exceptions():
        signal.raise_signal(signal.SIGINT)


def test_beside_the_main_thread_nothing_is_changed() -> None:
    found = []

    def work() -> None:
        with stops.as_exceptions():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.SIG_DFL]


WORKER = "import signal; print(sorted(int(one) for one in signal.pthread_sigmask(signal.SIG_BLOCK, [])))"


def test_a_worker_sees_nothing_of_a_terminal() -> None:
    code = (
        "import subprocess, sys; from parallel_ser.system.leftovers import begun\n"
        "begun(lambda _: iter([subprocess.run([sys.executable, '-c', sys.argv[1]], check=True)]), ())"
    )
    done = subprocess.run([sys.executable, "-c", code, WORKER], capture_output=True, text=True, env=os.environ)
    assert done.stdout == f"{sorted(map(int, stops.TERMINAL))}\n"
