"""Recipes that ship with mmedge: how families of models split into graphs."""
