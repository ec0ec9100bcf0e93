"""A Slurm on this machine: munged, slurmctld and slurmd from Debian's packages, one node with two pretended GPUs.

Jobs talk to it through /etc/slurm, because the executor plugin drops every SLURM_* variable of its environment. So only
one can run at a time, and none where somebody else's slurm.conf is. Everything else lies in a folder of its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel")
ETC = Path("/etc/slurm")
CONFS = [ETC / name for name in ("slurm.conf", "gres.conf", "cgroup.conf")]
MARK = "# Written by tests/slurm/cluster.py, which removes it again.\n"
GPUS = [Path(f"/dev/fakegpu{number}") for number in range(2)]
SLURM_CONF = """{mark}ClusterName=wecolora
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld_port}
SlurmdPort={slurmd_port}
SlurmUser=root
# A requeued job waits until its old credential expires: 2 minutes if nothing is said.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu
# More than the machine may have, so that the profile's own requests fit: the jobs of the tests are small.
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=16 RealMemory=256000 Gres=gpu:2 State=UNKNOWN
# Jobs of the second partition take what those of the first have, which are requeued.
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=one Nodes={host} Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes={host} MaxTime=INFINITE State=UP PriorityTier=2 PreemptMode=OFF
# A node that dies is noticed in seconds, and one that comes back is taken again.
SlurmdTimeout=5
ReturnToService=2
KillWait=5
TaskProlog={folder}/slots.sh
SchedulerParameters=batch_sched_delay=0,sched_interval=2
"""


def missing() -> str | None:
    """Why no Slurm can be started here; None: one can."""
    absent = [name for name in PROGRAMS if not shutil.which(name)]
    if absent:
        return f"Slurm is not installed ({', '.join(absent)}): as root on Debian or Ubuntu, make slurm-setup"
    if os.geteuid() != 0:
        return "the daemons of Slurm and the device files of the pretended GPUs need root"
    for conf in CONFS:
        if conf.exists() and not conf.read_text().startswith(MARK):
            return f"{conf} is somebody else's: this machine is part of a cluster"
    return None


def wait_for(what: str, condition: Callable[[], object], seconds: float = 120) -> None:
    """Until the condition holds; an error names what did not come."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(0.2)


def ask(*command: str) -> str:
    """What a Slurm command prints; nothing while the controller does not answer."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


class Cluster:
    """The three daemons, as children of this process."""

    def __init__(self) -> None:
        self.lock = open(ETC / ".tests.lock", "w", encoding="utf-8")  # noqa: SIM115 (held until stop)
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        self.folder = Path(tempfile.mkdtemp(prefix="wecolora-slurm-"))
        self.made = [gpu for gpu in GPUS if not gpu.exists()]
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        ports = [_free_port(), _free_port()]
        self.host = socket.gethostname().split(".")[0]
        try:
            for name in ("state", "spool"):
                (self.folder / name).mkdir()
            for gpu in self.made:  # the null device under another name
                os.mknod(gpu, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
            (ETC / "slurm.conf").write_text(
                SLURM_CONF.format(
                    mark=MARK, host=self.host, folder=self.folder, ctld_port=ports[0], slurmd_port=ports[1]
                )
            )
            # Before each task, in its environment: which slot it got.
            slots = self.folder / "slots.sh"
            slots.write_text(f'#!/bin/sh\necho "$SLURM_JOB_ID $CUDA_VISIBLE_DEVICES" >> {self.folder}/slots\n')
            slots.chmod(0o755)
            (ETC / "gres.conf").write_text(f"{MARK}Name=gpu File=/dev/fakegpu[0-1]\n")
            if int(ask("slurmd", "-V").split()[-1].split(".")[0]) >= 23:  # 22.05 knows no such plugin and needs none
                (ETC / "cgroup.conf").write_text(f"{MARK}CgroupPlugin=disabled\n")
            self.start("munged")
            self.start("slurmctld")
            self.start("slurmd")
            wait_for("an idle node", self.is_idle)
        except BaseException as error:
            error.add_note(self.said())
            self.stop()
            raise

    def start(self, name: str) -> None:
        """Start a daemon (again)."""
        arguments = {"munged": ["--foreground", "--force"], "slurmctld": ["-D", "-i"], "slurmd": ["-D"]}[name]
        if name == "munged":
            key = self.folder / "munge.key"
            key.write_bytes(os.urandom(128))
            key.chmod(0o600)
            files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
            arguments += [f"--{option}={self.folder}/munge.{suffix}" for option, suffix in files.items()]
        with open(self.folder / f"{name}.out", "ab") as out:
            self.daemons[name] = subprocess.Popen([name, *arguments], stdout=out, stderr=out, start_new_session=True)
        if name == "munged":
            wait_for("munged's socket", (self.folder / "munge.socket").exists)

    def end(self, name: str, number: int = signal.SIGTERM) -> None:
        """End a daemon."""
        daemon = self.daemons.pop(name)
        daemon.send_signal(number)
        try:
            daemon.wait(20)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()

    def restart(self, name: str) -> None:
        """End a daemon and start it again."""
        self.end(name)
        self.start(name)

    def crash(self) -> None:
        """The node dies, with all that runs on it."""
        self.end("slurmd", signal.SIGKILL)
        self.kill_jobs()

    def kill_jobs(self) -> None:
        """Every process that a job of Slurm's started, and what watches over it."""
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                of_slurm = b"SLURM_JOB_ID=" in (folder / "environ").read_bytes()
                command = (folder / "cmdline").read_text()
            except OSError:
                continue
            if of_slurm or command.startswith("slurmstepd: ["):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(folder.name), signal.SIGKILL)

    def is_idle(self) -> bool:
        """Whether the node is up and nothing runs on it."""
        return ask("sinfo", "--noheader", "--format=%T") == "idle"

    def said(self) -> str:
        """The ends of the daemons' logs."""
        logs = sorted([*self.folder.glob("*.out"), *self.folder.glob("*.log")])
        return "\n".join(f"--- {log.name}\n{log.read_text()[-2000:]}" for log in logs)

    def stop(self) -> None:
        """End what was started and remove what was written."""
        if "slurmctld" in self.daemons:
            ask("scancel", "--user=root")
        for name in reversed(list(self.daemons)):
            self.end(name)
        self.kill_jobs()
        for conf in CONFS:
            conf.unlink(missing_ok=True)
        for gpu in self.made:
            gpu.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        (ETC / ".tests.lock").unlink(missing_ok=True)
        self.lock.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
