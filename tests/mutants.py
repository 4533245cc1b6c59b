"""How many small faults in position encodings, or in attention, the tests notice.

    .venv/bin/python tests/mutants.py attention --sample 200 --seed 0 --out mutants.json

A mutant is the library with one fault: a sign, comparison, constant, flag or call changed. Each is met, in a
process of its own, by the tests of its own file and, if they pass, by all of its room. One that no test
notices survives, and is listed.
"""

import argparse
import ast
import copy
import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "lib" / "longctx"

BINARY = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
COMPARISONS = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
SWAPPED = {
    **{
        a: b
        for pair in (("min", "max"), ("sin", "cos"), ("floor", "ceil"), ("cat", "stack"))
        for a, b in (pair, pair[::-1])
    },
    "minimum": "maximum",
    "maximum": "minimum",
    "zeros": "ones",
    "ones": "zeros",
    "zeros_like": "ones_like",
}
#: Methods that keep the shape: their receiver can stand for the call.
DROPPED = {
    "abs",
    "clamp",
    "exp",
    "log",
    "log1p",
    "floor",
    "ceil",
    "sqrt",
    "flip",
    "cumsum",
    "sigmoid",
}
#: Modules that are imported anew for each mutant.
OURS = ("longctx", "comparisons", "linear_mixers")
#: Keywords that no behaviour depends on.
SILENT = {"examples", "source"}


def mutants(tree: ast.Module) -> Iterator[tuple[int, str, ast.Module]]:
    """Line, description and whole module of every mutant."""
    parents = {child: parent for parent in ast.walk(tree) for child in ast.iter_child_nodes(parent)}
    for index, original in enumerate(ast.walk(tree)):
        if hidden(parents, original):
            continue
        for drop in (False, True):
            if change(copy.deepcopy(original), drop):
                changed = copy.deepcopy(tree)
                node = next(islice(ast.walk(changed), index, None))
                change(node, drop)
                yield original.lineno, f"{ast.unparse(original)}  →  {ast.unparse(node)}", changed


def change(node: ast.AST, drop: bool) -> bool:
    """Put a fault into the node, or drop its call, if there is a way to."""
    match node:
        case ast.Call(func=ast.Attribute(attr=name)) if drop and name in DROPPED:
            node.func, node.args, node.keywords = ast.Name("_same", ast.Load()), [node.func.value], []
        case _ if drop:
            return False
        case ast.Call(func=ast.Attribute(attr=name)) if name in SWAPPED:
            node.func.attr = SWAPPED[name]
        case ast.BinOp() if other := BINARY.get(type(node.op)):
            node.op = other()
        case ast.Compare(ops=[op]) if other := COMPARISONS.get(type(op)):
            node.ops = [other()]
        case ast.UnaryOp(op=ast.USub() | ast.Invert()) if not isinstance(node.operand, ast.Constant):
            node.op = ast.UAdd()
        case ast.Constant(value=bool()):
            node.value = not node.value
        case ast.Constant(value=int() | float()):
            node.value += 1
        case ast.IfExp():
            node.body, node.orelse = node.orelse, node.body
        case ast.If():
            node.test = ast.UnaryOp(ast.Not(), node.test)
        case _:
            return False
    return True


def hidden(parents: dict[ast.AST, ast.AST], node: ast.AST) -> bool:
    """Whether a node stands in an annotation, an example, a source or a message."""
    while parent := parents.get(node):
        if isinstance(parent, ast.keyword) and parent.arg in SILENT:
            return True
        if isinstance(parent, ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom):
            return True
        if isinstance(parent, ast.AnnAssign | ast.arg) and node is parent.annotation:
            return True
        if isinstance(parent, ast.FunctionDef) and node is parent.returns:
            return True
        node = parent
    return False


def import_outsiders(tests: Path) -> None:
    """Import once, before the mutants fork, what their tests import, but for the library itself."""
    for path in tests.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and not node.module.startswith(OURS):
                module = importlib.import_module(node.module)
                for name in node.names:
                    getattr(module, name.name)  # some packages import what is asked for


#: Tests of the files in positions/ that bear no encoding's name.
OF_POSITIONS = {
    "distance": "distance or t5 or kerple or dynamic or sandwich or transformer",
    "mlp": "fire or dynamic",
    "rope": "rope or layout or projection or yarn or linear or ntk or interpolation",
    "p_rope": "p_rope or rotary or fraction",
    "longrope": "longrope or rope",
    "rerope": "remap or window or rerope or self_extend",
    "self_extend": "remap or window or self_extend",
    "dual_chunk": "remap or chunk or window or paper",
}
#: Files of tests for those in attention/ by folder or name; the other ones have theirs by name.
OF_ATTENTION = {
    "patterns": ["test_pattern_definitions.py", "test_patterns.py"],
    "selection": ["test_selection.py", "test_buckets.py", "test_learned_selections.py"],
    "halves": ["test_halves.py"],
    "cache": ["test_cache.py", "test_streaming.py"],
    "rounds": ["test_selection.py"],
    "mixer": ["test_selection.py"],
    "arrangements": ["test_arrangements.py"],
    "attend": ["test_attend.py"],
    "cost": ["test_cost.py"],
    "linear": ["test_linear.py"],
}


def tests_of(path: Path) -> list[str]:
    """What pytest runs first for a file: the tests that name what it registers, or those of its folder."""
    room, name, folder = path.relative_to(PACKAGE).parts[0], path.stem, path.parent.name
    tests = ROOT / "tests" / room
    if room == "attention":
        files = OF_ATTENTION.get(name, OF_ATTENTION.get(folder, ["test_executors.py", "test_attend.py"]))
        named = ["-k", name] if f'Literal["{name}"]' in path.read_text() else []
        return [*(str(tests / file) for file in files), *named]
    if "sampling" in path.parts:
        return [str(tests / "test_sampling.py"), str(tests / "test_defaults.py")]
    if "scaling" in path.parts:
        files = ("test_rope.py", "test_properties.py", "test_defaults.py")
        return [*(str(tests / file) for file in files), "-k", f"{name} or scal or factor"]
    if name == "base":
        return [str(tests)]
    return [str(tests), "-k", OF_POSITIONS.get(name, name)]


def survives(source: str, path: Path, library: Path, tests: list[str], seconds: int) -> bool:
    """Whether some tests pass with ``source`` in the place of a file."""
    target = library / "longctx" / path.relative_to(PACKAGE)
    original = target.read_text()
    target.write_text(source)
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
        signal.alarm(seconds)  # an endless loop counts as noticed
        sys.path.insert(0, str(library))
        import pytest

        os._exit(int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *tests])))
    _, status = os.waitpid(child, 0)
    target.write_text(original)
    return status == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("room", choices=("positions", "attention"))
    parser.add_argument("--sample", type=int, help="so many mutants, drawn at random; all by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="files whose path holds this")
    parser.add_argument("--seconds", type=int, default=240, help="the longest that the tests may take")
    parser.add_argument("--out", type=Path, help="a JSON file for the result")
    parser.add_argument("--again", type=Path, help="a result, of which only the survivors are tried")
    options = parser.parse_args()
    earlier = json.loads(options.again.read_text()) if options.again else None
    found = []
    for path in sorted((PACKAGE / options.room).rglob("*.py")):
        if path.name != "__init__.py" and options.only in str(path):
            found += [(path, *mutant) for mutant in mutants(ast.parse(path.read_text()))]
    total = len(found)
    if earlier:
        left = {(one["file"], one["change"]) for one in earlier["survivors"]}
        found = [m for m in found if (str(m[0].relative_to(PACKAGE)), m[2]) in left]
    elif options.sample and options.sample < total:
        found = sorted(random.Random(options.seed).sample(found, options.sample), key=lambda m: (m[0], m[1]))
    if not found:
        raise SystemExit(f"no mutants of files whose path holds {options.only!r}")
    os.environ["OMP_NUM_THREADS"] = "1"
    tests_of_room = ROOT / "tests" / options.room
    import_outsiders(tests_of_room)

    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder)
        shutil.copytree(PACKAGE, library / "longctx", ignore=shutil.ignore_patterns("__pycache__"))
        sys.dont_write_bytecode = True
        for path in sorted({mutant[0] for mutant in found}):
            if not survives(path.read_text(), path, library, tests_of(path), options.seconds):
                raise SystemExit(f"{path.name}: its tests fail, or there are none, without any mutant")
        survivors = []
        for number, (path, line, what, tree) in enumerate(found, 1):
            name = str(path.relative_to(PACKAGE))
            source = ast.unparse(tree) + "\n\ndef _same(x):\n    return x\n"
            if all(
                survives(source, path, library, tests, options.seconds)
                for tests in (tests_of(path), [str(tests_of_room)])
            ):
                survivors.append({"file": name, "line": line, "change": what})
                print(f"survived  {name}:{line}  {what}", flush=True)
            if number % 20 == 0:
                print(f"{number}/{len(found)}: {len(survivors)} survived", flush=True)
    tried = earlier["tried"] if earlier else len(found)
    killed = 1 - len(survivors) / tried
    print(f"{tried} of {total} mutants, {killed:.1%} noticed")
    if options.out:
        result = {"mutants": total, "tried": tried, "seed": options.seed, "noticed": round(killed, 4)}
        options.out.write_text(json.dumps({**result, "survivors": survivors}, indent=1) + "\n")


if __name__ == "__main__":
    main()
