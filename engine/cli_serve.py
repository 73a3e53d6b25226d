"""`python -m engine serve`: the service, and the page to draw on."""

from pathlib import Path
from typing import Annotated

import typer

from engine.cli_options import BackendOption, DeviceOption, GalleryOption, ModelOption
from mlrm.cli import errors_shown, say

serving = typer.Typer()


@serving.command(epilog="Example: python -m engine serve --gallery my.gallery, then open http://127.0.0.1:8000")
@errors_shown
def serve(
    gallery: GalleryOption = Path("my.gallery"),
    host: Annotated[str, typer.Option(help="Address to listen on; another than this machine's needs a token.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(help="Port; 0: any that is free.", min=0, max=65535)] = 8000,
    token_file: Annotated[
        Path | None, typer.Option(help="A file with the bearer token; default: the variable MLRM_TOKEN, if set.")
    ] = None,
    batch: Annotated[int, typer.Option(help="Most sketches searched together; 1: each alone.", min=1)] = 16,
    batch_wait: Annotated[float, typer.Option(help="Milliseconds that a sketch waits for others.", min=0)] = 4.0,
    queue: Annotated[int, typer.Option(help="Searches that may wait; one more is answered 429.", min=1)] = 128,
    timeout: Annotated[float, typer.Option(help="Seconds for a request; then it is answered 503.", min=0.1)] = 10.0,
    model: ModelOption = None,
    device: DeviceOption = "auto",
    backend: BackendOption = "auto",
) -> None:
    """Answer searches over HTTP, and show a page to draw on. Stop it with Ctrl-C: it finishes what it has begun."""
    from engine.errors import ConfigError
    from engine.gallery import Gallery
    from engine.server.settings import Limits, Settings, listen, read_token

    limits = Limits(queue=queue, seconds=timeout, batch=batch, batch_wait=batch_wait / 1000)
    settings = Settings(host, port, read_token(token_file), limits)
    Gallery.open(gallery)  # serving doesn't make a gallery: a mistyped path is an error here
    with listen(settings) as listening:
        # Imported now: what is wrong with the settings is said before a second has gone into loading PyTorch.
        from engine.retriever import Retriever

        try:
            from engine.server.running import serve
        except ImportError as error:
            raise ConfigError(f'the service needs more packages ({error}): pip install "mlrm-engine[serve]"') from error
        address, taken = listening.getsockname()[:2]
        retriever = Retriever(model, gallery, device, backend)
        shown = f"[{address}]" if ":" in address else address
        say(f"{gallery}: {len(retriever)} photos; draw at http://{shown}:{taken}")
        serve(retriever, settings, listening)
        say("stopped")
