"""TMX 1.4 to pairs, event by event: no tree is built, and what a file may make grow has a limit.

Of a segment's text (TMX 1.4b, "Content Markup") all that stands in `bpt`, `ept`, `it`, `ph` and
`ut` is left out, a `sub` in them too, for it is code of another format; what `hi` marks is kept.
White space is kept as well, as the specification of `seg` has it.

The parser is Python's own expat. It fetches nothing; a DOCTYPE may name a DTD, which is not read,
and declare nothing itself, so there are no entities that could grow.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from xml.parsers import expat

from jumok.config import DataConfig
from jumok.data.lines import (
    MAX_LINE,
    OR_SKIP,
    BadLine,
    ByteStream,
    check_encoding,
    guess_encoding,
    is_valid,
)
from jumok.data.pairs import Row, different_columns, make_row
from jumok.errors import ConfigError, DataError

_CODES = frozenset({"bpt", "ept", "it", "ph", "ut"})
_CHUNK = 1 << 16
_MAX_DEPTH = 100
_MAX_NAMES = 10_000
_MAX_PAIRS = 1000


def read_tmx(
    stream: ByteStream, path: Path, config: DataConfig, features: bool = False
) -> Iterator[Row | BadLine]:
    """Pairs of an open binary stream, each with the line where its `tu` begins.

    Several texts of one language in a `tu` are pairs with every text of the other. The file says
    its encoding itself; a ``data.encoding`` other than UTF-8 counts more.
    """
    if config.features_column:
        raise ConfigError(
            f"TMX has no columns, but data.features_column={config.features_column} came. Leave it "
            "out, and put the features before each source"
        )
    check_encoding(config.encoding)
    units = _Units(path, config, features)
    chunks = _chunks(stream, config.encoding)
    more = True
    while more:
        error = None
        try:
            chunk = next(chunks, b"")
            more = bool(chunk)
            units.feed(chunk)
        except UnicodeError as found:
            error = units.undecodable(found)
        except DataError as found:
            error = found
        yield from units.found
        units.found.clear()
        if error is not None:
            raise error


def _chunks(stream: ByteStream, encoding: str) -> Iterator[bytes]:
    """What to parse: the bytes as they are, or as UTF-8 where ``encoding`` is something else."""
    if _is_utf8(encoding):
        while chunk := stream.read(_CHUNK):
            yield chunk
        return
    decoder = codecs.getincrementaldecoder(encoding)()
    while chunk := stream.read(_CHUNK):
        if text := decoder.decode(chunk):
            yield text.encode()
    decoder.decode(b"", True)


def _is_utf8(encoding: str) -> bool:
    return codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")


class _Unit:
    """A `tu` while it is read: the texts that are wanted, by language code in lower case."""

    def __init__(self, line: int) -> None:
        self.line = line
        self.texts: dict[str, list[str]] = {}
        self.codes: list[str] = []
        self.room = MAX_LINE


class _Units:
    """What expat calls; pairs and bad units gather in ``found``."""

    def __init__(self, path: Path, config: DataConfig, features: bool) -> None:
        self.found: list[Row | BadLine] = []
        self._path, self._features = path, features
        self._source, self._target = _code(config.source_column), _code(config.target_column)
        self._header_language = ""
        self._encoding, self._declared = config.encoding, ""
        self._languages: dict[str, None] = {}
        self._depth = self._codes = self._fed = 0
        self._unit: _Unit | None = None
        self._language = ""
        self._text: list[str] | None = None
        self._parser = expat.ParserCreate(None if _is_utf8(config.encoding) else "utf-8")
        self._parser.buffer_text = True
        self._parser.XmlDeclHandler = self._declaration
        self._parser.StartDoctypeDeclHandler = self._doctype
        self._parser.SkippedEntityHandler = self._skipped_entity
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        if self._source and self._target:
            different_columns(self._source, self._target, "")

    def feed(self, chunk: bytes) -> None:
        """Parse more of the file; nothing is its end. Raises `DataError`."""
        self._fed += len(chunk)
        try:
            self._parser.Parse(chunk, not chunk)
        except expat.ExpatError as error:
            raise self._malformed(error, chunk) from None
        except (LookupError, ValueError):
            if self._depth:
                raise
            raise self._error(  # so Python answers where expat asks it for an encoding
                f"the file says that its encoding is '{self._declared:.40}', which cannot be read "
                f"so. Set data.encoding={self._declared:.40}, or save the file as UTF-8"
            ) from None
        if self._fed - self._parser.CurrentByteIndex > MAX_LINE:
            raise self._error(f"a tag or comment is longer than {MAX_LINE} bytes. Remove it")
        if len(self._parser.intern) > _MAX_NAMES:
            raise self._error(
                f"elements and attributes have more than {_MAX_NAMES} names, and TMX has few. Give "
                "a TMX file"
            )

    def undecodable(self, error: UnicodeError) -> DataError:
        """What to say of bytes after those that were fed."""
        return DataError(
            f"the text is not valid {self._encoding} ({getattr(error, 'reason', error)}) after "
            f"line {self._parser.CurrentLineNumber}. Set data.encoding to the file's encoding, or "
            "leave it out where the file says it",
            path=self._path,
        )

    # --- what expat calls ------------------------------------------------------------------------

    def _declaration(self, version: str, encoding: str | None, standalone: int) -> None:
        self._declared = encoding or ""

    def _doctype(self, name: str, system: str | None, public: str | None, internal: int) -> None:
        if internal:
            raise self._error(
                "the DOCTYPE declares something in brackets, as entities that grow without end "
                "are declared. Remove the brackets and what stands in them"
            )

    def _skipped_entity(self, name: str, is_parameter: int) -> None:
        if self._text is not None and not self._codes:
            self._spoil(
                f"'&{name:.40};' is not an entity of XML itself, and DTDs are not read. Write the "
                f"character, {OR_SKIP}"
            )

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        place = self._depth, name
        if self._depth == 1 and name != "tmx":
            raise self._error(f"the element <tmx> was expected, but <{name:.40}> came")
        if self._depth > _MAX_DEPTH:
            raise self._error(f"elements stand more than {_MAX_DEPTH} deep in each other")
        if self._codes or (self._text is not None and name in _CODES):
            self._codes += 1
        elif place == (2, "header"):
            self._header_language = _code(attributes.get("srclang", ""))
        elif place == (3, "tu"):
            self._unit = _Unit(self._parser.CurrentLineNumber)
        elif place == (4, "tuv") and self._unit is not None:
            self._begin(
                self._unit, _code(attributes.get("xml:lang") or attributes.get("lang") or "")
            )
        elif place == (5, "seg") and self._unit is not None and self._language:
            self._text = []

    def _end(self, name: str) -> None:
        place = self._depth, name
        self._depth -= 1
        if self._codes:
            self._codes -= 1
        elif place == (5, "seg") and self._unit is not None and self._text is not None:
            self._take(1)
            if self._unit is not None:
                self._unit.texts.setdefault(self._language, []).append("".join(self._text))
            self._text = None
        elif place == (4, "tuv"):
            self._language = ""
        elif place == (3, "tu") and self._unit is not None:
            self._finish(self._unit)
            self._unit = None

    def _characters(self, text: str) -> None:
        if self._text is not None and not self._codes:
            self._text.append(text)
            self._take(len(text))

    # --- units -----------------------------------------------------------------------------------

    def _begin(self, unit: _Unit, language: str) -> None:
        """A text comes in this language."""
        if len(unit.codes) < 20:  # they are only for a message
            unit.codes.append(language)
        if not language:
            self._spoil(f"a language was expected as xml:lang of every tuv. Add it, {OR_SKIP}")
        elif self._source and self._target:
            if _is_a(language, self._source) or _is_a(language, self._target):
                self._language = language
        else:
            self._language = language
            self._languages[language] = None
            if len(self._languages) > 2:
                raise self._undecided()

    def _take(self, characters: int) -> None:
        """Room for so much text; if there is none, the unit is bad."""
        if self._unit is not None:
            self._unit.room -= characters
            if self._unit.room < 0:
                self._spoil(
                    f"the texts of the unit are longer than {MAX_LINE} characters together. "
                    f"Divide it, {OR_SKIP}"
                )

    def _spoil(self, reason: str) -> None:
        """The unit is bad; no more is wanted of it."""
        if self._unit is not None:
            self.found.append(BadLine(reason, path=self._path, line=self._unit.line))
        self._unit = self._text = None

    def _finish(self, unit: _Unit) -> None:
        try:
            source, target = self._sides(unit)
        except ValueError as error:
            self._spoil(f"{error}, {OR_SKIP}")
            return
        different_columns(source, target, "")
        sources, targets = unit.texts[source], unit.texts[target]
        if len(sources) * len(targets) > _MAX_PAIRS:
            self._spoil(
                f"{len(sources)} x {len(targets)} texts of one unit are more than {_MAX_PAIRS} "
                f"pairs. Divide it, {OR_SKIP}"
            )
            return
        for pair in product(sources, targets):
            self.found.append(make_row(*pair, self._path, unit.line, self._features))

    def _sides(self, unit: _Unit) -> tuple[str, str]:
        """The codes of source and target. Raises `ValueError` where the unit lacks one."""
        source, target = self._source, self._target
        if not (source and target):
            if len(self._languages) < 2:
                raise ValueError(
                    "two languages were expected, but the unit has "
                    f"{', '.join(unit.texts) or 'none'}. Add the other"
                )
            left, right = self._languages
            known = source or target or self._header_language
            if _is_a(left, known) == _is_a(right, known):
                raise self._undecided()
            this, other = (left, right) if _is_a(left, known) else (right, left)
            source, target = (other, this) if target else (this, other)
        return _find(unit, "source_column", source), _find(unit, "target_column", target)

    # --- what is wrong ---------------------------------------------------------------------------

    def _error(self, reason: str) -> DataError:
        return DataError(reason, path=self._path, line=self._parser.CurrentLineNumber)

    def _undecided(self) -> DataError:
        languages = ", ".join(self._languages)
        return self._error(
            f"which language is the source and which the target cannot be told: the file has "
            f"{languages:.200}, and the header's srclang is '{self._header_language:.40}'. Set "
            "data.source_column and data.target_column to two of them"
        )

    def _malformed(self, error: expat.ExpatError, chunk: bytes) -> DataError:
        """What expat found, with advice."""
        if not chunk:
            reason = "the file ends too early, it is empty or cut off. Copy or download it again"
        elif line := _undecoded(chunk, self._parser.ErrorByteIndex - self._fed):
            reason = f"the text is not valid UTF-8. {guess_encoding(line, 'utf-8')}"
        else:
            reason = f"the XML is malformed ({expat.ErrorString(error.code)}). Correct the file"
        return DataError(reason, path=self._path, line=error.lineno)


def _undecoded(chunk: bytes, index: int) -> str:
    """The line around ``chunk[index]`` if what stands there is not UTF-8, else nothing."""
    index += len(chunk)
    if index < 0 or b"\0" in chunk or is_valid(chunk[index : index + 4], "utf-8"):
        return ""
    start, end = chunk.rfind(b"\n", 0, index) + 1, chunk.find(b"\n", index)
    return chunk[start : end if end > 0 else None].decode("utf-8", "surrogateescape")


def _code(name: str) -> str:
    """A language code in the form that codes are compared in."""
    return name.strip().lower().replace("_", "-")


def _is_a(code: str, wanted: str) -> bool:
    """Whether ``code`` is the language ``wanted`` or one of its kinds, as en-us is of en."""
    return code == wanted or code.startswith(f"{wanted}-")


def _find(unit: _Unit, setting: str, wanted: str) -> str:
    """The unit's code that is meant by ``wanted``. Raises `ValueError` if there is not one."""
    found = [wanted] if wanted in unit.texts else [c for c in unit.texts if _is_a(c, wanted)]
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(
            f"one text in '{wanted}' was expected, but it could be {' or '.join(found):.200}. Set "
            f"data.{setting} to one of them"
        )
    raise ValueError(
        f"a text in '{wanted}' was expected, but the unit has "
        f"{', '.join(unit.codes) or 'none':.200}. Set data.{setting}, correct the unit"
    )
