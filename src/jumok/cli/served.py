"""`jumok serve`: from a model to a server that answers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from jumok.cli.streams import source_lines
from jumok.errors import ConfigError, InputError, MissingExtra
from jumok.predictor import LanguageModel, Predictor


class Address(NamedTuple):
    """Where a server is, and who may ask."""

    host: str
    port: int
    names: Sequence[str]
    """Names that it may be asked by, beside localhost and ``host``."""
    key_file: Path | None


def run_server(
    load: Callable[[], Predictor],
    name: str,
    search: Mapping[str, Any],
    address: Address,
    limits: Mapping[str, Any],
) -> None:
    """Load a model and answer with it until the process is asked to end."""
    try:
        from jumok.serving import Limits, create_app, listen, serve
        from jumok.serving.guard import check_keys
        from jumok.serving.run import is_loopback
    except ModuleNotFoundError as error:
        if error.name not in ("fastapi", "starlette", "uvicorn", "prometheus_client"):
            raise
        raise MissingExtra("serve", error.name) from None
    keys = [] if address.key_file is None else _read_keys(address.key_file)
    check_keys(keys)
    with listen(address.host, address.port) as listener:  # before a large model is loaded
        predictor = load().with_search(search)
        _warm_up(predictor)
        hosts = ["localhost", address.host, *address.names]
        app = create_app(predictor, name, Limits(**limits), hosts, keys)
        if not (keys or is_loopback(listener)):
            print(
                f"jumok: {address.host} can be reached from other machines, and no key is asked "
                "for: whoever reaches it may use it. Give it keys (--key-file)",
                file=sys.stderr,
            )
        shown = f"[{address.host}]" if ":" in address.host else address.host
        print(f"{name} answers at http://{shown}:{listener.getsockname()[1]} (Ctrl-C ends it)")
        sys.stdout.flush()
        serve(app, listener, limits["seconds"])


def _read_keys(path: Path) -> list[str]:
    keys = [line.strip() for line in source_lines(str(path), "utf-8") if line.strip()]
    if not keys:
        raise ConfigError(f"{path} is to have a key in each line, but has none. Write one into it")
    return keys


def _warm_up(predictor: Predictor) -> None:
    """Load all that the first answer needs, and find settings that no request could go with."""
    with suppress(InputError):  # a text may well be refused
        if isinstance(predictor, LanguageModel):
            predictor.generate()
        else:
            predictor.predict("a")
