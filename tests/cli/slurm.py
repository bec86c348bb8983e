"""A SLURM of one node on loopback, from Debian's packages, for the tests of array jobs."""

import os
import re
import secrets
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "sinfo", "scontrol")
PATIENCE = 300  # s
CORES = 4  # that the node states, for two jobs of two threads at once; `config_overrides` allows it


def missing() -> str:
    """Why there can be no SLURM here; "" if there can."""
    if os.geteuid() != 0:
        return "SLURM's daemons need root here"
    lacking = [name for name in PROGRAMS if found(name) is None]
    if lacking:
        return f"no {', '.join(lacking)}: apt-get install slurm-wlm munge"
    return ""


def found(name: str) -> str | None:
    return shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")


@contextmanager
def slurm(folder: Path):
    """Yield the environment in which `sbatch` and `squeue` reach the SLURM that runs in `folder`."""
    folder.mkdir()
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "munge.key").write_bytes(secrets.token_bytes(1024))
    (folder / "munge.key").chmod(0o400)
    ports, host = free_ports(2), socket.gethostname().split(".")[0]
    (folder / "slurm.conf").write_text(
        f"""
ClusterName=kfine
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,batch_sched_delay=0
NodeName={host} NodeAddr=127.0.0.1 Sockets=1 CoresPerSocket={CORES} ThreadsPerCore=1 RealMemory=16000 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
    )
    env = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
    munge = ["--key-file", "munge.key", "--socket", "munge.socket", "--pid-file", "munge.pid"]
    munge += ["--log-file", "munge.log", "--seed-file", "munge.seed", "--foreground", "--force"]
    munge = [str(folder / part) if part.startswith("munge.") else part for part in munge]
    calls = [
        [found("munged"), *munge],
        [found("slurmctld"), "-D", "-f", str(folder / "slurm.conf")],
        [found("slurmd"), "-D", "-f", str(folder / "slurm.conf"), "-N", host],
    ]
    begun = []
    try:
        for number, call in enumerate(calls):
            with open(folder / f"daemon-{number}.log", "w") as log:
                begun.append(subprocess.Popen(call, env=env, stdout=log, stderr=log, cwd=folder))
            if number == 0:
                until(lambda: (folder / "munge.socket").exists())
        until(lambda: answer(["sinfo", "-h", "-o", "%T"], env) == "idle", folder)
        yield env
    finally:
        for process in reversed(begun):
            process.terminate()
        for process in reversed(begun):
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def run_array(script, env, folder):
    """Submit `script` in `folder`, wait for its jobs, and return their exit codes, such as {"0:0"}.

    `sbatch --wait` looks only every half a minute.
    """
    job = subprocess.run(
        ["sbatch", "--parsable", script], env=env, capture_output=True, text=True, cwd=folder, check=True
    ).stdout.strip()
    until(lambda: answer(["squeue", "-h", "-j", job], env) == "")
    shown = answer(["scontrol", "-o", "show", "job", job], env)
    return set(re.findall(r" ExitCode=(\d+:\d+)", shown))


def answer(call, env):
    done = subprocess.run(call, env=env, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def until(true, folder=None):
    deadline = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > deadline:
            logs = (
                "\n".join(path.read_text()[-2000:] for path in sorted(folder.glob("*.log"))) if folder else ""
            )
            raise AssertionError(f"SLURM did not come up\n{logs}")
        time.sleep(0.3)


def free_ports(count):
    opened = [socket.socket() for _ in range(count)]
    for one in opened:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in opened]
    for one in opened:
        one.close()
    return ports
