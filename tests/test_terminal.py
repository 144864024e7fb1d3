"""Commands and their terminals: encodings, closed pipes, signals; and processes that are left."""

import ast
import os
import signal
import subprocess
import sys
import time

import pytest

from mvae_jax import paths
from tests.conftest import ROOT

LAUNCH = sorted(
    p.name for p in (ROOT / "launch").glob("*.py") if "terminal.command(" in p.read_text()
)
SWEEP = ("sweep", "sweep.predict", "sweep.reproduce", "sweep.slurm", "sweep.watch")
COMMAND = "from mvae_jax import terminal\nterminal.prepare()\nimport os, signal, sys, time\n"
LINE = "interrupted; what is finished is kept, and the same command goes on\n"


def start(code, *arguments, **variables):
    """Starts a command of this code in a session of its own."""
    return subprocess.Popen(
        [sys.executable, *(arguments or ("-c", COMMAND + code))],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def finish(process):
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err.decode()


# --- characters --------------------------------------------------------------------------------

PRINTED = "print('ELBO ↑ 1 ± 2† é 中 \\udce9 \\ud800')\nprint('→ \\udcff', file=sys.stderr)\n"


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("utf-8", "ELBO ↑ 1 ± 2† é 中 \\xe9 \\ud800".encode()),
        ("latin-1", b"ELBO ^ 1 \xb1 2+ \xe9 \\u4e2d \\xe9 \\ud800"),
        ("ascii", b"ELBO ^ 1 +/- 2+ e \\u4e2d \\xe9 \\ud800"),
    ],
)
def test_every_character_is_printed_in_every_encoding(encoding, shown):
    returned, out, err = finish(start(PRINTED, PYTHONIOENCODING=encoding))
    assert (returned, out.strip()) == (0, shown)
    assert err in ("→ \\xff\n", "-> \\xff\n")


# --- pipes -------------------------------------------------------------------------------------


def test_a_reader_that_has_gone_does_not_stop_the_work(tmp_path):
    code = (
        "def main():\n"
        "    for _ in range(10_000): print('x' * 100); print('y', file=sys.stderr)\n"
        f"    open({str(tmp_path / 'done')!r}, 'w').close()\n"
        "    print('the end')\n"
        "terminal.command(main)\n"
    )
    process = start(code)
    process.stdout.close()
    process.stderr.close()
    assert process.wait(60) == 0
    assert (tmp_path / "done").exists()


@pytest.mark.parametrize(
    ("redirect", "returned"),
    [(">/dev/full", 1), (">&-", 0), (">&- 2>&-", 0)],
)
def test_output_that_goes_nowhere(redirect, returned):
    command = f'{sys.executable} -c "$CODE" {redirect}'
    code = COMMAND + "terminal.command(lambda: print('a line'))"
    done = subprocess.run(
        command, shell=True, cwd=ROOT, env={**os.environ, "CODE": code}, capture_output=True
    )
    assert done.returncode == returned
    lines = done.stderr.decode().splitlines()
    assert len(lines) == returned
    assert all(line.endswith("[Errno 28] No space left on device") for line in lines)


# --- signals -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1"])
def test_a_signal_cleans_up_and_is_one_line(name, tmp_path):
    code = (
        "def main():\n"
        "    try:\n"
        "        print('ready', flush=True); time.sleep(60)\n"
        f"    finally: open({str(tmp_path / 'cleaned')!r}, 'w').close()\n"
        "terminal.command(main)\n"
    )
    process = start(code)
    process.stdout.readline()
    time.sleep(0.2)  # or it would print its line again
    process.send_signal(getattr(signal, name))
    assert finish(process) == (130, b"", f"{name}: {LINE}")
    assert (tmp_path / "cleaned").exists()


@pytest.mark.parametrize(
    "body",
    [
        # A library's callback, whose exceptions Python drops.
        "class Library:\n    def __del__(self): os.kill(os.getpid(), signal.SIGINT)\n"
        "def main():\n    Library(); time.sleep(60)\n",
        # A library makes an error of its own of it.
        "def main():\n"
        "    try: os.kill(os.getpid(), signal.SIGINT); time.sleep(60)\n"
        "    except BaseException: raise ImportError('half imported')\n",
        # Twice, and the first one is being answered.
        "def main():\n"
        "    try: os.kill(os.getpid(), signal.SIGINT); time.sleep(60)\n"
        "    finally: os.kill(os.getpid(), signal.SIGINT); time.sleep(60)\n",
        # Once more while the interpreter takes itself apart.
        "class Late:\n    def __del__(self): os.kill(os.getpid(), signal.SIGINT)\n"
        "late = Late()\n"
        "def main(): os.kill(os.getpid(), signal.SIGINT)\n",
        # An import, before which nothing is to be cleaned up.
        "def main():\n"
        "    with terminal.importing():\n"
        "        try: os.kill(os.getpid(), signal.SIGINT); time.sleep(60)\n"
        "        except BaseException: time.sleep(60)\n",
        # Threads that go on.
        "import threading\nterminal.EXIT_SECONDS = 0.1\n"
        "def main():\n"
        "    threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n",
    ],
    ids=["swallowed", "converted", "twice", "at the end", "import", "threads"],
)
def test_an_interrupt_is_one_line_wherever_it_arrives(body):
    assert finish(start(f"{body}terminal.command(main)\n")) == (130, b"", f"SIGINT: {LINE}")


def test_training_answers_while_compiled_code_runs_and_a_second_interrupt_ends_it():
    code = (
        "import hashlib\n"
        "from mvae_jax.runs.stop import on_signal\n"
        "def main():\n"
        "    with on_signal(None):\n"
        "        print('ready', flush=True)\n"
        "        hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)\n"  # minutes, deaf to signals
        "terminal.command(main)\n"
    )
    process = start(code)
    process.stdout.readline()
    for said in ("SIGTERM: stopping", "SIGTERM: stopping", "SIGINT: stopping"):
        process.send_signal(getattr(signal, said.partition(":")[0]))
        assert process.stderr.readline().decode().startswith(said)
    process.send_signal(signal.SIGINT)
    assert finish(process) == (130, b"", f"SIGINT: {LINE}")


@pytest.mark.parametrize(
    ("arguments", "library"),
    [
        (("-m", "mvae_jax"), "absl"),
        (("-m", "mvae_jax.main", "--config=configs/digits.py:vae,2"), "jax"),
        (("-m", "mvae_jax.evaluate", "."), "joblib"),
        (("-m", "mvae_jax.report", "."), "matplotlib"),
        (("-m", "mvae_jax.datasets"), "numpy"),
        *((("-m", f"mvae_jax.{name}"), "numpy") for name in SWEEP),
        *((("launch/" + name,), "numpy") for name in LAUNCH),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value,
)
def test_a_command_is_interrupted_while_it_imports(arguments, library, tmp_path):
    code = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)\n"
    (tmp_path / f"{library}.py").write_text(code)
    process = start("", *arguments, PYTHONPATH=f"{tmp_path}:{ROOT}")
    before = (
        "vae z=2 on digits, release protocol: 5 seeds, 200 epochs\n" if library == "jax" else ""
    )
    assert finish(process) == (130, b"", f"{before}SIGINT: {LINE}")


@pytest.mark.parametrize("name", LAUNCH)
def test_a_script_runs_its_main_as_a_command(name):
    module = ast.parse((ROOT / "launch" / name).read_text(encoding="utf-8"))
    guard = module.body[-1]
    assert isinstance(guard, ast.If)
    assert ast.unparse(guard.body[-1]) == "terminal.command(main)"


# --- processes ---------------------------------------------------------------------------------

WORK = (
    "from mvae_jax import workers\n"
    "def main():\n"
    "    for _ in workers.run(time.sleep, [(0,), (60,), (60,)], 2): print('ready', flush=True)\n"
    "if __name__ == '__main__': terminal.command(main)\n"
)


def processes_with(mark):
    """Returns the processes of this machine with that environment."""
    found = []
    for folder in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{folder}/environ", "rb") as environment:
                found += [int(folder)] if mark.encode() in environment.read() else []
        except OSError:
            continue
    return found


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="no /proc")
@pytest.mark.parametrize("name", ["SIGKILL", "SIGINT"])
def test_scoring_processes_end_with_the_one_that_started_them(name, tmp_path):
    mark = f"MARK={tmp_path}"
    process = start(WORK, MARK=str(tmp_path))
    process.stdout.readline()
    assert len(processes_with(mark)) >= 3
    if name == "SIGINT":  # as a terminal sends it, to all of them
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(getattr(signal, name))
    returned, _, err = finish(process)
    assert returned == (-signal.SIGKILL if name == "SIGKILL" else 130)
    if name != "SIGKILL":
        assert err == f"{name}: {LINE}"
    deadline = time.monotonic() + 10
    while left := processes_with(mark):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


# --- paths -------------------------------------------------------------------------------------


def test_paths_as_people_type_them(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert str(paths.from_user("~/runs")) == "/home/me/runs"
    assert str(paths.from_user("a[1]/~")) == "a[1]/~"
    for text in ("", "a\0b", "a" * 256, "a\ud800", "a/" * 3000, "~nobody_/x"):
        with pytest.raises(paths.PathError, match="got "):
            paths.from_user(text)


@pytest.mark.parametrize("name", [*LAUNCH, "evaluate", "report", "datasets"])
def test_every_path_of_a_command_line_is_read_at_one_place(name):
    file = f"launch/{name}" if name.endswith(".py") else f"mvae_jax/{name}/__main__.py"
    text = (ROOT / file).read_text(encoding="utf-8")
    assert "type=Path" not in text
