"""Finding plugins by their entry points, loading those a recipe names, and keeping a broken one from breaking anything else."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from . import hookspecs
from .artifacts import Model
from .errors import DataError, StageError, UsageError, did_you_mean
from .formats import FORMATS, Brought, FilmWriter, PictureFormat
from .stages import Stage

GROUP = "genart"
#: Plugins that every run loads, to tell them of its events (the hook genart_event).
OBSERVERS = "genart.observers"
#: Hooks that return tables of name -> "package.module:object".
TABLES = ("genart_generators", "genart_backbones", "genart_statistics", "genart_losses", "genart_writers")
NN = Path(__file__).parent / "nn"
#: An import statement, up to its closing bracket or the end of its line. Parsing these alone is much faster than parsing whole files.
_IMPORT = re.compile(
    r"(?:^|[:;])[ \t]*((?:from[ \t]+[\w.]+[ \t]+)?import\b(?:[ \t]*\((?:#[^\n]*+|[^#)])*+\)|(?:\\\n|[^\n])*))", re.MULTILINE
)


@dataclass
class Plugin:
    """One plugin, loaded or not.

    Attributes:
        name: of its entry point, or of its file.
        origin: distribution that brings it, or the file.
        version: of the distribution.
        observes: it is loaded by every run.
        pictures: formats of pictures that it reads, by name.
        films: formats of films that it writes.
        problem: why it cannot be used.
        notes: what there is to say of it otherwise.
    """

    name: str
    origin: str
    version: str = ""
    observes: bool = False
    entry: importlib.metadata.EntryPoint | None = None
    file: Path | None = None
    module: ModuleType | None = None
    stages: dict[str, Stage] = field(default_factory=dict)
    pictures: dict[str, PictureFormat] = field(default_factory=dict)
    films: tuple[str, ...] = ()
    problem: str | None = None
    traceback: str | None = None
    notes: list[str] = field(default_factory=list)


def api_notes(written_for: object) -> Iterator[str]:
    """What there is to say of the version of the plugin interface that a plugin was written for.

    Raises:
        TypeError: this genart does not have that version.
    """
    if not isinstance(written_for, int) or isinstance(written_for, bool):
        raise TypeError(f"GENART_API must be a number, such as {hookspecs.PLUGIN_API}")
    if written_for > hookspecs.PLUGIN_API:
        raise TypeError(f"it is written for plugin interface {written_for}, this genart has {hookspecs.PLUGIN_API}; upgrade genart")
    if written_for < hookspecs.OLDEST_API:
        raise TypeError(
            f"it is written for plugin interface {written_for}, this genart knows {hookspecs.OLDEST_API} to {hookspecs.PLUGIN_API}; "
            "upgrade the plugin"
        )
    for version, change in sorted(hookspecs.DEPRECATED.items()):
        if written_for < version:
            yield f"written for plugin interface {written_for}: {change}"


class Plugins:
    """All plugins of this installation and those given as files. Nothing is imported until a stage is asked for.

    Args:
        files: single-file plugins from the command line.
        only: names of the installed plugins that are wanted; None for all.
    """

    def __init__(self, files: Sequence[Path] = (), *, only: Collection[str] | None = None) -> None:
        self.manager = pluggy.PluginManager("genart")
        self.manager.add_hookspecs(hookspecs)
        self.plugins: dict[str, Plugin] = {}
        self._sources: dict[str, str] = {}
        self._versions: dict[str, str] = {}
        for group in (GROUP, OBSERVERS):
            for entry in sorted(importlib.metadata.entry_points(group=group), key=lambda e: (e.name, e.value)):
                if only is None or entry.name in only:
                    self._discover(entry)
        for file in files:
            self._discover_file(file)

    def _discover(self, entry: importlib.metadata.EntryPoint) -> None:
        dist = entry.dist
        origin = dist.name if dist else "?"
        other = self.plugins.get(entry.name)
        if other is not None:
            other.problem = f"duplicate: both {other.origin} and {origin} bring a plugin '{entry.name}'; uninstall one"
            return
        self.plugins[entry.name] = Plugin(entry.name, origin, self._version(dist), entry.group == OBSERVERS, entry=entry)

    def _version(self, dist: importlib.metadata.Distribution | None) -> str:
        """Version of a distribution; reading it is slow, and one distribution may bring many plugins."""
        if dist is None:
            return ""
        if dist.name not in self._versions:
            self._versions[dist.name] = dist.version
        return self._versions[dist.name]

    def _discover_file(self, file: Path) -> None:
        if not file.is_file():
            raise UsageError(f"{file}: no such plugin file")
        name = file.stem
        if name in self.plugins:
            origin = self.plugins[name].origin
            raise UsageError(f"{file}: a plugin '{name}' is installed already ({origin})", "rename the file")
        plugin = self.plugins[name] = Plugin(name, str(file), file=file)
        self.load(plugin)
        for stage in plugin.stages.values():
            if stage.family != name and stage.family in self.plugins:
                raise UsageError(f"{file}: its stage '{stage.name}' belongs to the installed plugin '{stage.family}'", "rename the stage")

    # loading

    def load(self, plugin: Plugin) -> None:
        """Import a plugin and register what it brings; whatever goes wrong becomes its `problem`."""
        if plugin.module is not None or plugin.problem:
            return
        try:
            plugin.module = _import_file(plugin.file) if plugin.file else plugin.entry.load()  # type: ignore[union-attr]
            if not isinstance(plugin.module, ModuleType):
                raise TypeError("its entry point must name a module")
            plugin.notes = list(api_notes(getattr(plugin.module, "GENART_API", hookspecs.PLUGIN_API)))
            self.manager.register(plugin.module, name=plugin.name)
            self.manager.check_pending()
            for stage in self._offered(plugin):
                if plugin.file is None and stage.family != plugin.name:
                    raise TypeError(f"its stage '{stage.name}' must be named '{plugin.name}.…', like its entry point")
                if stage.name in plugin.stages and plugin.stages[stage.name] is not stage:
                    raise TypeError(f"it declares the stage '{stage.name}' twice")
                plugin.stages[stage.name] = stage
            plugin.pictures = _formats_of(plugin.module)
            plugin.films = tuple(sorted(_told(plugin, "genart_writers")))
        except (KeyboardInterrupt, MemoryError):
            raise
        except BaseException as error:  # a plugin may even call sys.exit
            import traceback

            plugin.stages = {}
            if self.manager.has_plugin(plugin.name):
                self.manager.unregister(name=plugin.name)  # none of its hooks is heard
            plugin.problem = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}".rstrip(": ")
            plugin.traceback = traceback.format_exc()

    def _offered(self, plugin: Plugin) -> Iterator[Stage]:
        yield from (value for value in vars(plugin.module).values() if isinstance(value, Stage))
        hook = self.manager.subset_hook_caller("genart_stages", [p for p in self.manager.get_plugins() if p is not plugin.module])
        for stages in hook():
            yield from stages

    def load_all(self) -> list[Plugin]:
        """Load every plugin and return all, sorted by name."""
        for plugin in self.plugins.values():
            self.load(plugin)
        return [self.plugins[name] for name in sorted(self.plugins)]

    def listen(self) -> list[Plugin]:
        """Load the plugins that observe every run, and return those that cannot be used."""
        listening = [plugin for plugin in self.plugins.values() if plugin.observes]
        for plugin in listening:
            self.load(plugin)
        return [plugin for plugin in listening if plugin.problem]

    def usable(self) -> list[Plugin]:
        """Plugins loaded so far."""
        return [plugin for plugin in self.plugins.values() if plugin.module is not None and not plugin.problem]

    # asking

    def owner(self, stage_name: str) -> Plugin | None:
        """Return the plugin that brings a stage name's family."""
        family = stage_name.partition(".")[0]
        if family in self.plugins:
            return self.plugins[family]
        return next((p for p in self.plugins.values() if p.file and stage_name in p.stages), None)

    def stage(self, name: str) -> Stage:
        """Return a stage by name, loading only the plugin that brings it.

        Raises:
            UsageError: there is no such stage; the message has the nearest name.
            StageError: its plugin is broken.
        """
        plugin = self.owner(name)
        if plugin is not None:
            self.load(plugin)
            if name in plugin.stages and not plugin.problem:
                return plugin.stages[name]
            if plugin.problem:
                raise StageError(
                    f"stage '{name}' needs plugin '{plugin.name}' ({plugin.origin} {plugin.version}), "
                    f"which cannot be used: {plugin.problem}",
                    "details: genart plugins " + plugin.name,
                )
        for broken in self.plugins.values():
            if plugin is None and broken.file and broken.problem:
                raise StageError(
                    f"there is no stage '{name}', unless {broken.file} brings it, which cannot be used: {broken.problem}",
                    f"details: genart plugins {broken.name} -p {broken.file}",
                )
        known = sorted(stage for p in self.load_all() for stage in p.stages)
        family = [stage for stage in known if stage.startswith(name.partition(".")[0] + ".")]
        raise UsageError(f"there is no stage '{name}'{did_you_mean(name, known)}", f"stages: {', '.join(family or known)}")

    def stages(self) -> list[Stage]:
        """Every usable stage, sorted by name."""
        return sorted((s for p in self.load_all() if not p.problem for s in p.stages.values()), key=lambda s: s.name)

    def _find(self, hook: str, name: str) -> tuple[str, Plugin] | None:
        """Look a name up in a hook's tables: first those of the plugins that are loaded already, then those of all."""
        for everything in (False, True):
            if everything:
                self.load_all()
            for candidate in self.usable():
                target = _told(candidate, hook).get(name)
                if target is not None:
                    return target, candidate
        return None

    def _generator(self, family: str) -> tuple[str, Plugin] | None:
        plugin = self.plugins.get(family)  # as a rule it bears the family's name, and the others need not be loaded
        if plugin is not None:
            self.load(plugin)
        return self._find("genart_generators", family)

    def rebuilder(self, family: str) -> Plugin | None:
        """Return the plugin that rebuilds models of a family, or None where none knows it."""
        found = self._generator(family)
        return None if found is None else found[1]

    def generator(self, family: str) -> tuple[str, Plugin]:
        """Return ("package.module:Class", plugin) of the generator of a family.

        Raises:
            DataError: no plugin knows the family.
        """
        found = self._generator(family)
        if found is not None:
            return found
        plugin = self.plugins.get(family)
        broken = f": {plugin.problem}" if plugin and plugin.problem else ""
        raise DataError(f"no plugin can rebuild models of the family '{family}'{broken}", "see genart plugins")

    def rebuild(self, model: Model, device: str) -> Any:
        """Rebuild a model's generator with its weights, on a device, ready to draw."""
        target, _ = self.generator(model.family)
        module_name, _, class_name = target.partition(":")
        from .nn.rebuild import rebuild

        return rebuild(getattr(importlib.import_module(module_name), class_name), model, device)

    def extension(self, hook: str, name: str, built_in: Sequence[str] = ()) -> tuple[str, Plugin]:
        """Return ("package.module:thing", plugin) of what a hook's table holds, such as a backbone in genart_backbones.

        Args:
            hook: whose table.
            name: in it.
            built_in: names that need no plugin, for the message.

        Raises:
            UsageError: no plugin brings it; the message has the nearest name.
        """
        found = self._find(hook, name)
        if found is not None:
            return found
        known = sorted([*built_in, *(key for plugin in self.usable() for key in _told(plugin, hook))])
        kinds = hook.removeprefix("genart_")
        kind = kinds.removesuffix("es") if kinds.endswith("sses") else kinds.removesuffix("s")
        raise UsageError(f"there is no {kind} '{name}'{did_you_mean(name, known)}", f"{kinds}: {', '.join(known) or 'none'}")

    def load_extension(self, hook: str, name: str) -> Any:
        """Import what a hook's table holds."""
        if hook == "genart_writers":
            return self.film_writer(name)
        module_name, _, attribute = self.extension(hook, name)[0].partition(":")
        return getattr(importlib.import_module(module_name), attribute)

    def load_backbone(self, name: str, device: str) -> Any:
        """Load a backbone on a device."""
        return self.load_extension("genart_backbones", name)(device)

    # formats

    def bring_formats(self) -> tuple[Brought, ...]:
        """Let every plugin be loaded, and what reads pictures know the formats that they bring. Threads that decode load none."""
        FORMATS.brought = tuple(
            Brought(name, known, plugin.name, f"{plugin.origin} {plugin.version}".strip())
            for plugin in self.load_all()
            for name, known in plugin.pictures.items()
        )
        return FORMATS.brought

    def film_writer(self, name: str) -> FilmWriter:
        """Import what writes a format of films.

        Raises:
            UsageError: no plugin brings it.
            StageError: what it brings is no writer, or cannot be imported.
        """
        target, plugin = self.extension("genart_writers", name)
        module_name, _, attribute = target.partition(":")
        try:
            writer = getattr(importlib.import_module(module_name), attribute)
        except Exception as error:
            raise StageError(f"the writer of {name} ({plugin.origin}) cannot be used: {type(error).__name__}: {error}") from error
        if not isinstance(writer, FilmWriter):
            raise StageError(f"the writer of {name} ({plugin.origin}) cannot be used: {target} is no FilmWriter")
        return writer

    def writers(self) -> list[str]:
        """Formats of films that plugins write, sorted. Every plugin is loaded for it."""
        return sorted({name for plugin in self.load_all() for name in plugin.films})

    # identity

    def identity(self, plugin: Plugin) -> dict[str, str]:
        """What of a plugin's code enters keys: its version and the hash of its sources and the shared torch code they use."""
        if plugin.name not in self._sources:
            self._sources[plugin.name] = _source_hash(plugin)
        return {"version": plugin.version, "source": self._sources[plugin.name]}


def _told(plugin: Plugin, name: str) -> dict[str, str]:
    """What a plugin's hook says of its generators or backbones; one that fails says nothing."""
    hook = getattr(plugin.module, name, None)
    try:
        return dict(hook()) if hook is not None else {}
    except Exception:
        return {}


def _formats_of(module: ModuleType) -> dict[str, PictureFormat]:
    """The formats of pictures that a plugin brings.

    Raises:
        TypeError: if its hook gives something else.
    """
    hook = getattr(module, "genart_readers", None)
    found = dict(hook()) if hook is not None else {}
    for name, known in found.items():
        if not isinstance(name, str) or not isinstance(known, PictureFormat):
            raise TypeError("genart_readers must return a table of name -> genart.PictureFormat")
    return found


def _import_file(file: Path) -> ModuleType:
    name = f"genart_local.{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _source_hash(plugin: Plugin) -> str:
    assert plugin.module is not None
    file = Path(plugin.module.__file__ or "")
    root = file.parent
    files = sorted(root.rglob("*.py")) if file.name == "__init__.py" else [file]
    beside = {path for target in _targets(plugin) if (path := _file_of(target)) is not None and path not in files}
    files += sorted(beside)
    total = hashlib.sha256()
    shared: set[str] = set()
    for path in files:
        text = path.read_bytes()
        name = path.name if path in beside else path.relative_to(root).as_posix()
        total.update(f"{name}\0{len(text)}\0".encode() + text)
        shared |= _nn_modules(text.decode("utf-8", "replace"))
    done: set[str] = set()
    while shared - done:
        name = min(shared - done)
        done.add(name)
        path = NN / f"{name}.py"
        if path.is_file():
            text = path.read_bytes()
            total.update(f"nn/{name}\0{len(text)}\0".encode() + text)
            shared |= _nn_modules(text.decode("utf-8", "replace"), "genart.nn")
    return total.hexdigest()


def _targets(plugin: Plugin) -> Iterator[str]:
    """Modules of everything that a plugin's tables name."""
    for hook in TABLES:
        for target in _told(plugin, hook).values():
            yield str(target).partition(":")[0]
    for known in plugin.pictures.values():
        yield known.reader.partition(":")[0]


def _file_of(module: str) -> Path | None:
    """The source of a module, which is not imported for it, though the packages that hold it are; None if it is not found."""
    try:
        found = importlib.util.find_spec(module)
    except Exception:  # the package may raise anything
        return None
    return Path(found.origin) if found is not None and found.origin and found.origin.endswith(".py") else None


def _nn_modules(source: str, package: str = "") -> set[str]:
    """Modules of `genart.nn` that a source imports; all of them where it imports the package itself.

    Args:
        source: of a Python file.
        package: in which it lies, if that is `genart.nn`: there `from . import` means its siblings.
    """
    statements = [text for text in _IMPORT.findall(source) if "genart" in text or (package and text.startswith("from ."))]
    names = {name for text in statements for name in _imported(text, package)}
    if {"genart.nn", "genart.nn.*"} & names:
        return {path.stem for path in NN.glob("*.py")}
    return {name.split(".")[2] for name in names if name.startswith("genart.nn.")}


def _imported(statement: str, package: str) -> Iterator[str]:
    """Full names of what an import statement may import as a module; nothing if it is none, but a line of some text."""
    try:
        tree = ast.parse(statement)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level <= (1 if package else 0):
            where = ".".join(filter(None, (package if node.level else "", node.module)))
            yield from (f"{where}.{alias.name}" for alias in node.names)
