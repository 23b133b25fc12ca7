"""Loads and runs a bundle. Needs numpy and the engine's own library; no torch, no compiler.

from mmedge import runtime
with runtime.load("vqa.mmedge") as bundle:
    answer = bundle(image="photo.png", question="how many?")
    # A model that generates: tokens, text as it comes, one image for many questions.
    tokens = bundle.generate(image="photo.png", text="what is this?", max_new_tokens=20)
    session = bundle.encode(image="photo.png")
    session.generate(text="how many?", sampling=runtime.Sampling(top_p=0.9), on_text=print)
"""

from mmedge.runtime.bundle import Bundle, load
from mmedge.runtime.sampling import Sampling
from mmedge.runtime.session import Session

__all__ = ["Bundle", "Sampling", "Session", "load"]
