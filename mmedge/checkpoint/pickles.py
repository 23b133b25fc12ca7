"""What a pickle would import when it is loaded, read from its opcodes: nothing is executed.

torch.load(weights_only=True) is what keeps an untrusted file from running code. The scan here
only classifies a file and names what it asks for.
"""

from __future__ import annotations

import pickletools
from typing import BinaryIO

# torch/_weights_only_unpickler.py, _get_allowed_globals (torch 2.13), without torch's own types.
ALLOWED = {
    "collections.OrderedDict", "collections.Counter", "_codecs.encode",
    "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer", "torch.serialization._get_layout",
    "torch._tensor.Tensor",
    "torch.storage.UntypedStorage", "torch.storage.TypedStorage",
    "builtins.bytearray", "builtins.set", "builtins.complex",
    "__builtin__.bytearray", "__builtin__.set", "__builtin__.complex",
}  # fmt: skip
_STRINGS = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE"}
_PUT = {"PUT", "BINPUT", "LONG_BINPUT"}
_GET = {"GET", "BINGET", "LONG_BINGET"}


def wanted_globals(stream: BinaryIO) -> tuple[str, ...]:
    """Dotted names that the next pickle in `stream` imports; the stream is left at its end.

    Raises ValueError where the bytes are not a whole pickle.
    """
    found: dict[str, None] = {}
    memo: dict[int, str] = {}
    strings: list[str] = []
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name in _STRINGS:
            strings.append(str(argument))
        elif opcode.name == "MEMOIZE":
            memo[len(memo)] = strings[-1] if strings else ""
        elif opcode.name in _PUT and isinstance(argument, int):
            memo[argument] = strings[-1] if strings else ""
        elif opcode.name in _GET and isinstance(argument, int):
            strings.append(memo.get(argument, ""))
        elif opcode.name in {"GLOBAL", "INST"}:
            found[str(argument).replace(" ", ".", 1)] = None
        elif opcode.name == "STACK_GLOBAL":
            found[".".join(strings[-2:])] = None
    return tuple(found)


def foreign_globals(names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of `names` that a plain state_dict never asks for."""
    return tuple(name for name in names if not _is_plain(name))


def _is_plain(name: str) -> bool:
    module, _, attribute = name.rpartition(".")
    own_type = module == "torch" and (attribute[:1].isupper() or attribute in _TORCH_DTYPES)
    rebuild = module == "torch._utils" and attribute.startswith("_rebuild_")
    return own_type or rebuild or name in ALLOWED


_TORCH_DTYPES = {
    "float16", "float32", "float64", "bfloat16", "int8", "int16", "int32", "int64", "uint8",
    "uint16", "uint32", "uint64", "bool", "complex64", "complex128", "device",
    "float8_e4m3fn", "float8_e5m2",
}  # fmt: skip
