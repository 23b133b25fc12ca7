"""Loads and runs a bundle. Needs numpy and the engine's own library; no torch, no compiler.

from mmedge import runtime
with runtime.load("vqa.mmedge") as bundle:
    answer = bundle(image="photo.png", question="how many?")
"""

from mmedge.runtime.bundle import Bundle, load

__all__ = ["Bundle", "load"]
