"""Measures the memory of the app's server process while many clients upload at once.

    python benchmarks/app_load.py --uploads 32 --megabytes 50

Prints the largest resident memory of the server process before and during the uploads, how long they took, and what was
answered. The bodies are no videos, so that every upload is refused once it is complete.
"""

from __future__ import annotations

import argparse
import http.client
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

CHUNK = bytes(64 << 10)


def upload(address: str, num_bytes: int) -> int:
    """Sends a body that is no video, piece by piece. Returns the status."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=600)
    connection.putrequest("POST", "/api/videos?name=load")
    connection.putheader("Content-Length", str(num_bytes))
    connection.endheaders()
    for _ in range(num_bytes // len(CHUNK)):
        connection.send(CHUNK)
    return connection.getresponse().status


def peak_megabytes(pid: int) -> float:
    """Returns the largest resident memory of a process so far."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+)", status)
    assert found
    return int(found[1]) / 1024


def main() -> None:
    """Starts an app, uploads, and prints what is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--uploads", type=int, default=32, help="clients at the same time")
    parser.add_argument("--megabytes", type=int, default=50, help="size of each body")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "thinkseg", "app", "--port", "0", "--data", folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as app:
            assert app.stdout
            address = app.stdout.readline().split()[-1]
            before, started = peak_megabytes(app.pid), time.monotonic()
            with ThreadPoolExecutor(asked.uploads) as clients:
                sizes = [asked.megabytes << 20] * asked.uploads
                statuses = Counter(clients.map(upload, [address] * asked.uploads, sizes))
            seconds, during = time.monotonic() - started, peak_megabytes(app.pid)
            app.terminate()
    print(f"{asked.uploads} uploads of {asked.megabytes} MB: {seconds:.1f} s, statuses {dict(statuses)}")
    print(f"memory of the server process: {before:.0f} MB before, at most {during:.0f} MB during the uploads")


if __name__ == "__main__":
    main()
