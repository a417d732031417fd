"""Reads Python code for what could run, load or fetch something that a stranger chose; whatever name it goes by in a file."""

from __future__ import annotations

import ast
from collections.abc import Iterator

#: Names that code may not so much as mention, and all that is below them.
FORBIDDEN = (
    "eval", "exec", "compile", "__import__", "builtins", "runpy", "code", "codeop", "imp", "importlib.import_module",
    "importlib.util.spec_from_file_location", "importlib.util.module_from_spec", "importlib.machinery",
    "pickle", "cPickle", "_pickle", "pickletools", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml", "torch.load", "torch.save",
    "torch.hub.load", "torch.hub.load_state_dict_from_url", "torch.hub.download_url_to_file", "torch.jit.load", "torch.package",
    "torch.serialization", "torch.utils.model_zoo", "torch.utils.cpp_extension", "torchvision.models.get_weight",
    "os.system", "os.popen", "os.exec", "os.spawn", "os.posix_spawn", "os.fork", "os.startfile", "pty", "subprocess", "ctypes", "cffi",
    "tarfile", "zipfile", "shutil.unpack_archive", "socket.socket", "socket.create_connection", "socket.create_server", "socketserver",
    "urllib.request", "http", "requests", "httpx", "aiohttp", "ftplib", "smtplib", "telnetlib", "xmlrpc", "webbrowser", "asyncio",
    "fsspec", "s3fs", "gcsfs", "tempfile.mktemp", "xml", "numpy.fromregex", "pandas",
)  # fmt: skip
BUILT_IN = ("eval", "exec", "compile", "__import__")
#: Methods, of whatever object: an archive's, a published network's.
METHODS = ("extractall", "get_state_dict", "unsafe_load", "full_load")


def names_of(tree: ast.AST) -> dict[str, str]:
    """What each name stands for that a file imports."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found[alias.asname or alias.name.partition(".")[0]] = alias.name if alias.asname else alias.name.partition(".")[0]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return found


def dotted(node: ast.AST, names: dict[str, str]) -> str:
    """The full name of an expression, such as `os.system`; empty if it has none, or is a file's own."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id if node.id in BUILT_IN else "")
    if isinstance(node, ast.Attribute):
        before = dotted(node.value, names)
        return f"{before}.{node.attr}" if before else ""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr" and len(node.args) > 1:
        given = node.args[1]
        return f"{dotted(node.args[0], names)}.{given.value}" if isinstance(given, ast.Constant) else ""
    return ""


def forbidden(name: str) -> str | None:
    """The forbidden name that this one is, begins with (`os.execv`) or is below (`pickle.loads`)."""
    stems = ("os.exec", "os.spawn", "os.posix_spawn", "torch.hub.load")
    return next((bad for bad in FORBIDDEN if name == bad or name.startswith(f"{bad}.") or (bad in stems and name.startswith(bad))), None)


def dangers(text: str, allowed: frozenset[str] = frozenset()) -> Iterator[tuple[int, str]]:
    """(line, what) of everything that must not be in a file.

    Args:
        text: of the file.
        allowed: forbidden names that this file may use.
    """
    tree = ast.parse(text)
    names = names_of(tree)
    for node in ast.walk(tree):
        mentioned = []
        if isinstance(node, ast.Import):
            mentioned = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            mentioned = [f"{node.module}.{alias.name}" for alias in node.names] + (
                [f"{node.module}.x"] if node.names[0].name == "*" else []
            )
        elif isinstance(node, ast.Name | ast.Attribute | ast.Call):
            mentioned = [dotted(node, names)]
        yield from ((node.lineno, name) for name in mentioned if (bad := forbidden(name)) and bad not in allowed)
        if isinstance(node, ast.Call):
            yield from _calls(node, names)


def _calls(node: ast.Call, names: dict[str, str]) -> Iterator[tuple[int, str]]:
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
    name = dotted(node.func, names)
    if given.get("shell", "False") != "False" or given.get("allow_pickle", "False") != "False":
        yield node.lineno, "shell or allow_pickle"
    if name in ("numpy.load", "np.load") and given.get("allow_pickle") != "False":
        yield node.lineno, "np.load without allow_pickle=False"
    if name == "torch.load" and given.get("weights_only") != "True":
        yield node.lineno, "torch.load without weights_only=True"
    if isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
        yield node.lineno, node.func.attr
    if given.get("weights", given.get("pretrained", "None")) not in ("None", "False") and name.startswith("torchvision.models."):
        yield node.lineno, "weights that are fetched"
