"""`mmedge::FusedAttention` as a plugin in Python: the C++ plugin's twin, for want of its headers.

Both have the same name, fields, formats, shapes, workspace and tactics, so that an engine is byte
for byte the same whichever of them it was built with. It runs with the C++ plugin.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from mmedge.backends.tensorrt import attention_plan
from mmedge.backends.tensorrt.attention_plan import largest
from mmedge.errors import BuildError
from mmedge.kernels.kernel_table import KernelTable
from mmedge.ops.fused_attention import DOMAIN, NAME, VERSION, FusedAttention

INTEGERS = ("num_heads", "kv_num_heads", "causal", "has_bias", "len_mode")
FIELDS = ("num_heads", "kv_num_heads", "scale", "causal", "has_bias", "len_mode")


def make_creator(module: Any, table: KernelTable, compute_capability: str) -> Any:
    """An IPluginCreatorV3One of `module`, tensorrt or tensorrt_rtx."""
    plugin = _plugin_class(module, table, compute_capability)

    class Creator(module.IPluginCreatorV3One):  # type: ignore[misc]  # known at run time only
        def __init__(self) -> None:
            module.IPluginCreatorV3One.__init__(self)
            self.name, self.plugin_namespace, self.plugin_version = NAME, DOMAIN, str(VERSION)
            self.field_names = module.PluginFieldCollection(
                [module.PluginField(n, np.array([]), _kind(module, n)) for n in FIELDS]
            )

        def create_plugin(self, name: str, fields: Any, phase: Any) -> Any:
            return plugin(_attributes(fields))

    return Creator()


def _kind(module: Any, name: str) -> Any:
    kinds = module.PluginFieldType
    return kinds.INT32 if name in INTEGERS else kinds.FLOAT32


def _attributes(fields: Any) -> FusedAttention:
    """Read and checked; BuildError for a field that is none of the op's."""
    given = {field.name: field.data for field in fields if not field.name.startswith("plugin_")}
    unknown = [name for name in given if name not in FIELDS]
    if unknown or len(given) != len(FIELDS):
        raise BuildError(
            f"the fields of {NAME} are not those of the op",
            found=", ".join(given),
            expected=", ".join(FIELDS),
        )
    values = {n: int(d[0]) if n in INTEGERS else float(d[0]) for n, d in given.items()}
    attention = msgspec.convert(values, FusedAttention)
    attention.check()
    return attention


def _serialised(module: Any, attention: FusedAttention) -> Any:
    values = msgspec.structs.asdict(attention)
    return module.PluginFieldCollection(
        [
            module.PluginField(
                name,
                np.array([values[name]], np.int32 if name in INTEGERS else np.float32),
                _kind(module, name),
            )
            for name in FIELDS
        ]
    )


def _fits(module: Any, attention: FusedAttention, position: int, types: Sequence[Any]) -> bool:
    """Whether an input or the output may be of its type; the last of `types` is asked for."""
    kinds, asked = module.DataType, types[position]
    if position == 0:
        return asked in (kinds.HALF, kinds.BF16)
    is_length = 3 + attention.has_bias <= position < len(attention.inputs)
    return bool(asked == (kinds.INT32 if is_length else types[0]))


def _plugin_class(module: Any, table: KernelTable, capability: str) -> Any:
    """The class; its methods are those of IPluginV3OneCore, OneBuild and OneRuntime."""
    bases = (
        module.IPluginV3,
        module.IPluginV3OneCore,
        module.IPluginV3OneBuild,
        module.IPluginV3OneRuntime,
    )

    class Attention(*bases):  # type: ignore[misc]
        def __init__(self, attention: FusedAttention) -> None:
            for base in bases:
                base.__init__(self)
            self.attention, self.tactics = attention, [attention_plan.TABLES_CHOICE]
            self.num_outputs = 1
            self.plugin_name, self.plugin_namespace = NAME, DOMAIN
            self.plugin_version = str(VERSION)

        def get_capability_interface(self, kind: Any) -> Any:
            return self

        def clone(self) -> Any:
            copy = Attention(self.attention)
            copy.__dict__.update(self.__dict__)
            return copy

        def get_output_data_types(self, types: Sequence[Any]) -> list[Any]:
            _check_count(self.attention, len(types))
            return [types[0]]

        def get_output_shapes(self, inputs: Any, shape_inputs: Any, builder: Any) -> list[Any]:
            return [inputs[0]]

        def supports_format_combination(self, position: int, all_: Any, inputs: int) -> bool:
            if all_[position].desc.format != module.TensorFormat.LINEAR:
                return False
            types = [item.desc.type for item in all_[: position + 1]]
            return _fits(module, self.attention, position, types)

        def configure_plugin(self, inputs: Any, outputs: Any) -> None:
            self.tactics = attention_plan.tactics(self._largest(inputs), table, capability)

        def get_workspace_size(self, inputs: Any, outputs: Any) -> int:
            return attention_plan.workspace_bytes(self._largest(inputs), table, capability)

        def get_valid_tactics(self) -> list[int]:
            return self.tactics

        def set_tactic(self, tactic: int) -> None:
            self.tactic = tactic

        def get_fields_to_serialize(self) -> Any:
            return _serialised(module, self.attention)

        def on_shape_change(self, inputs: Any, outputs: Any) -> None:
            _check_count(self.attention, len(inputs))

        def attach_to_context(self, context: Any) -> Any:
            return self.clone()

        def enqueue(self, *arguments: Any) -> None:
            raise BuildError(
                f"{NAME} runs in its C++ plugin, and this is the twin it was built with",
                hint="mmedge kernels build --plugin",
            )

        def _largest(self, inputs: Any) -> Any:
            return largest(self.attention, [tuple(item.max) for item in inputs])

    return Attention


def _check_count(attention: FusedAttention, found: int) -> None:
    if found != len(attention.inputs):
        raise BuildError(
            f"{NAME} has another number of inputs than its attributes say",
            found=found,
            expected=", ".join(attention.inputs),
        )
