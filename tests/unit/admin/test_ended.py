"""Waiting for processes to end: one that runs is told, one that nobody reaps has ended."""

import subprocess
import sys

import psutil

from regionmir.admin.ended import still_running


def test_one_that_runs_is_left_one_that_ended_and_a_zombie_are_not() -> None:
    with subprocess.Popen(["sleep", "30"]) as alive, subprocess.Popen(["sleep", "0.5"]) as zombie:
        gone = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        runs, unreaped, ended = (psutil.Process(one.pid) for one in (alive, zombie, gone))
        gone.communicate(b"\n")
        assert still_running([unreaped, ended], 60) == []
        assert unreaped.status() == psutil.STATUS_ZOMBIE
        assert still_running([runs, ended], 0.2) == [runs]
        alive.kill()
