"""What `modelry up` prints while it starts, serves and stops."""

from __future__ import annotations

import shlex
import sys
import threading
from collections.abc import Collection
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn

from modelry import __version__
from modelry.bootstrap.observer import ServerAddress
from modelry.domain.errors import ModelryError
from modelry.services.catalog.ports import FetchProgress

SAMPLE_PAGE = Path(__file__).parent / "samples" / "page.png"
"""A page with a title, text, a figure and a table, for trying document layout."""


class StartConsole:
    """Prints the start of a server; satisfies `bootstrap.StartObserver`.

    Args:
        console: where to print.
        key_variable: the environment variable that holds the caller's key, for the commands
            that are printed when no key was made just now.
    """

    def __init__(self, console: Console, key_variable: str = "MODELRY_API_KEY") -> None:
        self._console = console
        self._key_variable = key_variable
        self._token: str | None = None
        self._progress: Progress | None = None
        self._bars: dict[tuple[str, str], TaskID] = {}
        self._lock = threading.Lock()

    def listening(self, address: ServerAddress, owner_token: str | None) -> None:
        """Print the addresses, and the owner's key if it was made just now."""
        self._token = owner_token
        say = self._console.print
        say(f"[bold]Modelry {__version__}[/] is listening")
        say(f"  HTTP   {address.http_url}   (API page: {address.http_url}/docs)", highlight=False)
        say(f"  gRPC   {address.grpc_address}", highlight=False)
        if address.ca_file is not None:
            trust = f"  TLS    clients trust MODELRY_CA={address.ca_file}"
            say(trust, highlight=False, soft_wrap=True)
        if owner_token is not None:
            say("\nThe owner's API key, shown this once:", highlight=False)
            say(f"  [bold]{owner_token}[/]", highlight=False, soft_wrap=True)

    def fetching(self, starter: str, progress: FetchProgress) -> None:
        """Move the file's progress bar."""
        with self._lock:
            if self._progress is None:
                self._progress = Progress(
                    TextColumn("  {task.description}"),
                    BarColumn(),
                    DownloadColumn(),
                    TextColumn("{task.fields[phase]}"),
                    console=self._console,
                )
                self._progress.start()
            key = (starter, progress.source)
            if key not in self._bars:
                what = f"{starter}: {progress.source.split('#')[0].rsplit('/', 1)[-1]}"
                self._bars[key] = self._progress.add_task(what, total=None, phase="")
            self._progress.update(
                self._bars[key],
                total=progress.total_bytes,
                completed=progress.done_bytes,
                phase=str(progress.phase),
            )

    def starter_failed(self, starter: str, error: ModelryError) -> None:
        """Say which starter is missing, and why."""
        self._console.print(
            f"[yellow]Starter model '{starter}' is not there:[/] {error.message} It is tried "
            "again at the next start.",
            highlight=False,
        )

    def ready(self, address: ServerAddress, deployed: Collection[str]) -> None:
        """Print commands to try, for those of the starters that are deployed."""
        with self._lock:
            if self._progress is not None:
                self._progress.stop()
                self._progress = None
        say = self._console.print
        trials = {title: words for title, words in _TRIALS.items() if words[1] in deployed}
        given = "" if self._token else f" where {self._key_variable} holds your key"
        say(
            f"\nReady. To try it, paste into another terminal{given}:\n"
            if trials
            else "\nReady. `modelry catalog` lists models to pull, `register` takes your own.",
            highlight=False,
        )
        for title, words in trials.items():
            say(f"  # {title}", highlight=False, markup=False)
            say(
                f"  {self._command(address, words)}\n",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )
        say("Ctrl-C drains and stops.", highlight=False)

    def stopping(self, open_requests: int, drain_s: float) -> None:
        """Say that the server drains."""
        waiting = (
            f" {open_requests} open requests get up to {drain_s:g} s." if open_requests else ""
        )
        self._console.print(f"\nStopping.{waiting} Ctrl-C again ends at once.", highlight=False)

    def _command(self, address: ServerAddress, words: tuple[str, ...]) -> str:
        key = self._key()
        installed = Path(sys.executable).parent / "modelry"
        program = (
            shlex.quote(str(installed))
            if installed.exists()
            else f"{shlex.quote(sys.executable)} -m modelry"
        )
        arguments = shlex.join(words)
        trust = f"MODELRY_CA={shlex.quote(str(address.ca_file))} " if address.ca_file else ""
        return f"MODELRY_URL={address.http_url} {trust}{key}{program} {arguments}"

    def _key(self) -> str:
        """How a command is given the key; nothing where the environment has it already."""
        if self._token:
            return f"MODELRY_API_KEY={self._token} "
        if self._key_variable == "MODELRY_API_KEY":
            return ""
        return f'MODELRY_API_KEY="${self._key_variable}" '


_TRIALS = {
    "a streamed chat": ("chat", "assistant", "What is the capital of France?"),
    "an embedding": ("embed", "minilm", "Where is the nearest bakery?"),
    "what is where on a page": ("detect", "layout", str(SAMPLE_PAGE)),
}
