"""Answers over HTTP: a trained model as a server, with limits, attention, and a page to try it.

`batcher` puts what is asked at one time into one batch, `app` is the web application, `guard` what
every request has to pass, `run` the process.
"""

from jumok.serving.app import create_app
from jumok.serving.batcher import Batcher
from jumok.serving.limits import Limits
from jumok.serving.run import listen, serve

__all__ = ["Batcher", "Limits", "create_app", "listen", "serve"]
