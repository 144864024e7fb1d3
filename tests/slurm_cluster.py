"""A real SLURM of one node on the loopback interface, started by hand and stopped again."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun")
MAX_ARRAY_SIZE = 4  # tasks of one array: small, so that a sweep of five needs two
CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort=16917
SlurmdPort=16918
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={root}/munge.socket,cred_expire=5
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=1
MpiDefault=none
MailProg=/bin/true
ReturnToService=2
KillWait=10
MaxArraySize={max_array_size}
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 Sockets=1 CoresPerSocket=2 ThreadsPerCore=1 State=UNKNOWN
PartitionName=low Nodes={host} Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=60
PartitionName=high Nodes={host} MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""


def missing() -> str:
    """Return why there can be no cluster here; empty where there can."""
    if os.geteuid() != 0:
        return "SLURM's daemons need root here"
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    return f"not installed: {', '.join(absent)}" if absent else ""


@contextmanager
def cluster(root: Path) -> Iterator[dict[str, str]]:
    """Yield the environment in which SLURM's commands speak to the cluster."""
    host = socket.gethostname().partition(".")[0]
    for name in ("state", "spool"):
        (root / name).mkdir()
    key = root / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    configuration = root / "slurm.conf"
    configuration.write_text(
        CONFIGURATION.format(host=host, root=root, max_array_size=MAX_ARRAY_SIZE)
    )
    environment = os.environ | {"SLURM_CONF": str(configuration)}
    munge = {name: root / f"munge.{name}" for name in ("socket", "pid", "log", "seed")}
    try:
        call(
            [
                *("munged", "--force", f"--key-file={key}", f"--socket={munge['socket']}"),
                *(f"--pid-file={munge['pid']}", f"--log-file={munge['log']}"),
                f"--seed-file={munge['seed']}",
            ],
            environment,
        )
        call(["slurmctld", "-c", "-f", str(configuration)], environment)
        call(["slurmd", "-f", str(configuration)], environment)
        deadline = time.monotonic() + 60
        while "IDLE" not in call(["scontrol", "show", "node", host], environment, check=False):
            assert time.monotonic() < deadline, (root / "slurmctld.log").read_text()[-2000:]
            time.sleep(0.5)
        yield environment
    finally:
        call(["scancel", "--user=root"], environment, check=False)
        for path in (root / "slurmd.pid", root / "slurmctld.pid", munge["pid"]):
            if path.is_file():
                stop(int(path.read_text()))


def call(command: list[str], environment: dict[str, str], check: bool = True) -> str:
    """Return what a command prints."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def stop(pid: int) -> None:
    """End a daemon and waits for it."""
    try:
        os.kill(pid, signal.SIGTERM)
        for _ in range(100):
            os.kill(pid, 0)
            time.sleep(0.1)
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
