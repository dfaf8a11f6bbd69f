"""The command `duet`: the demo, a Python prompt with a session in scope, the audit log."""

from __future__ import annotations

import code
import sys
import webbrowser
from pathlib import Path
from typing import Annotated, Any

import typer

from duet_p2p import errors
from duet_p2p.console.console import console_folder
from duet_p2p.console.door import doors, knock
from duet_p2p.demo.command import demo
from duet_p2p.identity.keys import format_id
from duet_p2p.identity.known_peers import KnownPeers
from duet_p2p.owner.audit_file import audit_path
from duet_p2p.owner.audit_view import AuditView, check_export, line_of, whole_of
from duet_p2p.web import LOCAL_SIGNALLING, PORT, serve
from signaling_server.pages import PagesMissing, TakenPort
from signaling_server.urls import normalise_url

__all__ = ["app", "main"]

app = typer.Typer(
    help="A data owner and a data scientist share one Python session, peer to peer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
peers = typer.Typer(help="The partners that this user's folder remembers.", no_args_is_help=True)
audit = typer.Typer(
    help="The log of what was shared, asked, decided and released.", no_args_is_help=True
)
app.add_typer(peers, name="peers")
app.add_typer(audit, name="audit")
app.command()(demo)

Url = Annotated[str, typer.Option(help="Signalling server; default: the local one.")]
Loopback = Annotated[bool, typer.Option("--loopback", help="Two processes of one user, no typing.")]
Identity = Annotated[str | None, typer.Option(help="Name of a stored key; default: a fresh one.")]
Timeout = Annotated[float | None, typer.Option(help="Seconds for pairing, typing included.")]


@app.command()
def launch(
    url: Url = "",
    host: Annotated[str | None, typer.Option(help="Address for partners on a LAN.")] = None,
    loopback: Loopback = False,
    client_id: Annotated[str | None, typer.Option(help="The partner's ID; default: asks.")] = None,
    identity: Identity = None,
    timeout: Timeout = None,
) -> None:
    """Start a session as the data owner, then a Python prompt with `duet` in scope."""
    from duet_p2p import api

    session = api.launch_duet(
        network_url=url,
        host=host,
        loopback=loopback,
        client_id=client_id,
        identity=identity,
        timeout=timeout,
    )
    _prompt(session, "You are the owner: duet.send(…), duet.requests, duet.requests[0].accept()")


@app.command()
def join(
    session_id: Annotated[str, typer.Argument(help="The owner's session ID.")] = "",
    url: Url = "",
    loopback: Loopback = False,
    identity: Identity = None,
    timeout: Timeout = None,
) -> None:
    """Join an owner's session as the data scientist, then a Python prompt with `duet` in scope."""
    from duet_p2p import api

    session = api.join_duet(
        session_id, network_url=url, loopback=loopback, identity=identity, timeout=timeout
    )
    _prompt(session, "You are the scientist: duet.store, duet.torch, pointer.get(…)")


@app.command()
def console(
    session_id: Annotated[str, typer.Argument(help="Beginning of the owner's session ID.")] = "",
    browser: Annotated[bool, typer.Option(help="Open the default browser.")] = True,
) -> None:
    """Open the console of an owner's session that runs in another process of this user."""
    folder = console_folder()
    wanted = session_id.upper().replace("-", "")
    found = [name for name in doors(folder) if name.startswith(wanted)]
    if len(found) > 1:
        typer.echo("Several sessions run here. Name one of them: duet console ID")
        for name in found:
            typer.echo(f"  {format_id(name)}")
        raise typer.Exit(2)
    if not found:
        raise errors.SessionClosed(
            "No such owner's session runs here. Start one: duet launch, or sy.launch_duet()"
        )
    path = knock(folder, found[0])
    typer.echo(f"If no browser opens, open this file within a minute: {path}")
    if browser:
        webbrowser.open(path.as_uri())


@app.command()
def web(
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Of the page's address.")] = PORT,
    url: Url = "",
    opens: Annotated[bool, typer.Option("--open/--no-open", help="Open it in a browser.")] = True,
) -> None:
    """Serve the browser's page from this machine: a data scientist without Python."""
    try:
        serve(port=port, signalling=normalise_url(url or LOCAL_SIGNALLING), opens=opens)
    except (PagesMissing, TakenPort) as error:
        sys.exit(error.strerror if isinstance(error, TakenPort) else str(error))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--url") from None


def _prompt(session: Any, hint: str) -> None:
    import torch

    import duet_p2p

    scope = {"duet": session, "sy": duet_p2p, "torch": torch, "__name__": "__console__"}
    with session:
        code.interact(banner=f"{hint}\nCtrl-D closes the session.", local=scope, exitmsg="Closed.")


@peers.command("list")
def list_peers() -> None:
    """Show every remembered partner, one a line."""
    for peer in KnownPeers().all():
        typer.echo(f"{peer.id}  {peer.role:<9}  {peer.scope:<7}  {peer.label or ''}")


@peers.command()
def forget(peer_id: str) -> None:
    """Forget a partner; a label that stood for it is free again."""
    KnownPeers().forget(peer_id)


@peers.command()
def trust(peer_id: str) -> None:
    """Admit a remembered partner to any session of this folder without typing."""
    KnownPeers().trust(peer_id)


Log = Annotated[Path | None, typer.Option("--path", help="Another log than DUET_HOME's.")]


def _view(path: Path | None) -> AuditView:
    return AuditView(path or audit_path())


@audit.command()
def show(
    last: Annotated[int, typer.Option(min=1, help="How many rows, the newest ones.")] = 50,
    request: Annotated[
        str, typer.Option(help="The number of a request: all that the newest rows say of it.")
    ] = "",
    path: Log = None,
) -> None:
    """Show the newest rows, one a line, or with --request those of one request in full."""
    if not request:
        for row in _view(path).rows(last):
            typer.echo(line_of(row))
        return
    found = _view(path).find(request, limit=last)
    for row in reversed(found):
        typer.echo(whole_of(row))
    if not found:
        typer.echo("No row is about such a request.")


@audit.command()
def verify(
    head: Annotated[
        list[str] | None, typer.Option(help="A scientist's duet.audit_head; may be repeated.")
    ] = None,
    path: Log = None,
    exported: Annotated[
        Path | None, typer.Option(help="Check the lines of an export instead of the log.")
    ] = None,
) -> None:
    """Check that no row was changed, removed, moved or, with --head, cut off; else exit with 1."""
    try:
        if exported is not None:
            with open(exported, encoding="utf-8") as lines:
                found = check_export(lines, *(head or ()))
        else:
            found = _view(path).verify(*(head or ()))
    except FileNotFoundError:
        raise typer.BadParameter("there is no such file", param_hint="--exported") from None
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--head") from None
    typer.echo(str(found))
    if not found:
        raise typer.Exit(1)


@audit.command()
def export(
    file: Annotated[Path, typer.Argument(help="A new file, for lines of JSON.")], path: Log = None
) -> None:
    """Write all rows to a file, with what others need to check the chain."""
    try:
        typer.echo(f"{_view(path).export(file):,} rows in {file}")
    except FileExistsError:
        raise typer.BadParameter("there is such a file", param_hint="FILE") from None


def main() -> None:
    """Entry of the command; errors of ours are one line, without a traceback."""
    try:
        app()
    except errors.DuetError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
