"""Fuzz every parser of files and arguments, which may raise nothing but the errors they announce.

    pip install -e .[fuzz]
    python launch/fuzz.py                        # every target for 600 seconds, one after the other
    python launch/fuzz.py --seconds=60 own npz
    python launch/fuzz.py own --input=FILE       # one input again, with its traceback

A find is an exception that the parser does not announce, an input that takes more than
TIMEOUT_SECONDS, or more than MEMORY_MB of memory. Inputs that reach new code stay in
OUT/<target>/corpus, from which the next call goes on. `fuzz_targets.py` holds the targets, and
`fuzz_inputs.py` what they are fed.

Exit status 0: no find, 1: finds, 2: usage, 130: interrupted.
"""

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from mvae_jax import paths, terminal

TIMEOUT_SECONDS = 30
MEMORY_MB = 2048
MAX_LENGTH = 1 << 16  # bytes of an input
INSTRUMENTED = ["mvae_jax", "zipfile", "tarfile", "gzip", "json"]
CHILD = "--child"
MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None  # for the files that are parsed


def main() -> None:
    """Run the targets asked for, each in a process of its own."""
    from fuzz_targets import TARGETS

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", nargs="*", help=f"by default all: {', '.join(TARGETS)}")
    parser.add_argument("--seconds", type=int, default=600, help="for each target; 600")
    parser.add_argument(
        "--out", type=paths.from_user, default=Path("runs/fuzz"), help="corpora, finds and logs"
    )
    parser.add_argument("--input", type=paths.from_user, help="run one target on this file alone")
    args = parser.parse_args()
    if unknown := [name for name in args.target if name not in TARGETS]:
        parser.error(f"target: got {unknown[0]!r}; allowed: {', '.join(TARGETS)}")
    if args.input:
        if len(args.target) != 1 or not args.input.is_file():
            parser.error("--input: needs one target and a file")
        TARGETS[args.target[0]].run(args.input.read_bytes())
        return
    if args.seconds < 1:
        parser.error(f"--seconds: got {args.seconds}; allowed: an integer of at least 1")
    if importlib.util.find_spec("atheris") is None:
        parser.error("atheris is not installed; pip install mvae_jax[fuzz]")
    finds = 0
    for name in args.target or TARGETS:
        finds += not fuzz(name, TARGETS[name].seeds, args.out / name, args.seconds)
    sys.exit(int(finds > 0))


def fuzz(name: str, seeds: list[bytes], out: Path, seconds: int) -> bool:
    """Fuzz one target for so long and print a line; return whether there was no find."""
    for folder in ("corpus", "finds"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (out / "corpus" / f"seed-{number}").write_bytes(seed)
    options = {
        "max_total_time": seconds,
        "timeout": TIMEOUT_SECONDS,
        "rss_limit_mb": MEMORY_MB,
        "max_len": MAX_LENGTH,
        "artifact_prefix": f"{out / 'finds'}/",
    }
    flags = [f"-{option}={value}" for option, value in options.items()]
    command = [sys.executable, __file__, CHILD, name, *flags, str(out / "corpus")]
    log = out / "log.txt"
    with log.open("wb") as file, tempfile.TemporaryDirectory(dir=MEMORY) as scratch:
        environment = os.environ | {"TMPDIR": scratch}
        done = subprocess.run(command, stdout=file, stderr=file, env=environment, check=False)
    said = log.read_text(encoding="utf-8", errors="replace")
    counts = re.findall(r"^#(\d+)\s", said, re.MULTILINE)
    tried = f"{name}: {int(counts[-1]) if counts else 0:,} inputs"
    if done.returncode == 0:
        print(f"{tried} in {seconds} s, no find", flush=True)
        return True
    errors = re.findall(r"^(?:[\w.]+(?:Error|Exception)\b.*|==\d+== ?ERROR.*)$", said, re.MULTILINE)
    print(
        f"{tried}, then a find, {errors[-1][:200] if errors else 'a crash'}; see {log}", flush=True
    )
    return False


def fuzz_forever(name: str, flags: list[str]) -> None:
    """Hand this process over to the fuzzer, which ends it."""
    import atheris

    with atheris.instrument_imports(include=INSTRUMENTED):
        from fuzz_targets import TARGETS
    atheris.Setup([sys.argv[0], *flags], TARGETS[name].run)
    atheris.Fuzz()


if __name__ == "__main__":
    if sys.argv[1:2] == [CHILD]:  # which answers signals by itself
        fuzz_forever(sys.argv[2], sys.argv[3:])
    terminal.command(main)
