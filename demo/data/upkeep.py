"""Logs of tasks about a node: package lists, services, shells, volumes."""

import random

from demo.data.work import Work
from demo.proxmox.scripts import Tape
from demo.proxmox.tasks import Script


def update_packages(tape: Tape, work: Work, rng: random.Random) -> Script:
    tape.say("starting apt-get update", wait=0.8)
    tape.say(
        "Hit:1 http://deb.debian.example/debian trixie InRelease",
        "Hit:2 http://security.debian.example/debian-security trixie-security InRelease",
        "Get:3 http://download.example/debian/pve trixie InRelease [2,771 B]",
        wait=0.5,
    )
    tape.say(f"Fetched {rng.randrange(3, 480)} kB in 1s", "Reading package lists...", wait=1.5)
    return tape.script()


def update_no_network(tape: Tape, work: Work, rng: random.Random) -> Script:
    tape.say("starting apt-get update", wait=20)
    tape.say(
        "Err:1 http://deb.debian.example/debian trixie InRelease",
        "  Temporary failure resolving 'deb.debian.example'",
        "E: Failed to fetch http://deb.debian.example/debian/dists/trixie/InRelease",
    )
    return tape.script("command 'apt-get update' failed: exit code 100")


def restart_service(tape: Tape, work: Work, rng: random.Random) -> Script:
    tape.at += rng.uniform(0.5, 3)
    return tape.script()


def erase(tape: Tape, work: Work, rng: random.Random) -> Script:
    tape.say(f"Removed volume '{work.other}'", wait=rng.uniform(0.4, 4))
    return tape.script()
