"""The supervisor and processes that hang, in a process of its own."""

import re
import signal
import subprocess
import sys
import textwrap

PROGRAM = """
    import os, signal, sys, time
    from checkpw import notify
    from checkpw.operations import OPENER
    from checkpw.service.generations import ALIVE, BEGIN, READY, WORKER_ROLE, Plan, Role
    from checkpw.service.supervisor import Supervisor
    from checkpw.service.surroundings import Surroundings

    def worker(control, slot):
        control.settimeout(None)
        control.send(READY)
        while control.recv(16) not in (b"", b"d"):
            pass
        return 0

    def opener(control, slot):
        control.settimeout(0.1)
        control.send(READY)
        hangs = not os.path.exists(sys.argv[1])
        open(sys.argv[1], "w").close()
        while True:
            try:
                if control.recv(16) in (b"", b"q"):
                    return 0
            except TimeoutError:
                if not hangs:
                    control.send(ALIVE)

    def fork(name, function):
        pid = os.fork()
        if not pid:
            os._exit(function())
        return pid

    def log(line):
        print(line, flush=True)

    around = Surroundings(
        make_plan=lambda: Plan([Role(OPENER, opener), Role(WORKER_ROLE, worker)], lambda: None),
        fork=fork,
        log=log,
        notifier=notify.Notifier({}, os.getpid()),
        worker_died=lambda slot: None,
        is_alive=lambda slot: True,
        print_counters=lambda: None,
        stop_listening=lambda: None,
        slots=2,
        drain_time=1.0,
        hangs_after=1.5,
    )
    sys.exit(Supervisor(around).run())
"""


def test_a_service_that_hangs_is_replaced(tmp_path):
    """An opener that gives no sign of life is killed; one that does is left alone."""
    argv = [sys.executable, "-c", textwrap.dedent(PROGRAM), tmp_path / "there has been one"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        lines = iter(process.stdout.readline, "")
        said = []
        for line in lines:
            said.append(line)
            if "ended: signal 9" in line:
                break
        assert re.fullmatch(r"is ready: .*\nopener (\d+) hangs\nopener \1 ended: signal 9\n", "".join(said)), said
        try:
            assert process.wait(4) is None
        except subprocess.TimeoutExpired:
            pass  # nobody else was found to hang
        process.send_signal(signal.SIGTERM)
        assert "hangs" not in "".join(lines)
        assert process.wait(20) == 0
