"""What the clients in a browser share: Chromium, with nothing of its own left behind."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile

from endpoint import PATIENCE

# Seconds that a browser may take to start.
START = 20


def chromium_version():
    command = ["chromium", "--version"]
    printed = subprocess.check_output(command, stderr=subprocess.DEVNULL, text=True)
    return " ".join(printed.split()[:2])


@contextlib.contextmanager
def running_chromium(url, *settings):
    """Starts Chromium on a page, gives the folder of its profile, and ends it in any case."""
    folder = tempfile.mkdtemp()
    profile = f"{folder}/profile"
    process = subprocess.Popen(
        [
            "chromium",
            "--headless",
            "--no-sandbox",
            "--no-first-run",
            "--disable-gpu",
            "--disable-quic",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            # Nothing leaves this machine.
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
            f"--user-data-dir={profile}",
            *settings,
            url,
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": folder, "TMPDIR": folder},
        start_new_session=True,
    )
    try:
        yield profile
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # What is left of its processes.
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)
