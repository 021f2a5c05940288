"""The page served on this machine, to this machine, without a word to any other."""

import os
import signal
import socket
import tempfile
import webbrowser
from pathlib import Path

from slotjax.errors import UserError
from slotjax.system.extras import extra

HOST = "127.0.0.1"
# The browser itself refuses whatever a page would ask of another host.
POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self' data: blob: ws://127.0.0.1:*; "
    "frame-ancestors 'none'"
)
QUIET = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1"}


def serve(workdir: Path | None, weights: str | None, port: int, open_page: bool) -> None:
    """Serves the page until it is interrupted.

    Raises:
      UserError: gradio is not installed, no such weights, or a port that is taken.
    """
    os.environ.update(QUIET)  # read when gradio is imported
    with extra("demo"):
        import fastapi  # ty: ignore[import-not-found]
        import gradio  # ty: ignore[import-not-found]
        import uvicorn  # ty: ignore[import-not-found]
        from fastapi.middleware.trustedhost import TrustedHostMiddleware  # ty: ignore[import-not-found]

    from slotjax.demo import page, scene

    listener = listening(port)
    table = scene.Table(workdir, weights)
    url = f"http://{HOST}:{listener.getsockname()[1]}/"
    with tempfile.TemporaryDirectory(prefix="slotjax-demo-") as folder:  # pictures that are dropped in go with it
        os.environ["GRADIO_TEMP_DIR"] = folder
        app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        app.middleware("http")(guarded)
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])  # not of a name that led here
        options = {"theme": page.theme(), "css": page.CSS, "footer_links": [], "ssr_mode": False, "pwa": False}
        app = gradio.mount_gradio_app(app, page.build(table, weights or str(workdir)), path="/", **options)
        print(f"open {url} in a browser on this machine; Ctrl-C ends it", flush=True)
        if open_page:
            webbrowser.open(url)
        signal.set_wakeup_fd(-1)  # a signal ends the server, not the process: what was dropped in has to go
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1)
        uvicorn.Server(config).run(sockets=[listener])


async def guarded(request, call_next):
    """Every answer says that the page may ask this server alone."""
    answer = await call_next(request)
    answer.headers["Content-Security-Policy"] = POLICY
    answer.headers["Referrer-Policy"] = "no-referrer"
    return answer


def listening(port: int) -> socket.socket:
    """A socket on the loopback interface."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        raise UserError(f"--port {port}: cannot be used ({error.strerror}); give another, or 0 for any") from None
    return listener
