"""Recipes for families of Hugging Face Transformers architectures.

A recipe here knows what a family has in common (encoders, a text that holds their features, a
decoder with a cache), never the name of an architecture. What only one architecture needs is a
file in `substitutes`.
"""
